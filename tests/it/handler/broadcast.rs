//! Broadcasts: whom they reach, in which state, and what they cost.

use wireline::{
    Message, Role,
    handler::{OpCode, Settings},
    proto::{Frame, Opcode},
};

use super::{
    rig::{Conn, Spec},
    wire::{REQUEST, Raw, SERVERS},
};
use crate::{
    scripted::{block_on, close, ping, pong, settle, text},
    support::alloc::{Meter, uncounted},
};

#[test]
fn a_broadcast_reaches_the_caller_clients_and_handshaking_ones_s3_8() {
    let spec = Spec::new().react(|ws, line| match line {
        "on_message go" => ws.broadcast("all"),
        _ => Ok(()),
    });
    for mode in SERVERS {
        let server = spec.fresh().serve(mode);
        let mut caller = Raw::open(server.address);
        let mut handshaking = Raw::dial(server.address);
        handshaking.write(&REQUEST[..20]);
        server.log.await_times("server_connected", 2);
        // A client of the same WebSocket, connected to a raw server.
        let (listener, url) = super::wire::listener();
        server.ws.connect(url::Url::parse(&url).unwrap()).unwrap();
        let mut client = Raw::welcome(&listener);
        server.log.await_times("on_open", 2);
        caller.send([text("go")]);
        assert_eq!(caller.frame(), Some(text("all")), "the caller, {mode:?}");
        assert_eq!(client.frame(), Some(text("all")), "clients, {mode:?}");
        handshaking.write(&REQUEST[20..]);
        handshaking.head();
        assert_eq!(handshaking.frame(), Some(text("all")), "handshaking ones, after open, {mode:?}");
        drop((caller, client, handshaking));
        server.shut_down();
    }
}

/// A peer that sends more broadcasts at once than may wait does not fill the queue: others have their turn before.
#[test]
fn broadcasts_that_arrive_at_once_do_not_fill_the_queue_s3_1() {
    let settings = Settings { max_connections: 4, queue_size: 5, ..Settings::default() };
    let spec = Spec::new().settings(settings).react(|ws, line| match line.strip_prefix("on_message ") {
        Some(text) => ws.broadcast(text),
        None => Ok(()),
    });
    for mode in SERVERS {
        let server = spec.fresh().serve(mode);
        let mut caller = Raw::open(server.address);
        let mut receiver = Raw::open(server.address);
        server.log.await_times("on_open", 2);
        caller.send((0..200).map(|number| text(number.to_string())));
        for number in 0..200 {
            let expected = Some(text(number.to_string()));
            assert_eq!((caller.frame(), receiver.frame()), (expected.clone(), expected), "{mode:?}");
        }
        assert_eq!(server.log.errors(), Vec::<String>::new(), "{mode:?}");
        drop((caller, receiver));
        server.shut_down();
    }
}

/// Also one that was only asked for before the broadcast.
#[test]
fn a_broadcast_reaches_connections_that_are_still_to_be_made_s3_8() {
    let (listener, url) = super::wire::listener();
    let spec = Spec::new();
    let ws = spec.websocket();
    let broadcaster = ws.broadcaster();
    broadcaster.send("too early").unwrap();
    broadcaster.connect(url::Url::parse(&url).unwrap()).unwrap();
    broadcaster.send("all").unwrap();
    let running = std::thread::spawn(move || ws.run().map(drop));
    let mut peer = Raw::welcome(&listener);
    assert_eq!(peer.frame(), Some(text("all")));
    peer.send([close(1000, "")]);
    assert_eq!(peer.frame(), Some(close(1000, "")));
    drop(peer);
    running.join().unwrap().unwrap();
}

async fn members(count: usize, spec: &Spec, group: &wireline::handler::Sender, role: Role) -> Vec<Conn> {
    let mut members = Vec::new();
    for _ in 0..count {
        members.push(spec.fresh().join(role, group).await);
    }
    members
}

