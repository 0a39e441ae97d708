use std::fmt;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use sha1::{Digest as _, Sha1};

/// The value of `Sec-WebSocket-Key`: 16 random bytes in base64 (RFC 6455 section 4.1).
///
/// ```
/// use wireline::proto::handshake::Key;
/// let key = Key::parse(b"dGhlIHNhbXBsZSBub25jZQ==").ok_or("not a key")?;
/// assert_eq!(key.accept(), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
/// # Ok::<_, &str>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Key([u8; 24]);

impl Key {
    /// The key of 16 bytes, which must be random and fresh for each connection (RFC 6455 section 4.1).
    #[must_use]
    pub fn new(nonce: [u8; 16]) -> Self {
        let mut key = Self([b'='; 24]);
        // Always room for 16 bytes: they take 22 digits and two more characters.
        let _ = STANDARD.encode_slice(nonce, &mut key.0);
        key
    }

    /// The key that a client sent, where it decodes to 16 bytes (RFC 6455 section 4.2.1).
    ///
    /// The last character holds 2 bits that count and 4 that do not; any value of those is taken, as common clients that
    /// draw random characters leave them set.
    #[must_use]
    pub fn parse(value: &[u8]) -> Option<Self> {
        let digits = value.strip_suffix(b"==").filter(|digits| digits.len() == 22)?;
        let alphabet = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
        if digits.iter().all(alphabet) { value.try_into().ok().map(Self) } else { None }
    }

    /// The key as it is sent.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }

    /// The value of `Sec-WebSocket-Accept` that answers this key.
    #[must_use]
    pub fn accept(&self) -> String {
        Self::accept_of(&self.0)
    }

    /// The value of `Sec-WebSocket-Accept` that answers what was sent as key, whether it is one or not.
    pub(crate) fn accept_of(sent: &[u8]) -> String {
        STANDARD.encode(digest(sent))
    }

    /// The bytes of [`accept`](Self::accept).
    pub(super) fn proof(&self) -> [u8; 28] {
        let mut proof = [b'='; 28];
        // Always room for 20 bytes: they take 27 digits and one more character.
        let _ = STANDARD.encode_slice(digest(&self.0), &mut proof);
        proof
    }
}

/// RFC 6455 §4.2.2: the accept value is the base64 of the SHA-1 of the key, as sent, with the GUID appended.
fn digest(sent: &[u8]) -> [u8; 20] {
    Sha1::new().chain_update(sent).chain_update(GUID).finalize().into()
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Key").field(&self.as_str()).finish()
    }
}

const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn h12_key_decodes_to_16_bytes() {
        let table: &[(&str, bool)] = &[
            ("dGhlIHNhbXBsZSBub25jZQ==", true),
            ("x3JJHMbDL1EzLkh9GBhXDw==", true),
            ("//////////////////////==", true),
            ("AAAAAAAAAAAAAAAAAAAA", false),     // 15 bytes
            ("AAAAAAAAAAAAAAAAAAAAAAA=", false), // 17 bytes
            ("AAAAAAAAAAAAAAAAAAAAAA", false),   // no padding
            ("AAAAAAAAAAAAAAAAAAAAAA=", false),
            ("AAAAAAAAAAAAAAAAAAAAAA===", false),
            ("AAAAAAAAAAA AAAAAAAAAA==", false),
            ("AAAAAAAAAAA\u{e9}AAAAAAAAA==", false),
            ("AAAAAAAAAAAAAAAAAAA_-A==", false), // the URL alphabet
            ("====================", false),
            ("not base64!", false),
            ("", false),
        ];
        for &(value, valid) in table {
            assert_eq!(Key::parse(value.as_bytes()).is_some(), valid, "H12 {value:?}");
        }
    }

    #[test]
    fn s_11_accept_of_the_rfcs_example() {
        let key = Key::new(*b"the sample nonce");
        assert_eq!(key.as_str(), "dGhlIHNhbXBsZSBub25jZQ==");
        assert_eq!(key.accept(), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert_eq!(Key::parse(key.as_str().as_bytes()), Some(key.clone()));
    }
}
