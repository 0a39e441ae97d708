use bytes::{Buf, Bytes, BytesMut};

use crate::proto::{
    CloseFrame, Excess, Fault, Header, Limits, Mask, Message, Opcode, Rsv, Violation,
    codec::decoder::{HeaderRules, Masking, Sequence, decode_header},
    connection::{
        Connection, Event, State, Transition,
        compression::Extension,
        fragments::Fragments,
        plain::{plain_copy, plain_message, plain_payload},
    },
    deflate::{End, Progress},
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

    /// Takes a frame, or what is there of it, or a run of fragments from `input`. After a fault, call [`Connection::fail`]
    /// and never this again.
    fn receive(&mut self, input: &mut BytesMut, limits: &Limits) -> Result<Step<Self::Item>, Fault>;

    /// The room that a large payload's next bytes may be read into, instead of passing through `input`; only when `input`
    /// is empty.
    fn spare(&mut self) -> Option<Spare<'_>>;

    /// `read` bytes were put there.
    fn filled(&mut self, read: usize) -> Result<Step<Self::Item>, Fault>;

    /// Whether [`receive`](Self::receive) has something to do without any input: a message that inflates to more than one
    /// step puts out.
    fn is_unfinished(&self) -> bool;

    /// The work since this was last called, in frames, beyond one for each step.
    fn take_work(&mut self) -> u16;
}

/// What arrived, before anyone made an event or a frame of it.
#[derive(Debug)]
pub(super) enum Arrived {
    Message(Message),
    /// A control frame with its payload.
    Control(Opcode, Bytes),
}

/// From this many missing bytes on, a payload is read into its message's own buffer instead of being copied there.
pub(super) const DIRECT_FROM: u64 = 16 * 1024;

/// Turns bytes into messages and control frames, a frame at a time or a run of fragments.
#[derive(Debug)]
pub(crate) struct Receiver {
    masking: Masking,
    /// The frame whose payload is arriving in pieces. Boxed, because most connections wait between frames.
    arriving: Option<Box<Arriving>>,
    /// The message that is not finished.
    message: Option<Box<Unfinished>>,
    /// Frames that were taken together with another one, since somebody asked.
    work: u16,
}

#[derive(Debug)]
struct Unfinished {
    body: Assembler,
    form: Form,
}

/// How a message travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Plain,
    /// Compressed, in so many bytes so far.
    Compressed(u64),
}

/// What the limits leave for the next frames of a message.
#[derive(Clone, Copy, Debug)]
pub(super) struct Room<'a> {
    limits: &'a Limits,
    payload_len: u64,
    frames: u64,
}

impl<'a> Room<'a> {
    /// For a frame that travels like this, behind what is here of the message.
    pub(super) fn left(limits: &'a Limits, form: Form, message: Option<&Assembler>) -> Self {
        let most = limits.max_message.unwrap_or(u64::MAX);
        let payload_len = match form {
            Form::Plain => most.saturating_sub(message.map_or(0, |message| message.len() as u64)),
            // Inflating has the limit itself; what is compressed may be longer, but by so much only on purpose.
            Form::Compressed(so_far) => most.saturating_add(most / 8).saturating_add(1024).saturating_sub(so_far),
        };
        let frames = match message {
            Some(message) => limits.fragments().saturating_sub(message.continuations()),
            None => limits.fragments().saturating_add(1),
        };
        Self { limits, payload_len, frames }
    }

    /// Every limit, on the header alone, before its payload is waited for. Behind a frame that is within all of them there
    /// is so much less.
    #[inline]
    pub(super) fn take(&mut self, payload_len: u64) -> Result<(), Excess> {
        if let Some(limit) = self.limits.max_frame.filter(|limit| payload_len > *limit) {
            return Err(Excess::Frame { announced: payload_len, limit });
        }
        // Subtracting cannot wrap where adding could.
        let Some(left) = self.payload_len.checked_sub(payload_len) else {
            return Err(Excess::Message { limit: self.limits.max_message.unwrap_or(u64::MAX) });
        };
        let Some(frames) = self.frames.checked_sub(1) else {
            return Err(Excess::Fragments { limit: self.limits.fragments() });
        };
        *self = Self { payload_len: left, frames, ..*self };
        Ok(())
    }
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
    /// Bytes at the beginning of the input that are unmasked already and wait to be inflated.
    clear: usize,
    inflating: Progress,
}

