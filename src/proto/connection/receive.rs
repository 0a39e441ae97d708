use bytes::{Buf, Bytes, BytesMut};

use crate::proto::{
    CloseFrame, Excess, Fault, Header, Limits, Mask, Message, Opcode, Role, Rsv, Utf8Bytes, Violation,
    codec::decoder::{HeaderRules, Masking, Sequence, decode_header},
    connection::{Connection, Event, Transition},
    message::assembler::{Assembler, Spare},
};

/// What one step of reading came to.
#[derive(Debug)]
pub(crate) enum Step<T> {
    /// `input` is empty or holds the beginning of a header.
    NeedMore,
    /// A frame was taken that gives the application nothing yet.
    Progress,
    /// Something for the application.
    Item(T),
}

/// What a connection makes of the bytes that it receives.
pub(crate) trait Receive {
    type Item;

    /// Takes at most one frame, or what is there of it, from `input`. After a fault, call [`Connection::fail`] and never
    /// this again.
    fn receive(&mut self, input: &mut BytesMut, limits: &Limits) -> Result<Step<Self::Item>, Fault>;

    /// The room that a large payload's next bytes may be read into, instead of passing through `input`; only when `input`
    /// is empty.
    fn spare(&mut self) -> Option<Spare<'_>>;

    /// `read` bytes were put there.
    fn filled(&mut self, read: usize) -> Result<Step<Self::Item>, Fault>;
}

/// A payload of this length is handed out as a view of the read buffer, a shorter one is copied out: a quarter of the
/// buffer, so that a message that is kept pins at most four times its length.
pub(crate) const VIEW_FROM: usize = 16 * 1024;

/// From this many missing bytes on, a payload is read into its message's own buffer instead of being copied there.
const DIRECT_FROM: u64 = 16 * 1024;

/// Turns bytes into events, one frame at a time.
#[derive(Debug)]
pub(crate) struct Receiver {
    role: Role,
    /// The frame whose payload is arriving in pieces. Boxed, because most connections wait between frames.
    arriving: Option<Box<Arriving>>,
    /// The message that is not finished.
    message: Option<Box<Assembler>>,
}

#[derive(Debug)]
struct Arriving {
    fin: bool,
    opcode: Opcode,
    mask: Option<Mask>,
    received: u64,
    missing: u64,
    /// What is here of a control frame's payload, at most 125 bytes; it may stand inside a message.
    control: Vec<u8>,
}

impl Receiver {
    pub(crate) const fn new(role: Role) -> Self {
        Self { role, arriving: None, message: None }
    }

    fn step(&mut self, input: &mut BytesMut, limits: &Limits) -> Result<Step<Event>, Fault> {
        match self.arriving.take() {
            Some(arriving) => self.continue_payload(arriving, input),
            None => self.begin_frame(input, limits),
        }
    }

    fn begin_frame(&mut self, input: &mut BytesMut, limits: &Limits) -> Result<Step<Event>, Fault> {
        let sequence = if self.message.is_some() { Sequence::Continuation } else { Sequence::First };
        let rules = HeaderRules { masking: Masking::ByRole(self.role), extension: Rsv::NONE, sequence };
        let Some((header, header_len)) = decode_header(input, rules)? else { return Ok(Step::NeedMore) };
        self.judge(&header, limits)?;
        // The whole frame is here: header and payload in one step.
        if let Some(whole) = whole_frame(&header, header_len, input.len()) {
            return match header.opcode {
                Opcode::Text | Opcode::Binary if header.fin => message(&header, header_len, whole, input),
                _ => self.small_frame(&header, header_len, whole, input),
            };
        }
        input.advance(header_len);
        self.begin_message(header.opcode);
        let arriving = Box::new(Arriving {
            fin: header.fin,
            opcode: header.opcode,
            mask: header.mask,
            received: 0,
            missing: header.payload_len,
            control: Vec::new(),
        });
        self.continue_payload(arriving, input)
    }

