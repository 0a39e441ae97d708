//! What is logged of connections: a span for each, and lines that no peer can multiply or forge.

mod limiter;
mod log;
mod span;

use std::fmt::{self, Write as _};

pub(crate) use log::Log;
pub(crate) use span::{ConnectionSpan, closed};

/// Words that a peer may have chosen, in whole or in part: control characters (line ends, the beginning of a terminal's
/// escape sequences), and what changes the order of writing, are written out as in a string of Rust.
pub(crate) struct Escaped<T>(pub(crate) T);

impl<T: fmt::Display> fmt::Display for Escaped<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(Escaping(f), "{}", self.0)
    }
}

struct Escaping<'a, 'b>(&'a mut fmt::Formatter<'b>);

impl fmt::Write for Escaping<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        text.chars().try_for_each(|char| match char {
            // These forge nothing outside of quotes, and are what sentences are made of.
            '\'' | '"' => self.0.write_char(char),
            _ => write!(self.0, "{}", char.escape_debug()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_forge_a_line_is_escaped() {
        let table = [
            ("it's \"fine\": é, 日本", "it's \"fine\": é, 日本"),
            ("a\r\nb\tc", "a\\r\\nb\\tc"),
            ("\u{1b}[31mred\u{7}", "\\u{1b}[31mred\\u{7}"),
            ("\u{85}\u{2028}\u{202e}\0\\", "\\u{85}\\u{2028}\\u{202e}\\0\\\\"),
        ];
        for (text, escaped) in table {
            assert_eq!(Escaped(text).to_string(), escaped);
        }
    }
}
