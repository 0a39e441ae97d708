//! The order of callbacks, as one log for each role, however it runs.

use std::{
    io::Write,
    net::ToSocketAddrs,
    sync::{Arc, Mutex},
};

use wireline::{
    Role,
    handler::{CloseCode, ErrorKind, Sender, util::Token},
};

use super::{
    rig::{Log, Spec, error},
    wire::{CLIENTS, Mode, REQUEST, RESPONSE, Raw, Refused, SERVERS, listener},
};
use crate::scripted::{block_on, close, ping, pong, text};

const OPEN: [&str; 5] =
    ["on_frame TEXT hi", "on_message hi", "on_frame CLOSE 1000 bye", "on_close Normal bye", "on_send_frame CLOSE 1000"];

#[test]
fn a_servers_callbacks_come_in_order_s3_2() {
    let before = ["server_connected", "on_request", "on_open"];
    let after = ["connection_lost", "on_shutdown"];
    for mode in SERVERS {
        let server = Spec::new().serve(mode);
        let mut peer = Raw::open(server.address);
        peer.send([text("hi"), close(1000, "bye")]);
        assert_eq!(peer.frames(), [close(1000, "")], "{mode:?}");
        server.log.wait_for("connection_lost");
        let log = server.log.clone();
        server.shut_down();
        let expected = [&before[..], &OPEN, &after[..1], &["Factory::on_shutdown"]].concat();
        assert_eq!(log.all(), expected, "3.2, {mode:?}");
    }
    block_on(async {
        let conn = Spec::new().attach(Role::Server).await;
        conn.arrive([text("hi"), close(1000, "bye")]).await;
        assert_eq!(conn.log.all(), [&["on_open"][..], &OPEN].concat(), "3.2, Attach");
        conn.ended().await;
    });
}

#[test]
fn a_clients_callbacks_come_in_order_s3_2() {
    let before = ["client_connected", "build_request", "on_response", "on_open"];
    let after = ["connection_lost", "Factory::on_shutdown"];
    for mode in CLIENTS {
        let (listener, url) = listener();
        let client = Spec::new().connect(mode, &[url]);
        let mut peer = Raw::welcome(&listener);
        peer.send([text("hi"), close(1000, "bye")]);
        assert_eq!(peer.frame(), Some(close(1000, "")), "{mode:?}");
        drop(peer);
        let log = client.log.clone();
        client.ended();
        assert_eq!(log.all(), [&before[..], &OPEN, &after].concat(), "3.2, {mode:?}");
    }
    block_on(async {
        let conn = Spec::new().attach(Role::Client).await;
        conn.arrive([text("hi"), close(1000, "bye")]).await;
        assert_eq!(conn.log.all(), [&["on_open"][..], &OPEN].concat(), "3.2, Attach");
        conn.ended().await;
    });
}

/// One thread runs both ends, and other connections beside them.
#[test]
fn both_roles_share_a_websocket_and_the_factory_is_shut_down_once_s3_2() {
    for mode in SERVERS {
        let spec = Spec::new().react(|ws, line| match line {
            "on_message hi" => ws.close(CloseCode::Normal),
            _ => Ok(()),
        });
        let server = spec.serve(mode);
        let url = url::Url::parse(&format!("ws://{}", server.address)).unwrap();
        for _ in 0..3 {
            server.ws.connect(url.clone()).unwrap();
        }
        server.log.await_times("on_open", 6);
        server.ws.connections()[0].send("hi").unwrap();
        server.log.await_times("connection_lost", 2);
        let lines = server.shut_down();
        let count = |line: &str| lines.iter().filter(|found| *found == line).count();
        assert_eq!([count("server_connected"), count("client_connected")], [3, 3], "{mode:?}");
        assert_eq!((count("connection_lost"), count("Factory::on_shutdown")), (6, 1), "{mode:?}");
        assert_eq!(lines.last().map(String::as_str), Some("Factory::on_shutdown"), "{mode:?}");
        let closed = lines.iter().filter(|line| line.starts_with("on_close")).count();
        assert_eq!(closed, 6, "3.2: on_close once for each, {mode:?}");
    }
}

