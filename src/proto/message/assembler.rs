use bytes::{BufMut, Bytes, BytesMut, buf::Limit};

use crate::proto::{Mask, Message, Violation, message::Utf8Buffer};

/// Puts the pieces of one message together in one growing buffer, as they arrive.
///
/// The buffer grows by doubling as bytes arrive, never because a header announced them. Limits are judged before, on each
/// header, by whoever owns the assembler.
#[derive(Debug)]
pub(crate) struct Assembler {
    body: Body,
    continuations: u64,
}

#[derive(Debug)]
enum Body {
    Text(Utf8Buffer),
    Binary(BytesMut),
}

impl Assembler {
    pub(crate) fn text() -> Self {
        Self { body: Body::Text(Utf8Buffer::default()), continuations: 0 }
    }

    pub(crate) fn binary() -> Self {
        Self { body: Body::Binary(BytesMut::new()), continuations: 0 }
    }

    /// Bytes of payload so far.
    pub(crate) fn len(&self) -> usize {
        match &self.body {
            Body::Text(buffer) => buffer.len(),
            Body::Binary(buffer) => buffer.len(),
        }
    }

    /// The payload so far.
    pub(crate) fn bytes(&self) -> &[u8] {
        match &self.body {
            Body::Text(buffer) => buffer.bytes(),
            Body::Binary(buffer) => buffer,
        }
    }

    /// Continuation frames so far, empty ones included.
    pub(crate) const fn continuations(&self) -> u64 {
        self.continuations
    }

    pub(crate) const fn continued(&mut self) {
        self.continuations += 1;
    }

    /// Takes the next piece by copying it.
    pub(crate) fn push(&mut self, piece: &[u8]) -> Result<(), Violation> {
        match &mut self.body {
            Body::Text(buffer) => {
                buffer.append(piece);
                buffer.validate().map_err(|_| Violation::InvalidUtf8)
            }
            Body::Binary(buffer) => {
                buffer.extend_from_slice(piece);
                Ok(())
            }
        }
    }

    /// Room to read the next piece into directly, of at most `at_most` bytes; [`Assembler::filled`] must follow.
    pub(crate) fn spare(&mut self, at_most: usize) -> Spare<'_> {
        let (len, capacity) = match &self.body {
            Body::Text(buffer) => (buffer.len(), buffer.capacity()),
            Body::Binary(buffer) => (buffer.len(), buffer.capacity()),
        };
        if capacity == len {
            // Doubling: what is there already is copied at most log2 times.
            let room = at_most.min(len.max(FIRST_SPARE));
            match &mut self.body {
                Body::Text(buffer) => buffer.reserve(room),
                Body::Binary(buffer) => buffer.reserve(room),
            }
        }
        match &mut self.body {
            Body::Text(buffer) => Spare(buffer.spare(at_most)),
            Body::Binary(buffer) => Spare(buffer.limit(at_most)),
        }
    }

    /// `read` bytes were put into the spare room: unmasks and validates them, and returns them if they are no text.
    /// `offset` is where in the frame's payload they begin.
    pub(crate) fn filled(&mut self, read: usize, mask: Option<Mask>, offset: u64) -> Result<&[u8], Violation> {
        let start = self.len().saturating_sub(read);
        let piece = match &mut self.body {
            Body::Text(buffer) => buffer.appended(start),
            Body::Binary(buffer) => buffer.get_mut(start..).unwrap_or_default(),
        };
        if let Some(mask) = mask {
            mask.apply(piece, offset);
        }
        match &mut self.body {
            Body::Text(buffer) => buffer.validate().map(|()| &[][..]).map_err(|_| Violation::InvalidUtf8),
            Body::Binary(buffer) => Ok(buffer.get(start..).unwrap_or_default()),
        }
    }

    /// The message, whose last piece has arrived.
    pub(crate) fn finish(self) -> Result<Message, Violation> {
        match self.body {
            Body::Text(buffer) => buffer.finish().map(Message::Text).map_err(|_| Violation::InvalidUtf8),
            Body::Binary(buffer) => Ok(Message::Binary(slim(buffer))),
        }
    }
}

/// What is kept must not pin more than four times its length.
pub(super) fn slim(buffer: BytesMut) -> Bytes {
    if buffer.capacity() / 4 > buffer.len() { Bytes::copy_from_slice(&buffer) } else { buffer.freeze() }
}

/// A limited window at the end of a message's buffer.
#[derive(Debug)]
pub(crate) struct Spare<'a>(Limit<&'a mut BytesMut>);

impl Spare<'_> {
    pub(crate) const fn buf(&mut self) -> &mut impl BufMut {
        &mut self.0
    }
}

const FIRST_SPARE: usize = 16 * 1024;
