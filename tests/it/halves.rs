//! The two halves of futures' `split`, in tasks of their own: none waits for the other, and no wake-up is lost.

use std::{io, time::Duration};

use futures_util::{SinkExt, StreamExt, stream::SplitSink};
use tokio::{
    io::{DuplexStream, duplex},
    runtime::{Builder, Runtime},
    task::JoinSet,
};
use tokio_test::{assert_pending, task};
use wireline::{
    Config, Error, Message, Role, WebSocket,
    proto::{Awaited, Frame, Opcode},
};

use crate::scripted::{
    ROLES, Scripted, block_on, close, encode, frames, now, open, ping, pong, quiet, seconds, settle, text,
};

fn runtimes() -> [(&'static str, Runtime); 2] {
    [
        ("current-thread", Builder::new_current_thread().enable_all().build().unwrap()),
        ("multi-thread", Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()),
    ]
}

type Sink = SplitSink<WebSocket<Scripted>, Message>;

/// Sends until it is stuck in the middle of a frame.
fn stick(sink: &mut Sink) -> task::Spawn<impl Future<Output = Result<(), Error>>> {
    let mut send = task::spawn(sink.send(Message::from("stuck in the middle of its frame")));
    assert_pending!(send.poll());
    send
}

#[test]
fn the_reader_gets_messages_while_the_writer_is_blocked() {
    block_on(async {
        for role in ROLES {
            let (ws, control) = open(role, quiet());
            let (mut sink, mut stream) = ws.split();
            control.room(9);
            let mut send = stick(&mut sink);
            for at in 0..300 {
                control.arrive(encode(role, [text(format!("{at}"))]));
                assert_eq!(stream.next().await.unwrap().unwrap(), Message::from(format!("{at}")), "4.12, {role:?}");
            }
            control.room(usize::MAX);
            assert!(send.is_woken(), "4.12, {role:?}");
            assert!(matches!(send.poll(), std::task::Poll::Ready(Ok(()))), "4.12, {role:?}");
        }
    });
}

/// Fault 4.12: the reader writes the Pong, once the transport takes the rest of the frame that is stuck.
#[test]
fn the_pong_goes_out_although_the_writer_was_cancelled_while_blocked() {
    block_on(async {
        for role in ROLES {
            for cancelled in [false, true] {
                let case = format!("4.12, {role:?}, cancelled: {cancelled}");
                let (ws, control) = open(role, quiet());
                let (mut sink, mut stream) = ws.split();
                control.room(9);
                let mut send = Some(stick(&mut sink));
                let mut next = task::spawn(stream.next());
                assert_pending!(next.poll(), "{case}");
                if cancelled {
                    send = None;
                }
                control.arrive(encode(role, [ping("urgent")]));
                assert!(next.is_woken(), "{case}");
                assert_pending!(next.poll(), "{case}");
                control.room(usize::MAX);
                assert!(next.is_woken(), "{case}: the reader is woken when the transport takes bytes again");
                assert_pending!(next.poll(), "{case}");
                let expected = [text("stuck in the middle of its frame"), pong("urgent")];
                assert_eq!(frames(role, &control.output()), expected, "{case}");
                drop(send);
            }
        }
    });
}

/// The writer fails; the reader, which waits for a message, must learn of the deadline that begins there.
#[test]
fn a_write_error_of_one_half_ends_the_other_at_the_close_deadline() {
    block_on(async {
        for role in ROLES {
            for config in [quiet(), Config::default()] {
                let case = format!("{role:?}, ping after {:?}", config.timings.ping_after);
                let (ws, control) = open(role, config);
                let (mut sink, mut stream) = ws.split();
                let mut reader = JoinSet::new();
                reader.spawn(async move { stream.next().await });
                settle().await;
                control.fail_writes(io::ErrorKind::ConnectionReset);
                settle().await;
                let start = now();
                let sent = sink.send(Message::from("x")).await;
                assert!(matches!(sent, Err(Error::Network(_))), "{case}: {sent:?}");
                let last = tokio::time::timeout(Duration::from_secs(3600), reader.join_next()).await;
                let last = last.unwrap_or_else(|_| panic!("{case}: the reader waits for ever")).unwrap().unwrap();
                assert!(matches!(last, Some(Err(Error::Network(_)))), "{case}: {last:?}");
                assert_eq!(seconds(start), 10.0, "{case}");
            }
        }
    });
}

/// Fault 4.3: a send that waits is an `Err` when the reader finds the connection's end.
#[test]
fn a_blocked_send_fails_when_the_reader_ends_the_connection() {
    for role in ROLES {
        for (name, room) in [("nothing went out", 0), ("half a frame went out", 9)] {
            for end in ["deadline", "reset"] {
                block_on(async {
                    let case = format!("4.3, {role:?}, {name}, {end}");
                    let (ws, control) = open(role, quiet());
                    let (mut sink, mut stream) = ws.split();
                    control.room(room);
                    let mut writer = JoinSet::new();
                    writer.spawn(async move { sink.send(Message::from("never all of it")).await });
                    settle().await;
                    if end == "reset" {
                        control.fail_reads(io::ErrorKind::ConnectionReset);
                    }
                    let last = stream.next().await;
                    let expected = match end {
                        "reset" => matches!(last, Some(Err(Error::Network(_)))),
                        _ => matches!(last, Some(Err(Error::Timeout(Awaited::Write)))),
                    };
                    // Whoever was there first reports the deadline; the other half then only sees the end.
                    assert!(expected || last.is_none(), "{case}: {last:?}");
                    let sent = tokio::time::timeout(Duration::from_secs(60), writer.join_next()).await;
                    let sent = sent.unwrap_or_else(|_| panic!("{case}: the writer waits for ever")).unwrap().unwrap();
                    assert!(sent.is_err(), "{case}: {sent:?}");
                });
            }
        }
    }
}

/// The peer closes while the writer is stuck: what was on its way goes out first, then our Close.
#[test]
fn the_peers_close_waits_for_a_blocked_send() {
    block_on(async {
        for role in ROLES {
            let (ws, control) = open(role, quiet());
            let (mut sink, mut stream) = ws.split();
            control.room(9);
            let mut tasks = JoinSet::new();
            tasks.spawn(async move { sink.send(Message::from("stuck")).await.map(|()| None) });
            tasks.spawn(async move { stream.next().await.transpose() });
            settle().await;
            control.arrive(encode(role, [close(1001, "")]));
            control.end();
            settle().await;
            control.room(usize::MAX);
            while let Some(done) = tasks.join_next().await {
                assert!(done.unwrap().unwrap().is_none(), "4.18, {role:?}");
            }
            assert_eq!(frames(role, &control.output()), [text("stuck"), close(1001, "")], "4.18, {role:?}");
        }
    });
}

/// The sink closes while the stream waits: both come to the end.
#[test]
fn closing_the_sink_ends_the_stream() {
    for role in ROLES {
        for (name, runtime) in runtimes() {
            runtime.block_on(async {
                let (ws, control) = open(role, quiet());
                let (mut sink, mut stream) = ws.split::<Message>();
                let mut reader = JoinSet::new();
                reader.spawn(async move { while stream.next().await.transpose().unwrap().is_some() {} });
                let mut closer = JoinSet::new();
                closer.spawn(async move { sink.close().await });
                while !frames(role, &control.output()).contains(&close(1000, "")) {
                    tokio::task::yield_now().await;
                }
                control.arrive(encode(role, [text("one"), text("two"), close(1000, "")]));
                control.end();
                closer.join_next().await.unwrap().unwrap().unwrap();
                reader.join_next().await.unwrap().unwrap();
                assert_eq!(frames(role, &control.output()), [close(1000, "")], "{role:?}, {name}");
            });
        }
    }
}

/// Closing drops what still arrives, as its documentation says, also where the other half reads on: that half gets some of
/// it, in order and once.
#[test]
fn messages_read_while_the_sink_is_closing_come_in_order_and_once() {
    for role in ROLES {
        for round in 0..20 {
            block_on(async {
                let (ws, control) = open(role, quiet());
                let (mut sink, mut stream) = ws.split::<Message>();
                let mut tasks = JoinSet::new();
                let read = async move {
                    let mut received = Vec::new();
                    while let Some(message) = stream.next().await.transpose().unwrap() {
                        received.push(message);
                        for _ in 0..round % 3 {
                            tokio::task::yield_now().await;
                        }
                    }
                    Some(received)
                };
                let closing = async move {
                    sink.close().await.unwrap();
                    None
                };
                // Either may be polled first.
                if round % 2 == 0 {
                    tasks.spawn(read);
                    settle().await;
                    tasks.spawn(closing);
                } else {
                    tasks.spawn(closing);
                    tasks.spawn(read);
                }
                settle().await;
                let messages: Vec<_> = (0..300).map(|at| format!("{at}")).collect();
                for batch in messages.chunks(50) {
                    control.arrive(encode(role, batch.iter().map(text)));
                    settle().await;
                }
                control.arrive(encode(role, [close(1000, "")]));
                control.end();
                let mut received = None;
                while let Some(done) = tasks.join_next().await {
                    received = received.or(done.unwrap());
                }
                let mut expected = messages.into_iter().map(Message::from);
                for message in received.unwrap() {
                    assert!(expected.any(|next| next == message), "{role:?}, round {round}: {message:?}");
                }
            });
        }
    }
}

/// One half is gone: the other still gets to the end.
#[test]
fn closing_the_sink_without_the_stream_reads_to_the_end() {
    block_on(async {
        for role in ROLES {
            for polled_before in [false, true] {
                let case = format!("{role:?}, the stream was polled: {polled_before}");
                let (ws, control) = open(role, quiet());
                let (mut sink, mut stream) = ws.split::<Message>();
                if polled_before {
                    let mut next = task::spawn(stream.next());
                    assert_pending!(next.poll(), "{case}");
                }
                drop(stream);
                let start = now();
                let peer = async {
                    settle().await;
                    control.arrive(encode(role, (0..300).map(|_| text("nobody listens")).chain([close(1000, "")])));
                    control.end();
                };
                let (closed, ()) = tokio::join!(sink.close(), peer);
                assert!(closed.is_ok(), "{case}: {closed:?}");
                assert_eq!(seconds(start), 0.0, "{case}");
            }
        }
    });
}

const MESSAGES: usize = 1_000;

/// Sends numbered messages of every size, sometimes fed and sometimes sent.
async fn write(mut sink: SplitSink<WebSocket<DuplexStream>, Message>) {
    for at in 0..MESSAGES {
        let message = Message::from(vec![u8::try_from(at % 251).unwrap(); at * 7919 % 3_000]);
        if at % 3 == 0 {
            sink.send(message).await.unwrap()
        } else {
            sink.feed(message).await.unwrap()
        }
        if at % 50 == 0 {
            tokio::task::yield_now().await;
        }
    }
    sink.flush().await.unwrap();
}

async fn read(mut stream: futures_util::stream::SplitStream<WebSocket<DuplexStream>>) {
    for at in 0..MESSAGES {
        let message = stream.next().await.unwrap().unwrap();
        assert_eq!(message.len(), at * 7919 % 3_000, "message {at}");
        assert!(message.as_bytes().iter().all(|byte| usize::from(*byte) == at % 251), "message {at}");
        if at % 70 == 0 {
            tokio::task::yield_now().await;
        }
    }
}

/// Thousands of messages each way through little room, four tasks: a lost wake-up would stop one of them for ever.
#[test]
fn no_wake_up_is_lost() {
    for (name, runtime) in runtimes() {
        for room in [64, 4_096, 100_000] {
            let done = runtime.block_on(async {
                let (here, there) = duplex(room);
                let mut tasks = JoinSet::new();
                for (stream, role) in [(here, Role::Client), (there, Role::Server)] {
                    let mut config = quiet();
                    config.limits.high_water = 5_000;
                    let (sink, stream) = WebSocket::after_handshake(stream, role, config).unwrap().split();
                    tasks.spawn(write(sink));
                    tasks.spawn(read(stream));
                }
                // A test that hangs says nothing; this one says what hung. Nothing depends on how long it takes.
                tokio::time::timeout(Duration::from_secs(60), async {
                    while let Some(done) = tasks.join_next().await {
                        done.unwrap();
                    }
                })
                .await
            });
            assert!(done.is_ok(), "{name}, {room} bytes of room: a task waits for ever");
        }
    }
}

/// Two tasks share the one waker that the transport remembers, whichever polled last.
#[test]
fn both_halves_are_woken_by_whatever_they_wait_for() {
    block_on(async {
        for role in ROLES {
            for reader_first in [false, true] {
                let case = format!("{role:?}, reader first: {reader_first}");
                let (ws, control) = open(role, quiet());
                let (mut sink, mut stream) = ws.split();
                control.room(0);
                let mut send = task::spawn(sink.send(Message::from("x")));
                let mut next = task::spawn(stream.next());
                if reader_first {
                    assert_pending!(next.poll(), "{case}");
                    assert_pending!(send.poll(), "{case}");
                } else {
                    assert_pending!(send.poll(), "{case}");
                    assert_pending!(next.poll(), "{case}");
                }
                control.room(usize::MAX);
                assert!(send.is_woken(), "{case}: the writer, to write");
                assert!(matches!(send.poll(), std::task::Poll::Ready(Ok(()))), "{case}");
                control.arrive(encode(role, [Frame::new(Opcode::Binary, "in")]));
                assert!(next.is_woken(), "{case}: the reader, to read");
                assert!(matches!(next.poll(), std::task::Poll::Ready(Some(Ok(_)))), "{case}");
            }
        }
    });
}

/// The writer begins to close and is gone: the reader, who waits already, watches the close deadline from then on.
#[test]
fn a_close_that_was_begun_and_dropped_is_watched_by_the_reader_that_waits() {
    block_on(async {
        for (keepalive, role) in [true, false].into_iter().flat_map(|keepalive| ROLES.map(|role| (keepalive, role))) {
            let (ws, control) = open(role, if keepalive { Config::default() } else { quiet() });
            let (mut sink, mut stream) = ws.split();
            let start = now();
            let mut next = task::spawn(stream.next());
            assert_pending!(next.poll(), "{role:?}");
            let mut closing = task::spawn(SinkExt::<Message>::close(&mut sink));
            assert_pending!(closing.poll(), "{role:?}");
            drop(closing);
            assert_eq!(frames(role, &control.output()), [close(1000, "")], "{role:?}");
            assert!(next.is_woken(), "{role:?}: the reader learns of it");
            assert!(matches!(next.await, Some(Err(Error::Timeout(Awaited::Close)))), "{role:?}");
            assert_eq!(seconds(start), 10.0, "{role:?}, keepalive {keepalive}");
        }
    });
}
