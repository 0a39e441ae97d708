//! Bombs: little that inflates to a lot (hostile input D13 to D15). What was compressed is held inflated to the limit and
//! no further.

use wireline::{Config, Role, proto::Excess};

use super::{MIB, bomb, frame, fresh, warm_up};
use crate::support::{
    alloc::Meter,
    peer::{After, Peer},
    row::{self, Row},
    script::{Delivery, Keys, Part, Script},
    suite::{Ran, Suite},
};

pub(super) static BOMBS: Suite = Suite::new(|ran| {
    let runtime = row::runtime();
    runtime.block_on(warm_up(&fresh()));
    row::run(&rows(), ran);
    runtime.block_on(messages_just_under_the_limit(ran));
});

#[test]
fn bombs() {
    BOMBS.ids();
}

const PARAMETERS: &str = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";

/// Half of what arrives together, and what connections and boxes take beside.
const BESIDE: usize = 64 * 1024;

/// `max_message` is so many MiB; the heap has room for it, and for `sent`, which the peer holds while it is on its way.
fn limited(id: &'static str, from: &'static str, mebibytes: usize, sent: usize) -> Row {
    let set = |config: &mut Config| {
        config.limits.max_message = Some((mebibytes * MIB) as u64);
        config.deflate = Some(fresh());
    };
    let heap = i64::try_from(mebibytes * MIB + sent + BESIDE).unwrap();
    Row::new(id, from, "")
        .config(set)
        .extensions(PARAMETERS, PARAMETERS)
        .delivered(&[Delivery::Whole, Delivery::Chunks(1500)])
        .masked_once()
        .heap_within(heap)
}

fn too_long(mebibytes: usize) -> Excess {
    Excess::Message { limit: (mebibytes * MIB) as u64 }
}

fn rows() -> Vec<Row> {
    let gibibyte = frame(0xc2, &bomb(1024));
    // Each MiB is a little more than a KiB of payload: the first that is too much begins and ends within two of them.
    let inside = 4 * 1024;
    let fragments = |mebibytes: usize| {
        let payload = bomb(mebibytes);
        let row = limited("D14", "CVE-2026-27571, in fragments of 100 bytes", 1, payload.len())
            .then(Part::Frame(frame(0x42, b""), 1));
        payload.chunks(100).fold(row, |row, piece| row.then(Part::Frame(frame(0x00, piece), 1)))
    };
    vec![
        limited("D13", "CVE-2026-1526, CVE-2026-39804, CVE-2016-10544", 1, gibibyte.len())
            .then(Part::Frame(gibibyte.clone(), 1))
            .fails(inside, too_long(1)),
        limited("D13", "the same with the default limit", 16, gibibyte.len())
            .then(Part::Frame(gibibyte, 1))
            .delivered(&[Delivery::Chunks(1500)])
            .fails(32 * 1024, too_long(16)),
        fragments(4).fails(102, too_long(1)),
        limited("D15", "CVE-2026-85024 (undici)", 1, 4096)
            .then(Part::Frame(frame(0xc2, &[&*bomb(2), b"\x07"].concat()), 1))
            .fails(inside, too_long(1)),
        limited("D15", "as text that is none", 1, 4096)
            .then(Part::Frame(frame(0xc1, &[&*bomb(2), b"\x07\xff\xff"].concat()), 1))
            .fails(inside, too_long(1)),
    ]
}

/// D14: of many messages that an application takes slowly, one is held.
async fn messages_just_under_the_limit(ran: &mut Ran) {
    const MESSAGES: u64 = 24;
    let message = Part::Frame(frame(0xc2, &bomb(1)), MESSAGES);
    for role in [Role::Server, Role::Client] {
        let script = Script::default().then(message.clone());
        let peer = Peer::new(script.source(Keys::for_role(role)[0], Delivery::Whole), After::EndOnClose);
        let mut config = super::config(fresh());
        config.limits.max_message = Some(MIB as u64);
        let mut ws = peer.open(role, config, &[PARAMETERS]).await.unwrap();
        let meter = Meter::start();
        for number in 0..MESSAGES {
            let received = ws.next().await.unwrap().unwrap();
            assert_eq!(received.len(), MIB, "message {number}");
            // A slow application: nothing is inflated ahead of it.
            crate::scripted::settle().await;
            let bound = i64::try_from(MIB + BESIDE).unwrap();
            assert!(meter.peak() <= bound, "{role:?}, message {number}: {} bytes of heap", meter.peak());
        }
    }
    ran.id("D14");
}
