use crate::proto::{Header, Mask, Opcode, Role, Rsv, Violation};

/// What is known before a header is read and decides whether it is legal.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HeaderRules {
    /// Whether the peer masks.
    pub(crate) masking: Masking,
    /// The reserved bits that a negotiated extension allows on the first frame of a message.
    pub(crate) extension: Rsv,
    /// Which data frames may come now.
    pub(crate) sequence: Sequence,
}

/// Which frames are masked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Masking {
    /// All that a client sends, none that a server sends (RFC 6455 section 5.1); this is who reads.
    ByRole(Role),
    /// Whatever the peer likes.
    Any,
}

/// Where in a message the reader stands (RFC 6455 section 5.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sequence {
    /// Not followed: single frames are all the caller wants.
    Any,
    /// Not followed, and neither reserved bits nor fragmented control frames are judged: whoever looks at the frame next
    /// does that.
    Unjudged,
    /// Between messages.
    First,
    /// Inside a message.
    Continuation,
}

/// Reads a header from the beginning of `input`; `None` until it is complete.
///
/// Each rule is judged as soon as its byte is there, in the order of the bytes: a reserved opcode fails on one byte of input,
/// an oversized control frame on two, a length on its last byte, before the masking-key is waited for.
#[inline]
pub(crate) fn decode_header(input: &[u8], rules: HeaderRules) -> Result<Option<(Header, usize)>, Violation> {
    let Some((&first, rest)) = input.split_first() else { return Ok(None) };
    let fin = first & 0x80 != 0;
    let rsv = Rsv::of(first);
    let opcode = first_byte(first, fin, rsv, rules)?;

    let Some((&second, rest)) = rest.split_first() else { return Ok(None) };
    let masked = second & 0x80 != 0;
    match rules.masking {
        // RFC 6455 §5.1: a server MUST close on an unmasked frame, a client on a masked one.
        Masking::ByRole(Role::Server) if !masked => return Err(Violation::Unmasked),
        Masking::ByRole(Role::Client) if masked => return Err(Violation::Masked),
        Masking::ByRole(_) | Masking::Any => {}
    }
    let short = second & 0x7f;
    // RFC 6455 §5.5: control frames have at most 125 bytes of payload.
    if opcode.is_control() && short > 125 {
        return Err(Violation::ControlTooLong);
    }

    let Some((payload_len, rest)) = length(short, rest)? else { return Ok(None) };
    let (mask, rest) = if masked {
        let Some((key, rest)) = rest.split_first_chunk::<4>() else { return Ok(None) };
        (Some(Mask::new(*key)), rest)
    } else {
        (None, rest)
    };
    Ok(Some((Header { fin, rsv, opcode, mask, payload_len }, input.len() - rest.len())))
}

/// The header of a frame that needs no further judgement: data in a message of its own, without reserved bits, shorter than
/// 64 KiB, masked as it must be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PlainHeader {
    pub(crate) opcode: Opcode,
    pub(crate) mask: Option<Mask>,
    /// Bytes of the header.
    pub(crate) len: usize,
    /// Bytes of it and its payload.
    pub(crate) end: usize,
}

/// The header that `input` begins with, if it is one of the usual kind and its payload is here too. What anything else is,
/// [`decode_header`] says.
#[inline]
pub(crate) fn decode_plain(input: &[u8], masking: Masking) -> Option<PlainHeader> {
    plain(input, masking, |first| match first {
        0x81 => Some(Opcode::Text),
        0x82 => Some(Opcode::Binary),
        _ => None,
    })
}

/// The same of a frame that is only a part of its message, and whether it is the last one.
#[inline]
pub(crate) fn decode_fragment(input: &[u8], masking: Masking) -> Option<(PlainHeader, bool)> {
    let header = plain(input, masking, |first| match first {
        0x00 | 0x80 => Some(Opcode::Continuation),
        0x01 => Some(Opcode::Text),
        0x02 => Some(Opcode::Binary),
        _ => None,
    })?;
    Some((header, input.first() == Some(&0x80)))
}

