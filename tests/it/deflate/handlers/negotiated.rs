//! What a `DeflateHandler` offers, accepts and refuses, around what the handler inside it says.

use std::sync::mpsc;

use url::Url;
use wireline::handler::{
    Error, Handler, Handshake, Message, Request, Response, Result, Sender, Settings,
    deflate::{DeflateBuilder, DeflateHandler, DeflateSettings},
};

use super::rig::{Raw, dial, line, serve};

const HEADER: &str = "Sec-WebSocket-Extensions";

fn settings(change: impl FnOnce(&mut DeflateSettings)) -> DeflateSettings {
    let mut settings = DeflateSettings::default();
    change(&mut settings);
    settings
}

#[test]
fn a_server_accepts_the_first_acceptable_offer() {
    let strict = settings(|settings| settings.accept_no_context_takeover = false);
    let saving = settings(|settings| settings.request_no_context_takeover = true);
    let small = settings(|settings| settings.max_window_bits = 9);
    let plain = DeflateSettings::default();
    // settings, offers, answer
    let table = [
        (plain, "permessage-deflate", Some("permessage-deflate")),
        (plain, "permessage-deflate; client_max_window_bits", Some("permessage-deflate")),
        (plain, "permessage-deflate; unknown", None),
        (plain, "permessage-deflate; unknown, permessage-deflate", Some("permessage-deflate")),
        (plain, "permessage-deflate; server_max_window_bits=8, permessage-deflate", Some("permessage-deflate")),
        (plain, "permessage-deflate; server_max_window_bits=9; server_max_window_bits=9", None),
        (plain, "x-other", None),
        (
            plain,
            "permessage-deflate; server_no_context_takeover",
            Some("permessage-deflate; server_no_context_takeover"),
        ),
        (strict, "permessage-deflate; server_no_context_takeover", None),
        (strict, "permessage-deflate; server_no_context_takeover, permessage-deflate", Some("permessage-deflate")),
        (saving, "permessage-deflate", Some("permessage-deflate; client_no_context_takeover")),
        (
            small,
            "permessage-deflate; client_max_window_bits",
            Some("permessage-deflate; server_max_window_bits=9; client_max_window_bits=9"),
        ),
    ];
    for (settings, offers, answer) in table {
        let server = serve(Settings::default(), move |_: Sender| {
            DeflateBuilder::new().with_settings(settings).build(|_: Message| Ok(()))
        });
        let (_raw, head) = Raw::open(server.address, Some(offers));
        assert!(head.starts_with("HTTP/1.1 101 "), "{offers}: {head}");
        assert_eq!(line(&head, HEADER), answer, "{offers} to {settings:?}");
    }
}

#[test]
fn a_client_offers_what_its_settings_say() {
    let table = [
        (DeflateSettings::default(), "permessage-deflate; client_max_window_bits"),
        (
            settings(|settings| settings.max_window_bits = 12),
            "permessage-deflate; server_max_window_bits=12; client_max_window_bits=12",
        ),
        (
            settings(|settings| settings.request_no_context_takeover = true),
            "permessage-deflate; server_no_context_takeover; client_max_window_bits",
        ),
    ];
    for (settings, offer) in table {
        let (listener, client) =
            dial(move |_: Sender| DeflateBuilder::new().with_settings(settings).build(|_: Message| Ok(())));
        let (mut raw, head) = Raw::accept(&listener, None);
        assert_eq!(line(&head, HEADER), Some(offer), "{settings:?}");
        raw.send(0x88, b"");
        client.join().unwrap();
    }
}

struct Errors(mpsc::Sender<String>);

impl Handler for Errors {
    fn on_open(&mut self, _: Handshake) -> Result<()> {
        let _ = self.0.send("open".into());
        Ok(())
    }

    fn on_error(&mut self, err: Error) {
        let _ = self.0.send(format!("{:?}", err.kind));
    }
}

#[test]
fn a_client_fails_over_an_answer_it_cannot_honour() {
    let strict = settings(|settings| settings.accept_no_context_takeover = false);
    let plain = DeflateSettings::default();
    let table = [
        (plain, "permessage-deflate", "open"),
        (plain, "permessage-deflate; client_no_context_takeover", "open"),
        (strict, "permessage-deflate; client_no_context_takeover", "Protocol"),
        (plain, "permessage-deflate; server_max_window_bits=16", "Protocol"),
        (plain, "permessage-deflate; unknown", "Protocol"),
        (plain, "permessage-deflate, permessage-deflate", "Protocol"),
        (plain, "x-other", "Protocol"),
    ];
    for (settings, answer, expected) in table {
        let (log, seen) = mpsc::channel();
        let (listener, client) =
            dial(move |_: Sender| DeflateBuilder::new().with_settings(settings).build(Errors(log.clone())));
        let (raw, _) = Raw::accept(&listener, Some(answer));
        drop(raw);
        client.join().unwrap();
        assert_eq!(seen.try_recv().as_deref(), Ok(expected), "{answer}");
    }
}

struct Inner(u16);

impl Handler for Inner {
    fn on_request(&mut self, req: &Request) -> Result<Response> {
        let mut response = if self.0 == 101 {
            Response::from_request(req)?
        } else {
            Response::new(self.0, "Gone elsewhere", Vec::new())
        };
        response.headers_mut().push(("X-Inner".into(), b"request".to_vec()));
        Ok(response)
    }

    fn build_request(&mut self, url: &Url) -> Result<Request> {
        let mut request = Request::from_url(url)?;
        request.headers_mut().push(("X-Inner".into(), b"build".to_vec()));
        Ok(request)
    }
}

/// The handler's own part in the handshake stays; only an answer that opens the connection accepts an offer.
#[test]
fn the_inner_handshake_runs_first() {
    for (status, answer) in [(101, Some("permessage-deflate")), (404, None)] {
        let server = serve(Settings::default(), move |_: Sender| DeflateHandler::new(Inner(status)));
        let (_raw, head) = Raw::open(server.address, Some("permessage-deflate"));
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{head}");
        assert_eq!(line(&head, "X-Inner"), Some("request"));
        assert_eq!(line(&head, HEADER), answer);
    }
    let (listener, client) = dial(|_: Sender| DeflateHandler::new(Inner(101)));
    let (mut raw, head) = Raw::accept(&listener, None);
    assert_eq!(line(&head, "X-Inner"), Some("build"));
    assert!(line(&head, HEADER).is_some());
    raw.send(0x88, b"");
    client.join().unwrap();
}
