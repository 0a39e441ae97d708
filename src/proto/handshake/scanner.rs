//! Where an HTTP/1.1 head ends, found while its bytes arrive (RFC 9112 section 2.2).
//!
//! ```text
//!  GET /chat HTTP/1.1 CRLF        start line, at most max_request_line
//!  Host: example.com CRLF     ┐
//!  Upgrade: websocket CRLF    ┘   at most max_headers lines
//!  CRLF                           all together at most max_head
//! ```
//!
//! Stricter than RFC 9112 section 2.2, which lets a recipient repair what it reads: a bare LF, a bare CR, an empty line
//! before the start line, a folded line and any control character are refused, because two parsers that repair
//! differently see two different requests.

use crate::proto::Limits;

/// Why a head is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HeadError {
    /// More than `max_head` bytes.
    TooLarge,
    /// More lines than `max_headers`.
    TooManyHeaders,
    /// A start line of more than `max_request_line` bytes.
    StartLineTooLong,
    /// An HTTP version other than 1.0 and 1.1.
    Version,
    /// No head at all; the text says why.
    Malformed(&'static str),
}

/// Looks for the end of a head as bytes arrive, each byte once.
///
/// Every limit is checked at the first byte beyond it, so that the judgement does not depend on how the bytes were cut.
#[derive(Debug)]
pub(crate) struct HeadScanner {
    max_head: usize,
    max_headers: usize,
    max_start_line: usize,
    /// Bytes of the heads before this one.
    spent: usize,
    /// Bytes of this head that were looked at.
    position: usize,
    /// Where the current line begins.
    line: usize,
    /// Header lines begun, in this head and those before.
    headers: usize,
    section: Section,
    last: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Section {
    StartLine,
    Headers,
    End,
}

impl HeadScanner {
    /// A scanner for a request, with its own limit on the request line.
    pub(crate) const fn request(limits: &Limits) -> Self {
        Self {
            max_head: limits.max_head,
            max_headers: limits.max_headers,
            max_start_line: limits.max_request_line,
            spent: 0,
            position: 0,
            line: 0,
            headers: 0,
            section: Section::StartLine,
            last: 0,
        }
    }

    /// A scanner for a response.
    pub(crate) const fn response(limits: &Limits) -> Self {
        Self { max_start_line: limits.max_head, ..Self::request(limits) }
    }

    /// The number of bytes in the head, once its end is in `input`, which begins where the head begins and only grows.
    ///
    /// After that, another head is looked for, with what is left of the limits.
    pub(crate) fn scan(&mut self, input: &[u8]) -> Result<Option<usize>, HeadError> {
        while self.section != Section::End {
            self.skip_lines(input);
            self.skip(input);
            let Some(&byte) = input.get(self.position) else {
                return Ok(None);
            };
            self.step(byte)?;
        }
        let length = std::mem::take(&mut self.position);
        self.spent += length;
        self.line = 0;
        self.section = Section::StartLine;
        self.last = 0;
        Ok(Some(length))
    }

    /// Whether no byte of any head was seen.
    pub(crate) const fn is_untouched(&self) -> bool {
        self.spent == 0 && self.position == 0
    }

    /// Goes over whole header lines that are here and within the limits.
    fn skip_lines(&mut self, input: &[u8]) {
        while self.section == Section::Headers && self.position == self.line && self.headers < self.max_headers {
            let rest = input.get(self.position..).unwrap_or_default();
            let plain = plain(rest);
            let is_header = rest.first().is_some_and(|first| *first != b' ') && plain > 0;
            let line = plain + 2;
            if !is_header || rest.get(plain..line) != Some(b"\r\n") {
                return;
            }
            if self.spent + self.position + line > self.max_head {
                return;
            }
            self.headers += 1;
            self.position += line;
            self.line = self.position;
            self.last = b'\n';
        }
    }

    /// Goes over what [`step`](Self::step) has nothing to say about: within a line and its limits, all that is not a
    /// control character.
    fn skip(&mut self, input: &[u8]) {
        let column = self.position - self.line;
        if column == 0 || self.last == b'\r' {
            return;
        }
        let mut room = self.max_head.saturating_sub(self.spent + self.position);
        if self.section == Section::StartLine {
            room = room.min(self.max_start_line.saturating_sub(column));
        }
        let rest = input.get(self.position..).unwrap_or_default();
        let plain = plain(rest.get(..room).unwrap_or(rest));
        self.position += plain;
        if let Some(byte) = plain.checked_sub(1).and_then(|last| rest.get(last)) {
            self.last = *byte;
        }
    }

    fn step(&mut self, byte: u8) -> Result<(), HeadError> {
        if self.spent + self.position >= self.max_head {
            return Err(HeadError::TooLarge);
        }
        let column = self.position - self.line;
        match byte {
            b'\n' if self.last != b'\r' => return Err(HeadError::Malformed("a line ends in a bare LF")),
            b'\n' if column == 1 => self.end_of_section()?,
            b'\n' => {
                self.section = Section::Headers;
                self.line = self.position + 1;
            }
            _ if self.last == b'\r' => return Err(HeadError::Malformed("a CR stands without its LF")),
            b'\r' => {}
            _ if byte != b'\t' && byte.is_ascii_control() => {
                return Err(HeadError::Malformed("the head holds a control character"));
            }
            _ if self.section == Section::StartLine && column >= self.max_start_line => {
                return Err(HeadError::StartLineTooLong);
            }
            _ if self.section == Section::StartLine => {}
            _ if column == 0 => self.begin_header(byte)?,
            _ => {}
        }
        self.last = byte;
        self.position += 1;
        Ok(())
    }