/// However a connection fails to open, its handler is handed back once, and is told of no close.
#[test]
fn connection_lost_is_called_once_also_for_what_never_opened_s3_2() {
    let unopened = |lines: &[String], case: &str| {
        let count = |line: &str| lines.iter().filter(|found| found.starts_with(line)).count();
        assert_eq!(count("connection_lost"), 1, "{case}: {lines:?}");
        assert_eq!((count("on_close"), count("on_open")), (0, 0), "{case}: {lines:?}");
    };
    let nobody = Refused::new();
    let long = "x".repeat(64);
    for mode in CLIENTS {
        for (case, url) in [("refused", nobody.url.clone()), ("no such name", format!("ws://{long}.invalid/"))] {
            let lines = Spec::new().connect(mode, &[url]).ended();
            unopened(&lines, case);
            assert_eq!(lines[..2], ["client_connected", "build_request"], "3.2: before DNS and TCP, {case}");
        }
        for (case, answer) in
            [("refusal", "HTTP/1.1 403 Forbidden\r\n\r\n"), ("hang-up", ""), ("nonsense", "\0\0\r\n\r\n")]
        {
            let (listener, url) = listener();
            let client = Spec::new().connect(mode, &[url]);
            let mut peer = Raw::accept(&listener);
            peer.head();
            peer.write(answer);
            drop(peer);
            unopened(&client.ended(), case);
        }
    }
    for mode in SERVERS {
        for (case, request) in [
            ("hang-up", ""),
            ("half a head", "GET / HT"),
            ("nonsense", "\0\0\r\n\r\n"),
            ("a page", "GET / HTTP/1.1\r\n\r\n"),
        ] {
            let server = Spec::new().serve(mode);
            let mut peer = Raw::dial(server.address);
            peer.write(request);
            peer.end();
            peer.rest();
            server.log.wait_for("connection_lost");
            unopened(&server.shut_down(), case);
        }
    }
}

#[test]
fn build_request_runs_once_whatever_the_number_of_addresses_s3_2() {
    let nobody = Refused::new();
    let port = url::Url::parse(&nobody.url).unwrap().port().unwrap();
    assert!(("localhost", port).to_socket_addrs().unwrap().count() >= 1);
    let lines = Spec::new().connect(Mode::Run, &[format!("ws://localhost:{port}/")]).ended();
    let expected = [
        "client_connected",
        "build_request",
        "on_error Io(ConnectionRefused)",
        "connection_lost",
        "Factory::on_shutdown",
    ];
    assert_eq!(lines, expected);
}

fn asks_early(ws: &Sender, line: &str) -> wireline::handler::Result<()> {
    match line {
        "client_connected" | "server_connected" => {
            ws.send("1")?;
            ws.ping(b"2".to_vec())?;
            ws.pong(b"3".to_vec())?;
            ws.broadcast("4")
        }
        "on_request" | "on_response" => ws.send("5"),
        "on_open" => {
            ws.send("6")?;
            ws.close_with_reason(CloseCode::Normal, "7")
        }
        _ => Ok(()),
    }
}

const EARLY: [&str; 7] = [
    "on_send_frame TEXT 1",
    "on_send_frame PING 2",
    "on_send_frame PONG 3",
    "on_send_frame TEXT 4",
    "on_send_frame TEXT 5",
    "on_send_frame TEXT 6",
    "on_send_frame CLOSE 1000 7",
];

#[test]
fn sends_before_open_are_carried_out_right_after_on_open_s3_2_and_4_sends_before_open() {
    let frames = [text("1"), ping("2"), pong("3"), text("4"), text("5"), text("6"), close(1000, "7")];
    let check = |log: &Log, case: &str| {
        let lines = log.all();
        let open = lines.iter().position(|line| line == "on_open").expect("it opened");
        assert_eq!(lines[open + 1..open + 8], EARLY, "4: sends before open, {case}");
        assert!(!lines[..open].iter().any(|line| line.starts_with("on_send_frame")), "{case}: {lines:?}");
    };
    for mode in SERVERS {
        let server = Spec::new().react(asks_early).serve(mode);
        let mut peer = Raw::open(server.address);
        let received: Vec<_> = (0..7).filter_map(|_| peer.frame()).collect();
        assert_eq!(received, frames, "{mode:?}");
        drop(peer);
        check(&server.log, &format!("server, {mode:?}"));
        server.shut_down();
    }
    for mode in CLIENTS {
        let (listener, url) = listener();
        let client = Spec::new().react(asks_early).connect(mode, &[url]);
        let mut peer = Raw::welcome(&listener);
        let received: Vec<_> = (0..7).filter_map(|_| peer.frame()).collect();
        assert_eq!(received, frames, "{mode:?}");
        drop(peer);
        check(&client.log, &format!("client, {mode:?}"));
        client.ended();
    }
    // And with Attach, which is open from its beginning.
    block_on(async {
        let (transport, control) = crate::scripted::Scripted::new();
        let spec = Spec::new().react(asks_early);
        let log = spec.log.clone();
        let handler = wireline::handler::Attach::server().run(transport, |ws: Sender| {
            asks_early(&ws, "server_connected").unwrap();
            asks_early(&ws, "on_request").unwrap();
            spec.spy(ws)
        });
        control.end();
        handler.await.unwrap();
        check(&log, "Attach");
    });
}

