//! Keepalive and deadlines, under the paused clock: what they cut, when exactly, and what they must not cut.

use std::{
    future::{Future, poll_fn},
    io,
    pin::{Pin, pin},
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf, duplex},
    task::{consume_budget, yield_now},
    time::advance,
};
use tokio_test::{assert_pending, task};
use wireline::{
    Cause, CloseCode, Config, Error, Event, Message, Role, WebSocket,
    proto::{Awaited, Frame, Opcode},
};

use crate::scripted::{
    Gate, Op, ROLES, block_on, close, decode, encode, frames, now, open, ping, polled, pong, quiet, seconds, text,
};

const SECOND: Duration = Duration::from_secs(1);

fn over_duplex(role: Role, config: Config) -> (WebSocket<DuplexStream>, DuplexStream) {
    let (here, there) = duplex(64 * 1024);
    (WebSocket::after_handshake(here, role, config).unwrap(), there)
}

fn timed_out<T>(result: &Result<T, Error>) -> Option<Awaited> {
    match result {
        Err(Error::Timeout(awaited)) => Some(*awaited),
        _ => None,
    }
}

#[test]
fn a_silent_peer_is_pinged_after_20_s_and_cut_after_40() {
    for role in ROLES {
        block_on(async {
            let (mut ws, mut there) = over_duplex(role, Config::default());
            let start = now();
            let peer = async {
                let mut wire = vec![0; 64];
                let len = there.read(&mut wire).await.unwrap();
                assert_eq!(frames(role, &wire[..len]), [Frame::new(Opcode::Ping, "")], "{role:?}");
                assert_eq!(seconds(start), 20.0, "{role:?}");
                let mut rest = Vec::new();
                there.read_to_end(&mut rest).await.unwrap();
                assert_eq!(frames(role, &rest), [close(1011, "")], "{role:?}");
            };
            let next = async {
                let last = ws.next().await.unwrap();
                assert_eq!(timed_out(&last), Some(Awaited::Pong), "{role:?}: {last:?}");
                assert_eq!(seconds(start), 40.0, "{role:?}");
                let ending = ws.ending().unwrap();
                assert_eq!((ending.cause(), ending.code()), (Cause::Timeout(Awaited::Pong), 1006), "{role:?}");
                assert!(ws.next().await.is_none(), "{role:?}: once");
                drop(ws);
            };
            tokio::join!(next, peer);
        });
    }
}

/// The timer wakes its task once. If that task was busy elsewhere, and heard from the peer before, the timer is looked at all
/// the same when the connection is polled next.
#[test]
fn a_timer_that_fired_while_nobody_polled_is_not_forgotten() {
    for role in ROLES {
        block_on(async {
            let (mut ws, mut there) = over_duplex(role, Config::default());
            assert!(tokio::time::timeout(10 * SECOND, ws.next()).await.is_err(), "{role:?}: armed for 20 s");
            there.write_all(&encode(role, [text("hi")])).await.unwrap();
            assert_eq!(ws.next().await.transpose().unwrap(), Some(Message::from("hi")), "{role:?}");
            tokio::time::sleep(50 * SECOND).await;
            assert!(tokio::time::timeout(SECOND, ws.next()).await.is_err(), "{role:?}");
            let mut wire = vec![0; 64];
            let len = tokio::time::timeout(SECOND, there.read(&mut wire)).await.expect("a Ping").unwrap();
            assert_eq!(frames(role, &wire[..len]), [Frame::new(Opcode::Ping, "")], "{role:?}: silent for 50 s");
        });
    }
}

/// In a task that has used up tokio's budget for the poll, its timers are not set.
#[test]
fn a_timer_that_was_asked_without_budget_is_asked_again() {
    block_on(async {
        for role in ROLES {
            let (mut ws, control) = open(role, Config::default());
            let mut next = task::spawn(ws.next());
            poll_fn(|cx| {
                while pin!(consume_budget()).poll(cx).is_ready() {}
                assert_pending!(next.poll());
                Poll::Ready(())
            })
            .await;
            yield_now().await;
            assert!(next.is_woken(), "{role:?}: to ask again");
            assert_pending!(next.poll());
            assert!(!next.is_woken(), "{role:?}");
            advance(20 * SECOND).await;
            assert!(next.is_woken(), "{role:?}: by the timer");
            assert_pending!(next.poll());
            assert_eq!(frames(role, &control.output()), [Frame::new(Opcode::Ping, "")], "{role:?}");
        }
    });
}

