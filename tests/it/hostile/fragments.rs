//! Hostile input, table 2.3: fragmentation.

use std::time::Duration;

use wireline::{
    Config, Role, WebSocket,
    proto::Violation::{ExpectedContinuation, FragmentedControl, UnexpectedContinuation},
};

use crate::support::{
    peer::{After, Peer},
    row::{self, Kind, Row, Want, fragment_excess, message_excess},
    script::{Delivery, FOREVER, Keys, Part, Script, hex},
    suite::{Ran, Suite},
};

pub(crate) static FRAGMENTS: Suite = Suite::new(|ran| {
    row::run(&rows(), ran);
    a_slow_reader_slows_the_peer_down(ran);
    ran.id("F-08");
    ran.id("F-09");
});

#[test]
fn fragments() {
    FRAGMENTS.ids();
}

const DEFAULT_FRAGMENTS: u64 = 65_536;
const MIB: u64 = 1024 * 1024;

fn thousand(config: &mut Config) {
    config.limits.max_fragments = Some(1024);
}

fn one_mib(config: &mut Config) {
    config.limits.max_message = Some(MIB);
}

fn rows() -> Vec<Row> {
    let f1 = "CVE-2026-48779, CVE-2026-62389 (ws)";
    let f2 = "ws #2329, CVE-2026-12151 (undici), actix-extras #651";
    let f4 = "CVE-2014-0193 (Netty), CVE-2026-42786 (Bandit), CVE-2026-63495 (libevent)";
    let endless = |id, advisory, frame| Row::new(id, advisory, "01 01 61").then_repeated(frame, FOREVER);
    let last_legal = format!("a{}b", "a".repeat(1023));
    vec![
        endless("F1", f1, "00 01 61").config(thousand).fails_at(1024, 2, fragment_excess(1024)),
        endless("F1", f1, "00 01 61").fails_at(DEFAULT_FRAGMENTS, 2, fragment_excess(DEFAULT_FRAGMENTS)).masked_once(),
        Row::new("F1", "the last legal fragment", "01 01 61")
            .then_repeated("00 01 61", 1023)
            .then_frame("80 01 62")
            .config(thousand)
            .delivers([Want::text(last_legal)]),
        endless("F2", f2, "00 00").config(thousand).fails_at(1024, 2, fragment_excess(1024)),
        endless("F2", f2, "00 00").fails_at(DEFAULT_FRAGMENTS, 2, fragment_excess(DEFAULT_FRAGMENTS)).masked_once(),
        Row::new("F3", "legality", "01 00").then_repeated("00 00", 10).then_frame("80 00").delivers([Want::text("")]),
        Row::new("F4", f4, "")
            .then_filled("02 7F 00 00 00 00 00 40 00 00", 0, 4 * MIB)
            .then_filled("00 7F 00 00 00 00 00 40 00 00", 0, 4 * MIB)
            .then_filled("00 7F 00 00 00 00 00 40 00 00", 0, 4 * MIB)
            .then_filled("00 7F 00 00 00 00 00 40 00 00", 0, 4 * MIB)
            .then_filled("00 7F 00 00 00 00 00 40 00 00", 0, 4 * MIB)
            .fails(10, message_excess(16 * MIB))
            .masked_once(),
        Row::new("F4", f4, "")
            .config(one_mib)
            .then_filled("02 7F 00 00 00 00 00 04 00 00", 0, MIB / 4)
            .then_filled("00 7F 00 00 00 00 00 04 00 00", 0, MIB / 4)
            .then_filled("00 7F 00 00 00 00 00 04 00 00", 0, MIB / 4)
            .then_filled("00 7F 00 00 00 00 00 04 00 00", 0, MIB / 4)
            .then_filled("00 7F 00 00 00 00 00 04 00 00", 0, MIB / 4)
            .fails(10, message_excess(MIB)),
        Row::new("F5", "Autobahn 5.9-5.14", "80 01 61").fails(1, UnexpectedContinuation),
        Row::new("F5", "Autobahn 5.9-5.14", "00 01 61").fails(1, UnexpectedContinuation),
        Row::new("F5", "Autobahn 5.9-5.14", "01 01 61 ; 80 01 62 ; 80 01 63")
            .delivers([Want::text("ab")])
            .fails(1, UnexpectedContinuation),
        Row::new("F6", "aiohttp #13553, fastwebsockets", "01 01 61 ; 81 01 62").fails(1, ExpectedContinuation),
        Row::new("F6", "aiohttp #13553, fastwebsockets", "01 01 61 ; 01 01 62").fails(1, ExpectedContinuation),
        Row::new("F6", "aiohttp #13553, fastwebsockets", "01 01 61 ; 02 01 62").fails(1, ExpectedContinuation),
        Row::new("F6", "aiohttp #13553, fastwebsockets", "02 01 61 ; 00 01 62 ; 82 01 62")
            .fails(1, ExpectedContinuation),
        Row::new("F7", "Autobahn 5.19, 5.20", "01 01 61 ; 89 02 68 69 ; 80 01 62")
            .delivers([Want::text("ab")])
            .pongs([b"hi"])
            .pong_comes_first(),
        Row::new("F10", "Autobahn 7.1.5; python websockets", "01 01 61 ; 88 02 03 E8").closes("03 E8", 1000),
        Row::new("F11", "Autobahn 5.1, 5.2", "09 00").fails(1, FragmentedControl),
        Row::new("F11", "Autobahn 5.1, 5.2", "08 00").fails(1, FragmentedControl),
        Row::new("F11", "Autobahn 5.1, 5.2", "0A 00").fails(1, FragmentedControl),
        Row::new("F11", "Autobahn 5.1, 5.2", "01 01 61 ; 09 01 62").fails(1, FragmentedControl),
        Row::new("F12", "CVE-2026-123817 (aiohttp)", "")
            .then_filled("82 7F 00 00 00 00 00 10 00 00", 7, MIB)
            .delivers([Want::Filled(Kind::Binary, 7, MIB)])
            .delivered(&[Delivery::Chunks(2)])
            .masked_once()
            .heap_within(1024 * 1024 + 64 * 1024),
    ]
}

