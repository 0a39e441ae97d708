//! A frame, as RFC 6455 section 5.2 draws it.
//!
//! ```text
//!   byte 0      byte 1       0, 2 or 8 bytes    0 or 4 bytes    payload
//! +-+-+-+-+----+-+-------+-------------------+---------------+---------+
//! |F|R|R|R| op |M| len 7 |  extended length  |  masking-key  |   ...   |
//! |I|S|S|S|code|A|       | 126: 16 bits      |  if MASK is 1 |         |
//! |N|V|V|V|    |S|       | 127: 64 bits      |               |         |
//! | |1|2|3|    |K|       |                   |               |         |
//! +-+-+-+-+----+-+-------+-------------------+---------------+---------+
//! ```
//!
//! This module holds what a frame is made of. It does not read or write bytes: that is [`codec`](crate::proto::codec).

mod close;
mod header;
mod mask;
mod opcode;

use bytes::Bytes;

pub use close::{CloseCode, CloseFrame};
pub use header::{Header, Rsv};
pub use mask::Mask;
pub use opcode::Opcode;

/// A whole frame with its payload unmasked, as [`FrameCodec`](crate::proto::FrameCodec) yields and takes it.
///
/// ```
/// use wireline::proto::{Frame, Opcode};
/// let frame = Frame::new(Opcode::Text, "hello");
/// assert!(frame.fin);
/// assert_eq!(&frame.payload[..], b"hello");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Frame {
    /// Whether this frame ends its message.
    pub fin: bool,
    /// The reserved bits; none without an extension.
    pub rsv: Rsv,
    /// What the payload is.
    pub opcode: Opcode,
    /// The payload data, unmasked.
    pub payload: Bytes,
}

impl Frame {
    /// A frame that is a message of its own (FIN set, no reserved bits).
    pub fn new(opcode: Opcode, payload: impl Into<Bytes>) -> Self {
        Self { fin: true, rsv: Rsv::NONE, opcode, payload: payload.into() }
    }

    /// The same frame with FIN clear: more of its message follows.
    ///
    /// ```
    /// use wireline::proto::{Frame, Opcode};
    /// assert!(!Frame::new(Opcode::Binary, "half").unfinished().fin);
    /// ```
    #[must_use]
    pub fn unfinished(self) -> Self {
        Self { fin: false, ..self }
    }
}