#[inline]
fn plain(input: &[u8], masking: Masking, opcode: impl FnOnce(u8) -> Option<Opcode>) -> Option<PlainHeader> {
    let (&[first, second], rest) = input.split_first_chunk()?;
    let opcode = opcode(first)?;
    let (payload_len, rest, len) = match second & 0x7f {
        126 => {
            let (bytes, rest) = rest.split_first_chunk()?;
            (Some(u16::from_be_bytes(*bytes)).filter(|len| *len > 125)?, rest, 4)
        }
        127 => return None,
        len => (u16::from(len), rest, 2),
    };
    let (mask, len) = match (second & 0x80 != 0, masking) {
        (true, Masking::ByRole(Role::Server) | Masking::Any) => (Some(Mask::new(*rest.first_chunk()?)), len + 4),
        (false, Masking::ByRole(Role::Client) | Masking::Any) => (None, len),
        (_, Masking::ByRole(_)) => return None,
    };
    let end = len + usize::from(payload_len);
    (end <= input.len()).then_some(PlainHeader { opcode, mask, len, end })
}

#[inline]
fn first_byte(first: u8, fin: bool, rsv: Rsv, rules: HeaderRules) -> Result<Opcode, Violation> {
    let opcode = Opcode::from_bits(first & 0x0f);
    let allowed = match opcode {
        Some(Opcode::Text | Opcode::Binary) => rules.extension,
        _ => Rsv::NONE,
    };
    // RFC 6455 §5.2: reserved bits MUST be 0 unless an extension gave them a meaning.
    if !rsv.within(allowed) && rules.sequence != Sequence::Unjudged {
        return Err(Violation::ReservedBit);
    }
    // RFC 6455 §5.2: an unknown opcode fails the connection.
    let Some(opcode) = opcode else { return Err(Violation::ReservedOpcode(first & 0x0f)) };
    match (opcode, rules.sequence) {
        (opcode, Sequence::Unjudged) => Ok(opcode),
        // RFC 6455 §5.5: control frames MUST NOT be fragmented.
        (Opcode::Close | Opcode::Ping | Opcode::Pong, _) if !fin => Err(Violation::FragmentedControl),
        // RFC 6455 §5.4: a continuation has a message, and nothing else comes inside one.
        (Opcode::Continuation, Sequence::First) => Err(Violation::UnexpectedContinuation),
        (Opcode::Text | Opcode::Binary, Sequence::Continuation) => Err(Violation::ExpectedContinuation),
        _ => Ok(opcode),
    }
}

