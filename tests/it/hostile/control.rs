//! Hostile input, table 2.4: control frames and closing.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tokio_test::task;
use wireline::{
    Client, CloseCode, CloseFrame, Config, Error, Message, Role, WebSocket,
    proto::{
        Awaited, Misuse, Opcode,
        Violation::{ClosePayloadTooShort, ControlTooLong, InvalidCloseCode, InvalidCloseReason},
    },
};

use crate::support::{
    peer::{After, Peer, Shutdown, Writes},
    row::{self, Row, elapsed, poll_once},
    script::{Delivery, Keys, Part, Script, hex},
    suite::{Ran, Suite},
};

pub(crate) static CONTROL: Suite = Suite::new(|ran| {
    row::run(&rows(), ran);
    pings_to_a_peer_that_never_reads_keep_one_pong(ran);
    a_ping_while_sending_is_blocked_parks(ran);
    a_peer_that_never_closes_is_cut_off(ran);
    our_close_survives_unread_garbage(ran);
    misuse_sends_nothing(ran);
    for id in ["F-10", "F-11", "F-13", "F-16", "F-20", "F-21", "F-22"] {
        ran.id(id);
    }
});

#[test]
fn control() {
    CONTROL.ids();
}

const UNSENDABLE: [u16; 12] = [0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535];
const SENDABLE: [u16; 16] =
    [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999];

fn rows() -> Vec<Row> {
    let k9 = "Autobahn 7.5.1";
    let mut rows = vec![
        Row::new("K2", "CVE-2021-3690 (Undertow)", "")
            .then(Part::Frame([&[0x8A, 0x7D][..], &[b'x'; 125]].concat(), 5_000))
            .heap_within(8 * 1024),
        Row::new("K4", "CVE-2026-15711 (libsoup), Autobahn 2.5", "89 7E 00 7E").fails(2, ControlTooLong),
        Row::new("K4", "CVE-2026-15711 (libsoup)", "88 7F 00 00 00 00 00 01 00 00").fails(2, ControlTooLong),
        Row::new("K4", "CVE-2026-15711 (libsoup)", "8A 7E FF FF").fails(2, ControlTooLong),
        Row::new("K5", "Autobahn 7.3.2", "88 01 03").fails(3, ClosePayloadTooShort),
        Row::new("K6", "RFC 6455 7.1.5", "88 00").closes("", 1005),
        Row::new("K9", k9, "88 03 03 E8 FF").fails(5, InvalidCloseReason),
        Row::new("K9", k9, "88 04 03 E8 E2 82").fails(6, InvalidCloseReason),
        Row::new("K9", k9, "88 05 03 E8 ED A0 80").fails(7, InvalidCloseReason),
        Row::new("K10", "RFC 6455 5.5.1, Autobahn 7.1.1-4", "88 02 03 E8 ; 81 01 61 ; 89 00 ; 88 02 03 E8")
            .closes("03 E8", 1000),
        Row::new("K10", "RFC 6455 5.5.1, with a reason", "88 05 03 E9 62 79 65 ; 81 01 61").closes("03 E9", 1001),
    ];
    let close = |code: u16| {
        let [high, low] = code.to_be_bytes();
        format!("{high:02X} {low:02X}")
    };
    rows.extend(UNSENDABLE.map(|code| {
        Row::new("K7", "Autobahn 7.9, aiohttp #12895", &format!("88 02 {}", close(code)))
            .fails(4, InvalidCloseCode(code))
    }));
    rows.extend(
        SENDABLE
            .map(|code| Row::new("K8", "Autobahn 7.7", &format!("88 02 {}", close(code))).closes(&close(code), code)),
    );
    rows
}

fn numbered_ping(number: u64) -> Vec<u8> {
    [&[0x89, 0x7D][..], &number.to_be_bytes(), &[b'p'; 117]].concat()
}

