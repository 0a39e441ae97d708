//! What only HTTP/2 has: extended CONNECT (RFC 8441), the ends of a stream, flow control of each stream.

use std::{collections::BTreeSet, convert::Infallible};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::Full;
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::sync::{Semaphore, mpsc};
use wireline::{
    Message,
    server::{Acceptor, BoxError, Refusal},
    upgrade::hyper::upgrade,
};

use super::{
    frames::{CANCEL, DATA, ENABLE_CONNECT_PROTOCOL, END_STREAM, HEADERS, NO_ERROR, PROTOCOL_ERROR, STATUS_200, Wire},
    rig::{connect, echo, http2, serve, serve_with, spawn},
};
use crate::support::suite::{Ran, Suite};

pub(crate) static ROWS: Suite = Suite::new(run);

#[test]
fn extended_connect_keeps_the_rules_of_rfc_8441() {
    ROWS.ids();
}

fn run(ran: &mut Ran) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        settings_offer_extended_connect_once_and_for_all().await;
        ran.id("H-01");
        a_server_that_does_not_offer_it_opens_nothing().await;
        ran.id("H-02");
        a_request_without_its_pseudo_headers_opens_nothing().await;
        ran.id("H-03");
        both_schemes_open_and_no_other().await;
        ran.id("H-04");
        headers_are_those_of_the_websocket_and_none_of_the_connection().await;
        ran.id("H-05");
        only_success_is_200().await;
        ran.id("H-06");
        the_end_of_a_stream_is_orderly_or_not().await;
        ran.id("H-07");
        a_slow_application_holds_back_its_stream_only().await;
        ran.id("H-08");
        masks_are_those_of_rfc_6455().await;
        ran.id("H-09");
    });
}

/// What opens a connection.
const FIELDS: [(&str, &str); 6] = [
    (":method", "CONNECT"),
    (":protocol", "websocket"),
    (":scheme", "https"),
    (":path", "/chat"),
    (":authority", "example.com"),
    ("sec-websocket-version", "13"),
];

const HI: &[u8] = b"\x81\x82\0\0\0\0hi";

async fn settings_offer_extended_connect_once_and_for_all() {
    let mut wire = Wire::open(serve_with(Acceptor::new(), echo)).await;
    let mut offers = Vec::new();
    for stream in [1, 3] {
        wire.headers(stream, &FIELDS).await;
        wire.send(DATA, 0, stream, HI).await;
        loop {
            let frame = wire.next().await.expect("an echo");
            offers.extend(frame.settings().into_iter().filter(|(name, _)| *name == ENABLE_CONNECT_PROTOCOL));
            if frame.kind == DATA && frame.stream == stream {
                break;
            }
        }
    }
    assert_eq!(offers, [(ENABLE_CONNECT_PROTOCOL, 1)]);
}

/// The server's side of it: a client must not ask before it has the setting.
async fn a_server_that_does_not_offer_it_opens_nothing() {
    let (ours, theirs) = tokio::io::duplex(64 * 1024);
    spawn(async move {
        let service = service_fn(async |_| -> Result<Response<Full<Bytes>>, Infallible> { panic!("reached") });
        let builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
        let _ = builder.serve_connection(TokioIo::new(ours), service).await;
    });
    let mut wire = Wire::open(theirs).await;
    wire.headers(1, &FIELDS).await;
    assert_eq!(wire.next_of(1).await.error(), Some(PROTOCOL_ERROR));
}

async fn a_request_without_its_pseudo_headers_opens_nothing() {
    for missing in [":scheme", ":path", ":authority"] {
        let mut wire = Wire::open(serve_with(Acceptor::new(), echo)).await;
        let fields: Vec<_> = FIELDS.into_iter().filter(|(name, _)| *name != missing).collect();
        wire.headers(1, &fields).await;
        let frame = wire.next_of(1).await;
        let refused = frame.kind == HEADERS && frame.payload.first() != Some(&STATUS_200);
        assert!(refused || frame.error() == Some(PROTOCOL_ERROR), "without {missing}: {frame:?}");
    }
}

