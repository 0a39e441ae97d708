//! Read buffers. A connection has one only while bytes are being decoded.

use std::cell::RefCell;

use bytes::BytesMut;

/// Bytes of a pooled read buffer. Large enough that batches of small frames cost one system call, small enough to stay in
/// the processor's cache.
pub(super) const READ_BUFFER: usize = 64 * 1024;

/// Buffers kept per thread; connections of one thread read one after the other, so few are ever in use.
const POOLED: usize = 8;

/// A header whose last byte is missing: the most that can be left when everything else has been decoded.
const PARTIAL: usize = 13;

thread_local! {
    static POOL: RefCell<Vec<BytesMut>> = const { RefCell::new(Vec::new()) };
}

/// What was received and not decoded yet.
#[derive(Debug)]
pub(super) struct Input {
    buffer: BytesMut,
    partial: [u8; PARTIAL],
    partial_len: u8,
}

impl Input {
    pub(super) const fn new(read_ahead: BytesMut) -> Self {
        Self { buffer: read_ahead, partial: [0; PARTIAL], partial_len: 0 }
    }

    /// Whether there is nothing to decode before more is read.
    pub(super) fn is_empty(&self) -> bool {
        self.buffer.is_empty()
    }

    /// Whether not even the beginning of a header is kept.
    pub(super) fn is_blank(&self) -> bool {
        self.buffer.is_empty() && self.partial_len == 0
    }

    pub(super) const fn buffer(&mut self) -> &mut BytesMut {
        &mut self.buffer
    }

    /// The buffer with room to read into, and with what was left of the last one.
    pub(super) fn room(&mut self) -> &mut BytesMut {
        // The beginning of a header is put aside, so that all of the buffer is free again whatever its place in it.
        self.keep_partial();
        let left = self.buffer.len();
        if !self.buffer.try_reclaim(READ_BUFFER.saturating_sub(left)) {
            let mut buffer = take();
            buffer.extend_from_slice(&self.buffer);
            self.buffer = buffer;
        }
        if self.partial_len > 0 {
            let partial = self.partial.get(..usize::from(self.partial_len)).unwrap_or_default();
            self.buffer.extend_from_slice(partial);
            self.partial_len = 0;
        }
        &mut self.buffer
    }

    /// Drops what is left and gives the buffer back.
    pub(super) fn discard(&mut self) {
        self.buffer.clear();
        self.partial_len = 0;
        self.release();
    }

    /// Gives the buffer back while nothing arrives; an unfinished header is kept here. If more than that is left, it is
    /// not decoded yet and stays.
    pub(super) fn release(&mut self) {
        self.keep_partial();
        if self.buffer.is_empty() && self.buffer.capacity() > 0 {
            give(std::mem::take(&mut self.buffer));
        }
    }

    /// Moves what is left out of the buffer, if it is no more than the beginning of a header.
    fn keep_partial(&mut self) {
        let left = self.buffer.len();
        if let (Some(partial), Ok(len @ 1..)) = (self.partial.get_mut(..left), u8::try_from(left)) {
            partial.copy_from_slice(&self.buffer);
            self.partial_len = len;
            self.buffer.clear();
        }
    }
}

fn take() -> BytesMut {
    let pooled = POOL.with_borrow_mut(Vec::pop);
    match pooled {
        Some(mut buffer) => {
            // A message that is still in use may share the buffer; then it is left to it.
            if buffer.try_reclaim(READ_BUFFER) { buffer } else { BytesMut::with_capacity(READ_BUFFER) }
        }
        None => BytesMut::with_capacity(READ_BUFFER),
    }
}

fn give(mut buffer: BytesMut) {
    buffer.clear();
    POOL.with_borrow_mut(|pool| {
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
    fn an_unfinished_header_outlives_its_buffer() {
        let mut input = Input::new(BytesMut::new());
        input.room().extend_from_slice(&[0x82, 0x7f]);
        input.release();
        assert!(input.is_empty() && !input.is_blank());
        assert_eq!(input.buffer.capacity(), 0);
        assert_eq!(&input.room()[..], [0x82, 0x7f]);
    }
}
