use bytes::BufMut;

use crate::proto::frame::{Mask, Opcode};

/// The three reserved bits of a frame (RFC 6455 section 5.2), which only extensions may set.
///
/// ```
/// use wireline::proto::Rsv;
/// assert!(Rsv::NONE.within(Rsv::RSV1));
/// assert!(!Rsv::RSV1.within(Rsv::NONE));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Rsv(u8);

impl Rsv {
    /// No bit set.
    pub const NONE: Self = Self(0);
    /// RSV1, which permessage-deflate uses (RFC 7692).
    pub const RSV1: Self = Self(0x40);
    /// RSV2.
    pub const RSV2: Self = Self(0x20);
    /// RSV3.
    pub const RSV3: Self = Self(0x10);

    pub(crate) const fn of(byte: u8) -> Self {
        Self(byte & 0x70)
    }

    /// Whether no bit is set that `allowed` lacks.
    #[must_use]
    pub const fn within(self, allowed: Self) -> bool {
        self.0 & !allowed.0 == 0
    }

    /// The bits of both.
    ///
    /// ```
    /// use wireline::proto::Rsv;
    /// assert!(Rsv::RSV2.within(Rsv::RSV1.and(Rsv::RSV2)));
    /// ```
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The bits that `other` lacks.
    pub(crate) const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }
}

/// The 2 to 14 bytes before a payload.
///
/// ```
/// use wireline::proto::{Header, Opcode, Rsv};
/// let header = Header { fin: true, rsv: Rsv::NONE, opcode: Opcode::Text, mask: None, payload_len: 5 };
/// let mut bytes = Vec::new();
/// header.encode(&mut bytes);
/// assert_eq!(bytes, [0x81, 0x05]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "the fields of RFC 6455 section 5.2")]
pub struct Header {
    /// Whether this frame ends its message.
    pub fin: bool,
    /// The reserved bits.
    pub rsv: Rsv,
    /// What the payload is.
    pub opcode: Opcode,
    /// The masking-key; clients mask, servers do not.
    pub mask: Option<Mask>,
    /// Bytes of payload. Stays 64 bits wide until it has been compared with a limit.
    pub payload_len: u64,
}

impl Header {
    /// The longest header: two bytes, a 64-bit length, a masking-key.
    pub const MAX_LEN: usize = 14;

    /// Appends the header's bytes, the length in as few of them as it needs (RFC 6455 section 5.2).
    ///
    /// # Panics
    ///
    /// If `out` is a fixed slice without room for them.
    pub fn encode(&self, out: &mut impl BufMut) {
        let (bytes, len) = self.bytes();
        out.put_slice(bytes.get(..len).unwrap_or_default());
    }

    /// The header's bytes, and how many of these there are.
    #[inline]
    pub(crate) fn bytes(&self) -> ([u8; Self::MAX_LEN], usize) {
        let mut bytes = [0; Self::MAX_LEN];
        let fin = if self.fin { 0x80 } else { 0 };
        let masked: u8 = if self.mask.is_some() { 0x80 } else { 0 };
        bytes[0] = fin | self.rsv.0 | self.opcode.bits();
        // RFC 6455 §5.2: the minimal number of bytes MUST be used to encode the length.
        let len = match (u8::try_from(self.payload_len), u16::try_from(self.payload_len)) {
            (Ok(len @ 0..=125), _) => {
                bytes[1] = masked | len;
                2
            }
            (_, Ok(len)) => {
                bytes[1] = masked | 126;
                bytes[2..4].copy_from_slice(&len.to_be_bytes());
                4
            }
            _ => {
                bytes[1] = masked | 127;
                bytes[2..10].copy_from_slice(&self.payload_len.to_be_bytes());
                10
            }
        };
        let Some(mask) = self.mask else { return (bytes, len) };
        if let Some(key) = bytes.get_mut(len..len + 4) {
            key.copy_from_slice(&mask.key());
        }
        (bytes, len + 4)
    }
}