/// F13 (aiohttp #13393): ten million empty messages. The connection queues none of them: what is not asked for is not read,
/// beyond one buffer.
fn a_slow_reader_slows_the_peer_down(ran: &mut Ran) {
    const MESSAGES: u64 = 1_000;
    const BUFFER: u64 = 64 * 1024;
    let runtime = row::runtime();
    for role in [Role::Server, Role::Client] {
        for &keys in Keys::for_role(role) {
            // Each of these connections is dropped with a buffer in its hands.
            row::warm_up(&runtime);
            let script = Script::default().then(Part::Frame(hex("82 00"), 10_000_000));
            let peer = Peer::new(script.source(keys, Delivery::Whole), After::Silence);
            runtime.block_on(async {
                let mut ws = WebSocket::after_handshake(peer.clone(), role, Config::default()).expect("it works");
                peer.measure();
                for taken in 1..=MESSAGES {
                    let message = ws.next().await.expect("a message").expect("no error");
                    assert!(message.is_empty(), "F13 (aiohttp #13393) as {role:?}");
                    tokio::time::sleep(Duration::from_millis(1)).await;
                    let state = peer.state();
                    let frame = if role == Role::Server { 6 } else { 2 };
                    let ahead = state.received - taken * frame;
                    assert!(ahead <= BUFFER, "F13 (aiohttp #13393) as {role:?}: {ahead} bytes read ahead");
                    assert!(state.peak() <= 64 * 1024, "F13 (aiohttp #13393) as {role:?}: {} bytes", state.peak());
                }
            });
        }
    }
    ran.id("F13");
}
