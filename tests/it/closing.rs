//! The closing handshake and every other way in which a connection ends (RFC 6455 section 7, faults 4.16 to 4.19).

pub(crate) mod endings;
pub(crate) mod over_tcp;

use std::{future::poll_fn, io, pin::Pin, time::Duration};

use futures_util::SinkExt;
use tokio::io::{AsyncReadExt, duplex};
use tokio_test::{assert_pending, assert_ready, task};
use wireline::{
    Cause, CloseCode, CloseRecord, Config, Error, Initiator, Message, Role, WebSocket,
    proto::{Awaited, Frame, Misuse, Opcode, Violation},
};

use self::endings::{Final, over_for_ever};
use crate::{
    scripted::{
        Control, Gate, Op, ROLES, Scripted, block_on, close, close_frame, encode, frames, now, open, ping, polled,
        quiet, seconds, text,
    },
    support::suite::Suite,
};

/// The order in which both sides of the transport end.
fn ends(control: &Control) -> Vec<Op> {
    let mut ends: Vec<Op> = control.log();
    ends.retain(|op| matches!(op, Op::End | Op::Shutdown));
    ends.dedup();
    ends
}

/// RFC 6455 section 7.1.1: the server ends TCP first, the client waits for that.
#[test]
fn the_server_ends_the_transport_first() {
    ORDER.ids();
}

pub(crate) static ORDER: Suite = Suite::new(|ran| {
    block_on(async {
        for ours in [false, true] {
            for role in ROLES {
                let case = format!("F-14, {role:?}, we begin: {ours}");
                let (mut ws, control) = open(role, quiet());
                if ours {
                    assert!(polled(1, ws.close(CloseCode::NORMAL, "")).await.is_none(), "{case}");
                }
                control.arrive(encode(role, [close(1000, "")]));
                assert!(polled(3, ws.next()).await.is_none(), "{case}: the peer has not ended the transport");
                assert_eq!(frames(role, &control.output()), [close(1000, "")], "{case}");
                let ours_first = if role == Role::Server { vec![Op::Shutdown] } else { vec![] };
                assert_eq!(ends(&control), ours_first, "{case}");
                control.end();
                assert!(ws.next().await.is_none(), "{case}");
                let both = if role == Role::Server { [Op::Shutdown, Op::End] } else { [Op::End, Op::Shutdown] };
                assert_eq!(ends(&control), both, "{case}");
                assert!(ws.ending().unwrap().is_clean(), "{case}");
            }
        }
    });
    ran.id("F-14");
});

/// After a fault either role ends its side without waiting.
#[test]
fn a_failed_connection_is_ended_by_either_role() {
    block_on(async {
        for role in ROLES {
            let (mut ws, control) = open(role, quiet());
            control.arrive([0xf1, 0x80]);
            assert!(polled(3, ws.next()).await.is_none(), "{role:?}: what the peer still sends is drained");
            assert_eq!(ends(&control), [Op::Shutdown], "{role:?}");
            assert_eq!(frames(role, &control.output()), [close(1002, "")], "{role:?}");
            control.end();
            assert!(matches!(ws.next().await, Some(Err(Error::Peer(Violation::ReservedBit)))), "{role:?}");
        }
    });
}

#[test]
fn the_last_item_comes_only_after_the_transport_is_shut_down() {
    block_on(async {
        for role in ROLES {
            for fault in [false, true] {
                let case = format!("{role:?}, fault: {fault}");
                let (mut ws, control) = open(role, quiet());
                control.shutting_down(Gate::Shut);
                control.arrive(if fault { vec![0xf1, 0x80] } else { encode(role, [close(1000, "")]) });
                control.end();
                let mut next = task::spawn(ws.next());
                assert_pending!(next.poll(), "{case}");
                assert_pending!(next.poll(), "{case}");
                control.shutting_down(Gate::Open);
                assert!(next.is_woken(), "{case}");
                assert_eq!(assert_ready!(next.poll(), "{case}").is_some(), fault, "{case}");
                drop(next);
                assert_eq!(control.count(|op| *op == Op::Shutdown), 1, "{case}");
            }
        }
    });
}

#[test]
fn the_last_item_comes_only_after_our_close_is_flushed() {
    block_on(async {
        for role in ROLES {
            let (mut ws, control) = open(role, quiet());
            control.room(1);
            control.arrive(encode(role, [close(1000, "")]));
            control.end();
            let mut next = task::spawn(ws.next());
            assert_pending!(next.poll());
            control.room(usize::MAX);
            control.flushing(Gate::Shut);
            assert_pending!(next.poll());
            assert_eq!(ends(&control), [], "{role:?}");
            control.flushing(Gate::Open);
            assert!(assert_ready!(next.poll()).is_none(), "{role:?}");
            drop(next);
            assert!(ws.ending().unwrap().is_clean(), "{role:?}");
        }
    });
}

