use bytes::{BufMut, Bytes, buf::Limit};

use crate::proto::{Mask, Message, Violation, message::Utf8Buffer};

/// Puts the pieces of one message together in one growing buffer, as they arrive.
///
/// The buffer grows by doubling as bytes arrive, never because a header announced them, and not beyond the limit. That is
/// judged before, on each header, by whoever owns the assembler.
#[derive(Debug)]
pub(crate) struct Assembler {
    body: Body,
    continuations: u64,
    most: usize,
}

#[derive(Debug)]
enum Body {
    Text(Utf8Buffer),
    Binary(Vec<u8>),
}

impl Assembler {
    /// For text of at most `most` bytes, where that is known.
    pub(crate) fn text(most: Option<u64>) -> Self {
        Self::of(Body::Text(Utf8Buffer::default()), most)
    }

    /// For bytes, at most so many of them.
    pub(crate) fn binary(most: Option<u64>) -> Self {
        Self::of(Body::Binary(Vec::new()), most)
    }

    fn of(body: Body, most: Option<u64>) -> Self {
        let most = most.and_then(|most| usize::try_from(most).ok()).unwrap_or(usize::MAX);
        Self { body, continuations: 0, most }
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

    pub(crate) const fn continued(&mut self, frames: u64) {
        self.continuations += frames;
    }

    /// Takes the next piece by copying it.
    pub(crate) fn push(&mut self, piece: &[u8]) -> Result<(), Violation> {
        self.make_room(piece.len());
        self.append(piece);
        self.validate()
    }

    /// Copies a piece of what there is room for; [`Assembler::validate`] or [`Assembler::finish`] must follow.
    pub(crate) fn append(&mut self, piece: &[u8]) {
        match &mut self.body {
            Body::Text(buffer) => buffer.append(piece),
            Body::Binary(buffer) => buffer.extend_from_slice(piece),
        }
    }

    /// The same, unmasked where it goes: other than behind a header, words do not cross the processor's lines there.
    pub(crate) fn append_masked(&mut self, piece: &[u8], mask: Option<Mask>) {
        let start = self.len();
        self.append(piece);
        let Some(mask) = mask else { return };
        let piece = match &mut self.body {
            Body::Text(buffer) => buffer.appended(start),
            Body::Binary(buffer) => buffer.get_mut(start..).unwrap_or_default(),
        };
        mask.apply(piece, 0);
    }

    /// Judges what was appended, if this is text.
    pub(crate) fn validate(&mut self) -> Result<(), Violation> {
        match &mut self.body {
            Body::Text(buffer) => buffer.validate().map_err(|_| Violation::InvalidUtf8),
            Body::Binary(_) => Ok(()),
        }
    }

    /// Room to read the next piece into directly, of at most `at_most` bytes; [`Assembler::filled`] must follow.
    pub(crate) fn spare(&mut self, at_most: usize) -> Spare<'_> {
        if self.capacity() == self.len() {
            self.make_room(at_most.min(FIRST_SPARE.saturating_sub(self.len()).max(1)));
        }
        match &mut self.body {
            Body::Text(buffer) => Spare(buffer.spare(at_most)),
            Body::Binary(buffer) => Spare(buffer.limit(at_most)),
        }
    }

    const fn capacity(&self) -> usize {
        match &self.body {
            Body::Text(buffer) => buffer.capacity(),
            Body::Binary(buffer) => buffer.capacity(),
        }
    }

    /// By doubling, from [`FIRST_ROOM`] on, so that what is there already is copied at most log2 times; and not beyond what may come.
    pub(crate) fn make_room(&mut self, additional: usize) {
        let (len, capacity) = (self.len(), self.capacity());
        if capacity - len >= additional {
            return;
        }
        let doubled = capacity.saturating_mul(2).max(FIRST_ROOM).min(self.most).saturating_sub(len);
        self.make_last_room(doubled.max(additional));
    }

    /// For the last bytes of the message, which are here.
    pub(crate) fn make_last_room(&mut self, room: usize) {
        match &mut self.body {
            Body::Text(buffer) => buffer.reserve_exact(room),
            Body::Binary(buffer) => buffer.reserve_exact(room),
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
        self.validate()?;
        match &self.body {
            Body::Text(_) => Ok(&[]),
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
pub(super) fn slim(buffer: Vec<u8>) -> Bytes {
    if buffer.capacity() / 4 > buffer.len() { Bytes::copy_from_slice(&buffer) } else { buffer.into() }
}

/// A limited window at the end of a message's buffer.
#[derive(Debug)]
pub(crate) struct Spare<'a>(Limit<&'a mut Vec<u8>>);

impl Spare<'_> {
    pub(crate) const fn buf(&mut self) -> &mut impl BufMut {
        &mut self.0
    }
}

const FIRST_SPARE: usize = 16 * 1024;

/// Where growing begins: fragments are seldom alone, and each step of growing copies.
const FIRST_ROOM: usize = 2 * 1024;
