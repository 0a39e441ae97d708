use std::fmt;

use bytes::{BufMut, Bytes, BytesMut};

use crate::proto::{Misuse, Violation};

/// A status code that may travel in a Close frame (RFC 6455 section 7.4, with the codes IANA registered since).
///
/// 1005, 1006 and 1015 stand for things that happened without a code, so they have no value here:
/// [`Ending::code`](crate::Ending::code) reports them.
///
/// ```
/// use wireline::CloseCode;
/// assert_eq!(CloseCode::try_from(1000), Ok(CloseCode::NORMAL));
/// assert!(CloseCode::try_from(1005).is_err());
/// assert_eq!(CloseCode::try_from(4001).map(CloseCode::get), Ok(4001));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CloseCode(u16);

impl CloseCode {
    /// 1000: the purpose of the connection is fulfilled.
    pub const NORMAL: Self = Self(1000);
    /// 1001: a server going down, or a browser leaving the page.
    pub const GOING_AWAY: Self = Self(1001);
    /// 1002: the peer broke a rule of the protocol.
    pub const PROTOCOL_ERROR: Self = Self(1002);
    /// 1003: a type of data this endpoint does not take.
    pub const UNSUPPORTED_DATA: Self = Self(1003);
    /// 1007: data that does not fit its type, such as text that is not UTF-8.
    pub const INVALID_PAYLOAD: Self = Self(1007);
    /// 1008: a message against this endpoint's policy.
    pub const POLICY_VIOLATION: Self = Self(1008);
    /// 1009: a message too big to process.
    pub const MESSAGE_TOO_BIG: Self = Self(1009);
    /// 1010: a client that needs an extension the server did not negotiate.
    pub const MISSING_EXTENSION: Self = Self(1010);
    /// 1011: something unexpected prevented this endpoint from fulfilling the request.
    pub const INTERNAL_ERROR: Self = Self(1011);
    /// 1012: the service restarts; come back after a random delay.
    pub const SERVICE_RESTART: Self = Self(1012);
    /// 1013: overload; come back later.
    pub const TRY_AGAIN_LATER: Self = Self(1013);
    /// 1014: a gateway got an invalid response from behind it.
    pub const BAD_GATEWAY: Self = Self(1014);

    /// The number on the wire.
    #[must_use]
    pub const fn get(self) -> u16 {
        self.0
    }
}

impl TryFrom<u16> for CloseCode {
    type Error = Misuse;

    fn try_from(code: u16) -> Result<Self, Misuse> {
        match code {
            // RFC 6455 §7.4.2: below 3000 only registered codes, 3000 to 4999 by agreement, nothing else.
            1000..=1003 | 1007..=1014 | 3000..=4999 => Ok(Self(code)),
            _ => Err(Misuse::InvalidCloseCode(code)),
        }
    }
}

impl From<CloseCode> for u16 {
    fn from(code: CloseCode) -> Self {
        code.0
    }
}

impl fmt::Display for CloseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What a Close frame says: a code, and a reason of at most 123 bytes (RFC 6455 section 5.5.1).
///
/// ```
/// use wireline::{CloseCode, CloseFrame};
/// let frame = CloseFrame::new(CloseCode::GOING_AWAY, "maintenance")?;
/// assert_eq!((frame.code().get(), frame.reason()), (1001, "maintenance"));
/// # Ok::<(), wireline::proto::Misuse>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CloseFrame {
    code: CloseCode,
    reason: Box<str>,
}

impl CloseFrame {
    /// The longest reason, in bytes: a control frame holds 125, and two are the code.
    pub const MAX_REASON: usize = 123;

    /// # Errors
    ///
    /// [`Misuse::ReasonTooLong`] beyond [`CloseFrame::MAX_REASON`] bytes.
    pub fn new(code: CloseCode, reason: impl Into<Box<str>>) -> Result<Self, Misuse> {
        let reason = reason.into();
        if reason.len() > Self::MAX_REASON {
            return Err(Misuse::ReasonTooLong(reason.len()));
        }
        Ok(Self { code, reason })
    }

    /// Why the connection is closed.
    #[must_use]
    pub const fn code(&self) -> CloseCode {
        self.code
    }

    /// The reason in words; empty when there is none.
    #[must_use]
    pub const fn reason(&self) -> &str {
        &self.reason
    }

    /// A frame with a code and no words, which cannot fail.
    pub(crate) fn bare(code: CloseCode) -> Self {
        Self { code, reason: Box::default() }
    }

    /// Reads a Close frame's payload; `None` is an empty one.
    pub(crate) fn parse(payload: &[u8]) -> Result<Option<Self>, Violation> {
        let Some((code, reason)) = payload.split_first_chunk::<2>() else {
            // RFC 6455 §5.5.1: a payload begins with a two-byte code.
            return if payload.is_empty() { Ok(None) } else { Err(Violation::ClosePayloadTooShort) };
        };
        let code = u16::from_be_bytes(*code);
        let code = CloseCode::try_from(code).map_err(|_| Violation::InvalidCloseCode(code))?;
        let reason = std::str::from_utf8(reason).map_err(|_| Violation::InvalidCloseReason)?;
        Ok(Some(Self { code, reason: reason.into() }))
    }

    pub(crate) fn payload(frame: Option<&Self>) -> Bytes {
        let Some(frame) = frame else { return Bytes::new() };
        let mut payload = BytesMut::with_capacity(2 + frame.reason.len());
        payload.put_u16(frame.code.0);
        payload.put_slice(frame.reason.as_bytes());
        payload.freeze()
    }
}

impl fmt::Display for CloseFrame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.reason {
            "" => self.code.fmt(f),
            reason => write!(f, "{} {reason:?}", self.code),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_codes_that_may_travel_have_a_value() {
        let travel = |code: u16| matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999);
        for code in 0..=u16::MAX {
            assert_eq!(CloseCode::try_from(code).is_ok(), travel(code), "{code}");
        }
    }

    #[test]
    fn close_payloads_are_read_by_the_rules_of_section_5_5_1() {
        type Read<'a> = Result<Option<(u16, &'a str)>, Violation>;
        let rows: [(&[u8], Read<'_>); 6] = [
            (b"", Ok(None)),
            (b"\x03", Err(Violation::ClosePayloadTooShort)),
            (b"\x03\xe8", Ok(Some((1000, "")))),
            (b"\x03\xe8bye", Ok(Some((1000, "bye")))),
            (b"\x03\xed", Err(Violation::InvalidCloseCode(1005))),
            (b"\x03\xe8\xff", Err(Violation::InvalidCloseReason)),
        ];
        for (payload, expected) in rows {
            let read = CloseFrame::parse(payload);
            let read = read.as_ref().map(|frame| frame.as_ref().map(|frame| (frame.code().get(), frame.reason())));
            assert_eq!(read, expected.as_ref().copied(), "{payload:x?}");
        }
    }
}
