//! The four examples of the documentation, on a paused clock where they take time.

use std::time::Duration;

use tokio::{task::JoinSet, time::sleep};
use wireline::{
    Role,
    handler::{
        CloseCode, Error, ErrorKind, Frame, Handler, Handshake, Request, Response, Result, Sender,
        util::{Timeout, Token},
    },
};

use super::{
    rig::{attach, bare_close},
    wire::{REQUEST, RESPONSE, Raw, listener},
};
use crate::{
    scripted::{Control, ROLES, Scripted, block_on, close, encode, frames, now, ping, pong, seconds, settle},
    support::alloc::Meter,
};

const SECOND: Duration = Duration::from_secs(1);

/// Runs a handler over a transport in memory.
fn run<H: Handler + Send + 'static>(
    role: Role,
    make: impl FnOnce(Sender) -> H + Send + 'static,
) -> (Control, JoinSet<Result<H>>) {
    let (transport, control) = Scripted::new();
    let mut task = JoinSet::new();
    task.spawn(attach(role).run(transport, make));
    (control, task)
}

fn invalid_token() -> Error {
    Error::new(ErrorKind::Internal, "Invalid timeout token encountered!")
}

const GRATI: Token = Token(1);

struct GratuitousPong {
    ws: Sender,
}

impl Handler for GratuitousPong {
    fn on_open(&mut self, _: Handshake) -> Result<()> {
        self.ws.timeout(5_000, GRATI)
    }

    fn on_timeout(&mut self, event: Token) -> Result<()> {
        match event {
            GRATI => {
                self.ws.pong(vec![])?;
                self.ws.timeout(5_000, GRATI)
            }
            _ => Err(invalid_token()),
        }
    }
}

#[test]
fn gratuitous_pongs_come_without_traffic_s8_2_1() {
    block_on(async {
        for role in ROLES {
            let (control, mut task) = run(role, |ws| GratuitousPong { ws });
            for pongs in 0..5 {
                sleep(Duration::from_millis(4_900)).await;
                assert_eq!(frames(role, &control.output()).len(), pongs, "{role:?}");
                sleep(Duration::from_millis(110)).await;
                assert_eq!(frames(role, &control.output()), vec![pong(""); pongs + 1], "{role:?}");
            }
            control.end();
            task.join_next().await.unwrap().unwrap().unwrap();
        }
    });
}

#[test]
fn an_unknown_token_is_an_internal_error_s8_2_1() {
    block_on(async {
        let (control, mut task) = run(Role::Server, |ws| {
            ws.timeout(1, Token(9)).unwrap();
            GratuitousPong { ws }
        });
        sleep(SECOND).await;
        let reason = "Internal Application Error: Invalid timeout token encountered!";
        assert_eq!(frames(Role::Server, &control.output()), [close(1011, reason)]);
        control.end();
        task.join_next().await.unwrap().unwrap().unwrap();
    });
}

const PING: Token = Token(1);
const EXPIRE: Token = Token(2);

struct Expiring {
    ws: Sender,
    timeout: Option<Timeout>,
}

impl Handler for Expiring {
    fn on_open(&mut self, _: Handshake) -> Result<()> {
        self.ws.timeout(5_000, PING)?;
        self.ws.timeout(30_000, EXPIRE)
    }

    fn on_timeout(&mut self, event: Token) -> Result<()> {
        match event {
            PING => {
                self.ws.ping(vec![])?;
                self.ws.timeout(5_000, PING)
            }
            EXPIRE => self.ws.close(CloseCode::Away),
            _ => Err(invalid_token()),
        }
    }

    fn on_new_timeout(&mut self, event: Token, timeout: Timeout) -> Result<()> {
        if event == EXPIRE
            && let Some(before) = self.timeout.replace(timeout)
        {
            self.ws.cancel(before)?;
        }
        Ok(())
    }

    fn on_frame(&mut self, frame: Frame) -> Result<Option<Frame>> {
        self.ws.timeout(30_000, EXPIRE)?;
        Ok(Some(frame))
    }
}

