//! The opening handshake (RFC 6455 section 4), for both roles: bytes in, a judgement and bytes out.
//!
//! The client asks, the server agrees, and what follows the two heads on the same connection are frames:
//!
//! ```text
//!  client                                            server
//!  GET /chat HTTP/1.1                        ──▶
//!  Host: example.com
//!  Upgrade: websocket
//!  Connection: Upgrade
//!  Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==
//!  Sec-WebSocket-Version: 13
//!  Sec-WebSocket-Protocol: chat, superchat
//!                                            ◀──     HTTP/1.1 101 Switching Protocols
//!                                                    Upgrade: websocket
//!                                                    Connection: Upgrade
//!                                                    Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=
//!                                                    Sec-WebSocket-Protocol: chat
//!  frames                                    ◀─▶     frames
//! ```
//!
//! A server goes through [`AwaitRequest`] → [`judge`](fn@judge) → [`Judged::respond`], or sends a [`Refusal`]. [`judge`](fn@judge) takes any
//! [`http::Request`], so a request that an HTTP library read is judged by the same rules; over HTTP/2 it is
//! [`judge_extended_connect`] (RFC 8441). A client goes through [`ClientRequest::start`] → [`AwaitResponse`].
//!
//! Nothing here reads a socket, a clock or a source of randomness: the caller brings the bytes, the deadline and the
//! random key. The check of `Origin` is policy and belongs to the server (`Origins`). The one extension is
//! permessage-deflate: `compression` puts its negotiation, which is in [`deflate`](crate::proto::deflate), into headers.

mod body;
mod client;
mod compression;
mod error;
mod extensions;
mod final_response;
mod head;
mod headers;
mod judge;
mod key;
mod lines;
mod opening;
mod page;
mod refusal;
mod response;
mod scanner;
mod server;

pub use client::ClientRequest;
pub use error::HandshakeError;
pub use extensions::{Extension, Parameter, extensions};
pub use head::{encode_request, encode_response};
pub use headers::{GrammarError, subprotocols};
pub use judge::{judge, judge_extended_connect};
pub use key::Key;
pub use refusal::Refusal;
pub use response::AwaitResponse;
pub use server::{Acceptance, AwaitRequest, Judged};

pub(crate) use compression::{accept_deflate, judge_deflate, offer_deflate};
pub(crate) use final_response::{FinalResponse, ReadResponse};
pub(crate) use head::parse_request;
pub(crate) use headers::is_token;
pub(crate) use judge::{Methods, judge_upgrade};
pub(crate) use opening::Opening;
pub(crate) use page::{asks_for_websocket, finish_page, judge_page, options};
pub(crate) use response::{Accept, Expected};
