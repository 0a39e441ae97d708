//! What one turn broadcasts: in order with all else that the turn asks for, once to everyone, and within every limit, whether
//! it goes out as one or each by itself.

use std::{
    sync::{Arc, Mutex, mpsc},
    time::Duration,
};

use tokio::task::JoinSet;
use wireline::{
    Role,
    handler::{
        Attach, Builder, CloseCode, Error, Handler, Message, Observes, Result, Sender, Settings, WebSocket, util::Token,
    },
    proto::{Frame, Opcode},
};

use super::{
    rig::{PATIENCE, Spec, kind, outcome},
    wire::{REQUEST, Raw, SERVERS, listener, runtime},
};
use crate::scripted::{Control, Scripted, block_on, close, encode, frames, ping, settle, text};

type React = Arc<dyn Fn(&Sender, &str) -> Result<()> + Send + Sync>;

/// A handler that does what the test says to each message, and writes down what it is told and sends.
struct Member {
    ws: Sender,
    react: React,
    observes: Observes,
    log: Arc<Mutex<Vec<String>>>,
}

impl Handler for Member {
    fn on_message(&mut self, msg: Message) -> Result<()> {
        (self.react)(&self.ws, &msg.to_string())
    }

    fn on_error(&mut self, err: Error) {
        self.log.lock().unwrap().push(kind(&err));
    }

    fn on_send_frame(&mut self, frame: wireline::handler::Frame) -> Result<Option<wireline::handler::Frame>> {
        self.log.lock().unwrap().push(String::from_utf8_lossy(frame.payload()).into_owned());
        Ok(Some(frame))
    }

    fn observes(&self) -> Observes {
        self.observes
    }
}

/// Connections in memory, of one `WebSocket` and on one thread.
struct Room {
    group: Sender,
    members: Vec<(Control, Role)>,
    logs: Vec<Arc<Mutex<Vec<String>>>>,
    tasks: JoinSet<()>,
    _websocket: WebSocket<fn(Sender) -> Member>,
}

fn nobody(_: Sender) -> Member {
    unreachable!("all are attached")
}

impl Room {
    fn new(settings: Settings) -> Self {
        let websocket = Builder::new().with_settings(settings).build(nobody as fn(Sender) -> Member).unwrap();
        let group = websocket.broadcaster();
        Self { group, members: Vec::new(), logs: Vec::new(), tasks: JoinSet::new(), _websocket: websocket }
    }

    async fn join(
        &mut self,
        attach: Attach,
        role: Role,
        observes: Observes,
        react: impl Fn(&Sender, &str) -> Result<()> + Send + Sync + 'static,
    ) {
        let (transport, control) = Scripted::new();
        let log = Arc::new(Mutex::new(Vec::new()));
        let (to, react) = (Arc::clone(&log), Arc::new(react));
        let attach = attach.group(&self.group);
        self.tasks.spawn(async move {
            let made = attach.run(transport, |ws| Member { ws, react, observes, log: to });
            made.await.unwrap();
        });
        self.members.push((control, role));
        self.logs.push(log);
        settle().await;
    }

    /// One that acts, and so many that listen.
    async fn with(
        settings: Settings,
        observes: Observes,
        listeners: usize,
        react: impl Fn(&Sender, &str) -> Result<()> + Send + Sync + 'static,
    ) -> Self {
        let mut room = Self::new(settings);
        room.join(Attach::server(), Role::Server, observes, react).await;
        for _ in 0..listeners {
            room.join(Attach::server(), Role::Server, observes, |_, _| Ok(())).await;
        }
        room
    }

    /// These messages arrive at the first, with one read.
    async fn arrive<T: Into<String>>(&self, messages: impl IntoIterator<Item = T>) {
        self.members[0].0.arrive(encode(self.members[0].1, messages.into_iter().map(text)));
        settle().await;
    }

    fn frames(&self, member: usize) -> Vec<Frame> {
        let (control, role) = &self.members[member];
        frames(*role, &control.output())
    }

    fn writes(&self, member: usize) -> usize {
        self.members[member].0.writes()
    }

    fn log(&self, member: usize) -> Vec<String> {
        self.logs[member].lock().unwrap().clone()
    }
}

fn texts<const N: usize>(all: [&str; N]) -> Vec<Frame> {
    all.map(text).to_vec()
}

const BOTH: [Observes; 2] = [Observes::Messages, Observes::Frames];

