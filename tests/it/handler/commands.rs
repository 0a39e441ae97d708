//! Commands: what a Sender's calls do, when, and what they come to.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use wireline::{
    Role,
    handler::{CloseCode, ErrorKind, Message, OpCode, Sender, Settings, util::Token},
};

use super::{
    rig::{Conn, Spec, outcome},
    wire::{Mode, Raw, Refused},
};
use crate::scripted::{ROLES, block_on, close, ping, pong, settle, text};

#[test]
fn commands_of_one_thread_are_carried_out_in_order_broadcasts_included_s3_1() {
    let spec = Spec::new().react(|ws, line| {
        if line == "on_open" {
            ws.send("1")?;
            ws.broadcast("2")?;
            ws.ping(b"3".to_vec())?;
            ws.send_to(ws.connection_id(), "4")?;
            ws.pong(b"5".to_vec())?;
            ws.send_shared("6".into())?;
            ws.broadcast_shared("7".into())?;
            ws.try_send("8")?;
            ws.close_with_reason(CloseCode::Normal, "9")?;
        }
        Ok(())
    });
    let expected =
        [text("1"), text("2"), ping("3"), text("4"), pong("5"), text("6"), text("7"), text("8"), close(1000, "9")];
    block_on(async {
        for role in ROLES {
            let conn = spec.attach(role).await;
            assert_eq!(conn.frames(), expected, "3.1, {role:?}");
            conn.ended().await;
        }
    });
}

#[test]
fn commands_beyond_one_turn_and_of_their_own_sending_keep_their_order_s3_1() {
    let settings = Settings { queue_size: 100, ..Settings::default() };
    let spec = Spec::new().settings(settings).react(|ws, line| {
        if line == "on_open" {
            (0..1500).try_for_each(|n| ws.send(n.to_string()))?;
        }
        let sent = line.strip_prefix("on_send_frame TEXT ").and_then(|text| text.parse::<u32>().ok());
        if let Some(n) = sent.filter(|n| n % 100 == 0) {
            ws.send(format!("behind {n}"))?;
            ws.broadcast(format!("and {n}"))?;
        }
        Ok(())
    });
    let behind = (0..15).flat_map(|n| [format!("behind {}", n * 100), format!("and {}", n * 100)]);
    let expected: Vec<_> = (0..1500).map(|n| n.to_string()).chain(behind).map(text).collect();
    block_on(async {
        for role in ROLES {
            let conn = spec.fresh().attach(role).await;
            settle().await;
            assert_eq!(conn.frames(), expected, "3.1, {role:?}");
        }
    });
}

#[test]
fn a_call_only_queues_and_what_a_callback_leaves_is_carried_out_before_the_next_frame_s3_1() {
    let spec = Spec::new().react(|ws, line| match line.strip_prefix("on_message ") {
        Some(text) => {
            ws.send(format!("{text}1"))?;
            ws.send(format!("{text}2"))
        }
        None => Ok(()),
    });
    block_on(async {
        for role in ROLES {
            let conn = spec.fresh().attach(role).await;
            conn.arrive([text("a"), text("b")]).await;
            let expected = [
                "on_open",
                "on_frame TEXT a",
                "on_message a",
                "on_send_frame TEXT a1",
                "on_send_frame TEXT a2",
                "on_frame TEXT b",
                "on_message b",
                "on_send_frame TEXT b1",
                "on_send_frame TEXT b2",
            ];
            assert_eq!(conn.log.all(), expected, "3.1, {role:?}");
        }
    });
}

#[test]
fn a_handler_that_answers_every_message_never_fills_the_queue_s3_1() {
    let settings = Settings { max_connections: 1, queue_size: 1, ..Settings::default() };
    let spec = Spec::new().settings(settings).react(|ws, line| match line.strip_prefix("on_message ") {
        Some(text) => ws.send(text),
        None => Ok(()),
    });
    block_on(async {
        let conn = spec.attach(Role::Server).await;
        conn.arrive((0..2000).map(|number| text(number.to_string()))).await;
        while conn.frames().len() < 2000 {
            settle().await;
        }
        assert_eq!(conn.frames().last(), Some(&text("1999")));
        assert_eq!(conn.log.errors(), Vec::<String>::new());
    });
}

