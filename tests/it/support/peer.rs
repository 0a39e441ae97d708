//! A transport in memory whose other end follows a script: it sends what the script says, in the pieces that the delivery
//! says, takes as many bytes as it has room for, and remembers what was written.

use std::{
    cell::{Ref, RefCell},
    io::{self, IoSlice},
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, Waker},
};

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::codec::Decoder;
use wireline::{
    Role,
    proto::{Frame, FrameCodec, Mask, Opcode},
};

use super::{
    alloc::{Meter, uncounted},
    opening::Opening,
    script::{Part, Source, Wait},
};

/// What the peer does when its script is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum After {
    /// Ends its side once it has seen a Close frame.
    EndOnClose,
    /// The same, and does not even send the rest of its script.
    StopOnClose,
    /// Ends its side at once.
    End,
    /// Nothing, ever.
    Silence,
}

/// What the transport does with a flush.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flush {
    Done,
    Never,
}

/// How many bytes a write takes, and what it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Writes {
    /// Everything.
    All,
    /// At most this many bytes per write.
    Short(usize),
    /// This many bytes in all, then it waits.
    Room(usize),
    /// This many bytes in all, then it takes 0.
    Zero(usize),
    /// This many bytes in all, then it fails.
    Fail(usize),
    /// This many bytes in all, then it takes everything and claims one byte more.
    Liar(usize),
}

/// The transport and the peer behind it; cloning shares it.
#[derive(Clone, Debug)]
pub(crate) struct Peer(Rc<RefCell<State>>);

#[derive(Debug)]
pub(crate) struct State {
    opening: Option<Opening>,
    /// What our end wrote in the opening handshake, if there was one.
    pub(crate) head: String,
    source: Source,
    after: After,
    wait: Wait,
    pub(crate) writes: Writes,
    pub(crate) flush: Flush,
    vectored: Vectored,
    reader: Option<Waker>,
    writer: Option<Waker>,
    /// Bytes that the connection has read.
    pub(crate) received: u64,
    /// Reads that found nothing because the delivery says so.
    pub(crate) waits: u64,
    pub(crate) read_calls: u64,
    pub(crate) write_calls: u64,
    pub(crate) wire: Vec<u8>,
    scanned: usize,
    /// Bytes read when a Close frame had been written.
    pub(crate) close_at: Option<u64>,
    pub(crate) shutdown: Shutdown,
    /// Write calls after the shutdown, or after a write that failed.
    pub(crate) late_writes: u64,
    failed: Option<io::ErrorKind>,
    meter: Option<Meter>,
    /// The most heap beyond twice what had been read, ever.
    pub(crate) excess: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shutdown {
    No,
    /// When this many bytes had been read and the peer's end had been seen or not.
    Yes,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Vectored {
    No,
    Yes,
}

impl Peer {
    pub(crate) fn new(source: Source, after: After) -> Self {
        uncounted(|| {
            Self(Rc::new(RefCell::new(State {
                opening: None,
                head: String::new(),
                source,
                after,
                wait: Wait::No,
                writes: Writes::All,
                flush: Flush::Done,
                vectored: Vectored::No,
                reader: None,
                writer: None,
                received: 0,
                waits: 0,
                read_calls: 0,
                write_calls: 0,
                wire: Vec::new(),
                scanned: 0,
                close_at: None,
                shutdown: Shutdown::No,
                late_writes: 0,
                failed: None,
                meter: None,
                excess: 0,
            })))
        })
    }

    pub(crate) fn vectored(self) -> Self {
        self.0.borrow_mut().vectored = Vectored::Yes;
        self
    }

    /// Begins with this handshake, before anything of the script.
    pub(super) fn opens(&self, opening: Opening) {
        self.0.borrow_mut().opening = Some(opening);
    }

    /// Measures the heap from here on.
    pub(crate) fn measure(&self) {
        self.0.borrow_mut().meter = Some(Meter::start());
    }

    pub(crate) fn state(&self) -> Ref<'_, State> {
        self.0.borrow()
    }

    /// Changes how writes end from now on.
    pub(crate) fn writes(&self, writes: Writes) {
        let mut state = self.0.borrow_mut();
        state.writes = writes;
        state.writer.take().into_iter().for_each(Waker::wake);
    }

    pub(crate) fn flush(&self, flush: Flush) {
        let mut state = self.0.borrow_mut();
        state.flush = flush;
        state.writer.take().into_iter().for_each(Waker::wake);
    }

    /// Sends more.
    pub(crate) fn send(&self, part: Part) {
        let mut state = self.0.borrow_mut();
        uncounted(|| state.source.push(part));
        state.reader.take().into_iter().for_each(Waker::wake);
    }

    /// Does this from now on when there is nothing more to send.
    pub(crate) fn after(&self, after: After) {
        let mut state = self.0.borrow_mut();
        state.after = after;
        state.reader.take().into_iter().for_each(Waker::wake);
    }

    /// What an endpoint of this role has written, by the rules for its peer.
    pub(crate) fn frames(&self, role: Role) -> Result<Vec<Frame>, String> {
        uncounted(|| decode(&self.0.borrow().wire, role))
    }
}

/// Decodes what an endpoint of this role has written; a torn frame at the end is an error.
pub(crate) fn decode(wire: &[u8], role: Role) -> Result<Vec<Frame>, String> {
    let codec = match role {
        Role::Client => FrameCodec::server(),
        Role::Server => FrameCodec::client(|| Mask::new([0; 4])),
    };
    let mut codec = codec.max_frame(None);
    let mut wire = BytesMut::from(wire);
    let mut frames = Vec::new();
    while let Some(frame) = codec.decode_eof(&mut wire).map_err(|error| format!("on the wire: {error}"))? {
        frames.push(frame);
    }
    Ok(frames)
}

impl State {
    fn charge(&mut self) {
        if let Some(meter) = self.meter {
            let received = i64::try_from(self.received).unwrap_or(i64::MAX);
            self.excess = self.excess.max(meter.peak() - 2 * received);
        }
    }

