//! More than one end can take: queues, buffers and messages that only grow.

use std::{cell::Cell, net::SocketAddr, time::Duration};

use bytes::Bytes;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpSocket,
};
use wireline::{
    Role,
    handler::{
        Attach, CloseCode, Error, ErrorKind, Handler, Message, Result, Sender, Settings,
        util::{QueueError, Token},
    },
    proto::Opcode,
};

use super::stage::{
    Call, Log, Outcome, REQUEST, Running, Scene, Wire, attach, build, kind, listen, listener, listens, masked,
    recording, unmasked, within,
};
use crate::support::{
    alloc::{Meter, uncounted},
    peer::{After, Peer, Writes},
    row,
    script::{Delivery, FOREVER, Keys, Part, Script, hex},
};

#[tokio::test]
async fn d1_a_stalled_client_is_cut_while_memory_is_bounded_and_the_others_get_all() {
    const ROUNDS: usize = 60;
    const ROUND: usize = 100;
    const SIZE: usize = 10_000;
    let log = Log::new();
    let react = |out: &Sender, call: Call<'_>| match call {
        Call::Message(message) => out.broadcast(filled(message.len(), SIZE)),
        _ => Ok(()),
    };
    let settings = Settings { close_timeout: Duration::from_millis(100), ..Settings::default() };
    let ws = build(settings, recording(log.clone(), react)).bind("127.0.0.1:0").expect("a port");
    let (address, sender) = (ws.local_addr().expect("it listens"), ws.broadcaster());
    let run = Running::start(|| {
        let meter = Meter::start();
        ws.run().expect("no error");
        meter.peak()
    });

    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(4096).expect("a small buffer");
    let mut stalled = Wire(within("a connection", socket.connect(address)).await.expect("connected"));
    stalled.send(REQUEST).await;
    stalled.opened().await;
    let mut others = [Wire::open(address).await, Wire::open(address).await, Wire::open(address).await];
    for round in 0..ROUNDS {
        // Each payload is made of the length of the message that asked for it.
        let asked: Vec<u8> = (0..ROUND).flat_map(|number| masked(0x81, "a".repeat((round + number) % 120))).collect();
        let told: Vec<u8> =
            (0..ROUND).flat_map(|number| unmasked(0x82, filled((round + number) % 120, SIZE))).collect();
        let [first, second, third] = &mut others;
        first.send(asked).await;
        tokio::join!(first.reads(&told), second.reads(&told), third.reads(&told));
    }
    log.until(0, "lost").await;
    assert_eq!(log.of(0), ["open", "error Capacity", "close 1006", "lost"]);
    drop(others);
    sender.shutdown().expect("it is there");
    let peak = run.returns().await;
    // Of each message of a round there may be the payload and the frame.
    let bound = settings.max_out_buffer + 2 * ROUND * SIZE + 1024 * 1024;
    assert!(peak < i64::try_from(bound).expect("small"), "{peak} bytes of heap");
}

fn filled(with: usize, len: usize) -> Vec<u8> {
    vec![u8::try_from(with).expect("less than 256"); len]
}

/// What a callback sends, over and over.
type Send = fn(&Sender, &Bytes) -> Result<()>;

/// The ways to send a payload, to one and to all.
const SENDS: [(&str, Send); 4] = [
    ("send", |out, payload| out.send(payload.to_vec())),
    ("send_shared", |out, payload| out.send_shared(payload.clone().into())),
    ("broadcast", |out, payload| out.broadcast(payload.to_vec())),
    ("broadcast_shared", |out, payload| out.broadcast_shared(payload.clone().into())),
];

const CAP: usize = 64 * 1024;

/// Bytes that a connection may cost: its queue may have grown by doubling, and there is the payload it was given last.
fn bound(size: usize) -> i64 {
    i64::try_from(2 * (CAP + size) + size + 64 * 1024).expect("small")
}

/// Answers every message with its payload.
struct Answers<'a> {
    out: Sender,
    send: Send,
    payload: &'a Bytes,
    sent: &'a Cell<usize>,
    log: Log,
}

