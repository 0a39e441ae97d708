use bytes::{Buf, Bytes, BytesMut};

use crate::proto::{
    Excess, Fault, Header, Limits, Message, Opcode, Rsv, Utf8Bytes, Violation,
    codec::decoder::{HeaderRules, Masking, Sequence, decode_header},
    connection::{
        Connection, State, Step,
        plain::{plain_message, take_bytes, take_text},
        receive::{Arrived, DIRECT_FROM, Receive, Receiver, narrow, whole_frame},
    },
    message::{
        assembler::{Assembler, Spare},
        checker::Utf8Checker,
    },
};

/// A whole frame, before the rules of messages are applied to it.
#[derive(Debug)]
pub(crate) struct Collected {
    pub(crate) fin: bool,
    pub(crate) rsv: Rsv,
    pub(crate) opcode: Opcode,
    pub(crate) payload: Payload,
}

/// A payload, with what is known of it.
#[derive(Clone, Debug)]
pub(crate) enum Payload {
    /// All of it was judged to be text.
    Text(Utf8Bytes),
    /// Anything.
    Bytes(Bytes),
}

/// Turns bytes into frames, for a caller that looks at each of them before the rules of messages are applied.
#[derive(Debug)]
pub(crate) enum Collector {
    /// Every frame.
    Frames(Frames),
    /// Control frames, and each message as a single frame: where messages may be compressed, a fragment says nothing.
    Messages(Receiver),
}

/// Turns bytes into whole frames.
///
/// It judges what can be judged on the wire: opcodes, lengths, masks, every limit on the header, and text that no reserved
/// bit marks as transformed, as it arrives. The order of fragments and the reserved bits are the caller's to judge.
#[derive(Debug)]
pub(crate) struct Frames {
    masking: Masking,
    arriving: Option<Box<Arriving>>,
    message: Option<Box<Passing>>,
}

/// The frame whose payload is arriving in pieces.
#[derive(Debug)]
struct Arriving {
    header: Header,
    received: u64,
    payload: Assembler,
}

/// The message whose fragments pass by.
#[derive(Debug, Default)]
struct Passing {
    len: u64,
    continuations: u64,
    /// Of text that is not transformed.
    text: Option<Utf8Checker>,
}

impl Collector {
    pub(crate) const fn frames(masking: Masking) -> Self {
        Self::Frames(Frames { masking, arriving: None, message: None })
    }

    pub(crate) const fn messages(masking: Masking) -> Self {
        Self::Messages(Receiver::new(masking))
    }
}

impl Frames {
    /// The usual case by itself; see [`plain_message`].
    #[inline]
    fn plain_message(&self, input: &mut BytesMut, limits: &Limits) -> Option<Result<Message, Violation>> {
        if self.arriving.is_some() || self.message.is_some() {
            return None;
        }
        plain_message(self.masking, input, limits)
    }

    fn step(&mut self, input: &mut BytesMut, limits: &Limits) -> Result<Step<Collected>, Fault> {
        match self.arriving.take() {
            Some(arriving) => self.continue_payload(arriving, input),
            None => self.begin_frame(input, limits),
        }
    }

    fn begin_frame(&mut self, input: &mut BytesMut, limits: &Limits) -> Result<Step<Collected>, Fault> {
        let rules = HeaderRules { masking: self.masking, extension: Rsv::NONE, sequence: Sequence::Unjudged };
        let Some((header, header_len)) = decode_header(input, rules)? else { return Ok(Step::NeedMore) };
        self.judge(&header, limits)?;
        if let Some(end) = whole_frame(&header, header_len, input.len()) {
            return self.whole(&header, header_len, end, input);
        }
        input.advance(header_len);
        let most = Some(header.payload_len);
        let payload = if is_text_message(&header) { Assembler::text(most) } else { Assembler::binary(most) };
        self.continue_payload(Box::new(Arriving { header, received: 0, payload }), input)
    }

    /// Every limit, on the header alone, before its payload is waited for.
    fn judge(&mut self, header: &Header, limits: &Limits) -> Result<(), Excess> {
        if header.opcode.is_control() {
            return Ok(());
        }
        let announced = header.payload_len;
        if let Some(limit) = limits.max_frame.filter(|limit| announced > *limit) {
            return Err(Excess::Frame { announced, limit });
        }
        let so_far = match (&self.message, header.opcode) {
            (Some(message), Opcode::Continuation) => message.len,
            _ => 0,
        };
        // Subtracting cannot wrap where adding could.
        if let Some(limit) = limits.max_message.filter(|limit| announced > limit.saturating_sub(so_far)) {
            return Err(Excess::Message { limit });
        }
        self.pass(header, limits)
    }

