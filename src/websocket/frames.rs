//! A connection whose frames pass through someone's hands both ways: the driver for callbacks that see every frame.
//!
//! Frames that arrive come out of [`Inner::poll_turn`] before the rules of messages are applied; frames that go out come in
//! through [`Inner::put`]. What they mean for the connection, the closing handshake included, is for that someone to say.

use std::{
    sync::Arc,
    task::{Context, Poll},
    time::Instant,
};

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::{
    Config,
    proto::{
        CloseFrame, Frame, Opcode, Role,
        codec::encoder::Output,
        connection::{Collector, Connection, Outgoing, SharedForm, WentOff},
        deflate::{Agreed, Compression},
    },
    websocket::{
        clock::now,
        end::Phase,
        inner::{Inner, Transported},
        random,
        write::{BY_REFERENCE, Queue},
    },
};

/// Whether a message was put by copying it: a long one, and one to be compressed, is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Copied {
    Yes,
    No,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Inner<S, Collector> {
    pub(crate) fn of_frames(
        io: S,
        role: Role,
        collector: Collector,
        config: Arc<Config>,
        agreed: Option<Agreed>,
        read_ahead: &[u8],
    ) -> Self {
        Self::over(io, Connection::new(role, collector, now()).with_deflate(agreed), config, read_ahead)
    }

    /// Queues a frame, a data frame in fragments of `fragment_size`.
    pub(crate) fn put(&mut self, frame: Frame, fragment_size: Option<usize>) {
        if self.transport != Transported::Broken {
            if frame.opcode.is_control() {
                self.connection.control_sent(frame.opcode, &frame.payload, now);
            } else if frame.fin {
                self.connection.message_sent();
            }
            let out = self.output.get_or_insert_with(Queue::take);
            let deflate = self.config.deflate.as_ref();
            let how = Outgoing { fragment_size, compression: Compression::default(), deflate };
            self.connection.put(frame, how, &mut random::mask, &mut **out);
        }
    }

    /// A message that is here already and that nobody wants to see the frames of: what `make` makes of it. Neither the
    /// transport nor the clock is asked anything.
    #[inline]
    pub(crate) fn buffered<T>(&mut self, make: impl FnOnce(Opcode, &[u8]) -> T) -> Option<T> {
        if self.phase != Phase::Open || self.budget == 0 {
            return None;
        }
        let (input, decoded) = self.input.left()?;
        let (made, len) = self.connection.plain_payload(input, &self.config.limits, make)?;
        *decoded += len;
        self.budget -= 1;
        Some(made)
    }

    /// Queues a message that goes out as it is, if it is so short that it is copied anyway.
    #[inline]
    pub(crate) fn put_copied(&mut self, opcode: Opcode, payload: &[u8], fragment_size: Option<usize>) -> Copied {
        let most = fragment_size.map_or(BY_REFERENCE, |size| BY_REFERENCE.min(size.saturating_add(1)));
        if payload.len() >= most || self.connection.compresses() {
            return Copied::No;
        }
        if self.transport != Transported::Broken {
            let out = self.output.get_or_insert_with(Queue::take);
            self.connection.put_copied(opcode, payload, &mut random::mask, &mut **out);
        }
        Copied::Yes
    }

    /// The frames of a message that other connections of the same [form](Self::shared_form) send too.
    pub(crate) fn encode(&mut self, frame: Frame, fragment_size: Option<usize>) -> Bytes {
        let mut frames = BytesMut::new();
        let deflate = self.config.deflate.as_ref();
        let how = Outgoing { fragment_size, compression: Compression::default(), deflate };
        self.connection.put(frame, how, &mut random::mask, &mut frames);
        frames.freeze()
    }

    /// In which form this connection may send what another has encoded, if any.
    pub(crate) fn shared_form(&self) -> Option<SharedForm> {
        self.connection.shared_form()
    }

    /// Queues the frames of so many messages, encoded already.
    pub(crate) fn put_encoded(&mut self, frames: &Bytes, messages: usize) {
        if self.transport != Transported::Broken {
            let out = self.output.get_or_insert_with(Queue::take);
            out.put_shared(frames);
            out.end_frame();
            (0..messages).for_each(|_| self.connection.message_sent());
        }
    }

    /// Queues the answer to a Ping; where more than the high-water mark waits, only the latest one is kept.
    pub(crate) fn put_pong(&mut self, payload: Bytes) {
        if self.queued() < self.config.limits.high_water {
            self.put(Frame::new(Opcode::Pong, payload), None);
        } else if self.transport != Transported::Broken {
            self.connection.pong_later(payload);
        }
    }

    /// Whether as much as the high-water mark is queued, or more.
    #[inline]
    pub(crate) fn is_crowded(&self) -> bool {
        self.queued() >= self.config.limits.high_water
    }

    /// Writes what is queued as far as the transport takes it, if that is as much as the high-water mark, or more.
    pub(crate) fn relieve(&mut self, cx: &mut Context<'_>) {
        if self.is_crowded() {
            self.write_now(cx);
        }
    }

    /// Drops what has not been written, except for the rest of a frame.
    pub(crate) fn drop_unsent(&mut self) {
        if let Some(out) = &mut self.output {
            out.drop_unsent();
        }
    }

    /// Our Close frame was put, or suppressed: its deadline runs.
    pub(crate) fn close_begun(&mut self) {
        self.connection.close_put(now());
    }

    /// The peer's Close frame was received. What is queued goes out, and the connection ends.
    pub(crate) fn close_received(&mut self, frame: Option<CloseFrame>) {
        self.connection.close_received(frame);
        self.connection.close_put(now());
        self.phase = Phase::Flush;
    }

    /// Nothing that follows can be read as frames. What is queued goes out, and the connection ends.
    pub(crate) fn end(&mut self) {
        self.connection.fail_put(now());
        self.phase = Phase::Flush;
    }

    /// The connection ends at once.
    pub(crate) fn end_now(&mut self) {
        self.connection.fail_put(now());
        self.phase = Phase::Cut;
    }

    /// Whether frames are still read.
    pub(crate) fn reads(&self) -> bool {
        self.phase == Phase::Open
    }

    /// Waits for the transport's end, when frames are no longer read.
    pub(crate) fn poll_ended(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.poll_end(cx)
    }

    /// When bytes arrived last; those of which it was not noted have arrived now.
    pub(crate) fn heard_at(&mut self) -> Instant {
        if self.connection.has_heard() {
            self.connection.note_heard(now(), WentOff::NotYet);
        }
        self.connection.heard_at()
    }

    /// The opcode of the frame whose header broke a rule.
    pub(crate) fn refused_opcode(&mut self) -> Option<Opcode> {
        let first = self.input.pending()?.first()?;
        Opcode::from_bits(first & 0x0f)
    }
}
