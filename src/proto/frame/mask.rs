/// A masking-key (RFC 6455 section 5.3).
///
/// ```
/// use wireline::proto::Mask;
/// let mask = Mask::new([0x37, 0xfa, 0x21, 0x3d]);
/// let mut payload = *b"Hello";
/// mask.apply(&mut payload, 0);
/// assert_eq!(payload, [0x7f, 0x9f, 0x4d, 0x51, 0x58]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Mask([u8; 4]);

impl Mask {
    /// The key as it travels. A client must draw it from a source nobody can predict (RFC 6455 section 10.3).
    #[must_use]
    pub const fn new(key: [u8; 4]) -> Self {
        Self(key)
    }

    /// The key's four bytes.
    #[must_use]
    pub const fn key(self) -> [u8; 4] {
        self.0
    }

    /// The key twice: what every eight bytes from the first on are masked with.
    #[inline]
    pub(crate) const fn block(self) -> u64 {
        let key = u32::from_le_bytes(self.0) as u64;
        key << 32 | key
    }

    /// Masks or unmasks, which is the same: `payload` is the part of a frame's payload that begins `offset` bytes into it.
    pub fn apply(self, payload: &mut [u8], offset: u64) {
        let [lowest, ..] = offset.to_le_bytes();
        let key = u32::from_le_bytes(self.0).rotate_right(8 * u32::from(lowest % 4));
        // Words of eight bytes, which the compiler turns into vector instructions, by the line: a longer body of the loop,
        // and no vectors for what is short.
        let word = u64::from(key) << 32 | u64::from(key);
        let rest = if payload.len() < LINE {
            payload
        } else {
            let (lines, rest) = payload.as_chunks_mut::<LINE>();
            for line in lines {
                words(line, word);
            }
            rest
        };
        let rest = words(rest, word);
        let (half, rest) = rest.as_chunks_mut::<4>();
        if let [half] = half {
            *half = (u32::from_le_bytes(*half) ^ key).to_le_bytes();
        }
        for (byte, key) in rest.iter_mut().zip(key.to_le_bytes()) {
            *byte ^= key;
        }
    }
}

/// Bytes of a cache line.
const LINE: usize = 64;

/// Masks the whole words of `payload` and returns what is left of it.
#[inline]
fn words(payload: &mut [u8], key: u64) -> &mut [u8] {
    let (words, rest) = payload.as_chunks_mut::<8>();
    for word in words {
        *word = (u64::from_le_bytes(*word) ^ key).to_le_bytes();
    }
    rest
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn blocks_mask_like_single_bytes(
            key: [u8; 4], payload in prop::collection::vec(any::<u8>(), 0..300), offset in 0u64..9,
        ) {
            let expected: Vec<u8> =
                payload.iter().zip(offset..).map(|(byte, at)| byte ^ key[usize::try_from(at % 4).unwrap()]).collect();
            let mut masked = payload;
            Mask::new(key).apply(&mut masked, offset);
            prop_assert_eq!(masked, expected);
        }
    }
}