#[test]
fn what_one_turn_broadcasts_is_written_at_once_in_order_with_its_own_s3_1_and_3_8() {
    block_on(async {
        for observes in BOTH {
            let react = |ws: &Sender, line: &str| {
                ws.send(format!("{line} own 1"))?;
                ws.broadcast(format!("{line} all 1"))?;
                ws.send(format!("{line} own 2"))?;
                ws.broadcast_others(format!("{line} others"))?;
                ws.broadcast_shared(wireline::Message::from(format!("{line} all 2")))
            };
            let room = Room::with(Settings::default(), observes, 3, react).await;
            room.arrive(["a", "b"]).await;
            let own = ["a own 1", "a all 1", "a own 2", "a all 2", "b own 1", "b all 1", "b own 2", "b all 2"];
            assert_eq!(room.frames(0), texts(own), "{observes:?}");
            let others = ["a all 1", "a others", "a all 2", "b all 1", "b others", "b all 2"];
            for member in 1..4 {
                assert_eq!(room.frames(member), texts(others), "{observes:?}");
                assert_eq!(room.writes(member), 1, "{observes:?}");
                let seen: Vec<String> = match observes {
                    Observes::Frames => others.map(str::to_owned).to_vec(),
                    _ => Vec::new(),
                };
                assert_eq!(room.log(member), seen, "3.8: on_send_frame runs per connection");
            }
        }
    });
}

#[test]
fn whatever_else_a_turn_asks_others_for_comes_in_its_place_s3_1() {
    block_on(async {
        for observes in BOTH {
            let react = |ws: &Sender, _: &str| {
                let others = ws.connections();
                ws.broadcast("1")?;
                ws.broadcast("2")?;
                ws.send_to(others[1].connection_id(), "to 1")?;
                ws.broadcast("3")?;
                others[1].send("by 1")?;
                ws.broadcast("4")?;
                others[2].broadcast_others("but 2")?;
                ws.broadcast("5")?;
                others[1].try_send("now 1")?;
                others[2].ping(b"ping".to_vec())?;
                ws.broadcast("6")?;
                others[1].broadcast("all by 1")?;
                ws.broadcast("x".repeat(20_000))?;
                ws.broadcast("7")?;
                others[2].close(CloseCode::Normal)?;
                ws.broadcast("8")
            };
            let room = Room::with(Settings::default(), observes, 2, react).await;
            room.arrive(["go"]).await;
            let long = "x".repeat(20_000);
            let own = ["1", "2", "3", "4", "but 2", "5", "6", "all by 1", &long, "7", "8"];
            assert_eq!(room.frames(0), texts(own), "{observes:?}");
            let first = ["1", "2", "to 1", "3", "by 1", "4", "but 2", "5", "now 1", "6", "all by 1", &long, "7", "8"];
            assert_eq!(room.frames(1), texts(first), "{observes:?}");
            let mut second = texts(["1", "2", "3", "4", "5", "6", "all by 1", &long, "7"]);
            second.insert(5, ping("ping"));
            second.push(close(1000, ""));
            assert_eq!(room.frames(2), second, "{observes:?}");
        }
    });
}

#[test]
fn a_broadcasters_commands_in_a_turn_keep_their_order_s3_1() {
    block_on(async {
        for observes in BOTH {
            let mut room = Room::new(Settings::default());
            let group = room.group.clone();
            let react = move |ws: &Sender, _: &str| {
                group.send("1")?;
                ws.broadcast("2")?;
                group.ping(b"3".to_vec())?;
                ws.broadcast("4")?;
                group.timeout(0, Token(1))?;
                group.broadcast_others("5")?;
                group.close_with_reason(CloseCode::Normal, "6")
            };
            room.join(Attach::server(), Role::Server, observes, react).await;
            room.join(Attach::server(), Role::Server, observes, |_, _| Ok(())).await;
            room.arrive(["go"]).await;
            for member in 0..2 {
                let expected = [text("1"), text("2"), ping("3"), text("4"), text("5"), close(1000, "6")];
                assert_eq!(room.frames(member), expected, "{member}, {observes:?}");
            }
        }
    });
}

