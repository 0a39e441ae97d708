//! The grammar of the handshake's headers: lists of tokens (RFC 9110 section 5.6), each byte looked at once.
//!
//! Several lines of one header are one list, and empty elements of a list are skipped (RFC 9110 section 5.6.1.2), but a
//! list without any element is an error.

use std::fmt;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, header};

/// A header that does not follow its grammar.
///
/// ```
/// use wireline::proto::handshake::GrammarError;
/// assert_eq!(GrammarError::Duplicate.to_string(), "an element stands in the list twice");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum GrammarError {
    /// The value holds a byte that is neither visible ASCII nor blank.
    NotAscii,
    /// The list has no element.
    Empty,
    /// Something other than a token stands where one must.
    NotToken,
    /// A quoted string has no end.
    UnclosedQuote,
    /// Something other than a separator follows an element.
    NotSeparator,
    /// An element stands in the list twice.
    Duplicate,
    /// The list has more elements than anyone needs: 128 subprotocols.
    TooMany,
}

impl fmt::Display for GrammarError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotAscii => "a byte is not visible ASCII",
            Self::Empty => "the list is empty",
            Self::NotToken => "a token is missing",
            Self::UnclosedQuote => "a quoted string has no end",
            Self::NotSeparator => "a separator is missing",
            Self::Duplicate => "an element stands in the list twice",
            Self::TooMany => "the list has more than 128 elements",
        })
    }
}

impl std::error::Error for GrammarError {}

/// The subprotocols that `Sec-WebSocket-Protocol` names, in order of preference; none where the header is absent.
///
/// ```
/// use http::{HeaderMap, HeaderValue, header};
/// use wireline::proto::handshake::subprotocols;
/// let mut headers = HeaderMap::new();
/// headers.append(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static("chat, superchat"));
/// assert_eq!(subprotocols(&headers), Ok(vec!["chat", "superchat"]));
/// ```
///
/// # Errors
///
/// RFC 6455 section 4.1: a name is not a token, a name occurs twice, or the list is empty. Stricter than the RFC, more than
/// 128 names are an error too: short names cost many times their length.
pub fn subprotocols(headers: &HeaderMap) -> Result<Vec<&str>, GrammarError> {
    let mut names = Vec::new();
    for line in headers.get_all(header::SEC_WEBSOCKET_PROTOCOL) {
        let found = ascii(line)?.split(',').map(trim).filter(|name| !name.is_empty());
        // One more than allowed is enough to tell.
        names.extend(found.take(MAX_SUBPROTOCOLS + 1 - names.len()));
    }
    if names.is_empty() && headers.contains_key(header::SEC_WEBSOCKET_PROTOCOL) {
        return Err(GrammarError::Empty);
    }
    check_subprotocols(&names)?;
    Ok(names)
}

/// The most subprotocols of one list.
const MAX_SUBPROTOCOLS: usize = 128;

/// RFC 6455 §4.1: subprotocols are non-empty tokens and unique.
pub(super) fn check_subprotocols(names: &[&str]) -> Result<(), GrammarError> {
    if names.len() > MAX_SUBPROTOCOLS {
        return Err(GrammarError::TooMany);
    }
    if !names.iter().all(|name| is_token(name)) {
        return Err(GrammarError::NotToken);
    }
    let mut sorted = names.to_vec();
    sorted.sort_unstable();
    if sorted.is_sorted_by(|a, b| a < b) { Ok(()) } else { Err(GrammarError::Duplicate) }
}

/// Whether the list in header `name` has this element; case does not matter.
pub(super) fn lists(headers: &HeaderMap, name: HeaderName, element: &str) -> bool {
    headers.get_all(name).into_iter().any(|line| has_element(line, element))
}

/// Whether the list in one line has this element; case does not matter.
pub(super) fn has_element(line: &HeaderValue, element: &str) -> bool {
    let (line, element) = (line.as_bytes(), element.as_bytes());
    let mut elements = line.split(|byte| *byte == b',');
    // Most lists have one element.
    line.eq_ignore_ascii_case(element) || elements.any(|found| found.trim_ascii().eq_ignore_ascii_case(element))
}