impl Handler for Answers<'_> {
    fn on_message(&mut self, _: Message) -> Result<()> {
        self.sent.set(self.sent.get() + 1);
        (self.send)(&self.out, self.payload)
    }

    fn on_error(&mut self, err: Error) {
        self.log.note(self.out.connection_id(), format!("error {}", kind(&err)));
    }

    fn on_close(&mut self, code: CloseCode, _: &str) {
        self.log.note(self.out.connection_id(), format!("close {}", u16::from(code)));
    }
}

fn settings() -> Settings {
    Settings { max_out_buffer: CAP, ..Settings::default() }
}

fn asking(role: Role, count: u64, after: After) -> Peer {
    let script = Script::default().then(Part::Frame(hex("82 00"), count));
    Peer::new(script.source(Keys::for_role(role)[0], Delivery::Whole), after)
}

#[test]
fn d1_a_peer_that_never_reads_costs_no_more_than_the_bound_whatever_is_sent() {
    let runtime = row::runtime();
    row::warm_up(&runtime);
    for role in [Role::Server, Role::Client] {
        for (name, send) in SENDS {
            for size in [0, 100, 5_000, 300_000] {
                let row = format!("{name} of {size} bytes as {role:?}");
                let payload = uncounted(|| Bytes::from(vec![7; size]));
                let (sent, log) = (Cell::new(0), Log::new());
                let peer = asking(role, (CAP / (size + 2) + 10) as u64, After::Silence);
                peer.writes(Writes::Room(0));
                runtime.block_on(async {
                    peer.measure();
                    let make = |out| Answers { out, send, payload: &payload, sent: &sent, log: log.clone() };
                    attach(role).settings(settings()).run(peer.clone(), make).await.map(drop).expect("it runs");
                });
                assert_eq!(log.of(0), ["error Capacity", "close 1006"], "{row}");
                assert!(peer.state().peak() <= bound(size), "{row}: {} bytes of heap", peer.state().peak());
                // The last was refused, and the one before was the first above the bound.
                assert!((sent.get() - 2) * (size + 2) < CAP, "{row}: {} were sent", sent.get());
                uncounted(|| drop(payload));
            }
        }
    }
}

#[test]
fn d1_a_stalled_member_of_a_group_costs_no_more_than_its_bound_and_the_others_get_all() {
    const SIZE: usize = 5_000;
    const COUNT: usize = 2_000;
    let runtime = row::runtime();
    row::warm_up(&runtime);
    for (name, send) in &SENDS[2..] {
        let payload = uncounted(|| Bytes::from(vec![7; SIZE]));
        let (sent, log) = (Cell::new(0), Log::new());
        let stalled = asking(Role::Server, 0, After::Silence);
        stalled.writes(Writes::Room(0));
        let asks = asking(Role::Server, COUNT as u64, After::Silence);
        let group = build(settings(), |_: Sender| |_: Message| Ok(()));
        let make = |out| Answers { out, send: *send, payload: &payload, sent: &sent, log: log.clone() };
        runtime.block_on(async {
            stalled.measure();
            let member = |peer: &Peer| Attach::server().group(&group.broadcaster()).run(peer.clone(), make);
            let stalled = async {
                member(&stalled).await.map(drop).expect("it runs");
                // Nobody is asked any more when the clock moves on to the stalled one's end.
                asks.after(After::End);
            };
            let (_, asks) = tokio::join!(stalled, member(&asks));
            asks.map(drop).expect("it runs");
        });
        assert_eq!(log.of(0), ["error Capacity", "close 1006"], "{name}: stalled");
        assert_eq!(log.of(1), ["close 1006"], "{name}");
        let frames = asks.frames(Role::Server).expect("frames");
        assert_eq!(frames.len(), COUNT, "{name}");
        assert!(frames.iter().all(|frame| frame.payload == payload), "{name}");
        // Before the stalled one has its turn, the other one has had at most two, of 128 messages each; of each there may
        // be the payload, the frame and a command.
        let bound = bound(SIZE) + i64::try_from(2 * 128 * (2 * SIZE + 500)).expect("small");
        assert!(stalled.state().peak() <= bound, "{name}: {} bytes of heap", stalled.state().peak());
        uncounted(|| drop(payload));
    }
}

/// What a callback asks for, and whether it can be asked for a thousand times in vain.
type Command = fn(&Sender) -> Result<()>;

