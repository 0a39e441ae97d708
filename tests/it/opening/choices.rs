//! What a server's application chooses: refusals of its own (RFC 6455 section 4.2.2), subprotocols, headers.

use std::sync::Arc;

use http::{HeaderName, HeaderValue, StatusCode, header};
use wireline::{
    Error, Message,
    proto::Misuse,
    server::{Acceptance, Acceptor, Refusal},
};

use super::{
    END, HI_MASKED, REQUEST, SWITCHING, replaced,
    wire::{Served, deliveries, name, runtime, serve},
};
use crate::support::suite::{Ran, Suite};

pub(super) static ROWS: Suite = Suite::new(run);

#[test]
fn server_sends_what_its_application_chose() {
    ROWS.ids();
}

fn run(ran: &mut Ran) {
    refusals_of_an_application();
    ran.id("S-08");
    foreign_choices();
    ran.id("S-09");
    ran.id("S-10");
    subprotocols();
    ran.id("S-11");
}

/// Runs `check` on what became of `input`, in every delivery.
fn every_delivery(acceptor: &Acceptor, input: &[u8], check: impl Fn(&Served)) {
    let runtime = runtime();
    for cuts in deliveries(input) {
        check(&runtime.block_on(serve(acceptor, input, &cuts)));
    }
}

fn refusals_of_an_application() {
    type Headers = &'static [(HeaderName, &'static str)];
    let table: &[(u16, Headers, &str, u16, &str)] = &[
        // what the hook refuses with, and the status and body that are sent
        (200, &[], "this is a web page", 200, "this is a web page"),
        (204, &[], "never seen", 204, ""),
        (302, &[(header::LOCATION, "wss://example.com/elsewhere")], "", 302, ""),
        (400, &[], "", 400, ""),
        (401, &[(header::WWW_AUTHENTICATE, "Basic realm=\"chat\"")], "who are you?\n", 401, "who are you?\n"),
        (403, &[], "not you\n", 403, "not you\n"),
        (404, &[], "there is only /other here\n", 404, "there is only /other here\n"),
        (429, &[(header::RETRY_AFTER, "60")], "", 429, ""),
        (500, &[], "", 500, ""),
        (503, &[(header::RETRY_AFTER, "1"), (header::SET_COOKIE, "a=b")], "\r\n\r\n", 503, "\r\n\r\n"),
        (599, &[], "\0\u{ff}", 599, "\0\u{ff}"),
        // What would open the connection after all, or not end the exchange.
        (101, &[], "x", 500, "x"),
        (100, &[], "", 500, ""),
        // What frames the answer is the library's.
        (403, &[(header::CONTENT_LENGTH, "99")], "x", 403, "x"),
        (403, &[(header::TRANSFER_ENCODING, "chunked")], "x", 403, "x"),
        (403, &[(header::CONNECTION, "keep-alive")], "x", 403, "x"),
    ];
    let input = [REQUEST.as_bytes(), HI_MASKED].concat();
    for &(code, headers, content, status, body) in table {
        let mut refusal = Refusal::new(StatusCode::from_u16(code).expect("a status")).body(content);
        for (name, value) in headers {
            refusal = refusal.header(name.clone(), HeaderValue::from_static(value));
        }
        let acceptor = Acceptor::new().on_request(move |_| Err(refusal.clone()));
        every_delivery(&acceptor, &input, |served| {
            let context = format!("S-08 {code} {headers:?}");
            let error = served.accepted.as_ref().expect_err("refused");
            assert_eq!(name(error), format!("Refused {status}"), "{context}");
            let answer = served.answer.as_ref().expect("an answer");
            assert_eq!((answer.status, &*answer.body), (status, body.as_bytes()), "{context}");
            assert_eq!(answer.all("Connection"), ["close"], "{context}");
            let length: &[String] = if status == 204 { &[] } else { &[body.len().to_string()] };
            assert_eq!(answer.all("Content-Length"), length, "{context}");
            assert!(answer.all("Transfer-Encoding").is_empty(), "{context}");
            for (name, value) in headers.iter().filter(|(name, _)| !FRAMING.contains(name)) {
                assert_eq!(answer.all(name.as_str()), [*value], "{context}");
            }
        });
    }
}

const FRAMING: [HeaderName; 3] = [header::CONTENT_LENGTH, header::TRANSFER_ENCODING, header::CONNECTION];