/// The clock is not asked for each read: what has arrived counts from when there was nothing more to read. But where the
/// timer went off before that, it was too long ago to count.
#[test]
fn silence_begins_when_there_is_nothing_more_to_read() {
    for (busy, silent) in [(0, 20), (10, 20), (14, 20), (15, 0), (300, 0)] {
        for role in ROLES {
            block_on(async {
                let case = format!("{role:?}, an application busy for {busy} s");
                let (mut ws, control) = open(role, Config::default());
                assert!(polled(1, ws.next()).await.is_none(), "{case}: armed for 20 s");
                advance(5 * SECOND).await;
                control.arrive(encode(role, [text("hi")]));
                let message = polled(1, ws.next()).await.expect("at once");
                assert_eq!(message.transpose().unwrap(), Some(Message::from("hi")), "{case}");
                advance(busy * SECOND).await;
                for second in 0..=silent {
                    assert!(polled(1, ws.next()).await.is_none(), "{case}");
                    let pings = frames(role, &control.output());
                    let expected = if second == silent { vec![Frame::new(Opcode::Ping, "")] } else { Vec::new() };
                    assert_eq!(pings, expected, "{case}, after {second} s");
                    advance(SECOND).await;
                }
            });
        }
    }
}

#[test]
fn keepalive_is_as_long_as_configured() {
    block_on(async {
        for role in ROLES {
            for (ping_after, pong_within) in [(1, 1), (5, 60), (600, 2)] {
                let mut config = Config::default();
                config.timings.ping_after = Some(Duration::from_secs(ping_after));
                config.timings.pong_within = Duration::from_secs(pong_within);
                let (mut ws, _there) = over_duplex(role, config);
                let start = now();
                let last = ws.next().await.unwrap();
                assert_eq!(timed_out(&last), Some(Awaited::Pong), "{role:?}");
                let expected = Duration::from_secs(ping_after + pong_within).as_secs_f64();
                assert_eq!(seconds(start), expected, "{role:?}, {ping_after} + {pong_within}");
            }
        }
    });
}

/// Whatever arrives is a sign of life: a Pong, a Ping, a message, a byte of any of them.
#[test]
fn any_byte_counts_as_life() {
    for role in ROLES {
        let message = encode(role, [text("slowly, byte by byte")]);
        let bytes: Vec<Vec<u8>> = message.iter().map(|byte| vec![*byte]).collect();
        let lives = [
            ("a pong", vec![encode(role, [pong("")])]),
            ("an unsolicited pong", vec![encode(role, [pong("whatever")])]),
            ("a ping", vec![encode(role, [ping("x")])]),
            ("a byte", bytes),
        ];
        for (name, life) in lives {
            block_on(async {
                let (mut ws, control) = open(role, Config::default());
                let start = now();
                let peer = async {
                    // Each comes a second before the connection would be cut.
                    for bytes in &life {
                        tokio::time::sleep(39 * SECOND).await;
                        control.arrive(bytes);
                    }
                };
                let next = async {
                    loop {
                        match ws.next().await.unwrap() {
                            Ok(message) => assert_eq!(message, Message::from("slowly, byte by byte")),
                            last => return last,
                        }
                    }
                };
                let ((), last) = tokio::join!(peer, next);
                assert_eq!(timed_out(&last), Some(Awaited::Pong), "{role:?}, {name}");
                let alive = 39 * u32::try_from(life.len()).unwrap();
                assert_eq!(seconds(start), f64::from(alive + 40), "{role:?}, {name}");
                let pings = decode(role, &control.output()).0;
                let pings = pings.iter().filter(|frame| frame.opcode == Opcode::Ping).count();
                assert_eq!(pings, life.len() + 1, "{role:?}, {name}: one for each silence");
            });
        }
    }
}

