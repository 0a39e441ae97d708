//! The queue of encoded frames.
//!
//! ```text
//! front:  [pong]                      control frames, written at the next frame boundary
//! small:  [h p h p h ..|.. h p h]     headers and small payloads, one after the other
//! large:               ^ payload      large payloads by reference, each with its place in `small`
//! ```

use std::{
    cell::RefCell,
    collections::VecDeque,
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes};
use tokio::io::AsyncWrite;

use crate::proto::{Header, codec::encoder::Output};

/// A payload of this length goes out by reference; a shorter one is cheaper to copy behind its header.
pub(super) const BY_REFERENCE: usize = 8 * 1024;

/// A longer payload is copied in pieces: at once, it would be by an instruction that takes long to begin (`rep movs`), for 4 KiB
/// 13 ns longer.
const COPIED_AT_ONCE: usize = 1024;

/// A frame boundary is remembered after this many bytes at most, so that a Pong waits for no more than that and one frame.
const MARK_EVERY: u64 = 16 * 1024;

/// Slices of one vectored write; and those for a single large payload, because making many takes a while: the front, what is
/// before the payload, the payload, what is behind it.
const SLICES: usize = 64;
const FEW_SLICES: usize = 4;

/// Queues kept per thread, and the most room such a queue may keep.
const POOLED: usize = 8;
const POOLED_CAPACITY: usize = 64 * 1024;

thread_local! {
    // The boxes are what is pooled: a connection holds one pointer.
    #[expect(clippy::vec_box, reason = "a connection takes over the box as it is")]
    static POOL: RefCell<Vec<Box<Queue>>> = const { RefCell::new(Vec::new()) };
}

/// Encoded frames on their way to the transport. Partial writes move offsets; bytes stay where they are.
#[derive(Debug, Default)]
pub(super) struct Queue {
    front: Vec<u8>,
    front_written: usize,
    small: Vec<u8>,
    small_written: usize,
    large: VecDeque<Large>,
    /// Bytes queued and written since the queue was last empty, the front apart.
    queued: u64,
    written: u64,
    /// The last known frame boundary at or before `written`, and some of those behind it.
    boundary: u64,
    marks: VecDeque<u64>,
    marked: u64,
}

#[derive(Debug)]
struct Large {
    /// This payload follows `small[..after]`.
    after: usize,
    payload: Bytes,
}

/// How far a write may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Until {
    /// To the end of the queue.
    End,
    /// To the next known frame boundary, where a control frame waits to be put in.
    Boundary,
}

impl Queue {
    /// An empty queue, from this thread's pool if there is one.
    #[inline(never)]
    pub(super) fn take() -> Box<Self> {
        POOL.with_borrow_mut(Vec::pop).unwrap_or_default()
    }

    /// Gives a queue back, with whatever is left in it dropped.
    pub(super) fn give(mut self: Box<Self>) {
        if self.queued > 0 || !self.front.is_empty() {
            self.reset();
        }
        if self.small.capacity() <= POOLED_CAPACITY {
            // A thread that is ending has no pool any more, and needs none.
            let _ = POOL.try_with(|pool| {
                let mut pool = pool.borrow_mut();
                if pool.len() < POOLED {
                    pool.push(self);
                }
            });
        }
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.written == self.queued && self.front_written == self.front.len()
    }

    /// Bytes that wait.
    pub(super) fn len(&self) -> usize {
        usize::try_from(self.queued - self.written).unwrap_or(usize::MAX)
    }

    /// Drops what waits behind the next known frame boundary, so that what went out so far stays whole frames.
    pub(super) fn drop_unsent(&mut self) {
        let boundary = match self.marks.front() {
            _ if self.written == self.boundary => self.written,
            Some(mark) => *mark,
            None => return,
        };
        let mut left = usize::try_from(boundary - self.written).unwrap_or(usize::MAX);
        let mut small = self.small_written;
        let mut kept = 0;
        for large in &self.large {
            let before = large.after - small;
            if left <= before {
                break;
            }
            left = left.saturating_sub(before + large.payload.len());
            small = large.after;
            kept += 1;
        }
        self.large.truncate(kept);
        self.small.truncate(small + left);
        self.marks.truncate(1);
        (self.queued, self.marked) = (boundary, boundary);
        self.settle();
    }