/// K1 (CVE-2026-11586 curl, CVE-2026-109932 undici, ws 8.23.0).
fn pings_to_a_peer_that_never_reads_keep_one_pong(ran: &mut Ran) {
    const PINGS: u64 = 20_000;
    let runtime = row::runtime();
    row::warm_up(&runtime);
    for role in [Role::Server, Role::Client] {
        for &keys in Keys::for_role(role) {
            let row = format!("K1 (CVE-2026-11586, CVE-2026-109932) as {role:?}, keys {keys:?}");
            let flood = || {
                let script = Script::default().then(Part::Numbered(numbered_ping, PINGS));
                let peer = Peer::new(script.source(keys, Delivery::Chunks(1500)), After::Silence);
                peer.writes(Writes::Room(200));
                peer
            };
            let mut config = Config::default();
            config.timings.ping_after = None;
            config.timings.write = Duration::from_secs(120);
            runtime.block_on(async {
                let peer = flood();
                let mut ws = WebSocket::after_handshake(peer.clone(), role, config).expect("it works");
                peer.measure();
                let minute = tokio::time::timeout(Duration::from_secs(60), ws.next()).await;
                assert!(minute.is_err(), "{row}: ended with {minute:?}");
                assert_eq!(
                    peer.state().received,
                    Script::default().then(Part::Numbered(numbered_ping, PINGS)).len(keys)
                );
                assert!(peer.state().peak() <= 64 * 1024, "{row}: {} bytes of heap", peer.state().peak());
                peer.writes(Writes::All);
                assert!(poll_once(ws.next()).await.is_pending(), "{row}");
                let pongs = peer.frames(role).expect(&row);
                assert!(pongs.len() <= 3 && pongs.iter().all(|pong| pong.opcode == Opcode::Pong), "{row}: {pongs:?}");
                let last = pongs.last().map(|pong| pong.payload.to_vec());
                assert_eq!(last.as_deref(), Some(&numbered_ping(PINGS - 1)[2..]), "{row}: the latest ping wins");
            });
            // With the default deadlines such a peer is cut off.
            runtime.block_on(async {
                let peer = flood();
                let mut ws = WebSocket::after_handshake(peer.clone(), role, Config::default()).expect("it works");
                let (end, time) = elapsed(ws.next()).await;
                assert!(matches!(end, Some(Err(Error::Timeout(Awaited::Write)))), "{row}: {end:?}");
                assert_eq!(time, Duration::from_secs(30), "{row}");
                assert_eq!(peer.state().wire.len(), 200, "{row}: nothing after what was taken");
            });
        }
    }
    ran.id("K1");
}

/// K3 (CVE-2025-5399 curl).
fn a_ping_while_sending_is_blocked_parks(ran: &mut Ran) {
    let runtime = row::runtime();
    for role in [Role::Server, Role::Client] {
        let row = format!("K3 (CVE-2025-5399) as {role:?}");
        runtime.block_on(async {
            let keys = Keys::for_role(role)[0];
            let peer = Peer::new(Script::default().source(keys, Delivery::Whole), After::Silence);
            peer.writes(Writes::Room(100_000));
            let mut ws = WebSocket::after_handshake(peer.clone(), role, Config::default()).expect("it works");
            assert!(poll_once(ws.send(vec![7; 200_000])).await.is_pending(), "{row}");
            let mut next = task::spawn(ws.next());
            assert!(next.poll().is_pending(), "{row}");
            peer.send(Part::Frame(hex("89 02 68 69"), 1));
            assert!(next.is_woken(), "{row}: the ping wakes");
            assert!(next.poll().is_pending(), "{row}");
            let calls = (peer.state().read_calls, peer.state().write_calls);
            for _ in 0..10 {
                tokio::time::advance(Duration::from_secs(1)).await;
                assert!(!next.is_woken(), "{row}: woken and nothing has happened");
            }
            assert_eq!((peer.state().read_calls, peer.state().write_calls), calls, "{row}: polled while parked");
            peer.writes(Writes::All);
            assert!(next.is_woken(), "{row}: room wakes");
            assert!(next.poll().is_pending(), "{row}");
            let frames = peer.frames(role).expect(&row);
            let sent: Vec<_> = frames.iter().map(|frame| (frame.opcode, frame.payload.len())).collect();
            assert_eq!(sent, [(Opcode::Binary, 200_000), (Opcode::Pong, 2)], "{row}");
        });
    }
    ran.id("K3");
}

/// K11 (CVE-2024-23672 Tomcat): the rule is that `close` drops what still arrives, and that `next` after a `close` that was
/// polled once delivers it.
fn a_peer_that_never_closes_is_cut_off(ran: &mut Ran) {
    let runtime = row::runtime();
    for role in [Role::Server, Role::Client] {
        let row = format!("K11 (CVE-2024-23672) as {role:?}");
        let open = || {
            let peer = Peer::new(Script::default().source(Keys::for_role(role)[0], Delivery::Whole), After::Silence);
            let ws = WebSocket::after_handshake(peer.clone(), role, Config::default()).expect("it works");
            (peer, ws)
        };
        let chatter = async |peer: &Peer| {
            loop {
                tokio::time::sleep(Duration::from_millis(100)).await;
                peer.send(Part::Frame(hex("81 01 61"), 1));
            }
        };
        let cut = |peer: &Peer, time: Duration| {
            assert_eq!(time, Duration::from_secs(10), "{row}");
            assert_eq!(peer.state().shutdown, Shutdown::Yes, "{row}: the transport is ended");
            let frames = peer.frames(role).expect(&row);
            assert!(frames.len() == 1 && frames[0].opcode == Opcode::Close, "{row}: {frames:?}");
        };
        runtime.block_on(async {
            let (peer, mut ws) = open();
            let (closed, time) = elapsed(async {
                tokio::select! {
                    closed = ws.close(CloseCode::NORMAL, "") => closed,
                    () = chatter(&peer) => unreachable!(),
                }
            })
            .await;
            assert!(matches!(closed, Err(Error::Timeout(Awaited::Close))), "{row}: {closed:?}");
            cut(&peer, time);
            assert!(ws.next().await.is_none(), "{row}");
        });
        runtime.block_on(async {
            let (peer, mut ws) = open();
            assert!(poll_once(ws.close(CloseCode::NORMAL, "")).await.is_pending(), "{row}");
            let receive = async {
                let mut received = 0;
                loop {
                    match ws.next().await {
                        Some(Ok(message)) => {
                            assert_eq!(message, Message::from("a"), "{row}");
                            received += 1;
                        }
                        Some(Err(error)) => return (received, error),
                        None => panic!("{row}: the peer never closed"),
                    }
                }
            };
            let ((received, error), time) = elapsed(async {
                tokio::select! {
                    end = receive => end,
                    () = chatter(&peer) => unreachable!(),
                }
            })
            .await;
            assert!(matches!(error, Error::Timeout(Awaited::Close)), "{row}: {error:?}");
            assert!(received >= 99, "{row}: {received} messages");
            cut(&peer, time);
        });
    }
    ran.id("K11");
}

