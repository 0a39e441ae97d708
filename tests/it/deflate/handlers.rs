//! `DeflateHandler`: handlers whose connections compress, against peers that are scripted byte by byte.

mod broadcast;
mod defects;
mod negotiated;
mod rig;

use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
use wireline::handler::{Attach, Message, Settings, deflate::DeflateHandler};

use self::rig::{Logged, Raw, serve};
use super::{FLUSHED, frame, payload};

fn text() -> String {
    "a text that repeats itself ".repeat(20)
}

/// However a message travels, the handler's own hooks see it inflated, in one final frame without reserved bits; control
/// frames are as they are, and never compressed.
#[test]
fn inner_hooks_see_one_inflated_final_frame_a_message() {
    let (log, seen) = rig::log();
    let settings = Settings { fragment_size: 8, ..Settings::default() };
    let server = serve(settings, move |out| DeflateHandler::new(Logged::echo(out, log.clone())));
    let (mut raw, _) = Raw::open(server.address, Some("permessage-deflate"));
    let payload = payload(text().as_bytes());
    let (begin, rest) = payload.split_at(9);
    raw.send(0x41, begin);
    raw.send(0x89, b"between");
    raw.send(0x00, b"");
    raw.send(0x80, rest);
    let mut echo = Vec::new();
    let mut firsts = Vec::new();
    while firsts.last() != Some(&0x80) {
        match raw.frame() {
            (0x8a, pong) => assert_eq!(pong, b"between"),
            (first, piece) => {
                assert!(piece.len() <= 8);
                firsts.push(first);
                echo.extend(piece);
            }
        }
    }
    assert!(firsts.len() > 3 && firsts[0] == 0x41, "{firsts:x?}");
    assert!(firsts[1..firsts.len() - 1].iter().all(|first| *first == 0), "{firsts:x?}");
    assert!(!echo.ends_with(&FLUSHED) && echo.len() < text().len());
    assert_eq!(super::Peer::new().inflate(&echo), text().as_bytes());
    let whole = format!("TEXT final {}", text().len());
    let mut seen: Vec<String> = rig::take(&seen, 4);
    seen.sort();
    let mut expected =
        [format!("in {whole}"), format!("out {whole}"), "in PING final 7".into(), "out PONG final 7".into()];
    expected.sort();
    assert_eq!(seen, expected);
}

/// Below 128 bytes nothing is gained; hooks see them all the same.
#[test]
fn short_messages_go_out_as_they_are() {
    let (log, seen) = rig::log();
    let server = serve(Settings::default(), move |out| DeflateHandler::new(Logged::echo(out, log.clone())));
    let (mut raw, _) = Raw::open(server.address, Some("permessage-deflate"));
    raw.send(0xc1, &payload(b"Hello"));
    assert_eq!(raw.frame(), (0x81, b"Hello".to_vec()));
    raw.send(0x81, b"plain");
    assert_eq!(raw.frame(), (0x81, b"plain".to_vec()));
    let hooked = ["in TEXT final 5", "out TEXT final 5"];
    assert_eq!(rig::take(&seen, 4), [hooked, hooked].concat());
}

/// `fragments_grow` and `fragments_capacity` bound a compressed message's continuation frames.
#[test]
fn fragments_capacity_holds_where_fragments_may_not_grow() {
    use wireline::handler::deflate::{DeflateBuilder, DeflateSettings};
    for (fragments, closes) in [(3, false), (4, true)] {
        let (log, seen) = rig::log();
        let settings = DeflateSettings { fragments_grow: false, fragments_capacity: 3, ..DeflateSettings::default() };
        let server = serve(Settings::default(), move |out| {
            DeflateBuilder::new().with_settings(settings).build(Logged::echo(out, log.clone()))
        });
        let (mut raw, _) = Raw::open(server.address, Some("permessage-deflate"));
        raw.send(0x41, b"");
        for _ in 1..fragments {
            raw.send(0x00, b"");
        }
        raw.send(0x80, &payload(b"Hello"));
        let (first, body) = raw.frame();
        if closes {
            assert_eq!((first, &body[..2]), (0x88, &1009_u16.to_be_bytes()[..]));
            assert!(rig::take(&seen, 1).contains(&"error Capacity".to_owned()));
        } else {
            assert_eq!((first, &*body), (0x81, &b"Hello"[..]));
        }
    }
}

/// What cannot be inflated is against the protocol; text is judged when it is inflated.
#[test]
fn bad_data_is_an_error_of_the_protocol_and_bad_text_one_of_encoding() {
    for (bad, kind, code) in [(b"\x06".to_vec(), "Protocol", 1002), (payload(b"\xff\xfe"), "Encoding", 1007_u16)] {
        let (log, seen) = rig::log();
        let server = serve(Settings::default(), move |out| DeflateHandler::new(Logged::echo(out, log.clone())));
        let (mut raw, _) = Raw::open(server.address, Some("permessage-deflate"));
        raw.send(0xc1, &bad);
        let (first, close) = raw.frame();
        assert_eq!((first, &close[..2]), (0x88, &code.to_be_bytes()[..]), "{kind}");
        let seen = rig::take(&seen, 1);
        assert!(seen[0].starts_with(&format!("error {kind}")), "{seen:?}");
    }
}

/// What was not negotiated is not in force: where a connection is attached, nothing is.
#[tokio::test(start_paused = true)]
async fn under_attach_a_compressed_message_is_a_reserved_bit() {
    let (mut near, far) = duplex(1024);
    let server = Attach::server().run(far, |out| {
        out.send(text()).expect("there is room");
        DeflateHandler::new(|_: Message| Ok(()))
    });
    let peer = async {
        let mut plain = vec![0; 4 + text().len()];
        near.read_exact(&mut plain).await.expect("the message");
        assert_eq!((plain[0], &plain[4..]), (0x81, text().as_bytes()));
        near.write_all(b"\xc1\x81\0\0\0\0\x00\x88\x82\0\0\0\0\x03\xea").await.expect("the server reads");
        let mut close = Vec::new();
        near.read_to_end(&mut close).await.expect("the end");
        assert_eq!((close[0], &close[2..4]), (0x88, &1002_u16.to_be_bytes()[..]));
    };
    let (served, ()) = tokio::join!(server, peer);
    served.expect("the handler comes back");
}
