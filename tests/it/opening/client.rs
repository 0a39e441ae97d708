//! Hostile responses (RFC 6455 section 4.1), in every delivery, and what becomes of them.

use tokio::runtime::Runtime;
use wireline::{Client, Error, Message, proto::handshake::HandshakeError};

use super::{
    END, HI, RESPONSE, cited, client, replaced,
    wire::{ACCEPT, Asked, Counts, OTHER_CASE, TRUNCATED, Then, ask, deliveries, name, runtime},
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
        let HandshakeError::Rejected(rejection) = *error else { panic!("C2: rejected") };
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
