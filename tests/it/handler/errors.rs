//! What becomes of an open connection after an error, by its kind, and of one that is refused in `on_response`.

use std::{io, time::Duration};

use wireline::{
    Role,
    handler::{CloseCode, Error, ErrorKind, Sender, Settings, util::QueueError, util::Token},
    proto::Opcode,
};

use super::{
    rig::{Spec, bare_close, error, kind},
    wire::{Mode, RESPONSE, Raw, SERVERS, listener},
};
use crate::scripted::{ROLES, block_on, close, ping, settle, text};

/// Makes an error, and what becomes of an open connection: a Close code, `None` for a cut, `Some(0)` for nothing.
type Row = (&'static str, fn() -> Error, Option<u16>);

const GOES_ON: Option<u16> = Some(0);
const CUT: Option<u16> = None;

fn rows() -> Vec<Row> {
    vec![
        ("Internal", || error(ErrorKind::Internal), Some(1011)),
        ("Capacity", || error(ErrorKind::Capacity), Some(1009)),
        ("Protocol", || error(ErrorKind::Protocol), Some(1002)),
        ("Encoding", || not_utf8().into(), Some(1007)),
        ("Io", || io::Error::from(io::ErrorKind::BrokenPipe).into(), CUT),
        #[cfg(feature = "tls")]
        ("Ssl", || rustls::Error::General("because".into()).into(), CUT),
        ("Http", || httparse::Error::Status.into(), CUT),
        ("Queue", || QueueError::Full.into(), GOES_ON),
        ("Custom", || Box::new(std::fmt::Error).into(), GOES_ON),
    ]
}

fn not_utf8() -> std::str::Utf8Error {
    let bytes = b"\xff".to_vec();
    std::str::from_utf8(&bytes).unwrap_err()
}

/// In which callback the error is returned, and what makes that callback happen.
const CALLBACKS: [&str; 6] =
    ["on_open", "on_message x", "on_frame TEXT", "on_send_frame TEXT", "on_timeout", "on_new_timeout"];

fn failing(callback: &'static str, make: fn() -> Error) -> Spec {
    Spec::new().react(move |ws, line| {
        if line == "on_open" && callback != "on_open" {
            ws.timeout(0, Token(1))?;
        }
        if line.starts_with(callback) { Err(make()) } else { Ok(()) }
    })
}

#[test]
fn an_error_of_a_callback_is_told_and_ends_the_connection_by_its_kind_s3_4() {
    block_on(async {
        for role in ROLES {
            for (name, make, then) in rows() {
                for callback in CALLBACKS {
                    let case = format!("3.4: {name} from {callback}, {role:?}");
                    let conn = failing(callback, make).attach(role).await;
                    // Where on_open failed, everything may be over.
                    let _ = conn.ws().send("y");
                    conn.arrive([text("x")]).await;
                    tokio::time::advance(Duration::from_millis(10)).await;
                    settle().await;
                    let told = format!("on_error {}", kind(&make()));
                    assert!(conn.log.all().contains(&told), "{case}: {:?}", conn.log.all());
                    let closes: Vec<_> =
                        conn.frames().into_iter().filter(|frame| frame.opcode == Opcode::Close).collect();
                    match then {
                        GOES_ON => {
                            assert_eq!(closes, [], "{case}");
                            conn.arrive([ping("there")]).await;
                            assert!(conn.frames().iter().any(|frame| frame.payload == "there"), "{case}");
                        }
                        CUT => {
                            assert_eq!(closes, [], "{case}");
                            let lines = conn.log.callbacks();
                            assert_eq!(lines[lines.len() - 2..], [told, "on_close Abnormal".to_owned()], "{case}");
                        }
                        Some(code) => {
                            assert_eq!(closes, [close(code, &make().to_string())], "{case}");
                            // In step, so the peer's Close still counts.
                            conn.arrive([close(code, "")]).await;
                            let lines = conn.ended().await;
                            let last = format!("on_close {:?}", CloseCode::from(code));
                            assert_eq!(lines[lines.len() - 2..], [told, last], "{case}");
                        }
                    }
                }
            }
        }
    });
}

#[test]
fn reading_errors_are_told_too_s3_4() {
    let failures = [io::ErrorKind::ConnectionReset, io::ErrorKind::TimedOut];
    block_on(async {
        for role in ROLES {
            for kind in failures {
                let conn = Spec::new().attach(role).await;
                conn.control.fail_reads(kind);
                settle().await;
                let expected = ["on_open".to_owned(), format!("on_error Io({kind:?})"), "on_close Abnormal".into()];
                assert_eq!(conn.log.callbacks(), expected, "{role:?}");
            }
        }
    });
}

#[test]
fn writing_errors_end_the_connection_too_s3_4() {
    block_on(async {
        for role in ROLES {
            let conn = Spec::new().attach(role).await;
            conn.control.fail_writes(io::ErrorKind::BrokenPipe);
            conn.ws().send("x").unwrap();
            settle().await;
            conn.hang_up().await;
            let expected = ["on_open", "on_error Io(BrokenPipe)", "on_close Abnormal"];
            assert_eq!(conn.ended().await, expected, "{role:?}");
        }
    });
}

#[test]
fn the_reason_is_the_errors_text_cut_to_123_bytes_at_a_character_s3_4_and_4_close_reason() {
    let rows: &[(&str, usize)] = &[("", 0), ("short", 5), ("x", 123), ("é", 122), ("日", 122)];
    block_on(async {
        for (unit, _) in rows {
            let unit = (*unit).to_owned();
            let details = move || unit.repeat(100);
            let spec = Spec::new().react(move |_, line| match line {
                "on_message x" => Err(Error::new(ErrorKind::Protocol, details())),
                _ => Ok(()),
            });
            let conn = spec.attach(Role::Server).await;
            conn.arrive([text("x")]).await;
            let sent = conn.frames().remove(0).payload;
            let reason = std::str::from_utf8(&sent[2..]).expect("whole characters");
            let whole = &spec.log.errors()[0];
            assert!(whole.starts_with(reason) && reason.len() <= 123, "{reason}");
            let next = whole[reason.len()..].chars().next().map_or(0, char::len_utf8);
            assert!(next == 0 || reason.len() + next > 123, "as much as fits: {}", reason.len());
            assert!(!reason.contains("deprecated"), "4: Close reason");
        }
    });
}

#[test]
fn an_error_behind_an_error_is_no_news_4_after_a_fatal_error() {
    block_on(async {
        for role in ROLES {
            let conn = Spec::new().attach(role).await;
            let mut bytes = crate::scripted::encode(
                role,
                [text("before"), super::rig::continuation("x"), text("behind"), ping("p")],
            );
            bytes.extend(b"\xff\xff\xff\xff");
            conn.arrive_bytes(bytes).await;
            let expected = ["on_open", "on_message before", "on_error Protocol", "on_close Abnormal"];
            assert_eq!(conn.ended().await, expected, "{role:?}");
        }
    });
}

fn panics(settings: Settings, make: fn() -> Error) -> Option<String> {
    let spec = Spec::new().settings(settings).react(move |ws, line| match line {
        "on_message x" => Err(make()),
        "on_error Internal" => ws.send("told before"),
        _ => Ok(()),
    });
    block_on(async {
        let mut conn = spec.attach(Role::Server).await;
        conn.arrive([text("x"), bare_close()]).await;
        conn.control.end();
        assert_eq!(conn.log.only("on_error").len(), 1, "told first");
        match conn.join().await {
            Ok(_) => None,
            Err(panic) => {
                let panic = panic.into_panic();
                Some(panic.downcast_ref::<String>().expect("a text").clone())
            }
        }
    })
}

#[test]
fn each_kind_panics_where_the_settings_ask_for_it_s2_2_and_4_panic_on_internal() {
    let off = Settings::default();
    let on = |kind: &str| match kind {
        "Internal" => Settings { panic_on_internal: true, ..off },
        "Capacity" => Settings { panic_on_capacity: true, ..off },
        "Protocol" => Settings { panic_on_protocol: true, ..off },
        "Encoding" => Settings { panic_on_encoding: true, ..off },
        "Queue" => Settings { panic_on_queue: true, ..off },
        "Io" | "Ssl" => Settings { panic_on_io: true, ..off },
        _ => Settings { panic_on_timeout: true, ..off },
    };
    // One flag is for both.
    let flag = |kind: &'static str| if kind == "Ssl" { "Io" } else { kind };
    for (name, make, _) in rows() {
        assert_eq!(panics(off, make), None, "{name}: by default none does");
        let panic = panics(on(name), make);
        let expected = !matches!(name, "Http" | "Custom");
        assert_eq!(panic.is_some(), expected, "{name}: {panic:?}");
        if let Some(panic) = panic {
            assert!(panic.contains(&make().to_string()), "{name}: {panic}");
        }
        for (other, other_error, _) in rows() {
            if flag(other) != flag(name) {
                assert_eq!(panics(on(name), other_error), None, "{other} with the flag of {name}");
            }
        }
    }
}

/// Blocking: a panic that was asked for unwinds out of `run`.
#[test]
fn run_panics_where_the_settings_ask_for_it_s3_11() {
    let settings = Settings { panic_on_capacity: true, ..Settings::default() };
    let spec = Spec::new().settings(settings).react(|_, line| match line {
        "on_message x" => Err(error(ErrorKind::Capacity)),
        _ => Ok(()),
    });
    let server = spec.serve(Mode::Run);
    let mut peer = Raw::open(server.address);
    peer.send([text("x")]);
    assert!(server.panicked().contains("WebSocket at Capacity: because"));
}

fn refuses(make: fn() -> Error) -> impl Fn(&Sender, &str) -> wireline::handler::Result<()> {
    move |_, line| if line == "on_response" { Err(make()) } else { Ok(()) }
}

#[test]
fn a_response_that_the_handler_refuses_closes_by_its_kind_s3_4() {
    for (name, make, then) in rows() {
        let (listener, url) = listener();
        let client = Spec::new().react(refuses(make)).connect(Mode::Run, &[url]);
        let mut peer = Raw::welcome(&listener);
        // A message comes too late to be delivered.
        let code = match then {
            CUT => None,
            GOES_ON => Some(1011),
            code => code,
        };
        match code {
            None => assert_eq!(peer.frame(), None, "{name}"),
            Some(code) => {
                assert_eq!(peer.frame(), Some(close(code, &make().to_string())), "{name}");
                peer.send([text("late"), close(code, "")]);
                peer.end();
                assert_eq!(peer.frame(), None, "{name}");
            }
        }
        drop(peer);
        let told = format!("on_error {}", kind(&make()));
        let expected =
            ["client_connected", "build_request", "on_response", &told, "connection_lost", "Factory::on_shutdown"];
        let log = client.log.clone();
        assert_eq!(client.ended(), expected, "{name}: neither on_open nor on_close");
        let hooked = log.all().iter().position(|line| line.starts_with("on_send_frame"));
        let told = log.all().iter().position(|line| line.starts_with("on_error"));
        assert!(hooked.is_none() || told < hooked, "{name}: {:?}", log.all());
    }
}

/// It waits for the peer's Close until the deadline.
#[test]
fn timeouts_do_not_fire_where_the_handler_refused_the_response_s3_4_and_3_9() {
    let settings = Settings { close_timeout: Duration::from_millis(200), ..Settings::default() };
    let (listener, url) = listener();
    let spec = Spec::new().settings(settings).react(|ws, line| match line {
        "client_connected" => ws.timeout(50, Token(1)),
        "on_response" => Err(error(ErrorKind::Protocol)),
        _ => Ok(()),
    });
    let client = spec.connect(Mode::Run, &[url]);
    let mut peer = Raw::welcome(&listener);
    assert!(peer.frame().is_some_and(|frame| frame.opcode == Opcode::Close));
    let lines = client.ended();
    assert!(lines.iter().any(|line| line == "on_new_timeout 1"), "{lines:?}");
    assert!(!lines.iter().any(|line| line == "on_timeout 1"), "{lines:?}");
}

/// In the opening handshake no flag panics but the one for that.
#[test]
fn handshakes_panic_for_no_flag_of_open_connections_s3_5() {
    let all = Settings {
        panic_on_capacity: true,
        panic_on_protocol: true,
        panic_on_encoding: true,
        panic_on_queue: true,
        panic_on_io: true,
        panic_on_internal: true,
        ..Settings::default()
    };
    for mode in SERVERS {
        for (name, make, _) in rows() {
            let spec =
                Spec::new().settings(all).react(move |_, line| if line == "on_request" { Err(make()) } else { Ok(()) });
            let server = spec.serve(mode);
            let mut peer = Raw::dial(server.address);
            peer.write(super::wire::REQUEST);
            peer.rest();
            server.log.wait_for("connection_lost");
            let lines = server.shut_down();
            assert_eq!(lines[2], format!("on_error {}", kind(&make())), "{name}, {mode:?}");
        }
    }
}

#[test]
fn panic_on_new_connection_and_on_shutdown_panic_s2_2() {
    let settings = Settings { panic_on_new_connection: true, ..Settings::default() };
    let nobody = super::wire::Refused::new();
    let client = Spec::new().settings(settings).connect(Mode::Run, std::slice::from_ref(&nobody.url));
    assert!(client.panicked().contains("Unable to connect"));

    let settings = Settings { panic_on_shutdown: true, ..Settings::default() };
    let server = Spec::new().settings(settings).serve(Mode::Run);
    let log = server.log.clone();
    server.ws.shutdown().unwrap();
    assert!(server.panicked().contains("panic_on_shutdown"));
    assert_eq!(log.all(), ["Factory::on_shutdown"], "after it was carried out");

    // An end that is no shutdown does not.
    let (listener, url) = listener();
    let client = Spec::new().settings(settings).connect(Mode::Run, &[url]);
    let mut peer = Raw::accept(&listener);
    peer.head();
    peer.write(RESPONSE);
    drop(peer);
    client.ended();
}

#[test]
fn the_default_callbacks_never_fail_4_default_on_error_on_open() {
    struct Plain;
    impl wireline::handler::Handler for Plain {}
    block_on(async {
        for role in ROLES {
            let (transport, control) = crate::scripted::Scripted::new();
            control.arrive(crate::scripted::encode(role, [ping("p"), super::rig::continuation("x")]));
            control.end();
            assert!(super::rig::attach(role).run(transport, |_| Plain).await.is_ok(), "{role:?}");
            let sent = crate::scripted::frames(role, &control.output());
            let opcodes: Vec<_> = sent.iter().map(|frame| frame.opcode).collect();
            assert_eq!(opcodes, [Opcode::Pong, Opcode::Close], "4: default on_error, on_open, {role:?}");
        }
    });
}