/// A peer that is heard of every 19 s is never pinged, and no timer is armed anew for it: the one that was armed first
/// looks again when it fires.
#[test]
fn activity_neither_pings_nor_arms_a_timer_early() {
    for role in ROLES {
        block_on(async {
            let (mut ws, control) = open(role, Config::default());
            let mut next = task::spawn(ws.next_event());
            assert_pending!(next.poll());
            let mut wakes = 0;
            for second in 1..=190 {
                advance(SECOND).await;
                if second % 19 == 0 {
                    control.arrive(encode(role, [pong("")]));
                    assert!(next.is_woken());
                    drop(next);
                    assert!(matches!(ws.next_event().await, Some(Ok(Event::Pong(_)))), "{role:?}");
                    next = task::spawn(ws.next_event());
                    assert_pending!(next.poll());
                } else if next.is_woken() {
                    wakes += 1;
                    assert_pending!(next.poll());
                }
            }
            assert_eq!(control.writes(), 0, "{role:?}: no Ping");
            assert!(wakes <= 10, "{role:?}: {wakes} wake-ups in 190 s by a timer of 20 s");
        });
    }
}

#[test]
fn an_idle_connection_wakes_only_for_its_keepalive() {
    for role in ROLES {
        block_on(async {
            let (mut ws, control) = open(role, Config::default());
            let mut next = task::spawn(ws.next());
            assert_pending!(next.poll());
            let mut wakes = Vec::new();
            for second in 1..=210 {
                advance(SECOND).await;
                if next.is_woken() {
                    wakes.push(second);
                    assert_pending!(next.poll());
                    // The Pong comes at once.
                    control.arrive(encode(role, [pong("")]));
                    assert!(next.is_woken());
                    assert_pending!(next.poll());
                }
            }
            let pings = frames(role, &control.output()).len();
            assert!(pings >= 9 && wakes.len() <= 2 * pings, "{role:?}: {pings} pings, woken at {wakes:?}");
        });
    }
}

#[test]
fn without_keepalive_there_is_no_ping_and_no_timer() {
    block_on(async {
        for role in ROLES {
            let (mut ws, control) = open(role, quiet());
            let mut next = task::spawn(ws.next());
            assert_pending!(next.poll());
            for _ in 0..100 {
                advance(100 * SECOND).await;
                assert!(!next.is_woken(), "{role:?}");
            }
            assert_eq!(control.log(), [], "{role:?}");
        }
    });
}

/// Fault 4.21: what is in the socket already is read before any verdict.
#[test]
fn an_application_that_polls_rarely_is_not_cut_wrongly() {
    for role in ROLES {
        for (name, life) in [("pong", pong("")), ("message", text("here I am"))] {
            block_on(async {
                let case = format!("4.21, {role:?}, {name}");
                let (mut ws, control) = open(role, Config::default());
                for round in 0..5 {
                    // It stops polling before, or after, the Ping.
                    for seconds in 0..=(round * 10) {
                        assert!(polled(1, ws.next()).await.is_none(), "{case}");
                        advance(SECOND * u32::from(seconds > 0)).await;
                    }
                    control.arrive(encode(role, [life.clone()]));
                    advance(600 * SECOND).await;
                    if name == "message" {
                        let message = polled(1, ws.next()).await.expect("at once");
                        assert_eq!(message.unwrap().unwrap(), Message::from("here I am"), "{case}");
                    }
                    assert!(polled(1, ws.next()).await.is_none(), "{case}, round {round}");
                    assert_eq!(ws.ending(), None, "{case}, round {round}");
                }
                ws.send("still open").await.unwrap();
            });
        }
    }
}

/// Nobody has listened for ten minutes: the peer gets its Ping and its time to answer first.
#[test]
fn a_late_poller_still_gives_the_peer_its_time() {
    block_on(async {
        for role in ROLES {
            let (mut ws, control) = open(role, Config::default());
            advance(600 * SECOND).await;
            let start = now();
            let last = ws.next().await.unwrap();
            assert_eq!(timed_out(&last), Some(Awaited::Pong), "{role:?}");
            assert_eq!(seconds(start), 20.0, "{role:?}");
            assert_eq!(frames(role, &control.output()), [Frame::new(Opcode::Ping, ""), close(1011, "")], "{role:?}");
        }
    });
}

