//! Text that is known to be UTF-8, and the buffer that proves it while text arrives.
//!
//! This is the one file with `unsafe`: three conversions that skip a validation already done. What makes them sound:
//!
//! - every [`Utf8Bytes`] was validated as a whole when it was made, from a `str`, or by [`Utf8Buffer`];
//! - its bytes are never handed out mutably, and neither `Bytes` nor [`Short`] changes what it holds;
//! - [`Utf8Buffer`] only ever appends, and lets go of its bytes only when all of them are validated.

#![expect(unsafe_code, reason = "skips validating again what this file has validated")]

use std::{
    cmp::Ordering,
    fmt,
    hash::{Hash, Hasher},
    ops::Deref,
};

use bytes::{BufMut, Bytes, buf::Limit};

use crate::proto::{Mask, message::assembler::slim};

/// Text that is cheap to clone: reference-counted, or, up to 23 bytes, held in place without an allocation.
///
/// ```
/// use wireline::Utf8Bytes;
/// let text = Utf8Bytes::from("grüße");
/// assert_eq!(text.len(), 7);
/// assert!(text.starts_with("grü"));
/// ```
#[derive(Clone)]
pub struct Utf8Bytes(Held);

/// Where a text is. Both are as large as `Bytes` alone.
#[derive(Clone)]
enum Held {
    Shared(Bytes),
    Short(Short),
}

/// At most 23 bytes; zeros behind them, and then how many there are.
#[derive(Clone, Copy)]
pub(crate) struct Short([[u8; 8]; 3]);

impl Short {
    const SIZE: usize = 24;
    const MOST: usize = Self::SIZE - 1;

    /// Which bits of the words belong to so many bytes.
    #[expect(clippy::indexing_slicing, reason = "the compiler does it")]
    const KEPT: [[u64; 3]; Self::SIZE] = {
        let mut kept = [[0; 3]; Self::SIZE];
        let mut len = 0;
        while len < Self::SIZE {
            let mut at = 0;
            while at < len {
                kept[len][at / 8] |= 0xff << (8 * (at % 8));
                at += 1;
            }
            len += 1;
        }
        kept
    };

    /// The first `len` bytes, unmasked, of those at hand, in words; none if it cannot hold so many.
    #[inline]
    fn unmasked(bytes: &[u8], len: usize, mask: Option<Mask>) -> Option<[u64; 3]> {
        let kept = Self::KEPT.get(len)?;
        let words = match bytes.first_chunk() {
            Some(room) => Self::words(room),
            None => Self::copied(bytes.get(..len)?),
        };
        let block = mask.map_or(0, Mask::block);
        let [first, second, third] = words;
        Some([(first ^ block) & kept[0], (second ^ block) & kept[1], (third ^ block) & kept[2]])
    }

    #[inline]
    fn words(room: &[u8; Self::SIZE]) -> [u64; 3] {
        let [first, second, third] = *room.as_chunks().0 else { return [0; 3] };
        [first, second, third].map(u64::from_le_bytes)
    }

    /// Fewer bytes than there is room for, behind which nothing may be read.
    #[inline]
    fn copied(bytes: &[u8]) -> [u64; 3] {
        [0, 8, 16].map(|at| {
            let rest = bytes.get(at..).unwrap_or_default();
            rest.first_chunk().map_or_else(|| Self::few(rest), |eight| u64::from_le_bytes(*eight))
        })
    }

    /// Fewer than eight bytes, by reads that may overlap.
    #[inline]
    fn few(bytes: &[u8]) -> u64 {
        if let (Some(first), Some(last)) = (bytes.first_chunk(), bytes.last_chunk()) {
            let [first, last] = [*first, *last].map(|four| u64::from(u32::from_le_bytes(four)));
            return first | last << (8 * (bytes.len() - 4));
        }
        match *bytes {
            [] => 0,
            [one] => one.into(),
            [one, two] => u16::from_le_bytes([one, two]).into(),
            [one, two, three, ..] => u32::from_le_bytes([one, two, three, 0]).into(),
        }
    }

    /// In registers until all of it is known: what is written by bytes and read by words at once has to be waited for.
    #[inline]
    const fn of([first, second, third]: [u64; 3], len: usize) -> Self {
        let third = third | (len as u64) << 56;
        Self([first.to_le_bytes(), second.to_le_bytes(), third.to_le_bytes()])
    }

    #[inline]
    pub(crate) fn bytes(&self) -> &[u8] {
        self.0.as_flattened().get(..usize::from(self.len())).unwrap_or_default()
    }

    #[cold]
    fn is_text(&self) -> bool {
        std::str::from_utf8(self.bytes()).is_ok()
    }

