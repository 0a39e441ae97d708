//! Numbers of RFC 6455 as ws-rs names them: why a connection is closed, and what a frame is.

use std::fmt;

use crate::proto::Opcode;

/// Why a connection is closed (RFC 6455 section 7.4).
///
/// Unlike the [`CloseCode`](crate::CloseCode) of the rest of the crate it also names what never travels: that a Close frame
/// had no code, or that there was none at all. Given to a close, such a code sends a Close frame without a payload.
///
/// ```
/// use wireline::handler::CloseCode;
/// assert_eq!(CloseCode::from(1001), CloseCode::Away);
/// assert_eq!(CloseCode::from(4000), CloseCode::Other(4000));
/// assert_eq!(u16::from(CloseCode::Size), 1009);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "ws-rs's variants, of which `Other` has every number left")]
pub enum CloseCode {
    /// 1000: the purpose of the connection is fulfilled.
    Normal,
    /// 1001: a server going down, or a browser leaving the page.
    Away,
    /// 1002: the other side broke a rule of the protocol.
    Protocol,
    /// 1003: a type of data this endpoint does not take.
    Unsupported,
    /// 1005, never on the wire: the Close frame had no code.
    Status,
    /// 1006, never on the wire: the connection ended without a valid Close frame.
    Abnormal,
    /// 1007: data that does not fit its type, such as text that is not UTF-8.
    Invalid,
    /// 1008: a message against this endpoint's policy.
    Policy,
    /// 1009: a message too big to process.
    Size,
    /// 1010: a client that needs an extension the server did not negotiate.
    Extension,
    /// 1011: something unexpected prevented this endpoint from fulfilling the request.
    Error,
    /// 1012: the service restarts; come back after a random delay.
    Restart,
    /// 1013: overload; come back later.
    Again,
    /// 1015, never on the wire: the TLS handshake failed.
    #[doc(hidden)]
    Tls,
    /// No code at all; as a number 0.
    #[doc(hidden)]
    Empty,
    /// Any other number: 1014 (a gateway got an invalid response), 3000 to 4999 by agreement of both sides. All others may
    /// not travel.
    Other(u16),
}

impl CloseCode {
    /// The code as it may travel, if it may.
    pub(crate) fn on_wire(self) -> Option<crate::CloseCode> {
        crate::CloseCode::try_from(u16::from(self)).ok()
    }
}

impl From<u16> for CloseCode {
    fn from(code: u16) -> Self {
        match code {
            0 => Self::Empty,
            1000 => Self::Normal,
            1001 => Self::Away,
            1002 => Self::Protocol,
            1003 => Self::Unsupported,
            1005 => Self::Status,
            1006 => Self::Abnormal,
            1007 => Self::Invalid,
            1008 => Self::Policy,
            1009 => Self::Size,
            1010 => Self::Extension,
            1011 => Self::Error,
            1012 => Self::Restart,
            1013 => Self::Again,
            1015 => Self::Tls,
            _ => Self::Other(code),
        }
    }
}

impl From<CloseCode> for u16 {
    fn from(code: CloseCode) -> Self {
        match code {
            CloseCode::Empty => 0,
            CloseCode::Normal => 1000,
            CloseCode::Away => 1001,
            CloseCode::Protocol => 1002,
            CloseCode::Unsupported => 1003,
            CloseCode::Status => 1005,
            CloseCode::Abnormal => 1006,
            CloseCode::Invalid => 1007,
            CloseCode::Policy => 1008,
            CloseCode::Size => 1009,
            CloseCode::Extension => 1010,
            CloseCode::Error => 1011,
            CloseCode::Restart => 1012,
            CloseCode::Again => 1013,
            CloseCode::Tls => 1015,
            CloseCode::Other(code) => code,
        }
    }
}

impl From<crate::CloseCode> for CloseCode {
    fn from(code: crate::CloseCode) -> Self {
        Self::from(code.get())
    }
}

/// What a frame's payload is (RFC 6455 section 5.2).
///
/// ```
/// use wireline::handler::OpCode;
/// assert_eq!(OpCode::from(9), OpCode::Ping);
/// assert!(OpCode::Ping.is_control());
/// assert_eq!(OpCode::Text.to_string(), "TEXT");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "RFC 6455 knows six opcodes, and the rest is Bad")]
pub enum OpCode {
    /// `0x0`: the next fragment of a message.
    Continue,
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
    /// One that the RFC reserves. As a number it is 8, the Close frame's.
    Bad,
}

impl OpCode {
    /// Whether frames of this opcode stand outside messages: true of Close, Ping and Pong, and of `Bad`.
    #[must_use]
    pub const fn is_control(&self) -> bool {
        !matches!(self, Self::Continue | Self::Text | Self::Binary)
    }

