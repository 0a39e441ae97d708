//! Cancellation (fault 4.11): every future is dropped after every possible number of polls, over a transport that
//! waits before every byte, and the connection is used on.

use std::{pin::pin, task::Poll};

use proptest::prelude::*;
use wireline::{
    Client, CloseCode, Error, Event, Message, Role, WebSocket, accept,
    proto::{Frame, Opcode},
};

use crate::scripted::{
    Control, Gate, Op, Pace, ROLES, Scripted, block_on, close, decode, encode, frames, open, ping, polled, quiet, text,
};

/// One call, dropped after some polls.
#[derive(Clone, Copy, Debug)]
enum Call {
    Next,
    NextEvent,
    Send(usize),
    Feed(usize),
    Flush,
    Ping,
    Close,
}

/// What became of something that was to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sent {
    Ok,
    /// The future was dropped.
    Cancelled,
}

/// A connection, and everything that it was asked to do.
struct World {
    role: Role,
    ws: WebSocket<Scripted>,
    control: Control,
    messages: Vec<(Message, Sent)>,
    pings: Vec<(String, Sent)>,
    expected: Vec<Message>,
    received: Vec<Message>,
}

impl World {
    fn new(role: Role, fragment_size: Option<usize>) -> Self {
        let mut config = quiet();
        config.fragment_size = fragment_size;
        config.limits.high_water = 256;
        let (ws, control) = open(role, config);
        Self { role, ws, control, messages: vec![], pings: vec![], expected: vec![], received: vec![] }
    }

    /// The peer sends a message in two fragments with a Ping between them, and a whole one.
    fn peer_sends(&mut self, len: usize) {
        let at = self.expected.len();
        let (head, tail) = (format!("{at} hé"), "l".repeat(len) + "lo");
        let whole = vec![u8::try_from(at % 256).unwrap(); len];
        self.control.arrive(encode(
            self.role,
            [
                Frame::new(Opcode::Text, head.clone()).unfinished(),
                ping("inside"),
                Frame::new(Opcode::Continuation, tail.clone()),
                Frame::new(Opcode::Binary, whole.clone()),
            ],
        ));
        self.expected.extend([Message::from(head + &tail), Message::from(whole)]);
    }

    /// Makes a call and drops it after so many polls. Whether it came to its end.
    async fn call(&mut self, call: Call, polls: usize) -> bool {
        let Self { ws, messages, pings, received, .. } = self;
        match call {
            Call::Next => match polled(polls, ws.next()).await {
                Some(message) => received.push(message.expect("the connection is open").expect("the peer is polite")),
                None => return false,
            },
            Call::NextEvent => match polled(polls, ws.next_event()).await {
                Some(event) => match event.expect("the connection is open").expect("the peer is polite") {
                    Event::Message(message) => received.push(message),
                    event => assert_eq!(event, Event::Ping("inside".into())),
                },
                None => return false,
            },
            Call::Send(len) | Call::Feed(len) => {
                let message = Message::from(format!("{} {}", messages.len(), "s".repeat(len)));
                messages.push((message.clone(), Sent::Cancelled));
                let done = match call {
                    Call::Send(_) => polled(polls, ws.send(message)).await,
                    _ => polled(polls, ws.feed(message)).await,
                };
                let Some(done) = done else { return false };
                done.expect("the connection is open");
                messages.last_mut().unwrap().1 = Sent::Ok;
            }
            Call::Flush => match polled(polls, ws.flush()).await {
                Some(done) => done.expect("the connection is open"),
                None => return false,
            },
            Call::Ping => {
                let payload = format!("ping {}", pings.len());
                pings.push((payload.clone(), Sent::Cancelled));
                let Some(done) = polled(polls, ws.ping(payload)).await else { return false };
                done.expect("the connection is open");
                pings.last_mut().unwrap().1 = Sent::Ok;
            }
            Call::Close => match polled(polls, ws.close(CloseCode::GOING_AWAY, "cancelled")).await {
                Some(done) => done.expect("the peer closes cleanly"),
                None => return false,
            },
        }
        true
    }

