use std::fmt;

use crate::proto::frame::CloseCode;

/// A rule of RFC 6455, or of an extension, that the peer broke on an open connection.
///
/// The connection is failed (section 7.1.7) with the close code of [`Violation::close_code`].
///
/// ```
/// use wireline::{CloseCode, proto::Violation};
/// assert_eq!(Violation::Unmasked.close_code(), CloseCode::PROTOCOL_ERROR);
/// assert_eq!(Violation::InvalidUtf8.close_code(), CloseCode::INVALID_PAYLOAD);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Violation {
    /// Section 5.2: a reserved bit is set and no extension gave it a meaning.
    ReservedBit,
    /// Section 5.2: an opcode that the RFC reserves.
    ReservedOpcode(u8),
    /// Section 5.5: a control frame with FIN clear.
    FragmentedControl,
    /// Section 5.5: a control frame that announces more than 125 bytes.
    ControlTooLong,
    /// Section 5.4: a continuation frame with no message to continue.
    UnexpectedContinuation,
    /// Section 5.4: a new message began before the last one was finished.
    ExpectedContinuation,
    /// Section 5.1: a client sent an unmasked frame.
    Unmasked,
    /// Section 5.1: a server sent a masked frame.
    Masked,
    /// Section 5.2: a length written in more bytes than it needs.
    LengthNotMinimal,
    /// Section 5.2: a 64-bit length whose most significant bit is set.
    LengthOutOfRange,
    /// Section 8.1: a text message that is not UTF-8.
    InvalidUtf8,
    /// RFC 7692 section 7.2.2: a compressed message that is not DEFLATE, is not complete, or refers to bytes that are not
    /// there.
    InvalidDeflate,
    /// Section 5.5.1: a Close frame whose payload is a single byte.
    ClosePayloadTooShort,
    /// Section 7.4: a Close frame with a code that may not travel.
    InvalidCloseCode(u16),
    /// Section 5.5.1: a Close frame whose reason is not UTF-8.
    InvalidCloseReason,
}

impl Violation {
    /// The code sent to a peer that broke this rule.
    #[must_use]
    pub const fn close_code(self) -> CloseCode {
        match self {
            // RFC 6455 §8.1 and §7.4.1: data that does not fit its type.
            Self::InvalidUtf8 | Self::InvalidDeflate | Self::InvalidCloseReason => CloseCode::INVALID_PAYLOAD,
            _ => CloseCode::PROTOCOL_ERROR,
        }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ReservedBit => f.write_str("reserved bit set without an extension (RFC 6455 section 5.2)"),
            Self::ReservedOpcode(opcode) => write!(f, "reserved opcode {opcode:#x} (RFC 6455 section 5.2)"),
            Self::FragmentedControl => f.write_str("fragmented control frame (RFC 6455 section 5.5)"),
            Self::ControlTooLong => f.write_str("control frame of more than 125 bytes (RFC 6455 section 5.5)"),
            Self::UnexpectedContinuation => f.write_str("continuation frame without a message (RFC 6455 section 5.4)"),
            Self::ExpectedContinuation => f.write_str("new message inside an unfinished one (RFC 6455 section 5.4)"),
            Self::Unmasked => f.write_str("unmasked frame from a client (RFC 6455 section 5.1)"),
            Self::Masked => f.write_str("masked frame from a server (RFC 6455 section 5.1)"),
            Self::LengthNotMinimal => f.write_str("length not written in the fewest bytes (RFC 6455 section 5.2)"),
            Self::LengthOutOfRange => f.write_str("length with its most significant bit set (RFC 6455 section 5.2)"),
            Self::InvalidUtf8 => f.write_str("text that is not UTF-8 (RFC 6455 section 8.1)"),
            Self::InvalidDeflate => f.write_str("compressed message that cannot be inflated (RFC 7692 section 7.2.2)"),
            Self::ClosePayloadTooShort => f.write_str("close payload of one byte (RFC 6455 section 5.5.1)"),
            Self::InvalidCloseCode(code) => write!(f, "close code {code} may not be sent (RFC 6455 section 7.4)"),
            Self::InvalidCloseReason => f.write_str("close reason that is not UTF-8 (RFC 6455 section 5.5.1)"),
        }
    }
}

impl std::error::Error for Violation {}