async fn status(uri: &str, headers: &[(&'static str, &'static str)]) -> Response<()> {
    let mut client = http2(serve_with(Acceptor::new().subprotocols(["b"]), echo)).await;
    let mut request = Request::connect(uri).body(()).expect("a request");
    request.extensions_mut().insert(h2::ext::Protocol::from_static("websocket"));
    for (name, value) in headers {
        request.headers_mut().append(*name, HeaderValue::from_static(value));
    }
    let (response, _send) = client.send_request(request, false).expect("a stream");
    response.await.expect("a response").map(drop)
}

const VERSION: (&str, &str) = ("sec-websocket-version", "13");

async fn both_schemes_open_and_no_other() {
    for (uri, expected) in [("https://example.com/", 200), ("http://example.com/", 200), ("ftp://example.com/", 400)] {
        assert_eq!(status(uri, &[VERSION]).await.status().as_u16(), expected, "{uri}");
    }
}

async fn headers_are_those_of_the_websocket_and_none_of_the_connection() {
    // A key is not looked at, not even a bad one.
    let offered = [VERSION, ("sec-websocket-protocol", "a, b"), ("sec-websocket-key", "x")];
    let response = status("https://example.com/", &offered).await;
    assert_eq!(response.status(), 200);
    let names: BTreeSet<_> = response.headers().keys().map(http::HeaderName::as_str).collect();
    assert_eq!(names, BTreeSet::from(["date", "sec-websocket-protocol"]));
    assert_eq!(response.headers()["sec-websocket-protocol"], "b");
}

async fn only_success_is_200() {
    let table: &[(&[(&str, &str)], u16)] = &[
        (&[VERSION], 200),
        (&[VERSION, ("origin", "https://example.com")], 200),
        (&[VERSION, ("origin", "https://evil.example")], 403),
        (&[("sec-websocket-version", "8")], 400),
        (&[], 400),
        (&[VERSION, ("sec-websocket-protocol", "a, a")], 400),
        (&[VERSION, ("sec-websocket-extensions", ",;")], 400),
    ];
    for (headers, expected) in table {
        assert_eq!(status("https://example.com/", headers).await.status().as_u16(), *expected, "{headers:?}");
    }
}

/// The name, the client's last bytes with END_STREAM or the error of its reset, and how the connection has ended: cleanly or
/// not, and the code.
type Row = (&'static str, &'static [u8], Option<u32>, (bool, u16));

/// END_STREAM behind the Close frames is an orderly end. An abort of the client's is RST_STREAM(CANCEL), which ends the
/// connection without a Close, as END_STREAM without one does. One of ours is END_STREAM without a Close: hyper lets nobody
/// choose a reset.
async fn the_end_of_a_stream_is_orderly_or_not() {
    let (ended, mut endings) = mpsc::unbounded_channel();
    let service = service_fn(move |mut request: Request<Incoming>| {
        let upgraded = upgrade(&Acceptor::new(), &mut request);
        let ended = ended.clone();
        async move {
            let (response, upgrading) = upgraded?;
            spawn(async move {
                let mut ws = upgrading.await?;
                while let Some(Ok(message)) = ws.next().await {
                    if message == Message::from("drop") {
                        return Ok(());
                    }
                    ws.send(message).await?;
                }
                ended.send(ws.ending().map(|ending| (ending.is_clean(), ending.code())))?;
                Ok::<_, BoxError>(())
            });
            Ok::<_, Refusal>(response.map(|()| Full::<Bytes>::default()))
        }
    });
    let mut wire = Wire::open(serve(service)).await;

    const CLOSE: &[u8] = b"\x88\x82\0\0\0\0\x03\xe8";
    let rows: [Row; 3] = [
        ("Close", CLOSE, None, (true, 1000)),
        ("END_STREAM", b"", None, (false, 1006)),
        ("reset", b"", Some(CANCEL), (false, 1006)),
    ];
    for (stream, (name, last, reset, ending)) in (1..).step_by(2).zip(rows) {
        wire.headers(stream, &FIELDS).await;
        wire.send(DATA, 0, stream, HI).await;
        assert_eq!(wire.next_of(stream).await.kind, HEADERS, "{name}");
        assert_eq!(wire.next_of(stream).await.payload, b"\x81\x02hi", "{name}");
        match reset {
            Some(error) => wire.reset(stream, error).await,
            None => wire.send(DATA, END_STREAM, stream, last).await,
        }
        assert_eq!(endings.recv().await, Some(Some(ending)), "{name}");
        if reset.is_none() {
            let mut received = Vec::new();
            loop {
                let frame = wire.next_of(stream).await;
                assert_eq!(frame.kind, DATA, "{name}: {frame:?}");
                received.extend_from_slice(&frame.payload);
                if frame.ends_stream() {
                    break;
                }
            }
            let close: &[u8] = if ending.0 { b"\x88\x02\x03\xe8" } else { b"" };
            assert_eq!(received, close, "{name}");
        }
    }

    // Ours, and the connection of HTTP/2 goes on.
    let stream = 7;
    wire.headers(stream, &FIELDS).await;
    wire.send(DATA, 0, stream, b"\x81\x84\0\0\0\0drop").await;
    assert_eq!(wire.next_of(stream).await.kind, HEADERS);
    let end = wire.next_of(stream).await;
    assert!(end.ends_stream() && end.payload.is_empty(), "{end:?}");
    assert_eq!(wire.next_of(stream).await.error(), Some(NO_ERROR));
    wire.headers(9, &FIELDS).await;
    wire.send(DATA, 0, 9, HI).await;
    assert_eq!(wire.next_of(9).await.kind, HEADERS);
    assert_eq!(wire.next_of(9).await.payload, b"\x81\x02hi");
}

