//! RFC 6455 sections 5 to 8 on an open connection, where the tables of hostile input do not show the rule already, and
//! properties of all streams.

use std::{
    future::poll_fn,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use futures_util::{Sink, Stream as _};
use proptest::prelude::*;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_test::task;
use wireline::{
    Cause, CloseCode, CloseRecord, Config, Ending, Error, Initiator, Message, Role, WebSocket,
    proto::{Awaited, Misuse, Opcode},
};

use crate::support::{
    peer::{After, Peer, Shutdown},
    row::{self, elapsed, poll_once},
    script::{Delivery, Keys, Part, Script, hex},
    suite::{Ran, Suite},
};

pub(crate) static FRAMING: Suite = Suite::new(|ran| {
    lengths_take_the_fewest_bytes(ran);
    nothing_follows_our_close(ran);
    the_server_ends_the_transport_first(ran);
    pings_are_answered_unless_the_peer_has_closed(ran);
    messages_are_cut_into_fragments(ran);
    endings_say_what_happened(ran);
});

pub(crate) static RANDOM_INPUT: Suite = Suite::new(|ran| {
    random_bytes_end_in_order(ran);
});

#[test]
fn framing() {
    FRAMING.ids();
}

#[test]
fn random_input() {
    RANDOM_INPUT.ids();
}

const ROLES: [Role; 2] = [Role::Server, Role::Client];

fn open(role: Role, frames: &str, after: After, config: Config) -> (Peer, WebSocket<Peer>) {
    let script = Script::frames(frames).source(Keys::for_role(role)[0], Delivery::Whole);
    let peer = Peer::new(script, after);
    let ws = WebSocket::after_handshake(peer.clone(), role, config).expect("it works");
    (peer, ws)
}

/// F-06 (section 5.2).
fn lengths_take_the_fewest_bytes(ran: &mut Ran) {
    let table = [(0, 2), (1, 2), (125, 2), (126, 4), (127, 4), (65_535, 4), (65_536, 10), (70_000, 10)];
    for role in ROLES {
        for (payload, header) in table {
            row::runtime().block_on(async {
                let (peer, mut ws) = open(role, "", After::Silence, Config::default());
                ws.send(vec![0; payload]).await.expect("F-06");
                let key = if role == Role::Client { 4 } else { 0 };
                assert_eq!(peer.state().wire.len(), header + key + payload, "F-06 (5.2) as {role:?}, {payload} bytes");
            });
        }
    }
    ran.id("F-06");
}

/// F-12 (section 5.5.1): no data after a Close frame, and with us no control frame either.
fn nothing_follows_our_close(ran: &mut Ran) {
    for role in ROLES {
        row::runtime().block_on(async {
            let (peer, mut ws) = open(role, "", After::Silence, Config::default());
            ws.feed("before").await.expect("F-12");
            assert!(poll_once(ws.close(CloseCode::NORMAL, "bye")).await.is_pending());
            let refused = |result: Result<(), Error>| matches!(result, Err(Error::Caller(Misuse::Closed)));
            assert!(refused(ws.send("after").await), "F-12 (5.5.1) as {role:?}");
            assert!(refused(ws.feed("after").await), "F-12 (5.5.1) as {role:?}");
            assert!(refused(ws.ping("after").await), "F-12 (5.5.1) as {role:?}");
            peer.send(Part::Frame(hex("89 00"), 1));
            assert!(poll_once(ws.next()).await.is_pending());
            assert!(poll_once(ws.close(CloseCode::GOING_AWAY, "again")).await.is_pending());
            let frames = peer.frames(role).expect("F-12");
            let sent: Vec<_> = frames.iter().map(|frame| (frame.opcode, &frame.payload[..])).collect();
            let expected = [(Opcode::Text, &b"before"[..]), (Opcode::Close, &b"\x03\xe8bye"[..])];
            assert_eq!(sent, expected, "F-12 (5.5.1) as {role:?}");
        });
    }
    ran.id("F-12");
}

/// F-14 (sections 5.5.1 and 7.1.1), whoever began.
fn the_server_ends_the_transport_first(ran: &mut Ran) {
    for we_begin in [Initiator::Local, Initiator::Peer] {
        for role in ROLES {
            let row = format!("F-14 (7.1.1) as {role:?}, begun by {we_begin:?}");
            row::runtime().block_on(async {
                let (peer, mut ws) = open(role, "", After::Silence, Config::default());
                if we_begin == Initiator::Local {
                    assert!(poll_once(ws.close(CloseCode::NORMAL, "")).await.is_pending(), "{row}");
                    assert_eq!(peer.state().shutdown, Shutdown::No, "{row}: the peer has not answered");
                }
                peer.send(Part::Frame(hex("88 02 03 E8"), 1));
                assert!(poll_once(ws.next()).await.is_pending(), "{row}");
                let ended_first = peer.state().shutdown == Shutdown::Yes;
                assert_eq!(ended_first, role == Role::Server, "{row}");
                peer.after(After::End);
                assert!(ws.next().await.is_none(), "{row}");
                assert_eq!(peer.state().shutdown, Shutdown::Yes, "{row}");
                assert_eq!(ws.ending().map(Ending::initiator), Some(we_begin), "{row}");
            });
            // A peer that never ends its side is waited for until the close deadline, and the ending is as clean.
            row::runtime().block_on(async {
                let (peer, mut ws) = open(role, "88 02 03 E8", After::Silence, Config::default());
                let (end, time) = elapsed(ws.next()).await;
                assert!(end.is_none(), "{row}: {end:?}");
                assert_eq!(time, Duration::from_secs(10), "{row}");
                assert_eq!(ws.ending().map(Ending::cause), Some(Cause::Clean), "{row}");
                drop(peer);
            });
        }
    }
    ran.id("F-14");
}

/// F-15 (section 5.5.2).
fn pings_are_answered_unless_the_peer_has_closed(ran: &mut Ran) {
    for role in ROLES {
        for payload in ["", "21", "00 FF FE FD FC FB"].map(hex).into_iter().chain([vec![b'x'; 125]]) {
            row::runtime().block_on(async {
                let (peer, mut ws) = open(role, "", After::Silence, Config::default());
                let len = u8::try_from(payload.len()).expect("at most 125");
                peer.send(Part::Frame([&[0x89, len], &payload[..]].concat(), 1));
                assert!(poll_once(ws.next()).await.is_pending());
                let frames = peer.frames(role).expect("F-15");
                let sent: Vec<_> = frames.iter().map(|frame| (frame.opcode, frame.payload.to_vec())).collect();
                assert_eq!(sent, [(Opcode::Pong, payload)], "F-15 (5.5.2) as {role:?}");
            });
        }
        row::runtime().block_on(async {
            let (peer, mut ws) = open(role, "88 00 ; 89 01 21", After::EndOnClose, Config::default());
            assert!(ws.next().await.is_none());
            let frames = peer.frames(role).expect("F-15");
            assert!(frames.len() == 1 && frames[0].opcode == Opcode::Close, "F-15 (5.5.2) as {role:?}: {frames:?}");
        });
    }
    ran.id("F-15");
}

/// F-18 (sections 5.4 and 6.1).
fn messages_are_cut_into_fragments(ran: &mut Ran) {
    type Cut<'a> = &'a [(u8, &'a [u8])];
    let table: [(Message, usize, Cut<'_>); 5] = [
        ("".into(), 2, &[(0x81, b"")]),
        ("ab".into(), 2, &[(0x81, b"ab")]),
        ("abcde".into(), 2, &[(0x01, b"ab"), (0x00, b"cd"), (0x80, b"e")]),
        (b"abcd".into(), 2, &[(0x02, b"ab"), (0x80, b"cd")]),
        // Fragments may cut a code point.
        ("é".into(), 1, &[(0x01, &[0xc3]), (0x80, &[0xa9])]),
    ];
    for role in ROLES {
        for (message, size, expected) in &table {
            row::runtime().block_on(async {
                let mut config = Config::default();
                config.fragment_size = Some(*size);
                let (peer, mut ws) = open(role, "", After::Silence, config);
                ws.send(message.clone()).await.expect("F-18");
                let frames = peer.frames(role).expect("F-18");
                let sent: Vec<_> = frames
                    .iter()
                    .map(|frame| (frame.opcode.bits() | if frame.fin { 0x80 } else { 0 }, &frame.payload[..]))
                    .collect();
                assert_eq!(&sent, expected, "F-18 (5.4) as {role:?}, {message:?} in {size}");
            });
        }
    }
    ran.id("F-18");
}

/// F-19 (sections 7.1.5 and 7.1.6).
fn endings_say_what_happened(ran: &mut Ran) {
    let silence = |config: &mut Config| config.timings.close = Duration::from_secs(3);
    // What the peer sends, what it does then, and the code, the reason and the cause as the application sees them.
    let table = [
        ("88 02 03 E8", After::EndOnClose, 1000, "", Cause::Clean),
        ("88 05 03 E9 62 79 65", After::EndOnClose, 1001, "bye", Cause::Clean),
        ("88 02 0F A1", After::EndOnClose, 4001, "", Cause::Clean),
        ("88 00", After::EndOnClose, 1005, "", Cause::Clean),
        ("", After::End, 1006, "", Cause::Lost),
        ("81", After::End, 1006, "", Cause::Lost),
        ("81 05 61", After::End, 1006, "", Cause::Lost),
        ("88 02 03", After::End, 1006, "", Cause::Lost),
    ];
    for role in ROLES {
        for (frames, after, code, reason, cause) in table {
            let row = format!("F-19 (7.1.5, 7.1.6) as {role:?}, {frames:?}");
            row::runtime().block_on(async {
                let mut config = Config::default();
                silence(&mut config);
                let (_peer, mut ws) = open(role, frames, after, config);
                assert!(ws.ending().is_none(), "{row}: not ended yet");
                let end = ws.next().await;
                assert_eq!(end.is_none(), cause == Cause::Clean, "{row}: {end:?}");
                let ending = ws.ending().expect(&row);
                assert_eq!((ending.code(), ending.reason(), ending.cause()), (code, reason, cause), "{row}");
                assert_eq!(ending.initiator(), Initiator::Peer, "{row}");
                let none = matches!(ending.received(), CloseRecord::None);
                assert_eq!(none, code == 1006, "{row}");
            });
        }
        // Our own Close, answered and not.
        for answer in ["88 05 0F A0 6F 6B 21", ""] {
            let row = format!("F-19 (7.1.5, 7.1.6) as {role:?}, closing, answered with {answer:?}");
            row::runtime().block_on(async {
                let mut config = Config::default();
                silence(&mut config);
                let (peer, mut ws) = open(role, "", After::Silence, config);
                assert!(poll_once(ws.close(CloseCode::GOING_AWAY, "lunch")).await.is_pending(), "{row}");
                if !answer.is_empty() {
                    peer.send(Part::Frame(hex(answer), 1));
                    peer.after(After::End);
                }
                let closed = ws.close(CloseCode::NORMAL, "").await;
                let ending = ws.ending().expect(&row);
                let sent = ending.sent().frame().map(|frame| (frame.code().get(), frame.reason().to_owned()));
                assert_eq!(sent, Some((1001, "lunch".to_owned())), "{row}");
                let seen = (ending.code(), ending.reason(), ending.cause(), ending.initiator());
                if answer.is_empty() {
                    assert!(matches!(closed, Err(Error::Timeout(Awaited::Close))), "{row}: {closed:?}");
                    assert_eq!(seen, (1006, "", Cause::Timeout(Awaited::Close), Initiator::Local), "{row}");
                } else {
                    assert!(closed.is_ok(), "{row}: {closed:?}");
                    assert_eq!(seen, (4000, "ok!", Cause::Clean, Initiator::Local), "{row}");
                }
            });
        }
    }
    ran.id("F-19");
}

/// F-24 (section 10.7): any bytes at all, and bytes that begin as frames. It ends, without a panic, with at most one Close
/// and nothing after it.
fn random_bytes_end_in_order(ran: &mut Ran) {
    let bytes = || {
        prop_oneof![
            prop::collection::vec(any::<u8>(), 0..200),
            prop::collection::vec(frame_like(), 0..12).prop_map(|frames| frames.concat()),
        ]
    };
    let runtime = row::runtime();
    let cases = ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(1_500) };
    proptest!(cases, |(bytes in bytes(), split in 1u64..40, server: bool)| {
        let role = if server { Role::Server } else { Role::Client };
        let script = Script::default().then(Part::Literal(bytes));
        let peer = Peer::new(script.source(Keys::None, Delivery::Chunks(split)), After::End);
        runtime.block_on(async {
            let mut ws = WebSocket::after_handshake(peer.clone(), role, Config::default()).expect("it works");
            peer.measure();
            let mut items = 0;
            while let Some(item) = ws.next().await {
                items += 1;
                assert!(items < 500, "F-24 (10.7): no end");
                if let Ok(message) = item {
                    let _ = ws.feed(message).await;
                }
            }
            assert!(ws.next().await.is_none(), "F-24 (10.7)");
            assert!(ws.ending().is_some(), "F-24 (10.7)");
            let frames = peer.frames(role).expect("F-24 (10.7)");
            let closes = frames.iter().filter(|frame| frame.opcode == Opcode::Close).count();
            assert!(closes <= 1, "F-24 (10.7): {frames:?}");
            if closes == 1 {
                assert_eq!(frames.last().map(|frame| frame.opcode), Some(Opcode::Close), "F-24 (10.7): {frames:?}");
            }
            let state = peer.state();
            assert_eq!((state.shutdown, state.late_writes), (Shutdown::Yes, 0), "F-24 (10.7)");
            assert!(state.excess <= 64 * 1024 + 4 * 1024, "F-24 (10.7): {} bytes of heap", state.excess);
        });
    });
    ran.id("F-24");
}

/// Bytes that are a frame more often than chance would have it, masked or not.
fn frame_like() -> impl Strategy<Value = Vec<u8>> {
    let first = prop::sample::select(vec![0x81u8, 0x82, 0x01, 0x02, 0x00, 0x80, 0x88, 0x89, 0x8A, 0xC1, 0x83]);
    (first, any::<bool>(), prop::collection::vec(any::<u8>(), 0..130), 0u8..20).prop_map(
        |(first, masked, payload, luck)| {
            let mask = if masked { 0x80 } else { 0 };
            let len = payload.len().min(125);
            let mut frame = vec![first, mask | u8::try_from(len).expect("short")];
            if luck == 0 {
                frame = vec![first, mask | 126, 0, u8::try_from(len).expect("short")];
            }
            if masked {
                frame.extend([0; 4]);
            }
            frame.extend(&payload[..len]);
            frame
        },
    )
}

/// A legal stream: messages in fragments, with control frames in between.
#[derive(Clone, Debug)]
struct Stream {
    messages: Vec<(Message, Vec<usize>)>,
    pings: Vec<Vec<u8>>,
}

impl Stream {
    fn script(&self) -> Script {
        let mut pings = self.pings.iter();
        let mut script = Script::default();
        for (message, cuts) in &self.messages {
            let bytes = message.as_bytes();
            let mut cuts: Vec<_> = cuts.iter().map(|cut| cut % (bytes.len() + 1)).collect();
            cuts.sort_unstable();
            let ends: Vec<_> = cuts.into_iter().chain([bytes.len()]).collect();
            let mut start = 0;
            for (number, end) in ends.iter().enumerate() {
                let opcode = match (number, message.is_text()) {
                    (0, true) => Opcode::Text,
                    (0, false) => Opcode::Binary,
                    _ => Opcode::Continuation,
                };
                let fin = if number + 1 == ends.len() { 0x80 } else { 0 };
                script = script.then(frame(fin | opcode.bits(), &bytes[start..*end]));
                start = *end;
                if let Some(ping) = pings.next() {
                    script = script.then(frame(0x89, ping));
                }
            }
        }
        script.then(frame(0x88, &hex("03 E8")))
    }
}

fn frame(first: u8, payload: &[u8]) -> Part {
    let header = match (u8::try_from(payload.len()), u16::try_from(payload.len())) {
        (Ok(len @ ..126), _) => vec![first, len],
        (_, Ok(len)) => [&[first, 126], &len.to_be_bytes()[..]].concat(),
        _ => [&[first, 127], &(payload.len() as u64).to_be_bytes()[..]].concat(),
    };
    Part::Frame([header, payload.to_vec()].concat(), 1)
}

fn message() -> impl Strategy<Value = Message> {
    prop_oneof![
        ".{0,40}".prop_map(Message::from),
        prop::collection::vec(any::<u8>(), 0..300).prop_map(Message::from),
        (60_000usize..70_000, any::<u8>()).prop_map(|(len, byte)| Message::from(vec![byte; len])),
        (15_000usize..20_000).prop_map(|len| Message::from("é".repeat(len))),
    ]
}

fn stream() -> impl Strategy<Value = Stream> {
    let messages = prop::collection::vec((message(), prop::collection::vec(any::<usize>(), 0..4)), 0..5);
    let pings = prop::collection::vec(prop::collection::vec(any::<u8>(), 0..126), 0..6);
    (messages, pings).prop_map(|(messages, pings)| Stream { messages, pings })
}

#[test]
fn any_split_of_a_legal_stream_yields_the_same_events() {
    let runtime = row::runtime();
    let cases = ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(150) };
    proptest!(cases, |(stream in stream(), chunk in 1u64..4000, split in 1u64..60_000, server: bool)| {
        let role = if server { Role::Server } else { Role::Client };
        let expected: Vec<_> = stream.messages.iter().map(|(message, _)| message.clone()).collect();
        for &keys in Keys::for_role(role) {
            for delivery in [Delivery::Whole, Delivery::SplitAt(split), Delivery::Chunks(chunk)] {
                let peer = Peer::new(stream.script().source(keys, delivery), After::EndOnClose);
                let (received, pings) = runtime.block_on(async {
                    let mut ws = WebSocket::after_handshake(peer, role, Config::default()).expect("it works");
                    let (mut received, mut pings) = (Vec::new(), Vec::new());
                    while let Some(event) = ws.next_event().await {
                        match event.expect("a legal stream") {
                            wireline::Event::Message(message) => received.push(message),
                            wireline::Event::Ping(payload) => pings.push(payload.to_vec()),
                            wireline::Event::Pong(_) => panic!("nobody sent one"),
                            wireline::Event::Close(frame) => assert!(frame.is_some()),
                        }
                    }
                    assert_eq!(ws.ending().map(Ending::code), Some(1000));
                    (received, pings)
                });
                prop_assert_eq!(&received, &expected);
                prop_assert!(stream.pings.starts_with(&pings));
            }
        }
    });
}

#[test]
fn what_one_end_sends_the_other_receives() {
    let runtime = row::runtime();
    let cases = ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(150) };
    let fragments = prop_oneof![Just(None), (1usize..4000).prop_map(Some)];
    let strategy =
        (prop::collection::vec(message(), 0..6), prop::collection::vec(message(), 0..6), fragments, 1usize..9000);
    proptest!(cases, |((from_client, from_server, fragment_size, pipe) in strategy)| {
        runtime.block_on(async {
            let (here, there) = tokio::io::duplex(pipe);
            let mut config = Config::default();
            config.fragment_size = fragment_size;
            // The longest message, in fragments of one byte.
            config.limits.max_fragments = Some(70_000);
            let client = WebSocket::after_handshake(here, Role::Client, config.clone()).expect("it works");
            let server = WebSocket::after_handshake(there, Role::Server, config).expect("it works");
            let exchange = async |mut ws: WebSocket<tokio::io::DuplexStream>, send: &[Message], awaits: &[Message]| {
                let mut received = Vec::new();
                // Both ends send while both receive: whoever cannot write reads.
                for message in send {
                    while let Some(item) = poll_fn(|cx| room_or_item(&mut ws, cx)).await {
                        received.push(item.expect("open").expect("legal"));
                    }
                    Pin::new(&mut ws).start_send(message.clone()).expect("there is room");
                }
                while received.len() < awaits.len() {
                    received.push(ws.next().await.expect("open").expect("legal"));
                }
                // A server that has everything closes; a client waits for that.
                if ws.role() == Role::Server {
                    ws.close(CloseCode::NORMAL, "").await.expect("a clean end");
                }
                assert!(ws.next().await.is_none());
                received
            };
            let (at_client, at_server) =
                tokio::join!(exchange(client, &from_client, &from_server), exchange(server, &from_server, &from_client));
            assert_eq!(at_client, from_server);
            assert_eq!(at_server, from_client);
        });
    });
}

/// Ready with `None` when a message can be fed, else with what arrives.
fn room_or_item<S: AsyncRead + AsyncWrite + Unpin>(
    ws: &mut WebSocket<S>,
    cx: &mut Context<'_>,
) -> Poll<Option<Option<wireline::Result<Message>>>> {
    match Sink::<Message>::poll_ready(Pin::new(&mut *ws), cx) {
        Poll::Ready(ready) => Poll::Ready(ready.err().map(|error| Some(Err(error)))),
        Poll::Pending => Pin::new(ws).poll_next(cx).map(Some),
    }
}

#[test]
fn an_idle_connection_is_never_polled() {
    for role in ROLES {
        row::runtime().block_on(async {
            let (_peer, mut ws) = open(role, "81 01 61", After::Silence, Config::default());
            assert!(ws.next().await.is_some());
            let mut next = task::spawn(ws.next());
            assert!(next.poll().is_pending());
            for _ in 0..19 {
                tokio::time::advance(Duration::from_secs(1)).await;
                assert!(!next.is_woken(), "as {role:?}: woken and nothing has happened");
            }
        });
    }
}
