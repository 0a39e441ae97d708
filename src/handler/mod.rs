//! Callbacks instead of futures.

mod code;
mod credentials;
mod error;
mod forwarded;
mod frame;
mod handshake;
mod headers;
mod message;
mod request;
mod response;
mod settings;
mod timeouts;
mod tls;
pub mod util;

pub use code::{CloseCode, OpCode};
pub use error::{Error, ErrorKind, Result};
pub use frame::Frame;
pub use handshake::Handshake;
pub use message::Message;
pub use request::Request;
pub use response::Response;
pub use settings::Settings;
