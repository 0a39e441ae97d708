use std::fmt;

use http::HeaderMap;

use crate::{
    handler::{Error, ErrorKind, Result},
    proto::handshake::is_token,
};

/// The header lines of a request or a response: in order, each name as it is spelled.
#[derive(Clone, Default)]
pub(super) struct Headers(Vec<(String, Vec<u8>)>);

impl Headers {
    pub(super) const fn lines(&self) -> &Vec<(String, Vec<u8>)> {
        &self.0
    }

    pub(super) const fn lines_mut(&mut self) -> &mut Vec<(String, Vec<u8>)> {
        &mut self.0
    }

    /// The value of the first line of this name; case does not matter.
    pub(super) fn get(&self, name: &str) -> Option<&Vec<u8>> {
        self.0.iter().find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    pub(super) fn get_mut(&mut self, name: &str) -> Option<&mut Vec<u8>> {
        self.0.iter_mut().find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    pub(super) fn text(&self, name: &str) -> Result<Option<&str>> {
        Ok(self.get(name).map(|value| str::from_utf8(value)).transpose()?)
    }

    /// The elements of the list in the first line of this name.
    pub(super) fn list(&self, name: &str) -> Result<Vec<&str>> {
        let value = self.text(name)?.unwrap_or_default();
        // RFC 9110 §5.6.1.2: empty elements are skipped.
        Ok(value.split(',').map(str::trim).filter(|element| !element.is_empty()).collect())
    }

    pub(super) fn push(&mut self, name: &str, value: impl Into<Vec<u8>>) {
        self.0.push((name.to_owned(), value.into()));
    }

    pub(super) fn set(&mut self, name: &str, value: &str) {
        match self.get_mut(name) {
            Some(found) => *found = value.into(),
            None => self.push(name, value),
        }
    }

    /// Appends to the list in the first line of this name.
    pub(super) fn add_element(&mut self, name: &str, element: &str) {
        match self.get_mut(name) {
            Some(list) if !list.trim_ascii().is_empty() => {
                list.push(b',');
                list.extend_from_slice(element.as_bytes());
            }
            _ => self.set(name, element),
        }
    }

    /// Removes elements from all lists of this name, because a later line takes the place of one that goes; lists without
    /// such an element stay as they are.
    pub(super) fn remove_elements(&mut self, name: &str, unwanted: impl Fn(&[u8]) -> bool) {
        self.0.retain_mut(|(found, list)| {
            if !found.eq_ignore_ascii_case(name) {
                return true;
            }
            let elements = || list.split(|byte| *byte == b',');
            let kept: Vec<&[u8]> = elements().filter(|element| !unwanted(element.trim_ascii())).collect();
            if kept.len() == elements().count() {
                return true;
            }
            let empty = kept.iter().all(|element| element.trim_ascii().is_empty());
            *list = kept.join(&b',').trim_ascii().to_vec();
            !empty
        });
    }

    /// Removes all elements of `Sec-WebSocket-Extensions` with this name, whatever their parameters.
    pub(super) fn remove_extension(&mut self, name: &str) {
        self.remove_elements("Sec-WebSocket-Extensions", |element| {
            element.split(|byte| *byte == b';').next().is_some_and(|found| found.trim_ascii() == name.as_bytes())
        });
    }

    /// Whether the lines can be sent: else a name or a value could smuggle in a line of its own.
    pub(super) fn check(&self) -> Result<()> {
        for (name, value) in &self.0 {
            if !is_token(name) {
                let details = format!("the header name {name:?} is not a token (RFC 9110 section 5.1)");
                return Err(Error::new(ErrorKind::Protocol, details));
            }
            if has_control(value) {
                let details = format!("the value of header {name} holds a control character (RFC 9110 section 5.5)");
                return Err(Error::new(ErrorKind::Protocol, details));
            }
        }
        Ok(())
    }

    /// Writes the lines and the empty one behind them.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        for (name, value) in &self.0 {
            out.extend_from_slice(name.as_bytes());
            out.extend_from_slice(b": ");
            out.extend_from_slice(value);
            out.extend_from_slice(b"\r\n");
        }
        out.extend_from_slice(b"\r\n");
    }
}

impl fmt::Debug for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.0.iter().map(|(name, value)| (name, String::from_utf8_lossy(value)))).finish()
    }
}

impl From<&[httparse::Header<'_>]> for Headers {
    fn from(lines: &[httparse::Header<'_>]) -> Self {
        Self(lines.iter().map(|line| (line.name.to_owned(), line.value.to_owned())).collect())
    }
}

impl From<&HeaderMap> for Headers {
    fn from(map: &HeaderMap) -> Self {
        Self(map.iter().map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_owned())).collect())
    }
}

/// RFC 9110 §5.5: of the control characters only the tab may stand in a line of a head.
pub(super) fn has_control(line: &[u8]) -> bool {
    line.iter().any(|byte| byte.is_ascii_control() && *byte != b'\t')
}