#[test]
fn a_full_queue_is_an_error_at_once_where_tokio_runs_s3_1_and_4_full_queue() {
    let settings = Settings { max_connections: 2, queue_size: 2, ..Settings::default() };
    let results = Arc::new(std::sync::Mutex::new(Vec::new()));
    let all = Arc::clone(&results);
    let spec = Spec::new().settings(settings).react(move |ws, line| {
        if line == "on_open" {
            let mut results = all.lock().unwrap();
            results.extend((0..5).map(|number| outcome(ws.send(number.to_string()))));
            results.push(outcome(ws.broadcast("late")));
            results.push(outcome(ws.try_send("late")));
            results.push(outcome(ws.timeout(1, Token(1))));
        }
        Ok(())
    });
    block_on(async {
        let conn = spec.attach(Role::Server).await;
        // max_connections * queue_size may wait.
        let (ok, full) = ("Ok", "Queue(Full)");
        assert_eq!(*results.lock().unwrap(), [ok, ok, ok, ok, full, full, full, full], "4: full queue");
        assert_eq!(conn.frames(), ["0", "1", "2", "3"].map(text), "what was taken is carried out");
        assert_eq!(outcome(conn.ws().send("again")), "Ok", "there is room again");
    });
}

#[test]
fn a_full_queue_blocks_other_threads_until_there_is_room_s3_1() {
    let settings = Settings { max_connections: 1, queue_size: 1, ..Settings::default() };
    let spec = Spec::new().settings(settings);
    let ws = spec.websocket().bind("127.0.0.1:0").unwrap();
    let broadcaster = ws.broadcaster();
    let nobody = Refused::new();
    let refused = url::Url::parse(&nobody.url).unwrap();
    assert_eq!(outcome(broadcaster.connect(refused.clone())), "Ok");
    assert_eq!(outcome(broadcaster.try_send("full")), "Queue(Full)", "try_send never blocks");
    let waiting = thread::spawn(move || {
        let connected = broadcaster.connect(refused);
        broadcaster.shutdown().unwrap();
        outcome(connected)
    });
    ws.run().unwrap();
    assert_eq!(waiting.join().unwrap(), "Ok", "it waited until the run had made room");
}

