//! What waits for whom: the high-water mark, the cork, the order of sending, and fairness.

use std::{cell::Cell, future::poll_fn, pin::Pin, task::Poll};

use futures_util::{Sink, StreamExt};
use tokio::io::duplex;
use wireline::{
    CloseCode, Config, Error, Event, Message, Role, WebSocket,
    proto::{Frame, Misuse, Opcode},
};

use crate::{
    scripted::{
        Op, Pace, ROLES, block_on, close, decode, encode, frames, open, ping, polled, pong, quiet, settle, text,
    },
    support::suite::Suite,
};

#[test]
fn feed_writes_nothing_below_the_high_water_mark() {
    block_on(async {
        for role in ROLES {
            let (mut ws, control) = open(role, quiet());
            let mut fed = 0;
            while fed < 63 * 1024 {
                assert!(polled(1, ws.feed(vec![0; 1000])).await.is_some(), "{role:?}");
                fed += 1000;
            }
            assert_eq!(control.log(), [], "{role:?}: {fed} bytes wait");
            ws.flush().await.unwrap();
            assert_eq!(control.log().last(), Some(&Op::Flush), "{role:?}");
            assert_eq!(frames(role, &control.output()).len(), fed / 1000, "{role:?}");
        }
    });
}

/// Fault 4.4: a peer that never reads holds no more than the mark and one message.
#[test]
fn feed_and_send_wait_above_the_high_water_mark() {
    block_on(async {
        for role in ROLES {
            for (len, high_water) in [(1_000, 64 * 1024), (20_000, 64 * 1024), (1, 10), (1_000_000, 100)] {
                let case = format!("4.4, {role:?}, {len} bytes, mark {high_water}");
                let mut config = quiet();
                config.limits.high_water = high_water;
                let (mut ws, control) = open(role, config);
                control.room(0);
                let mut taken = 0;
                while polled(1, ws.feed(vec![0; len])).await.is_some() {
                    taken += 1;
                    assert!(taken * len < high_water + 2 * (len + 14), "{case}: {taken} messages");
                }
                assert!((taken + 1) * (len + 14) >= high_water, "{case}: {taken} messages");
                assert!(polled(3, ws.send(vec![0; len])).await.is_none(), "{case}");
                control.room(usize::MAX);
                ws.send("now").await.unwrap();
                assert_eq!(
                    frames(role, &control.output()).len(),
                    taken + 1,
                    "{case}: the cancelled ones never went in"
                );
            }
        }
    });
}

/// Above the mark there is room as soon as the queue is below it, not only when it is empty.
#[test]
fn feed_goes_on_once_the_queue_is_below_the_mark() {
    block_on(async {
        for role in ROLES {
            let mut config = quiet();
            config.limits.high_water = 1_000;
            let (mut ws, control) = open(role, config);
            control.room(0);
            assert!(polled(1, ws.feed(vec![0; 1_500])).await.is_some(), "{role:?}");
            assert!(polled(1, ws.feed("x")).await.is_none(), "{role:?}");
            control.room(400);
            assert!(polled(1, ws.feed("x")).await.is_none(), "{role:?}: still above");
            control.room(200);
            assert!(polled(1, ws.feed("x")).await.is_some(), "{role:?}: below");
        }
    });
}

/// Without `poll_ready` the hard cap holds; one message may exceed it alone.
#[test]
fn a_sink_that_is_not_asked_for_room_stops_at_the_hard_cap() {
    block_on(async {
        for role in ROLES {
            let mut config = quiet();
            config.limits.high_water = 1_000;
            config.limits.max_queue = 10_000;
            let (mut ws, control) = open(role, config);
            control.room(0);
            let mut send = |len: usize| Pin::new(&mut ws).start_send(Message::from(vec![0; len]));
            send(50_000).unwrap_or_else(|error| panic!("{role:?}, alone: {error}"));
            assert!(matches!(send(1), Err(Error::Caller(Misuse::QueueFull))), "{role:?}");
            control.room(usize::MAX);
            ws.flush().await.unwrap();
            let mut send = |len: usize| Pin::new(&mut ws).start_send(Message::from(vec![0; len]));
            let taken = (0..100).take_while(|_| send(1_000).is_ok()).count();
            assert!((9..=10).contains(&taken), "{role:?}: {taken} messages");
        }
    });
}