    /// Takes bytes that others hold too. Where they are copied anyway, they are not counted as shared first.
    pub(super) fn put_shared(&mut self, bytes: &Bytes) {
        if bytes.len() < BY_REFERENCE {
            self.put(bytes);
        } else {
            self.put_payload(bytes.clone());
        }
    }

    /// Where control frames may be put right now, ahead of everything that waits.
    pub(super) fn front(&mut self) -> Option<Front<'_>> {
        if self.written != self.boundary || self.front_written != self.front.len() {
            return None;
        }
        self.front.clear();
        self.front_written = 0;
        Some(Front(&mut self.front))
    }

    /// Writes once and says how many bytes the transport took; never 0.
    pub(super) fn poll_write<S: AsyncWrite + Unpin>(
        &mut self,
        io: &mut S,
        cx: &mut Context<'_>,
        until: Until,
    ) -> Poll<io::Result<usize>> {
        let (written, offered) = self.poll_write_slices(io, cx, until)?;
        let written = ready!(written)?;
        if written == 0 {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::WriteZero, "the transport accepts no more bytes")));
        }
        if written > offered {
            return Poll::Ready(Err(io::Error::other("the transport claims to have written more than it was given")));
        }
        self.advance(written);
        Poll::Ready(Ok(written))
    }

    fn poll_write_slices<S: AsyncWrite + Unpin>(
        &self,
        io: &mut S,
        cx: &mut Context<'_>,
        until: Until,
    ) -> io::Result<(Poll<io::Result<usize>>, usize)> {
        let front = self.front.get(self.front_written..).unwrap_or_default();
        // The usual case: headers and small payloads only, one plain write.
        if front.is_empty() && self.large.is_empty() && until == Until::End {
            let small = self.small.get(self.small_written..).unwrap_or_default();
            return Ok((Pin::new(io).poll_write(cx, small), small.len()));
        }
        let (mut few, mut many);
        let slices: &mut [_] = if self.large.len() > 1 {
            many = [IoSlice::new(&[]); SLICES];
            &mut many
        } else {
            few = [IoSlice::new(&[]); FEW_SLICES];
            &mut few
        };
        let (count, offered) = self.fill(slices, front, until);
        let slices = slices.get(..count).unwrap_or_default();
        match slices {
            [only] => Ok((Pin::new(io).poll_write(cx, only), offered)),
            slices if io.is_write_vectored() => Ok((Pin::new(io).poll_write_vectored(cx, slices), offered)),
            [first, ..] => Ok((Pin::new(io).poll_write(cx, first), first.len())),
            [] => Err(io::Error::other("nothing to write")),
        }
    }

    fn fill<'a>(&'a self, slices: &mut [IoSlice<'a>], front: &'a [u8], until: Until) -> (usize, usize) {
        let mut room = match until {
            Until::End => usize::MAX,
            Until::Boundary => {
                let boundary = self.marks.front().copied().unwrap_or(self.queued);
                usize::try_from(boundary.saturating_sub(self.written)).unwrap_or(usize::MAX)
            }
        };
        let mut filled = 0;
        let mut offered = 0;
        let mut free = slices.iter_mut();
        let mut add = |bytes: &'a [u8], room: &mut usize| {
            let bytes = bytes.get(..bytes.len().min(*room)).unwrap_or_default();
            if bytes.is_empty() {
                return;
            }
            if let Some(slice) = free.next() {
                *slice = IoSlice::new(bytes);
                *room -= bytes.len();
                filled += 1;
                offered += bytes.len();
            } else {
                *room = 0;
            }
        };
        // The front is whole control frames, which only now have their place: no boundary holds them back.
        let mut unlimited = usize::MAX;
        add(front, &mut unlimited);
        let mut from = self.small_written;
        for large in self.large.iter().take(SLICES) {
            add(self.small.get(from..large.after).unwrap_or_default(), &mut room);
            add(&large.payload, &mut room);
            from = large.after;
        }
        if self.large.len() < SLICES {
            add(self.small.get(from..).unwrap_or_default(), &mut room);
        }
        (filled, offered)
    }

    fn advance(&mut self, written: usize) {
        let front = written.min(self.front.len() - self.front_written);
        self.front_written += front;
        if written - front == self.len() {
            return self.restart();
        }
        let mut left = written - front;
        self.written += left as u64;
        while let Some(large) = self.large.front_mut() {
            let small = left.min(large.after - self.small_written);
            self.small_written += small;
            left -= small;
            if left == 0 {
                break;
            }
            let payload = left.min(large.payload.len());
            large.payload.advance(payload);
            left -= payload;
            if !large.payload.is_empty() {
                break;
            }
            self.large.pop_front();
        }
        self.small_written += left;
        self.settle();
    }

    /// Finds the boundary that was reached, and starts over when everything is written.
    fn settle(&mut self) {
        if self.written == self.queued {
            self.restart();
            return;
        }
        while let Some(mark) = self.marks.front().copied().filter(|mark| *mark <= self.written) {
            self.boundary = mark;
            self.marks.pop_front();
        }
        // A queue that never runs empty must not keep what it has written.
        if self.small_written >= POOLED_CAPACITY && self.small_written >= self.small.len() / 2 {
            let gone = self.small_written;
            self.small.drain(..gone);
            self.small_written = 0;
            for large in &mut self.large {
                large.after -= gone;
            }
        }
    }

    fn restart(&mut self) {
        self.small.clear();
        self.small_written = 0;
        if !self.large.is_empty() {
            self.large.clear();
        }
        if !self.marks.is_empty() {
            self.marks.clear();
        }
        (self.queued, self.written, self.boundary, self.marked) = (0, 0, 0, 0);
    }

    /// All of the header's room is copied, which takes two instructions where copying so many bytes takes a call.
    #[inline]
    fn put_header(&mut self, (header, len): ([u8; Header::MAX_LEN], usize)) {
        let end = self.small.len() + len;
        self.small.extend_from_slice(&header);
        self.small.truncate(end);
        self.queued += len as u64;
    }

    #[inline(never)]
    fn put_pieces(&mut self, bytes: &[u8]) {
        self.small.reserve(bytes.len());
        for piece in bytes.chunks(COPIED_AT_ONCE) {
            self.small.extend_from_slice(piece);
        }
    }

    fn reset(&mut self) {
        self.restart();
        self.front.clear();
        self.front_written = 0;
    }
}