/// An application that does not read holds back its own stream, by HTTP/2's window, and no other.
async fn a_slow_application_holds_back_its_stream_only() {
    static GO: Semaphore = Semaphore::const_new(0);
    let stream = serve_with(Acceptor::new(), |mut ws| async move {
        let first = ws.next().await.ok_or("no message")??;
        if first.len() == 1 {
            GO.acquire().await?.forget();
        }
        while let Some(message) = ws.next().await {
            ws.feed(message?).await?;
        }
        Ok(())
    });
    let mut client = http2(stream).await;
    let mut headers = HeaderMap::new();
    headers.insert("sec-websocket-version", HeaderValue::from_static("13"));

    let (response, mut slow) = connect(&mut client, &headers);
    let mut slow_answers = response.await.unwrap().into_body();
    slow.send_data(Bytes::from_static(b"\x82\x81\0\0\0\0x"), false).unwrap();
    // 16 MiB in messages of 1,024 bytes: far more than the windows.
    let mut frame = vec![0x82, 0xfe, 4, 0, 0, 0, 0, 0];
    frame.resize(8 + 1024, 0);
    let messages = 16 * 1024;
    let all = Bytes::from(frame.repeat(messages));
    let total = all.len();
    slow.send_data(all, false).unwrap();

    // The other stream, meanwhile.
    let (response, mut quick) = connect(&mut client, &headers);
    let mut answers = response.await.unwrap().into_body();
    quick.send_data(Bytes::from_static(b"\x82\x82\0\0\0\0yy\x81\x82\0\0\0\0hi"), false).unwrap();
    assert_eq!(answers.data().await.unwrap().unwrap(), "\u{81}\u{2}hi".chars().map(|c| c as u8).collect::<Vec<_>>());
    slow.reserve_capacity(total + 1);
    let held = slow.capacity() < total;
    assert!(held, "the windows are full: {}", slow.capacity());

    GO.add_permits(1);
    let mut received = 0;
    while received < messages * (4 + 1024) {
        let data = slow_answers.data().await.unwrap().unwrap();
        received += data.len();
        slow_answers.flow_control().release_capacity(data.len()).unwrap();
    }
}

async fn masks_are_those_of_rfc_6455() {
    let mut wire = Wire::open(serve_with(Acceptor::new(), echo)).await;
    wire.headers(1, &FIELDS).await;
    wire.send(DATA, 0, 1, b"\x81\x82\x01\x02\x03\x04ik").await;
    assert_eq!(wire.next_of(1).await.kind, HEADERS);
    assert_eq!(wire.next_of(1).await.payload, b"\x81\x02hi", "the client masks, the server does not");
    wire.send(DATA, 0, 1, b"\x81\x02hi").await;
    let close = wire.next_of(1).await.payload;
    assert_eq!((close[0], &close[2..4]), (0x88, &1002_u16.to_be_bytes()[..]), "{close:?}");
}
