use std::{
    iter::{once, repeat},
    time::Instant,
};

use bytes::Bytes;

use crate::proto::{
    CloseFrame, Frame, Mask, Message, Misuse, Opcode, Role, Rsv,
    codec::encoder::{Output, Part, encode, encode_copied},
    connection::{Connection, Transition},
    deflate::{Compression, DeflateConfig},
    message::fragmenter::fragments,
};

/// The control frames that wait for the next frame boundary: one Ping and one Pong at most, so that a peer that asks and
/// never reads costs us two slots and no queue.
#[derive(Debug, Default)]
pub(super) struct Urgent(Option<Box<Slots>>);

#[derive(Debug, Default)]
struct Slots {
    pong: Option<Bytes>,
    ping: Option<Bytes>,
}

/// How a message goes out.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outgoing<'a> {
    pub(crate) fragment_size: Option<usize>,
    pub(crate) compression: Compression,
    /// The settings of compression, where it may be agreed on.
    pub(crate) deflate: Option<&'a DeflateConfig>,
}

impl Urgent {
    /// The latest Ping's answer replaces one that was not sent yet.
    pub(super) fn pong(&mut self, payload: Bytes) {
        self.0.get_or_insert_default().pong = Some(payload);
    }

    fn ping(&mut self, payload: Bytes) {
        self.0.get_or_insert_default().ping = Some(payload);
    }

    fn ping_waits(&self) -> bool {
        self.0.as_ref().is_some_and(|slots| slots.ping.is_some())
    }

    const fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    pub(super) fn clear(&mut self) {
        self.0 = None;
    }
}

impl<R> Connection<R> {
    /// Encodes a message, compressed if that was agreed and `how` says so, in fragments of `fragment_size`.
    #[inline]
    pub(crate) fn send(
        &mut self,
        message: Message,
        how: Outgoing<'_>,
        masks: &mut impl FnMut() -> Mask,
        out: &mut impl Output,
    ) -> Result<(), Misuse> {
        self.step(Transition::SendData)?;
        self.message_sent();
        self.put(Frame::new(message.opcode(), message.into_bytes()), how, masks, out);
        Ok(())
    }

    /// Encodes a message that is neither compressed nor cut, and that `out` would copy anyway; whether it did. That it may be
    /// sent now is for the caller to know.
    #[inline(always)]
    pub(crate) fn send_copied(
        &mut self,
        message: &Message,
        fragment_size: Option<usize>,
        masks: &mut impl FnMut() -> Mask,
        out: &mut impl Output,
    ) -> bool {
        let fits = |len: usize| fragment_size.is_none_or(|size| len <= size);
        if self.deflate.is_some() {
            return false;
        }
        if let (Role::Server, Message::Text(text)) = (self.role, message)
            && let Some(short) = text.short()
        {
            let fits = fits(short.len().into());
            if fits {
                self.message_sent();
                out.put_short([0x81, short.len()], short.room());
            }
            return fits;
        }
        let payload = message.as_bytes();
        let fits = fits(payload.len()) && out.copies(payload.len());
        if fits {
            self.put_copied(message.opcode(), payload, masks, out);
        }
        fits
    }

    /// Encodes a frame, a data frame in fragments of which the first has its reserved bits; a whole message without any is
    /// compressed as [`send`](Self::send) would. That it may be sent now is for the caller to know.
    #[inline]
    pub(crate) fn put(
        &mut self,
        mut frame: Frame,
        how: Outgoing<'_>,
        masks: &mut impl FnMut() -> Mask,
        out: &mut impl Output,
    ) {
        if let Some((extension, config)) = self.deflate.as_mut().zip(how.deflate)
            && matches!(frame.opcode, Opcode::Text | Opcode::Binary)
            && (frame.fin, frame.rsv) == (true, Rsv::NONE)
            && let Some(compressed) = extension.deflater.compress(&frame.payload, how.compression, config)
        {
            self.passed.compressed_sent.add(frame.payload.len() as u64, compressed.len() as u64);
            // RFC 7692 §6.1: compressed as a whole first, cut into fragments then, of which the first has RSV1.
            (frame.payload, frame.rsv) = (compressed, Rsv::RSV1);
        }
        put_frames(frame, how.fragment_size, || self.mask(masks), out);
    }