/// A close before open waits for on_open too.
#[test]
fn a_close_before_open_follows_on_open_s3_2() {
    let spec = Spec::new().react(|ws, line| match line {
        "server_connected" => ws.close(CloseCode::Away),
        _ => Ok(()),
    });
    let server = spec.serve(Mode::Run);
    let mut peer = Raw::open(server.address);
    assert_eq!(peer.frame(), Some(close(1001, "")));
    peer.send([close(1001, "")]);
    assert_eq!(peer.frames(), []);
    server.log.wait_for("connection_lost");
    let expected = ["server_connected", "on_request", "on_open", "on_close Away", "connection_lost"];
    assert_eq!(server.shut_down()[..5], expected);
}

#[test]
fn other_commands_do_not_wait_for_the_opening_s3_2_and_3_9() {
    let spec = || {
        Spec::new().react(|ws, line| match line {
            "client_connected" | "server_connected" => ws.timeout(1, Token(7)),
            _ => Ok(()),
        })
    };
    for mode in CLIENTS {
        let (listener, url) = listener();
        let client = spec().connect(mode, &[url]);
        let mut peer = Raw::accept(&listener);
        peer.head();
        client.log.wait_for("on_timeout 7");
        peer.write(RESPONSE);
        client.log.wait_for("on_open");
        peer.send([close(1000, "")]);
        peer.frame();
        drop(peer);
        let lines = client.ended();
        let expected =
            ["client_connected", "build_request", "on_new_timeout 7", "on_timeout 7", "on_response", "on_open"];
        assert_eq!(lines[..6], expected, "{mode:?}");
    }
    for mode in SERVERS {
        let server = spec().serve(mode);
        let mut peer = Raw::dial(server.address);
        server.log.wait_for("on_timeout 7");
        peer.write(REQUEST);
        peer.head();
        server.log.wait_for("on_open");
        drop(peer);
        let expected = ["server_connected", "on_new_timeout 7", "on_timeout 7", "on_request", "on_open"];
        assert_eq!(server.shut_down()[..5], expected, "{mode:?}");
    }
}

/// More than the sockets hold: what is written is not written yet.
#[test]
fn a_server_is_open_when_its_101_is_fully_written_s3_2() {
    const LARGE: usize = 16 * 1024 * 1024;
    let spec = Spec::new().on_request(|request| {
        let mut response = wireline::handler::Response::from_request(request)?;
        if request.resource() == "/large" {
            response.headers_mut().push(("X-Large".into(), vec![b'x'; LARGE]));
        }
        Ok(response)
    });
    let server = spec.serve(Mode::Run);
    let mut slow = Raw::dial(server.address);
    slow.write(REQUEST.replace("/chat", "/large"));
    server.log.wait_for("on_request");
    let mut other = Raw::open(server.address);
    for _ in 0..10 {
        other.send([ping("around")]);
        assert_eq!(other.frame(), Some(pong("around")));
    }
    assert_eq!(server.log.of(0), ["server_connected", "on_request"], "3.2: not open yet");
    assert!(slow.head().len() > LARGE);
    server.log.await_times("on_open", 2);
    drop((slow, other));
    server.shut_down();
}

#[test]
fn on_error_precedes_the_on_close_it_leads_to_s3_2() {
    let spec = Spec::new().react(|_, line| match line {
        "on_message hi" => Err(error(ErrorKind::Capacity)),
        _ => Ok(()),
    });
    for mode in SERVERS {
        let server = spec.fresh().serve(mode);
        let mut peer = Raw::open(server.address);
        peer.send([text("hi")]);
        assert_eq!(peer.frame(), Some(close(1009, "WebSocket at Capacity: because")));
        peer.stream.write_all(&[0x88, 0x80, 0, 0, 0, 0]).unwrap();
        assert_eq!(peer.frames(), [], "{mode:?}");
        server.log.wait_for("connection_lost");
        let lines = server.shut_down();
        assert_eq!(
            lines[3..7],
            ["on_message hi", "on_error Capacity", "on_close Status", "connection_lost"],
            "{mode:?}"
        );
    }
}

/// The Sender of each callback is that of its own connection.
#[test]
fn every_connection_has_a_place_and_a_number_of_its_own_s2_6() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let into = Arc::clone(&seen);
    let spec = Spec::new().react(move |ws, line| {
        if line == "server_connected" {
            into.lock().unwrap().push((ws.token().0, ws.connection_id()));
        }
        Ok(())
    });
    let server = spec.serve(Mode::Run);
    let first = Raw::open(server.address);
    let second = Raw::open(server.address);
    drop(first);
    server.log.wait_for("connection_lost");
    let third = Raw::open(server.address);
    drop((second, third));
    server.shut_down();
    assert_eq!(*seen.lock().unwrap(), [(0, 0), (1, 1), (0, 2)]);
}