/// A command of another thread that knows of a broadcast comes behind it.
#[test]
fn nobody_overtakes_a_broadcast_s3_1() {
    block_on(async {
        for observes in BOTH {
            let react = |ws: &Sender, _: &str| {
                let other = ws.connections()[1].clone();
                ws.broadcast("1")?;
                ws.broadcast("2")?;
                let sending = std::thread::spawn(move || {
                    other.send("3")?;
                    other.broadcast_others("4")
                });
                sending.join().unwrap()?;
                ws.broadcast("5")
            };
            let room = Room::with(Settings::default(), observes, 2, react).await;
            room.arrive(["go"]).await;
            assert_eq!(room.frames(1), texts(["1", "2", "3", "5"]), "{observes:?}");
            assert_eq!(room.frames(2), texts(["1", "2", "4", "5"]), "{observes:?}");
        }
    });
}

#[test]
fn a_panic_drops_nothing_that_was_broadcast_before_s3_11() {
    block_on(async {
        for panic_on_internal in [false, true] {
            let settings = Settings { panic_on_internal, ..Settings::default() };
            let react = |ws: &Sender, line: &str| {
                ws.broadcast(line)?;
                assert_ne!(line, "2");
                Ok(())
            };
            let room = Room::with(settings, Observes::Messages, 2, react).await;
            room.arrive(["1", "2", "3"]).await;
            for member in 1..3 {
                assert_eq!(room.frames(member), texts(["1", "2"]), "{panic_on_internal}");
            }
        }
    });
}

/// Members that are as they are: clients, which mask; another size of fragments; closing ones.
#[test]
fn each_member_sends_a_batch_in_its_own_way_s3_8() {
    block_on(async {
        for observes in BOTH {
            let react = |ws: &Sender, _: &str| ["abcd", "", "ef"].into_iter().try_for_each(|text| ws.broadcast(text));
            let mut room = Room::with(Settings::default(), observes, 1, react).await;
            let small = Settings { fragment_size: 2, ..Settings::default() };
            room.join(Attach::server().settings(small), Role::Server, observes, |_, _| Ok(())).await;
            room.join(Attach::client(), Role::Client, observes, |_, _| Ok(())).await;
            room.join(Attach::server(), Role::Server, observes, |_, _| Ok(())).await;
            room.group.connections()[4].close(CloseCode::Normal).unwrap();
            settle().await;
            room.arrive(["go"]).await;
            for member in [0, 1, 3] {
                assert_eq!(room.frames(member), texts(["abcd", "", "ef"]), "{member}, {observes:?}");
            }
            let mut part = text("ab");
            part.fin = false;
            let parts = [part, Frame::new(Opcode::Continuation, "cd"), text(""), text("ef")];
            assert_eq!(room.frames(2), parts, "{observes:?}");
            assert_eq!(room.frames(4), [close(1000, "")], "3.6: closing ones send nothing more, {observes:?}");
        }
    });
}

/// A member that cannot write gets exactly what it would get one by one, up to the byte at which it ends.
#[test]
fn the_limits_of_a_member_hold_for_a_batch_s3_12() {
    let limited = |max_out_buffer| Settings { max_out_buffer, ..Settings::default() };
    let fixed = |out_buffer_capacity| Settings { out_buffer_grow: false, out_buffer_capacity, ..Settings::default() };
    // Five messages of 100 bytes are 510 bytes as frames.
    let rows = [
        (limited(300), false),
        (limited(408), false),
        (limited(409), true),
        (limited(510), true),
        (limited(511), true),
        (fixed(509), false),
        (fixed(510), true),
    ];
    block_on(async {
        for (settings, all) in rows {
            for observes in BOTH {
                let mut seen = Vec::new();
                for together in [true, false] {
                    let message = |number: usize| number.to_string().repeat(100);
                    let act = move |ws: &Sender, _: &str| (0..5).try_for_each(|number| ws.broadcast(message(number)));
                    let mut room = Room::with(Settings::default(), observes, 0, act).await;
                    let attach = Attach::server().settings(settings);
                    room.join(attach, Role::Server, observes, |_, _| Ok(())).await;
                    room.members[1].0.room(0);
                    if together {
                        room.arrive(["go"]).await;
                    } else {
                        for number in 0..5 {
                            room.group.send(message(number)).unwrap();
                            settle().await;
                        }
                    }
                    room.members[1].0.room(usize::MAX);
                    settle().await;
                    seen.push((room.frames(1), room.log(1)));
                }
                assert_eq!(seen[0], seen[1], "{settings:?}, {observes:?}");
                let failed = seen[0].1.iter().any(|line| line == "Capacity");
                assert_eq!((seen[0].0.len(), failed), if all { (5, false) } else { (1, true) }, "{settings:?}");
            }
        }
    });
}