/// Headers that carry the handshake or frame a body, and so are not the application's to set.
pub(super) fn is_reserved(name: &HeaderName) -> bool {
    let ours = [header::UPGRADE, header::CONNECTION, header::CONTENT_LENGTH, header::TRANSFER_ENCODING];
    ours.contains(name) || name.as_str().starts_with("sec-websocket-")
}

/// The value of a header that occurs exactly once.
pub(super) fn only(headers: &HeaderMap, name: HeaderName) -> Option<&HeaderValue> {
    let mut lines = headers.get_all(name).into_iter();
    lines.next().filter(|_| lines.next().is_none())
}

/// A header value of what was made of tokens or base64.
#[expect(clippy::expect_used, reason = "visible ASCII is what every header value may hold")]
pub(super) fn visible(text: impl Into<String>) -> HeaderValue {
    HeaderValue::from_maybe_shared(Bytes::from(text.into())).expect("tokens and base64 are visible ASCII")
}

pub(super) const BLANK: [char; 2] = [' ', '\t'];

pub(super) fn trim(text: &str) -> &str {
    text.trim_matches(BLANK)
}

pub(super) fn ascii(line: &HeaderValue) -> Result<&str, GrammarError> {
    line.to_str().map_err(|_| GrammarError::NotAscii)
}

pub(crate) fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(is_token_byte)
}

/// RFC 9110 §5.6.2: visible ASCII without the separators.
pub(super) const fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii() && TOKEN_BYTES >> byte & 1 == 1
}

/// A bit for each of them: heads are long.
const TOKEN_BYTES: u128 = {
    let (mut bits, mut byte) = (0, 0_u8);
    while byte.is_ascii() {
        let is_one = byte.is_ascii_alphanumeric()
            || matches!(
                byte,
                b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~'
            );
        bits |= (is_one as u128) << byte;
        byte += 1;
    }
    bits
};

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[&str]) -> HeaderMap {
        let value = |line: &&str| HeaderValue::from_bytes(line.as_bytes()).unwrap();
        lines.iter().map(|line| (header::SEC_WEBSOCKET_PROTOCOL, value(line))).collect()
    }

    #[test]
    fn h5_subprotocols() {
        use GrammarError::{Duplicate, Empty, NotAscii, NotToken};
        let spaces = format!("b{}x", " ".repeat(30_000));
        type Row<'a> = (&'a [&'a str], Result<&'a [&'a str], GrammarError>);
        let table: &[Row<'_>] = &[
            (&[], Ok(&[])),
            (&["a"], Ok(&["a"])),
            (&["a,b", "\tc ,d "], Ok(&["a", "b", "c", "d"])),
            (&["Chat, chat"], Ok(&["Chat", "chat"])),
            (&["!#$%&'*+-.^_`|~09azAZ"], Ok(&["!#$%&'*+-.^_`|~09azAZ"])),
            // RFC 9110 §5.6.1.2: empty elements are skipped.
            (&["a,,b", ",c,"], Ok(&["a", "b", "c"])),
            (&["a", ""], Ok(&["a"])),
            (&[","], Err(Empty)),
            (&[""], Err(Empty)),
            (&["a, a"], Err(Duplicate)),
            (&["a,b", "a"], Err(Duplicate)),
            (&["a b"], Err(NotToken)),
            (&["a;b"], Err(NotToken)),
            (&["\"a\""], Err(NotToken)),
            (&["a/1"], Err(NotToken)),
            (&[&spaces], Err(NotToken)),
            (&["a, \u{e9}"], Err(NotAscii)),
        ];
        for (lines, expected) in table {
            let found = headers(lines);
            assert_eq!(subprotocols(&found), expected.map(<[&str]>::to_vec), "H5 {lines:.50?}");
        }
        let many: Vec<String> = (0..5000).map(|number| number.to_string()).collect();
        for (count, expected) in [(128, Ok(128)), (129, Err(GrammarError::TooMany)), (5000, Err(GrammarError::TooMany))]
        {
            let found = headers(&[&many[..count / 2].join(","), &many[count / 2..count].join(",")]);
            assert_eq!(subprotocols(&found).map(|names| names.len()), expected, "H5");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_value_is_parsed_without_panic(value in "[ \t,;a-c\u{80}-\u{ff}]{0,64}") {
            let _ = subprotocols(&headers(&[&value]));
        }
    }
}
