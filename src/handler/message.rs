use std::{cell::Cell, fmt};

use bytes::Bytes;

use crate::{
    Utf8Bytes,
    handler::{Error, OpCode, Result, desk},
    proto::{Opcode, connection::Payload},
};

/// A message: text or bytes, owned.
///
/// It converts from and to the [`Message`](crate::Message) of the rest of the crate. On the way there the buffer moves; on
/// the way back it is taken over where nothing else refers to it, else copied once.
///
/// ```
/// use wireline::handler::Message;
/// let message = Message::from("hello");
/// assert_eq!(message, Message::Text("hello".to_owned()));
/// assert_eq!(message.as_text()?, "hello");
/// # Ok::<(), wireline::handler::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "RFC 6455 knows two types of data, and a match should stay complete")]
pub enum Message {
    /// Text.
    Text(String),
    /// Bytes without a meaning to the protocol.
    Binary(Vec<u8>),
}

impl Message {
    /// A text message. [`From`] does the same.
    pub fn text<S: Into<String>>(string: S) -> Self {
        Self::Text(string.into())
    }

    /// A binary message. [`From`] does the same.
    pub fn binary<B: Into<Vec<u8>>>(bin: B) -> Self {
        Self::Binary(bin.into())
    }

    /// Whether this is text.
    #[must_use]
    pub const fn is_text(&self) -> bool {
        matches!(self, Self::Text(_))
    }

    /// Whether this is binary.
    #[must_use]
    pub const fn is_binary(&self) -> bool {
        matches!(self, Self::Binary(_))
    }

    /// Bytes of payload.
    #[must_use]
    pub const fn len(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Binary(bytes) => bytes.len(),
        }
    }

    /// Whether the payload has no bytes. Empty messages are legal, and are delivered.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The opcode of the message's first frame.
    #[doc(hidden)]
    #[must_use]
    pub const fn opcode(&self) -> OpCode {
        match self {
            Self::Text(_) => OpCode::Text,
            Self::Binary(_) => OpCode::Binary,
        }
    }

    /// The same, as the core names it.
    pub(crate) const fn data_opcode(&self) -> Opcode {
        match self {
            Self::Text(_) => Opcode::Text,
            Self::Binary(_) => Opcode::Binary,
        }
    }

    /// The payload, whatever its type, without copying it.
    #[must_use]
    pub fn into_data(self) -> Vec<u8> {
        match self {
            Self::Text(text) => text.into_bytes(),
            Self::Binary(bytes) => bytes,
        }
    }

    /// The payload as text, without copying it.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Encoding`](crate::handler::ErrorKind::Encoding) if this is binary and not UTF-8.
    pub fn into_text(self) -> Result<String> {
        match self {
            Self::Text(text) => Ok(text),
            Self::Binary(bytes) => String::from_utf8(bytes).map_err(|error| Error::from(error.utf8_error())),
        }
    }

    /// The payload as text.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Encoding`](crate::handler::ErrorKind::Encoding) if this is binary and not UTF-8.
    ///
    /// ```
    /// use wireline::handler::Message;
    /// assert_eq!(Message::from(vec![0x68, 0x69]).as_text()?, "hi");
    /// assert!(Message::from(vec![0xff]).as_text().is_err());
    /// # Ok::<(), wireline::handler::Error>(())
    /// ```
    pub fn as_text(&self) -> Result<&str> {
        match self {
            Self::Text(text) => Ok(text),
            Self::Binary(bytes) => Ok(std::str::from_utf8(bytes)?),
        }
    }

    /// The payload, whatever its type.
    pub(crate) const fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Text(text) => text.as_bytes(),
            Self::Binary(bytes) => bytes.as_slice(),
        }
    }

    /// What a frame takes, without copying it.
    pub(crate) fn into_payload(self) -> (OpCode, Payload) {
        match self {
            Self::Text(text) => (OpCode::Text, Payload::Text(text.into())),
            Self::Binary(bytes) => (OpCode::Binary, Payload::Bytes(bytes.into())),
        }
    }

    /// What a frame received is to a handler, if it is a message by itself; none if it should be text and is not.
    #[inline(always)]
    pub(crate) fn of(opcode: Opcode, payload: &[u8]) -> Option<Self> {
        let mut buffer = desk::take_sent_message().map_or_else(|| SPARE.take(), Self::into_data);
        if !suits(&buffer, payload.len()) {
            buffer = Vec::with_capacity(payload.len());
        }
        if opcode == Opcode::Text {
            return Utf8Bytes::owned(payload, buffer).ok().map(Self::Text);
        }
        buffer.clear();
        buffer.extend_from_slice(payload);
        Some(Self::Binary(buffer))
    }

    /// The message has been sent: its memory is for the next one that arrives on this thread.
    #[inline]
    pub(crate) fn recycle(self) {
        let buffer = self.into_data();
        if suits(&buffer, buffer.len()) {
            // A thread that is ending keeps nothing.
            let _ = SPARE.try_with(|spare| spare.replace(buffer));
        }
    }

    /// What the core received, for a handler.
    pub(crate) fn from_wire(message: crate::Message) -> Self {
        message.into()
    }
}