/// Each broadcast has its place until all have carried it out, and the next turn has room again.
#[test]
fn broadcasts_of_one_turn_take_a_place_each_s3_1() {
    let settings = Settings { max_connections: 3, queue_size: 1, ..Settings::default() };
    block_on(async {
        for observes in BOTH {
            let outcomes = Arc::new(Mutex::new(Vec::new()));
            let all = Arc::clone(&outcomes);
            let react = move |ws: &Sender, _: &str| {
                let sent = [1, 2, 3, 4].map(|number| outcome(ws.broadcast(number.to_string())));
                all.lock().unwrap().push(sent.join(" "));
                Ok(())
            };
            let room = Room::with(settings, observes, 2, react).await;
            for _ in 0..2 {
                room.arrive(["go"]).await;
            }
            assert_eq!(*outcomes.lock().unwrap(), ["Ok Ok Ok Queue(Full)"; 2], "{observes:?}");
            assert_eq!(room.frames(2), texts(["1", "2", "3", "1", "2", "3"]), "{observes:?}");
        }
    });
}

/// More than is put together.
#[test]
fn many_and_long_messages_of_one_turn_keep_their_order_s3_8() {
    block_on(async {
        for observes in BOTH {
            let settings = Settings { queue_size: 100, ..Settings::default() };
            let room = Room::with(settings, observes, 2, |ws, line| ws.broadcast(line)).await;
            let messages: Vec<String> = (0..600_usize).map(|n| format!("{n} {}", "x".repeat(n * n % 2000))).collect();
            room.arrive(messages.clone()).await;
            while room.frames(2).len() < messages.len() {
                settle().await;
            }
            let expected: Vec<Frame> = messages.into_iter().map(text).collect();
            for member in 0..3 {
                assert!(room.frames(member) == expected, "{member}, {observes:?}");
            }
        }
    });
}

#[test]
fn a_turn_that_broadcasts_connects_and_shuts_down_s3_8_and_3_10() {
    for mode in SERVERS {
        let (listener, url) = listener();
        let spec = Spec::new().react(move |ws, line| {
            if line == "on_message go" {
                ws.broadcast("before")?;
                ws.connect(url::Url::parse(&url).unwrap())?;
                ws.broadcast("1")?;
                ws.broadcast("2")?;
            }
            if line == "on_message end" {
                ws.broadcast("3")?;
                ws.broadcast("4")?;
                ws.shutdown()?;
                ws.broadcast("late")?;
            }
            Ok(())
        });
        let server = spec.serve(mode);
        let mut caller = Raw::open(server.address);
        let mut other = Raw::open(server.address);
        let mut handshaking = Raw::dial(server.address);
        handshaking.write(&REQUEST[..20]);
        server.log.await_times("server_connected", 3);
        server.log.await_times("on_open", 2);
        caller.send([text("go")]);
        let mut made = Raw::welcome(&listener);
        let next = |raw: &mut Raw| raw.frame().expect("a frame");
        for expected in ["before", "1", "2"].map(text) {
            assert_eq!((next(&mut caller), next(&mut other)), (expected.clone(), expected), "{mode:?}");
        }
        for expected in ["1", "2"].map(text) {
            assert_eq!(next(&mut made), expected, "asked for before, {mode:?}");
        }
        handshaking.write(&REQUEST[20..]);
        handshaking.head();
        for expected in ["before", "1", "2"].map(text) {
            assert_eq!(next(&mut handshaking), expected, "{mode:?}");
        }
        server.log.await_times("on_open", 4);
        caller.send([text("end")]);
        for raw in [&mut caller, &mut other, &mut handshaking, &mut made] {
            for expected in ["3", "4"].map(text) {
                assert_eq!(next(raw), expected, "{mode:?}");
            }
            let last = next(raw);
            let last = if last == text("late") { next(raw) } else { last };
            assert_eq!(last, close(1001, "Shutting down."), "{mode:?}");
        }
        drop((caller, other, handshaking, made));
        server.ended();
    }
}