/// RFC 6455 §5.2: the length in the fewest bytes that hold it, and never more than 63 bits.
#[inline]
pub(crate) fn length(short: u8, rest: &[u8]) -> Result<Option<(u64, &[u8])>, Violation> {
    match short {
        126 => {
            let Some((bytes, rest)) = rest.split_first_chunk::<2>() else { return Ok(None) };
            match u16::from_be_bytes(*bytes) {
                0..=125 => Err(Violation::LengthNotMinimal),
                len => Ok(Some((u64::from(len), rest))),
            }
        }
        127 => {
            let Some((bytes, rest)) = rest.split_first_chunk::<8>() else { return Ok(None) };
            match u64::from_be_bytes(*bytes) {
                0..=0xffff => Err(Violation::LengthNotMinimal),
                0x8000_0000_0000_0000.. => Err(Violation::LengthOutOfRange),
                len => Ok(Some((len, rest))),
            }
        }
        len => Ok(Some((u64::from(len), rest))),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ANY: HeaderRules =
        HeaderRules { masking: Masking::ByRole(Role::Client), extension: Rsv::NONE, sequence: Sequence::Any };

    #[test]
    fn each_rule_is_judged_on_its_own_byte() {
        let server = HeaderRules { masking: Masking::ByRole(Role::Server), ..ANY };
        let first = HeaderRules { sequence: Sequence::First, ..ANY };
        let inside = HeaderRules { sequence: Sequence::Continuation, ..ANY };
        let rows: [(&[u8], HeaderRules, Violation); 12] = [
            (&[0x83], ANY, Violation::ReservedOpcode(3)),
            (&[0x8f], ANY, Violation::ReservedOpcode(15)),
            (&[0xc1], ANY, Violation::ReservedBit),
            (&[0x09], ANY, Violation::FragmentedControl),
            (&[0x80], first, Violation::UnexpectedContinuation),
            (&[0x81], inside, Violation::ExpectedContinuation),
            (&[0x81, 0x01], server, Violation::Unmasked),
            (&[0x81, 0x81], ANY, Violation::Masked),
            (&[0x89, 0x7e], ANY, Violation::ControlTooLong),
            (&[0x82, 0x7e, 0x00, 0x7d], ANY, Violation::LengthNotMinimal),
            (&[0x82, 0x7f, 0, 0, 0, 0, 0, 0, 0xff, 0xff], ANY, Violation::LengthNotMinimal),
            (&[0x82, 0x7f, 0x80, 0, 0, 0, 0, 0, 0, 0], ANY, Violation::LengthOutOfRange),
        ];
        for (input, rules, violation) in rows {
            assert_eq!(decode_header(input, rules), Err(violation), "{input:x?}");
            let before = &input[..input.len() - 1];
            assert_eq!(decode_header(before, rules), Ok(None), "{before:x?}");
        }
    }

    #[test]
    fn unjudged_headers_are_left_to_whoever_looks_next() {
        let rules = HeaderRules { masking: Masking::Any, extension: Rsv::NONE, sequence: Sequence::Unjudged };
        for bytes in [[0xf1, 0x80], [0x09, 0x00], [0x70, 0x01], [0x7a, 0x00]] {
            let masked = if bytes[1] & 0x80 != 0 { &[1, 2, 3, 4][..] } else { &[] };
            let input = [&bytes[..], masked].concat();
            assert!(matches!(decode_header(&input, rules), Ok(Some(_))), "{input:x?}");
        }
        assert_eq!(decode_header(&[0x83], rules), Err(Violation::ReservedOpcode(3)));
        assert_eq!(decode_header(&[0x89, 0x7e], rules), Err(Violation::ControlTooLong));
    }

    proptest! {
        /// What the short way takes, the long way takes alike; and it takes every frame that is meant to go it.
        #[test]
        fn plain_headers_agree_with_the_whole_rules(
            first in prop_oneof![Just(0x81_u8), Just(0x82_u8), any::<u8>()],
            second: u8,
            rest in prop::collection::vec(prop_oneof![Just(0_u8), any::<u8>()], 0..300),
            reader in prop::sample::select(vec![
                Masking::ByRole(Role::Server), Masking::ByRole(Role::Client), Masking::Any,
            ]),
        ) {
            let input = [&[first, second][..], &rest].concat();
            let rules = HeaderRules { masking: reader, extension: Rsv::NONE, sequence: Sequence::First };
            let decoded = decode_header(&input, rules);
            let whole = decoded.ok().flatten().filter(|(header, len)| {
                header.fin && !header.opcode.is_control() && header.payload_len <= (input.len() - len) as u64
            });
            let plain = decode_plain(&input, reader).map(|plain| {
                let payload_len = (plain.end - plain.len) as u64;
                let (fin, rsv) = (true, Rsv::NONE);
                (Header { fin, rsv, opcode: plain.opcode, mask: plain.mask, payload_len }, plain.len)
            });
            prop_assert_eq!(plain, whole);
        }

        #[test]
        fn headers_survive_encoding_and_need_every_byte(
            fin: bool, opcode in prop::sample::select(vec![Opcode::Continuation, Opcode::Text, Opcode::Binary]),
            key: Option<[u8; 4]>, bits in 0u32..63, low: u64,
        ) {
            let payload_len = (1u64 << bits) | (low & ((1 << bits) - 1));
            let header = Header { fin, rsv: Rsv::NONE, opcode, mask: key.map(Mask::new), payload_len };
            let role = if key.is_some() { Role::Server } else { Role::Client };
            let mut bytes = Vec::new();
            header.encode(&mut bytes);
            let rules = HeaderRules { masking: Masking::ByRole(role), ..ANY };
            prop_assert_eq!(decode_header(&bytes, rules), Ok(Some((header, bytes.len()))));
            for cut in 0..bytes.len() {
                prop_assert_eq!(decode_header(&bytes[..cut], rules), Ok(None));
            }
        }
    }
}
