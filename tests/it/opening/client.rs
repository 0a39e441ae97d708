//! Hostile responses (RFC 6455 section 4.1), in every delivery, and what becomes of them.

use std::io::ErrorKind;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, duplex},
    net::TcpListener,
    runtime::Runtime,
};
use wireline::{
    Cause, Client, CloseCode, CloseFrame, CloseRecord, Error, Initiator, Message,
    proto::{Fault, Violation},
};

use super::{
    END, HI, RESPONSE, cited, replaced,
    wire::{
        ACCEPT, Asked, Counts, OTHER_CASE, TRUNCATED, Then, ask, deliver, deliveries, name, read_head, runtime,
        with_accept,
    },
};
use crate::support::suite::{Ran, Suite};

pub(super) static ROWS: Suite = Suite::new(run);

#[test]
fn client_judges_hostile_responses() {
    ROWS.ids();
}

fn run(ran: &mut Ran) {
    let runtime = runtime();
    let client = client().subprotocols(["chat", "superchat"]).expect("tokens");
    for row in rows() {
        row.check(&runtime, &client);
        row.ids.iter().for_each(|id| ran.id(id));
    }
    bytes_beyond_ascii(&runtime, &client, ran);
    bodies(&runtime, ran);
    work_is_bounded(&runtime, ran);
    frames_behind_the_response(&runtime, ran);
    runtime.block_on(data_waits_for_the_response(ran));
    first_frames(&runtime, ran);
    runtime.block_on(lost_connections(ran));
}

fn client() -> Client {
    Client::new("ws://example.com/chat").expect("a URL")
}

struct Row {
    ids: &'static [&'static str],
    response: Vec<u8>,
    then: Then,
    expected: String,
}

/// The response with `from` replaced by `to`, and a message behind it. `expected` is the name of the error, or `101` and
/// the subprotocol.
fn row(ids: &'static [&'static str], from: &str, to: impl AsRef<str>, expected: &str) -> Row {
    let response = [&*replaced(RESPONSE, from, to.as_ref()), HI].concat();
    Row { ids, response, then: Then::Hold, expected: expected.to_owned() }
}

/// The same, but the server ends the connection then.
fn ended(ids: &'static [&'static str], from: &str, to: impl AsRef<str>, expected: &str) -> Row {
    Row { then: Then::End, ..row(ids, from, to, expected) }
}

/// The first bytes of the response and no more.
fn cut_short(ids: &'static [&'static str], length: usize) -> Row {
    let response = RESPONSE.as_bytes()[..length].to_vec();
    Row { ids, response, then: Then::End, expected: "Truncated".to_owned() }
}

impl Row {
    fn check(&self, runtime: &Runtime, client: &Client) -> Counts {
        let mut worst = Counts::default();
        for cuts in deliveries(&self.response) {
            let asked = runtime.block_on(ask(client, &self.response, &cuts, self.then, 1));
            self.judge(&asked, &format!("{}, cut at {cuts:.16?}", self.cited()));
            worst.bytes = worst.bytes.max(asked.read.bytes);
        }
        worst
    }

    fn cited(&self) -> String {
        format!("{}: {}", cited(self.ids), self.response[..self.response.len().min(400)].escape_ascii())
    }

    fn judge(&self, asked: &Asked, context: &str) {
        let found = match &asked.opened {
            Ok((subprotocol, messages)) => {
                assert_eq!(*messages, [Message::from("hi")], "{context}");
                format!("101 {}", subprotocol.as_deref().unwrap_or_default()).trim_end().to_owned()
            }
            Err(error) => {
                assert_eq!(asked.sent, b"", "{context}: nothing is sent to a server that failed");
                name(error)
            }
        };
        assert_eq!(found, self.expected, "{context}");
    }
}