/// A callback waits for what it has broadcast to arrive: that is a matter of this runtime's other threads.
#[test]
fn a_callback_may_wait_for_its_own_broadcast_where_others_run_meanwhile_s5_2() {
    let (arrived, wait) = mpsc::channel();
    let wait = Mutex::new(wait);
    let spec = Spec::new().react(move |ws, line| {
        if line == "on_message go" {
            ws.broadcast("1")?;
            ws.broadcast("2")?;
            let waited = tokio::task::block_in_place(|| wait.lock().unwrap().recv_timeout(PATIENCE));
            waited.expect("it arrived meanwhile");
        }
        Ok(())
    });
    let multi = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let ws = spec.websocket();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    listener.set_nonblocking(true).unwrap();
    let served = multi.spawn(async move {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        ws.serve(listener).await.map(drop)
    });
    let mut caller = Raw::open(address);
    let mut other = Raw::open(address);
    spec.log.await_times("on_open", 2);
    for _ in 0..20 {
        caller.send([text("go")]);
        assert_eq!((other.frame(), other.frame()), (Some(text("1")), Some(text("2"))));
        arrived.send(()).unwrap();
    }
    drop((caller, other, served));
    multi.shutdown_timeout(Duration::from_secs(1));
}

/// The same with a group whose members are on two threads, each with a runtime of its own.
#[test]
fn a_callback_may_wait_for_its_own_broadcast_to_another_thread_s5_2() {
    let group = WebSocket::new(nobody as fn(Sender) -> Member).unwrap();
    let (arrived, wait) = mpsc::channel();
    let (transport, control) = Scripted::new();
    let member = Attach::server().group(&group.broadcaster());
    let thread = std::thread::spawn(move || {
        runtime().block_on(member.run(transport, |_| |_: Message| Ok(()))).map(drop).unwrap();
    });
    while group.broadcaster().connections().is_empty() {
        std::thread::yield_now();
    }
    let elsewhere = control.clone();
    let react = move |ws: &Sender, line: &str| {
        ws.broadcast(format!("{line} 1"))?;
        ws.broadcast(format!("{line} 2"))?;
        while !frames(Role::Server, &elsewhere.output()).contains(&text(format!("{line} 2"))) {
            std::thread::yield_now();
        }
        arrived.send(()).unwrap();
        Ok(())
    };
    let (transport, here) = Scripted::new();
    let attach = Attach::server().group(&group.broadcaster());
    let log = Arc::default();
    let acting = attach.run(transport, |ws| Member { ws, react: Arc::new(react), observes: Observes::Messages, log });
    let acting = std::thread::spawn(move || runtime().block_on(acting).map(drop).unwrap());
    for line in ["a", "b"] {
        here.arrive(encode(Role::Server, [text(line)]));
        wait.recv_timeout(PATIENCE).expect("it arrived meanwhile");
    }
    control.end();
    here.end();
    thread.join().unwrap();
    acting.join().unwrap();
}

/// A member that the callback itself drives gets what was broadcast before.
#[test]
fn a_callback_may_run_a_member_of_its_own_group_s5_2() {
    block_on(async {
        let (transport, control) = Scripted::new();
        let driven = Mutex::new(None);
        let driven = Arc::new(driven);
        let to = Arc::clone(&driven);
        let end = control.clone();
        let react = move |ws: &Sender, _: &str| {
            ws.broadcast("1")?;
            ws.broadcast("2")?;
            let mut driven: Option<std::pin::Pin<Box<dyn Future<Output = ()> + Send>>> = to.lock().unwrap().take();
            let cx = &mut std::task::Context::from_waker(std::task::Waker::noop());
            assert!(driven.as_mut().unwrap().as_mut().poll(cx).is_pending());
            assert_eq!(frames(Role::Server, &end.output()), texts(["1", "2"]));
            Ok(())
        };
        let room = Room::with(Settings::default(), Observes::Messages, 0, react).await;
        let attach = Attach::server().group(&room.group);
        let mut future: std::pin::Pin<Box<dyn Future<Output = ()> + Send>> =
            Box::pin(async move { drop(attach.run(transport, |_| |_: Message| Ok(())).await) });
        let cx = &mut std::task::Context::from_waker(std::task::Waker::noop());
        assert!(future.as_mut().poll(cx).is_pending());
        *driven.lock().unwrap() = Some(future);
        room.arrive(["go"]).await;
        assert_eq!(frames(Role::Server, &control.output()), texts(["1", "2"]));
        assert_eq!(room.log(0), Vec::<String>::new());
    });
}
