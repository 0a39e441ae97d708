//! Hostile input, table 2.10: transports that fail while we send.

use std::{io, pin::Pin, task::Poll, time::Duration};

use futures_util::Sink;
use tokio_test::task;
use wireline::{
    Cause, Config, Error, Message, Role, WebSocket,
    proto::{Awaited, Misuse, Opcode},
};

use crate::support::{
    alloc::uncounted,
    peer::{After, Flush, Peer, Writes},
    row::{self, elapsed, poll_once},
    script::{Delivery, Keys, Part, Script, hex},
    suite::{Ran, Suite},
};

pub(crate) static OUTBOUND: Suite = Suite::new(|ran| {
    a_peer_that_never_reads_costs_at_most_the_queue(ran);
    a_write_of_nothing_is_the_end(ran);
    short_writes_leave_the_stream_intact(ran);
    a_flush_that_never_ends_meets_the_write_deadline(ran);
    nothing_follows_a_torn_frame(ran);
    a_transport_that_claims_too_much_is_given_up(ran);
});

#[test]
fn outbound() {
    OUTBOUND.ids();
}

const ROLES: [Role; 2] = [Role::Server, Role::Client];

fn open(role: Role, config: Config) -> (Peer, WebSocket<Peer>) {
    let peer = Peer::new(Script::default().source(Keys::for_role(role)[0], Delivery::Whole), After::Silence);
    let ws = WebSocket::after_handshake(peer.clone(), role, config).expect("it works");
    (peer, ws)
}

/// O1 (RUSTSEC-2020-0043 ws-rs). The cap holds for a caller who ignores `poll_ready` too.
fn a_peer_that_never_reads_costs_at_most_the_queue(ran: &mut Ran) {
    const CAP: usize = 1024 * 1024;
    let runtime = row::runtime();
    row::warm_up(&runtime);
    for role in ROLES {
        // Small messages are copied into the queue, large ones wait by reference or masked.
        for size in [0, 100, 5_000, 300_000] {
            let row = format!("O1 (RUSTSEC-2020-0043) as {role:?}, messages of {size} bytes");
            let mut config = Config::default();
            config.limits.max_queue = CAP;
            runtime.block_on(async {
                let (peer, mut ws) = open(role, config);
                peer.writes(Writes::Room(0));
                let payload = uncounted(|| bytes::Bytes::from(vec![7; size]));
                peer.measure();
                let mut taken = 0_usize;
                let error = loop {
                    match Sink::<Message>::start_send(Pin::new(&mut ws), payload.clone().into()) {
                        Ok(()) => taken += 1,
                        Err(error) => break error,
                    }
                    assert!(taken <= CAP, "{row}: no end");
                };
                assert!(matches!(error, Error::Caller(Misuse::QueueFull)), "{row}: {error:?}");
                let least = size + 2;
                assert!((taken - 1) * least < CAP, "{row}: {taken} messages were taken");
                // Growing by doubling, the queue's room is at most twice what it holds.
                let bound = i64::try_from(2 * (CAP + size) + 64 * 1024).expect("small");
                assert!(peer.state().peak() <= bound, "{row}: {} bytes of heap", peer.state().peak());
                // What waits politely is never refused, and nothing is lost.
                assert!(poll_once(ws.send(payload.clone())).await.is_pending(), "{row}");
                peer.writes(Writes::All);
                ws.flush().await.expect(&row);
                let frames = peer.frames(role).expect(&row);
                assert_eq!(frames.len(), taken, "{row}");
                assert!(frames.iter().all(|frame| frame.payload == payload), "{row}");
                uncounted(|| drop(payload));
            });
        }
    }
    ran.id("O1");
}