impl Receiver {
    pub(crate) const fn new(masking: Masking) -> Self {
        Self { masking, arriving: None, message: None, work: 0 }
    }

    /// The usual case by itself; see [`plain_message`].
    #[inline]
    pub(super) fn plain_message(&self, input: &mut BytesMut, limits: &Limits) -> Option<Result<Message, Violation>> {
        if self.arriving.is_some() || self.message.is_some() {
            return None;
        }
        plain_message(self.masking, input, limits)
    }

    /// The same of a message that is copied out; see [`plain_copy`].
    #[inline]
    fn plain_copy(&self, input: &mut [u8], limits: &Limits) -> Option<Result<(Message, usize), Violation>> {
        if self.arriving.is_some() || self.message.is_some() {
            return None;
        }
        plain_copy(self.masking, input, limits)
    }

    /// The same, of which the caller makes what it likes; see [`plain_payload`].
    #[inline]
    pub(super) fn plain_payload<T>(
        &self,
        input: &mut [u8],
        limits: &Limits,
        make: impl FnOnce(Opcode, &[u8]) -> T,
    ) -> Option<(T, usize)> {
        if self.arriving.is_some() || self.message.is_some() {
            return None;
        }
        plain_payload(self.masking, input, limits, make)
    }

    pub(super) fn step(
        &mut self,
        input: &mut BytesMut,
        limits: &Limits,
        deflate: Option<&mut Extension>,
    ) -> Result<Step<Arrived>, Fault> {
        match self.arriving.take() {
            Some(arriving) => self.continue_payload(arriving, input, limits, deflate),
            None => self.begin_frame(input, limits, deflate),
        }
    }

    fn begin_frame(
        &mut self,
        input: &mut BytesMut,
        limits: &Limits,
        deflate: Option<&mut Extension>,
    ) -> Result<Step<Arrived>, Fault> {
        if let Some(fragments) = self.fragments(input, limits) {
            return self.take(&fragments, input, limits);
        }
        let sequence = if self.message.is_some() { Sequence::Continuation } else { Sequence::First };
        // RFC 7692 §6.1: RSV1 on the first frame says that the message is compressed.
        let extension = if deflate.is_some() { Rsv::RSV1 } else { Rsv::NONE };
        let rules = HeaderRules { masking: self.masking, extension, sequence };
        let Some((header, header_len)) = decode_header(input, rules)? else { return Ok(Step::NeedMore) };
        let form = self.form(&header);
        self.judge(&header, form, limits)?;
        if header.opcode.is_control()
            && let Some(end) = whole_frame(&header, header_len, input.len())
        {
            let payload = input.get_mut(header_len..end).unwrap_or_default();
            if let Some(mask) = header.mask {
                mask.apply(payload, 0);
            }
            let step = control(header.opcode, payload);
            input.advance(end);
            return Ok(step);
        }
        input.advance(header_len);
        self.begin_message(&header, form, limits);
        let arriving = Box::new(Arriving {
            fin: header.fin,
            opcode: header.opcode,
            mask: header.mask,
            received: 0,
            missing: header.payload_len,
            control: Vec::new(),
            clear: 0,
            inflating: Progress::NeedInput,
        });
        self.continue_payload(arriving, input, limits, deflate)
    }

    /// How this frame's payload travels, and how much of its message's has so far.
    fn form(&self, header: &Header) -> Form {
        match &self.message {
            _ if header.opcode.is_control() => Form::Plain,
            Some(message) => message.form,
            None if Rsv::RSV1.within(header.rsv) => Form::Compressed(0),
            None => Form::Plain,
        }
    }

    fn judge(&self, header: &Header, form: Form, limits: &Limits) -> Result<(), Excess> {
        if header.opcode.is_control() {
            return Ok(());
        }
        Room::left(limits, form, self.message.as_ref().map(|message| &message.body)).take(header.payload_len)
    }

    /// The fragments that can be taken at once.
    fn fragments(&self, input: &[u8], limits: &Limits) -> Option<Fragments> {
        let (sequence, begun) = match self.message.as_deref() {
            Some(Unfinished { body, form: Form::Plain }) => (Sequence::Continuation, Some(body)),
            Some(_) => return None,
            None => (Sequence::First, None),
        };
        Fragments::here(input, self.masking, sequence, Room::left(limits, Form::Plain, begun))
    }