    /// Every limit, on the header alone, before its payload is waited for.
    fn judge(&self, header: &Header, limits: &Limits) -> Result<(), Excess> {
        if header.opcode.is_control() {
            return Ok(());
        }
        if let Some(limit) = limits.max_frame.filter(|limit| header.payload_len > *limit) {
            return Err(Excess::Frame { announced: header.payload_len, limit });
        }
        let (so_far, continuations) = match &self.message {
            Some(message) => (message.len() as u64, message.continuations() + 1),
            None => (0, 0),
        };
        // Subtracting cannot wrap where adding could.
        if let Some(limit) = limits.max_message.filter(|limit| header.payload_len > limit.saturating_sub(so_far)) {
            return Err(Excess::Message { limit });
        }
        let limit = limits.fragments();
        if continuations > limit { Err(Excess::Fragments { limit }) } else { Ok(()) }
    }

    fn begin_message(&mut self, opcode: Opcode) {
        match opcode {
            Opcode::Text => self.message = Some(Box::new(Assembler::text())),
            Opcode::Binary => self.message = Some(Box::new(Assembler::binary())),
            Opcode::Continuation => {
                if let Some(message) = &mut self.message {
                    message.continued();
                }
            }
            Opcode::Close | Opcode::Ping | Opcode::Pong => {}
        }
    }

    /// A frame that is here as a whole and is no message by itself.
    fn small_frame(
        &mut self,
        header: &Header,
        header_len: usize,
        end: usize,
        input: &mut BytesMut,
    ) -> Result<Step<Event>, Fault> {
        self.begin_message(header.opcode);
        let payload = input.get_mut(header_len..end).unwrap_or_default();
        if let Some(mask) = header.mask {
            mask.apply(payload, 0);
        }
        let step = if header.opcode.is_control() {
            control(header.opcode, payload)
        } else {
            self.push(payload).and_then(|()| self.end_frame(header.fin))
        };
        input.advance(end);
        step
    }

    fn continue_payload(&mut self, mut arriving: Box<Arriving>, input: &mut BytesMut) -> Result<Step<Event>, Fault> {
        let here = narrow(arriving.missing).unwrap_or(usize::MAX).min(input.len());
        let piece = input.get_mut(..here).unwrap_or_default();
        if let Some(mask) = arriving.mask {
            mask.apply(piece, arriving.received);
        }
        if arriving.opcode.is_control() {
            arriving.control.extend_from_slice(piece);
        } else {
            self.push(piece)?;
        }
        input.advance(here);
        self.arrived(arriving, here as u64)
    }

    fn push(&mut self, piece: &[u8]) -> Result<(), Fault> {
        match &mut self.message {
            Some(message) => Ok(message.push(piece)?),
            None => Err(Violation::UnexpectedContinuation.into()),
        }
    }

    fn arrived(&mut self, mut arriving: Box<Arriving>, here: u64) -> Result<Step<Event>, Fault> {
        arriving.received += here;
        arriving.missing -= here;
        if arriving.missing > 0 {
            self.arriving = Some(arriving);
            return Ok(Step::NeedMore);
        }
        if arriving.opcode.is_control() {
            return control(arriving.opcode, &arriving.control);
        }
        self.end_frame(arriving.fin)
    }

    fn end_frame(&mut self, fin: bool) -> Result<Step<Event>, Fault> {
        match self.message.take() {
            Some(message) if fin => Ok(Step::Item(Event::Message(message.finish()?))),
            message => {
                self.message = message;
                Ok(Step::Progress)
            }
        }
    }

    fn spare(&mut self) -> Option<Spare<'_>> {
        // A frame that was only announced costs nothing: its first bytes come through the caller's input.
        let arriving = self.arriving.as_deref()?;
        if arriving.received == 0 || arriving.missing < DIRECT_FROM {
            return None;
        }
        let at_most = narrow(arriving.missing).unwrap_or(usize::MAX);
        Some(self.message.as_mut()?.spare(at_most))
    }

    fn filled(&mut self, read: usize) -> Result<Step<Event>, Fault> {
        let Some(arriving) = self.arriving.take() else { return Ok(Step::NeedMore) };
        let Some(message) = &mut self.message else { return Ok(Step::NeedMore) };
        message.filled(read, arriving.mask, arriving.received)?;
        self.arrived(arriving, read as u64)
    }
}