    fn end_of_section(&mut self) -> Result<(), HeadError> {
        if self.section == Section::StartLine {
            return Err(HeadError::Malformed("an empty line stands before the start line"));
        }
        self.section = Section::End;
        Ok(())
    }

    fn begin_header(&mut self, byte: u8) -> Result<(), HeadError> {
        self.headers += 1;
        match byte {
            // RFC 9112 §5.2: folding is obsolete, and a server refuses it.
            b' ' | b'\t' => Err(HeadError::Malformed("a header line is folded (RFC 9112 section 5.2)")),
            _ if self.headers > self.max_headers => Err(HeadError::TooManyHeaders),
            _ => Ok(()),
        }
    }
}

/// How many bytes stand before the first control character, looked for in blocks of eight: heads are long.
fn plain(bytes: &[u8]) -> usize {
    let (blocks, rest) = bytes.as_chunks();
    for (at, block) in blocks.iter().enumerate() {
        let controls = controls(u64::from_le_bytes(*block));
        if controls != 0 {
            return at * 8 + controls.trailing_zeros() as usize / 8;
        }
    }
    blocks.len() * 8 + rest.iter().take_while(|byte| !byte.is_ascii_control()).count()
}

/// The high bit of each byte that is a control character, exact up to and with the lowest of them.
const fn controls(block: u64) -> u64 {
    const ONES: u64 = u64::MAX / 0xff;
    let low = block.wrapping_sub(ONES * 0x20) & !block;
    let delete = block ^ (ONES * 0x7f);
    (low | delete.wrapping_sub(ONES) & !delete) & (ONES << 7)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_at_every_place_is_plain_or_a_control_character() {
        for byte in 0..=u8::MAX {
            for at in 0..24 {
                for filling in [b' ', b'~', 0x80, 0xff] {
                    let mut bytes = [filling; 24];
                    bytes[at] = byte;
                    let expected = if byte.is_ascii_control() { at } else { 24 };
                    assert_eq!(plain(&bytes), expected, "{byte:#x} at {at} in {filling:#x}");
                    assert_eq!(plain(&bytes[..=at]), expected.min(at + 1), "{byte:#x} at {at} in {filling:#x}");
                }
            }
        }
    }

    fn limits(max_head: usize, max_headers: usize, max_request_line: usize) -> Limits {
        let mut limits = Limits::default();
        (limits.max_head, limits.max_headers, limits.max_request_line) = (max_head, max_headers, max_request_line);
        limits
    }

    /// Scans byte by byte, as the bytes arrive, and asserts that the whole gives the same.
    fn scan(limits: &Limits, input: &[u8]) -> Result<Option<usize>, HeadError> {
        let mut scanner = HeadScanner::request(limits);
        let slow = (0..=input.len()).map(|end| scanner.scan(&input[..end])).find(|result| *result != Ok(None));
        let whole = HeadScanner::request(limits).scan(input);
        assert_eq!(slow.unwrap_or(Ok(None)), whole);
        whole
    }

    #[test]
    fn s_15_each_limit_is_inclusive() {
        let head = b"GET / HTTP/1.1\r\nA: b\r\nC: d\r\n\r\n";
        let (size, line) = (head.len(), b"GET / HTTP/1.1".len());
        assert_eq!(scan(&limits(size, 2, line), head), Ok(Some(size)));
        assert_eq!(scan(&limits(size - 1, 2, line), head), Err(HeadError::TooLarge));
        assert_eq!(scan(&limits(size, 1, line), head), Err(HeadError::TooManyHeaders));
        assert_eq!(scan(&limits(size, 2, line - 1), head), Err(HeadError::StartLineTooLong));
        assert_eq!(scan(&limits(size, 0, line), b"GET / HTTP/1.1\r\n\r\n"), Ok(Some(line + 4)));
    }

    #[test]
    fn h2_h3_h4_limits_at_their_defaults() {
        let many = |count: usize| [b"GET / HTTP/1.1\r\n".as_slice(), &b"X: y\r\n".repeat(count), b"\r\n"].concat();
        type Row = (&'static str, Vec<u8>, Result<Option<usize>, HeadError>);
        let table: &[Row] = &[
            ("H2", [b"GET / HTTP/1.1\r\nX: ".as_slice(), &[b'a'; 65_536]].concat(), Err(HeadError::TooLarge)),
            ("H3", many(64), Ok(Some(16 + 64 * 6 + 2))),
            ("H3", many(65), Err(HeadError::TooManyHeaders)),
            ("H3", many(2000), Err(HeadError::TooManyHeaders)),
            ("H4", [b'a'; 8192].to_vec(), Ok(None)),
            ("H4", [b'a'; 8193].to_vec(), Err(HeadError::StartLineTooLong)),
        ];
        for (id, input, expected) in table {
            assert_eq!(scan(&Limits::default(), input), *expected, "{id}");
        }
    }

    #[test]
    fn a_second_head_has_what_is_left_of_the_limits() {
        let head = b"HTTP/1.1 103 \r\nA: b\r\n\r\n";
        let mut scanner = HeadScanner::response(&limits(2 * head.len(), 2, 1));
        assert!(scanner.is_untouched());
        assert_eq!(scanner.scan(head), Ok(Some(head.len())));
        assert_eq!(scanner.scan(head), Ok(Some(head.len())));
        assert!(!scanner.is_untouched());
        assert_eq!(scanner.scan(b"H"), Err(HeadError::TooLarge));
        let mut scanner = HeadScanner::response(&limits(1000, 1, 1));
        assert_eq!(scanner.scan(head), Ok(Some(head.len())));
        assert_eq!(scanner.scan(head), Err(HeadError::TooManyHeaders));
    }
}
