use bytes::Bytes;

use crate::proto::Opcode;

/// One frame of an outgoing message.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Fragment {
    pub(crate) opcode: Opcode,
    pub(crate) fin: bool,
    pub(crate) payload: Bytes,
}

/// Cuts a payload into frames of at most `size` bytes, at least one: the first has `opcode` (RFC 6455 section 5.4).
pub(crate) fn fragments(opcode: Opcode, payload: Bytes, size: usize) -> impl Iterator<Item = Fragment> {
    let size = size.max(1);
    let mut next = Some((opcode, payload));
    std::iter::from_fn(move || {
        let (opcode, mut rest) = next.take()?;
        let payload = if rest.len() > size { rest.split_to(size) } else { std::mem::take(&mut rest) };
        let fin = rest.is_empty();
        if !fin {
            next = Some((Opcode::Continuation, rest));
        }
        Some(Fragment { opcode, fin, payload })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_cut_by_section_5_4() {
        type Cut<'a> = &'a [(Opcode, bool, &'a str)];
        let rows: [(&str, usize, Cut<'_>); 3] = [
            ("", 2, &[(Opcode::Text, true, "")]),
            ("ab", 2, &[(Opcode::Text, true, "ab")]),
            (
                "abcde",
                2,
                &[(Opcode::Text, false, "ab"), (Opcode::Continuation, false, "cd"), (Opcode::Continuation, true, "e")],
            ),
        ];
        for (text, size, expected) in rows {
            let cut: Vec<_> = fragments(Opcode::Text, text.into(), size).collect();
            let expected: Vec<_> = expected
                .iter()
                .map(|&(opcode, fin, payload)| Fragment { opcode, fin, payload: payload.into() })
                .collect();
            assert_eq!(cut, expected);
        }
    }
}
