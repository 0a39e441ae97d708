/// What a frame's payload is (RFC 6455 section 5.2). Reserved opcodes have no value here: they are a
/// [`Violation`](crate::proto::Violation).
///
/// ```
/// use wireline::proto::Opcode;
/// assert!(Opcode::Ping.is_control());
/// assert_eq!(Opcode::from_bits(0x3), None);
/// assert_eq!(Opcode::Close.bits(), 0x8);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "RFC 6455 knows six opcodes; another needs another protocol")]
pub enum Opcode {
    /// `0x0`: the next piece of the message that is being sent.
    Continuation,
    /// `0x1`: UTF-8 text.
    Text,
    /// `0x2`: bytes.
    Binary,
    /// `0x8`: the closing handshake.
    Close,
    /// `0x9`: asks for a Pong.
    Ping,
    /// `0xA`: answers a Ping, or none.
    Pong,
}

impl Opcode {
    /// The opcode that these four bits stand for, if the RFC defines one.
    #[inline]
    #[must_use]
    pub const fn from_bits(bits: u8) -> Option<Self> {
        match bits {
            0x0 => Some(Self::Continuation),
            0x1 => Some(Self::Text),
            0x2 => Some(Self::Binary),
            0x8 => Some(Self::Close),
            0x9 => Some(Self::Ping),
            0xA => Some(Self::Pong),
            _ => None,
        }
    }

    /// The four bits on the wire.
    #[must_use]
    pub const fn bits(self) -> u8 {
        match self {
            Self::Continuation => 0x0,
            Self::Text => 0x1,
            Self::Binary => 0x2,
            Self::Close => 0x8,
            Self::Ping => 0x9,
            Self::Pong => 0xA,
        }
    }

    /// Whether frames of this opcode stand outside messages: Close, Ping and Pong (RFC 6455 section 5.5).
    #[must_use]
    pub const fn is_control(self) -> bool {
        matches!(self, Self::Close | Self::Ping | Self::Pong)
    }
}