    /// One more step of the opening handshake.
    fn opened(&mut self) {
        if let Some(head) = self.opening.as_mut().and_then(Opening::finished) {
            self.opening = None;
            self.head = head;
        }
        self.reader.take().into_iter().for_each(Waker::wake);
    }

    fn poll_read(&mut self, cx: &Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if let Some(opening) = &mut self.opening {
            let reply = opening.read(out.remaining());
            out.put_slice(&reply);
            if reply.is_empty() {
                self.reader = Some(cx.waker().clone());
                return Poll::Pending;
            }
            self.opened();
            return Poll::Ready(Ok(()));
        }
        self.charge();
        self.read_calls += 1;
        if self.wait == Wait::Yes {
            self.wait = Wait::No;
            self.waits += 1;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        if self.after == After::StopOnClose && self.close_at.is_some() {
            return Poll::Ready(Ok(()));
        }
        let free = out.initialize_unfilled_to(self.source.at_most().min(out.remaining()));
        let (read, wait) = self.source.read(free);
        out.advance(read);
        self.received += read as u64;
        self.wait = wait;
        let ended = self.after == After::End || (self.after == After::EndOnClose && self.close_at.is_some());
        if read > 0 || ended {
            return Poll::Ready(Ok(()));
        }
        self.reader = Some(cx.waker().clone());
        Poll::Pending
    }

    fn poll_write(&mut self, cx: &Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        if let Some(opening) = &mut self.opening {
            let mut written = 0;
            for slice in slices {
                opening.written(slice);
                written += slice.len();
            }
            self.opened();
            return Poll::Ready(Ok(written));
        }
        self.charge();
        self.write_calls += 1;
        if self.shutdown == Shutdown::Yes || self.failed.is_some() {
            self.late_writes += 1;
        }
        if let Some(kind) = self.failed {
            return Poll::Ready(Err(kind.into()));
        }
        let offered: usize = slices.iter().map(|slice| slice.len()).sum();
        let (room, full) = match self.writes {
            Writes::All => (usize::MAX, Poll::Pending),
            Writes::Short(most) => (most, Poll::Pending),
            Writes::Room(room) => (room, Poll::Pending),
            Writes::Zero(room) => (room, Poll::Ready(Ok(0))),
            Writes::Fail(room) => (room, Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()))),
            Writes::Liar(room) => (room, Poll::Ready(Ok(offered + 1))),
        };
        if room == 0 && offered > 0 {
            match (&full, self.writes) {
                (Poll::Pending, _) => self.writer = Some(cx.waker().clone()),
                (_, Writes::Liar(_)) => self.take(slices, offered),
                (_, Writes::Fail(_)) => self.failed = Some(io::ErrorKind::ConnectionReset),
                _ => {}
            }
            return full;
        }
        let taken = room.min(offered);
        self.take(slices, taken);
        match &mut self.writes {
            Writes::All | Writes::Short(_) => {}
            Writes::Room(room) | Writes::Zero(room) | Writes::Fail(room) | Writes::Liar(room) => *room -= taken,
        }
        Poll::Ready(Ok(taken))
    }

    fn take(&mut self, slices: &[IoSlice<'_>], mut len: usize) {
        for slice in slices {
            let taken = len.min(slice.len());
            self.wire.extend_from_slice(&slice[..taken]);
            len -= taken;
        }
        self.scan();
    }

    /// Walks over the frames that are complete.
    fn scan(&mut self) {
        while let Some((opcode, len)) = frame_len(&self.wire[self.scanned..]) {
            self.scanned += len;
            if opcode == Opcode::Close.bits() {
                self.close_at.get_or_insert(self.received);
                self.reader.take().into_iter().for_each(Waker::wake);
            }
        }
    }
}

fn frame_len(wire: &[u8]) -> Option<(u8, usize)> {
    let (first, second) = (*wire.first()?, *wire.get(1)?);
    let key = if second & 0x80 == 0 { 0 } else { 4 };
    let (header, payload) = match second & 0x7f {
        126 => (4, usize::from(u16::from_be_bytes(*wire.get(2..)?.first_chunk()?))),
        127 => (10, usize::try_from(u64::from_be_bytes(*wire.get(2..)?.first_chunk()?)).ok()?),
        len => (2, usize::from(len)),
    };
    let len = header + key + payload;
    (wire.len() >= len).then_some((first & 0x0f, len))
}

impl AsyncRead for Peer {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        uncounted(|| self.0.borrow_mut().poll_read(cx, out))
    }
}

impl AsyncWrite for Peer {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        uncounted(|| self.0.borrow_mut().poll_write(cx, &[IoSlice::new(bytes)]))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        uncounted(|| self.0.borrow_mut().poll_write(cx, slices))
    }

    fn is_write_vectored(&self) -> bool {
        self.0.borrow().vectored == Vectored::Yes
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut state = self.0.borrow_mut();
        match state.flush {
            Flush::Done => Poll::Ready(Ok(())),
            Flush::Never => {
                state.writer = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.borrow_mut().shutdown = Shutdown::Yes;
        Poll::Ready(Ok(()))
    }
}

impl State {
    /// The most heap since the measurement began.
    pub(crate) fn peak(&self) -> i64 {
        self.meter.map_or(0, Meter::peak)
    }
}
