//! Read buffers. A connection has one only while bytes are being decoded.

use std::cell::RefCell;

use bytes::{Buf, BytesMut};

/// Bytes of a pooled read buffer. Large enough that batches of small frames cost one system call, small enough to stay in
/// the processor's cache. No multiple of a page, so that reads that fill it begin elsewhere in their pages each time: while
/// the kernel's bytes are at most 31 before ours there, `rep movsb` takes up to 17 times as long on AMD's Zen 4.
pub(super) const READ_BUFFER: usize = 64 * 1024 - 200;

/// Buffers kept per thread; connections of one thread read one after the other, so few are ever in use.
const POOLED: usize = 8;

/// A header whose last byte is missing: the most that can be left when everything else has been decoded.
const PARTIAL: usize = 13;

thread_local! {
    #[expect(clippy::vec_box, reason = "a connection takes over the box as it is")]
    static POOL: RefCell<Vec<Box<Filled>>> = const { RefCell::new(Vec::new()) };
}

/// What was received and not decoded yet. A pointer and a tag: idle connections are many.
#[derive(Debug, Default)]
pub(super) enum Input {
    /// Nothing.
    #[default]
    Blank,
    /// The beginning of a header, kept without a buffer.
    Partial(Box<Partial>),
    /// A buffer in use.
    Buffer(Box<Filled>),
}

/// A read buffer. What was decoded of it is only counted, while nothing else is to be done with it: letting `bytes` forget
/// its beginning after each message costs more.
#[derive(Debug, Default)]
pub(super) struct Filled {
    bytes: BytesMut,
    decoded: usize,
}

impl Filled {
    fn settled(&mut self) -> &mut BytesMut {
        if self.decoded > 0 {
            let decoded = std::mem::take(&mut self.decoded);
            if decoded >= self.bytes.len() {
                // Not advanced: from there, going back to the beginning would cost more.
                self.bytes.clear();
            } else {
                self.bytes.advance(decoded);
            }
        }
        &mut self.bytes
    }

    /// Whether all of it was decoded, and there is room enough in its place.
    fn is_free(&self) -> bool {
        self.bytes.len() == self.decoded && self.bytes.capacity() >= READ_BUFFER / 2
    }

    fn left(&self) -> &[u8] {
        self.bytes.get(self.decoded..).unwrap_or_default()
    }
}

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Partial {
    bytes: [u8; PARTIAL],
    len: u8,
}

impl Input {
    /// Begins with what was read ahead, in a buffer of the pool: a smaller one would end up there instead.
    pub(super) fn new(read_ahead: &[u8]) -> Self {
        if read_ahead.is_empty() {
            return Self::Blank;
        }
        let mut buffer = take();
        buffer.bytes.extend_from_slice(read_ahead);
        Self::Buffer(buffer)
    }

    /// The bytes to decode before more is read, if there are any.
    pub(super) fn pending(&mut self) -> Option<&mut BytesMut> {
        match self {
            Self::Buffer(buffer) if !buffer.left().is_empty() => Some(buffer.settled()),
            Self::Buffer(_) | Self::Partial(_) | Self::Blank => None,
        }
    }

    /// The same bytes, or none, with the count of those that are decoded: for whoever takes only copies.
    #[inline]
    pub(super) fn left(&mut self) -> Option<(&mut [u8], &mut usize)> {
        match self {
            Self::Buffer(buffer) => {
                let Filled { bytes, decoded } = &mut **buffer;
                Some((bytes.get_mut(*decoded..)?, decoded))
            }
            Self::Partial(_) | Self::Blank => None,
        }
    }

    /// Whether not even the beginning of a header is kept.
    pub(super) fn is_blank(&self) -> bool {
        match self {
            Self::Blank => true,
            Self::Partial(_) => false,
            Self::Buffer(buffer) => buffer.left().is_empty(),
        }
    }

