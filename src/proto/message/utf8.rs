//! Text that is known to be UTF-8, and the buffer that proves it while text arrives.
//!
//! This is the one file with `unsafe`: three conversions that skip a validation already done. What makes them sound:
//!
//! - every [`Utf8Bytes`] was validated as a whole when it was made, from a `str`, or by [`Utf8Buffer`];
//! - its bytes are never handed out mutably, and `Bytes` never changes what it refers to;
//! - [`Utf8Buffer`] only ever appends, and lets go of its bytes only when all of them are validated.

#![expect(unsafe_code, reason = "skips validating again what this file has validated")]

use std::{fmt, ops::Deref};

use bytes::{BufMut, Bytes, buf::Limit};

use crate::proto::message::assembler::slim;

/// Reference-counted text: a `str` that clones without copying.
///
/// ```
/// use wireline::Utf8Bytes;
/// let text = Utf8Bytes::from("grüße");
/// assert_eq!(text.len(), 7);
/// assert!(text.starts_with("grü"));
/// ```
#[derive(Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Utf8Bytes(Bytes);

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
            all & 0x8080_8080_8080_8080 == 0
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
        Self(Bytes::from_static(text.as_bytes()))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        // SAFETY: by this file's invariant the bytes were validated, and nothing has changed them since.
        unsafe { std::str::from_utf8_unchecked(&self.0) }
    }

    /// Validates `bytes` and copies them.
    #[inline]
    pub(crate) fn copy_from(bytes: &[u8]) -> Result<Self, InvalidUtf8> {
        if is_short_ascii(bytes) || simdutf8::basic::from_utf8(bytes).is_ok() {
            Ok(Self(Bytes::copy_from_slice(bytes)))
        } else {
            Err(InvalidUtf8)
        }
    }

    /// The same as text of the caller's own, in the place of what `buffer` holds.
    #[inline]
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

impl Deref for Utf8Bytes {
    type Target = str;

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
        &self.0
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
        Self(Bytes::copy_from_slice(text.as_bytes()))
    }
}

impl From<String> for Utf8Bytes {
    fn from(text: String) -> Self {
        Self(text.into())
    }
}

impl From<Utf8Bytes> for Bytes {
    fn from(text: Utf8Bytes) -> Self {
        text.0
    }
}

impl From<Utf8Bytes> for String {
    fn from(text: Utf8Bytes) -> Self {
        // SAFETY: as in `as_str`; turning `Bytes` into a `Vec` keeps their content.
        unsafe { Self::from_utf8_unchecked(text.0.into()) }
    }
}

impl TryFrom<Bytes> for Utf8Bytes {
    type Error = InvalidUtf8;

    fn try_from(bytes: Bytes) -> Result<Self, InvalidUtf8> {
        match simdutf8::basic::from_utf8(&bytes) {
            Ok(_) => Ok(Self(bytes)),
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

    /// Appends without validating yet; [`Utf8Buffer::validate`] must follow.
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

    /// The text, if it ends with a complete code point.
    pub(crate) fn finish(self) -> Result<Utf8Bytes, InvalidUtf8> {
        if self.validated == self.bytes.len() { Ok(Utf8Bytes(slim(self.bytes))) } else { Err(InvalidUtf8) }
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

    proptest! {
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