/// A limit of [`Limits`](crate::Limits) that the peer went beyond. The close code is 1009.
///
/// ```
/// use wireline::proto::Excess;
/// assert_eq!(Excess::Fragments { limit: 2 }.to_string(), "message of more than 2 continuation frames");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Excess {
    /// A frame announced more than `max_frame` bytes.
    Frame {
        /// Bytes announced.
        announced: u64,
        /// The limit in force.
        limit: u64,
    },
    /// A message would grow beyond `max_message` bytes.
    Message {
        /// The limit in force.
        limit: u64,
    },
    /// A message has more continuation frames than `max_fragments`.
    Fragments {
        /// The limit in force.
        limit: u64,
    },
    /// A compressed message has more final blocks (RFC 7692 section 7.2.3.4) than anyone needs.
    FinalBlocks {
        /// The limit, 256.
        limit: u64,
    },
}

impl fmt::Display for Excess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Frame { announced, limit } => write!(f, "frame of {announced} bytes, more than {limit}"),
            Self::Message { limit } => write!(f, "message of more than {limit} bytes"),
            Self::Fragments { limit } => write!(f, "message of more than {limit} continuation frames"),
            Self::FinalBlocks { limit } => write!(f, "compressed message of more than {limit} final blocks"),
        }
    }
}

impl std::error::Error for Excess {}

/// A call that cannot be carried out as it stands. Nothing was sent.
///
/// ```
/// use wireline::{CloseCode, CloseFrame, proto::Misuse};
/// assert_eq!(CloseFrame::new(CloseCode::NORMAL, "x".repeat(124)), Err(Misuse::ReasonTooLong(124)));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Misuse {
    /// A close reason of more than 123 bytes (RFC 6455 section 5.5).
    ReasonTooLong(usize),
    /// A close code that may not be sent (RFC 6455 section 7.4).
    InvalidCloseCode(u16),
    /// A Ping or Pong payload of more than 125 bytes (RFC 6455 section 5.5).
    ControlTooLong(usize),
    /// The queue of outgoing frames has no room for this message.
    QueueFull,
    /// The connection is closing or closed; a Close frame seals it (RFC 6455 section 5.5.1).
    Closed,
    /// A frame given to a [`FrameCodec`](crate::proto::FrameCodec) that may not travel as it is.
    InvalidFrame(Violation),
    /// A URL, header, path, host or subprotocol that cannot be sent; the text says which and why.
    InvalidRequest(&'static str),
    /// A setting that no connection could work with; the text says which and why.
    InvalidConfig(&'static str),
}

impl fmt::Display for Misuse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ReasonTooLong(len) => write!(f, "close reason of {len} bytes, more than 123"),
            Self::InvalidCloseCode(code) => write!(f, "close code {code} may not be sent"),
            Self::ControlTooLong(len) => write!(f, "ping or pong payload of {len} bytes, more than 125"),
            Self::QueueFull => f.write_str("the queue of outgoing frames is full"),
            Self::Closed => f.write_str("the connection is closing or closed"),
            Self::InvalidFrame(violation) => write!(f, "frame may not be sent: {violation}"),
            Self::InvalidRequest(what) | Self::InvalidConfig(what) => f.write_str(what),
        }
    }
}

impl std::error::Error for Misuse {}

/// Why a connection was failed: the peer broke a rule or went beyond a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "the two ways in which a peer can be at fault")]
pub enum Fault {
    /// A rule of the RFC was broken.
    Violation(Violation),
    /// A limit was exceeded.
    Excess(Excess),
}

impl From<Violation> for Fault {
    fn from(violation: Violation) -> Self {
        Self::Violation(violation)
    }
}

impl From<Excess> for Fault {
    fn from(excess: Excess) -> Self {
        Self::Excess(excess)
    }
}

impl Fault {
    /// The code sent to the peer.
    ///
    /// ```
    /// use wireline::{CloseCode, proto::{Excess, Fault}};
    /// assert_eq!(Fault::from(Excess::Message { limit: 1 }).close_code(), CloseCode::MESSAGE_TOO_BIG);
    /// ```
    #[must_use]
    pub const fn close_code(self) -> CloseCode {
        match self {
            Self::Violation(violation) => violation.close_code(),
            Self::Excess(_) => CloseCode::MESSAGE_TOO_BIG,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Violation(violation) => violation.fmt(f),
            Self::Excess(excess) => excess.fmt(f),
        }
    }
}

impl std::error::Error for Fault {}

/// What was waited for in vain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Awaited {
    /// The opening handshake, TLS included.
    Handshake,
    /// The Pong to our Ping.
    Pong,
    /// The transport, to accept one more byte.
    Write,
    /// The peer's Close frame, or the end of the transport after it.
    Close,
}

impl fmt::Display for Awaited {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Handshake => "the opening handshake",
            Self::Pong => "a pong",
            Self::Write => "the transport to accept bytes",
            Self::Close => "the closing handshake",
        })
    }
}