    #[inline]
    pub(crate) const fn len(&self) -> u8 {
        let [_, _, [.., len]] = self.0;
        len
    }

    #[inline]
    pub(crate) const fn room(&self) -> &[[u8; 8]; 3] {
        &self.0
    }
}

/// Of eight bytes, those that no ASCII has.
const HIGH_BITS: u64 = 0x8080_8080_8080_8080;

/// Bytes that were meant to be text and are not UTF-8.
///
/// ```
/// use wireline::{Utf8Bytes, proto::message::InvalidUtf8};
/// assert_eq!(Utf8Bytes::try_from(vec![0xff]), Err(InvalidUtf8));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "says all there is to say")]
pub struct InvalidUtf8;

impl fmt::Display for InvalidUtf8 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not valid UTF-8")
    }
}

impl std::error::Error for InvalidUtf8 {}

/// Below so many bytes, vectors do not help to validate.
const SHORT: usize = 64;

/// Most short texts are ASCII, and whether they are takes a fraction of the time to find out: by words, the last of which
/// may overlap the one before.
#[inline]
fn is_short_ascii(bytes: &[u8]) -> bool {
    let (words, last) = (bytes.as_chunks::<8>().0, bytes.last_chunk::<8>());
    match last {
        Some(last) if bytes.len() < SHORT => {
            let all = words.iter().fold(u64::from_ne_bytes(*last), |all, word| all | u64::from_ne_bytes(*word));
            all & HIGH_BITS == 0
        }
        Some(_) => false,
        None => bytes.is_ascii(),
    }
}

impl Utf8Bytes {
    /// Text that lives as long as the program, without an allocation.
    ///
    /// ```
    /// assert_eq!(wireline::Utf8Bytes::from_static("hi").as_str(), "hi");
    /// ```
    #[must_use]
    pub const fn from_static(text: &'static str) -> Self {
        Self(Held::Shared(Bytes::from_static(text.as_bytes())))
    }

    /// The text.
    #[must_use]
    #[inline]
    pub fn as_str(&self) -> &str {
        // SAFETY: by this file's invariant the bytes were validated, and nothing has changed them since.
        unsafe { std::str::from_utf8_unchecked(self.bytes()) }
    }

    #[inline]
    fn bytes(&self) -> &[u8] {
        match &self.0 {
            Held::Shared(bytes) => bytes,
            Held::Short(short) => short.bytes(),
        }
    }

    /// The text with the room it is held in, if that is in place.
    #[inline]
    pub(crate) const fn short(&self) -> Option<&Short> {
        match &self.0 {
            Held::Shared(_) => None,
            Held::Short(short) => Some(short),
        }
    }

    /// Validates `bytes` and copies them.
    #[inline]
    pub(crate) fn copy_from(bytes: &[u8]) -> Result<Self, InvalidUtf8> {
        if bytes.len() <= Short::MOST {
            return Self::unmask(bytes, bytes.len(), None).ok_or(InvalidUtf8);
        }
        if is_short_ascii(bytes) || simdutf8::basic::from_utf8(bytes).is_ok() {
            Ok(Self(Held::Shared(Bytes::copy_from_slice(bytes))))
        } else {
            Err(InvalidUtf8)
        }
    }

    /// Unmasks, validates and copies the first `len` of the bytes at hand, in one pass; none if they are not text, or too
    /// many to be held in place.
    #[inline]
    pub(crate) fn unmask(bytes: &[u8], len: usize, mask: Option<Mask>) -> Option<Self> {
        let words = Short::unmasked(bytes, len, mask)?;
        let short = Short::of(words, len);
        let is_ascii = (words[0] | words[1] | words[2]) & HIGH_BITS == 0;
        (is_ascii || short.is_text()).then_some(Self(Held::Short(short)))
    }

    /// Validates `bytes` and copies them into text of the caller's own, in the place of what `buffer` holds.
    #[inline(always)]
    pub(crate) fn owned(bytes: &[u8], mut buffer: Vec<u8>) -> Result<String, InvalidUtf8> {
        if is_short_ascii(bytes) || simdutf8::basic::from_utf8(bytes).is_ok() {
            buffer.clear();
            buffer.extend_from_slice(bytes);
            // SAFETY: it holds these bytes, just validated, and nothing else.
            Ok(unsafe { String::from_utf8_unchecked(buffer) })
        } else {
            Err(InvalidUtf8)
        }
    }
}

impl Default for Utf8Bytes {
    fn default() -> Self {
        Self::from_static("")
    }
}

impl PartialEq for Utf8Bytes {
    fn eq(&self, other: &Self) -> bool {
        self.bytes() == other.bytes()
    }
}

impl Eq for Utf8Bytes {}

impl Hash for Utf8Bytes {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.bytes().hash(state);
    }
}