/// Who never reads cannot tell whether the peer is silent: keepalive does not cut it, blocked or not.
#[test]
fn an_application_that_only_writes_is_not_cut_by_keepalive() {
    for role in ROLES {
        block_on(async {
            let (mut ws, control) = open(role, Config::default());
            // The reader was there once, so that a Ping is out and its Pong unread.
            assert!(polled(1, ws.next()).await.is_none());
            advance(21 * SECOND).await;
            assert!(polled(2, ws.next()).await.is_none());
            control.room(0);
            let start = now();
            for round in 0..50 {
                let slow = async {
                    tokio::time::sleep(29 * SECOND).await;
                    control.room(1);
                    tokio::time::sleep(29 * SECOND).await;
                    control.room(100);
                };
                let (sent, ()) = tokio::join!(ws.send("slowly"), slow);
                sent.unwrap_or_else(|error| panic!("{role:?}, round {round}: {error:?}"));
                control.room(0);
            }
            assert!(seconds(start) > 2_800.0, "{role:?}");
        });
    }
}

#[test]
fn a_blocked_send_is_cut_at_the_write_deadline() {
    for role in ROLES {
        block_on(async {
            let (mut ws, control) = open(role, quiet());
            control.room(3);
            let start = now();
            let sent = ws.send("blocked in its middle").await;
            assert_eq!(timed_out(&sent), Some(Awaited::Write), "{role:?}: {sent:?}");
            assert_eq!(seconds(start), 30.0, "{role:?}");
            assert_eq!(timed_out(&ws.send("again").await), Some(Awaited::Write), "{role:?}");
            assert_eq!(timed_out(&ws.next().await.unwrap()), Some(Awaited::Write), "{role:?}");
            assert!(ws.next().await.is_none(), "{role:?}");
            let ending = ws.ending().unwrap();
            assert_eq!((ending.cause(), ending.code()), (Cause::Timeout(Awaited::Write), 1006), "{role:?}");
            assert_eq!(control.count(|op| *op == Op::Shutdown), 1, "{role:?}");
        });
    }
}

/// CVE-2026-79677 (Tomcat): the write deadline fires for whoever polls, and whether keepalive is on or off.
#[test]
fn a_blocked_queue_is_cut_at_the_write_deadline_while_reading() {
    for role in ROLES {
        block_on(async {
            let (mut ws, control) = open(role, quiet());
            control.room(0);
            ws.feed("stuck").await.unwrap();
            let start = now();
            let last = ws.next().await.unwrap();
            assert_eq!(timed_out(&last), Some(Awaited::Write), "{role:?}: {last:?}");
            assert_eq!(seconds(start), 30.0, "{role:?}");
        });
    }
}

#[test]
fn each_accepted_byte_restarts_the_write_deadline() {
    for role in ROLES {
        for reading in [false, true] {
            block_on(async {
                let case = format!("{role:?}, reading: {reading}");
                let (mut ws, control) = open(role, quiet());
                control.room(0);
                let start = now();
                let peer = async {
                    for _ in 0..5 {
                        tokio::time::sleep(29 * SECOND).await;
                        control.room(1);
                    }
                };
                let stuck = async {
                    if reading {
                        ws.feed("more than five bytes").await.unwrap();
                        timed_out(&ws.next().await.unwrap())
                    } else {
                        timed_out(&ws.send("more than five bytes").await)
                    }
                };
                let ((), awaited) = tokio::join!(peer, stuck);
                assert_eq!(awaited, Some(Awaited::Write), "{case}");
                assert_eq!(seconds(start), 5.0 * 29.0 + 30.0, "{case}");
                assert_eq!(control.output().len(), 5, "{case}");
            });
        }
    }
}

/// A transport that takes bytes and never flushes them (TLS over a stuck socket), by the same deadline.
#[test]
fn a_flush_that_never_ends_is_cut_at_the_write_deadline() {
    for role in ROLES {
        for reading in [false, true] {
            block_on(async {
                let case = format!("{role:?}, reading: {reading}");
                let (mut ws, control) = open(role, quiet());
                control.flushing(Gate::Shut);
                let start = now();
                let awaited = if reading {
                    ws.feed("never flushed").await.unwrap();
                    timed_out(&ws.next().await.unwrap())
                } else {
                    timed_out(&ws.send("never flushed").await)
                };
                assert_eq!(awaited, Some(Awaited::Write), "{case}");
                assert_eq!(seconds(start), 30.0, "{case}");
                let flushed = polled(1, ws.flush()).await.expect("at once");
                assert!(flushed.is_err(), "{case}: {flushed:?}");
            });
        }
    }
}