const COMMANDS: [(&str, Command); 8] = [
    ("send", |out| out.send("x")),
    ("try_send", |out| out.try_send("x")),
    ("send_to", |out| out.send_to(out.connection_id(), "x")),
    ("broadcast", |out| out.broadcast("x")),
    ("ping", |out| out.ping(Vec::new())),
    ("pong", |out| out.pong(Vec::new())),
    ("timeout", |out| out.timeout(3_600_000, Token(1))),
    ("close", |out| out.close(CloseCode::Normal)),
];

/// How many of a thousand were taken; the others were refused because the queue is full.
fn a_thousand(out: &Sender, command: Command) -> usize {
    let mut taken = 0;
    for _ in 0..1_000 {
        match command(out).map_err(|error| error.kind) {
            Ok(()) => taken += 1,
            Err(ErrorKind::Queue(QueueError::Full)) => {}
            Err(other) => panic!("{other:?}"),
        }
    }
    taken
}

#[test]
fn d10_a_thousand_commands_of_one_callback_are_refused_beyond_the_queue() {
    for (name, command) in COMMANDS {
        let script = Script::frames("81 01 61 ; 81 01 62 ; 88 00");
        let mut taken = Vec::new();
        let Outcome { told, .. } = Scene::new(Role::Server, script).play(|out, call| {
            if let Call::Message(_) = call {
                taken.push(a_thousand(out, command));
            }
            Ok(())
        });
        // max_connections times queue_size, and the same again for the next callback.
        assert_eq!(taken, [500, 500], "{name}");
        assert!(!told.iter().any(|what| what.starts_with("error")), "{name}: {told:?}");
    }
}

#[test]
fn d10_a_callback_that_fails_because_the_queue_is_full_keeps_its_connection() {
    let script = Script::frames("81 01 61 ; 81 01 62 ; 88 00");
    let mut outcome = Scene::new(Role::Server, script).play(|out, call| match call {
        Call::Message(_) => (0..1_000).try_for_each(|_| out.send("x")),
        _ => Ok(()),
    });
    outcome.told.retain(|what| !what.starts_with("new timeout"));
    let full = "error Queue(Full)";
    assert_eq!(outcome.told, ["open", "message a", full, "message b", full, "close 1005"]);
    let texts = outcome.wire.iter().filter(|(opcode, _)| *opcode == Opcode::Text).count();
    assert_eq!((texts, outcome.wire.len()), (1_000, 1_001));
}

#[tokio::test]
async fn d10_a_thousand_sends_of_one_callback_do_not_hang_a_run() {
    let log = Log::new();
    let told = log.clone();
    let react = move |out: &Sender, call: Call<'_>| {
        if let Call::Message(_) = call {
            told.note(out.connection_id(), format!("{} taken", a_thousand(out, |out| out.send("x"))));
        }
        Ok(())
    };
    let server = listen(Settings::default(), recording(log.clone(), react));
    let mut client = Wire::open(server.address).await;
    client.send(masked(0x81, "go")).await;
    client.reads(unmasked(0x81, "x").repeat(500)).await;
    log.until(0, "500 taken").await;
    drop(client);
    server.shut_down().await;
}

#[tokio::test]
async fn d10_ten_thousand_tiny_messages_in_one_write_are_all_echoed() {
    let server = listen(Settings::default(), |out: Sender| move |message: Message| out.send(message));
    let numbers = || (0..10_000).map(|number| number.to_string());
    let asked = numbers().flat_map(|number| masked(0x81, number)).collect::<Vec<_>>();
    let expected = numbers().flat_map(|number| unmasked(0x81, number)).collect::<Vec<_>>();
    let mut client = Wire::open(server.address).await;
    let (mut read, mut write) = client.0.split();
    let mut told = vec![0; expected.len()];
    let both = async { tokio::try_join!(write.write_all(&asked), read.read_exact(&mut told)) };
    within("all echoes", both).await.expect("an open connection");
    assert!(told == expected);
    drop(client);
    server.shut_down().await;
}

/// Whatever it is told, it tells everybody, the other one and itself. That the queue is full is nothing to it.
struct Gossip {
    out: Sender,
}

impl Handler for Gossip {
    fn on_message(&mut self, msg: Message) -> Result<()> {
        for other in self.out.connections() {
            let _ = self.out.send_to(other.connection_id(), msg.clone());
        }
        let _ = self.out.broadcast(msg.clone());
        let _ = self.out.send(msg);
        Ok(())
    }
}