impl PartialOrd for Utf8Bytes {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Utf8Bytes {
    fn cmp(&self, other: &Self) -> Ordering {
        self.bytes().cmp(other.bytes())
    }
}

impl Deref for Utf8Bytes {
    type Target = str;

    #[inline]
    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl AsRef<str> for Utf8Bytes {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

impl AsRef<[u8]> for Utf8Bytes {
    fn as_ref(&self) -> &[u8] {
        self.bytes()
    }
}

impl fmt::Display for Utf8Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for Utf8Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl From<&str> for Utf8Bytes {
    fn from(text: &str) -> Self {
        let short = Short::unmasked(text.as_bytes(), text.len(), None);
        let short = short.map(|words| Held::Short(Short::of(words, text.len())));
        Self(short.unwrap_or_else(|| Held::Shared(Bytes::copy_from_slice(text.as_bytes()))))
    }
}

impl From<String> for Utf8Bytes {
    fn from(text: String) -> Self {
        Self(Held::Shared(text.into()))
    }
}

impl From<Utf8Bytes> for Bytes {
    fn from(text: Utf8Bytes) -> Self {
        match text.0 {
            Held::Shared(bytes) => bytes,
            Held::Short(short) => Self::copy_from_slice(short.bytes()),
        }
    }
}

impl From<Utf8Bytes> for String {
    fn from(text: Utf8Bytes) -> Self {
        match text.0 {
            // SAFETY: as in `as_str`; turning `Bytes` into a `Vec` keeps their content.
            Held::Shared(bytes) => unsafe { Self::from_utf8_unchecked(bytes.into()) },
            Held::Short(_) => text.as_str().to_owned(),
        }
    }
}

impl TryFrom<Bytes> for Utf8Bytes {
    type Error = InvalidUtf8;

    fn try_from(bytes: Bytes) -> Result<Self, InvalidUtf8> {
        match simdutf8::basic::from_utf8(&bytes) {
            Ok(_) => Ok(Self(Held::Shared(bytes))),
            Err(_) => Err(InvalidUtf8),
        }
    }
}

impl TryFrom<Vec<u8>> for Utf8Bytes {
    type Error = InvalidUtf8;

    fn try_from(bytes: Vec<u8>) -> Result<Self, InvalidUtf8> {
        Self::try_from(Bytes::from(bytes))
    }
}

impl PartialEq<str> for Utf8Bytes {
    fn eq(&self, other: &str) -> bool {
        self.as_str() == other
    }
}

impl PartialEq<&str> for Utf8Bytes {
    fn eq(&self, other: &&str) -> bool {
        self.as_str() == *other
    }
}

/// Text that is still arriving. Each byte is validated once; the first impossible byte is found even inside a code point
/// that is not complete.
#[derive(Debug, Default)]
pub(crate) struct Utf8Buffer {
    bytes: Vec<u8>,
    /// Everything before this index is UTF-8, ending at a code point's end. At most 3 bytes may follow it.
    validated: usize,
}

impl Utf8Buffer {
    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(crate) fn reserve_exact(&mut self, additional: usize) {
        self.bytes.reserve_exact(additional);
    }

    pub(crate) const fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    /// Appends without validating yet; [`Utf8Buffer::validate`] or [`Utf8Buffer::finish`] must follow.
    pub(crate) fn append(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Room to append to directly; [`Utf8Buffer::validate`] must follow.
    pub(crate) fn spare(&mut self, at_most: usize) -> Limit<&mut Vec<u8>> {
        (&mut self.bytes).limit(at_most)
    }

    /// What was appended from index `start` on and is not validated, to be unmasked in place.
    pub(crate) fn appended(&mut self, start: usize) -> &mut [u8] {
        self.bytes.get_mut(start.max(self.validated)..).unwrap_or_default()
    }

    /// Validates what was appended since the last call.
    pub(crate) fn validate(&mut self) -> Result<(), InvalidUtf8> {
        let pending = self.bytes.get(self.validated..).unwrap_or_default();
        match simdutf8::compat::from_utf8(pending) {
            Ok(_) => self.validated = self.bytes.len(),
            Err(error) if error.error_len().is_some() => return Err(InvalidUtf8),
            Err(error) => self.validated += error.valid_up_to(),
        }
        Ok(())
    }

    /// The text, if what was appended last is valid and ends with a complete code point.
    pub(crate) fn finish(self) -> Result<Utf8Bytes, InvalidUtf8> {
        let pending = self.bytes.get(self.validated..).unwrap_or_default();
        if pending.is_empty() || simdutf8::basic::from_utf8(pending).is_ok() {
            Ok(Utf8Bytes(Held::Shared(slim(self.bytes))))
        } else {
            Err(InvalidUtf8)
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn piecewise(bytes: &[u8], piece: usize) -> Result<Utf8Bytes, InvalidUtf8> {
        let mut buffer = Utf8Buffer::default();
        for piece in bytes.chunks(piece.max(1)) {
            buffer.append(piece);
            buffer.validate()?;
        }
        buffer.finish()
    }

    #[test]
    fn the_first_impossible_byte_fails_inside_a_code_point() {
        let rows: [(&[u8], bool); 6] = [
            (&[0xf0, 0x9f, 0x98], true),
            (&[0xf4, 0x90], false),
            (&[0xed, 0xa0], false),
            (&[0xe0, 0x80], false),
            (&[0xc0], false),
            (&[0xe2, 0x82], true),
        ];
        for (bytes, possible) in rows {
            let mut buffer = Utf8Buffer::default();
            buffer.append(bytes);
            assert_eq!(buffer.validate().is_ok(), possible, "{bytes:x?}");
            assert_eq!(buffer.finish(), Err(InvalidUtf8), "{bytes:x?}");
        }
    }

    /// Behind a short text there may be nothing that could be read with it.
    #[test]
    fn short_texts_are_unmasked_whatever_is_behind_them() {
        let mask = Mask::new([0x37, 0xfa, 0x21, 0x3d]);
        for len in 0..=Short::MOST {
            let text = String::from_iter(('a'..='z').take(len));
            let mut wire = text.clone().into_bytes();
            mask.apply(&mut wire, 0);
            for behind in 0..=Short::SIZE {
                wire.resize(len + behind, 0xff);
                assert_eq!(Utf8Bytes::unmask(&wire, len, Some(mask)).as_deref(), Some(&*text), "{len} and {behind}");
                let plain = [text.as_bytes(), &vec![0xff; behind]].concat();
                assert_eq!(Utf8Bytes::unmask(&plain, len, None).as_deref(), Some(&*text), "{len} and {behind}");
            }
        }
    }

    /// Whether a text is held in place shows nowhere.
    #[test]
    fn short_texts_are_like_others() {
        let hash = |text: &Utf8Bytes| {
            let mut hasher = std::hash::DefaultHasher::new();
            text.hash(&mut hasher);
            hasher.finish()
        };
        for len in 0..30 {
            let a = "a".repeat(len);
            let (short, shared) = (Utf8Bytes::from(&*a), Utf8Bytes::from(a.clone()));
            let longer = Utf8Bytes::from(a.clone() + "ß");
            assert_eq!(short.short().is_some(), len <= Short::MOST);
            assert!(shared.short().is_none());
            assert_eq!((&short, short.as_str(), hash(&short)), (&shared, &*a, hash(&shared)));
            assert_eq!(Bytes::from(short.clone()), Bytes::from(shared));
            assert_eq!(String::from(short.clone()), a);
            assert!(short < longer && short.clone() >= short);
        }
    }

    proptest! {
        /// Whatever follows the payload on the wire is none of its business.
        #[test]
        fn what_is_unmasked_in_one_pass_agrees_with_two(
            text in "[a-zß€😀]{0,12}", broken in prop::option::of((0usize..30, any::<u8>())), key: [u8; 4],
            behind in prop::collection::vec(any::<u8>(), 0..40),
        ) {
            let mut payload = text.into_bytes();
            if let Some((at, byte)) = broken && at < payload.len() {
                payload[at] = byte;
            }
            let (mask, len) = (Mask::new(key), payload.len());
            let mut wire = payload.clone();
            mask.apply(&mut wire, 0);
            wire.extend(behind);
            let expected = std::str::from_utf8(&payload).ok().filter(|_| len <= Short::MOST);
            let unmasked = Utf8Bytes::unmask(&wire, len, Some(mask));
            prop_assert_eq!(unmasked.as_deref(), expected);
        }

        #[test]
        fn every_cut_agrees_with_the_standard_library(bytes: Vec<u8>, piece in 1usize..9) {
            let expected = std::str::from_utf8(&bytes).ok().map(str::to_owned);
            let owned = Utf8Bytes::owned(&bytes, b"before".to_vec()).map(Utf8Bytes::from);
            let ways = [piecewise(&bytes, piece), Utf8Bytes::copy_from(&bytes), owned, Utf8Bytes::try_from(bytes)];
            for text in ways {
                let text = text.ok().map(String::from);
                prop_assert_eq!(&text, &expected);
            }
        }

        #[test]
        fn text_survives_every_cut(text: String, piece in 1usize..9) {
            let whole = piecewise(text.as_bytes(), piece).unwrap();
            prop_assert_eq!(whole.as_str(), &text);
            prop_assert_eq!(String::from(whole), text);
        }
    }
}