    /// Uses the connection to its end, and compares everything that passed.
    async fn check(mut self, case: &str) {
        if self.ws.ending().is_none() && polled(1, self.ws.feed("")).await.is_some_and(|fed| fed.is_ok()) {
            self.messages.push((Message::from(""), Sent::Ok));
            let last = self.messages.len();
            assert!(self.call(Call::Send(20), usize::MAX).await, "{case}");
            assert_eq!(self.messages[last].1, Sent::Ok, "{case}");
        }
        while self.received.len() < self.expected.len() {
            let message = self.ws.next().await.unwrap_or_else(|| panic!("{case}: a message is lost"));
            self.received.push(message.unwrap_or_else(|error| panic!("{case}: {error:?}")));
        }
        assert_eq!(self.received, self.expected, "{case}: received");
        self.control.arrive(encode(self.role, [close(1000, "")]));
        self.control.end();
        let closed = self.ws.close(CloseCode::NORMAL, "").await;
        assert!(closed.is_ok(), "{case}: {closed:?}");
        assert!(self.ws.next().await.is_none(), "{case}");
        assert!(self.ws.ending().is_some_and(wireline::Ending::is_clean), "{case}: {:?}", self.ws.ending());
        self.check_wire(case);
    }

    fn check_wire(&self, case: &str) {
        let mut frames = frames(self.role, &self.control.output());
        let last = frames.pop().unwrap_or_else(|| panic!("{case}: nothing was written"));
        assert_eq!(last.opcode, Opcode::Close, "{case}: the last frame");
        let mut messages = Vec::new();
        let mut pings = Vec::new();
        let mut unfinished: Option<Vec<u8>> = None;
        for frame in frames {
            match frame.opcode {
                Opcode::Text => assert!(unfinished.replace(frame.payload.to_vec()).is_none(), "{case}: interleaved"),
                Opcode::Continuation => unfinished.as_mut().expect("a message to continue").extend(&frame.payload),
                Opcode::Ping => pings.push(String::from_utf8(frame.payload.to_vec()).unwrap()),
                Opcode::Pong => assert_eq!(&frame.payload[..], b"inside", "{case}"),
                Opcode::Binary | Opcode::Close => panic!("{case}: {frame:?}"),
            }
            if frame.fin
                && !frame.opcode.is_control()
                && let Some(message) = unfinished.take()
            {
                messages.push(Message::from(String::from_utf8(message).unwrap()));
            }
        }
        assert_eq!(unfinished, None, "{case}: a torn message");
        once_in_order(&messages, &self.messages, &format!("{case}: messages"));
        once_in_order(&pings, &self.pings, &format!("{case}: pings"));
    }
}

/// What was sent for certain is there once, what was cancelled at most once, and all in order.
fn once_in_order<T: PartialEq + std::fmt::Debug>(wire: &[T], asked: &[(T, Sent)], case: &str) {
    let mut wire = wire.iter().peekable();
    for (item, sent) in asked {
        let there = wire.next_if_eq(&item).is_some();
        assert!(there || *sent == Sent::Cancelled, "{case}: {item:?} was not sent");
    }
    assert_eq!(wire.next(), None, "{case}: sent twice, or out of order");
}

/// Drops `call` after 0, 1, 2, … polls until it comes to its end by itself, which takes at least so many.
fn dropped_after_every_poll(call: Call, at_least: usize) {
    let flushes = [Pace::free, || Pace::new([None, None, Some(0)])];
    for (role, flushes) in ROLES.into_iter().flat_map(|role| flushes.map(|flushes| (role, flushes))) {
        for fragment_size in [None, Some(50)] {
            block_on(async {
                for polls in 0.. {
                    let case =
                        format!("{role:?}, {call:?} dropped after {polls} polls, fragments of {fragment_size:?}");
                    let mut world = World::new(role, fragment_size);
                    world.peer_sends(if let Call::Close = call { 20 } else { 130 });
                    assert!(world.call(Call::Feed(3), 1).await);
                    world.control.pace(Pace::bytewise(), Pace::bytewise(), flushes());
                    if let Call::Close = call {
                        world.control.arrive(encode(role, [close(1000, "")]));
                        world.control.end();
                    }
                    let done = world.call(call, polls).await;
                    if let Call::Close = call {
                        // Its first poll only begins; then it drops what it finds on the way.
                        if polls > 1 {
                            world.expected.clear();
                        }
                    } else {
                        world.control.pace(Pace::free(), Pace::free(), flushes());
                    }
                    world.check(&case).await;
                    if done {
                        assert!(polls >= at_least, "{case}");
                        break;
                    }
                }
            });
        }
    }
}

#[test]
fn next_loses_no_message() {
    dropped_after_every_poll(Call::Next, 100);
}

#[test]
fn next_event_loses_no_event() {
    dropped_after_every_poll(Call::NextEvent, 14);
}

