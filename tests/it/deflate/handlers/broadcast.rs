//! One broadcast to members that compress differently, or not at all.

use std::sync::mpsc;

use wireline::handler::{
    Builder, Handler, Handshake, Message, Observes, Result, Sender, Settings, deflate::DeflateHandler,
};

use super::{
    super::Peer,
    rig::{CLOSE, Raw, serve},
    text,
};

/// Tells of every connection that opens and, on the client's side, of what it receives.
struct Member {
    client: bool,
    log: mpsc::Sender<String>,
}

impl Handler for Member {
    fn on_open(&mut self, _: Handshake) -> Result<()> {
        let _ = self.log.send("open".into());
        Ok(())
    }

    fn on_message(&mut self, msg: Message) -> Result<()> {
        let side = if self.client { "client" } else { "server" };
        let _ = self.log.send(format!("{side} {}", msg.into_text()?));
        Ok(())
    }
}

type Offer = Option<&'static str>;

const OFFERS: [Offer; 5] = [
    None,
    Some("permessage-deflate; server_no_context_takeover"),
    Some("permessage-deflate; server_no_context_takeover"),
    Some("permessage-deflate"),
    Some("permessage-deflate; server_no_context_takeover; server_max_window_bits=9"),
];

/// Plain, without context (twice, which share one encoding), with one, with a small window, and a client, which masks. A
/// context is not disturbed by what was encoded for others, nor they by it.
#[test]
fn a_broadcast_reaches_mixed_members() {
    for fragment_size in [Settings::default().fragment_size, 16] {
        let settings = Settings { fragment_size, close_timeout: CLOSE, ..Settings::default() };
        mixed_members(settings);
    }
}

fn mixed_members(settings: Settings) {
    let (log, seen) = mpsc::channel();
    let mut connections = 0;
    let mut ws = Builder::new()
        .with_settings(settings)
        .build(move |_: Sender| {
            connections += 1;
            DeflateHandler::new(Member { client: connections == 1, log: log.clone() })
        })
        .unwrap()
        .bind("127.0.0.1:0")
        .unwrap();
    let address = ws.local_addr().unwrap();
    let broadcaster = ws.broadcaster();
    ws.connect(format!("ws://{address}").parse().unwrap()).unwrap();
    let thread = std::thread::spawn(move || drop(ws.run().unwrap()));
    let next = || seen.recv_timeout(std::time::Duration::from_secs(20)).unwrap();
    // The client and the server's end of it.
    assert_eq!((next(), next()), ("open".into(), "open".into()));
    let mut members = OFFERS.map(|offer| {
        let (raw, _) = Raw::open(address, offer);
        assert_eq!(next(), "open");
        (raw, offer, Peer::new())
    });
    for number in 0..4 {
        let message = format!("{number} {}", text());
        broadcaster.send(message.clone()).unwrap();
        received(&mut members, number, &message);
        let mut received = [next(), next()];
        received.sort();
        assert_eq!(received, [format!("client {message}"), format!("server {message}")]);
    }
    broadcaster.shutdown().unwrap();
    thread.join().unwrap();
}

/// Broadcasts several messages at once.
struct Speaker {
    ws: Sender,
    observes: Observes,
    opened: mpsc::Sender<()>,
}

impl Handler for Speaker {
    fn on_open(&mut self, _: Handshake) -> Result<()> {
        let _ = self.opened.send(());
        Ok(())
    }

    fn on_message(&mut self, _: Message) -> Result<()> {
        (0..4).try_for_each(|number| self.ws.broadcast(format!("{number} {}", text())))
    }

    fn observes(&self) -> Observes {
        self.observes
    }
}

/// The same members, when the messages are one command to them.
#[test]
fn a_batch_of_broadcasts_reaches_mixed_members() {
    for observes in [Observes::Messages, Observes::Frames] {
        for fragment_size in [Settings::default().fragment_size, 16] {
            let (opened, open) = mpsc::channel();
            let server = serve(Settings { fragment_size, ..Settings::default() }, move |ws: Sender| {
                DeflateHandler::new(Speaker { ws, observes, opened: opened.clone() })
            });
            let mut members = OFFERS.map(|offer| {
                let (raw, _) = Raw::open(server.address, offer);
                open.recv_timeout(std::time::Duration::from_secs(20)).unwrap();
                (raw, offer, Peer::new())
            });
            members[0].0.send(0x81, b"go");
            for number in 0..4 {
                received(&mut members, number, &format!("{number} {}", text()));
            }
        }
    }
}

fn received(members: &mut [(Raw, Offer, Peer)], number: usize, message: &str) {
    let mut payloads = Vec::new();
    for (raw, offer, kept) in members {
        let (first, payload) = message_of(raw);
        payloads.push(payload.clone());
        let Some(offer) = offer else {
            assert_eq!((first & 0x40, &*payload), (0, message.as_bytes()));
            continue;
        };
        assert_eq!(first & 0x40, 0x40, "{offer}");
        if offer.contains("server_no_context_takeover") {
            *kept = Peer::new();
        }
        assert_eq!(kept.inflate(&payload), message.as_bytes(), "{offer}");
    }
    assert_eq!(payloads[1], payloads[2]);
    assert!(number == 0 || payloads[3].len() < payloads[1].len());
}

/// All fragments of a message, and the first byte of the first.
fn message_of(raw: &mut Raw) -> (u8, Vec<u8>) {
    let (first, mut payload) = raw.frame();
    let mut last = first;
    while last & 0x80 == 0 {
        let (next, piece) = raw.frame();
        payload.extend(piece);
        last = next;
    }
    (first, payload)
}