impl Output for Queue {
    #[inline]
    fn put(&mut self, bytes: &[u8]) {
        if bytes.len() <= COPIED_AT_ONCE {
            self.small.extend_from_slice(bytes);
        } else {
            self.put_pieces(bytes);
        }
        self.queued += bytes.len() as u64;
    }

    #[inline]
    fn put_payload(&mut self, payload: Bytes) {
        if payload.len() < BY_REFERENCE {
            self.put(&payload);
        } else {
            self.queued += payload.len() as u64;
            self.large.push_back(Large { after: self.small.len(), payload });
        }
    }

    #[inline]
    fn put_frame(&mut self, header: ([u8; Header::MAX_LEN], usize), payload: Bytes) {
        self.put_header(header);
        self.put_payload(payload);
        self.end_frame();
    }

    #[inline]
    fn copies(&self, len: usize) -> bool {
        len < BY_REFERENCE
    }

    #[inline]
    fn put_copied(&mut self, header: ([u8; Header::MAX_LEN], usize), payload: &[u8]) {
        self.put_header(header);
        self.put(payload);
        self.end_frame();
    }

    #[inline]
    fn put_short(&mut self, header: [u8; 2], room: &[[u8; 8]; 3]) {
        const MOST: usize = 2 + 24;
        let (start, len) = (self.small.len(), header.len() + usize::from(header[1]));
        // The queue grows once, and is filled by words, as they were written: anything else takes longer.
        self.small.extend_from_slice(&[0; MOST]);
        if let Some(to) = self.small.get_mut(start..).and_then(<[u8]>::first_chunk_mut::<MOST>) {
            let [one, two, words @ ..] = to;
            [*one, *two] = header;
            for (to, eight) in words.as_chunks_mut().0.iter_mut().zip(room) {
                *to = *eight;
            }
        }
        self.small.truncate(start + len);
        self.queued += len as u64;
        self.end_frame();
    }

    #[inline]
    fn end_frame(&mut self) {
        if self.queued - self.marked >= MARK_EVERY {
            self.marked = self.queued;
            self.marks.push_back(self.queued);
        }
    }
}

/// The place ahead of the queue; see [`Queue::front`].
#[derive(Debug)]
pub(super) struct Front<'a>(&'a mut Vec<u8>);