#[test]
fn send_then_close_sends_the_message_first() {
    block_on(async {
        for role in ROLES {
            let (mut ws, control) = open(role, quiet());
            control.pace(Pace::free(), Pace::new([None, Some(3)]), Pace::free());
            ws.feed("a").await.unwrap();
            ws.feed(vec![1; 20_000]).await.unwrap();
            control.arrive(encode(role, [close(1000, "")]));
            control.end();
            ws.close(CloseCode::NORMAL, "").await.unwrap();
            let expected = [text("a"), Frame::new(Opcode::Binary, vec![1; 20_000]), close(1000, "")];
            assert_eq!(frames(role, &control.output()), expected, "{role:?}");
        }
    });
}

pub(crate) static CONTROL_FIRST: Suite = Suite::new(|ran| {
    block_on(async {
        for role in ROLES {
            for len in [100, 4_000, 20_000] {
                for vectored in [false, true] {
                    for room in [0, 1, 50, 5_000] {
                        control_first(role, len, vectored, room).await;
                    }
                }
            }
        }
    });
    ran.id("F-15");
});

/// The queue is full and stuck, possibly in the middle of a frame, when the peer pings and we do.
async fn control_first(role: Role, len: usize, vectored: bool, room: usize) {
    let case = format!("F-15, {role:?}, frames of {len}, vectored: {vectored}, stuck after {room}");
    let (mut ws, control) = open(role, quiet());
    control.vectored(vectored);
    control.room(room);
    let mut queued = 0;
    while polled(1, ws.feed(vec![1; len])).await.is_some() {
        queued += 1;
    }
    control.arrive(encode(role, [ping("urgent")]));
    assert!(polled(2, ws.next()).await.is_none(), "{case}");
    assert!(polled(2, ws.ping("ours")).await.is_none(), "{case}");
    let stuck = control.output().len();
    control.room(usize::MAX);
    control.pace(Pace::free(), Pace::new([Some(777)]), Pace::free());
    ws.flush().await.unwrap();

    let wire = control.output();
    let all = frames(role, &wire);
    assert_eq!(all.iter().filter(|frame| frame.opcode == Opcode::Binary).count(), queued, "{case}");
    assert!(all.iter().all(|frame| frame.opcode.is_control() || frame.payload[..] == vec![1; len]), "{case}: intact");
    for expected in [pong("urgent"), ping("ours")] {
        let at = all.iter().position(|frame| *frame == expected).unwrap_or_else(|| panic!("{case}: no {expected:?}"));
        let before = all[..at].iter().filter(|frame| frame.opcode == Opcode::Binary).count();
        // Frame boundaries are kept every 16 KiB.
        let limit = stuck + 16 * 1024 + 2 * (len + 14);
        assert!(before * len <= limit, "{case}: behind {before} of {queued} frames");
        assert!(before < queued, "{case}: behind everything");
    }
}

#[test]
fn ping_and_pong_go_ahead_of_queued_messages_at_a_frame_boundary() {
    CONTROL_FIRST.ids();
}

pub(crate) static ONE_PONG: Suite = Suite::new(|ran| {
    block_on(async {
        for role in ROLES {
            let (mut ws, control) = open(role, quiet());
            control.room(0);
            for at in 0..10_000 {
                control.arrive(encode(role, [Frame::new(Opcode::Ping, format!("{at}"))]));
                if at % 7 == 0 {
                    assert!(polled(1, ws.next()).await.is_none(), "F-16, {role:?}");
                }
            }
            while control.unread() > 0 {
                assert!(polled(1, ws.next()).await.is_none(), "F-16, {role:?}");
            }
            // The budget may be spent in the middle of what was read.
            assert!(polled(1_000, ws.next()).await.is_none(), "F-16, {role:?}");
            control.room(usize::MAX);
            assert!(polled(1, ws.next()).await.is_none(), "F-16, {role:?}");
            let pongs = frames(role, &control.output());
            assert!(pongs.len() <= 2, "F-16, {role:?}: {} pongs, one of which was on its way", pongs.len());
            assert_eq!(pongs.last(), Some(&pong("9999")), "F-16, {role:?}: the latest wins");
        }
    });
    ran.id("F-16");
});

#[test]
fn a_peer_that_pings_and_does_not_read_costs_one_pong() {
    ONE_PONG.ids();
}

