//! Handlers that look at messages only: neither hook is called, and everything else is as it is for the others.

use wireline::{
    Role,
    handler::{CloseCode, ErrorKind, Handler, Observes, Sender, Settings},
    proto::{self, Mask, Opcode},
};

use super::rig::{Conn, Spec, attach, bare_close, continuation, error, part};
use crate::scripted::{ROLES, Scripted, block_on, close, encode, frames, ping, pong, settle, text};

const BOTH: [Observes; 2] = [Observes::Frames, Observes::Messages];

fn messages() -> Spec {
    Spec::new().observes(Observes::Messages)
}

/// All that was logged, the hooks included if one was called, and what was sent.
fn seen(conn: &Conn) -> (Vec<String>, Vec<proto::Frame>) {
    (conn.log.all(), conn.frames())
}

fn said(lines: &[&str]) -> Vec<String> {
    lines.iter().map(|line| (*line).to_owned()).collect()
}

#[test]
fn the_hooks_are_not_called_and_messages_come_as_ever() {
    block_on(async {
        for role in ROLES {
            let conn = messages().attach(role).await;
            conn.arrive([text("a"), part(text("b")), ping("p"), part(continuation("c")), pong("q"), continuation("d")])
                .await;
            conn.ws().send("s").unwrap();
            conn.ws().broadcast("all").unwrap();
            conn.ws().ping(b"ask".to_vec()).unwrap();
            settle().await;
            conn.arrive([close(1000, "bye")]).await;
            let lines = said(&["on_open", "on_message a", "on_message bcd", "on_close Normal bye"]);
            let sent = vec![pong("p"), text("s"), text("all"), ping("ask"), close(1000, "")];
            assert_eq!(seen(&conn), (lines, sent), "{role:?}");
            conn.ended().await;
        }
    });
}

#[test]
fn our_own_close_waits_for_the_peers_and_delivers_until_then() {
    block_on(async {
        for role in ROLES {
            let conn = messages().attach(role).await;
            conn.ws().close_with_reason(CloseCode::Away, "enough").unwrap();
            conn.ws().send("too late").unwrap();
            settle().await;
            conn.arrive([text("under way"), ping("unanswered"), close(1001, "")]).await;
            let lines = said(&["on_open", "on_message under way", "on_close Away"]);
            assert_eq!(seen(&conn), (lines, vec![close(1001, "enough")]), "{role:?}");
            conn.ended().await;
        }
    });
}

/// Bytes as they arrive at this role: the header's first byte, and a payload.
fn raw(role: Role, first: u8, payload: &[u8]) -> Vec<u8> {
    let length = u8::try_from(payload.len()).unwrap();
    let (mut payload, mask) = (payload.to_vec(), [1, 2, 3, 4]);
    match role {
        Role::Client => [&[first, length][..], &payload].concat(),
        Role::Server => {
            Mask::new(mask).apply(&mut payload, 0);
            [&[first, 0x80 | length][..], &mask, &payload].concat()
        }
    }
}