#[test]
fn send_sends_once_or_not_at_all() {
    dropped_after_every_poll(Call::Send(130), 100);
}

#[test]
fn send_of_more_than_the_high_water_mark_sends_once_or_not_at_all() {
    dropped_after_every_poll(Call::Send(300), 200);
}

#[test]
fn feed_feeds_once_or_not_at_all() {
    dropped_after_every_poll(Call::Feed(1), 1);
}

#[test]
fn flush_goes_on_where_it_was() {
    dropped_after_every_poll(Call::Flush, 8);
}

#[test]
fn ping_pings_once_or_not_at_all() {
    dropped_after_every_poll(Call::Ping, 16);
}

#[test]
fn close_goes_on_with_whatever_is_awaited_next() {
    dropped_after_every_poll(Call::Close, 60);
}

/// Feeds that wait for room, with the queue above its mark.
#[test]
fn feed_waiting_for_room_feeds_once_or_not_at_all() {
    for role in ROLES {
        block_on(async {
            for polls in 0.. {
                let case = format!("{role:?}, feed dropped after {polls} polls");
                let mut world = World::new(role, None);
                assert!(world.call(Call::Feed(300), 1).await, "{case}");
                world.control.pace(Pace::bytewise(), Pace::bytewise(), Pace::free());
                let done = world.call(Call::Feed(10), polls).await;
                world.check(&case).await;
                if done {
                    assert!(polls > 40, "{case}");
                    break;
                }
            }
        });
    }
}

/// A transport whose flush waits forever holds nothing else up once it lets go.
#[test]
fn send_dropped_in_a_flush_that_waits_is_sent_once() {
    for role in ROLES {
        block_on(async {
            let mut world = World::new(role, None);
            world.control.flushing(Gate::Shut);
            assert!(!world.call(Call::Send(10), 5).await, "{role:?}");
            assert!(!world.call(Call::Flush, 5).await, "{role:?}");
            world.control.flushing(Gate::Open);
            world.check(&format!("{role:?}")).await;
        });
    }
}

/// Opens a connection byte by byte, with one end's future dropped after so many polls. What both ends came to.
async fn opened(cancelled: Role, polls: usize) -> (Option<bool>, Result<(), Error>, [Control; 2]) {
    let [(here, client), (there, server)] = Scripted::pair();
    for control in [&client, &server] {
        control.pace(Pace::bytewise(), Pace::bytewise(), Pace::new([None, Some(0)]));
    }
    let request = Client::new("ws://localhost/chat").unwrap();
    let connecting = async {
        let (mut ws, _) = request.connect_over(here).await?;
        if cancelled == Role::Client {
            return Ok(());
        }
        ws.next().await.transpose().map(drop)
    };
    let accepting = async {
        let mut ws = accept(there).await?;
        if cancelled == Role::Server {
            return Ok(());
        }
        ws.next().await.transpose().map(drop)
    };
    let (first, second) = match cancelled {
        Role::Client => pick(polls, connecting, accepting).await,
        Role::Server => pick(polls, accepting, connecting).await,
    };
    (first.map(|opened: Result<(), Error>| opened.is_ok()), second, [client, server])
}

/// Polls the first at most so many times, in turn with the second; then the first is dropped and the second goes on.
async fn pick<A, B: Unpin>(
    polls: usize,
    first: impl Future<Output = A>,
    second: impl Future<Output = B>,
) -> (Option<A>, B) {
    let mut second = pin!(second);
    let mut early = None;
    let mut output = None;
    {
        let mut first = pin!(first);
        for _ in 0..polls {
            output = polled_once(first.as_mut()).await;
            if output.is_some() {
                break;
            }
            if early.is_none() {
                early = polled_once(second.as_mut()).await;
            }
        }
    }
    let second = match early {
        Some(second) => second,
        None => second.await,
    };
    (output, second)
}

async fn polled_once<F: Future>(mut future: std::pin::Pin<&mut F>) -> Option<F::Output> {
    std::future::poll_fn(|cx| {
        Poll::Ready(match future.as_mut().poll(cx) {
            Poll::Ready(output) => Some(output),
            Poll::Pending => None,
        })
    })
    .await
}