/// However a connection ends by a deadline, our side of the transport is ended too.
#[test]
fn a_server_that_never_ends_the_transport_is_left_at_the_close_deadline() {
    block_on(async {
        for role in ROLES {
            let (mut ws, control) = open(role, quiet());
            let start = now();
            control.arrive(encode(role, [close(1000, "")]));
            assert!(ws.next().await.is_none(), "{role:?}: both Close frames have passed");
            assert_eq!(seconds(start), 10.0, "{role:?}");
            assert!(ws.ending().unwrap().is_clean(), "{role:?}");
            assert_eq!(ends(&control), [Op::Shutdown], "{role:?}");
        }
    });
}

#[test]
fn a_peer_that_never_answers_our_close_is_cut_at_the_close_deadline() {
    for role in ROLES {
        for deadline in [10, 3, 100] {
            let case = format!("{role:?}, {deadline} s");
            block_on(async {
                let mut config = Config::default();
                config.timings.close = Duration::from_secs(deadline);
                let (here, mut there) = duplex(1024);
                let mut ws = WebSocket::after_handshake(here, role, config).unwrap();
                let start = now();
                let closed = ws.close(CloseCode::NORMAL, "bye").await;
                assert!(matches!(closed, Err(Error::Timeout(Awaited::Close))), "{case}: {closed:?}");
                assert_eq!(seconds(start), Duration::from_secs(deadline).as_secs_f64(), "{case}");
                let ending = ws.ending().unwrap();
                assert_eq!(ending.cause(), Cause::Timeout(Awaited::Close), "{case}");
                assert_eq!((ending.code(), ending.initiator()), (1006, Initiator::Local), "{case}");
                assert_eq!(*ending.sent(), CloseRecord::Frame(close_frame(1000, "bye")), "{case}");
                over_for_ever(&mut ws, &case).await;
                let mut wire = Vec::new();
                there.read_to_end(&mut wire).await.unwrap();
                assert_eq!(frames(role, &wire), [close(1000, "bye")], "{case}: and then the end");
            });
        }
    }
}

/// K11, CVE-2024-23672 (Tomcat): messages do not put the close deadline off.
#[test]
fn a_peer_that_floods_instead_of_answering_our_close_is_cut_at_the_close_deadline() {
    for role in ROLES {
        let flood = encode(role, (0..400).map(|_| text("flood")));
        let large = encode(role, [Frame::new(Opcode::Binary, vec![1; 70_000])]);
        for (name, flood) in [("small", flood), ("large", large)] {
            block_on(async {
                let (mut ws, control) = open(role, Config::default());
                control.arrive_for_ever(flood);
                let start = now();
                let clock = async {
                    for _ in 0..40 {
                        tokio::time::advance(Duration::from_millis(500)).await;
                    }
                };
                tokio::select! {
                    biased;
                    closed = ws.close(CloseCode::NORMAL, "") => {
                        assert!(matches!(closed, Err(Error::Timeout(Awaited::Close))), "{role:?} {name}: {closed:?}");
                    }
                    () = clock => panic!("K11, {role:?} {name}: not cut after {} s", seconds(start)),
                }
                assert!((10.0..=10.6).contains(&seconds(start)), "{role:?} {name}: {}", seconds(start));
                assert_eq!(frames(role, &control.output()), [close(1000, "")], "{role:?} {name}");
            });
        }
    }
}

#[test]
fn draining_is_bounded() {
    block_on(async {
        for role in ROLES {
            for fault in [false, true] {
                let case = format!("{role:?}, fault: {fault}");
                let mut config = quiet();
                config.limits.max_drain = 200_000;
                let (mut ws, control) = open(role, config);
                control.arrive(if fault { vec![0xf1, 0x80] } else { encode(role, [close(1000, "")]) });
                control.arrive(vec![0; 10_000_000]);
                assert_eq!(ws.next().await.is_some(), fault, "{case}");
                assert_eq!(ends(&control), [Op::Shutdown], "{case}");
                let unread = control.unread();
                assert!((9_600_000..=9_800_000).contains(&unread), "{case}: {unread} bytes unread");
            }
        }
    });
}

