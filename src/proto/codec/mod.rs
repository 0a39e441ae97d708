//! Bytes to frames and back.
//!
//! [`FrameCodec`] collects whole frames for tokio-util's `Framed`. An open [`connection`](crate::proto::connection) uses the
//! same two halves without collecting: headers are judged as soon as they are there, payloads move on as they arrive.
//!
//! ```text
//! bytes -> decode_header -> Header, then payload -> Frame          (decoder.rs)
//! Frame -> header bytes, payload masked or as it is -> bytes       (encoder.rs)
//! ```
//!
//! It knows nothing of messages: that a continuation has something to continue is the connection's rule.

pub(crate) mod decoder;
pub(crate) mod encoder;

use std::{fmt, io};

use bytes::{Buf, BytesMut};
use tokio_util::codec::{Decoder, Encoder};

use crate::proto::{
    Excess, Fault, Frame, Header, Limits, Mask, Misuse, Role, Rsv, Violation,
    codec::decoder::{HeaderRules, Masking, Sequence, decode_header},
};

/// A tokio-util [`Decoder`] and [`Encoder`] of single frames, for one [`Role`].
///
/// It enforces what can be said of a frame alone (RFC 6455 sections 5.1, 5.2 and 5.5, and the frame limit). The order of
/// fragments, UTF-8 across frames and the closing handshake are the caller's business; [`WebSocket`](crate::WebSocket)
/// does all of that.
///
/// After an error it stays failed: whatever else arrives is dropped.
///
/// ```
/// use bytes::BytesMut;
/// use tokio_util::codec::{Decoder, Encoder};
/// use wireline::proto::{Frame, FrameCodec, Opcode};
///
/// let mut codec = FrameCodec::server();
/// let mut wire = BytesMut::new();
/// codec.encode(Frame::new(Opcode::Text, "hi"), &mut wire)?;
/// assert_eq!(&wire[..], b"\x81\x02hi");
///
/// let mut received = BytesMut::from(&b"\x81\x82\0\0\0\0hi"[..]);
/// let frame = codec.decode(&mut received)?.expect("the frame is complete");
/// assert_eq!(&frame.payload[..], b"hi");
/// # Ok::<(), wireline::proto::codec::CodecError>(())
/// ```
pub struct FrameCodec {
    masks: Option<Box<dyn FnMut() -> Mask + Send>>,
    max_frame: Option<u64>,
    state: DecodeState,
}

#[derive(Clone, Copy, Debug)]
enum DecodeState {
    Head,
    Payload(Header),
    Failed,
}

impl FrameCodec {
    /// For the server's end: incoming frames must be masked, outgoing ones are not.
    #[must_use]
    pub fn server() -> Self {
        Self { masks: None, max_frame: default_max_frame(), state: DecodeState::Head }
    }

    /// For the client's end: incoming frames must not be masked, each outgoing one is, with the next of `masks`.
    ///
    /// The keys must be unpredictable (RFC 6455 section 10.3): draw them from a generator that the operating system seeded.
    ///
    /// ```
    /// use wireline::proto::{FrameCodec, Mask};
    /// let codec = FrameCodec::client(|| Mask::new(rand::random()));
    /// ```
    pub fn client(masks: impl FnMut() -> Mask + Send + 'static) -> Self {
        Self { masks: Some(Box::new(masks)), max_frame: default_max_frame(), state: DecodeState::Head }
    }

    /// Sets the most payload bytes of one frame, from the next header on. Default 16 MiB.
    ///
    /// With `None` a peer decides how large a frame is collected in memory, as long as it really sends it.
    ///
    /// ```
    /// let codec = wireline::proto::FrameCodec::server().max_frame(Some(1024));
    /// ```
    #[must_use]
    pub fn max_frame(self, bytes: Option<u64>) -> Self {
        Self { max_frame: bytes, ..self }
    }

    const fn role(&self) -> Role {
        if self.masks.is_some() { Role::Client } else { Role::Server }
    }