fn rows() -> Vec<Row> {
    let accept_line = format!("Sec-WebSocket-Accept: {ACCEPT}\r\n");
    let extension = |value: &str| format!("Sec-WebSocket-Extensions: {value}\r\n");
    let protocol = |value: &str| format!("Sec-WebSocket-Protocol: {value}\r\n");
    let lines = |count: usize| "X: y\r\n".repeat(count);
    let hi = "\\x81\\x02hi";
    vec![
        row(&["C-20"], "Switching Protocols", "", "101"),
        // Sec-WebSocket-Accept.
        row(&["C1", "C-17"], ACCEPT, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", "AcceptMismatch"),
        row(&["C1", "C-17"], ACCEPT, TRUNCATED, "AcceptMismatch"),
        row(&["C1", "C-17"], ACCEPT, OTHER_CASE, "AcceptMismatch"),
        row(&["C1", "C-17"], ACCEPT, format!("{ACCEPT}="), "AcceptMismatch"),
        row(&["C1", "C-17"], ACCEPT, format!("{ACCEPT}, {ACCEPT}"), "AcceptMismatch"),
        row(&["C1", "C-17"], ACCEPT, format!("\"{ACCEPT}\""), "AcceptMismatch"),
        row(&["C1", "C-17"], ACCEPT, "", "AcceptMismatch"),
        row(&["C1", "C-17"], &accept_line, "", "MissingAccept"),
        row(&["C1", "C-17"], END, &accept_line, "DuplicateAccept"),
        row(&["C1", "C-17"], ACCEPT, format!(" \t {ACCEPT} \t "), "101"),
        row(&["C1", "C-17"], "Sec-WebSocket-Accept", "sec-websocket-ACCEPT", "101"),
        // Only 101 opens.
        ended(&["C2", "C-14"], "101 Switching Protocols", "200 OK", &format!("Rejected 200 {hi}")),
        row(&["C2", "C-14"], "101 Switching Protocols", "204 No Content", "Rejected 204 "),
        row(&["C2", "C-14"], "101 Switching Protocols", "304 Not Modified", "Rejected 304 "),
        row(
            &["C2", "C-14"],
            "101 Switching Protocols\r\n",
            "301 Moved\r\nLocation: ws://evil.example/\r\nContent-Length: 0\r\n",
            "Rejected 301 ",
        ),
        row(
            &["C2", "C-14"],
            "101 Switching Protocols\r\n",
            "401 Unauthorized\r\nWWW-Authenticate: Basic\r\nContent-Length: 4\r\n",
            &format!("Rejected 401 {hi}"),
        ),
        ended(&["C2", "C-14"], "101 Switching Protocols", "426 Upgrade Required", &format!("Rejected 426 {hi}")),
        row(
            &["C2"],
            "HTTP/1.1 101",
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 101",
            "101",
        ),
        row(&["C2", "C-20"], END, "Content-Length: 5\r\n", "UnexpectedBody"),
        row(&["C2", "C-20"], END, "Content-Length: 0\r\n", "UnexpectedBody"),
        row(&["C2", "C-20"], END, "Transfer-Encoding: chunked\r\n", "UnexpectedBody"),
        // Upgrade and Connection.
        row(&["C3", "C-15"], "Upgrade: websocket\r\n", "", "MissingUpgrade"),
        row(&["C3", "C-15"], ": websocket", ": websockets", "MissingUpgrade"),
        row(&["C3", "C-15"], ": websocket", ": h2c", "MissingUpgrade"),
        row(&["C3", "C-15"], ": websocket", ": h2c, websocket", "MissingUpgrade"),
        row(&["C3", "C-15"], ": websocket", ":", "MissingUpgrade"),
        row(&["C3", "C-15"], END, "Upgrade: websocket\r\n", "MissingUpgrade"),
        row(&["C3", "C-15"], ": websocket", ": WebSocket", "101"),
        row(&["C3", "C-16"], "Connection: Upgrade\r\n", "", "MissingConnection"),
        row(&["C3", "C-16"], "Connection: Upgrade", "Connection: close", "MissingConnection"),
        row(&["C3", "C-16"], "Connection: Upgrade", "Connection: notupgrade", "MissingConnection"),
        row(&["C3", "C-16"], "Connection: Upgrade", "connection: uPGRADE", "101"),
        row(&["C3", "C-16"], "Connection: Upgrade", "Connection: keep-alive, Upgrade", "101"),
        row(&["C3", "C-16"], "Connection: Upgrade", "Connection: keep-alive\r\nConnection: upgrade", "101"),
        // Extensions: none was offered.
        row(&["C4", "C-18"], END, extension("permessage-deflate"), "UnrequestedExtension"),
        row(&["C4", "C-18"], END, extension("permessage-deflate, permessage-deflate"), "UnrequestedExtension"),
        row(
            &["C4", "C-18"],
            END,
            extension("permessage-deflate; server_max_window_bits=7; unknown"),
            "UnrequestedExtension",
        ),
        row(&["C4", "C-18"], END, extension("x-webkit-deflate-frame"), "UnrequestedExtension"),
        row(&["C4", "C-18"], END, extension(""), "MalformedExtensions"),
        row(&["C4", "C-18"], END, extension("a;b=\"c"), "MalformedExtensions"),
        // The subprotocol. Choosing none is the server's right: the caller sees it.
        row(&["C5", "C-19"], END, protocol("chat"), "101 chat"),
        row(&["C5", "C-19"], END, protocol("\tsuperchat "), "101 superchat"),
        row(&["C5", "C-19"], "HTTP", "HTTP", "101"),
        row(&["C5", "C-19"], END, protocol("other"), "UnrequestedSubprotocol"),
        row(&["C5", "C-19"], END, protocol("Chat"), "UnrequestedSubprotocol"),
        row(&["C5", "C-19"], END, protocol("chat, superchat"), "DuplicateSubprotocol"),
        row(&["C5", "C-19"], END, protocol("chat") + &protocol("superchat"), "DuplicateSubprotocol"),
        row(&["C5", "C-19"], END, protocol("chat") + &protocol("chat"), "MalformedSubprotocol"),
        row(&["C5", "C-19"], END, protocol(""), "MalformedSubprotocol"),
        row(&["C5", "C-19"], END, protocol("a b"), "MalformedSubprotocol"),
        // Bytes beyond ASCII; every other such byte follows in `bytes_beyond_ascii`.
        row(&["C6"], END, protocol("\u{ff}"), "MalformedSubprotocol"),
        row(&["C6"], END, extension("\u{80}"), "MalformedExtensions"),
        row(&["C6"], END, "X-Harmless: \u{80}\u{ff}\r\n", "101"),
        row(&["C6"], "Switching", "Sw\u{ef}tching", "101"),
        // Limits.
        row(&["C7"], END, lines(61), "101"),
        row(&["C7"], END, lines(62), "TooManyHeaders"),
        row(&["C7"], END, lines(1_000_000), "TooManyHeaders"),
        row(&["C7"], END, format!("X: {}\r\n", "y".repeat(16 * 1024)), "HeadTooLarge"),
        row(&["C7"], "Switching Protocols", "x".repeat(16 * 1024), "HeadTooLarge"),
        row(&["C7"], "HTTP/1.1", "HTTP/1.1 100 \r\nX: y\r\n\r\n".repeat(65) + "HTTP/1.1", "TooManyHeaders"),
        row(&["C7"], "HTTP/1.1", "HTTP/1.1 100 \r\n\r\n".repeat(10_000) + "HTTP/1.1", "HeadTooLarge"),
        cut_short(&["C7", "C10"], RESPONSE.len() - 1),
        cut_short(&["C10"], 1),
        // Anything else.
        row(&["C-20"], "HTTP/1.1", "HTTP/1.0", "MalformedHead"),
        row(&["C-20"], "HTTP/1.1", "HTTP/1.2", "MalformedHead"),
        row(&["C-20"], "HTTP/1.1", "HTTP/2", "MalformedHead"),
        row(&["C-20"], "HTTP/1.1", "http/1.1", "MalformedHead"),
        row(&["C-20"], "HTTP/1.1", "SSH-2.0-OpenSSH", "MalformedHead"),
        row(&["C-20"], "HTTP/1.1", "\r\nHTTP/1.1", "MalformedHead"),
        row(&["C-20"], " 101", " 1010", "MalformedHead"),
        row(&["C-20"], "101 ", "101\0", "MalformedHead"),
        row(&["C-20"], "\r\nUpgrade", "\nUpgrade", "MalformedHead"),
        row(&["C-20"], END, "X: y\r\n z\r\n", "MalformedHead"),
        row(&["C-20"], END, "X : y\r\n", "MalformedHead"),
        row(&["C-20"], END, "X y\r\n", "MalformedHead"),
        row(&["C-20"], END, "X: \0\r\n", "MalformedHead"),
        // No answer is not a bad answer.
        Row { ids: &["C10"], response: vec![], then: Then::End, expected: "NoResponse".to_owned() },
        Row { ids: &["C10"], response: HI.to_vec(), then: Then::End, expected: "MalformedHead".to_owned() },
    ]
}

/// No byte from 0x80 to 0xff is taken for a part of anything, wherever it stands.
fn bytes_beyond_ascii(runtime: &Runtime, client: &Client, ran: &mut Ran) {
    let places: &[(&str, &str, &str)] = &[
        // where it is put behind, the beginning of that header, and the result
        ("HTTP/1.1", "HTTP/1.1", "MalformedHead"),
        (" 101", " 101", "MalformedHead"),
        ("Upgrade", "Upgrade", "MalformedHead"),
        (": websocket", ": websocket", "MissingUpgrade"),
        ("Connection: Upgrade", "Connection: Upgrade", "MissingConnection"),
        (ACCEPT, ACCEPT, "AcceptMismatch"),
        (END, "Sec-WebSocket-Protocol: chat", "MalformedSubprotocol"),
        (END, "Sec-WebSocket-Extensions: a", "MalformedExtensions"),
        (END, "Content-Length: 0", "UnexpectedBody"),
        (END, "X-Harmless: a", "101"),
    ];
    for &(from, before, expected) in places {
        for byte in '\u{80}'..='\u{ff}' {
            let end = if from == END { "\r\n" } else { "" };
            let row = row(&["C6"], from, format!("{before}{byte}{end}"), expected);
            let asked = runtime.block_on(ask(client, &row.response, &[], Then::Hold, 1));
            row.judge(&asked, &row.cited());
        }
    }
    ran.id("C6");
}

/// The body of a rejection is handed on, at most 1 MiB of it.
fn bodies(runtime: &Runtime, ran: &mut Ran) {
    const CAP: usize = 1024 * 1024;
    let chunks = "10\r\n0123456789abcdef\r\n";
    let table = [
        // head, what is repeated for ever, and the body
        ("HTTP/1.1 500 x\r\n\r\n", "abcdefgh", "abcdefgh".repeat(CAP / 8)),
        ("HTTP/1.1 500 x\r\nContent-Length: 18446744073709551615\r\n\r\n", "abcdefgh", "abcdefgh".repeat(CAP / 8)),
        ("HTTP/1.1 500 x\r\nTransfer-Encoding: chunked\r\n\r\n", chunks, String::new()),
        ("HTTP/1.1 500 x\r\nTransfer-Encoding: chunked\r\n\r\n1;", "x", String::new()),
    ];
    for (head, more, expected) in table {
        let response = [head.as_bytes(), more.repeat(4 * CAP / more.len()).as_bytes()].concat();
        let asked = runtime.block_on(ask(&client(), &response, &[], Then::Hold, 0));
        let Err(Error::Handshake(error)) = asked.opened else { panic!("C2: rejected") };
        let wireline::proto::handshake::HandshakeError::Rejected(rejection) = *error else { panic!("C2: rejected") };
        let body = rejection.into_body();
        if more == chunks {
            // Framing counts too.
            assert_eq!(body.len() / 16, CAP / chunks.len(), "{}", cited(&["C2"]));
        } else {
            assert!(body == expected, "{}: a body of {} bytes", cited(&["C2"]), body.len());
        }
        assert!(asked.read.bytes <= CAP + 32 * 1024, "{}: {:?}", cited(&["C2"]), asked.read);
        assert_eq!(asked.sent, b"", "{}", cited(&["C2"]));
    }
    ran.id("C2");
}

/// A head that never ends costs what the limits say, however much more of it there is.
fn work_is_bounded(runtime: &Runtime, ran: &mut Ran) {
    let endless: [(&str, &str, &str); 3] = [
        ("HTTP/1.1 101 x\r\nX: ", "a", "HeadTooLarge"),
        ("HTTP/1.1 101 x\r\n", "X: y\r\n", "TooManyHeaders"),
        ("", "HTTP/1.1 100 \r\n\r\n", "HeadTooLarge"),
    ];
    for (begin, more, expected) in endless {
        let cost = |length: usize| {
            let response = [begin, &more.repeat(length / more.len())].concat().into_bytes();
            let row = Row { ids: &["C7"], response, then: Then::Hold, expected: expected.to_owned() };
            row.check(runtime, &client())
        };
        let (less, ten_times) = (cost(200 << 10), cost(2 << 20));
        assert_eq!(less, ten_times, "{}: ten times the response costs no more", cited(&["C7"]));
        assert!(less.bytes <= 2 * 16 * 1024, "{}: {less:?}", cited(&["C7"]));
    }
    ran.id("C7");
}

/// Frames in the same segment as the response belong to the connection.
fn frames_behind_the_response(runtime: &Runtime, ran: &mut Ran) {
    let frames = b"\x81\x02hi\x89\x01p\x01\x03\xe2\x82\xac\x80\x02lo\x82\x7e\x00\x80".iter().chain(&[7; 128]);
    let response: Vec<u8> = RESPONSE.bytes().chain(frames.copied()).collect();
    let expected = [Message::from("hi"), Message::from("\u{20ac}lo"), Message::from(vec![7; 128])];
    for cuts in deliveries(&response) {
        let asked = runtime.block_on(ask(&client(), &response, &cuts, Then::Hold, 3));
        let received = asked.opened.map(|(_, received)| received).expect("open");
        assert_eq!(received, expected, "{}, cut at {cuts:.16?}", cited(&["C8"]));
        // The Ping among them was answered: an empty mask key is one in four thousand million.
        assert_eq!(asked.sent.first(), Some(&0x8a), "{}, cut at {cuts:.16?}", cited(&["C8"]));
    }
    ran.id("C8");
}

/// Nothing follows the request until the whole response is there.
async fn data_waits_for_the_response(ran: &mut Ran) {
    let (near, mut far) = duplex(1024);
    let client = client();
    let opening = async {
        let (mut ws, _) = client.connect_over(near).await.expect("open");
        ws.send("hello").await.expect("sent");
        ws
    };
    let server = async {
        let request = read_head(&mut far).await;
        let response = with_accept(RESPONSE.as_bytes(), &request);
        let (last, most) = response.split_last().expect("not empty");
        let mut sent = [0; 11];
        for byte in most {
            far.write_all(&[*byte]).await.expect("a reader");
            tokio::task::yield_now().await;
            let early = tokio::select! {
                biased;
                read = far.read(&mut sent) => Some(read),
                () = tokio::task::yield_now() => None,
            };
            assert!(early.is_none(), "C-13: data before the response was complete");
        }
        far.write_all(&[*last]).await.expect("a reader");
        far.read_exact(&mut sent).await.expect("a frame");
        assert_eq!(sent[..2], [0x81, 0x85], "C-13: the first frame");
    };
    let _ = tokio::join!(opening, server);
    ran.id("C-13");
}

/// What a server's first frames can do.
fn first_frames(runtime: &Runtime, ran: &mut Ran) {
    let masked = Violation::Masked;
    let normal = CloseFrame::new(CloseCode::NORMAL, "bye").expect("short");
    type Expected = (Option<String>, Cause, Initiator, CloseRecord, &'static [u8]);
    let table: [(&[u8], Expected); 3] = [
        // frames, then: the one item, the cause, who began, what was received, and the Close frame that is sent, unmasked
        (
            b"\x81\x82\0\0\0\0hi",
            (
                Some(format!("Peer({masked:?})")),
                Cause::Fault(Fault::Violation(masked)),
                Initiator::Local,
                CloseRecord::None,
                b"\x03\xea",
            ),
        ),
        (b"\x88\x05\x03\xe8bye", (None, Cause::Clean, Initiator::Peer, CloseRecord::Frame(normal), b"\x03\xe8")),
        (b"\x88\0", (None, Cause::Clean, Initiator::Peer, CloseRecord::Empty, b"")),
    ];
    for (frames, expected) in table {
        let response = [RESPONSE.as_bytes(), frames].concat();
        for cuts in deliveries(&response) {
            let found = runtime.block_on(async {
                let (near, mut far) = duplex(1024);
                let client = client();
                let opening = async {
                    let (mut ws, _) = client.connect_over(near).await.expect("open");
                    let item = ws.next().await.map(|item| name(&item.expect_err("no message")));
                    assert!(ws.next().await.is_none(), "{}: ended", cited(&["C9"]));
                    let ending = ws.ending().expect("ended").clone();
                    (item, ending)
                };
                let server = async {
                    let request = read_head(&mut far).await;
                    deliver(&mut far, &with_accept(&response, &request), &cuts).await;
                    let _ = far.shutdown().await;
                    let mut sent = Vec::new();
                    far.read_to_end(&mut sent).await.expect("read");
                    sent
                };
                tokio::join!(opening, server)
            });
            let ((item, ending), sent) = found;
            let (wanted, cause, initiator, received, payload) = &expected;
            let context = format!("{}: {}", cited(&["C9"]), frames.escape_ascii());
            assert_eq!(item, *wanted, "{context}");
            assert_eq!(ending.cause(), *cause, "{context}");
            assert_eq!(ending.initiator(), *initiator, "{context}");
            assert_eq!(ending.received(), received, "{context}");
            assert_eq!(unmasked_close(&sent), *payload, "{context}: {sent:?}");
        }
    }
    ran.id("C9");
}

/// The payload's code of the one Close frame that a client sent.
fn unmasked_close(sent: &[u8]) -> Vec<u8> {
    let [0x88, length, a, b, c, d, payload @ ..] = sent else { panic!("C9: one Close frame, not {sent:?}") };
    assert_eq!(usize::from(length & 0x7f), payload.len(), "C9: nothing behind the Close frame");
    payload.iter().zip([a, b, c, d]).map(|(byte, mask)| byte ^ mask).take(2).collect()
}

/// Connections that cannot be made, or that break before and after the response.
async fn lost_connections(ran: &mut Ran) {
    // Nobody listens.
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("ws://{}", listener.local_addr().expect("an address"));
    drop(listener);
    let error = wireline::connect(&url).await.expect_err("nobody listens");
    assert_eq!(name(&error), "Network ConnectionRefused", "C-05");
    // No such name: a label of 64 characters is none, so that no resolver is asked over the network.
    let error = wireline::connect(format!("ws://{}.invalid", "a".repeat(64))).await.expect_err("no such name");
    assert!(matches!(error, Error::Network(_)), "C-05: {error:?}");
    ran.id("C-05");

    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("ws://{}", listener.local_addr().expect("an address"));
    // A reset before the response, then one behind it.
    let reset_before = async {
        let (mut stream, _) = listener.accept().await.expect("a client");
        read_head(&mut stream).await;
        stream.set_zero_linger().expect("an option");
    };
    let (opened, ()) = tokio::join!(wireline::connect(&url), reset_before);
    let error = opened.expect_err("reset");
    assert_eq!(name(&error), format!("Network {:?}", ErrorKind::ConnectionReset), "{}", cited(&["C10"]));
    ran.id("C10");

    let answer = async {
        let (mut stream, _) = listener.accept().await.expect("a client");
        let request = read_head(&mut stream).await;
        stream.write_all(&with_accept(RESPONSE.as_bytes(), &request)).await.expect("sent");
        stream
    };
    let (opened, stream) = tokio::join!(wireline::connect(&url), answer);
    let mut ws = opened.expect("open");
    stream.set_zero_linger().expect("an option");
    drop(stream);
    let error = ws.next().await.expect("an item").expect_err("reset");
    assert_eq!(name(&error), format!("Network {:?}", ErrorKind::ConnectionReset), "{}", cited(&["C9"]));
    assert!(ws.next().await.is_none(), "{}", cited(&["C9"]));
    let ending = ws.ending().expect("ended");
    assert_eq!((ending.cause(), ending.received()), (Cause::Lost, &CloseRecord::None), "{}: 1006", cited(&["C9"]));
    ran.id("C9");
}