/// O2 (h2 0.4.16: a busy loop when a write takes 0 bytes).
fn a_write_of_nothing_is_the_end(ran: &mut Ran) {
    let runtime = row::runtime();
    for role in ROLES {
        for taken in [0, 1, 5] {
            let row = format!("O2 (h2 0.4.16) as {role:?} after {taken} bytes");
            runtime.block_on(async {
                let (peer, mut ws) = open(role, Config::default());
                peer.writes(Writes::Zero(taken));
                let sent = ws.send("hello").await;
                let kind = |error: &io::Error| error.kind() == io::ErrorKind::WriteZero;
                assert!(matches!(&sent, Err(Error::Network(error)) if kind(error)), "{row}: {sent:?}");
                let calls = peer.state().write_calls;
                assert!(calls <= 3, "{row}: {calls} writes");
                let (end, _) = elapsed(ws.next()).await;
                assert!(matches!(end, Some(Err(Error::Network(_)))), "{row}: {end:?}");
                assert!(ws.next().await.is_none(), "{row}");
                assert_eq!(peer.state().write_calls, calls, "{row}: written to after the end");
                assert_eq!(peer.state().wire.len(), taken, "{row}");
            });
        }
    }
    ran.id("O2");
}

/// O3: whatever the pieces, whatever waits in between.
fn short_writes_leave_the_stream_intact(ran: &mut Ran) {
    let runtime = row::runtime();
    let messages =
        || [Message::from("small"), Message::from(vec![1; 9_000]), Message::from(""), Message::from(vec![2; 300])];
    for role in ROLES {
        for vectored in [Peer::vectored, std::convert::identity] {
            let write = async |writes: &[Writes]| {
                let (peer, mut ws) = open(role, Config::default());
                let peer = vectored(peer);
                for message in messages() {
                    ws.feed(message).await.expect("O3");
                }
                for part in writes {
                    peer.writes(*part);
                    let _ = poll_once(ws.flush()).await;
                    // A Ping on the way: its Pong goes between two frames.
                    peer.send(Part::Frame(hex("89 01 21"), 1));
                    assert!(poll_once(ws.next()).await.is_pending(), "O3");
                }
                peer.writes(Writes::All);
                ws.flush().await.expect("O3");
                let frames = peer.frames(role).unwrap_or_else(|error| panic!("O3 as {role:?}, {writes:?}: {error}"));
                let (pongs, data): (Vec<_>, Vec<_>) =
                    frames.into_iter().partition(|frame| frame.opcode == Opcode::Pong);
                assert!(pongs.iter().all(|pong| &pong.payload[..] == b"!"), "O3 as {role:?}, {writes:?}");
                let sent: Vec<_> = data.iter().map(|frame| frame.payload.clone()).collect();
                let expected: Vec<_> = messages().map(Message::into_bytes).into();
                assert!(sent == expected, "O3 as {role:?}, {writes:?}: the messages changed");
                peer.state().wire.len()
            };
            runtime.block_on(async {
                let len = write(&[]).await;
                for offset in 1..len {
                    write(&[Writes::Room(offset)]).await;
                }
                for size in [1, 2, 3, 7, 1499] {
                    write(&[Writes::Short(size)]).await;
                }
                for (first, second) in [(1, 1), (3, 4), (8, 9_000), (9_010, 6)] {
                    write(&[Writes::Room(first), Writes::Room(second), Writes::Short(5)]).await;
                }
            });
        }
    }
    ran.id("O3");
}