/// K12 (RFC 6455 section 7.1.1), over real sockets, because only they can reset.
fn our_close_survives_unread_garbage(ran: &mut Ran) {
    const GARBAGE: usize = 10 * 1024 * 1024;
    let times = if cfg!(debug_assertions) { 100 } else { 1000 };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    for role in [Role::Server, Role::Client] {
        let row = format!("K12 (RFC 6455 7.1.1) as {role:?}");
        let keys = Keys::for_role(role)[0];
        let len = Script::frames("88 02 03 E8").len(keys);
        let mut bytes = vec![0; usize::try_from(len).expect("small")];
        Script::frames("88 02 03 E8").source(keys, Delivery::Whole).read(&mut bytes);
        bytes.resize(bytes.len() + GARBAGE, 0);
        runtime.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
            let address = listener.local_addr().expect("bound");
            for time in 0..times {
                let (stream, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
                let (mut peer, (stream, _)) = (stream.expect("connected"), accepted.expect("accepted"));
                let mut ws = WebSocket::after_handshake(stream, role, Config::default()).expect("it works");
                let connection = async {
                    assert!(ws.next().await.is_none(), "{row}, time {time}");
                    drop(ws);
                };
                let peer = async {
                    // The connection stops reading at some point; how the rest fails does not matter.
                    let _ = peer.write_all(&bytes).await;
                    let mut read = Vec::new();
                    let _ = peer.read_to_end(&mut read).await;
                    read
                };
                let ((), read) = tokio::join!(connection, peer);
                let frames = crate::support::peer::decode(&read, role).expect(&row);
                let closes: Vec<_> = frames.iter().map(|frame| (frame.opcode, &frame.payload[..])).collect();
                assert_eq!(closes, [(Opcode::Close, &[0x03, 0xE8][..])], "{row}, time {time}");
            }
        });
    }
    ran.id("K12");
}

/// K13 (ws's tests; RFC 6455 sections 5.5, 7.4.1, 4.1).
fn misuse_sends_nothing(ran: &mut Ran) {
    for code in UNSENDABLE {
        assert_eq!(CloseCode::try_from(code), Err(Misuse::InvalidCloseCode(code)), "K13 (F-21)");
    }
    assert_eq!(CloseFrame::new(CloseCode::NORMAL, "r".repeat(124)), Err(Misuse::ReasonTooLong(124)), "K13 (F-10)");
    assert!(CloseFrame::new(CloseCode::NORMAL, "r".repeat(123)).is_ok(), "K13 (F-10)");
    let client = Client::new("ws://127.0.0.1:9/").expect("a URL");
    assert!(matches!(client.subprotocols(["a b"]), Err(Error::Caller(Misuse::InvalidRequest(_)))), "K13 (C-12)");
    let runtime = row::runtime();
    for role in [Role::Server, Role::Client] {
        runtime.block_on(async {
            let keys = Keys::for_role(role)[0];
            let peer = Peer::new(Script::default().source(keys, Delivery::Whole), After::Silence);
            let mut ws = WebSocket::after_handshake(peer.clone(), role, Config::default()).expect("it works");
            let pinged = ws.ping(vec![0; 126]).await;
            assert!(matches!(pinged, Err(Error::Caller(Misuse::ControlTooLong(126)))), "K13 (F-10): {pinged:?}");
            let closed = ws.close(CloseCode::NORMAL, &"r".repeat(124)).await;
            assert!(matches!(closed, Err(Error::Caller(Misuse::ReasonTooLong(124)))), "K13 (F-10): {closed:?}");
            assert!(peer.state().wire.is_empty(), "K13 as {role:?}: {:x?}", peer.state().wire);
            // The connection is as open as before.
            ws.ping(vec![0; 125]).await.expect("K13: 125 bytes are legal");
            let longest = "r".repeat(123);
            assert!(poll_once(ws.close(CloseCode::NORMAL, &longest)).await.is_pending(), "K13");
            let frames = peer.frames(role).expect("K13");
            let lens: Vec<_> = frames.iter().map(|frame| (frame.opcode, frame.payload.len())).collect();
            assert_eq!(lens, [(Opcode::Ping, 125), (Opcode::Close, 125)], "K13 as {role:?}");
        });
    }
    ran.id("K13");
}