    /// Follows the message that passes by, as the wire has it.
    fn pass(&mut self, header: &Header, limits: &Limits) -> Result<(), Excess> {
        match (&mut self.message, header.opcode) {
            (Some(message), Opcode::Continuation) => {
                message.len += header.payload_len;
                message.continuations += 1;
                let limit = limits.fragments();
                if message.continuations > limit {
                    return Err(Excess::Fragments { limit });
                }
            }
            (_, Opcode::Text | Opcode::Binary) => {
                let text = (header.opcode == Opcode::Text && is_plain(header)).then(Utf8Checker::default);
                self.message =
                    (!header.fin).then(|| Box::new(Passing { len: header.payload_len, continuations: 0, text }));
            }
            _ => {}
        }
        Ok(())
    }

    /// A frame that is here as a whole.
    fn whole(
        &mut self,
        header: &Header,
        header_len: usize,
        end: usize,
        input: &mut BytesMut,
    ) -> Result<Step<Collected>, Fault> {
        let payload = input.get_mut(header_len..end).unwrap_or_default();
        if let Some(mask) = header.mask {
            mask.apply(payload, 0);
        }
        self.check(header, payload)?;
        let payload = if is_text_message(header) {
            Payload::Text(take_text(header_len, end, input)?)
        } else {
            Payload::Bytes(take_bytes(header_len, end, input))
        };
        self.end_frame(header, payload)
    }

    fn continue_payload(
        &mut self,
        mut arriving: Box<Arriving>,
        input: &mut BytesMut,
    ) -> Result<Step<Collected>, Fault> {
        let missing = arriving.header.payload_len - arriving.received;
        let here = narrow(missing).unwrap_or(usize::MAX).min(input.len());
        let piece = input.get_mut(..here).unwrap_or_default();
        if let Some(mask) = arriving.header.mask {
            mask.apply(piece, arriving.received);
        }
        self.check(&arriving.header, piece)?;
        arriving.payload.push(piece)?;
        input.advance(here);
        self.arrived(arriving, here as u64)
    }

    fn arrived(&mut self, mut arriving: Box<Arriving>, here: u64) -> Result<Step<Collected>, Fault> {
        arriving.received += here;
        if arriving.received < arriving.header.payload_len {
            self.arriving = Some(arriving);
            return Ok(Step::NeedMore);
        }
        let Arriving { header, payload, .. } = *arriving;
        self.end_frame(&header, payload.finish()?.into())
    }

    /// Judges a piece of a fragment of plain text; a message in one frame is judged where it is put together.
    fn check(&mut self, header: &Header, piece: &[u8]) -> Result<(), Violation> {
        match self.checker(header) {
            Some(text) => text.push(piece),
            None => Ok(()),
        }
    }

    fn checker(&mut self, header: &Header) -> Option<&mut Utf8Checker> {
        if header.opcode.is_control() { None } else { self.message.as_mut()?.text.as_mut() }
    }

    fn end_frame(&mut self, header: &Header, payload: Payload) -> Result<Step<Collected>, Fault> {
        if header.fin && header.opcode == Opcode::Continuation {
            if let Some(text) = self.checker(header) {
                text.finish()?;
            }
            self.message = None;
        }
        Ok(Step::Item(Collected { fin: header.fin, rsv: header.rsv, opcode: header.opcode, payload }))
    }

    fn spare(&mut self) -> Option<Spare<'_>> {
        let arriving = self.arriving.as_deref_mut()?;
        let missing = arriving.header.payload_len - arriving.received;
        // A frame that was only announced costs nothing: its first bytes come through the caller's input.
        if arriving.received == 0 || missing < DIRECT_FROM {
            return None;
        }
        Some(arriving.payload.spare(narrow(missing).unwrap_or(usize::MAX)))
    }

    fn filled(&mut self, read: usize) -> Result<Step<Collected>, Fault> {
        let Some(mut arriving) = self.arriving.take() else { return Ok(Step::NeedMore) };
        let piece = arriving.payload.filled(read, arriving.header.mask, arriving.received)?;
        if let Some(text) = self.message.as_mut().and_then(|message| message.text.as_mut()) {
            text.push(piece)?;
        }
        self.arrived(arriving, read as u64)
    }
}

