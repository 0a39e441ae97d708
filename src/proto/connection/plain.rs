//! The usual case by itself, because judging headers takes the most of what happens to small messages: a message in one
//! frame, plain, shorter than 64 KiB and here as a whole, if that is what comes next between messages.

use bytes::{Buf, Bytes, BytesMut};

use crate::proto::{
    Limits, Message, Opcode, Utf8Bytes, Violation,
    codec::decoder::{Masking, PlainHeader, decode_plain},
};

/// A payload of this length is handed out as a view of the read buffer, a shorter one is copied out: a quarter of the
/// buffer, so that a message that is kept pins at most four times its length.
pub(crate) const VIEW_FROM: usize = 16 * 1024;

/// Takes such a message.
#[inline]
pub(super) fn plain_message(
    masking: Masking,
    input: &mut BytesMut,
    limits: &Limits,
) -> Option<Result<Message, Violation>> {
    match plain_copy(masking, input, limits) {
        Some(Ok((message, len))) => {
            input.advance(len);
            Some(Ok(message))
        }
        Some(Err(violation)) => Some(Err(violation)),
        None => plain_view(masking, input, limits),
    }
}

/// The same, of which the caller makes what it likes, and how many bytes of the input it takes.
#[inline]
pub(super) fn plain_payload<T>(
    masking: Masking,
    input: &mut [u8],
    limits: &Limits,
    make: impl FnOnce(Opcode, &[u8]) -> T,
) -> Option<(T, usize)> {
    let PlainHeader { opcode, mask, len, end } = plain_header(masking, input, limits)?;
    let payload = input.get_mut(len..end)?;
    if let Some(mask) = mask {
        mask.apply(payload, 0);
    }
    Some((make(opcode, payload), end))
}

/// The same of a message that is too short to be a [view](VIEW_FROM), and how many bytes of the input it takes.
#[inline]
pub(super) fn plain_copy(
    masking: Masking,
    input: &mut [u8],
    limits: &Limits,
) -> Option<Result<(Message, usize), Violation>> {
    let PlainHeader { opcode, mask, len, end } = plain_header(masking, input, limits)?;
    if end - len >= VIEW_FROM {
        return None;
    }
    if opcode == Opcode::Text
        && let Some(text) = Utf8Bytes::unmask(input.get(len..)?, end - len, mask)
    {
        return Some(Ok((Message::Text(text), end)));
    }
    let payload = input.get_mut(len..end)?;
    if let Some(mask) = mask {
        mask.apply(payload, 0);
    }
    Some(
        match opcode {
            Opcode::Text => Utf8Bytes::copy_from(payload).map(Message::Text).map_err(|_| Violation::InvalidUtf8),
            _ => Ok(Message::Binary(Bytes::copy_from_slice(payload))),
        }
        .map(|message| (message, end)),
    )
}

/// The same of a message that is long enough.
#[inline(never)]
fn plain_view(masking: Masking, input: &mut BytesMut, limits: &Limits) -> Option<Result<Message, Violation>> {
    let PlainHeader { opcode, mask, len, end } = plain_header(masking, input, limits)?;
    if let (Some(mask), Some(payload)) = (mask, input.get_mut(len..end)) {
        mask.apply(payload, 0);
    }
    Some(match opcode {
        Opcode::Text => take_text(len, end, input).map(Message::Text),
        _ => Ok(Message::Binary(take_bytes(len, end, input))),
    })
}

/// The header of a plain message that is within the limits.
#[inline]
fn plain_header(masking: Masking, input: &[u8], limits: &Limits) -> Option<PlainHeader> {
    let header = decode_plain(input, masking)?;
    let payload_len = (header.end - header.len) as u64;
    let beyond = |limit: Option<u64>| limit.is_some_and(|limit| payload_len > limit);
    (!beyond(limits.max_message) && !beyond(limits.max_frame)).then_some(header)
}

/// An unmasked payload that is here as a whole: a copy if it is short, else a view. It must be text.
#[inline]
pub(super) fn take_text(header_len: usize, end: usize, input: &mut BytesMut) -> Result<Utf8Bytes, Violation> {
    let text = if end - header_len < VIEW_FROM {
        let text = Utf8Bytes::copy_from(input.get(header_len..end).unwrap_or_default());
        input.advance(end);
        text
    } else {
        Utf8Bytes::try_from(view(header_len, end, input))
    };
    text.map_err(|_| Violation::InvalidUtf8)
}

/// The same of any bytes, which cannot fail.
#[inline]
pub(super) fn take_bytes(header_len: usize, end: usize, input: &mut BytesMut) -> Bytes {
    if end - header_len < VIEW_FROM {
        let bytes = Bytes::copy_from_slice(input.get(header_len..end).unwrap_or_default());
        input.advance(end);
        bytes
    } else {
        view(header_len, end, input)
    }
}

fn view(header_len: usize, end: usize, input: &mut BytesMut) -> Bytes {
    let mut frame = input.split_to(end);
    frame.advance(header_len);
    frame.freeze()
}