#[test]
fn the_payload_of_a_broadcast_is_held_once_s3_8() {
    const SIZE: usize = 1_000_000;
    let settings = Settings { max_connections: 100, ..Settings::default() };
    block_on(async {
        let websocket = Spec::new().settings(settings).websocket();
        let group = websocket.broadcaster();
        // A hook that looks at nothing, because a look at the payload is a copy; a room of nothing, so that all of it waits.
        let mut members = Vec::new();
        for _ in 0..20 {
            let (transport, control) = crate::scripted::Scripted::new();
            control.room(0);
            let mut task = tokio::task::JoinSet::new();
            let attach = wireline::handler::Attach::server().group(&group);
            task.spawn(attach.run(transport, |_| |_: wireline::handler::Message| Ok(())));
            members.push((task, control));
        }
        settle().await;
        let message = Message::from(vec![7_u8; SIZE]);
        let meter = Meter::start();
        group.broadcast_shared(message).unwrap();
        settle().await;
        let peak = meter.peak();
        assert!(peak < 2 * i64::try_from(SIZE).unwrap(), "{peak} bytes for 20 connections");
        uncounted(|| drop(members));
    });
}

#[test]
fn on_send_frame_runs_per_connection_and_only_its_own_change_counts_s3_8() {
    let shouting = Spec::new().on_send_frame(|mut frame| {
        frame.payload_mut().make_ascii_uppercase();
        Ok(Some(frame))
    });
    let silent = Spec::new().on_send_frame(|_| Ok(None));
    let looking = Spec::new().on_send_frame(|frame| {
        assert_eq!(frame.opcode(), OpCode::Text);
        assert!(!frame.payload().is_empty());
        Ok(Some(frame))
    });
    block_on(async {
        for role in [Role::Server, Role::Client] {
            let websocket = Spec::new().websocket();
            let group = websocket.broadcaster();
            let plain = members(2, &Spec::new(), &group, role).await;
            let shouting = members(1, &shouting, &group, role).await;
            let silent = members(1, &silent, &group, role).await;
            let looking = members(1, &looking, &group, role).await;
            group.send("all").unwrap();
            settle().await;
            for member in plain.iter().chain(&looking) {
                assert_eq!(member.frames(), [text("all")], "{role:?}");
            }
            assert_eq!(shouting[0].frames(), [text("ALL")], "{role:?}");
            assert_eq!(silent[0].frames(), [], "{role:?}");
            for member in [plain, shouting, silent, looking].iter().flatten() {
                assert_eq!(member.log.only("on_send_frame"), ["on_send_frame TEXT all"], "{role:?}");
            }
        }
    });
}

/// A member with another fragment size than that of whoever encoded it first.
#[test]
fn members_with_settings_of_their_own_are_served_by_them_s3_8() {
    block_on(async {
        let websocket = Spec::new().websocket();
        let group = websocket.broadcaster();
        let spec = Spec::new();
        let small = Settings { fragment_size: 2, ..Settings::default() };
        let attach = |settings| wireline::handler::Attach::server().group(&group).settings(settings);
        let first = spec.attach_by(Role::Server, attach(Settings::default())).await;
        let second = spec.attach_by(Role::Server, attach(small)).await;
        group.send("abcd").unwrap();
        settle().await;
        assert_eq!(first.frames(), [text("abcd")]);
        let mut part = text("ab");
        part.fin = false;
        assert_eq!(second.frames(), [part, Frame::new(Opcode::Continuation, "cd")]);
    });
}

#[test]
fn a_broadcast_does_not_reach_those_that_are_closing_s3_6_and_3_8() {
    block_on(async {
        let websocket = Spec::new().websocket();
        let group = websocket.broadcaster();
        let leaving = Spec::new().join(Role::Server, &group).await;
        let staying = Spec::new().join(Role::Server, &group).await;
        leaving.ws().close(wireline::handler::CloseCode::Normal).unwrap();
        group.send("all").unwrap();
        settle().await;
        assert_eq!(leaving.frames(), [close(1000, "")]);
        assert_eq!(staying.frames(), [text("all")]);
        staying.arrive([ping("p")]).await;
        assert_eq!(staying.frames()[1..], [pong("p")]);
    });
}

/// A broadcast takes one place among the commands that may wait, until all have carried it out.
#[test]
fn broadcasts_are_bounded_by_the_slowest_s3_1_and_3_8() {
    let settings = Settings { max_connections: 3, queue_size: 1, ..Settings::default() };
    block_on(async {
        let websocket = Spec::new().settings(settings).websocket();
        let group = websocket.broadcaster();
        let _members = members(3, &Spec::new(), &group, Role::Server).await;
        let sent = |text: &str| super::rig::outcome(group.send(text.to_owned()));
        assert_eq!([sent("1"), sent("2"), sent("3"), sent("4")], ["Ok", "Ok", "Ok", "Queue(Full)"]);
        settle().await;
        assert_eq!(sent("5"), "Ok");
    });
}