#[test]
fn every_ping_of_a_peer_that_reads_is_answered() {
    block_on(async {
        for role in ROLES {
            let (mut ws, control) = open(role, quiet());
            let pings = ["one", "two", "three"].map(ping);
            control.arrive(encode(role, pings));
            assert!(polled(1, ws.next()).await.is_none(), "F-15, {role:?}");
            assert_eq!(frames(role, &control.output()), ["one", "two", "three"].map(pong), "F-15, {role:?}");
        }
    });
}

/// Fault 4.12: both directions are full, and a Ping waits on each side.
#[test]
fn two_full_ends_make_progress_as_long_as_both_read() {
    for room in [13, 100, 4_096] {
        for len in [10, 1_000, 30_000] {
            block_on(async {
                let case = format!("4.12, {room} bytes of room, messages of {len}");
                let (here, there) = duplex(room);
                let mut client = WebSocket::after_handshake(here, Role::Client, quiet()).unwrap();
                let mut server = WebSocket::after_handshake(there, Role::Server, quiet()).unwrap();
                let fed = [fill(&mut client, len).await, fill(&mut server, len).await];
                let (one, two) = tokio::join!(read(&mut client, fed[1]), read(&mut server, fed[0]));
                assert_eq!((one, two), (Seen::ALL, Seen::ALL), "{case}");
            });
        }
    }
}

async fn fill(ws: &mut WebSocket<tokio::io::DuplexStream>, len: usize) -> usize {
    let mut fed = 0;
    while polled(1, ws.feed(vec![0; len])).await.is_some() {
        fed += 1;
    }
    assert!(polled(1, ws.ping("are you there?")).await.is_none(), "both directions are full");
    fed
}

#[derive(Debug, PartialEq, Eq)]
struct Seen {
    messages: usize,
    pings: usize,
    pongs: usize,
}

impl Seen {
    const ALL: Self = Self { messages: 0, pings: 1, pongs: 1 };
}

/// Reads until so many messages, a Ping and a Pong were there; says what is missing, which must be nothing.
async fn read(ws: &mut WebSocket<tokio::io::DuplexStream>, messages: usize) -> Seen {
    let mut seen = Seen { messages, pings: 0, pongs: 0 };
    while seen != Seen::ALL {
        match ws.next_event().await.unwrap().unwrap() {
            Event::Message(_) => seen.messages -= 1,
            Event::Ping(_) => seen.pings += 1,
            Event::Pong(_) => seen.pongs += 1,
            Event::Close(_) => panic!("nobody closes"),
        }
    }
    // The other end may still wait for what is queued here.
    ws.flush().await.unwrap();
    seen
}

#[test]
fn next_flushes_what_was_fed_before_it_waits() {
    block_on(async {
        for role in ROLES {
            let (mut ws, control) = open(role, quiet());
            ws.feed("a").await.unwrap();
            ws.feed("b").await.unwrap();
            control.arrive(encode(role, [text("in")]));
            assert_eq!(ws.next().await.unwrap().unwrap(), Message::from("in"), "{role:?}");
            assert_eq!(control.log(), [], "{role:?}: it did not wait");
            assert!(polled(1, ws.next()).await.is_none(), "{role:?}");
            assert_eq!(control.log().last(), Some(&Op::Flush), "{role:?}");
            assert_eq!(control.writes(), 1, "{role:?}");
            assert_eq!(frames(role, &control.output()), [text("a"), text("b")], "{role:?}");
        }
    });
}

/// A loop of `next` and `feed` answers what has arrived with one write, batch after batch.
#[test]
fn an_echo_loop_writes_once_per_batch() {
    block_on(async {
        for role in ROLES {
            for messages in [1, 100, 1_000] {
                let case = format!("{role:?}, batches of {messages}");
                let (mut ws, control) = open(role, quiet());
                let echo = async {
                    while let Some(message) = ws.next().await {
                        ws.feed(message.unwrap()).await.unwrap();
                    }
                };
                let batches = async {
                    for batch in 1..=5 {
                        control.arrive(encode(role, (0..messages).map(|at| text(format!("message {at}")))));
                        settle().await;
                        assert_eq!(control.writes(), batch, "{case}: batch {batch}");
                    }
                    control.arrive(encode(role, [close(1000, "")]));
                    control.end();
                };
                tokio::join!(echo, batches);
                assert_eq!(frames(role, &control.output()).len(), 5 * messages + 1, "{case}");
            }
        }
    });
}

