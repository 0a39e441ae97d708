//! Hostile input, table 2.6: compressed data, over a connection that agreed on permessage-deflate.

use wireline::{
    Config,
    proto::{
        Excess,
        Violation::{InvalidDeflate, InvalidUtf8, ReservedBit},
        deflate::DeflateConfig,
    },
};

use super::{frame, fresh, noise, payload, payloads, takeover, warm_up};
use crate::support::{
    row::{self, Row, Want},
    script::{Delivery, Part},
    suite::Suite,
};

pub(super) static DATA: Suite = Suite::new(|ran| {
    row::runtime().block_on(warm_up(&takeover()));
    row::run(&rows(), ran);
    for id in ["D-01", "D-02", "D-06", "D-07", "D-08"] {
        ran.id(id);
    }
});

#[test]
fn data() {
    DATA.ids();
}

/// Echoes go out as they are, so that they can be compared.
fn with(mut deflate: DeflateConfig) -> impl FnOnce(&mut Config) {
    deflate.threshold = usize::MAX;
    |config| config.deflate = Some(deflate)
}

/// Both contexts kept.
fn kept(id: &'static str, from: &'static str, frames: &str) -> Row {
    Row::new(id, from, frames)
        .config(with(takeover()))
        .extensions("permessage-deflate; client_max_window_bits", "permessage-deflate")
}

/// No context kept.
fn without(id: &'static str, from: &'static str, frames: &str) -> Row {
    let parameters = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";
    Row::new(id, from, frames).config(with(fresh())).extensions(parameters, parameters)
}

const HELLO: &str = "C1 07 F2 48 CD C9 C9 07 00";
const AGAIN: &str = "C1 05 F2 00 11 00 00";

fn hellos<const N: usize>(texts: [&str; N]) -> [Want; N] {
    texts.map(Want::text)
}

/// Windows of 512 bytes, and a message that refers to more.
fn narrow(from: &'static str) -> Row {
    let parameters = "permessage-deflate; server_max_window_bits=9; client_max_window_bits=9";
    let mut deflate = takeover();
    deflate.server_max_window_bits = 9;
    deflate.client_max_window_bits = 9;
    Row::new("D18", from, "").config(with(deflate)).extensions(parameters, parameters)
}

/// Behind everything else a frame that does not pass.
fn failing(row: Row, first: u8, payload: &[u8], fault: impl Into<wireline::proto::Fault>) -> Row {
    let frame = frame(first, payload);
    let end = frame.len() as u64;
    row.then(Part::Frame(frame, 1)).fails(end, fault)
}