/// Fault 4.17: what we have queued still reaches a peer that has ended its side.
#[test]
fn a_half_closed_peer_gets_what_was_queued() {
    block_on(async {
        for role in ROLES {
            let (mut ws, control) = open(role, quiet());
            control.room(10);
            for message in ["one", "two", "three"] {
                ws.feed(message).await.unwrap();
            }
            control.end();
            let mut next = task::spawn(ws.next());
            assert_pending!(next.poll());
            control.room(usize::MAX);
            assert!(next.is_woken(), "{role:?}");
            let last = assert_ready!(next.poll());
            assert_eq!(Final::of(last), Final::Lost(io::ErrorKind::UnexpectedEof), "{role:?}");
            drop(next);
            assert_eq!(ws.ending().unwrap().code(), 1006, "{role:?}");
            assert_eq!(frames(role, &control.output()), ["one", "two", "three"].map(text), "{role:?}");
        }
    });
}

/// The same with a peer that does not read any more: the close deadline ends it.
#[test]
fn a_half_closed_peer_that_does_not_read_is_cut_at_the_close_deadline() {
    block_on(async {
        for role in ROLES {
            let (mut ws, control) = open(role, quiet());
            control.room(3);
            ws.feed("one").await.unwrap();
            control.end();
            let start = now();
            assert_eq!(Final::of(ws.next().await), Final::Lost(io::ErrorKind::UnexpectedEof), "{role:?}");
            assert_eq!(seconds(start), 10.0, "{role:?}");
        }
    });
}

#[test]
fn send_then_close_delivers_what_was_sent() {
    block_on(async {
        for role in ROLES {
            let (mut ws, control) = open(role, quiet());
            control.room(0);
            ws.feed("one").await.unwrap();
            assert!(polled(1, ws.send("two")).await.is_none(), "{role:?}");
            assert!(polled(1, ws.ping("dropped by Close")).await.is_none(), "{role:?}");
            assert!(polled(1, ws.close(CloseCode::NORMAL, "x")).await.is_none(), "{role:?}");
            control.room(usize::MAX);
            control.arrive(encode(role, [close(1000, "")]));
            control.end();
            assert!(ws.next().await.is_none(), "{role:?}");
            let wire = frames(role, &control.output());
            let data: Vec<_> = wire.iter().filter(|frame| frame.opcode != Opcode::Ping).cloned().collect();
            assert_eq!(data, [text("one"), text("two"), close(1000, "x")], "{role:?}");
            assert_eq!(wire.last(), Some(&close(1000, "x")), "{role:?}: Close is the last frame");
        }
    });
}

#[test]
fn closing_twice_sends_one_close() {
    block_on(async {
        for role in ROLES {
            let (mut ws, control) = open(role, quiet());
            assert!(polled(2, ws.close(CloseCode::GOING_AWAY, "first")).await.is_none(), "{role:?}");
            assert!(polled(2, ws.close(CloseCode::NORMAL, "second")).await.is_none(), "{role:?}");
            assert!(polled(2, SinkExt::<Message>::close(&mut ws)).await.is_none(), "{role:?}");
            control.arrive(encode(role, [close(1001, "")]));
            control.end();
            ws.close(CloseCode::NORMAL, "third").await.unwrap();
            assert_eq!(frames(role, &control.output()), [close(1001, "first")], "{role:?}");
            assert_eq!(*ws.ending().unwrap().sent(), CloseRecord::Frame(close_frame(1001, "first")), "{role:?}");
        }
    });
}

/// Whoever begins to close and goes on with `next` receives everything up to the peer's Close.
#[test]
fn a_close_that_is_polled_once_takes_no_message() {
    block_on(async {
        for role in ROLES {
            for sink in [false, true] {
                let case = format!("{role:?}, by the sink: {sink}");
                let (mut ws, control) = open(role, quiet());
                control.arrive(encode(role, [text("one"), text("two"), close(1000, "")]));
                control.end();
                let closed = match sink {
                    false => polled(1, ws.close(CloseCode::NORMAL, "")).await,
                    true => polled(1, SinkExt::<Message>::close(&mut ws)).await,
                };
                assert!(closed.is_none(), "{case}: it only began");
                assert_eq!(frames(role, &control.output()), [close(1000, "")], "{case}");
                for expected in ["one", "two"] {
                    assert_eq!(ws.next().await.unwrap().unwrap(), Message::from(expected), "{case}");
                }
                assert!(ws.next().await.is_none(), "{case}");
                assert!(ws.ending().unwrap().is_clean(), "{case}");
            }
        }
    });
}

