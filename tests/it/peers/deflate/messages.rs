//! The messages of tests/peers/README.md that are exchanged compressed: what they are, and that they came back.

use std::{fmt::Write, iter};

use bytes::Bytes;
use wireline::Message;

pub(super) struct Messages {
    noise: Bytes,
}

impl Messages {
    pub(super) fn new() -> Self {
        let step = |state: &u32| Some(state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223));
        let states = iter::successors(Some(1), step).skip(1);
        Self { noise: states.map(|state| state.to_be_bytes()[0]).take(262_144).collect() }
    }

    pub(super) fn message(&self, number: usize) -> Message {
        let length = size(number);
        match number % 3 {
            0 => records(number, length).into(),
            1 => records(number, length).into_bytes().into(),
            _ => {
                let start = number * 4099 % 159_744;
                self.noise.slice(start..start + length).into()
            }
        }
    }

    /// Bytes of the first `count` together.
    pub(super) fn payload(&self, count: usize) -> usize {
        (0..count).map(|number| self.message(number).len()).sum()
    }
}

/// Characters of a text, bytes of noise: mostly small, from none to 100 KiB.
fn size(number: usize) -> usize {
    match number % 200 {
        0 => 102_400,
        1..4 => 20_000,
        4..20 => 3000,
        20..60 => 600,
        place => place - 60,
    }
}

/// As many characters of what resembles JSON.
fn records(number: usize, length: usize) -> String {
    let mut text = String::new();
    let mut written = 0;
    for entry in 0.. {
        let start = text.len();
        write!(text, r#"{{"id":{number},"entry":{entry},"user":"Grüße {}","on":true}},"#, number % 7)
            .expect("a String");
        for (place, _) in text[start..].char_indices() {
            if written == length {
                text.truncate(start + place);
                return text;
            }
            written += 1;
        }
    }
    unreachable!("there is an entry after each");
}