/// Where the frame ends in the input, if all of it is there.
pub(super) fn whole_frame(header: &Header, header_len: usize, available: usize) -> Option<usize> {
    let len = narrow::<usize>(header.payload_len)?;
    header_len.checked_add(len).filter(|end| *end <= available)
}

/// The one place that narrows a length, on machines of every width: what does not fit is none, and never a smaller number.
pub(super) fn narrow<T: TryFrom<u64>>(len: u64) -> Option<T> {
    T::try_from(len).ok()
}

/// A message in a single frame that is here as a whole.
fn message(header: &Header, header_len: usize, end: usize, input: &mut BytesMut) -> Result<Step<Event>, Fault> {
    let payload = input.get_mut(header_len..end).unwrap_or_default();
    if let Some(mask) = header.mask {
        mask.apply(payload, 0);
    }
    let message = if payload.len() < VIEW_FROM {
        let message = match header.opcode {
            Opcode::Text => Utf8Bytes::copy_from(payload).map(Message::Text),
            _ => Ok(Message::Binary(Bytes::copy_from_slice(payload))),
        };
        input.advance(end);
        message
    } else {
        let mut frame = input.split_to(end);
        frame.advance(header_len);
        let payload = frame.freeze();
        match header.opcode {
            Opcode::Text => Utf8Bytes::try_from(payload).map(Message::Text),
            _ => Ok(Message::Binary(payload)),
        }
    };
    Ok(Step::Item(Event::Message(message.map_err(|_| Violation::InvalidUtf8)?)))
}

fn control(opcode: Opcode, payload: &[u8]) -> Result<Step<Event>, Fault> {
    Ok(Step::Item(match opcode {
        Opcode::Close => Event::Close(CloseFrame::parse(payload)?),
        Opcode::Ping => Event::Ping(Bytes::copy_from_slice(payload)),
        _ => Event::Pong(Bytes::copy_from_slice(payload)),
    }))
}

impl Receive for Connection<Receiver> {
    type Item = Event;

    fn receive(&mut self, input: &mut BytesMut, limits: &Limits) -> Result<Step<Event>, Fault> {
        if !self.reads_frames() {
            input.clear();
            return Ok(Step::NeedMore);
        }
        let step = self.receiver.step(input, limits)?;
        self.observe(&step);
        Ok(step)
    }

    fn spare(&mut self) -> Option<Spare<'_>> {
        self.receiver.spare()
    }

    fn filled(&mut self, read: usize) -> Result<Step<Event>, Fault> {
        let step = self.receiver.filled(read)?;
        self.observe(&step);
        Ok(step)
    }
}

impl<R> Connection<R> {
    /// RFC 6455 §7.1.7: after a failure, and after both Close frames, nothing is read as frames any more.
    pub(super) const fn reads_frames(&self) -> bool {
        self.state.after(Transition::ReceiveFrame).is_some()
    }
}

impl Connection<Receiver> {
    fn observe(&mut self, step: &Step<Event>) {
        match step {
            Step::Item(Event::Ping(payload)) if self.state.after(Transition::SendControl).is_some() => {
                // RFC 6455 §5.5.3: a Pong may answer only the latest Ping, so one slot is enough.
                self.urgent.pong(payload.clone());
            }
            Step::Item(Event::Close(frame)) => self.close_received(frame.clone()),
            Step::NeedMore | Step::Progress | Step::Item(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// L6 (actix-web #365): 2^32 + 5 must not become 5 where `usize` has 32 bits.
        #[test]
        fn lengths_are_never_cut_to_32_bits(len: u64) {
            prop_assert_eq!(narrow::<u32>(len).map(u64::from), (len < 1 << 32).then_some(len));
            prop_assert_eq!(narrow::<u32>(len | 1 << 32), None);
        }
    }
}