impl Output for Front<'_> {
    fn put(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    fn put_payload(&mut self, payload: Bytes) {
        self.put(&payload);
    }

    fn end_frame(&mut self) {}
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use proptest::prelude::*;

    use super::*;

    /// A transport that takes as many bytes per write as it is told, and nothing in between.
    struct Slow {
        takes: Vec<usize>,
        written: Vec<u8>,
        vectored: bool,
    }

    impl Slow {
        fn take(&mut self, bytes: &[u8]) -> Poll<io::Result<usize>> {
            match self.takes.pop() {
                None | Some(0) => Poll::Pending,
                Some(most) => {
                    let taken = bytes.len().min(most);
                    self.written.extend_from_slice(&bytes[..taken]);
                    Poll::Ready(Ok(taken))
                }
            }
        }
    }

    impl AsyncWrite for Slow {
        fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
            self.get_mut().take(bytes)
        }

        fn poll_write_vectored(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            slices: &[IoSlice<'_>],
        ) -> Poll<io::Result<usize>> {
            self.get_mut().take(&slices.iter().flat_map(|slice| slice.to_vec()).collect::<Vec<_>>())
        }

        fn is_write_vectored(&self) -> bool {
            self.vectored
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    #[derive(Clone, Debug)]
    enum Step {
        /// A frame of this many bytes, told apart by its first four.
        Frame(usize),
        /// A control frame, as soon as there is a boundary.
        Control,
        /// Write while the transport takes these many bytes at a time.
        Write(Vec<usize>),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            3 => (4usize..200).prop_map(Step::Frame),
            2 => (4usize..3 * BY_REFERENCE).prop_map(Step::Frame),
            2 => Just(Step::Control),
            3 => prop::collection::vec(0usize..40_000, 1..4).prop_map(Step::Write),
        ];
        prop::collection::vec(step, 1..40)
    }

    /// `kind`, three bytes of its number, then as many of `kind` as fit.
    fn bytes(kind: u8, number: usize, len: usize) -> Vec<u8> {
        let number = u32::try_from(number).unwrap().to_be_bytes();
        let mut bytes = vec![kind, number[1], number[2], number[3]];
        bytes.resize(len, kind);
        bytes
    }

    fn write(queue: &mut Queue, io: &mut Slow, waiting: &mut usize, controls: &mut usize) {
        let cx = &mut Context::from_waker(Waker::noop());
        loop {
            if *waiting > 0
                && let Some(mut front) = queue.front()
            {
                front.put(&bytes(b'c', *controls, 6));
                *waiting -= 1;
                *controls += 1;
            }
            if queue.is_empty() {
                return;
            }
            let until = if *waiting > 0 { Until::Boundary } else { Until::End };
            match queue.poll_write(io, cx, until) {
                Poll::Ready(written) => assert!(written.unwrap() > 0),
                Poll::Pending => return,
            }
        }
    }

    proptest! {
        #[test]
        fn frames_stay_whole_and_in_order_with_control_frames_between(steps in steps(), vectored: bool) {
            let mut queue = Queue::default();
            let mut io = Slow { takes: Vec::new(), written: Vec::new(), vectored };
            let (mut frames, mut lens, mut waiting, mut controls) = (0, Vec::new(), 0, 0);
            for step in steps {
                match step {
                    Step::Frame(len) => {
                        let frame = bytes(b'd', frames, len);
                        queue.put(&frame[..4]);
                        queue.put_payload(Bytes::copy_from_slice(&frame[4..]));
                        queue.end_frame();
                        frames += 1;
                        lens.push(len);
                    }
                    Step::Control => waiting += 1,
                    Step::Write(takes) => {
                        io.takes = takes;
                        write(&mut queue, &mut io, &mut waiting, &mut controls);
                    }
                }
            }
            io.takes = vec![usize::MAX; 4 * (frames + waiting + 1) + 400];
            let expected_controls = controls + waiting;
            write(&mut queue, &mut io, &mut waiting, &mut controls);
            prop_assert_eq!((queue.is_empty(), queue.len()), (true, 0));

            let mut rest = &io.written[..];
            let (mut seen_frames, mut seen_controls) = (0, 0);
            while let Some(kind) = rest.first() {
                let expected = if *kind == b'c' {
                    seen_controls += 1;
                    bytes(b'c', seen_controls - 1, 6)
                } else {
                    seen_frames += 1;
                    bytes(b'd', seen_frames - 1, lens[seen_frames - 1])
                };
                prop_assert!(rest.starts_with(&expected));
                rest = &rest[expected.len()..];
            }
            prop_assert_eq!((seen_frames, seen_controls), (frames, expected_controls));
        }
    }
}
