//! What ws-rs gets wrong about compression (D2 to D5), one test each.

use std::sync::mpsc;

use wireline::handler::{Builder, Message, Sender, Settings, deflate::DeflateHandler};

use super::{
    super::{bomb, payload},
    rig::{self, Logged, Raw, dial, serve},
    text,
};

/// ws-rs's own test: a server and a client in one `WebSocket`, and a message there and back.
fn round_trip(settings: Settings, message: &str) {
    let (done, result) = mpsc::channel();
    let mut connections = 0;
    let mut ws = Builder::new()
        .with_settings(settings)
        .build(|out: Sender| {
            connections += 1;
            let client = connections == 1;
            if client {
                out.send(message).unwrap();
            }
            let done = done.clone();
            DeflateHandler::new(move |received: Message| {
                if client {
                    done.send(received.into_text().unwrap()).unwrap();
                    out.shutdown()
                } else {
                    out.send(received)
                }
            })
        })
        .unwrap()
        .bind("127.0.0.1:0")
        .unwrap();
    let url = format!("ws://{}", ws.local_addr().unwrap()).parse().unwrap();
    ws.connect(url).unwrap();
    drop(ws.run().unwrap());
    assert_eq!(result.try_recv().as_deref(), Ok(message));
}

#[test]
fn d2_a_message_makes_the_round_trip() {
    for fragment_size in [Settings::default().fragment_size, 4] {
        let settings = Settings { fragment_size, ..Settings::default() };
        for message in ["this is the message that will be sent as a message", "Hello", &text(), &"x".repeat(300_000)] {
            round_trip(settings, message);
        }
    }
}

#[test]
fn d3_an_empty_message_arrives_and_is_answered() {
    round_trip(Settings::default(), "");
    let (log, _seen) = rig::log();
    let server = serve(Settings::default(), move |out| DeflateHandler::new(Logged::echo(out, log.clone())));
    let (mut raw, _) = Raw::open(server.address, Some("permessage-deflate"));
    // As RFC 7692 section 7.2.3.6 has it, and as some send it.
    for empty in [&b"\x00"[..], b"", b"\x02\x00"] {
        raw.send(0xc1, empty);
        assert_eq!(raw.frame(), (0x81, vec![]), "{empty:?}");
    }
    raw.send(0xc1, &payload(b"Hello"));
    assert_eq!(raw.frame(), (0x81, b"Hello".to_vec()));
}

#[test]
fn d4_sixty_megabytes_inflated_are_refused_at_max_message_size() {
    let (log, seen) = rig::log();
    let settings = Settings { max_message_size: 100_000, ..Settings::default() };
    let server = serve(settings, move |out| DeflateHandler::new(Logged::echo(out, log.clone())));
    let (mut raw, _) = Raw::open(server.address, Some("permessage-deflate"));
    raw.send(0xc2, &bomb(60));
    let (first, close) = raw.frame();
    assert_eq!((first, &close[..2]), (0x88, &1009_u16.to_be_bytes()[..]));
    assert_eq!(rig::take(&seen, 1), ["error Capacity"]);
}

#[test]
fn d5_a_message_sent_before_open_is_plain_if_deflate_is_declined() {
    for (answer, first) in [(None, 0x81), (Some("permessage-deflate"), 0xc1)] {
        let (listener, client) = dial(|out: Sender| {
            out.send(text()).unwrap();
            DeflateHandler::new(|_: Message| Ok(()))
        });
        let (mut raw, _) = Raw::accept(&listener, answer);
        let (found, payload) = raw.frame();
        assert_eq!(found, first, "{answer:?}");
        assert_eq!(payload == text().as_bytes(), answer.is_none());
        raw.send(0x88, b"");
        client.join().unwrap();
    }
}
