//! What is sent and how it arrives, in both roles: which messages are compressed, into which frames, and with what context.

use wireline::{
    CloseCode, Config, Event, Message, Role,
    proto::deflate::{Compression, DeflateConfig},
};

use super::{
    Peer,
    cancelling::{End, pair},
    config, fresh, noise, takeover, wire,
};
use crate::{
    scripted::{Pace, ROLES, block_on},
    support::suite::Suite,
};

pub(super) static SENDING: Suite = Suite::new(|ran| {
    block_on(async {
        for role in ROLES {
            only_the_first_frame_has_rsv1(role).await;
            an_empty_message_is_one_byte(role).await;
            contexts(role).await;
            windows(role).await;
            compression_is_chosen_per_message(role).await;
        }
    });
    for id in ["D-03", "D-04", "D-05", "D-09", "D19"] {
        ran.id(id);
    }
});

#[test]
fn sending() {
    SENDING.ids();
}

/// An open connection: the end of this role that sends, and the other.
async fn open(role: Role, config: &Config) -> (End, End) {
    let (client, server) = pair(config).await;
    match role {
        Role::Client => (client, server),
        Role::Server => (server, client),
    }
}

/// Sends messages, each in its way, which the other end must receive. The data frames on the wire: the first byte of each,
/// and the payload without masking.
async fn sent(role: Role, config: &Config, messages: &[(Compression, Message)]) -> Vec<(u8, Vec<u8>)> {
    let ((mut from, control), (mut to, _)) = open(role, config).await;
    let before = control.output().len();
    for (compression, message) in messages {
        from.set_compression(*compression);
        from.send(message.clone()).await.unwrap();
        assert_eq!(to.next().await.unwrap().unwrap(), *message);
    }
    wire(&control.output()[before..])
}

fn text() -> Message {
    Message::from("a text that repeats itself ".repeat(20))
}

/// D-01, D-03: compressed as a whole and cut then, without the end of the flush.
async fn only_the_first_frame_has_rsv1(role: Role) {
    let mut config = config(takeover());
    config.fragment_size = Some(7);
    let frames = sent(role, &config, &[(Compression::ByLength, text())]).await;
    let firsts: Vec<u8> = frames.iter().map(|(first, _)| *first).collect();
    assert!(firsts.len() > 3, "{firsts:x?}");
    assert_eq!(firsts[0], 0x41);
    assert!(firsts[1..firsts.len() - 1].iter().all(|first| *first == 0), "{firsts:x?}");
    assert_eq!(firsts.last(), Some(&0x80));
    let payload: Vec<u8> = frames.into_iter().flat_map(|(_, payload)| payload).collect();
    assert!(payload.len() < text().len() / 4 && !payload.ends_with(&super::FLUSHED));
    assert_eq!(Peer::new().inflate(&payload), text().as_bytes());
}

/// D-03: RFC 7692 section 7.2.3.6.
async fn an_empty_message_is_one_byte(role: Role) {
    for deflate in [fresh(), takeover()] {
        let messages = [(Compression::Always, Message::from("")), (Compression::Always, text())];
        let frames = sent(role, &config(deflate), &messages).await;
        assert_eq!(frames[0], (0xc1, vec![0]));
    }
}

/// D-05, and its contrary.
async fn contexts(role: Role) {
    let twice = [(Compression::ByLength, text()), (Compression::ByLength, text())];
    let [first, second] = &*sent(role, &config(fresh()), &twice).await else { panic!("two frames") };
    assert_eq!(first, second);
    assert_eq!(Peer::new().inflate(&second.1), text().as_bytes());
    let [first, second] = &*sent(role, &config(takeover()), &twice).await else { panic!("two frames") };
    assert!(second.1.len() < first.1.len(), "{} and {} bytes", first.1.len(), second.1.len());
    let mut peer = Peer::new();
    assert_eq!(peer.inflate(&first.1), text().as_bytes());
    assert_eq!(peer.inflate(&second.1), text().as_bytes());
}

fn limited(mut deflate: DeflateConfig, bits: u8) -> DeflateConfig {
    deflate.server_max_window_bits = bits;
    deflate.client_max_window_bits = bits;
    deflate
}