const GOSSIPS: usize = 300;

/// Clients that all talk, and read until their ends, while a thread without a runtime waits for room again and again.
async fn gossip(address: SocketAddr, sender: &Sender) {
    let outside = sender.clone();
    let outside = Running::start(move || (0..GOSSIPS).filter(|_| outside.send("outside").is_ok()).count());
    let mut clients = [Wire::open(address).await, Wire::open(address).await, Wire::open(address).await];
    let talks = clients.each_mut().map(|client| async {
        let (mut read, mut write) = client.0.split();
        let words = masked(0x81, "word").repeat(GOSSIPS);
        let last = unmasked(0x8a, "done");
        let read_all = async {
            let mut told = Vec::new();
            // Behind it may be what the others said.
            while !told.windows(last.len()).any(|bytes| bytes == last) {
                told.drain(..told.len().saturating_sub(last.len()));
                assert_ne!(read.read_buf(&mut told).await?, 0, "an end");
            }
            Ok(())
        };
        let done = [words, masked(0x89, "done")].concat();
        within("an answer to everything", async { tokio::try_join!(write.write_all(&done), read_all) }).await
    });
    for talked in futures_util::future::join_all(talks).await {
        talked.expect("an open connection");
    }
    assert_eq!(outside.returns().await, GOSSIPS);
}

#[tokio::test]
async fn d10_callbacks_that_send_to_each_other_through_a_full_queue_do_not_deadlock() {
    let settings = Settings { max_connections: 3, queue_size: 1, ..Settings::default() };
    let server = listen(settings, |out| Gossip { out });
    gossip(server.address, &server.sender).await;
    server.shut_down().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d10_callbacks_of_parallel_tasks_that_send_to_each_other_do_not_deadlock() {
    let settings = Settings { max_connections: 3, queue_size: 1, ..Settings::default() };
    let ws = build(settings, |out| Gossip { out });
    let sender = ws.broadcaster();
    let (listener, address) = listener().await;
    let talk = async {
        gossip(address, &sender).await;
        sender.shutdown().expect("it is there");
    };
    let (_, served) = within("the end of both", async { tokio::join!(talk, ws.serve(listener)) }).await;
    served.map(drop).expect("no error");
}

#[test]
fn d11_a_message_without_an_end_is_too_big_at_its_limit() {
    row::warm_up(&row::runtime());
    let grows = Settings { max_message_size: 100_000, ..Settings::default() };
    let counted = Settings { fragments_grow: false, ..Settings::default() };
    let thousand = || Part::Filled(hex("00 7e 03 e8"), 0x61, 1_000);
    let fragment = |frame: &str| Part::Frame(hex(frame), FOREVER);
    let mut bytes = Script::frames("01 01 61");
    for _ in 0..200 {
        bytes = bytes.then(thousand());
    }
    let rows = [
        ("1,000 bytes each", grows, bytes),
        ("a byte each", grows, Script::frames("02 01 61").then(fragment("00 01 61"))),
        ("pings between", grows, Script::frames("02 01 61").then(fragment("00 01 61 89 00"))),
        ("empty ones", grows, Script::frames("01 00").then(fragment("00 00"))),
        ("ten at most", counted, Script::frames("01 01 61").then(fragment("00 01 61"))),
        ("ten empty ones at most", counted, Script::frames("01 00").then(fragment("00 00"))),
    ];
    for role in [Role::Server, Role::Client] {
        for (name, settings, script) in &rows {
            let after = After::StopOnClose;
            let Outcome { told, wire, peer } =
                Scene { role, script: script.clone(), after, settings: *settings }.play(listens);
            assert_eq!(told, ["open", "error Capacity", "close 1006"], "{name} as {role:?}");
            let [.., (Opcode::Close, last)] = &*wire else { panic!("{name} as {role:?}: {wire:?}") };
            assert_eq!(last[..2], 1009_u16.to_be_bytes(), "{name} as {role:?}");
            let (received, excess) = (peer.state().received, peer.state().excess);
            assert!(received <= 256 * 1024, "{name} as {role:?}: {received} bytes were read");
            assert!(excess <= 64 * 1024, "{name} as {role:?}: {excess} bytes of heap beyond twice what was read");
        }
    }
}