/// What may not be sent is told to the caller; the peer hears 500 and no more.
fn foreign_choices() {
    type Hook = Arc<dyn Fn() -> Acceptance + Send + Sync>;
    let chosen = |name: &'static str| -> Hook { Arc::new(move || Acceptance::new().subprotocol(name)) };
    let header = |name: &'static str| -> Hook {
        let (name, value) = (HeaderName::from_static(name), HeaderValue::from_static("foreign"));
        Arc::new(move || Acceptance::new().header(name.clone(), value.clone()))
    };
    let hooks = [
        ("S-09", chosen("foreign")),
        ("S-09", chosen("CHAT")),
        ("S-09", chosen("")),
        ("S-09", chosen("chat, superchat")),
        ("S-09", chosen("chat\r\nX-Injected: foreign")),
        ("S-10", header("sec-websocket-extensions")),
        ("S-09", header("sec-websocket-protocol")),
        ("S-11", header("sec-websocket-accept")),
        ("S-11", header("upgrade")),
        ("S-11", header("connection")),
        ("S-11", header("content-length")),
        ("S-11", header("transfer-encoding")),
    ];
    let offers = replaced(REQUEST, END, "Sec-WebSocket-Protocol: chat, superchat\r\n");
    for (id, hook) in hooks {
        let shown = format!("{id} {:?}", hook());
        let acceptor = Acceptor::new().on_request(move |_| Ok(hook()));
        every_delivery(&acceptor, &[&*offers, HI_MASKED].concat(), |served| {
            let caller = matches!(served.accepted, Err(Error::Caller(Misuse::InvalidRequest(_))));
            assert!(caller, "{shown}: {:?}", served.accepted);
            let answer = served.answer.as_ref().expect("an answer");
            let head = "HTTP/1.1 500 Internal Server Error\r\nConnection: close\r\ncontent-length: 0";
            assert!(answer.head.eq_ignore_ascii_case(head), "{shown}: {answer:?}");
            assert_eq!(answer.body, b"", "{shown}");
        });
    }
}

fn subprotocols() {
    let chat = |acceptor: Acceptor| acceptor.subprotocols(["superchat", "chat"]);
    let hooked = |name: &'static str| move |_: &http::Request<()>| Ok(Acceptance::new().subprotocol(name));
    let table: &[(&str, Acceptor, &str, Option<&str>)] = &[
        // what is configured, what is offered, what is chosen
        ("none", Acceptor::new(), "chat", None),
        ("the server's order counts", chat(Acceptor::new()), "chat, superchat", Some("superchat")),
        ("several lines are one list", chat(Acceptor::new()), "other\r\nSec-WebSocket-Protocol: chat", Some("chat")),
        ("none in common", chat(Acceptor::new()), "other", None),
        ("case counts", chat(Acceptor::new()), "Chat", None),
        ("the hook's choice counts", chat(Acceptor::new()).on_request(hooked("chat")), "chat, superchat", Some("chat")),
        ("the hook has none", chat(Acceptor::new()).on_request(|_| Ok(Acceptance::new())), "chat", Some("chat")),
    ];
    for (shown, acceptor, offered, expected) in table {
        let offers = replaced(REQUEST, END, &format!("Sec-WebSocket-Protocol: {offered}\r\n"));
        every_delivery(acceptor, &[&*offers, HI_MASKED].concat(), |served| {
            let accepted = served.accepted.as_ref().expect("accepted");
            assert_eq!(accepted.subprotocol.as_deref(), *expected, "S-09 {shown}");
            assert_eq!(accepted.message, Some(Message::from("hi")), "S-09 {shown}");
            let line = expected.map(|name| format!("\r\nSec-WebSocket-Protocol: {name}")).unwrap_or_default();
            assert_eq!(served.answer.as_ref().expect("an answer").head, format!("{SWITCHING}{line}"), "S-11 {shown}");
        });
    }
    // Not offered at all: the header is absent.
    every_delivery(&chat(Acceptor::new()), &[REQUEST.as_bytes(), HI_MASKED].concat(), |served| {
        assert_eq!(served.answer.as_ref().expect("an answer").head, SWITCHING, "S-09, S-11");
    });
    // A header of the application's own stands beside.
    let value = HeaderValue::from_static("wireline");
    let own = Acceptor::new().on_request(move |_| Ok(Acceptance::new().header(header::SERVER, value.clone())));
    every_delivery(&own, &[REQUEST.as_bytes(), HI_MASKED].concat(), |served| {
        let head = &served.answer.as_ref().expect("an answer").head;
        assert_eq!(*head, format!("{SWITCHING}\r\nserver: wireline"), "S-11");
    });
}
