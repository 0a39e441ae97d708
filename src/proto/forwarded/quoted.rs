//! Lists and pairs whose values may be quoted strings (RFC 9110 section 5.6.4), read from the right.

/// Splits off what stands behind the last `separator` outside of quoted strings: what is left, if there was one, and that.
///
/// In a value that keeps to its grammar a quoted string is found from its end as from its beginning: a backslash stands
/// within quotes only, and the opening quote follows `=`. A quote that an attacker left open to the left has no effect.
pub(super) fn split_last(text: &str, separator: u8) -> (Option<&str>, &str) {
    let mut quoted = false;
    for (at, byte) in text.bytes().enumerate().rev() {
        if byte == b'"' && !is_escaped(text, at) {
            quoted = !quoted;
        } else if byte == separator && !quoted {
            let (left, right) = text.split_at(at);
            return (Some(left), right.get(1..).unwrap_or_default());
        }
    }
    (None, text)
}

fn is_escaped(text: &str, at: usize) -> bool {
    let before = text.as_bytes().iter().take(at).rev();
    before.take_while(|byte| **byte == b'\\').count() % 2 == 1
}

/// The content of a token or of a quoted string; `None` for anything else.
pub(super) fn token_or_quoted(text: &str) -> Option<String> {
    let Some(inner) = text.strip_prefix('"') else {
        return is_token(text).then(|| text.to_owned());
    };
    let mut content = String::new();
    let mut characters = inner.chars();
    loop {
        match characters.next()? {
            '"' => return characters.next().is_none().then_some(content),
            '\\' => content.push(characters.next()?),
            other => content.push(other),
        }
    }
}

/// RFC 9110 §5.6.2: a token.
pub(super) fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc_7239_4_lists_are_split_outside_of_quotes() {
        let table: &[(&str, Option<&str>, &str)] = &[
            ("", None, ""),
            ("a", None, "a"),
            ("a,b", Some("a"), "b"),
            ("a,b,c", Some("a,b"), "c"),
            (r#"a,"b,c""#, Some("a"), r#""b,c""#),
            (r#"a,"b\",c""#, Some("a"), r#""b\",c""#),
            (r#"a,"b\\",c"#, Some(r#"a,"b\\""#), "c"),
            // Left open by whoever stands to the left.
            (r#"for=",for=b"#, Some(r#"for=""#), "for=b"),
            (r#"for="a,for="b""#, Some(r#"for="a"#), r#"for="b""#),
        ];
        for &(text, left, right) in table {
            assert_eq!(split_last(text, b','), (left, right), "{text}");
        }
    }

    #[test]
    fn rfc_9110_5_6_4_quoted_strings_lose_their_quotes() {
        let table: &[(&str, Option<&str>)] = &[
            ("a", Some("a")),
            (r#""a b""#, Some("a b")),
            (r#""a\"b""#, Some("a\"b")),
            (r#""""#, Some("")),
            ("", None),
            ("a b", None),
            ("[::1]", None),
            (r#"""#, None),
            (r#""a"#, None),
            (r#""a\""#, None),
            (r#""a"b"#, None),
            (r#"a"b""#, None),
        ];
        for &(text, content) in table {
            assert_eq!(token_or_quoted(text).as_deref(), content, "{text}");
        }
    }
}
