//! What goes wrong before a connection is open.

use std::time::Duration;

use url::Url;
use wireline::handler::{Handler, Request, Response, Result, Sender, Settings};

use super::stage::{
    self, FACTORY, Log, REQUEST, RESPONSE, Running, Wire, build, connect, echoes, listen, listener, listens, masked,
    recording, unmasked, url,
};

/// How a server leaves that does not answer.
#[derive(Clone, Copy, Debug)]
enum Leaves {
    AtOnce,
    InTheMiddle,
    ByReset,
}

#[tokio::test]
async fn d6_a_server_that_hangs_up_before_answering_is_an_error_and_run_returns() {
    for (leaves, error) in [
        (Leaves::AtOnce, "error Io(UnexpectedEof)"),
        (Leaves::InTheMiddle, "error Io(UnexpectedEof)"),
        (Leaves::ByReset, "error Io(ConnectionReset)"),
    ] {
        let (listener, address) = listener().await;
        let log = Log::new();
        let (_, run) = connect(Settings::default(), address, recording(log.clone(), listens));
        let mut server = Wire::from(&listener).await;
        server.head().await;
        match leaves {
            Leaves::AtOnce => {}
            Leaves::InTheMiddle => server.send(&RESPONSE[..RESPONSE.len() - 1]).await,
            Leaves::ByReset => server.0.set_zero_linger().expect("an option of the socket"),
        }
        drop(server);
        run.returns().await.expect("no error of the run");
        assert_eq!(log.of(0), [error, "lost"], "{leaves:?}");
        assert_eq!(log.of(FACTORY), ["shutdown"], "{leaves:?}");
    }
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn d6_a_run_that_waits_for_its_servers_does_not_spin() {
    let (listener, address) = listener().await;
    let log = Log::new();
    let settings = Settings { handshake_timeout: Duration::from_millis(500), ..Settings::default() };
    let mut ws = build(settings, recording(log.clone(), listens));
    for _ in 0..2 {
        ws.connect(url(address)).expect("queued");
    }
    let run = Running::start(|| stage::processor_time(|| ws.run().map(drop)));
    // One server hangs up; for the other the run waits as long as it may.
    drop(Wire::from(&listener).await);
    let _silent = Wire::from(&listener).await;
    let (result, used) = run.returns().await;
    result.expect("no error of the run");
    assert!(log.of(0).contains(&"lost".to_owned()) && log.of(1).contains(&"lost".to_owned()));
    assert!(used < settings.handshake_timeout / 2, "{used:?} of processor time");
}

#[tokio::test]
async fn d12_frames_sent_with_the_request_arrive() {
    let log = Log::new();
    let server = listen(Settings::default(), recording(log.clone(), echoes));
    let mut client = Wire::to(server.address).await;
    client.send([REQUEST.as_bytes(), &masked(0x01, "on"), &masked(0x80, "e"), &masked(0x81, "tw")[..7]].concat()).await;
    client.opened().await;
    client.reads(unmasked(0x81, "one")).await;
    client.send(&masked(0x81, "tw")[7..]).await;
    client.reads(unmasked(0x81, "tw")).await;
    drop(client);
    log.until(0, "lost").await;
    assert_eq!(log.of(0), ["open", "message one", "message tw", "close 1006", "lost"]);
    server.shut_down().await;
}

#[tokio::test]
async fn d12_frames_sent_with_the_response_arrive() {
    let (listener, address) = listener().await;
    let log = Log::new();
    let (_, run) = connect(Settings::default(), address, recording(log.clone(), listens));
    let mut server = Wire::from(&listener).await;
    server.head().await;
    server.send([RESPONSE.as_bytes(), &unmasked(0x81, "one"), &unmasked(0x88, "")].concat()).await;
    assert_eq!(server.client_frame().await, (0x88, vec![]));
    drop(server);
    run.returns().await.expect("no error");
    assert_eq!(log.of(0), ["open", "message one", "close 1005", "lost"]);
}

/// Offers and takes back.
struct Offers;

impl Handler for Offers {
    fn build_request(&mut self, url: &Url) -> Result<Request> {
        let mut request = Request::from_url(url)?;
        for name in ["one", "two", "three"] {
            request.add_protocol(name);
            request.add_extension(&format!("{name}; parameter=1"));
        }
        request.remove_protocol("two");
        request.remove_extension("two");
        Ok(request)
    }
}

/// Answers with an extension that it takes back.
struct Answers;

impl Handler for Answers {
    fn on_request(&mut self, req: &Request) -> Result<Response> {
        let mut response = Response::from_request(req)?;
        response.add_extension("one");
        response.add_extension("two");
        response.remove_extension("one");
        response.remove_extension("two");
        Ok(response)
    }
}

#[tokio::test]
async fn d18_what_is_removed_from_a_request_or_a_response_is_gone() {
    let (listener, address) = listener().await;
    let (_, run) = connect(Settings::default(), address, |_: Sender| Offers);
    let mut server = Wire::from(&listener).await;
    let head = server.head().await;
    assert!(head.contains("\r\nSec-WebSocket-Protocol: one,three\r\n"), "{head}");
    assert!(head.contains("\r\nSec-WebSocket-Extensions: one; parameter=1,three; parameter=1\r\n"), "{head}");
    drop(server);
    run.returns().await.expect("no error");

    let server = listen(Settings::default(), |_: Sender| Answers);
    let mut client = Wire::to(server.address).await;
    client.send(REQUEST).await;
    let head = client.head().await;
    assert!(head.starts_with("HTTP/1.1 101 ") && !head.contains("Extensions"), "{head}");
    drop(client);
    server.shut_down().await;
}

/// What a server answers to this head, and what its handler was told.
async fn answered(settings: Settings, head: &str) -> (String, Vec<String>) {
    let log = Log::new();
    let server = listen(settings, recording(log.clone(), listens));
    let mut client = Wire::to(server.address).await;
    client.send(head).await;
    let answer = client.head().await;
    drop(client);
    log.until(0, "lost").await;
    server.shut_down().await;
    (answer, log.of(0))
}

#[tokio::test]
async fn d19_method_strict_refuses_every_method_but_get() {
    for (method_strict, method, status) in [
        (true, "GET", "101"),
        (true, "POST", "400"),
        (true, "HEAD", "400"),
        (false, "GET", "101"),
        (false, "POST", "101"),
    ] {
        let settings = Settings { method_strict, ..Settings::default() };
        let (answer, _) = answered(settings, &REQUEST.replace("GET", method)).await;
        assert_eq!(answer.get(9..12), Some(status), "{method_strict} {method}");
    }
}

#[tokio::test]
async fn d22_a_request_that_is_no_handshake_is_refused_although_it_has_a_key() {
    let rows = [
        // a part of the request, what stands there instead, and the status
        ("Upgrade: websocket\r\n", "", "400"),
        ("Upgrade: websocket\r\n", "Upgrade: h2c\r\n", "400"),
        ("Connection: Upgrade\r\n", "", "400"),
        ("Connection: Upgrade\r\n", "Connection: keep-alive\r\n", "400"),
        ("Host: example.com\r\n", "", "400"),
        ("Host: example.com\r\n", "Host: example.com\r\nHost: example.org\r\n", "400"),
        ("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", "", "400"),
        ("Sec-WebSocket-Version: 13", "Sec-WebSocket-Version: 8", "426"),
        ("Sec-WebSocket-Version: 13", "Sec-WebSocket-Version: 14", "426"),
    ];
    for (part, instead, status) in rows {
        let (answer, told) = answered(Settings::default(), &REQUEST.replace(part, instead)).await;
        assert_eq!(answer.get(9..12), Some(status), "{part:?} {instead:?}");
        assert_eq!(
            answer.contains("\r\nSec-WebSocket-Version: 13\r\n"),
            status == "426",
            "{part:?} {instead:?}: {answer}"
        );
        assert_eq!(told, ["error Protocol", "lost"], "{part:?} {instead:?}");
    }
    let (answer, _) = answered(Settings::default(), REQUEST).await;
    assert_eq!(answer.get(9..12), Some("101"));
}

#[test]
fn d25_host_has_a_port_where_it_is_not_the_default_one_and_user_information_is_decoded() {
    let rows = [
        ("ws://example.com/", "example.com", None),
        ("ws://example.com:80/", "example.com", None),
        ("ws://example.com:443/", "example.com:443", None),
        ("ws://example.com:3012/", "example.com:3012", None),
        ("wss://example.com:443/", "example.com", None),
        ("wss://example.com:80/", "example.com:80", None),
        ("ws://[::1]:3012/", "[::1]:3012", None),
        // us@er and p:s s
        ("ws://us%40er:p%3As%20s@example.com/", "example.com", Some("Basic dXNAZXI6cDpzIHM=")),
    ];
    for (url, host, authorization) in rows {
        let request = Request::from_url(&Url::parse(url).expect("a URL")).expect(url);
        let header = |name: &str| request.header(name).map(|value| String::from_utf8_lossy(value).into_owned());
        assert_eq!(header("Host").as_deref(), Some(host), "{url}");
        assert_eq!(header("Authorization").as_deref(), authorization, "{url}");
    }
}

#[tokio::test]
async fn d25_the_same_on_the_wire() {
    let (listener, address) = listener().await;
    let url = format!("ws://us%40er:p%3As%20s@{address}/path?query");
    let run = Running::start(move || wireline::handler::connect(url, |_| |_| Ok(())));
    let mut server = Wire::from(&listener).await;
    let head = server.head().await;
    assert!(head.starts_with("GET /path?query HTTP/1.1\r\n"), "{head}");
    assert!(head.contains(&format!("\r\nHost: {address}\r\n")), "{head}");
    assert!(head.contains("\r\nAuthorization: Basic dXNAZXI6cDpzIHM=\r\n"), "{head}");
    drop(server);
    run.returns().await.expect("no error");
}