    fn take(&mut self, fragments: &Fragments, input: &mut BytesMut, limits: &Limits) -> Result<Step<Arrived>, Fault> {
        self.work = self.work.saturating_add(fragments.count - 1);
        let step = if let Some(message) = &mut self.message {
            fragments.append(input, self.masking, &mut message.body)?;
            self.end_frame(fragments.fin)
        } else {
            let mut body = assembler(fragments.opcode, limits.max_message).ok_or(Violation::UnexpectedContinuation)?;
            fragments.append(input, self.masking, &mut body)?;
            if fragments.fin {
                Ok(Step::Item(Arrived::Message(body.finish()?)))
            } else {
                self.message = Some(Box::new(Unfinished { body, form: Form::Plain }));
                Ok(Step::Progress)
            }
        };
        input.advance(fragments.end);
        step
    }

    fn begin_message(&mut self, header: &Header, form: Form, limits: &Limits) {
        // A plain message in one frame is as long as that, and never has more room.
        let most = if header.fin && form == Form::Plain { Some(header.payload_len) } else { limits.max_message };
        if let Some(body) = assembler(header.opcode, most) {
            self.message = Some(Box::new(Unfinished { body, form }));
        } else if let (Opcode::Continuation, Some(message)) = (header.opcode, &mut self.message) {
            message.body.continued(1);
        }
    }

    fn continue_payload(
        &mut self,
        mut arriving: Box<Arriving>,
        input: &mut BytesMut,
        limits: &Limits,
        deflate: Option<&mut Extension>,
    ) -> Result<Step<Arrived>, Fault> {
        let here = narrow(arriving.missing).unwrap_or(usize::MAX).min(input.len());
        let piece = input.get_mut(arriving.clear..here).unwrap_or_default();
        if let Some(mask) = arriving.mask {
            mask.apply(piece, arriving.received + arriving.clear as u64);
        }
        if arriving.opcode.is_control() {
            arriving.control.extend_from_slice(piece);
        } else if let Some((deflate, Unfinished { body, form: Form::Compressed(_) })) =
            deflate.zip(self.message.as_deref_mut())
        {
            let mut left = input.get(..here).unwrap_or_default();
            let end = if arriving.fin && here as u64 == arriving.missing { End::Last } else { End::More };
            arriving.inflating = deflate.inflate(&mut left, end, body, limits)?;
            arriving.clear = left.len();
        } else {
            self.push(piece)?;
        }
        let taken = here.saturating_sub(arriving.clear);
        input.advance(taken);
        self.arrived(arriving, taken as u64)
    }

    fn push(&mut self, piece: &[u8]) -> Result<(), Fault> {
        match &mut self.message {
            Some(message) => Ok(message.body.push(piece)?),
            None => Err(Violation::UnexpectedContinuation.into()),
        }
    }

    fn arrived(&mut self, mut arriving: Box<Arriving>, here: u64) -> Result<Step<Arrived>, Fault> {
        arriving.received += here;
        arriving.missing -= here;
        if let Some(Unfinished { form: Form::Compressed(so_far), .. }) = self.message.as_deref_mut()
            && !arriving.opcode.is_control()
        {
            *so_far += here;
        }
        if arriving.inflating == Progress::Again {
            self.arriving = Some(arriving);
            return Ok(Step::Progress);
        }
        if arriving.missing > 0 {
            self.arriving = Some(arriving);
            return Ok(Step::NeedMore);
        }
        if arriving.opcode.is_control() {
            return Ok(control(arriving.opcode, &arriving.control));
        }
        self.end_frame(arriving.fin)
    }

    fn end_frame(&mut self, fin: bool) -> Result<Step<Arrived>, Fault> {
        match self.message.take() {
            Some(message) if fin => Ok(Step::Item(Arrived::Message(message.body.finish()?))),
            message => {
                self.message = message;
                Ok(Step::Progress)
            }
        }
    }