/// Every call of a Sender that may fail, with its name.
type Call = (&'static str, fn(&Sender) -> wireline::handler::Result<()>);

const TO_ITSELF: &[Call] = &[
    ("send", |ws| ws.send("x")),
    ("send_shared", |ws| ws.send_shared("x".into())),
    ("close", |ws| ws.close(CloseCode::Normal)),
    ("close_with_reason", |ws| ws.close_with_reason(CloseCode::Normal, "x")),
    ("ping", |ws| ws.ping(vec![])),
    ("pong", |ws| ws.pong(vec![])),
    ("timeout", |ws| ws.timeout(1, Token(1))),
];

const TELLING: &[Call] = &[("try_send", |ws| ws.try_send("x")), ("send_to", |ws| ws.send_to(ws.connection_id(), "x"))];

const OTHERS: &[Call] = &[
    ("broadcast", |ws| ws.broadcast("x")),
    ("broadcast_others", |ws| ws.broadcast_others("x")),
    ("broadcast_shared", |ws| ws.broadcast_shared("x".into())),
    ("connect", |ws| ws.connect(url::Url::parse("ws://127.0.0.1:1").unwrap())),
    ("shutdown", Sender::shutdown),
];

#[test]
fn on_a_connection_that_is_gone_commands_are_ok_and_dropped_s3_1_and_4_dead_connection() {
    block_on(async {
        let websocket = Spec::new().websocket();
        let group = websocket.broadcaster();
        let first = Spec::new().join(Role::Server, &group).await;
        let stale = first.ws();
        assert!(stale.is_alive());
        first.ended().await;
        assert!(!stale.is_alive(), "4: dead connection");

        // The next has its place, and none of what was meant for it.
        let second = Spec::new().join(Role::Server, &group).await;
        assert_eq!(second.ws().token(), stale.token(), "places are used again");
        assert_ne!(second.ws(), stale, "numbers are not");
        for (name, call) in TO_ITSELF {
            assert_eq!(outcome(call(&stale)), "Ok", "{name}");
        }
        for (name, call) in TELLING {
            assert_eq!(outcome(call(&stale)), "Queue(Closed)", "{name} tells the truth");
        }
        settle().await;
        assert_eq!(second.frames(), [], "3.1: a reused slot never gets them");
        assert_eq!(second.log.all(), ["on_open"]);
        // What was dropped left no place taken.
        for number in 0..1000 {
            assert_eq!(outcome(stale.send("x")), "Ok", "{number}");
        }
    });
}

#[test]
fn once_the_websocket_is_gone_everything_is_an_error_s3_1() {
    block_on(async {
        let spec = Spec::new().react(|ws, line| if line == "on_open" { ws.timeout(1000, Token(1)) } else { Ok(()) });
        let conn = spec.attach(Role::Server).await;
        let member = conn.ws();
        conn.ended().await;
        let broadcaster = Spec::new().websocket().broadcaster();
        for (of, ws) in [("a connection's", &member), ("a broadcaster", &broadcaster)] {
            for (name, call) in TO_ITSELF.iter().chain(TELLING).chain(OTHERS) {
                assert_eq!(outcome(call(ws)), "Queue(Closed)", "{of}: {name}");
            }
            assert_eq!(outcome(ws.cancel(spec.log.timeouts()[0].clone())), "Queue(Closed)", "{of}: cancel");
            assert!(!ws.is_alive() && ws.connections().is_empty(), "{of}");
        }
    });
}

#[test]
fn between_runs_commands_wait_s3_1() {
    let spec = Spec::new();
    let mut ws = spec.websocket();
    let broadcaster = ws.broadcaster();
    let nobody = Refused::new();
    for run in 1..=2 {
        broadcaster.connect(url::Url::parse(&nobody.url).unwrap()).unwrap();
        assert_eq!(spec.log.count("client_connected"), run - 1, "nothing is done before it runs");
        ws = ws.run().unwrap();
        assert_eq!(spec.log.count("client_connected"), run);
        assert_eq!(spec.log.count("connection_lost"), run);
    }
}

#[test]
fn long_control_payloads_are_refused_at_once_4_own_illegal_frames() {
    block_on(async {
        let conn = Spec::new().attach(Role::Server).await;
        for (len, expected) in [(0, "Ok"), (125, "Ok"), (126, "Protocol"), (70_000, "Protocol")] {
            assert_eq!(outcome(conn.ws().ping(vec![b'x'; len])), expected, "ping of {len} bytes");
            assert_eq!(outcome(conn.ws().pong(vec![b'x'; len])), expected, "pong of {len} bytes");
        }
        settle().await;
        assert_eq!(conn.frames().len(), 4);
    });
}

#[test]
fn a_broadcasters_commands_go_to_all_and_its_token_is_no_connections_s2_6() {
    block_on(async {
        let websocket = Spec::new().websocket();
        let group = websocket.broadcaster();
        assert_eq!((group.token(), group.connection_id()), (Token(usize::MAX - 5), 0));
        let members = [Spec::new().join(Role::Server, &group).await, Spec::new().join(Role::Client, &group).await];
        assert_eq!(group.connections(), members.each_ref().map(Conn::ws));
        group.send("1").unwrap();
        group.ping(b"2".to_vec()).unwrap();
        group.pong(b"3".to_vec()).unwrap();
        members[0].ws().broadcast_others("4").unwrap();
        members[0].ws().send_to(members[1].ws().connection_id(), "5").unwrap();
        assert_eq!(outcome(group.send_to(99, "x")), "Queue(Closed)", "an unknown id");
        group.close(CloseCode::Away).unwrap();
        settle().await;
        let both = [text("1"), ping("2"), pong("3")];
        assert_eq!(members[0].frames(), [&both[..], &[close(1001, "")]].concat());
        assert_eq!(members[1].frames(), [&both[..], &[text("4"), text("5"), close(1001, "")]].concat());
    });
}

/// With other threads at work, each thread's own commands stay in order.
#[test]
fn commands_of_several_threads_keep_each_threads_order_s3_1() {
    const EACH: usize = 500;
    let server = Spec::new().serve(Mode::Run);
    let mut peer = Raw::open(server.address);
    server.log.wait_for("on_open");
    let member = server.ws.connections()[0].clone();
    let sent = Arc::new(AtomicUsize::new(0));
    let threads: Vec<_> = ["a", "b"]
        .map(|name| {
            let (member, sent) = (member.clone(), Arc::clone(&sent));
            thread::spawn(move || {
                for number in 0..EACH {
                    // Beyond 500 that wait, this blocks.
                    member.send(format!("{name}{number:03}")).unwrap();
                    sent.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .into();
    let received: Vec<String> =
        (0..2 * EACH).map(|_| String::from_utf8(peer.frame().expect("a message").payload.to_vec()).unwrap()).collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    for name in ["a", "b"] {
        let own: Vec<_> = received.iter().filter(|text| text.starts_with(name)).cloned().collect();
        let expected: Vec<_> = (0..EACH).map(|number| format!("{name}{number:03}")).collect();
        assert_eq!(own, expected);
    }
    drop(peer);
    server.shut_down();
}

#[test]
fn a_message_of_every_kind_can_be_sent_s2_7() {
    let rows: [(Message, OpCode); 3] = [
        (Message::text("t"), OpCode::Text),
        (Message::binary(vec![1]), OpCode::Binary),
        (Message::from(&b"slice"[..]), OpCode::Binary),
    ];
    block_on(async {
        let conn = Spec::new().attach(Role::Client).await;
        for (message, _) in &rows {
            conn.ws().send(message.clone()).unwrap();
        }
        settle().await;
        let opcodes: Vec<OpCode> = conn.frames().iter().map(|frame| OpCode::from(frame.opcode.bits())).collect();
        assert_eq!(opcodes, rows.map(|(_, opcode)| opcode));
        assert!(matches!(conn.ws().ping(vec![0; 200]).unwrap_err().kind, ErrorKind::Protocol));
    });
}
