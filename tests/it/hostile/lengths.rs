//! Hostile input, table 2.1: lengths.

use wireline::{
    Config, Role, WebSocket,
    proto::Violation::{LengthNotMinimal, LengthOutOfRange},
};

use crate::support::{
    alloc::{Meter, uncounted},
    peer::{After, Peer},
    row::{self, Kind, Row, Want, message_excess, poll_once, violation},
    script::{Delivery, Keys, Part, Script, hex},
    suite::{Ran, Suite},
};

pub(crate) static LENGTHS: Suite = Suite::new(|ran| {
    row::run(&rows(), ran);
    announced_frames_cost_nothing_until_they_arrive(ran);
    ran.id("F-05");
});

#[test]
fn lengths() {
    LENGTHS.ids();
}

const MIB: u64 = 1024 * 1024;
const DEFAULT: u64 = 16 * MIB;

fn one_mib(config: &mut Config) {
    config.limits.max_message = Some(MIB);
}

fn unlimited(config: &mut Config) {
    config.limits.max_message = None;
    config.limits.max_frame = None;
}

fn rows() -> Vec<Row> {
    let all_ones = "82 7F FF FF FF FF FF FF FF FF";
    let largest = "82 7F 7F FF FF FF FF FF FF FF";
    let sum = "01 01 61 ; 80 7F 7F FF FF FF FF FF FF FF";
    let zeros = |len: u64| Want::Filled(Kind::Binary, 0, len);
    vec![
        Row::new("L1", "CVE-2026-27889 (NATS), CVE-2026-69210 (http4s)", "82 7F 80 00 00 00 00 00 00 01")
            .fails(10, LengthOutOfRange),
        Row::new("L2", "CVE-2020-13935 (Tomcat)", all_ones).fails(10, LengthOutOfRange),
        Row::new("L3", "CVE-2026-50161 (libre)", "82 7F FF FF FF FF FF FF FF FC").fails(10, LengthOutOfRange),
        Row::new("L4", "RUSTSEC-2022-0035 (rust-websocket), CVE-2026-103472 (restbed)", largest)
            .fails(10, message_excess(DEFAULT))
            .heap_within(64 * 1024),
        Row::new("L5", "CVE-2026-1528 (undici)", "82 7F 00 80 00 00 00 00 00 01").fails(10, message_excess(DEFAULT)),
        Row::new("L6", "actix-web #365", "82 7F 00 00 00 01 00 00 00 05 00 00 00 00 00")
            .fails(10, message_excess(DEFAULT)),
        Row::new("L7", "PYSEC-2026-4395 (aiohttp), CVE-2020-27813 (gorilla)", sum).fails(10, message_excess(DEFAULT)),
        Row::new("L8", "off by one, at 1 MiB", "")
            .config(one_mib)
            .then_filled("02 7F 00 00 00 00 00 0F FF FF", 0, MIB - 1)
            .then_frame("80 01 00")
            .delivers([zeros(MIB)]),
        Row::new("L8", "off by one, at the default", "")
            .then_filled("02 7F 00 00 00 00 00 FF FF FF", 0, DEFAULT - 1)
            .then_frame("80 01 00")
            .delivers([zeros(DEFAULT)])
            .masked_once(),
        Row::new("L9", "Class B, at 1 MiB", "")
            .config(one_mib)
            .then_filled("02 7F 00 00 00 00 00 0F FF FF", 0, MIB - 1)
            .then_frame("80 02 00 00")
            .fails(2, message_excess(MIB)),
        Row::new("L9", "Class B, at the default", "")
            .then_filled("02 7F 00 00 00 00 00 FF FF FF", 0, DEFAULT - 1)
            .then_frame("80 02 00 00")
            .fails(2, message_excess(DEFAULT))
            .masked_once(),
        Row::new("L10", "RFC 6455 5.2", "82 7E 00 05 00 00 00 00 00").fails(4, LengthNotMinimal),
        Row::new("L10", "RFC 6455 5.2", "").then_filled("82 7E 00 7D", 0, 125).fails(4, LengthNotMinimal),
        Row::new("L10", "RFC 6455 5.2", "")
            .then_filled("82 7F 00 00 00 00 00 00 00 7E", 0, 126)
            .fails(10, LengthNotMinimal),
        Row::new("L10", "RFC 6455 5.2", "")
            .then_filled("82 7F 00 00 00 00 00 00 FF FF", 0, 65_535)
            .fails(10, LengthNotMinimal),
        Row::new("L12", "CVE-2026-0716 (libsoup)", largest)
            .config(unlimited)
            .loses_the_transport()
            .heap_within(64 * 1024),
        Row::new("L12", "CVE-2026-0716 (libsoup)", sum).config(unlimited).loses_the_transport().heap_within(64 * 1024),
        Row::new("L12", "CVE-2026-0716 (libsoup), with payload", "82 7F 7F FF FF FF FF FF FF FF 00 00 00 00 00 00")
            .config(unlimited)
            .loses_the_transport(),
        Row::new("L12", "CVE-2026-0716 (libsoup), the sign bit", all_ones)
            .config(unlimited)
            .fails(10, violation(LengthOutOfRange)),
    ]
}

/// L11 (fastwebsockets reserves it all): ten thousand connections on which a frame of the largest legal size was announced.
fn announced_frames_cost_nothing_until_they_arrive(ran: &mut Ran) {
    const CONNECTIONS: usize = 10_000;
    const EACH: i64 = 4 * 1024;
    let runtime = row::runtime();
    row::warm_up(&runtime);
    let announcements = [("82 7F 00 00 00 00 01 00 00 00", None), ("82 7F 00 00 00 00 00 10 00 00", Some(MIB))];
    for role in [Role::Server, Role::Client] {
        for (header, max_message) in announcements {
            let mut config = Config::default();
            if max_message.is_some() {
                config.limits.max_message = max_message;
            }
            let held = runtime.block_on(async {
                let peers: Vec<Peer> = (0..CONNECTIONS)
                    .map(|_| {
                        let script = Script::default().then(Part::Frame(hex(header), 1));
                        Peer::new(script.source(Keys::for_role(role)[0], Delivery::Whole), After::Silence)
                    })
                    .collect();
                let mut open = Vec::with_capacity(CONNECTIONS);
                let meter = Meter::start();
                for peer in &peers {
                    let peer = peer.clone();
                    let config = uncounted(|| config.clone());
                    let mut ws = WebSocket::after_handshake(peer, role, config).expect("a configuration that works");
                    assert!(poll_once(ws.next()).await.is_pending(), "L11: the frame has not arrived");
                    open.push(ws);
                }
                meter.peak()
            });
            let each = held / i64::try_from(CONNECTIONS).expect("small");
            assert!(
                each <= EACH,
                "L11 (fastwebsockets) as {role:?}, {header}: {each} bytes of heap for each connection"
            );
        }
    }
    ran.id("L11");
}
