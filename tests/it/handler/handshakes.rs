//! Opening handshakes, with raw peers at the other end: what is answered, what is told, and what is left alone.

use std::{io, net::Shutdown, time::Duration};

use wireline::{
    Role,
    handler::{Error, Request, Response, Settings, util::QueueError},
};

use super::{
    rig::{Spec, error, kind},
    wire::{CLIENTS, Mode, REQUEST, RESPONSE, Raw, Refused, SERVERS, listener},
};
use crate::scripted::{close, encode, ping, pong, text};

/// Sends a request and reads all that comes.
fn answer(mode: Mode, spec: &Spec, request: &str) -> (String, Vec<String>) {
    let server = spec.fresh().serve(mode);
    let mut peer = Raw::dial(server.address);
    peer.write(request);
    let answer = String::from_utf8(peer.rest()).unwrap();
    server.log.wait_for("connection_lost");
    (answer, server.shut_down())
}

fn status(answer: &str) -> u16 {
    answer.get(9..12).and_then(|status| status.parse().ok()).unwrap_or_default()
}

#[test]
fn an_error_of_on_request_is_answered_by_its_kind_s3_5() {
    use wireline::handler::ErrorKind::{Capacity, Internal, Protocol};
    type Row = (&'static str, fn() -> Error, u16);
    let rows: Vec<Row> = vec![
        ("Protocol", || error(Protocol), 400),
        ("Internal", || error(Internal), 500),
        ("Capacity", || error(Capacity), 500),
        ("Http", || httparse::Error::Status.into(), 500),
        ("Queue", || QueueError::Full.into(), 500),
        ("Custom", || Box::new(std::fmt::Error).into(), 500),
        ("Io", || io::Error::from(io::ErrorKind::Other).into(), 0),
        #[cfg(feature = "tls")]
        ("Ssl", || rustls::Error::General("because".into()).into(), 0),
    ];
    for mode in SERVERS {
        for (name, make, expected) in &rows {
            let make = *make;
            let spec = Spec::new().react(move |_, line| if line == "on_request" { Err(make()) } else { Ok(()) });
            let (answer, lines) = answer(mode, &spec, REQUEST);
            assert_eq!(status(&answer), *expected, "3.5: {name}, {mode:?}: {answer}");
            if *expected != 0 {
                assert!(answer.ends_with(&format!("\r\n\r\n{}", make())), "{name}: the error as body: {answer}");
            }
            let told = format!("on_error {}", kind(&make()));
            let expected = ["server_connected", "on_request", &told, "connection_lost"];
            assert_eq!(lines[..4], expected, "3.5: {name}, {mode:?}");
        }
    }
}

#[test]
fn a_head_that_cannot_be_parsed_is_answered_with_500_s3_5() {
    for (request, expected) in [("GET\r\n\r\n", 500), ("\0\r\n\r\n", 500), ("GET / HTTP/1.1\r\nno colon\r\n\r\n", 500)]
    {
        let (answer, lines) = answer(Mode::Run, &Spec::new(), request);
        assert_eq!(status(&answer), expected, "{request:?}: {answer}");
        assert_eq!(lines[..3], ["server_connected", "on_error Http", "connection_lost"], "{request:?}");
    }
}

#[test]
fn any_other_response_is_a_page_and_nothing_else_happens_s3_5() {
    fn page(request: &Request) -> wireline::handler::Result<Response> {
        if request.resource() == "/idiom" {
            let mut response = Response::from_request(request)?;
            response.set_status(404);
            response.set_reason("Not Found");
            return Ok(response);
        }
        Ok(Response::new(200, "OK", b"<p>hello".to_vec()))
    }
    let spec = Spec::new().on_request(page);
    for mode in SERVERS {
        let (found, lines) = answer(mode, &spec, "GET / HTTP/1.1\r\n\r\n");
        assert!(found.starts_with("HTTP/1.1 200 OK\r\n") && found.ends_with("\r\n\r\n<p>hello"), "{mode:?}: {found}");
        assert_eq!(lines[..3], ["server_connected", "on_request", "connection_lost"], "{mode:?}");
        let (found, lines) = answer(mode, &spec, &REQUEST.replace("/chat", "/idiom"));
        assert!(found.starts_with("HTTP/1.1 404 Not Found\r\n"), "{mode:?}: {found}");
        assert_eq!(lines[..3], ["server_connected", "on_request", "connection_lost"], "{mode:?}");
    }
    // One request a connection.
    let twice = "GET / HTTP/1.1\r\n\r\n".repeat(2);
    let (found, lines) = answer(Mode::Run, &spec, &twice);
    assert_eq!(found.matches("HTTP/1.1").count(), 1);
    assert_eq!(lines.iter().filter(|line| *line == "on_request").count(), 1);
}

#[test]
fn a_101_is_given_to_proper_requests_only_s3_5_and_4_handshake_request() {
    let without = |name: &str| -> String {
        let lines = REQUEST.split_inclusive("\r\n").filter(|line| !line.starts_with(name));
        lines.collect()
    };
    let with = |from: &str, to: &str| REQUEST.replace(from, to);
    let strict = Settings { method_strict: true, ..Settings::default() };
    let lax = Settings::default();
    let rows: Vec<(&str, Settings, String, u16)> = vec![
        ("complete", strict, REQUEST.into(), 101),
        ("no Upgrade", lax, without("Upgrade"), 400),
        ("another Upgrade", lax, with("websocket", "h2c"), 400),
        ("no Connection", lax, without("Connection"), 400),
        ("another Connection", lax, with("Connection: Upgrade", "Connection: close"), 400),
        ("Connection with more", lax, with("Connection: Upgrade", "Connection: keep-alive, Upgrade"), 101),
        ("no Host", lax, without("Host"), 400),
        ("no key", lax, without("Sec-WebSocket-Key"), 400),
        ("no version", lax, without("Sec-WebSocket-Version"), 426),
        ("version 8", lax, with("Version: 13", "Version: 8"), 426),
        ("POST, method_strict", strict, with("GET", "POST"), 400),
        ("POST", lax, with("GET", "POST"), 101),
    ];
    for (case, settings, request, expected) in rows {
        let server = Spec::new().settings(settings).serve(Mode::Run);
        let mut peer = Raw::dial(server.address);
        peer.write(&request);
        let head = peer.head();
        assert_eq!(status(&head), expected, "4: handshake request, {case}: {head}");
        if expected == 426 {
            assert!(head.contains("\r\nSec-WebSocket-Version: 13\r\n"), "{case}: {head}");
        }
        drop(peer);
        server.log.wait_for("connection_lost");
        let lines = server.shut_down();
        if expected != 101 {
            let expected = ["on_error Protocol", "connection_lost", "Factory::on_shutdown"];
            assert_eq!(lines[lines.len() - 3..], expected, "{case}: as for Protocol");
        }
    }
}

#[test]
fn the_head_may_come_in_pieces_and_frames_behind_it_count_s3_5_and_4_bytes_behind_the_handshake() {
    for mode in SERVERS {
        let server = Spec::new().serve(mode);
        let mut peer = Raw::dial(server.address);
        for byte in REQUEST.bytes().take(REQUEST.len() - 1) {
            peer.write([byte]);
        }
        let with_frames = [b"\n".to_vec(), encode(Role::Server, [text("early"), ping("p")])].concat();
        peer.write(with_frames);
        peer.head();
        assert_eq!(peer.frame(), Some(pong("p")), "{mode:?}");
        drop(peer);
        assert!(server.log.all().contains(&"on_message early".to_owned()), "4: bytes behind the handshake, {mode:?}");
        server.shut_down();
    }
    for mode in CLIENTS {
        let (listener, url) = listener();
        let client = Spec::new().connect(mode, &[url]);
        let mut peer = Raw::accept(&listener);
        peer.head();
        for byte in RESPONSE.bytes().take(RESPONSE.len() - 1) {
            peer.write([byte]);
        }
        peer.write([b"\n".to_vec(), encode(Role::Client, [text("early"), close(1000, "")])].concat());
        assert_eq!(peer.frame(), Some(close(1000, "")), "{mode:?}");
        drop(peer);
        let lines = client.ended();
        assert_eq!(lines[2..6], ["on_response", "on_open", "on_message early", "on_close Normal"], "{mode:?}");
    }
}

#[test]
fn the_size_of_the_head_is_bounded_by_the_core_s3_5() {
    let long = REQUEST.replace("\r\n\r\n", &format!("\r\nX-Long: {}\r\n\r\n", "x".repeat(1 << 20)));
    let (answer, lines) = {
        let server = Spec::new().serve(Mode::Run);
        let mut peer = Raw::dial(server.address);
        // It may be cut off in its middle.
        let _ = io::Write::write_all(&mut peer.stream, long.as_bytes());
        let answer = String::from_utf8(peer.rest()).unwrap();
        server.log.wait_for("connection_lost");
        (answer, server.shut_down())
    };
    assert!(answer.is_empty() || matches!(status(&answer), 400..=499), "{answer}");
    assert_eq!(lines[..3], ["server_connected", "on_error Capacity", "connection_lost"]);

    let (listener, url) = listener();
    let client = Spec::new().connect(Mode::Run, &[url]);
    let mut peer = Raw::accept(&listener);
    peer.head();
    let _ = io::Write::write_all(&mut peer.stream, RESPONSE.replace("\r\n\r\n", "\r\nX-Long: ").as_bytes());
    let _ = io::Write::write_all(&mut peer.stream, &vec![b'x'; 1 << 20]);
    let lines = client.ended();
    assert_eq!(lines[2..5], ["on_error Capacity", "connection_lost", "Factory::on_shutdown"]);
}

fn short() -> Settings {
    Settings { handshake_timeout: Duration::from_millis(100), ..Settings::default() }
}

#[test]
fn the_handshake_has_a_deadline_s3_5_and_4_timeouts() {
    for mode in SERVERS {
        for sent in ["", "GET / HTTP/1.1\r\nHost:"] {
            let server = Spec::new().settings(short()).serve(mode);
            let mut peer = Raw::dial(server.address);
            peer.write(sent);
            peer.rest();
            server.log.wait_for("connection_lost");
            let expected = ["server_connected", "on_error Io(TimedOut)", "connection_lost"];
            assert_eq!(server.shut_down()[..3], expected, "4: timeouts, {mode:?}, {sent:?}");
        }
    }
    for mode in CLIENTS {
        for sent in ["", "HTTP/1.1 101 Switching"] {
            let (listener, url) = listener();
            let client = Spec::new().settings(short()).connect(mode, &[url]);
            let mut peer = Raw::accept(&listener);
            peer.head();
            peer.write(sent);
            let lines = client.ended();
            let expected = ["client_connected", "build_request", "on_error Io(TimedOut)", "connection_lost"];
            assert_eq!(lines[..4], expected, "4: timeouts, {mode:?}, {sent:?}");
        }
    }
    // Open connections have none.
    let settings = Settings { handshake_timeout: Duration::from_millis(700), ..Settings::default() };
    let server = Spec::new().settings(settings).serve(Mode::Run);
    let mut peer = Raw::open(server.address);
    let mut late = Raw::dial(server.address);
    late.write("GET");
    assert_eq!(late.rest(), b"", "its handshake took too long");
    peer.send([ping("p")]);
    assert_eq!(peer.frame(), Some(pong("p")));
    drop(peer);
    server.shut_down();
}

#[test]
fn a_hang_up_is_told_to_a_client_and_not_to_a_server_s3_5() {
    for mode in SERVERS {
        for sent in ["", "GET / HTTP/1.1\r\nHost:"] {
            let server = Spec::new().serve(mode);
            let mut peer = Raw::dial(server.address);
            peer.write(sent);
            peer.end();
            assert_eq!(peer.rest(), b"");
            server.log.wait_for("connection_lost");
            assert_eq!(server.shut_down()[..2], ["server_connected", "connection_lost"], "{mode:?}, {sent:?}");
        }
    }
    for mode in CLIENTS {
        for sent in ["", "HTTP/1.1 101 Switching"] {
            let (listener, url) = listener();
            let client = Spec::new().connect(mode, &[url]);
            let mut peer = Raw::accept(&listener);
            peer.head();
            peer.write(sent);
            drop(peer);
            let lines = client.ended();
            assert_eq!(lines[2..4], ["on_error Io(UnexpectedEof)", "connection_lost"], "{mode:?}, {sent:?}");
        }
    }
}

/// Whatever fails: `on_error`, `connection_lost`, no `on_close`, and an `Ok` of `run` and `connect`.
#[test]
fn every_client_failure_is_told_s3_5_and_4_failed_connect() {
    let nobody = Refused::new();
    let long = "x".repeat(64);
    let rows: Vec<(&str, String, &str)> = vec![
        ("a bad scheme", "http://127.0.0.1:1/".into(), "on_error Internal"),
        ("DNS", format!("ws://{long}.invalid/"), "on_error Io"),
        ("refused", nobody.url.clone(), "on_error Io(ConnectionRefused)"),
        #[cfg(not(feature = "tls-no-provider"))]
        ("wss without TLS", "wss://127.0.0.1:1/".into(), "on_error Protocol"),
    ];
    for mode in CLIENTS {
        for (case, url, told) in &rows {
            let mut lines = Spec::new().connect(mode, std::slice::from_ref(url)).ended();
            lines.retain(|line| line != "build_request");
            assert!(lines[1].starts_with(told), "4: failed connect, {case}, {mode:?}: {lines:?}");
            let (first, last) = ("client_connected", ["connection_lost", "Factory::on_shutdown"]);
            assert_eq!((&*lines[0], &lines[2..]), (first, &last.map(str::to_owned)[..]), "{case}, {mode:?}");
        }
    }
    assert!(wireline::handler::connect(&*nobody.url, |_| |_| Ok(())).is_ok());
    let bad = wireline::handler::connect("no URL", |_| |_| Ok(()));
    assert_eq!(super::rig::outcome(bad), "Internal", "2.1: a bad URL");
}

#[test]
fn any_answer_but_101_is_a_protocol_error_with_status_and_location_s3_5_and_4_failed_connect() {
    let rows = [
        ("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", 404, "404 Not Found"),
        ("HTTP/1.1 200 OK\r\n\r\na page", 200, "200 OK"),
        ("HTTP/1.1 301 Moved Permanently\r\nLocation: ws://other/\r\n\r\n", 301, "Location: ws://other/"),
        ("HTTP/1.1 302 Found\r\nLocation: /there\r\nContent-Length: 0\r\n\r\n", 302, "Location: /there"),
        ("HTTP/1.1 503 Service Unavailable\r\n\r\n", 503, "503"),
    ];
    for mode in CLIENTS {
        for (response, status, details) in rows {
            let (listener, url) = listener();
            let client = Spec::new().connect(mode, &[url]);
            let mut peer = Raw::accept(&listener);
            peer.head();
            peer.write(response);
            peer.stream.shutdown(Shutdown::Write).unwrap();
            let log = client.log.clone();
            let expected = [&format!("on_rejected {status}"), "on_error Protocol", "connection_lost"];
            assert_eq!(client.ended()[2..5], expected, "{mode:?}, {status}");
            assert!(log.errors()[0].contains(details), "{mode:?}: {:?}", log.errors());
            // No Close frame is sent to what speaks HTTP, and no redirect is followed.
            assert_eq!(peer.rest(), b"", "4: failed connect");
        }
    }
}

#[test]
fn the_clients_own_limit_is_a_capacity_error_s3_5() {
    let settings = Settings { max_connections: 1, ..Settings::default() };
    for mode in CLIENTS {
        let (listener, url) = listener();
        let client = Spec::new().settings(settings).connect(mode, &[url.clone(), url]);
        let mut peer = Raw::welcome(&listener);
        client.log.wait_for("on_error Capacity");
        peer.send([close(1000, "")]);
        peer.frame();
        drop(peer);
        let log = client.log.clone();
        client.ended();
        let other = ["client_connected", "on_error Capacity", "connection_lost"];
        assert_eq!(log.of(1), other, "{mode:?}");
        assert_eq!(log.of(0).last().map(String::as_str), Some("connection_lost"), "{mode:?}");
    }
}

#[test]
fn a_failed_sender_connect_leaves_the_caller_alone_s3_5() {
    let nobody = Refused::new();
    let url = url::Url::parse(&nobody.url).unwrap();
    let spec = Spec::new().react(move |ws, line| if line == "on_open" { ws.connect(url.clone()) } else { Ok(()) });
    for mode in SERVERS {
        let server = spec.fresh().serve(mode);
        let mut peer = Raw::open(server.address);
        server.log.wait_for("connection_lost");
        peer.send([ping("still")]);
        assert_eq!(peer.frame(), Some(pong("still")), "{mode:?}");
        drop(peer);
        server.log.await_times("connection_lost", 2);
        let caller = ["server_connected", "on_request", "on_open", "on_close Abnormal", "connection_lost"];
        let lines = server.log.of(0);
        assert_eq!(lines.into_iter().filter(|line| !line.starts_with("on_error Io")).collect::<Vec<_>>(), caller);
        server.shut_down();
    }
}

#[test]
fn accepting_above_max_connections_is_a_503_and_no_handler_s3_5_and_4_max_connections() {
    let settings = Settings { max_connections: 1, ..Settings::default() };
    for mode in SERVERS {
        let server = Spec::new().settings(settings).serve(mode);
        let first = Raw::open(server.address);
        let second = Raw::dial(server.address);
        let answer = String::from_utf8(second.rest()).unwrap();
        assert_eq!(status(&answer), 503, "4: max_connections, {mode:?}: {answer}");
        assert_eq!(server.log.count("server_connected"), 1, "{mode:?}");
        drop(first);
        server.log.wait_for("connection_lost");
        drop(Raw::open(server.address));
        server.shut_down();
    }
}

#[test]
fn the_key_is_checked_if_asked_for_s2_2() {
    let strict = Settings { key_strict: true, ..Settings::default() };
    let right = wireline::proto::handshake::Key::parse(b"dGhlIHNhbXBsZSBub25jZQ==").unwrap().accept();
    fn known_key(url: &url::Url) -> wireline::handler::Result<Request> {
        let mut request = Request::from_url(url)?;
        *request.header_mut("Sec-WebSocket-Key").unwrap() = b"dGhlIHNhbXBsZSBub25jZQ==".to_vec();
        Ok(request)
    }
    let rows = [
        (strict, Some(&*right), true),
        (strict, Some("wrong"), false),
        (strict, None, false),
        (Settings::default(), Some("wrong"), true),
        (Settings::default(), None, true),
    ];
    for (settings, accept, opens) in rows {
        let (listener, url) = listener();
        let client = Spec::new().settings(settings).build_request(known_key).connect(Mode::Run, &[url]);
        let mut peer = Raw::accept(&listener);
        peer.head();
        let accept = accept.map_or_else(String::new, |accept| format!("Sec-WebSocket-Accept: {accept}\r\n"));
        peer.write(RESPONSE.replace("\r\n\r\n", &format!("\r\n{accept}\r\n")));
        peer.end();
        let log = client.log.clone();
        client.ended();
        assert_eq!(log.count("on_open") == 1, opens, "{accept:?}: {:?}", log.errors());
        assert_eq!(log.count("on_error Protocol") == 1, !opens, "{accept:?}");
    }
}

#[test]
fn host_and_credentials_are_as_they_should_be_4_host_user_info() {
    let rows = [
        ("ws://example.com/", "Host: example.com\r\n", None),
        ("ws://example.com:80/", "Host: example.com\r\n", None),
        ("ws://example.com:8080/", "Host: example.com:8080\r\n", None),
        (
            "ws://us%20er:p%40ss@example.com/",
            "Host: example.com\r\n",
            Some("Authorization: Basic dXMgZXI6cEBzcw==\r\n"),
        ),
    ];
    for (url, host, authorization) in rows {
        let text = Request::from_url(&url::Url::parse(url).unwrap()).unwrap().to_string();
        assert!(text.contains(host), "4: Host, user info: {text}");
        assert_eq!(text.contains("Authorization"), authorization.is_some(), "{text}");
        assert!(authorization.is_none_or(|line| text.contains(line)), "{text}");
        assert!(!text.contains("Origin"), "{text}");
    }
}

#[test]
fn remove_removes_and_display_never_fails_4_remove_and_display() {
    let mut request = Request::from_url(&url::Url::parse("ws://example.com/").unwrap()).unwrap();
    request.add_protocol("one");
    request.add_protocol("two");
    request.remove_protocol("one");
    assert_eq!(request.protocols().unwrap(), ["two"], "4: remove_*");
    request.remove_protocol("two");
    assert_eq!(request.header("Sec-WebSocket-Protocol"), None, "4: remove_*");
    request.add_extension("a; x=1");
    request.add_extension("b");
    request.remove_extension("a");
    assert_eq!(request.extensions().unwrap(), ["b"], "4: remove_*");
    request.headers_mut().push(("X".into(), b"\xff".to_vec()));
    assert!(request.to_string().contains("X: \u{fffd}"), "4: Display of Request");
    let mut response = Response::new(200, "OK", b"\xff".to_vec());
    response.headers_mut().push(("X".into(), b"\xff".to_vec()));
    assert!(response.to_string().contains("X: \u{fffd}"), "4: Display of Response");
}

/// The first that works, in the resolver's order.
#[test]
fn every_address_of_a_name_is_tried_4_addresses() {
    let (listener, _) = listener();
    let port = listener.local_addr().unwrap().port();
    let client = Spec::new().connect(Mode::Run, &[format!("ws://localhost:{port}/")]);
    let mut peer = Raw::welcome(&listener);
    peer.send([close(1000, "")]);
    peer.frame();
    drop(peer);
    let lines = client.ended();
    assert_eq!(lines[2..5], ["on_response", "on_open", "on_close Normal"], "4: addresses");
}