/// What was queued when the connection was cut was not sent, and no later call says that it was.
#[test]
fn a_flush_after_the_cut_does_not_claim_that_anything_was_sent() {
    for role in ROLES {
        for room in [0, 3] {
            block_on(async {
                let case = format!("{role:?}, room for {room}");
                let (mut ws, control) = open(role, quiet());
                control.room(room);
                assert!(polled(1, ws.send("stuck")).await.is_none(), "{case}");
                assert_eq!(timed_out(&ws.next().await.unwrap()), Some(Awaited::Write), "{case}");
                let flushed = ws.flush().await;
                assert!(flushed.is_err(), "{case}: {flushed:?}");
            });
        }
    }
}

#[test]
fn the_write_deadline_does_not_end_with_its_future() {
    for role in ROLES {
        block_on(async {
            let (mut ws, control) = open(role, quiet());
            control.room(0);
            let start = now();
            for _ in 0..29 {
                assert!(polled(1, ws.send("x")).await.is_none(), "{role:?}");
                advance(SECOND).await;
            }
            assert_eq!(timed_out(&ws.flush().await), Some(Awaited::Write), "{role:?}");
            assert_eq!(seconds(start), 30.0, "{role:?}");
        });
    }
}

/// Whoever comes back late to a transport that can go on goes on.
#[test]
fn a_writer_that_comes_back_late_is_not_cut_wrongly() {
    for role in ROLES {
        block_on(async {
            let (mut ws, control) = open(role, quiet());
            control.room(0);
            assert!(polled(1, ws.send("one")).await.is_none(), "{role:?}");
            control.room(usize::MAX);
            advance(600 * SECOND).await;
            ws.flush().await.unwrap();
            ws.send("two").await.unwrap();
            assert_eq!(frames(role, &control.output()), [text("one"), text("two")], "{role:?}");
        });
    }
}

/// Our Close waits behind data that does not go out: the close deadline is the earlier one.
#[test]
fn a_close_behind_a_blocked_queue_is_cut_at_the_close_deadline() {
    for role in ROLES {
        for (close_within, write, expected, awaited) in [(10, 30, 10.0, Awaited::Close), (60, 30, 30.0, Awaited::Write)]
        {
            block_on(async {
                let mut config = quiet();
                config.timings.close = close_within * SECOND;
                config.timings.write = write * SECOND;
                let (mut ws, control) = open(role, config);
                control.room(3);
                ws.feed("stuck").await.unwrap();
                let start = now();
                let closed = ws.close(CloseCode::NORMAL, "").await;
                assert_eq!(timed_out(&closed), Some(awaited), "{role:?}: {closed:?}");
                assert_eq!(seconds(start), expected, "{role:?}");
                assert!(matches!(ws.ending().unwrap().sent(), wireline::CloseRecord::None), "{role:?}: not sent");
            });
        }
    }
}

/// No keepalive interferes with the closing handshake.
#[test]
fn nothing_is_pinged_while_closing() {
    for role in ROLES {
        block_on(async {
            let mut config = Config::default();
            config.timings.close = 500 * SECOND;
            let (mut ws, control) = open(role, config);
            let start = now();
            assert_eq!(timed_out(&ws.close(CloseCode::NORMAL, "").await), Some(Awaited::Close), "{role:?}");
            assert_eq!(seconds(start), 500.0, "{role:?}");
            assert_eq!(frames(role, &control.output()), [close(1000, "")], "{role:?}");
        });
    }
}

