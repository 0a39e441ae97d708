//! The grammar of `Sec-WebSocket-Extensions` (RFC 6455 section 9.1), each byte looked at once.
//!
//! ```text
//!  permessage-deflate; client_max_window_bits; server_max_window_bits="10", other
//!  └─ extension name ┘ └── parameter name ──┘ └── parameter name ───┘ value  next
//! ```
//!
//! A cursor that only moves forward: no regular expression, no backtracking, no recursion.

use std::borrow::Cow;

use http::{HeaderMap, header};

use super::{
    GrammarError,
    headers::{BLANK, ascii, is_token, is_token_byte, trim},
};

/// One element of `Sec-WebSocket-Extensions` (RFC 6455 section 9.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extension<'a> {
    name: &'a str,
    parameters: Vec<Parameter<'a>>,
}

impl<'a> Extension<'a> {
    /// The extension's name, a token.
    #[must_use]
    pub const fn name(&self) -> &'a str {
        self.name
    }

    /// The parameters, in order. A name may occur twice.
    #[must_use]
    pub fn parameters(&self) -> &[Parameter<'a>] {
        &self.parameters
    }
}

/// One parameter of an [`Extension`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameter<'a> {
    name: &'a str,
    value: Option<Cow<'a, str>>,
}

impl<'a> Parameter<'a> {
    /// The parameter's name, a token.
    #[must_use]
    pub const fn name(&self) -> &'a str {
        self.name
    }

    /// The value, a token, without the quotes it may have stood in.
    #[must_use]
    pub fn value(&self) -> Option<&str> {
        self.value.as_deref()
    }
}

/// The first 16 extensions of `Sec-WebSocket-Extensions`, in order of preference; none where the header is absent.
///
/// The grammar of those behind the 16th is checked too.
///
/// ```
/// use http::{HeaderMap, HeaderValue, header};
/// use wireline::proto::handshake::extensions;
/// let mut headers = HeaderMap::new();
/// let value = HeaderValue::from_static("permessage-deflate; server_max_window_bits=\"10\", x");
/// headers.append(header::SEC_WEBSOCKET_EXTENSIONS, value);
/// let offers = extensions(&headers)?;
/// assert_eq!(offers[0].parameters()[0].value(), Some("10"));
/// assert_eq!(offers[1].name(), "x");
/// # Ok::<_, wireline::proto::handshake::GrammarError>(())
/// ```
///
/// # Errors
///
/// RFC 6455 section 9.1: the value does not follow the grammar, or the list is empty.
pub fn extensions(headers: &HeaderMap) -> Result<Vec<Extension<'_>>, GrammarError> {
    let mut found = Vec::new();
    each_extension(headers, |extension| {
        if found.len() < MAX_EXTENSIONS {
            found.push(extension);
        }
    })?;
    Ok(found)
}

/// Visits every extension of `Sec-WebSocket-Extensions` until the grammar is broken; errors as of [`extensions`].
pub(super) fn each_extension<'a>(
    headers: &'a HeaderMap,
    mut visit: impl FnMut(Extension<'a>),
) -> Result<(), GrammarError> {
    let mut empty = headers.contains_key(header::SEC_WEBSOCKET_EXTENSIONS);
    for line in headers.get_all(header::SEC_WEBSOCKET_EXTENSIONS) {
        let mut cursor = Cursor { rest: trim(ascii(line)?) };
        while !cursor.rest.is_empty() {
            if !cursor.take(',') {
                visit(cursor.extension()?);
                empty = false;
            }
        }
    }
    if empty { Err(GrammarError::Empty) } else { Ok(()) }
}

/// More offers than any client has use for; each costs a negotiation.
const MAX_EXTENSIONS: usize = 16;

/// What is left of one header line.
struct Cursor<'a> {
    rest: &'a str,
}

