//! An async WebSocket library on Tokio: strict, bounded by default, and small.
//!
//! Four programs to begin with. A client:
//!
//! ```no_run
//! # #[tokio::main]
//! # async fn main() -> wireline::Result<()> {
//! let mut ws = wireline::connect("wss://example.com/feed").await?;
//! ws.send("hello").await?;
//! while let Some(message) = ws.next().await { println!("{}", message?); }
//! let ending = ws.ending();                       // how it ended: a value, not an error
//! # Ok(())
//! # }
//! ```
//!
//! A server, one async block per connection, which may use `?` on any error:
//!
//! ```no_run
//! # #[tokio::main]
//! # async fn main() -> wireline::Result<()> {
//! wireline::Server::bind("127.0.0.1:9001").await?
//!     .serve(|mut ws, _request| async move {
//!         while let Some(message) = ws.next().await { ws.feed(message?).await?; }
//!         Ok(())
//!     }).await?;
//! # Ok(())
//! # }
//! ```
//!
//! A server of callbacks, by the names of the crate `ws`, without a runtime of one's own:
//!
//! ```no_run
//! use wireline::handler::listen;
//! listen("127.0.0.1:9001", |out| move |message| out.send(message))?;
//! # Ok::<(), wireline::handler::Error>(())
//! ```
//!
//! And a WebSocket over any stream of bytes, a Unix socket for instance:
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let listener = tokio::net::UnixListener::bind("/run/echo.sock")?;
//! let (stream, _) = listener.accept().await?;
//! let mut ws = wireline::accept(stream).await?;
//! while let Some(message) = ws.next().await { ws.feed(message?).await?; }
//! # Ok(())
//! # }
//! ```
//!
//! # Where to find what
//!
//! In the order in which a byte meets it: [`server`] and [`client`] obtain a stream, [`upgrade`] takes one from another HTTP
//! server; [`proto::handshake`] opens the
//! connection; [`WebSocket`] reads and writes, or calls a [`handler`] back; [`proto`] is what the RFCs say, without any I/O.
//! [`Config`] holds every limit and deadline with its default; all of them are on. [`Error`] is grouped by who is to blame,
//! and a normal close is no error but an [`Ending`]. Callbacks have settings, errors and endings of their own.
//!
//! # Runtime
//!
//! Whatever waits needs a Tokio runtime with time enabled, because deadlines are on by default, and with I/O enabled for
//! sockets: `#[tokio::main]` and `enable_all` do both. Without them Tokio panics when something has to wait. [`proto`]
//! needs no runtime; what blocks in [`handler`] brings its own.
//!
//! # Cancel safety
//!
//! An async method is _cancel-safe_ if dropping its future before it is ready loses nothing, repeats nothing and tears
//! nothing apart. Every method of [`WebSocket`] is.
//!
//! # Logs, counters and metrics
//!
//! Every connection counts what passes over it: [`WebSocket::stats`]. With the feature `metrics`, [`metrics`] publishes that.
//!
//! Log lines and spans are [`tracing`](https://docs.rs/tracing)'s. An application that [`Server`], or `serve` and `on_upgrade`
//! in [`upgrade`], runs is inside of a span `websocket` of level INFO, and its own lines with it: `id`, a number; `peer`, the
//! client's address, behind a trusted proxy too; `path`, without the query, which may hold tokens. A task that the application
//! starts takes it along with tracing's `in_current_span`. The end is an event of level DEBUG there, with `code`, `reason`,
//! `cause` and `initiator`. Failed opening handshakes and errors of applications are at DEBUG, pauses of accepting at WARN,
//! panics at ERROR.
//!
//! What a peer can provoke is at most ten lines of its kind in a second, then the number of those that were left out; what
//! a peer wrote has its control characters escaped; and no payload is in any line. Where nobody subscribes, a span costs a
//! connection a pointer.
//!
//! # Features
//!
//! - `tls` (default): `wss` by rustls with its own default provider and Mozilla's root certificates.
//! - `tls-no-provider`: the same without a cryptography provider, for programs that bring theirs.
//! - `deflate` (default): permessage-deflate (RFC 7692), once a configuration turns it on.
//! - `hyper`: WebSockets from requests that hyper 1 has read, over HTTP/1.1 and HTTP/2 (RFC 8441).
//! - `axum`: the same as an extractor for axum 0.8.
//! - `metrics`: [`metrics`] through the facade of that name.
//! - `native-roots`: the operating system's root certificates beside Mozilla's.

pub mod server;

pub mod client;

pub mod upgrade;

mod tls;
mod transport;

pub mod handler;

pub mod proto;

mod websocket;

pub mod metrics;

mod logging;

mod config;
mod error;

pub use client::{Client, connect};
pub use config::Config;
pub use error::{Error, Result};
pub use proto::{
    CloseCode, CloseFrame, Limits, Message, Role, Timings, Utf8Bytes,
    connection::{Cause, CloseRecord, Compressed, Ending, Event, Initiator, Stats},
};
pub use server::{Server, accept};
pub use transport::{Security, Transport};
pub use websocket::WebSocket;

/// The programs of the README compile.
#[cfg(all(doctest, feature = "tls"))]
#[doc = include_str!("../README.md")]
mod readme {}
