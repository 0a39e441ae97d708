//! Hostile input, table 2.9: masking and randomness, over the frames that clients really send.

use std::{
    collections::{HashMap, HashSet},
    fs,
    path::{Path, PathBuf},
};

use wireline::{CloseCode, Config, Message, Role, WebSocket, proto::Opcode};

use crate::support::{
    peer::{After, Peer, Writes},
    row::{self, poll_once},
    script::{Delivery, Keys, Script},
    suite::{Ran, Suite},
};

pub(crate) static MASKS: Suite = Suite::new(|ran| {
    keys_are_fresh_and_even(ran);
    keys_come_from_a_cryptographic_generator(ran);
    a_cancelled_frame_is_not_masked_again(ran);
    ran.id("F-01");
    ran.id("F-07");
});

#[test]
fn masks() {
    MASKS.ids();
}

fn client() -> (Peer, WebSocket<Peer>) {
    let peer = Peer::new(Script::default().source(Keys::None, Delivery::Whole), After::Silence);
    let ws = WebSocket::after_handshake(peer.clone(), Role::Client, Config::default()).expect("it works");
    (peer, ws)
}

/// The keys of all frames on the wire; panics on a frame without one.
fn keys(mut wire: &[u8]) -> Vec<(u8, [u8; 4])> {
    let mut keys = Vec::new();
    while let [first, second, rest @ ..] = wire {
        assert!(second & 0x80 != 0, "M1 (F-01): a client's frame without a mask");
        let (payload, rest) = match second & 0x7f {
            126 => (usize::from(u16::from_be_bytes(*rest.first_chunk().expect("a length"))), &rest[2..]),
            len => (usize::from(len), rest),
        };
        keys.push((first & 0x0f, *rest.first_chunk().expect("a key")));
        wire = &rest[4 + payload..];
    }
    keys
}

/// M1 (CVE-2025-10148 curl).
fn keys_are_fresh_and_even(ran: &mut Ran) {
    const FRAMES: usize = 100_000;
    let runtime = row::runtime();
    let connections: Vec<_> = [FRAMES, FRAMES]
        .map(|frames| {
            runtime.block_on(async {
                let (peer, mut ws) = client();
                for number in 0..frames {
                    match number % 1000 {
                        // Control frames and empty ones are masked like all others.
                        998 => ws.ping("").await.expect("M1"),
                        999 => ws.feed("").await.expect("M1"),
                        _ => ws.feed("payload").await.expect("M1"),
                    }
                }
                assert!(poll_once(ws.close(CloseCode::NORMAL, "")).await.is_pending());
                let keys = keys(&peer.state().wire);
                assert_eq!(keys.len(), frames + 1);
                assert_eq!(keys.last().map(|(opcode, _)| *opcode), Some(Opcode::Close.bits()));
                keys.into_iter().map(|(_, key)| key).collect::<Vec<_>>()
            })
        })
        .into();
    for keys in &connections {
        // One pair in 2^32 is equal: 1.2 pairs are expected among 100,000 keys.
        let distinct: HashSet<_> = keys.iter().collect();
        assert!(keys.len() - distinct.len() <= 12, "M1: {} keys were used twice", keys.len() - distinct.len());
        for byte in 0..4 {
            let mut counts = HashMap::from([(0u8, 0u32)]);
            keys.iter().for_each(|key| *counts.entry(key[byte]).or_default() += 1);
            let expected = keys.len() as f64 / 256.0;
            let missing = (256 - counts.len()) as f64 * expected;
            let chi = missing + counts.values().map(|n| (f64::from(*n) - expected).powi(2) / expected).sum::<f64>();
            // 255 degrees of freedom: mean 255, standard deviation 22.6; six of them.
            assert!((120.0..391.0).contains(&chi), "M1: byte {byte} of the keys is uneven, chi-square {chi}");
        }
    }
    let first: HashSet<_> = connections[0].iter().collect();
    let shared = connections[1].iter().filter(|key| first.contains(key)).count();
    assert!(shared <= 20, "M1: two connections share {shared} keys");
    let sequence = connections[1].iter().zip(&connections[0]).filter(|(a, b)| a == b).count();
    assert!(sequence <= 3, "M1: two connections draw the same sequence");
    ran.id("M1");
}

/// M2 (GHSA-w67g-5rqw-f597 gorilla) and M4: keys are drawn in one file, from rand's thread generator, and nothing else in
/// the crate can give a `WebSocket` other keys. The codec's source is an argument.
fn keys_come_from_a_cryptographic_generator(ran: &mut Ran) {
    fn cryptographic<T: rand::CryptoRng>() {}
    // `rand::random` draws from this generator.
    cryptographic::<rand::rngs::ThreadRng>();
    let weak = ["fastrand", "SmallRng", "StdRng", "seed_from_u64", "SystemTime"];
    let drawing = ["rand::", "rng()"];
    for file in sources(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src"))) {
        let text = fs::read_to_string(&file).expect("a source file");
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        let lines = code.lines().filter(|line| !line.trim_start().starts_with("//"));
        for line in lines {
            let place = format!("{}: {line}", file.display());
            assert!(!weak.iter().any(|word| line.contains(word)), "M2: {place}");
            if drawing.iter().any(|word| line.contains(word)) {
                assert!(file.ends_with("websocket/random.rs"), "M2: {place}");
                assert!(line.contains("rand::random()"), "M2: {place}");
            }
            if line.contains("Mask::new(") {
                // The last only takes off what a peer put on.
                let known = ["websocket/random.rs", "codec/decoder.rs", "frame/mask.rs", "handler/frame.rs"];
                assert!(known.iter().any(|known| file.ends_with(known)), "M4: {place}");
            }
        }
    }
    ran.id("M2");
    ran.id("M4");
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).expect("src").flatten() {
        let path = entry.path();
        if path.is_dir() {
            files.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}

/// M3 (RFC 6455 section 5.3): whatever is dropped and when, each frame is masked once, with a key of its own.
fn a_cancelled_frame_is_not_masked_again(ran: &mut Ran) {
    let runtime = row::runtime();
    for room in 0..64 {
        runtime.block_on(async {
            let (peer, mut ws) = client();
            peer.writes(Writes::Room(room));
            let messages: Vec<Message> = (0..4).map(|number| Message::from(format!("message {number}"))).collect();
            let mut queued = Vec::new();
            for message in &messages {
                // Sent, or queued and dropped while it waits: it goes out later, and once.
                let _ = poll_once(ws.send(message.clone())).await;
                queued.push(message.as_bytes().to_vec());
                let _ = poll_once(ws.flush()).await;
                let _ = poll_once(ws.next()).await;
            }
            peer.writes(Writes::Short(1));
            ws.flush().await.expect("M3");
            let frames = peer.frames(Role::Client).expect("M3");
            let sent: Vec<_> = frames.iter().map(|frame| frame.payload.to_vec()).collect();
            assert_eq!(sent, queued, "M3 with room for {room} bytes");
            let distinct: HashSet<_> = keys(&peer.state().wire).into_iter().collect();
            assert_eq!(distinct.len(), messages.len(), "M3 with room for {room} bytes: a key was used again");
        });
    }
    ran.id("M3");
}
