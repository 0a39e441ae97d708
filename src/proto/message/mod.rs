//! Messages: what applications send each other (RFC 6455 section 5.6).
//!
//! A message travels in one frame or in several: `assembler` puts received fragments together, `fragmenter` cuts what is
//! sent. Control frames are no messages and have no variant here.

pub(crate) mod assembler;
pub(crate) mod checker;
pub(crate) mod fragmenter;
mod utf8;

use std::fmt;

use bytes::Bytes;

use crate::proto::Opcode;

pub(crate) use utf8::Utf8Buffer;
pub use utf8::{InvalidUtf8, Utf8Bytes};

/// A message: text or bytes.
///
/// Payloads are reference-counted, and short texts held in place: cloning a message allocates nothing.
///
/// ```
/// use wireline::Message;
/// let message = Message::from("hello");
/// assert_eq!(message.as_text(), Some("hello"));
/// assert_eq!(message, Message::Text("hello".into()));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "RFC 6455 knows two types of data, and a match should stay complete")]
pub enum Message {
    /// Text, which is valid UTF-8.
    Text(Utf8Bytes),
    /// Bytes without a meaning to the protocol.
    Binary(Bytes),
}

impl Message {
    /// A text message. [`From`] does the same.
    ///
    /// ```
    /// assert!(wireline::Message::text("hi").is_text());
    /// ```
    pub fn text(text: impl Into<Utf8Bytes>) -> Self {
        Self::Text(text.into())
    }

    /// A binary message. [`From`] does the same.
    ///
    /// ```
    /// assert!(!wireline::Message::binary(vec![1, 2, 3]).is_text());
    /// ```
    pub fn binary(bytes: impl Into<Bytes>) -> Self {
        Self::Binary(bytes.into())
    }

    /// Whether this is text.
    #[must_use]
    pub const fn is_text(&self) -> bool {
        matches!(self, Self::Text(_))
    }

    /// The text, if this is text.
    #[must_use]
    #[inline]
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text.as_str()),
            Self::Binary(_) => None,
        }
    }

    /// The payload, whatever its type.
    ///
    /// ```
    /// assert_eq!(wireline::Message::from("hi").as_bytes(), b"hi");
    /// ```
    #[must_use]
    #[inline]
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Text(text) => text.as_str().as_bytes(),
            Self::Binary(bytes) => bytes,
        }
    }

    /// The payload, whatever its type, without copying it.
    #[must_use]
    #[inline]
    pub fn into_bytes(self) -> Bytes {
        match self {
            Self::Text(text) => text.into(),
            Self::Binary(bytes) => bytes,
        }
    }

    /// The opcode of its first frame.
    pub(crate) const fn opcode(&self) -> Opcode {
        match self {
            Self::Text(_) => Opcode::Text,
            Self::Binary(_) => Opcode::Binary,
        }
    }

    /// Bytes of payload.
    #[must_use]
    #[inline]
    pub fn len(&self) -> usize {
        self.as_bytes().len()
    }

    /// Whether the payload has no bytes. Empty messages are legal, and are delivered.
    #[must_use]
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Text as it is; of bytes, how many there are.
impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.pad(text.as_str()),
            Self::Binary(bytes) => write!(f, "[{} bytes]", bytes.len()),
        }
    }
}

impl From<&str> for Message {
    fn from(text: &str) -> Self {
        Self::Text(text.into())
    }
}

impl From<String> for Message {
    fn from(text: String) -> Self {
        Self::Text(text.into())
    }
}

impl From<Utf8Bytes> for Message {
    fn from(text: Utf8Bytes) -> Self {
        Self::Text(text)
    }
}

impl From<Bytes> for Message {
    fn from(bytes: Bytes) -> Self {
        Self::Binary(bytes)
    }
}

impl From<Vec<u8>> for Message {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Binary(bytes.into())
    }
}

impl From<&[u8]> for Message {
    fn from(bytes: &[u8]) -> Self {
        Self::Binary(Bytes::copy_from_slice(bytes))
    }
}

impl<const N: usize> From<&[u8; N]> for Message {
    fn from(bytes: &[u8; N]) -> Self {
        Self::from(&bytes[..])
    }
}