#[test]
fn the_sink_closes_with_1000() {
    block_on(async {
        for role in ROLES {
            let (mut ws, control) = open(role, quiet());
            let mut sink = task::spawn(poll_fn(|cx| futures_util::Sink::<Message>::poll_close(Pin::new(&mut ws), cx)));
            assert_pending!(sink.poll());
            control.arrive(encode(role, [text("dropped"), close(1000, "")]));
            control.end();
            assert!(sink.is_woken(), "{role:?}");
            assert_ready!(sink.poll()).unwrap();
            drop(sink);
            assert!(ws.ending().unwrap().is_clean(), "{role:?}");
            assert_eq!(frames(role, &control.output()), [close(1000, "")], "{role:?}");
        }
    });
}

/// Fault 4.18.
#[test]
fn the_peer_closes_while_a_send_is_blocked() {
    block_on(async {
        for role in ROLES {
            let (mut ws, control) = open(role, quiet());
            control.room(5);
            assert!(polled(1, ws.send("blocked in its middle")).await.is_none(), "{role:?}");
            control.arrive(encode(role, [close(1001, "enough")]));
            assert!(polled(2, ws.next()).await.is_none(), "{role:?}");
            assert!(ws.send("too late").await.is_err(), "{role:?}");
            control.room(usize::MAX);
            control.end();
            assert!(ws.next().await.is_none(), "{role:?}");
            let wire = frames(role, &control.output());
            assert_eq!(wire, [text("blocked in its middle"), close(1001, "")], "{role:?}: no frame is torn");
            assert!(ws.ending().unwrap().is_clean(), "{role:?}");
        }
    });
}

/// The peer has closed, and then does not take our answer.
#[test]
fn a_close_that_cannot_be_answered_ends_at_the_close_deadline() {
    block_on(async {
        for role in ROLES {
            let (mut ws, control) = open(role, quiet());
            control.room(0);
            control.arrive(encode(role, [close(1001, "deaf")]));
            let start = now();
            assert!(ws.next().await.is_none(), "{role:?}");
            assert_eq!(seconds(start), 10.0, "{role:?}");
            let ending = ws.ending().unwrap();
            assert_eq!((ending.cause(), ending.code()), (Cause::Lost, 1001), "{role:?}");
            assert_eq!(*ending.sent(), CloseRecord::None, "{role:?}: it never went out");
        }
    });
}

/// After a write error reading goes on: a Close frame that is there already is reported.
#[test]
fn a_close_that_is_there_is_reported_after_a_write_error() {
    block_on(async {
        for role in ROLES {
            let (mut ws, control) = open(role, quiet());
            control.arrive(encode(role, [text("last words"), close(1008, "policy")]));
            control.end();
            control.fail_writes(io::ErrorKind::ConnectionReset);
            let sent = ws.send("x").await;
            assert!(
                matches!(&sent, Err(Error::Network(error)) if error.kind() == io::ErrorKind::ConnectionReset),
                "{sent:?}"
            );
            assert!(matches!(ws.send("y").await, Err(Error::Network(_))), "{role:?}");
            assert_eq!(ws.next().await.unwrap().unwrap(), Message::from("last words"), "{role:?}");
            assert!(ws.next().await.is_none(), "{role:?}: the peer has said why");
            let ending = ws.ending().unwrap();
            assert_eq!((ending.code(), ending.reason()), (1008, "policy"), "{role:?}");
            assert_eq!((ending.cause(), ending.sent()), (Cause::Lost, &CloseRecord::None), "{role:?}");
            over_for_ever(&mut ws, "after a write error").await;
        }
    });
}

/// The same with the Close frame read first and the write error behind it.
#[test]
fn a_write_error_behind_the_peers_close_is_no_news() {
    block_on(async {
        for role in ROLES {
            for flush_first in [false, true] {
                let case = format!("{role:?}, flushed first: {flush_first}");
                let (mut ws, control) = open(role, quiet());
                control.room(0);
                control.arrive(encode(role, [close(1008, "policy")]));
                assert!(polled(1, ws.next()).await.is_none(), "{case}");
                control.fail_writes(io::ErrorKind::BrokenPipe);
                control.fail_reads(io::ErrorKind::ConnectionReset);
                if flush_first {
                    assert!(ws.flush().await.is_err(), "{case}");
                }
                let last = ws.next().await;
                assert!(last.is_none(), "{case}: {last:?}");
                let ending = ws.ending().unwrap();
                assert_eq!((ending.code(), ending.cause()), (1008, Cause::Lost), "{case}");
            }
        }
    });
}