/// The most header lines that `parse` takes.
pub(super) const MAX_LINES: usize = 124;

/// Room for every header line of a head that was measured and limited before.
pub(super) fn slots(head: &[u8]) -> Vec<httparse::Header<'_>> {
    vec![httparse::EMPTY_HEADER; head.iter().filter(|byte| **byte == b'\n').count()]
}

/// What was parsed of a head that is known to be complete.
pub(super) fn complete<T>(parsed: Option<(T, usize)>, head: &[u8]) -> Result<T> {
    match parsed {
        Some((parsed, length)) if length == head.len() => Ok(parsed),
        _ => Err(Error::new(ErrorKind::Protocol, "the head does not end where its empty line is")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[(&str, &str)]) -> Headers {
        let mut headers = Headers::default();
        lines.iter().for_each(|(name, value)| headers.push(name, *value));
        headers
    }

    fn written(headers: &Headers) -> String {
        let mut out = Vec::new();
        headers.write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn lists_are_split_at_commas_and_trimmed() {
        type Row<'a> = (&'a [(&'a str, &'a str)], &'a [&'a str]);
        let table: &[Row<'_>] = &[
            (&[], &[]),
            (&[("A", "")], &[]),
            (&[("A", "x")], &["x"]),
            (&[("a", " x ,\ty; z=1,, ")], &["x", "y; z=1"]),
            (&[("B", "x"), ("a", "y"), ("A", "z")], &["y"]),
        ];
        for (lines, expected) in table {
            assert_eq!(headers(lines).list("A").unwrap(), *expected, "{lines:?}");
        }
        let mut headers = headers(&[("A", "x")]);
        headers.get_mut("a").unwrap().push(0xff);
        assert!(matches!(headers.list("A").unwrap_err().kind, ErrorKind::Encoding(_)));
    }

    #[test]
    fn elements_are_added_to_the_first_list() {
        let table: &[(&[(&str, &str)], &str)] = &[
            (&[], "A: x\r\n\r\n"),
            (&[("a", "")], "a: x\r\n\r\n"),
            (&[("a", "y"), ("A", "z")], "a: y,x\r\nA: z\r\n\r\n"),
        ];
        for (lines, expected) in table {
            let mut headers = headers(lines);
            headers.add_element("A", "x");
            assert_eq!(written(&headers), *expected, "{lines:?}");
        }
    }

    #[test]
    fn d18_elements_are_removed_from_all_lists() {
        let table: &[(&[(&str, &str)], &str)] = &[
            (&[], "\r\n"),
            (&[("A", "x")], "\r\n"),
            (&[("A", " x , ,x")], "\r\n"),
            (&[("A", "y, x, z"), ("B", "x")], "A: y, z\r\nB: x\r\n\r\n"),
            (&[("A", "x, y")], "A: y\r\n\r\n"),
            (&[("A", "y,x")], "A: y\r\n\r\n"),
            (&[("A", "x"), ("a", "x,y")], "a: y\r\n\r\n"),
            (&[("A", "xx , y;x")], "A: xx , y;x\r\n\r\n"),
            (&[("A", "")], "A: \r\n\r\n"),
        ];
        for (lines, expected) in table {
            let mut headers = headers(lines);
            headers.remove_elements("A", |element| element == b"x");
            assert_eq!(written(&headers), *expected, "{lines:?}");
        }
        let mut headers = headers(&[("A", "x,y")]);
        headers.get_mut("A").unwrap().push(0xff);
        headers.remove_elements("A", |element| element == b"x");
        assert_eq!(headers.get("A").unwrap(), b"y\xff", "what is not UTF-8 stays");
    }

    #[test]
    fn no_line_can_smuggle_in_another() {
        let table: &[(&str, &[u8], Option<&str>)] = &[
            ("X-Name", b"a \t\"b\" \xff", None),
            ("X-Name", b"", None),
            ("X-Name", b"a\r\nSet-Cookie: b", Some("X-Name")),
            ("X-Name", b"a\nb", Some("X-Name")),
            ("X-Name", b"a\rb", Some("X-Name")),
            ("X-Name", b"a\0", Some("X-Name")),
            ("X-Name", b"a\x7f", Some("X-Name")),
            ("X-Name", b"a\x1b[2J", Some("X-Name")),
            ("", b"a", Some("\"\"")),
            ("X Name", b"a", Some("X Name")),
            ("X:", b"a", Some("X:")),
            ("X\r\nY", b"a", Some("X\\r\\nY")),
            ("\u{e9}", b"a", Some("\u{e9}")),
        ];
        for &(name, value, named) in table {
            let mut headers = headers(&[("A", "b")]);
            headers.push(name, value);
            let checked = headers.check();
            assert_eq!(checked.is_err(), named.is_some(), "{name:?}: {value:?}");
            if let (Err(error), Some(named)) = (checked, named) {
                assert!(matches!(error.kind, ErrorKind::Protocol), "{error:?}");
                assert!(error.details.contains(named), "{error:?} names {named}");
            }
        }
    }
}
