use base64::{Engine as _, engine::general_purpose::STANDARD};
use url::Url;

/// The value of `Authorization` for the user information of a URL, which is percent-encoded there (RFC 7617 section 2).
pub(super) fn basic(url: &Url) -> Option<String> {
    if url.username().is_empty() && url.password().is_none() {
        return None;
    }
    let (name, password) = (percent_decoded(url.username()), percent_decoded(url.password().unwrap_or_default()));
    Some(format!("Basic {}", STANDARD.encode([name, password].join(&b':'))))
}

fn percent_decoded(text: &str) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some(&byte) = rest.first() {
        // A percent sign that begins no code stands for itself.
        let (byte, length) = percent_code(rest).map_or((byte, 1), |code| (code, 3));
        decoded.push(byte);
        rest = rest.get(length..).unwrap_or_default();
    }
    decoded
}

/// RFC 3986 §2.1: the byte that a percent sign and two hexadecimal digits stand for.
fn percent_code(text: &[u8]) -> Option<u8> {
    let [b'%', high, low, ..] = *text else {
        return None;
    };
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    Some(digit(high)? << 4 | digit(low)?)
}

#[cfg(test)]
mod tests {
    use crate::handler::Request;

    use super::*;

    #[test]
    fn d25_user_info_is_sent_decoded() {
        let table: &[(&str, Option<&str>)] = &[
            ("ws://h/", None),
            ("ws://@h/", None),
            ("ws://user:pass@h/", Some("user:pass")),
            ("ws://user@h/", Some("user:")),
            ("ws://user:@h/", Some("user:")),
            ("ws://:pass@h/", Some(":pass")),
            ("wss://u%40x:p%3Aq+%25%zz%C3%A9%4@h/", Some("u@x:p:q+%%zz\u{e9}%4")),
        ];
        for &(url, expected) in table {
            let request = Request::from_url(&Url::parse(url).unwrap()).unwrap();
            let sent = request.header("Authorization").map(|value| value.strip_prefix(b"Basic ").unwrap());
            let decoded = sent.map(|base64| String::from_utf8(STANDARD.decode(base64).unwrap()).unwrap());
            assert_eq!(decoded.as_deref(), expected, "{url}");
        }
    }
}