    /// The buffer with room to read into, and with what was left of the last one.
    #[inline]
    pub(super) fn room(&mut self) -> &mut BytesMut {
        if !matches!(self, Self::Buffer(buffer) if buffer.is_free()) {
            self.make_room();
        }
        match self {
            Self::Buffer(buffer) => buffer.settled(),
            Self::Blank | Self::Partial(_) => unreachable!("room was made just above"),
        }
    }

    fn make_room(&mut self) {
        // The beginning of a header is put aside, so that all of the buffer is free again whatever its place in it.
        let (mut buffer, partial) = match std::mem::take(self) {
            Self::Buffer(mut buffer) => match Partial::of(buffer.left()) {
                Some(partial) => {
                    buffer.settled().clear();
                    (buffer, partial)
                }
                None => (buffer, Partial::default()),
            },
            Self::Partial(partial) => (take(), *partial),
            Self::Blank => {
                *self = Self::Buffer(take());
                return;
            }
        };
        let bytes = buffer.settled();
        if !bytes.try_reclaim(READ_BUFFER.saturating_sub(bytes.len())) {
            let mut fresh = take();
            fresh.bytes.extend_from_slice(bytes);
            buffer = fresh;
        }
        buffer.bytes.extend_from_slice(partial.bytes());
        *self = Self::Buffer(buffer);
    }

    /// Drops what is left and gives the buffer back.
    pub(super) fn discard(&mut self) {
        if let Self::Buffer(buffer) = std::mem::take(self) {
            give(buffer);
        }
    }

    /// Gives the buffer back while nothing arrives; an unfinished header is kept here. If more than that is left, it is
    /// not decoded yet and stays.
    pub(super) fn release(&mut self) {
        let Self::Buffer(buffer) = self else { return };
        let keep = if buffer.left().is_empty() {
            Self::Blank
        } else {
            let Some(partial) = Partial::of(buffer.left()) else { return };
            Self::Partial(Box::new(partial))
        };
        if let Self::Buffer(buffer) = std::mem::replace(self, keep) {
            give(buffer);
        }
    }
}

impl Partial {
    /// A copy of what is left in a buffer, if it is no more than the beginning of a header.
    fn of(left: &[u8]) -> Option<Self> {
        let mut partial = Self { len: u8::try_from(left.len()).ok()?, ..Self::default() };
        partial.bytes.get_mut(..left.len())?.copy_from_slice(left);
        Some(partial)
    }

    fn bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.len)).unwrap_or_default()
    }
}

fn take() -> Box<Filled> {
    let mut buffer = POOL.with_borrow_mut(Vec::pop).unwrap_or_default();
    // A message that is still in use may share the buffer; then it is left to it.
    if !buffer.bytes.try_reclaim(READ_BUFFER) {
        buffer.bytes = BytesMut::with_capacity(READ_BUFFER);
    }
    buffer
}

fn give(mut buffer: Box<Filled>) {
    buffer.bytes.clear();
    buffer.decoded = 0;
    // A thread that is ending has no pool any more, and needs none.
    let _ = POOL.try_with(|pool| {
        let mut pool = pool.borrow_mut();
        if pool.len() < POOLED {
            pool.push(buffer);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::connection::VIEW_FROM;

    #[test]
    fn a_view_pins_at_most_four_times_its_length() {
        const { assert!(READ_BUFFER / VIEW_FROM <= 4) }
    }

    #[test]
    fn full_reads_begin_elsewhere_in_their_pages() {
        const PAGE: usize = 4096;
        const { assert!(READ_BUFFER % PAGE >= 32 && PAGE - READ_BUFFER % PAGE >= 32) }
    }

    #[test]
    fn an_unfinished_header_outlives_its_buffer() {
        let mut input = Input::new(&[]);
        input.room().extend_from_slice(&[0x82, 0x7f]);
        input.release();
        assert!(matches!(input, Input::Partial(_)));
        assert!(input.pending().is_none() && !input.is_blank());
        assert_eq!(&input.room()[..], [0x82, 0x7f]);
    }
}