#[test]
fn traffic_keeps_a_connection_open_and_silence_ends_it_with_1001_s8_2_2() {
    block_on(async {
        for role in ROLES {
            let (control, mut task) = run(role, |ws| Expiring { ws, timeout: None });
            settle().await;
            // A peer that answers each ping, for five minutes.
            for _ in 0..60 {
                sleep(5 * SECOND).await;
                control.arrive(encode(role, [pong("")]));
            }
            let sent = frames(role, &control.output());
            assert!(sent.iter().all(|frame| *frame == ping("")) && sent.len() >= 59, "{role:?}: {}", sent.len());
            settle().await;
            let start = now();
            while frames(role, &control.output()).last() != Some(&close(1001, "")) {
                assert!(seconds(start) < 31.0, "{role:?}");
                sleep(SECOND / 10).await;
            }
            assert!(seconds(start) >= 29.9, "{role:?}: {}", seconds(start));
            control.arrive(encode(role, [bare_close()]));
            control.end();
            task.join_next().await.unwrap().unwrap().unwrap();
        }
    });
}

#[test]
fn a_hundred_thousand_frames_leave_one_live_expiry_s8_2_2() {
    block_on(async {
        let role = Role::Server;
        let (control, mut task) = run(role, |ws| Expiring { ws, timeout: None });
        let batch = encode(role, vec![pong("x"); 1000]);
        control.arrive(&batch);
        settle().await;
        let meter = Meter::start();
        for _ in 0..100 {
            control.arrive(&batch);
            while control.unread() > 0 {
                tokio::task::yield_now().await;
            }
            settle().await;
        }
        assert!(meter.held() < 64 * 1024, "{} bytes for timeouts that were cancelled", meter.held());
        assert_eq!(frames(role, &control.output()), []);
        let start = now();
        task.join_next().await.unwrap().unwrap().unwrap();
        assert_eq!(seconds(start), 40.0, "thirty of silence and ten of close_timeout");
        assert_eq!(frames(role, &control.output()).last(), Some(&close(1001, "")));
    });
}

struct Accepting;

impl Handler for Accepting {
    fn on_request(&mut self, req: &Request) -> Result<Response> {
        let mut response = Response::from_request(req)?;
        if req.extensions()?.iter().any(|extension| extension.contains("myextension-name")) {
            response.add_extension("myextension-name");
        }
        Ok(response)
    }
}

#[test]
fn an_extension_is_accepted_when_it_is_offered_only_s8_2_3() {
    let ws = wireline::handler::WebSocket::new(|_: Sender| Accepting).unwrap().bind("127.0.0.1:0").unwrap();
    let (address, broadcaster) = (ws.local_addr().unwrap(), ws.broadcaster());
    let running = std::thread::spawn(|| ws.run().map(drop));
    let rows = [
        ("", false),
        ("Sec-WebSocket-Extensions: another\r\n", false),
        ("Sec-WebSocket-Extensions: myextension-name\r\n", true),
        ("Sec-WebSocket-Extensions: another, myextension-name; x=1\r\n", true),
    ];
    for (offer, accepted) in rows {
        let mut peer = Raw::dial(address);
        peer.write(REQUEST.replace("\r\n\r\n", &format!("\r\n{offer}\r\n")));
        let head = peer.head();
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        assert_eq!(head.contains("\r\nSec-WebSocket-Extensions: myextension-name\r\n"), accepted, "{offer}: {head}");
    }
    broadcaster.shutdown().unwrap();
    running.join().unwrap().unwrap();
}

struct Offering;

const OFFER: &str = "permessage-deflate; client_max_window_bits";

impl Handler for Offering {
    fn build_request(&mut self, url: &url::Url) -> Result<Request> {
        let mut request = Request::from_url(url)?;
        request.add_extension(OFFER);
        Ok(request)
    }
}

#[test]
fn an_offered_extension_reaches_the_server_s8_2_4() {
    let (listener, url) = listener();
    let client = std::thread::spawn(|| wireline::handler::connect(url, |_| Offering));
    let mut peer = Raw::accept(&listener);
    let request = Request::parse(peer.head().as_bytes()).unwrap().unwrap();
    assert_eq!(request.extensions().unwrap(), [OFFER]);
    peer.write(RESPONSE);
    drop(peer);
    client.join().unwrap().unwrap();
}
