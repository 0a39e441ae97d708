//! What the RFCs say: bytes, frames, messages, handshakes, and the rules of an open connection.
//!
//! Nothing here does I/O, spawns a task, reads a clock or draws a random number. Bytes, the time and masking-keys come in
//! as arguments; events and bytes go out. [`FrameCodec`] is the piece for programs that want single frames with
//! tokio-util's `Framed`; everyone else uses [`WebSocket`](crate::WebSocket), which drives a [`Connection`](connection)
//! over one byte stream.

#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        clippy::cast_possible_truncation
    )
)]

mod error;
mod limits;
mod role;
mod timings;

pub mod frame;

pub mod codec;

pub mod message;

pub mod deflate;

pub mod handshake;

pub mod forwarded;

pub mod proxy;

pub mod connection;

pub use codec::FrameCodec;
pub use error::{Awaited, Excess, Fault, Misuse, Violation};
pub use frame::{CloseCode, CloseFrame, Frame, Header, Mask, Opcode, Rsv};
pub use limits::Limits;
pub use message::{Message, Utf8Bytes};
pub use role::Role;
pub use timings::Timings;