/// Dropping a handshake drops its stream with it, and leaves a beginning of what would have been written.
#[test]
fn a_handshake_that_is_dropped_drops_its_stream() {
    for role in ROLES {
        block_on(async {
            let (done, _, whole) = opened(role, usize::MAX).await;
            assert_eq!(done, Some(true), "{role:?}");
            let whole = whole.map(|control| control.output());
            for polls in 0.. {
                let case = format!("{role:?} dropped after {polls} polls");
                let (done, other, controls) = opened(role, polls).await;
                let [client, server] = &controls;
                let dropped = if role == Role::Client { client } else { server };
                assert_eq!(dropped.log().last(), Some(&Op::Drop), "{case}");
                assert!(matches!(other, Err(Error::Network(_) | Error::Handshake(_))), "{case}: {other:?}");
                for (written, whole) in [(client, &whole[0]), (server, &whole[1])] {
                    // The nonce, and the key that answers it, differ each time.
                    let written = written.output();
                    let beginning = whole.get(..written.len().min(whole.len())).unwrap();
                    assert_eq!(lines(&written), lines(beginning), "{case}");
                }
                if done.is_some() {
                    assert_eq!(done, Some(true), "{case}");
                    break;
                }
            }
        });
    }
}

/// The lines of a head, the random ones by their length only; a Close frame behind it left out.
fn lines(head: &[u8]) -> Vec<String> {
    let end = head.windows(4).position(|window| window == b"\r\n\r\n").map_or(head.len(), |at| at + 4);
    let head = String::from_utf8_lossy(&head[..end]).to_ascii_lowercase();
    head.split("\r\n")
        .map(|line| if line.starts_with("sec-websocket-") { "-".repeat(line.len()) } else { line.to_owned() })
        .collect()
}

fn calls() -> impl Strategy<Value = Vec<(Option<Call>, usize)>> {
    let call = prop_oneof![
        3 => Just(Some(Call::Next)),
        1 => Just(Some(Call::NextEvent)),
        3 => (0usize..600).prop_map(|len| Some(Call::Send(len))),
        3 => (0usize..600).prop_map(|len| Some(Call::Feed(len))),
        1 => (9_000usize..40_000).prop_map(|len| Some(Call::Feed(len))),
        1 => Just(Some(Call::Flush)),
        1 => Just(Some(Call::Ping)),
        // The peer sends.
        2 => Just(None),
    ];
    prop::collection::vec((call, 0usize..40), 1..40)
}

fn pace(most: usize) -> impl Strategy<Value = Vec<Option<usize>>> {
    let step = prop_oneof![Just(None), (1..most).prop_map(Some)];
    prop::collection::vec(step, 1..12).prop_map(|mut steps| {
        steps.push(Some(1));
        steps
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, failure_persistence: None, ..ProptestConfig::default() })]

    /// Any calls in any order, each dropped after any number of polls, over a transport of any pace.
    #[test]
    fn no_order_of_dropped_calls_loses_or_repeats_anything(
        calls in calls(),
        reads in pace(3_000),
        writes in pace(20_000),
        flushes in pace(2),
        fragment_size in prop_oneof![Just(None), (1usize..500).prop_map(Some)],
        server: bool,
        vectored: bool,
    ) {
        let role = if server { Role::Server } else { Role::Client };
        let case = format!("{role:?}, {calls:?}");
        block_on(async {
            let mut world = World::new(role, fragment_size);
            world.control.vectored(vectored);
            world.control.pace(Pace::new(reads), Pace::new(writes), Pace::new(flushes));
            for (call, polls) in calls {
                match call {
                    None => world.peer_sends(polls * 97),
                    Some(Call::Next | Call::NextEvent) if world.received.len() == world.expected.len() => {}
                    Some(call) => drop(world.call(call, polls).await),
                }
            }
            world.check(&case).await;
        });
    }
}

/// The tail of what is on the wire while a call is dropped may be an unfinished frame, and nothing else may be wrong.
#[test]
fn what_is_on_the_wire_meanwhile_decodes() {
    for role in ROLES {
        block_on(async {
            let mut world = World::new(role, Some(9));
            world.control.pace(Pace::free(), Pace::bytewise(), Pace::free());
            for at in 0..60 {
                world.call(if at % 3 == 0 { Call::Ping } else { Call::Send(at) }, at % 17).await;
                let (_, unfinished) = decode(role, &world.control.output());
                assert!(unfinished < 9 + 14, "{role:?}: {unfinished} bytes of a frame of at most 23");
            }
            world.control.arrive(encode(role, [text("x")]));
            world.expected.push("x".into());
            world.check(&format!("{role:?}")).await;
        });
    }
}