/// O4 (CVE-2026-79677 Tomcat).
fn a_flush_that_never_ends_meets_the_write_deadline(ran: &mut Ran) {
    let runtime = row::runtime();
    for role in ROLES {
        let row = format!("O4 (CVE-2026-79677) as {role:?}");
        runtime.block_on(async {
            let (peer, mut ws) = open(role, Config::default());
            peer.flush(Flush::Never);
            let mut send = task::spawn(ws.send("hello"));
            assert!(send.poll().is_pending(), "{row}");
            let calls = peer.state().write_calls;
            for _ in 0..10 {
                tokio::time::advance(Duration::from_secs(1)).await;
                assert!(!send.is_woken(), "{row}: woken and nothing has happened");
            }
            drop(send);
            assert_eq!(peer.state().write_calls, calls, "{row}");
            let (flushed, time) = elapsed(ws.flush()).await;
            assert!(matches!(flushed, Err(Error::Timeout(Awaited::Write))), "{row}: {flushed:?}");
            assert_eq!(time, Duration::from_secs(20), "{row}: the deadline began with the first wait");
            let (end, time) = elapsed(ws.next()).await;
            assert!(matches!(end, Some(Err(Error::Timeout(Awaited::Write)))), "{row}: {end:?}");
            assert_eq!(time, Duration::ZERO, "{row}");
            assert_eq!(ws.ending().map(wireline::Ending::cause), Some(Cause::Timeout(Awaited::Write)), "{row}");
            // What was not flushed is lost, and that changes nothing any more.
            assert!(matches!(poll_once(ws.flush()).await, Poll::Ready(Err(_))), "{row}: flushing after the end");
            assert!(ws.next().await.is_none(), "{row}: an item after the end");
        });
        // The same for a reader, who has nothing to send but an answer.
        runtime.block_on(async {
            // A keepalive Ping would be written, which starts the deadline anew.
            let mut config = Config::default();
            config.timings.ping_after = None;
            let (peer, mut ws) = open(role, config);
            peer.flush(Flush::Never);
            peer.send(Part::Frame(hex("89 00"), 1));
            let (end, time) = elapsed(ws.next()).await;
            assert!(matches!(end, Some(Err(Error::Timeout(Awaited::Write)))), "{row}: {end:?}");
            assert_eq!(time, Duration::from_secs(30), "{row}");
        });
    }
    ran.id("O4");
}

/// O5.
fn nothing_follows_a_torn_frame(ran: &mut Ran) {
    let runtime = row::runtime();
    for role in ROLES {
        let whole = if role == Role::Client { 6 + 20 } else { 2 + 20 };
        for torn in 0..whole {
            let row = format!("O5 as {role:?}, torn after {torn} bytes");
            runtime.block_on(async {
                let (peer, mut ws) = open(role, Config::default());
                peer.writes(Writes::Fail(torn));
                let sent = ws.send("twenty bytes of text").await;
                assert!(matches!(sent, Err(Error::Network(_))), "{row}: {sent:?}");
                peer.send(Part::Frame(hex("89 00"), 1));
                for _ in 0..3 {
                    let sent = ws.send("more").await;
                    assert!(matches!(sent, Err(Error::Network(_))), "{row}: {sent:?}");
                    assert!(ws.ping("more").await.is_err(), "{row}");
                }
                let end = ws.next().await;
                assert!(matches!(end, Some(Err(Error::Network(_)))), "{row}: {end:?}");
                assert!(ws.next().await.is_none(), "{row}");
                assert_eq!(ws.ending().map(wireline::Ending::code), Some(1006), "{row}");
                let state = peer.state();
                assert_eq!((state.wire.len(), state.late_writes), (torn, 0), "{row}: bytes after the torn frame");
            });
        }
    }
    ran.id("O5");
}

/// O6 (CVE-2026-107928 curl).
fn a_transport_that_claims_too_much_is_given_up(ran: &mut Ran) {
    let runtime = row::runtime();
    for role in ROLES {
        for vectored in [Peer::vectored, std::convert::identity] {
            for size in [5, 20_000] {
                let row = format!("O6 (CVE-2026-107928) as {role:?}, {size} bytes");
                runtime.block_on(async {
                    let (peer, mut ws) = open(role, Config::default());
                    let peer = vectored(peer);
                    peer.writes(Writes::Liar(0));
                    ws.feed("before").await.expect(&row);
                    ws.feed(vec![7; size]).await.expect(&row);
                    let sent = ws.flush().await;
                    assert!(matches!(sent, Err(Error::Network(_))), "{row}: {sent:?}");
                    let written = peer.state().wire.len();
                    let end = ws.next().await;
                    assert!(matches!(end, Some(Err(Error::Network(_)))), "{row}: {end:?}");
                    assert!(ws.next().await.is_none(), "{row}");
                    assert_eq!(peer.state().wire.len(), written, "{row}: written to after the end");
                });
            }
        }
    }
    ran.id("O6");
}