    pub(super) fn spare(&mut self) -> Option<Spare<'_>> {
        // A frame that was only announced costs nothing: its first bytes come through the caller's input.
        let arriving = self.arriving.as_deref()?;
        if arriving.received == 0 || arriving.missing < DIRECT_FROM {
            return None;
        }
        let at_most = narrow(arriving.missing).unwrap_or(usize::MAX);
        let message = self.message.as_mut().filter(|message| message.form == Form::Plain)?;
        Some(message.body.spare(at_most))
    }

    pub(super) fn filled(&mut self, read: usize) -> Result<Step<Arrived>, Fault> {
        let Some(arriving) = self.arriving.take() else { return Ok(Step::NeedMore) };
        let Some(message) = &mut self.message else { return Ok(Step::NeedMore) };
        message.body.filled(read, arriving.mask, arriving.received)?;
        self.arrived(arriving, read as u64)
    }

    pub(super) const fn take_work(&mut self) -> u16 {
        std::mem::replace(&mut self.work, 0)
    }

    pub(super) fn is_unfinished(&self) -> bool {
        self.arriving.as_ref().is_some_and(|arriving| arriving.inflating == Progress::Again)
    }
}

/// For a message that begins with this opcode, of at most so many bytes.
fn assembler(opcode: Opcode, most: Option<u64>) -> Option<Assembler> {
    match opcode {
        Opcode::Text => Some(Assembler::text(most)),
        Opcode::Binary => Some(Assembler::binary(most)),
        Opcode::Continuation | Opcode::Close | Opcode::Ping | Opcode::Pong => None,
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

fn control(opcode: Opcode, payload: &[u8]) -> Step<Arrived> {
    Step::Item(Arrived::Control(opcode, Bytes::copy_from_slice(payload)))
}

impl Receive for Connection<Receiver> {
    type Item = Event;

    #[inline]
    fn receive(&mut self, input: &mut BytesMut, limits: &Limits) -> Result<Step<Event>, Fault> {
        if !self.reads_frames() {
            input.clear();
            return Ok(Step::NeedMore);
        }
        if let Some(message) = self.receiver.plain_message(input, limits) {
            let message = message?;
            self.message_received();
            return Ok(Step::Item(Event::Message(message)));
        }
        let step = self.receiver.step(input, limits, self.deflate.as_deref_mut())?;
        self.observed(step)
    }

    fn spare(&mut self) -> Option<Spare<'_>> {
        self.receiver.spare()
    }

    fn filled(&mut self, read: usize) -> Result<Step<Event>, Fault> {
        let step = self.receiver.filled(read)?;
        self.observed(step)
    }

    fn is_unfinished(&self) -> bool {
        self.receiver.is_unfinished()
    }

    fn take_work(&mut self) -> u16 {
        self.receiver.take_work().saturating_add(self.inflating_work())
    }
}

impl Connection<Receiver> {
    /// A message that needs nothing but the bytes that are here, on a connection that is open; see [`plain_copy`].
    #[inline]
    pub(crate) fn plain_copy(&self, input: &mut [u8], limits: &Limits) -> Option<Result<(Message, usize), Violation>> {
        if self.state == State::Open { self.receiver.plain_copy(input, limits) } else { None }
    }
}

impl<R> Connection<R> {
    /// RFC 6455 §7.1.7: after a failure, and after both Close frames, nothing is read as frames any more.
    pub(super) const fn reads_frames(&self) -> bool {
        self.state.after(Transition::ReceiveFrame).is_some()
    }
}

impl Connection<Receiver> {
    /// Makes an event of what arrived, and deals with control frames.
    fn observed(&mut self, step: Step<Arrived>) -> Result<Step<Event>, Fault> {
        match &step {
            Step::Item(Arrived::Message(_)) => self.message_received(),
            Step::Item(Arrived::Control(opcode, payload)) => self.control_received(*opcode, payload),
            Step::NeedMore | Step::Progress => {}
        }
        Ok(match step {
            Step::NeedMore => Step::NeedMore,
            Step::Progress => Step::Progress,
            Step::Item(Arrived::Message(message)) => Step::Item(Event::Message(message)),
            Step::Item(Arrived::Control(Opcode::Ping, payload)) => {
                if self.state.after(Transition::SendControl).is_some() {
                    // RFC 6455 §5.5.3: a Pong may answer only the latest Ping, so one slot is enough.
                    self.urgent.pong(payload.clone());
                }
                Step::Item(Event::Ping(payload))
            }
            Step::Item(Arrived::Control(Opcode::Close, payload)) => {
                let frame = CloseFrame::parse(&payload)?;
                self.close_received(frame.clone());
                Step::Item(Event::Close(frame))
            }
            Step::Item(Arrived::Control(_, payload)) => Step::Item(Event::Pong(payload)),
        })
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
