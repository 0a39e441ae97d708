use crate::{
    handler::{CloseCode, Error, Frame, Message, OpCode, Result, Settings},
    proto::{Excess, Fault, Utf8Bytes, Violation, connection::Payload, message::assembler::Assembler},
};

/// Puts messages together from the frames that a handler's hook let through.
#[derive(Debug, Default)]
pub(crate) struct Reassembly(Option<Box<Unfinished>>);

#[derive(Debug)]
struct Unfinished {
    body: Assembler,
    fragments: usize,
}

impl Reassembly {
    /// Takes the next data frame, by RFC 6455 section 5.4; a message when it is the last of one.
    pub(crate) fn push(&mut self, frame: Frame, settings: &Settings) -> Result<Option<Message>> {
        let fin = frame.is_final();
        let body = match (frame.opcode(), self.0.is_some()) {
            (OpCode::Continue, false) => return Err(broken(Violation::UnexpectedContinuation)),
            (OpCode::Continue, true) => None,
            (_, true) => return Err(broken(Violation::ExpectedContinuation)),
            (OpCode::Text, false) if fin => return whole_text(frame, settings).map(Some),
            (OpCode::Text, false) => Some(Assembler::text(Some(settings.max_message_size as u64))),
            (_, false) if fin => return whole_binary(frame, settings).map(Some),
            (_, false) => Some(Assembler::binary(Some(settings.max_message_size as u64))),
        };
        let mut unfinished = match (self.0.take(), body) {
            (None, Some(body)) => Box::new(Unfinished { body, fragments: 0 }),
            (Some(unfinished), _) => unfinished,
            (None, None) => return Err(broken(Violation::UnexpectedContinuation)),
        };
        let payload = frame.into_payload();
        check_size(unfinished.body.len().saturating_add(payload.bytes().len()), settings)?;
        unfinished.body.push(payload.bytes()).map_err(broken)?;
        if fin {
            return Ok(Some(Message::from_wire(unfinished.body.finish().map_err(broken)?)));
        }
        unfinished.fragments += 1;
        if !settings.fragments_grow && unfinished.fragments > settings.fragments_capacity {
            return Err(excess(Excess::Fragments { limit: settings.fragments_capacity as u64 }));
        }
        self.0 = Some(unfinished);
        Ok(None)
    }
}

fn whole_text(frame: Frame, settings: &Settings) -> Result<Message> {
    let text = match frame.into_payload() {
        Payload::Text(text) => text,
        Payload::Bytes(bytes) => Utf8Bytes::try_from(bytes).map_err(|_| broken(Violation::InvalidUtf8))?,
    };
    check_size(text.len(), settings)?;
    Ok(Message::from_wire(crate::Message::Text(text)))
}

fn whole_binary(frame: Frame, settings: &Settings) -> Result<Message> {
    let bytes = frame.into_payload().into_bytes();
    check_size(bytes.len(), settings)?;
    Ok(Message::from_wire(crate::Message::Binary(bytes)))
}

fn check_size(len: usize, settings: &Settings) -> Result<()> {
    if len > settings.max_message_size {
        return Err(excess(Excess::Message { limit: settings.max_message_size as u64 }));
    }
    Ok(())
}

fn broken(violation: Violation) -> Error {
    crate::Error::from(Fault::from(violation)).into()
}

fn excess(excess: Excess) -> Error {
    crate::Error::from(Fault::from(excess)).into()
}

/// What a peer's Close frame means: what the handler is told, and how it is answered.
#[derive(Debug)]
pub(crate) struct Farewell {
    /// What `on_close` is called with; by its absence the connection ends as `Abnormal`.
    pub(crate) told: Option<(CloseCode, String)>,
    /// The rule that the frame broke.
    pub(crate) broke: Option<Error>,
    /// The answer, without a reason; `Empty` is a Close without payload.
    pub(crate) answer: CloseCode,
}

impl Farewell {
    /// By RFC 6455 sections 5.5.1 and 7.4.
    pub(crate) fn of(payload: &[u8]) -> Self {
        let Some((code, reason)) = payload.split_first_chunk::<2>() else {
            if payload.is_empty() {
                return Self { told: Some((CloseCode::Status, String::new())), broke: None, answer: CloseCode::Empty };
            }
            let broke = Some(broken(Violation::ClosePayloadTooShort));
            return Self { told: None, broke, answer: CloseCode::Protocol };
        };
        let number = u16::from_be_bytes(*code);
        let code = CloseCode::from(number);
        let text = std::str::from_utf8(reason).map(str::to_owned);
        let invalid = || Some(broken(Violation::InvalidCloseCode(number)));
        match number {
            1005 | 1006 | 1015 => {
                let told = Some((code, text.unwrap_or_default()));
                Self { told, broke: invalid(), answer: CloseCode::Protocol }
            }
            1000..=1003 | 1007..=1014 | 3000..=4999 => match text {
                Ok(reason) => Self { told: Some((code, reason)), broke: None, answer: code },
                Err(_) => Self { told: Some((code, String::new())), broke: None, answer: CloseCode::Invalid },
            },
            _ => Self { told: None, broke: invalid(), answer: CloseCode::Protocol },
        }
    }
}