impl<'a> Cursor<'a> {
    /// RFC 6455 §9.1: extension = token *( ";" parameter ), up to the comma or the end.
    fn extension(&mut self) -> Result<Extension<'a>, GrammarError> {
        let name = self.token()?;
        let mut parameters = Vec::new();
        while self.take(';') {
            parameters.push(self.parameter()?);
        }
        if self.rest.is_empty() || self.rest.starts_with(',') {
            return Ok(Extension { name, parameters });
        }
        Err(GrammarError::NotSeparator)
    }

    /// RFC 6455 §9.1: parameter = token [ "=" ( token | quoted-string ) ].
    fn parameter(&mut self) -> Result<Parameter<'a>, GrammarError> {
        let name = self.token()?;
        if !self.take('=') {
            return Ok(Parameter { name, value: None });
        }
        let value = if self.rest.starts_with('"') { self.quoted()? } else { Cow::Borrowed(self.token()?) };
        Ok(Parameter { name, value: Some(value) })
    }

    fn token(&mut self) -> Result<&'a str, GrammarError> {
        let length = self.rest.bytes().take_while(|byte| is_token_byte(*byte)).count();
        let (token, rest) = self.rest.split_at(length);
        self.rest = rest.trim_start_matches(BLANK);
        if token.is_empty() { Err(GrammarError::NotToken) } else { Ok(token) }
    }

    /// RFC 6455 §9.1: what a quoted string says, without its escapes, must be a token.
    fn quoted(&mut self) -> Result<Cow<'a, str>, GrammarError> {
        let mut value = String::new();
        let mut characters = self.rest.char_indices().skip(1);
        while let Some((at, character)) = characters.next() {
            match character {
                '"' => {
                    let (_, rest) = self.rest.split_at(at + 1);
                    self.rest = rest.trim_start_matches(BLANK);
                    return if is_token(&value) { Ok(Cow::Owned(value)) } else { Err(GrammarError::NotToken) };
                }
                '\\' => value.extend(characters.next().map(|(_, escaped)| escaped)),
                plain => value.push(plain),
            }
        }
        Err(GrammarError::UnclosedQuote)
    }

    /// Takes a separator and the blanks behind it, if it is the next character.
    fn take(&mut self, separator: char) -> bool {
        let Some(rest) = self.rest.strip_prefix(separator) else {
            return false;
        };
        self.rest = rest.trim_start_matches(BLANK);
        true
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn headers(lines: &[&str]) -> HeaderMap {
        let value = |line: &&str| HeaderValue::from_bytes(line.as_bytes()).unwrap();
        lines.iter().map(|line| (header::SEC_WEBSOCKET_EXTENSIONS, value(line))).collect()
    }

    /// Writes extensions in the one canonical form.
    fn shown(extensions: &[Extension<'_>]) -> String {
        let parameter = |parameter: &Parameter<'_>| match parameter.value() {
            Some(value) => format!(";{}={value}", parameter.name()),
            None => format!(";{}", parameter.name()),
        };
        let extension = |extension: &Extension<'_>| {
            [extension.name().to_owned(), extension.parameters().iter().map(parameter).collect()].concat()
        };
        extensions.iter().map(extension).collect::<Vec<_>>().join(",")
    }

    #[test]
    fn h6_s_12_s_13_extensions() {
        use GrammarError::{Empty, NotAscii, NotSeparator, NotToken, UnclosedQuote};
        let unclosed = format!("a;b=\"{}", "\\c".repeat(4096));
        let offers = ["x"; 200].join(",");
        let sixteen = ["x"; 16].join(",");
        let table: &[(&[&str], Result<&str, GrammarError>)] = &[
            (&[], Ok("")),
            (&["foo"], Ok("foo")),
            (&["foo", "bar , baz"], Ok("foo,bar,baz")),
            (
                &["foo; name; token=token; quoted-string=\"quoted-string\", bar; quux; quuux"],
                Ok("foo;name;token=token;quoted-string=quoted-string,bar;quux;quuux"),
            ),
            (&["a ; b = c ;\td = \"e\" "], Ok("a;b=c;d=e")),
            (&["a;b=\"\\c\\d\""], Ok("a;b=cd")),
            (&["a;b;b=1"], Ok("a;b;b=1")),
            (
                &["permessage-deflate; client_max_window_bits, permessage-deflate"],
                Ok("permessage-deflate;client_max_window_bits,permessage-deflate"),
            ),
            (&["constructor"], Ok("constructor")),
            (&["a,,b", ",", ""], Ok("a,b")),
            (&[&offers], Ok(&sixteen)),
            (&[&format!("{offers},;")], Err(NotToken)),
            (&[","], Err(Empty)),
            (&[""], Err(Empty)),
            (&[",;constructor"], Err(NotToken)),
            (&["permessage-deflate; =1"], Err(NotToken)),
            (&["a;"], Err(NotToken)),
            (&["a;;b"], Err(NotToken)),
            (&["a;b="], Err(NotToken)),
            (&["a;b=,c"], Err(NotToken)),
            (&["a b"], Err(NotSeparator)),
            (&["a=b"], Err(NotSeparator)),
            (&["a;b=c d"], Err(NotSeparator)),
            (&["a;b=\"c\"d"], Err(NotSeparator)),
            (&["a;b=\"\""], Err(NotToken)),
            (&["a;b=\"c d\""], Err(NotToken)),
            (&["a;b=\"c,d\""], Err(NotToken)),
            (&["\"a\""], Err(NotToken)),
            (&["a;b=\"c"], Err(UnclosedQuote)),
            (&["a;b=\"c\\\""], Err(UnclosedQuote)),
            (&["a;b=\"c\\"], Err(UnclosedQuote)),
            (&["a;b=\"c", "d\""], Err(UnclosedQuote)),
            (&[&unclosed], Err(UnclosedQuote)),
            (&["a;b=\u{e9}"], Err(NotAscii)),
        ];
        for (lines, expected) in table {
            let found = headers(lines);
            let result = extensions(&found).map(|extensions| shown(&extensions));
            assert_eq!(result.as_deref().map_err(|error| *error), *expected, "H6 {lines:.60?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_value_is_parsed_without_panic_and_means_what_it_shows(value in "[ \t,;=\"\\\\a-c\u{80}-\u{ff}]{0,64}") {
            let found = headers(&[&value]);
            if let Ok(extensions) = extensions(&found) {
                // What was understood is written so that it is understood the same.
                let written = shown(&extensions);
                let again = headers(&[&written]);
                proptest::prop_assert_eq!(super::extensions(&again).map(|again| shown(&again)), Ok(written));
            }
        }
    }
}