/// D-04, D19: what repeats further back than the window is not referred to, within a message or across messages. The
/// tokens themselves are looked at in the unit tests of the compressor.
async fn windows(role: Role) {
    for (bits, distances) in [(9, [200, 600]), (12, [3000, 5000]), (15, [30_000, 40_000])] {
        for (distance, near) in distances.into_iter().zip([true, false]) {
            let noise = noise(distance);
            let within = Message::from(noise.repeat(2));
            let config = config(limited(takeover(), bits));
            let frames = sent(role, &config, &[(Compression::Always, within)]).await;
            let short = frames[0].1.len() < distance * 3 / 2;
            assert_eq!(short, near, "{role:?}, window {bits}, {} bytes for {distance} twice", frames[0].1.len());
            let across = Message::from(noise);
            let frames =
                sent(role, &config, &[(Compression::Always, across.clone()), (Compression::Always, across)]).await;
            let short = frames[1].1.len() < distance / 2;
            assert_eq!(short, near, "{role:?}, window {bits}, {} bytes for {distance} again", frames[1].1.len());
        }
    }
}

/// D-09, and the threshold.
async fn compression_is_chosen_per_message(role: Role) {
    use Compression::{Always, ByLength, Never};
    let mut deflate = fresh();
    deflate.threshold = 128;
    let of = |len: usize| Message::from("x".repeat(len));
    let messages = [
        (ByLength, of(127), 0x81),
        (ByLength, of(128), 0xc1),
        (Never, of(1000), 0x81),
        (Always, of(1), 0xc1),
        (ByLength, Message::from(noise(1000)), 0x82),
        (Always, Message::from(noise(1000)), 0xc2),
    ];
    let chosen = messages.clone().map(|(compression, message, _)| (compression, message));
    let frames = sent(role, &config(deflate), &chosen).await;
    let firsts: Vec<u8> = frames.iter().map(|(first, _)| *first).collect();
    assert_eq!(firsts, messages.map(|(_, _, first)| first));
}

/// Without an agreement it has no effect.
#[test]
fn nothing_is_compressed_that_was_not_agreed_on() {
    block_on(async {
        for role in ROLES {
            let frames = sent(role, &crate::scripted::quiet(), &[(Compression::Always, text())]).await;
            assert_eq!(frames, [(0x81, text().as_bytes().to_vec())]);
        }
    });
}

/// Messages of many kinds in both directions, Pings between the fragments, everything one byte a read.
#[test]
fn messages_arrive_one_byte_a_read() {
    block_on(async {
        let deflates = [fresh(), takeover(), limited(takeover(), 9), limited(fresh(), 12)];
        for (deflate, fragment_size) in
            deflates.into_iter().flat_map(|deflate| [(deflate.clone(), None), (deflate, Some(5))])
        {
            let mut config = config(deflate);
            config.fragment_size = fragment_size;
            for role in ROLES {
                bytewise(role, &config).await;
            }
        }
    });
}

async fn bytewise(role: Role, config: &Config) {
    let ((mut from, _), (mut to, control)) = open(role, config).await;
    control.pace(Pace::bytewise(), Pace::free(), Pace::free());
    let messages = [text(), Message::from(""), Message::from(noise(700)), Message::from("h\u{e9}llo"), text()];
    for (number, message) in messages.iter().enumerate() {
        from.set_compression(if number == 3 { Compression::Never } else { Compression::Always });
        from.feed(message.clone()).await.unwrap();
        from.ping(number.to_string()).await.unwrap();
    }
    let mut received = Vec::new();
    let sending = async {
        from.flush().await.unwrap();
        from.close(CloseCode::NORMAL, "").await.unwrap();
    };
    let receiving = async {
        while let Some(event) = to.next_event().await {
            if let Event::Message(message) = event.unwrap() {
                received.push(message);
            }
        }
    };
    tokio::join!(sending, receiving);
    assert_eq!(received, messages, "{role:?} {config:?}");
}

/// D22: the compressor counts in 32 bits.
#[test]
fn a_message_of_more_than_32_bits_is_compressed() {
    block_on(async {
        let mut config = config(fresh());
        config.limits.max_message = None;
        let ((mut from, control), _) = open(Role::Server, &config).await;
        let before = control.output().len();
        let len = (1_usize << 32) + 1;
        from.send(vec![0; len]).await.unwrap();
        let frames = wire(&control.output()[before..]);
        let mut left = &*[&*frames[0].1, &super::FLUSHED].concat();
        let mut inflate = zlib_rs::Inflate::new(false, 15);
        let mut output = vec![0; super::MIB];
        while !left.is_empty() {
            let read = inflate.total_in();
            inflate.decompress(left, &mut output, zlib_rs::InflateFlush::SyncFlush).unwrap();
            left = &left[usize::try_from(inflate.total_in() - read).unwrap()..];
        }
        assert_eq!(inflate.total_out(), len as u64);
    });
}