    /// The same opcode as the core names it; `Bad` has no name there.
    pub(crate) const fn known(self) -> Option<Opcode> {
        match self {
            Self::Continue => Some(Opcode::Continuation),
            Self::Text => Some(Opcode::Text),
            Self::Binary => Some(Opcode::Binary),
            Self::Close => Some(Opcode::Close),
            Self::Ping => Some(Opcode::Ping),
            Self::Pong => Some(Opcode::Pong),
            Self::Bad => None,
        }
    }
}

impl fmt::Display for OpCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Continue => "CONTINUE",
            Self::Text => "TEXT",
            Self::Binary => "BINARY",
            Self::Close => "CLOSE",
            Self::Ping => "PING",
            Self::Pong => "PONG",
            Self::Bad => "BAD",
        })
    }
}

impl From<u8> for OpCode {
    fn from(number: u8) -> Self {
        Opcode::from_bits(number).map_or(Self::Bad, Self::from)
    }
}

impl From<OpCode> for u8 {
    fn from(opcode: OpCode) -> Self {
        opcode.known().unwrap_or(Opcode::Close).bits()
    }
}

impl From<Opcode> for OpCode {
    fn from(opcode: Opcode) -> Self {
        match opcode {
            Opcode::Continuation => Self::Continue,
            Opcode::Text => Self::Text,
            Opcode::Binary => Self::Binary,
            Opcode::Close => Self::Close,
            Opcode::Ping => Self::Ping,
            Opcode::Pong => Self::Pong,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMED: [(u16, CloseCode); 15] = [
        (0, CloseCode::Empty),
        (1000, CloseCode::Normal),
        (1001, CloseCode::Away),
        (1002, CloseCode::Protocol),
        (1003, CloseCode::Unsupported),
        (1005, CloseCode::Status),
        (1006, CloseCode::Abnormal),
        (1007, CloseCode::Invalid),
        (1008, CloseCode::Policy),
        (1009, CloseCode::Size),
        (1010, CloseCode::Extension),
        (1011, CloseCode::Error),
        (1012, CloseCode::Restart),
        (1013, CloseCode::Again),
        (1015, CloseCode::Tls),
    ];

    #[test]
    fn every_number_is_a_close_code_and_keeps_its_value() {
        for number in 0..=u16::MAX {
            let named = NAMED.iter().find(|(named, _)| *named == number).map(|(_, code)| *code);
            let code = CloseCode::from(number);
            assert_eq!(code, named.unwrap_or(CloseCode::Other(number)));
            assert_eq!(u16::from(code), number);
        }
    }

    #[test]
    fn section_7_4_says_which_close_codes_travel_whatever_their_name() {
        for number in 0..=u16::MAX {
            let travels = matches!(number, 1000..=1003 | 1007..=1014 | 3000..=4999).then_some(number);
            for code in [CloseCode::from(number), CloseCode::Other(number)] {
                assert_eq!(code.on_wire().map(crate::CloseCode::get), travels, "{code:?}");
            }
        }
    }

    #[test]
    fn what_travelled_comes_back_as_the_same_close_code() {
        for number in 0..=u16::MAX {
            if let Some(code) = CloseCode::from(number).on_wire() {
                assert_eq!(CloseCode::from(code), CloseCode::from(number));
            }
        }
    }

    #[test]
    fn opcodes() {
        let rows = [
            (0, OpCode::Continue, "CONTINUE", false),
            (1, OpCode::Text, "TEXT", false),
            (2, OpCode::Binary, "BINARY", false),
            (8, OpCode::Close, "CLOSE", true),
            (9, OpCode::Ping, "PING", true),
            (10, OpCode::Pong, "PONG", true),
        ];
        for (number, opcode, name, is_control) in rows {
            assert_eq!((OpCode::from(number), u8::from(opcode)), (opcode, number));
            assert_eq!((opcode.to_string(), opcode.is_control()), (name.to_owned(), is_control));
            assert_eq!(opcode.known().map(OpCode::from), Some(opcode));
            assert_eq!(opcode.known().map(Opcode::bits), Some(number));
        }
        for number in (0..=u8::MAX).filter(|number| !matches!(number, 0..=2 | 8..=10)) {
            assert_eq!(OpCode::from(number), OpCode::Bad, "{number}");
        }
        assert_eq!((u8::from(OpCode::Bad), OpCode::Bad.known(), OpCode::Bad.is_control()), (8, None, true));
        assert_eq!(OpCode::Bad.to_string(), "BAD");
    }
}