#[test]
fn broken_rules_fail_the_connection_at_once() {
    type Row = (&'static str, &'static [(u8, &'static [u8])], &'static str, u16);
    let rows: &[Row] = &[
        ("text that is none", &[(0x81, b"\xff")], "Encoding", 1007),
        ("short text cut in a character", &[(0x81, b"abc\xe2\x82")], "Encoding", 1007),
        ("a fragment that is none, before the message ends", &[(0x01, b"a"), (0x00, b"\xc0")], "Encoding", 1007),
        ("RSV1", &[(0xc1, b"x")], "Protocol", 1002),
        ("RSV2", &[(0xa2, b"x")], "Protocol", 1002),
        ("RSV3 of a fragment", &[(0x01, b"x"), (0x10, b"x")], "Protocol", 1002),
        ("RSV1 of a ping", &[(0xc9, b"x")], "Protocol", 1002),
        ("opcode 3", &[(0x83, b"x")], "Protocol", 1002),
        ("a message inside a message", &[(0x01, b"x"), (0x82, b"x")], "Protocol", 1002),
        ("a fragment without a beginning", &[(0x80, b"x")], "Protocol", 1002),
        ("a fragmented ping", &[(0x09, b"x")], "Protocol", 1002),
    ];
    block_on(async {
        for role in ROLES {
            for (case, parts, kind, code) in rows {
                let before = raw(role, 0x82, b"before");
                let bytes = parts.iter().flat_map(|(first, payload)| raw(role, *first, payload));
                let behind = raw(role, 0x82, b"behind");
                let conn = messages().attach(role).await;
                conn.arrive_bytes(before.into_iter().chain(bytes).chain(behind).collect::<Vec<_>>()).await;
                let (lines, sent) = seen(&conn);
                assert_eq!(lines, ["on_open", "on_message before", &format!("on_error {kind}")], "{case}, {role:?}");
                assert!(sent.len() == 1 && sent[0].payload.starts_with(&code.to_be_bytes()), "{case}: {sent:?}");
                assert_eq!(conn.ended().await.last().unwrap(), "on_close Abnormal", "{case}, {role:?}");
            }
        }
    });
}

/// What a connection does with these bytes and this handler does not depend on what it observes, but for the hooks.
#[test]
fn nothing_but_the_hooks_depends_on_what_is_observed() {
    type React = fn(&Sender, &str) -> wireline::handler::Result<()>;
    let echo: React = |ws, line| line.strip_prefix("on_message ").map_or(Ok(()), |text| ws.send(text));
    let many: React = |ws, line| {
        if line.starts_with("on_message") {
            ws.send("1")?;
            ws.send_to(ws.connection_id(), "2")?;
            ws.ping(b"3".to_vec())?;
            ws.broadcast("4")?;
            ws.send(vec![5; 10_000])?;
            ws.send_shared("6".into())?;
        }
        Ok(())
    };
    let fails: React = |ws, line| match line {
        "on_message a" => ws.send("dropped").and(Err(error(ErrorKind::Protocol))),
        _ => Ok(()),
    };
    let goes_on: React = |ws, line| match line {
        "on_message a" => ws.send("sent").and(Err(error(ErrorKind::Custom("own".into())))),
        _ => Ok(()),
    };
    let panics: React = |ws, line| match line {
        "on_message a" => {
            ws.send("dropped")?;
            panic!("in a callback")
        }
        _ => Ok(()),
    };
    let closes: React = |ws, line| match line {
        "on_message a" => {
            ws.send("sent")?;
            ws.close(CloseCode::Normal)?;
            ws.send("dropped")
        }
        "on_message b" => ws.send("dropped too"),
        _ => Ok(()),
    };
    let plain = Settings::default();
    let cut = Settings { fragment_size: 3, ..plain };
    let tight = Settings { out_buffer_grow: false, out_buffer_capacity: 12, ..plain };
    let full = Settings { max_out_buffer: 12, ..plain };
    let short = Settings { max_message_size: 3, ..plain };
    let rows: [(&str, Settings, React); 10] = [
        ("echo", plain, echo),
        ("cut", cut, echo),
        ("out_buffer_capacity", tight, many),
        ("max_out_buffer", full, echo),
        ("max_message_size", short, echo),
        ("many", plain, many),
        ("fails", plain, fails),
        ("goes on", plain, goes_on),
        ("panics", plain, panics),
        ("closes", plain, closes),
    ];
    let arrivals = [
        vec![text("a"), text("b"), text("c"), text("grüße, a longer text"), text("")],
        vec![text("a"), part(text("b")), ping("p"), continuation("c"), text("d"), close(1000, "bye")],
        vec![proto::Frame::new(Opcode::Binary, vec![b'x'; 9000]), text("a"), bare_close()],
        vec![text("a"), close(4000, "bye"), text("behind the end")],
    ];
    block_on(async {
        for role in ROLES {
            for (case, settings, react) in rows {
                for frames in &arrivals {
                    let mut came = Vec::new();
                    for observes in BOTH {
                        let spec = Spec::new().settings(settings).react(react).observes(observes);
                        let conn = spec.attach(role).await;
                        conn.arrive(frames.clone()).await;
                        let sent = conn.frames();
                        came.push((sent, conn.ended().await));
                    }
                    assert_eq!(came[1], came[0], "{case}, {role:?}, {frames:?}");
                }
            }
        }
    });
}

#[test]
fn endless_input_lets_others_have_their_turn() {
    block_on(async {
        for role in ROLES {
            for in_one_read in [1, 1000] {
                let spec = messages();
                let (transport, control) = Scripted::new();
                control.arrive_for_ever(encode(role, vec![text("x"); in_one_read]));
                let mut task = tokio_test::task::spawn(attach(role).run(transport, |ws| spec.spy(ws)));
                for polls in 1..=5 {
                    tokio_test::assert_pending!(task.poll().map(drop), "{role:?}");
                    assert!(task.is_woken(), "{role:?}: it goes on");
                    let seen = spec.log.only("on_message").len();
                    assert!(seen > 0 && seen <= polls * 1024, "{seen} messages in {polls} polls, {role:?}");
                }
            }
        }
    });
}

/// A connection that is moved to another task between two turns is woken there.
#[test]
fn a_command_wakes_the_task_that_polled_last() {
    block_on(async {
        for observes in BOTH {
            let spec = Spec::new().observes(observes);
            let (transport, control) = Scripted::new();
            let (to, sender) = std::sync::mpsc::channel();
            let mut session = Box::pin(attach(Role::Server).run(transport, |ws| {
                to.send(ws.clone()).unwrap();
                spec.spy(ws)
            }));
            let mut ws = None;
            for turn in 0..3 {
                let mut task = tokio_test::task::spawn(&mut session);
                for number in 0..3 {
                    tokio_test::assert_pending!(task.poll().map(drop));
                    let ws = ws.get_or_insert_with(|| sender.recv().unwrap());
                    assert!(!task.is_woken(), "{turn}, {number}");
                    ws.send(format!("{turn} {number}")).unwrap();
                    assert!(task.is_woken(), "{turn}, {number}: of the task that polls now");
                }
                tokio_test::assert_pending!(task.poll().map(drop));
            }
            assert_eq!(frames(Role::Server, &control.output()).len(), 9);
        }
    });
}

/// A limit on fragments is counted where frames pass, so that the hooks are called.
#[test]
fn a_limit_on_fragments_holds() {
    let settings = Settings { fragments_grow: false, fragments_capacity: 2, ..Settings::default() };
    block_on(async {
        for role in ROLES {
            let conn = messages().settings(settings).attach(role).await;
            conn.arrive([part(text("a")), part(continuation("b")), continuation("c")]).await;
            assert_eq!(conn.log.callbacks(), ["on_open", "on_message abc"], "{role:?}");
            assert_eq!(conn.log.only("on_frame").len(), 3, "{role:?}");
            conn.arrive([part(text("a")), part(continuation("b")), part(continuation("c"))]).await;
            assert_eq!(conn.log.callbacks()[2..], ["on_error Capacity"], "{role:?}");
        }
    });
}

/// One message on the desk, and then another `WebSocket` that runs to its end in the same callback.
#[test]
fn an_answer_waits_while_the_callback_runs_another_connection() {
    let spec = messages().react(|ws, line| {
        if line.starts_with("on_message") {
            ws.send("before")?;
            let (transport, control) = Scripted::new();
            control.end();
            let inner = Spec::new().react(|ws, line| if line == "on_open" { ws.send("inside") } else { Ok(()) });
            let mut other = Box::pin(attach(Role::Server).run(transport, move |ws| inner.spy(ws)));
            let cx = &mut std::task::Context::from_waker(std::task::Waker::noop());
            let mut polls = 0;
            while other.as_mut().poll(cx).is_pending() {
                polls += 1;
                assert!(polls < 10, "it ends");
            }
            assert_eq!(frames(Role::Server, &control.output()), [text("inside")]);
            ws.send("behind")?;
        }
        Ok(())
    });
    block_on(async {
        let conn = spec.attach(Role::Server).await;
        conn.arrive([text("x"), text("y")]).await;
        assert_eq!(conn.frames(), [text("before"), text("behind"), text("before"), text("behind")]);
    });
}

#[test]
fn wrappers_say_what_the_handler_inside_observes() {
    for observes in BOTH {
        let spec = Spec::new().observes(observes);
        let sender = wireline::handler::WebSocket::new(spec.team()).unwrap().broadcaster();
        let boxed: Box<dyn Handler> = Box::new(spec.spy(sender.clone()));
        assert_eq!(boxed.observes(), observes);
        let boxed: Box<dyn Handler + Send> = Box::new(spec.spy(sender.clone()));
        assert_eq!(boxed.observes(), observes);
        #[cfg(feature = "deflate")]
        assert_eq!(wireline::handler::deflate::DeflateHandler::new(boxed).observes(), observes);
    }
    assert_eq!((|_: wireline::handler::Message| Ok(())).observes(), Observes::Messages);
}