    /// Encodes a message in one frame, not compressed, by copying it. That it may be sent now is for the caller to know.
    #[inline]
    pub(crate) fn put_copied(
        &mut self,
        opcode: Opcode,
        payload: &[u8],
        masks: &mut impl FnMut() -> Mask,
        out: &mut impl Output,
    ) {
        self.message_sent();
        encode_copied(Part { fin: true, rsv: Rsv::NONE, opcode, mask: self.mask(masks) }, payload, out);
    }

    /// Whether messages may be compressed.
    pub(crate) const fn compresses(&self) -> bool {
        self.deflate.is_some()
    }

    /// Answers a Ping where the transport takes nothing for now: the latest answer is the one that is sent.
    pub(crate) fn pong_later(&mut self, payload: Bytes) {
        self.urgent.pong(payload);
    }

    /// Queues a Ping, unless one waits already to be sent: then `false`, and the caller flushes first.
    pub(crate) fn ping(&mut self, payload: Bytes) -> Result<bool, Misuse> {
        if payload.len() > 125 {
            return Err(Misuse::ControlTooLong(payload.len()));
        }
        self.step(Transition::SendControl)?;
        if self.urgent.ping_waits() {
            return Ok(false);
        }
        self.urgent.ping(payload);
        Ok(true)
    }

    /// Whether [`Connection::urgent`] has something to encode.
    pub(crate) const fn is_urgent(&self) -> bool {
        !self.urgent.is_empty()
    }

    /// Encodes the waiting Pong and Ping. `out` must stand at a frame boundary.
    pub(crate) fn urgent(&mut self, now: Instant, masks: &mut impl FnMut() -> Mask, out: &mut impl Output) {
        let Some(slots) = self.urgent.0.take() else { return };
        let frames = [(Opcode::Pong, slots.pong), (Opcode::Ping, slots.ping)];
        for (opcode, payload) in frames {
            if let Some(payload) = payload {
                self.control_sent(opcode, &payload, || now);
                let mask = self.mask(masks);
                encode(Part { fin: true, rsv: Rsv::NONE, opcode, mask }, payload, out);
            }
        }
    }

    /// Encodes a Close frame behind everything queued. It is the last frame: what waited to be sent before it and has no
    /// place after it (a Ping, a Pong) is dropped.
    pub(super) fn send_close(
        &self,
        frame: Option<&CloseFrame>,
        masks: &mut impl FnMut() -> Mask,
        out: &mut impl Output,
    ) {
        let mask = self.mask(masks);
        let part = Part { fin: true, rsv: Rsv::NONE, opcode: Opcode::Close, mask };
        encode(part, CloseFrame::payload(frame), out);
    }

    // RFC 6455 §5.3: a fresh key for every frame, control frames included; §5.1: servers do not mask.
    fn mask(&self, masks: &mut impl FnMut() -> Mask) -> Option<Mask> {
        match self.role {
            Role::Client => Some(masks()),
            Role::Server => None,
        }
    }
}

/// Encodes a frame, a data frame in fragments of `fragment_size`.
#[inline]
fn put_frames(
    frame: Frame,
    fragment_size: Option<usize>,
    mut mask: impl FnMut() -> Option<Mask>,
    out: &mut impl Output,
) {
    match fragment_size.filter(|size| frame.payload.len() > *size && !frame.opcode.is_control()) {
        None => {
            let part = Part { fin: frame.fin, rsv: frame.rsv, opcode: frame.opcode, mask: mask() };
            encode(part, frame.payload, out);
        }
        Some(size) => put_fragments(frame, size, mask, out),
    }
}

#[cold]
fn put_fragments(frame: Frame, size: usize, mut mask: impl FnMut() -> Option<Mask>, out: &mut impl Output) {
    let rsv = once(frame.rsv).chain(repeat(Rsv::NONE));
    for (fragment, rsv) in fragments(frame.opcode, frame.payload, size).zip(rsv) {
        let fin = fragment.fin && frame.fin;
        encode(Part { fin, rsv, opcode: fragment.opcode, mask: mask() }, fragment.payload, out);
    }
}
