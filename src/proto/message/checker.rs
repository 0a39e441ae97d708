use crate::proto::Violation;

/// Judges text that passes by in pieces and is kept elsewhere, or nowhere: fails on the first impossible byte.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Utf8Checker {
    /// The beginning of a code point that the next piece has to finish.
    open: [u8; 4],
    len: u8,
}

impl Utf8Checker {
    /// Judges the next piece, looking at each byte once.
    pub(crate) fn push(&mut self, mut piece: &[u8]) -> Result<(), Violation> {
        while self.len > 0 {
            let Some((byte, rest)) = piece.split_first() else { return Ok(()) };
            piece = rest;
            let len = usize::from(self.len) + 1;
            if let Some(slot) = self.open.get_mut(len - 1) {
                *slot = *byte;
            }
            self.len = match std::str::from_utf8(self.open.get(..len).unwrap_or_default()) {
                Ok(_) => 0,
                Err(error) if error.error_len().is_some() => return Err(Violation::InvalidUtf8),
                Err(_) => self.len + 1,
            };
        }
        match simdutf8::compat::from_utf8(piece) {
            Ok(_) => Ok(()),
            Err(error) if error.error_len().is_some() => Err(Violation::InvalidUtf8),
            Err(error) => {
                let rest = piece.get(error.valid_up_to()..).unwrap_or_default();
                if let Some(open) = self.open.get_mut(..rest.len()) {
                    open.copy_from_slice(rest);
                }
                self.len = u8::try_from(rest.len()).unwrap_or_default();
                Ok(())
            }
        }
    }

    /// Whether the text ends with a complete code point.
    pub(crate) const fn finish(self) -> Result<(), Violation> {
        if self.len == 0 { Ok(()) } else { Err(Violation::InvalidUtf8) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn piecewise(bytes: &[u8], piece: usize) -> Result<(), Violation> {
        let mut checker = Utf8Checker::default();
        bytes.chunks(piece).try_for_each(|piece| checker.push(piece))?;
        checker.finish()
    }

    proptest! {
        #[test]
        fn every_cut_agrees_with_the_standard_library(bytes: Vec<u8>, text: String, piece in 1usize..9) {
            let mixed = [text.as_bytes(), &bytes].concat();
            prop_assert_eq!(piecewise(text.as_bytes(), piece), Ok(()));
            prop_assert_eq!(piecewise(&mixed, piece).is_ok(), std::str::from_utf8(&mixed).is_ok());
        }
    }

    #[test]
    fn the_first_impossible_byte_fails_inside_a_code_point() {
        for (bytes, possible) in [(&[0xf0, 0x9f, 0x98][..], true), (&[0xf4, 0x90], false), (&[0xed, 0xa0], false)] {
            let mut checker = Utf8Checker::default();
            let judged = bytes.iter().try_for_each(|byte| checker.push(&[*byte]));
            assert_eq!(judged.is_ok(), possible, "{bytes:x?}");
            assert!(judged.is_err() || checker.finish().is_err(), "{bytes:x?} is not finished");
        }
    }
}