#[test]
fn a_write_error_with_nothing_behind_it_ends_at_the_close_deadline() {
    block_on(async {
        for role in ROLES {
            let (mut ws, control) = open(role, quiet());
            control.fail_writes(io::ErrorKind::BrokenPipe);
            let start = now();
            assert!(ws.send("x").await.is_err(), "{role:?}");
            let last = ws.next().await;
            assert_eq!(Final::of(last), Final::Lost(io::ErrorKind::BrokenPipe), "{role:?}");
            assert_eq!(seconds(start), 10.0, "{role:?}");
            assert_eq!(ws.ending().unwrap().code(), 1006, "{role:?}");
        }
    });
}

#[test]
fn dropping_an_open_connection_cuts_it() {
    block_on(async {
        for role in ROLES {
            let (mut ws, control) = open(role, quiet());
            ws.feed("never flushed").await.unwrap();
            drop(ws);
            assert_eq!(control.log(), [Op::Drop], "{role:?}: nothing is written, no Close either");
        }
    });
}

#[test]
fn a_close_that_cannot_be_sent_changes_nothing() {
    block_on(async {
        for role in ROLES {
            let (mut ws, control) = open(role, quiet());
            let closed = ws.close(CloseCode::NORMAL, &"x".repeat(124)).await;
            assert!(matches!(closed, Err(Error::Caller(Misuse::ReasonTooLong(124)))), "K13, {role:?}");
            let pinged = ws.ping(vec![0; 126]).await;
            assert!(matches!(pinged, Err(Error::Caller(Misuse::ControlTooLong(126)))), "K13, {role:?}");
            assert_eq!(control.log(), [], "K13, {role:?}");
            ws.send("still open").await.unwrap();
            assert_eq!(frames(role, &control.output()), [text("still open")], "K13, {role:?}");
        }
    });
}

/// No Pong goes out behind our Close, not even for a Ping that came before it.
#[test]
fn close_is_the_last_frame() {
    block_on(async {
        for role in ROLES {
            let (mut ws, control) = open(role, quiet());
            control.room(0);
            control.arrive(encode(role, [ping("a")]));
            assert!(polled(1, ws.next()).await.is_none());
            assert!(polled(1, ws.close(CloseCode::NORMAL, "")).await.is_none());
            control.arrive(encode(role, [ping("b"), ping("c")]));
            assert!(polled(1, ws.next()).await.is_none());
            control.room(usize::MAX);
            control.arrive(encode(role, [ping("d"), close(1000, "")]));
            control.end();
            assert!(ws.next().await.is_none(), "{role:?}");
            let wire = frames(role, &control.output());
            assert_eq!(wire.last(), Some(&close(1000, "")), "F-12, {role:?}: {wire:?}");
            assert!(wire.len() <= 2, "F-12, {role:?}: {wire:?}");
        }
    });
}

/// Two of our own ends close at once, over TCP and over a transport of one byte.
#[test]
fn both_ends_close_at_once() {
    block_on(async {
        for room in [1, 2, 1024] {
            let (here, there) = duplex(room);
            let mut client = WebSocket::after_handshake(here, Role::Client, quiet()).unwrap();
            let mut server = WebSocket::after_handshake(there, Role::Server, quiet()).unwrap();
            let mine = CloseCode::try_from(4001).unwrap();
            let theirs = CloseCode::try_from(4002).unwrap();
            let (one, two) = tokio::join!(client.close(mine, "client"), server.close(theirs, "server"));
            one.unwrap();
            two.unwrap();
            let ending = client.ending().unwrap();
            assert_eq!((ending.is_clean(), ending.code(), ending.reason()), (true, 4002, "server"));
            let ending = server.ending().unwrap();
            assert_eq!((ending.is_clean(), ending.code(), ending.reason()), (true, 4001, "client"));
        }
    });
}

#[test]
fn the_transport_stays_with_the_connection_until_it_is_dropped() {
    block_on(async {
        let [(client, one), (server, two)] = Scripted::pair();
        let mut client = WebSocket::after_handshake(client, Role::Client, quiet()).unwrap();
        let mut server = WebSocket::after_handshake(server, Role::Server, quiet()).unwrap();
        let (closed, next) = tokio::join!(client.close(CloseCode::NORMAL, ""), server.next());
        closed.unwrap();
        assert!(next.is_none());
        assert_eq!((ends(&one), ends(&two)), (vec![Op::End, Op::Shutdown], vec![Op::Shutdown, Op::End]));
    });
}