fn rows() -> Vec<Row> {
    let flood = [&*[0, 0, 0, 0xff, 0xff].repeat(100_000), b"\x00"].concat();
    let far = payload(&noise(600).repeat(2));
    let [first, second] = payloads([&noise(600), &noise(600)[..80]]);
    // Stored blocks, so that the boundary between fragments is one of the message's bytes.
    let (accent, accent_end) = (b"\x00\x03\x00\xfc\xffh\xc3".as_slice(), b"\xa9\x00".as_slice());
    let hello = || hellos(["Hello"]);
    let twice = || hellos(["Hello", "Hello"]);
    vec![
        kept("D1", "RFC 7692 7.2.3.1", HELLO).delivers(hello()),
        without("D1", "RFC 7692 7.2.3.1", HELLO).delivers(hello()),
        kept("D2", "RFC 7692 7.2.3.2", &format!("{HELLO} ; {AGAIN}")).delivers(twice()),
        kept("D3", "RFC 7692 7.2.3.3", "C1 0B 00 05 00 FA FF 48 65 6C 6C 6F 00").delivers(hello()),
        kept("D4", "RFC 7692 7.2.3.4", "C1 08 F3 48 CD C9 C9 07 00 00").delivers(hello()),
        kept("D5", "RFC 7692 7.2.2", &format!("C1 08 F3 48 CD C9 C9 07 00 00 ; {AGAIN}")).delivers(twice()),
        kept("D6", "RFC 7692 7.2.3.5", "C1 0D F2 48 05 00 00 00 FF FF CA C9 C9 07 00").delivers(hello()),
        kept("D7", "RFC 7692 7.2.3.1", "41 03 F2 48 CD ; 80 04 C9 C9 07 00").delivers(hello()),
        kept("D7", "RFC 7692 7.2.3.1", "41 03 F2 48 CD ; 00 00 ; 00 02 C9 C9 ; 80 02 07 00").delivers(hello()),
        kept("D8", "RFC 7692 7.2.3.6", "C1 01 00").delivers(hellos([""])),
        kept("D9", "a payload of zero bytes is an empty message", &format!("C1 00 ; {HELLO} ; C1 00 ; {AGAIN}"))
            .delivers(hellos(["", "Hello", "", "Hello"])),
        without("D10", "RFC 7692 7.2.1", &format!("{HELLO} ; {AGAIN}")).delivers(hello()).fails(7, InvalidDeflate),
        kept("D11", "RFC 7692 7.2.2", AGAIN).fails(7, InvalidDeflate),
        kept("D12", "a block of type 3", "C1 01 06").fails(3, InvalidDeflate),
        kept("D12", "a last block of type 3", "C1 01 07").fails(3, InvalidDeflate),
        kept("D12", "binary, the same", "C2 01 06").fails(3, InvalidDeflate),
        kept("D12", "cut short", "C1 03 F2 48 CD").fails(5, InvalidDeflate),
        failing(kept("D12", "random bytes", ""), 0xc2, &[b"\x05", &*noise(300)].concat(), InvalidDeflate),
        kept("D17", "a flood of empty blocks", "")
            .then(Part::Frame(frame(0xc1, &flood), 1))
            .delivered(&[Delivery::Whole, Delivery::Chunks(1500)])
            .masked_once()
            .delivers(hellos([""])),
        kept("D16", "CVE-2026-128131 (aiohttp)", "")
            .then(Part::Frame(frame(0xc1, &[0x03, 0x00].repeat(500_000)), 1))
            .delivered(&[Delivery::Whole, Delivery::Chunks(1500)])
            .masked_once()
            .fails(10 + 2 * 257, Excess::FinalBlocks { limit: 256 }),
        narrow("within one message")
            .then(Part::Frame(frame(0xc2, &far), 1))
            .delivers([Want::Binary(noise(600).repeat(2))]),
        failing(
            narrow("into an earlier message")
                .then(Part::Frame(frame(0xc2, &first), 1))
                .delivers([Want::Binary(noise(600).into())]),
            0xc2,
            &second,
            InvalidDeflate,
        ),
        kept("D20", "RFC 7692 6.2", &format!("{HELLO} ; 81 02 68 69 ; {AGAIN} ; 82 01 FF")).delivers([
            Want::text("Hello"),
            Want::text("hi"),
            Want::text("Hello"),
            Want::Binary(vec![0xff]),
        ]),
        kept("B4", "RFC 7692 6.1", "41 03 F2 48 CD ; C0 04 C9 C9 07 00").fails(1, ReservedBit),
        kept("B4", "RFC 7692 6.1, in a message that is not compressed", "01 01 61 ; C0 01 62").fails(1, ReservedBit),
        kept("B5", "RFC 7692 6.1; aiohttp #14007", "C9 00").fails(1, ReservedBit),
        kept("B5", "RFC 7692 6.1; aiohttp #14007", "CA 00").fails(1, ReservedBit),
        kept("B5", "RFC 7692 6.1; aiohttp #14007", "C8 00").fails(1, ReservedBit),
        kept("B5", "RFC 7692 6.1, another bit", "A1 00").fails(1, ReservedBit),
        kept("F8", "aiohttp #12988", "41 03 F2 48 CD ; 89 00 ; 80 04 C9 C9 07 00").pongs([b""]).delivers(hello()),
        kept("F9", "aiohttp #13274", &format!("8A 00 ; {HELLO}")).delivers(hello()),
        failing(kept("U4", "RFC 7692 6.2", ""), 0xc1, &payload(b"abc\xff"), InvalidUtf8),
        failing(kept("U4", "half a character at the end", ""), 0xc1, &payload(b"h\xc3"), InvalidUtf8),
        failing(kept("U4", "in the second fragment", "41 00"), 0x80, &payload(b"abc\xff"), InvalidUtf8),
        kept("U4", "a character in two fragments", "")
            .then(Part::Frame(frame(0x41, accent), 1))
            .then(Part::Frame(frame(0x80, accent_end), 1))
            .delivers(hellos(["h\u{e9}"])),
        kept("U4", "the same bytes are binary", "")
            .then(Part::Frame(frame(0xc2, &payload(b"abc\xff")), 1))
            .delivers([Want::Binary(b"abc\xff".to_vec())]),
    ]
}