thread_local! {
    /// The memory of the last short message that was sent: a handler that answers each message asks for none.
    static SPARE: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Whether a message of this length is content with this memory: whoever keeps the message keeps that too.
#[inline]
const fn suits(buffer: &Vec<u8>, len: usize) -> bool {
    len <= buffer.capacity() && buffer.capacity() <= len.saturating_mul(2)
}

/// The text, also of bytes that are UTF-8; of other bytes, how many there are.
impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.as_text() {
            Ok(text) => f.pad(text),
            Err(_) => write!(f, "Binary Data<length={}>", self.len()),
        }
    }
}

impl From<String> for Message {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<&str> for Message {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

/// Takes over an allocation that nothing else refers to, else copies.
impl From<Utf8Bytes> for Message {
    fn from(text: Utf8Bytes) -> Self {
        Self::Text(text.into())
    }
}

impl From<Vec<u8>> for Message {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Binary(bytes)
    }
}

impl From<&[u8]> for Message {
    fn from(bytes: &[u8]) -> Self {
        Self::Binary(bytes.to_vec())
    }
}

/// Takes over an allocation that nothing else refers to, else copies.
impl From<Bytes> for Message {
    fn from(bytes: Bytes) -> Self {
        Self::Binary(bytes.into())
    }
}

impl From<crate::Message> for Message {
    fn from(message: crate::Message) -> Self {
        match message {
            crate::Message::Text(text) => text.into(),
            crate::Message::Binary(bytes) => bytes.into(),
        }
    }
}

impl From<Message> for crate::Message {
    fn from(message: Message) -> Self {
        match message {
            Message::Text(text) => text.into(),
            Message::Binary(bytes) => bytes.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handler::ErrorKind;

    const NOT_TEXT: [u8; 5] = [0, 1, 3, 4, 241];

    fn text(text: &str) -> Message {
        Message::Text(text.to_owned())
    }

    fn binary(bytes: &[u8]) -> Message {
        Message::Binary(bytes.to_vec())
    }

    #[test]
    fn everything_that_is_a_message_becomes_one() {
        let rows = [
            (Message::from("hi"), text("hi")),
            (Message::from("hi".to_owned()), text("hi")),
            (Message::from(Utf8Bytes::from_static("hi")), text("hi")),
            (Message::from(crate::Message::from("hi")), text("hi")),
            (Message::text("hi"), text("hi")),
            (Message::from(&b"hi"[..]), binary(b"hi")),
            (Message::from(b"hi".to_vec()), binary(b"hi")),
            (Message::from(Bytes::from_static(b"hi")), binary(b"hi")),
            (Message::from(crate::Message::from(b"hi")), binary(b"hi")),
            (Message::from_wire(crate::Message::from(b"hi")), binary(b"hi")),
            (Message::binary(*b"hi"), binary(b"hi")),
        ];
        for (made, expected) in rows {
            assert_eq!(made, expected);
        }
    }

    #[test]
    fn display_is_the_text_or_the_length() {
        let rows = [
            (text("test"), "test"),
            (text(""), ""),
            (binary(b"test"), "test"),
            (binary(&NOT_TEXT), "Binary Data<length=5>"),
        ];
        for (message, display) in rows {
            assert_eq!(message.to_string(), display);
        }
    }

    #[test]
    fn binary_is_tried_as_text() {
        assert_eq!(binary("grüße".as_bytes()).as_text().unwrap(), "grüße");
        assert_eq!(binary("grüße".as_bytes()).into_text().unwrap(), "grüße");
        for error in [binary(&NOT_TEXT).as_text().unwrap_err(), binary(&NOT_TEXT).into_text().unwrap_err()] {
            assert!(matches!(error.kind, ErrorKind::Encoding(cause) if cause.valid_up_to() == 4), "{error:?}");
        }
    }

    #[test]
    fn what_a_message_says_of_itself() {
        let rows = [
            (text("grüße"), true, 7, OpCode::Text),
            (text(""), true, 0, OpCode::Text),
            (binary(&NOT_TEXT), false, 5, OpCode::Binary),
            (binary(b""), false, 0, OpCode::Binary),
        ];
        for (message, is_text, len, opcode) in rows {
            assert_eq!((message.is_text(), message.is_binary()), (is_text, !is_text));
            assert_eq!((message.len(), message.is_empty(), message.opcode()), (len, len == 0, opcode));
            assert_eq!(message.into_data().len(), len);
        }
    }

    #[test]
    fn the_allocation_moves_to_the_core_and_back() {
        for message in [text("a text of some length"), binary(&[7; 1000])] {
            let before = match &message {
                Message::Text(text) => text.as_ptr(),
                Message::Binary(bytes) => bytes.as_ptr(),
            };
            let core = crate::Message::from(message.clone());
            assert_eq!(Message::from(core), message);

            let core = crate::Message::from(message);
            assert_eq!(core.as_bytes().as_ptr(), before);
            let back = Message::from_wire(core).into_data();
            assert_eq!(back.as_ptr(), before);
        }
    }

    #[test]
    fn a_shared_allocation_is_copied() {
        let shared = Bytes::from(vec![7; 1000]);
        let message = Message::from(shared.clone());
        assert_eq!(message, binary(&shared));
        let data = message.into_data();
        assert_ne!(data.as_ptr(), shared.as_ptr());
    }

    #[test]
    fn what_was_sent_lends_its_memory_to_the_next_message_of_about_its_length() {
        let text = "ж".repeat(50);
        let first = Message::of(Opcode::Binary, &[7; 100]).unwrap();
        assert_eq!(first, binary(&[7; 100]));
        let at = first.as_bytes().as_ptr();
        first.recycle();
        let second = Message::of(Opcode::Text, text.as_bytes()).unwrap();
        assert_eq!((second.as_bytes().as_ptr(), &second), (at, &Message::Text(text)));
        second.recycle();
        // Whoever keeps it keeps no more than twice its length.
        let short = Message::of(Opcode::Binary, &[7; 49]).unwrap();
        assert!(short.clone().into_data().capacity() <= 98 && short.into_data().capacity() <= 98);
        Message::Binary(Vec::with_capacity(1000)).recycle();
        assert_eq!(Message::of(Opcode::Text, b""), Some(Message::text("")));
        for invalid in [&b"\xff"[..], b"abc\xe2\x82", &[&[b'x'; 100][..], b"\xc0"].concat()] {
            assert_eq!(Message::of(Opcode::Text, invalid), None);
        }
    }

    #[test]
    fn a_frame_gets_the_allocation() {
        let (owned_text, owned_bytes) = (String::from("a text"), vec![7; 1000]);
        let (text_at, bytes_at) = (owned_text.as_ptr(), owned_bytes.as_ptr());
        let (opcode, payload) = Message::from(owned_text).into_payload();
        assert!(matches!(payload, Payload::Text(text) if text.as_ptr() == text_at && opcode == OpCode::Text));
        let (opcode, payload) = Message::from(owned_bytes).into_payload();
        assert!(matches!(payload, Payload::Bytes(bytes) if bytes.as_ptr() == bytes_at && opcode == OpCode::Binary));
    }
}