/// Whether no extension of a handler's has touched the payload.
fn is_plain(header: &Header) -> bool {
    header.rsv.within(Rsv::RSV2.and(Rsv::RSV3))
}

/// Whether the frame is a message of text by itself, to be judged as it is put together.
fn is_text_message(header: &Header) -> bool {
    header.fin && header.opcode == Opcode::Text && is_plain(header)
}

impl Receive for Connection<Collector> {
    type Item = Collected;

    fn receive(&mut self, input: &mut BytesMut, limits: &Limits) -> Result<Step<Collected>, Fault> {
        if !self.reads_frames() {
            input.clear();
            return Ok(Step::NeedMore);
        }
        let plain = match &self.receiver {
            Collector::Frames(frames) => frames.plain_message(input, limits),
            Collector::Messages(messages) => messages.plain_message(input, limits),
        };
        if let Some(message) = plain {
            let message = message?;
            self.message_received();
            return Ok(Step::Item(Collected::of(message)));
        }
        let step = match &mut self.receiver {
            Collector::Frames(frames) => frames.step(input, limits),
            Collector::Messages(messages) => messages.step(input, limits, self.deflate.as_deref_mut()).map(collected),
        }?;
        self.counted(&step);
        Ok(step)
    }

    fn spare(&mut self) -> Option<Spare<'_>> {
        match &mut self.receiver {
            Collector::Frames(frames) => frames.spare(),
            Collector::Messages(messages) => messages.spare(),
        }
    }

    fn filled(&mut self, read: usize) -> Result<Step<Collected>, Fault> {
        let step = match &mut self.receiver {
            Collector::Frames(frames) => frames.filled(read),
            Collector::Messages(messages) => messages.filled(read).map(collected),
        }?;
        self.counted(&step);
        Ok(step)
    }

    fn is_unfinished(&self) -> bool {
        match &self.receiver {
            Collector::Frames(_) => false,
            Collector::Messages(messages) => messages.is_unfinished(),
        }
    }

    fn take_work(&mut self) -> u16 {
        let taken = match &mut self.receiver {
            Collector::Frames(_) => 0,
            Collector::Messages(messages) => messages.take_work(),
        };
        taken.saturating_add(self.inflating_work())
    }
}

impl Connection<Collector> {
    /// A message that needs nothing but the bytes that are here, on a connection that is open and whose frames nobody looks
    /// at: what the caller makes of it, without a frame around it.
    #[inline]
    pub(crate) fn plain_payload<T>(
        &mut self,
        input: &mut [u8],
        limits: &Limits,
        make: impl FnOnce(Opcode, &[u8]) -> T,
    ) -> Option<(T, usize)> {
        let Collector::Messages(receiver) = &self.receiver else { return None };
        if self.state != State::Open {
            return None;
        }
        let made = receiver.plain_payload(input, limits, make)?;
        self.message_received();
        Some(made)
    }

    fn counted(&mut self, step: &Step<Collected>) {
        match step {
            Step::Item(Collected { opcode, payload, .. }) if opcode.is_control() => {
                self.control_received(*opcode, payload.bytes());
            }
            Step::Item(Collected { fin: true, .. }) => self.message_received(),
            _ => {}
        }
    }
}

/// What arrived, as one frame.
fn collected(step: Step<Arrived>) -> Step<Collected> {
    match step {
        Step::NeedMore => Step::NeedMore,
        Step::Progress => Step::Progress,
        Step::Item(Arrived::Message(message)) => Step::Item(Collected::of(message)),
        Step::Item(Arrived::Control(opcode, payload)) => {
            Step::Item(Collected { fin: true, rsv: Rsv::NONE, opcode, payload: Payload::Bytes(payload) })
        }
    }
}

impl Collected {
    /// A message as one frame.
    fn of(message: Message) -> Self {
        let opcode = message.opcode();
        Self { fin: true, rsv: Rsv::NONE, opcode, payload: message.into() }
    }
}

impl From<Message> for Payload {
    fn from(message: Message) -> Self {
        match message {
            Message::Text(text) => Self::Text(text),
            Message::Binary(bytes) => Self::Bytes(bytes),
        }
    }
}

impl Payload {
    pub(crate) fn bytes(&self) -> &[u8] {
        match self {
            Self::Text(text) => text.as_bytes(),
            Self::Bytes(bytes) => bytes,
        }
    }

    pub(crate) fn into_bytes(self) -> Bytes {
        match self {
            Self::Text(text) => text.into(),
            Self::Bytes(bytes) => bytes,
        }
    }
}
