//! Hostile input, table 2.5: UTF-8.

use wireline::proto::Violation::InvalidUtf8;

use crate::support::{
    row::{self, Kind, Row, Want},
    script::{Delivery, Part, hex},
    suite::Suite,
};

pub(crate) static UTF8: Suite = Suite::new(|ran| {
    row::run(&rows(), ran);
    ran.id("F-17");
});

pub(crate) static AUTOBAHN_6: Suite = Suite::new(|ran| {
    let rows = autobahn();
    assert_eq!(rows.len(), 145);
    row::run(&rows, ran);
});

#[test]
fn utf8() {
    UTF8.ids();
}

#[test]
fn the_145_vectors_of_autobahn_6() {
    AUTOBAHN_6.ids();
}

/// A power of two, so that the row can end with a code point. Its full length takes a while without optimisation.
const FRAGMENTS: u64 = if cfg!(debug_assertions) { 512 * 1024 } else { 8_388_608 };

fn rows() -> Vec<Row> {
    let u2 = "Autobahn 6.4.3, 6.4.4";
    vec![
        Row::new("U1", "RFC 6455 5.6", "01 01 F0 ; 00 01 9F ; 00 01 98 ; 80 01 80").delivers([Want::text("😀")]),
        // The frame is not finished, and nothing more comes: byte 4 is the second of its payload.
        Row::new("U2", u2, "01 03 F4 90").fails(4, InvalidUtf8),
        Row::new("U2", u2, "01 03 F4 90 80").fails(4, InvalidUtf8),
        Row::new("U2", u2, "81 7E 10 00 F4 90").fails(6, InvalidUtf8),
        // The same where a large payload is read into its message directly.
        Row::new("U2", u2, "")
            .then_filled("81 7F 00 00 00 00 00 01 00 00", b'a', 40_000)
            .then(Part::Literal(hex("F4 90")))
            .fails(2, InvalidUtf8)
            .masked_once(),
        Row::new("U3", "RFC 6455 8.1", "81 02 E2 82").fails(4, InvalidUtf8),
        Row::new("U3", "RFC 6455 8.1", "01 02 E2 82 ; 80 00").fails(3, InvalidUtf8),
        Row::new("U5", "Class C", "01 00")
            .config(|config| config.limits.max_fragments = Some(FRAGMENTS))
            .then_repeated("00 01 61", FRAGMENTS - 1)
            .then_frame("80 01 61")
            .delivers([Want::Filled(Kind::Text, b'a', FRAGMENTS)])
            .delivered(&[Delivery::Whole])
            .masked_once(),
        Row::new("U6", "carry across a control frame", "01 02 E2 82 ; 89 01 80 ; 80 01 AC ; 81 01 61")
            .delivers([Want::text("€"), Want::text("a")])
            .pongs([&[0x80]]),
        Row::new("U6", "carry across an empty fragment", "01 02 E2 82 ; 00 00 ; 80 01 AC").delivers([Want::text("€")]),
        Row::new("U6", "no carry between messages", "81 03 E2 82 AC ; 81 01 82")
            .delivers([Want::text("€")])
            .fails(3, InvalidUtf8),
        Row::new("U6", "binary is not judged", "82 02 E2 82 ; 81 01 61")
            .delivers([Want::Binary(hex("E2 82")), Want::text("a")]),
    ]
}

fn autobahn() -> Vec<Row> {
    let lines = include_str!("autobahn_6.txt").lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| {
            let (case, line) = line.split_once(' ').expect("a case");
            let (valid, frames) = line.split_once(' ').expect("a verdict");
            let row = Row::new("autobahn-6", case, frames);
            let frames: Vec<Vec<u8>> = frames.split(';').map(hex).collect();
            let payload: Vec<u8> = frames.iter().flat_map(|frame| &frame[2..]).copied().collect();
            match (valid, std::str::from_utf8(&payload)) {
                ("valid", Ok(text)) => row.delivers([Want::text(text)]),
                ("invalid", Err(error)) => {
                    let bad = first_impossible(&payload).unwrap_or(payload.len());
                    assert!(bad >= error.valid_up_to());
                    row.fails_in_payload(bad, InvalidUtf8)
                }
                verdict => panic!("Autobahn {case}: {verdict:?}"),
            }
        })
        .collect()
}

/// How many bytes are there when it is certain that no continuation makes them UTF-8; `None` if the end has to come first.
fn first_impossible(payload: &[u8]) -> Option<usize> {
    (1..=payload.len()).find(|len| match std::str::from_utf8(&payload[..*len]) {
        Ok(_) => false,
        Err(error) => error.error_len().is_some(),
    })
}