/// A lost write ends within the close deadline, whatever keepalive says, and its own error is the one reported.
#[test]
fn a_write_error_is_reported_whatever_deadline_ends_the_connection() {
    for role in ROLES {
        for ping_after in [None, Some(SECOND), Some(20 * SECOND)] {
            block_on(async {
                let case = format!("{role:?}, ping after {ping_after:?}");
                let mut config = Config::default();
                config.timings.ping_after = ping_after;
                let (mut ws, control) = open(role, config);
                control.fail_writes(io::ErrorKind::ConnectionReset);
                assert!(ws.send("x").await.is_err(), "{case}");
                let start = now();
                match ws.next().await {
                    Some(Err(Error::Network(error))) => {
                        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset, "{case}")
                    }
                    last => panic!("{case}: {last:?}"),
                }
                assert!(seconds(start) <= 10.0, "{case}: {}", seconds(start));
            });
        }
    }
}

/// Two ends of our own keep each other alive for a day without a message.
#[test]
fn two_idle_ends_stay_open() {
    block_on(async {
        let (here, there) = duplex(1024);
        let mut client = WebSocket::after_handshake(here, Role::Client, Config::default()).unwrap();
        let mut server = WebSocket::after_handshake(there, Role::Server, Config::default()).unwrap();
        tokio::select! {
            message = client.next() => panic!("{message:?}"),
            message = server.next() => panic!("{message:?}"),
            () = tokio::time::sleep(86_400 * SECOND) => {}
        }
    });
}

/// An answer that a slow peer trickles in is no reason to hurry it.
#[test]
fn a_frame_of_a_thousand_bytes_may_take_an_hour() {
    block_on(async {
        let (mut ws, mut there) = over_duplex(Role::Client, Config::default());
        let message = encode(Role::Client, [Frame::new(Opcode::Binary, vec![1; 1000])]);
        let trickle = async {
            for byte in message {
                tokio::time::sleep(4 * SECOND).await;
                there.write_all(&[byte]).await.unwrap();
            }
        };
        let (message, ()) = tokio::join!(ws.next(), trickle);
        assert_eq!(message.unwrap().unwrap().len(), 1000);
    });
}

/// It always has more to read, so that the timer is never waited for.
#[test]
fn a_peer_that_floods_and_never_reads_is_cut_at_the_write_deadline() {
    for role in ROLES {
        block_on(async {
            let (mut ws, control) = open(role, quiet());
            control.room(3);
            control.arrive_for_ever(encode(role, (0..1000).map(|_| ping("x"))));
            let start = now();
            let mut next = task::spawn(ws.next());
            let ended = loop {
                match next.poll() {
                    Poll::Ready(ended) => break ended,
                    Poll::Pending => advance(SECOND).await,
                }
                assert!(seconds(start) < 40.0, "{role:?}: still open");
            };
            assert!(matches!(ended, Some(Err(Error::Timeout(Awaited::Write)))), "{role:?}: {ended:?}");
            assert_eq!(seconds(start), 30.0, "{role:?}");
        });
    }
}

/// A write for which the task had no budget left is none that the transport refused.
#[test]
fn a_task_without_budget_is_not_late_for_a_peer_that_takes_all() {
    block_on(async {
        for role in ROLES {
            let (mut ws, mut there) = over_duplex(role, quiet());
            ws.feed("fed").await.unwrap();
            let mut next = task::spawn(ws.next());
            for second in 0..40 {
                poll_fn(|cx| {
                    while pin!(consume_budget()).poll(cx).is_ready() {}
                    assert_pending!(next.poll(), "{role:?}, after {second} s");
                    Poll::Ready(())
                })
                .await;
                advance(SECOND).await;
            }
            let mut wire = vec![0; 64];
            let len = there.read(&mut wire).await.unwrap();
            assert_eq!(frames(role, &wire[..len]), [text("fed")], "{role:?}");
        }
    });
}

/// A transport that is at its end, which it says once.
struct Unfused(Option<()>);

impl AsyncRead for Unfused {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, _: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.0.take().map_or(Poll::Pending, |()| Poll::Ready(Ok(())))
    }
}

impl AsyncWrite for Unfused {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[test]
fn a_transport_that_has_ended_is_not_read_again() {
    for role in ROLES {
        block_on(async {
            let mut ws = WebSocket::after_handshake(Unfused(Some(())), role, Config::default()).unwrap();
            let start = now();
            let ended = ws.next().await;
            assert!(matches!(ended, Some(Err(Error::Network(_)))), "{role:?}: {ended:?}");
            assert_eq!(seconds(start), 0.0, "{role:?}");
        });
    }
}
