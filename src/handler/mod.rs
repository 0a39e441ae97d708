//! Callbacks instead of futures: the `Handler` trait and all that belongs to it, with the names of the crate `ws` (ws-rs
//! 0.9), so that its programs work here with one changed line.
//!
//! ```no_run
//! use wireline::handler::listen;
//! listen("127.0.0.1:3012", |out| move |message| out.send(message))?;
//! # Ok::<(), wireline::handler::Error>(())
//! ```
//!
//! A program writes a [`Handler`], whose methods are called back for one connection, and a [`Factory`] that makes one for
//! each; closures will do for both. A [`Sender`] asks connections to do things, from anywhere. wireline owns the sockets,
//! the handshakes, the frames, the timers and the closing.
//!
//! [`migration`] says what is different from ws-rs.

mod accepting;
mod agent;
mod attach;
mod batch;
mod boxed;
mod code;
mod credentials;
#[cfg(feature = "deflate")]
pub mod deflate;
mod desk;
mod dialing;
mod error;
mod factory;
mod forwarded;
mod frame;
#[expect(clippy::module_inception, reason = "the trait that the module is named after")]
mod handler;
mod handshake;
mod headers;
mod hub;
mod interrupt;
mod mailbox;
mod message;
pub mod migration;
mod opening;
mod owner;
mod reassembly;
mod remedy;
mod request;
mod response;
mod run;
mod sender;
mod settings;
mod timeouts;
mod tls;
pub mod util;
mod websocket;

pub use attach::Attach;
pub use code::{CloseCode, OpCode};
pub use error::{Error, ErrorKind, Result};
pub use factory::Factory;
pub use frame::Frame;
#[doc(hidden)]
pub use handler::Compressed;
pub use handler::{Handler, Observes};
pub use handshake::Handshake;
pub use message::Message;
pub use request::Request;
pub use response::Response;
pub use sender::Sender;
pub use settings::Settings;
pub use websocket::{Builder, WebSocket, connect, connect_async, listen};