/// Fault 4.26: ten thousand tiny frames at once, and another task still gets its turns.
#[test]
fn a_burst_of_tiny_frames_does_not_starve_other_tasks() {
    let frames = [
        ("messages", text("x")),
        ("pongs", pong("")),
        ("pings", ping("")),
        ("fragments", Frame::new(Opcode::Continuation, "").unfinished()),
    ];
    for role in ROLES {
        for (name, frame) in &frames {
            block_on(async {
                let case = format!("4.26, {role:?}, {name}");
                let (mut ws, control) = open(role, quiet());
                let first = (*name == "fragments").then(|| text("").unfinished());
                let last = (*name == "fragments").then(|| Frame::new(Opcode::Continuation, ""));
                let burst = first.into_iter().chain((0..10_000).map(|_| frame.clone())).chain(last);
                control.arrive(encode(role, burst.chain([close(1000, "")])));
                control.end();
                let turns = Cell::new(0);
                let other = poll_fn(|cx| {
                    turns.set(turns.get() + 1);
                    cx.waker().wake_by_ref();
                    Poll::<()>::Pending
                });
                let read = async { while ws.next().await.is_some_and(|message| message.is_ok()) {} };
                tokio::select! {
                    biased;
                    () = read => {}
                    () = other => {}
                }
                // One turn for each 128 frames.
                assert!(turns.get() >= 10_000 / 128, "{case}: {} turns", turns.get());
            });
        }
    }
}

/// The same over a real runtime: tasks of one thread, with nothing but the connection's own budget between them.
#[test]
fn a_burst_leaves_a_spawned_task_its_turns() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let (mut ws, control) = open(Role::Server, quiet());
    control.arrive(encode(Role::Server, (0..10_000).map(|_| text("x")).chain([close(1000, "")])));
    control.end();
    let local = tokio::task::LocalSet::new();
    let turns = std::rc::Rc::new(Cell::new(0));
    let counted = std::rc::Rc::clone(&turns);
    let other = local.spawn_local(async move {
        loop {
            counted.set(counted.get() + 1);
            tokio::task::yield_now().await;
        }
    });
    local.block_on(&runtime, async { while ws.next().await.is_some() {} });
    other.abort();
    assert!(turns.get() >= 10_000 / 128, "4.26: {} turns", turns.get());
}

/// Everything goes through whatever the transport takes at a time.
#[test]
fn fragments_and_large_payloads_survive_any_partial_write() {
    block_on(async {
        for role in ROLES {
            for takes in [13, 1_000, 16_384] {
                for fragment_size in [None, Some(10_000)] {
                    let mut config: Config = quiet();
                    config.fragment_size = fragment_size;
                    let (mut ws, control) = open(role, config);
                    control.pace(Pace::free(), Pace::new([Some(takes), None]), Pace::free());
                    for len in [0, 1, 125, 126, 30_000, 8_191, 8_192] {
                        ws.feed(vec![7; len]).await.unwrap();
                    }
                    ws.flush().await.unwrap();
                    let (all, unfinished) = decode(role, &control.output());
                    let bytes: usize = all.iter().map(|frame| frame.payload.len()).sum();
                    assert_eq!((bytes, unfinished), (46_635, 0), "{role:?}, {takes} at a time, {fragment_size:?}");
                    assert!(all.iter().all(|frame| frame.payload.iter().all(|byte| *byte == 7)), "{role:?}");
                    assert_eq!(all.iter().filter(|frame| frame.fin).count(), 7, "F-18, {role:?}");
                }
            }
        }
    });
}

/// It is a `Stream` and a `Sink`: a plain forward is an echo server.
#[test]
fn forward_echoes() {
    block_on(async {
        let (here, there) = duplex(100);
        let mut client = WebSocket::after_handshake(here, Role::Client, quiet()).unwrap();
        let server = WebSocket::after_handshake(there, Role::Server, quiet()).unwrap();
        let (sink, stream) = server.split();
        let serve = async { stream.forward(sink).await.unwrap() };
        let ask = async {
            for at in 0..100 {
                client.send(format!("{at}")).await.unwrap();
                assert_eq!(client.next().await.unwrap().unwrap(), Message::from(format!("{at}")));
            }
            client.close(CloseCode::NORMAL, "").await.unwrap();
        };
        tokio::join!(serve, ask);
    });
}