    fn step(&mut self, src: &mut BytesMut) -> Result<Option<Frame>, Fault> {
        if let DecodeState::Head = self.state {
            let rules =
                HeaderRules { masking: Masking::ByRole(self.role()), extension: Rsv::NONE, sequence: Sequence::Any };
            let Some((header, len)) = decode_header(src, rules)? else { return Ok(None) };
            if let Some(limit) = self.max_frame.filter(|limit| header.payload_len > *limit) {
                return Err(Excess::Frame { announced: header.payload_len, limit }.into());
            }
            src.advance(len);
            self.state = DecodeState::Payload(header);
        }
        match self.state {
            DecodeState::Payload(header) => Ok(self.payload(header, src)),
            DecodeState::Head | DecodeState::Failed => Ok(None),
        }
    }

    fn payload(&mut self, header: Header, src: &mut BytesMut) -> Option<Frame> {
        let len = usize::try_from(header.payload_len).ok().filter(|len| *len <= src.len())?;
        let mut payload = src.split_to(len);
        if let Some(mask) = header.mask {
            mask.apply(&mut payload, 0);
        }
        self.state = DecodeState::Head;
        Some(Frame { fin: header.fin, rsv: header.rsv, opcode: header.opcode, payload: payload.freeze() })
    }
}

fn default_max_frame() -> Option<u64> {
    Limits::default().max_message
}

impl Decoder for FrameCodec {
    type Item = Frame;
    type Error = CodecError;

    fn decode(&mut self, src: &mut BytesMut) -> Result<Option<Frame>, CodecError> {
        if let DecodeState::Failed = self.state {
            src.clear();
            return Ok(None);
        }
        self.step(src).map_err(|fault| {
            self.state = DecodeState::Failed;
            CodecError::Fault(fault)
        })
    }

    fn decode_eof(&mut self, src: &mut BytesMut) -> Result<Option<Frame>, CodecError> {
        let frame = self.decode(src)?;
        if frame.is_none() && (!src.is_empty() || matches!(self.state, DecodeState::Payload(_))) {
            self.state = DecodeState::Failed;
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the transport ended inside a frame").into());
        }
        Ok(frame)
    }
}

impl Encoder<Frame> for FrameCodec {
    type Error = CodecError;

    fn encode(&mut self, frame: Frame, dst: &mut BytesMut) -> Result<(), CodecError> {
        let invalid = |violation| CodecError::Misuse(Misuse::InvalidFrame(violation));
        if !frame.rsv.within(Rsv::NONE) {
            return Err(invalid(Violation::ReservedBit));
        }
        if frame.opcode.is_control() && !frame.fin {
            return Err(invalid(Violation::FragmentedControl));
        }
        if frame.opcode.is_control() && frame.payload.len() > 125 {
            return Err(invalid(Violation::ControlTooLong));
        }
        let mask = self.masks.as_mut().map(|masks| masks());
        encoder::encode(
            encoder::Part { fin: frame.fin, rsv: frame.rsv, opcode: frame.opcode, mask },
            frame.payload,
            dst,
        );
        Ok(())
    }
}

impl fmt::Debug for FrameCodec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FrameCodec").field("role", &self.role()).field("state", &self.state).finish_non_exhaustive()
    }
}

/// What [`FrameCodec`] can fail with.
///
/// ```
/// use wireline::proto::{Violation, codec::CodecError};
/// let error = CodecError::Fault(Violation::Unmasked.into());
/// assert!(error.to_string().contains("section 5.1"));
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum CodecError {
    /// The peer broke a rule or went beyond the frame limit.
    Fault(Fault),
    /// The frame to encode may not travel; nothing was written.
    Misuse(Misuse),
    /// The transport failed, or ended inside a frame.
    Io(io::Error),
}

impl fmt::Display for CodecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fault(fault) => fault.fmt(f),
            Self::Misuse(misuse) => misuse.fmt(f),
            Self::Io(_) => f.write_str("the connection was lost"),
        }
    }
}

impl std::error::Error for CodecError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io(error) => Some(error),
            Self::Fault(_) | Self::Misuse(_) => None,
        }
    }
}

impl From<io::Error> for CodecError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}
