//! Hostile requests (RFC 6455 section 4.2.1), in every delivery, and the answer to each.

use bytes::Bytes;
use tokio::{
    io::{AsyncWriteExt, duplex},
    runtime::Runtime,
};
use wireline::{
    Config, Message,
    server::{Acceptor, Origins},
};

use super::{
    END, HI_MASKED, KEY, REQUEST, SWITCHING, cited, replaced,
    wire::{Answer, Counts, Served, deliver, deliveries, name, receive, runtime, serve},
};
use crate::support::suite::{Ran, Suite};

pub(super) static ROWS: Suite = Suite::new(run);

#[test]
fn server_judges_hostile_requests() {
    ROWS.ids();
}

fn run(ran: &mut Ran) {
    let runtime = runtime();
    let acceptor = Acceptor::new();
    for row in rows() {
        row.check(&runtime, &acceptor);
        row.ids.iter().for_each(|id| ran.id(id));
    }
    bytes_beyond_ascii(&runtime, ran);
    long_lists(&runtime, ran);
    work_is_bounded(&runtime, ran);
    runtime.block_on(early_data(ran));
}

pub(super) struct Row {
    pub(super) ids: &'static [&'static str],
    pub(super) input: Vec<u8>,
    pub(super) status: u16,
    /// What the body of a refusal must name.
    pub(super) says: &'static str,
}

/// The request with `from` replaced by `to`, and a message behind it.
pub(super) fn row(
    ids: &'static [&'static str],
    from: &str,
    to: impl AsRef<str>,
    status: u16,
    says: &'static str,
) -> Row {
    Row { ids, input: [&*replaced(REQUEST, from, to.as_ref()), HI_MASKED].concat(), status, says }
}

impl Row {
    /// Runs the row in every delivery.
    pub(super) fn check(&self, runtime: &Runtime, acceptor: &Acceptor) -> Counts {
        let mut worst = Counts::default();
        for cuts in deliveries(&self.input) {
            let served = runtime.block_on(serve(acceptor, &self.input, &cuts));
            self.judge(&served, &format!("{}, cut at {cuts:.16?}", self.cited()));
            worst.bytes = worst.bytes.max(served.read.bytes);
            worst.before_answer = worst.before_answer.max(served.read.before_answer);
        }
        worst
    }

    pub(super) fn cited(&self) -> String {
        let shown = &self.input[..self.input.len().min(400)];
        format!("{}: {}", cited(self.ids), shown.escape_ascii())
    }

    fn judge(&self, served: &Served, context: &str) {
        let answer = served.answer.as_ref().unwrap_or_else(|| panic!("{context}: no answer"));
        assert_eq!(answer.status, self.status, "{context}: {answer:?}");
        match &served.accepted {
            Ok(accepted) => {
                assert_eq!(self.status, 101, "{context}");
                // S-10, S-11: exactly this head, with no header beside.
                assert_eq!(answer.head, SWITCHING, "{context}");
                assert_eq!(accepted.message, Some(Message::from("hi")), "{context}");
            }
            Err(error) => {
                assert_eq!(name(error), format!("Refused {}", self.status), "{context}");
                refusal(answer, self.says, context);
            }
        }
    }
}

/// A refusal of our own: with the headers its status needs, and a sentence that names the rule.
pub(super) fn refusal(answer: &Answer, says: &str, context: &str) {
    let connection = if answer.status == 426 { "close, Upgrade" } else { "close" };
    assert_eq!(answer.all("Connection"), [connection], "{context}");
    assert_eq!(answer.all("Content-Length"), [answer.body.len().to_string()], "{context}");
    let (versions, allow): (&[&str], &[&str]) = match answer.status {
        426 => (&["13"], &[]),
        405 => (&[], &["GET"]),
        _ => (&[], &[]),
    };
    assert_eq!(answer.all("Sec-WebSocket-Version"), versions, "{context}");
    assert_eq!(answer.all("Allow"), allow, "{context}");
    assert!(answer.all("Sec-WebSocket-Accept").is_empty(), "{context}: {answer:?}");
    let body = str::from_utf8(&answer.body).expect("text");
    if says.is_empty() {
        return assert_eq!(body, "", "{context}");
    }
    let sentence = body.strip_suffix(".\n").unwrap_or_else(|| panic!("{context}: {body:?} is a sentence"));
    assert!(sentence.starts_with(|first: char| first.is_uppercase()), "{context}: {body:?}");
    assert!(!sentence.ends_with('.') && !sentence.contains('\n'), "{context}: {body:?} is one sentence");
    assert!(sentence.contains(says), "{context}: {body:?} names {says:?}");
}

fn rows() -> Vec<Row> {
    const KEY_LINE: &str = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    const VERSION_LINE: &str = "Sec-WebSocket-Version: 13\r\n";
    const PROTOCOL: &str = "Sec-WebSocket-Protocol";
    const EXTENSIONS: &str = "Sec-WebSocket-Extensions";
    let lines = |count: usize| "X: y\r\n".repeat(count);
    let protocol = |value: &str| format!("{PROTOCOL}: {value}\r\n");
    let extension = |value: &str| format!("{EXTENSIONS}: {value}\r\n");
    let path = |line: usize| format!("/{}", "a".repeat(line - "GET / HTTP/1.1".len()));
    let mut rows = vec![
        row(&["S-11", "S-10"], "/chat", "/", 101, ""),
        // The head as a whole.
        row(&["H2", "S-15"], "example.com", "a".repeat(64 * 1024), 431, "head"),
        row(&["H3", "S-15"], "Upgrade:", lines(59) + "Upgrade:", 101, ""),
        row(&["H3", "S-15"], "Upgrade:", lines(60) + "Upgrade:", 431, "header lines"),
        row(&["H3", "S-15"], "Upgrade:", lines(2_000) + "Upgrade:", 431, "header lines"),
        row(&["H3", "S-15"], "Upgrade:", lines(1_000_000) + "Upgrade:", 431, "header lines"),
        row(&["H4", "S-15"], "/chat", path(8 * 1024), 101, ""),
        row(&["H4", "S-15"], "/chat", path(8 * 1024 + 1), 414, "request line"),
        // Sec-WebSocket-Protocol.
        row(&["H5", "S-01"], END, protocol("a, b, c"), 101, ""),
        row(&["H5"], END, protocol(&format!("b{}x", " ".repeat(30_000))), 431, "head"),
        row(&["H5", "S-01"], END, protocol(&format!("b{}x", " ".repeat(3_000))), 400, PROTOCOL),
        row(&["H5", "S-01"], END, protocol("a, a"), 400, PROTOCOL),
        // RFC 9110 §5.6.1.2: empty elements of a list are skipped.
        row(&["H5"], END, protocol("a,,b"), 101, ""),
        row(&["H5", "S-01"], END, protocol(","), 400, PROTOCOL),
        row(&["H5", "S-01"], END, protocol(""), 400, PROTOCOL),
        row(&["H5", "S-01"], END, protocol("a b"), 400, PROTOCOL),
        row(&["H5", "S-01"], END, protocol("a\0"), 400, "control"),
        // Sec-WebSocket-Extensions: none is ever agreed to.
        row(&["H6", "S-13"], END, extension(&format!("a;b=\"{}", "\\c".repeat(4 * 1024))), 400, EXTENSIONS),
        row(&["H6", "S-10"], END, extension("constructor"), 101, ""),
        row(&["H6", "S-10"], END, extension("permessage-deflate; client_max_window_bits"), 101, ""),
        row(&["H6", "S-13"], END, extension(",;constructor"), 400, EXTENSIONS),
        row(&["H6", "S-13"], END, extension("permessage-deflate; =1"), 400, EXTENSIONS),
        row(&["H6", "S-13"], END, extension(""), 400, EXTENSIONS),
        row(&["H6", "S-10"], END, extension(&["x"; 200].join(",")), 101, ""),
        row(&["H6", "S-13"], END, extension(&(["x"; 200].join(",") + ",;")), 400, EXTENSIONS),
        // Bytes beyond ASCII; every other such byte follows in `bytes_beyond_ascii`.
        row(&["H7"], END, protocol("\u{ff}"), 400, PROTOCOL),
        row(&["H7"], END, extension("\u{80}"), 400, EXTENSIONS),
        row(&["H7"], END, "Origin: http://\u{e9}xample.com\r\n", 400, "Origin"),
        row(&["H7"], END, "X-Harmless: \u{80}\u{ff}\r\n", 101, ""),
        // No body.
        row(&["H8"], END, "Content-Length: 5\r\n", 400, "body"),
        row(&["H8"], END, "Transfer-Encoding: chunked\r\n", 400, "body"),
        row(&["H8"], END, "Content-Length: 0\r\n", 101, ""),
        row(&["H8"], END, "Content-Length: 0\r\nContent-Length: 5\r\n", 400, "body"),
        row(&["H8"], END, "Content-Length: 5\r\nContent-Length: 6\r\n", 400, "body"),
        row(&["H8"], END, "Content-Length: 0\r\nTransfer-Encoding: chunked\r\n", 400, "body"),
        row(&["H8"], END, "Transfer-Encoding: identity\r\n", 400, "body"),
        row(&["H8"], END, "Content-Length: +0\r\n", 400, "body"),
        // Connection and Upgrade.
        row(&["H10", "S-04"], "Connection: Upgrade", "Connection: keep-alive, Upgrade", 101, ""),
        row(&["H10", "S-04"], "Connection: Upgrade", "connection: uPGRADE", 101, ""),
        row(&["H10", "S-04"], "Connection: Upgrade", "Connection: keep-alive\r\nConnection: upgrade", 101, ""),
        row(&["H10", "S-04"], "Connection: Upgrade", "Connection: notupgrade", 400, "Connection"),
        row(&["H10", "S-04"], "Connection: Upgrade", "Connection: upgrade-insecure", 400, "Connection"),
        row(&["H10", "S-04"], "Connection: Upgrade", "Connection: keep-alive Upgrade", 400, "Connection"),
        row(&["H10", "S-04"], "Connection: Upgrade\r\n", "", 400, "Connection"),
        row(&["H11", "S-04"], ": websocket", ": WebSocket", 101, ""),
        row(&["H11", "S-04"], ": websocket", ": h2c, websocket", 101, ""),
        row(&["H11", "S-04"], ": websocket", ": websockets", 400, "Upgrade"),
        row(&["H11", "S-04"], ": websocket", ": websocket/13", 400, "Upgrade"),
        row(&["H11", "S-04"], "Upgrade: websocket\r\n", "", 426, "Upgrade"),
        // Sec-WebSocket-Key.
        row(&["H12", "S-05"], KEY_LINE, KEY_LINE, 101, ""),
        row(&["H12", "S-05"], KEY, format!(" \t{KEY} "), 101, ""),
        row(&["H12", "S-05"], KEY_LINE, "", 400, "Sec-WebSocket-Key"),
        row(&["H12", "S-05"], END, KEY_LINE, 400, "Sec-WebSocket-Key"),
        row(&["H12", "S-05"], KEY, "", 400, "Sec-WebSocket-Key"),
        row(&["H12", "S-05"], KEY, "AAAAAAAAAAAAAAAAAAAA", 400, "Sec-WebSocket-Key"),
        row(&["H12", "S-05"], KEY, "AAAAAAAAAAAAAAAAAAAAAAA=", 400, "Sec-WebSocket-Key"),
        row(&["H12", "S-05"], KEY, "not base64, not at all==", 400, "Sec-WebSocket-Key"),
        row(&["H12", "S-05"], KEY, "dGhlIHNhbXBsZSBub25jZQ", 400, "Sec-WebSocket-Key"),
        row(&["H12", "S-05"], KEY, "dGhlIHNhbXBs ZSBub25jZQ==", 400, "Sec-WebSocket-Key"),
        row(&["H12", "S-05"], KEY, "dGhlIHNhbXB ZSBub25jZQ==", 400, "Sec-WebSocket-Key"),
        // Sec-WebSocket-Version.
        row(&["H13", "S-06", "S-07"], VERSION_LINE, "", 426, "Sec-WebSocket-Version"),
        row(&["H13", "S-06", "S-07"], ": 13", ": 0", 426, "version"),
        row(&["H13", "S-06", "S-07"], ": 13", ": 8", 426, "version"),
        row(&["H13", "S-06", "S-07"], ": 13", ": 12", 426, "version"),
        row(&["H13", "S-06", "S-07"], ": 13", ": 14", 426, "version"),
        row(&["H13", "S-06", "S-07"], ": 13", ": 255", 426, "version"),
        row(&["H13", "S-06"], ": 13", ": 256", 400, "Sec-WebSocket-Version"),
        row(&["H13", "S-06"], ": 13", ": 13, 8", 400, "Sec-WebSocket-Version"),
        row(&["H13", "S-06"], ": 13", ": 13abc", 400, "Sec-WebSocket-Version"),
        row(&["H13", "S-06"], ": 13", ": 013", 400, "Sec-WebSocket-Version"),
        row(&["H13", "S-06"], ": 13", ":", 400, "Sec-WebSocket-Version"),
        row(&["H13", "S-06"], END, VERSION_LINE, 400, "Sec-WebSocket-Version"),
        row(&["H13", "S-06"], ": 13", ":  13", 101, ""),
        // The request line.
        row(&["H14", "S-02"], "GET", "POST", 405, "GET"),
        row(&["H14", "S-02"], "GET", "HEAD", 405, ""),
        row(&["H14", "S-02"], "GET", "get", 405, "GET"),
        row(&["H14", "S-02"], "HTTP/1.1", "HTTP/1.0", 505, "HTTP/1.1"),
        row(&["H14", "S-02"], "HTTP/1.1", "HTTP/2.0", 505, "HTTP/1.1"),
        row(&["H14", "S-01"], "HTTP/1.1", "HTTP/1.1junk", 400, "CRLF"),
        row(&["H14", "S-01"], " HTTP/1.1", "", 400, "request line"),
        row(&["H14", "S-02"], "/chat", "http://example.com/chat", 101, ""),
        row(&["H14", "S-01"], "/chat", "*", 400, "target"),
        row(&["H14", "S-01"], "/chat", "", 400, "request"),
        row(&["H14", "S-01"], "/chat", "chat", 400, "target"),
        row(&["H14", "S-01"], "/chat", "/chat#x", 400, "target"),
        row(&["H14", "S-01"], "/chat", "/chat room", 400, "request line"),
        // Host.
        row(&["H14", "S-03"], "Host: example.com\r\n", "", 400, "Host"),
        row(&["H14", "S-03"], END, "Host: example.com\r\n", 400, "Host"),
        row(&["H14", "S-03"], "example.com", "", 400, "Host"),
        row(&["H14", "S-03"], "example.com", "user@example.com", 400, "Host"),
        row(&["H14", "S-03"], "example.com", "[::1]:9001", 101, ""),
        // Lines. RFC 9112 §2.2 lets a server repair a bare LF and a leading empty line; we refuse them.
        row(&["H14", "S-01"], "\r\nHost", "\nHost", 400, "LF"),
        row(&["H14", "S-01"], END, "X: y\n", 400, "LF"),
        row(&["H14", "S-01"], "\r\nHost", "\rHost", 400, "CR"),
        row(&["H14", "S-01"], "GET", "\r\nGET", 400, "empty line"),
        row(&["H14", "S-01"], "GET", "\nGET", 400, "LF"),
        row(&["H14", "S-01"], END, "X: y\r\n z\r\n", 400, "folded"),
        row(&["H14", "S-01"], "Host:", "Host :", 400, "header line"),
        row(&["H14", "S-01"], "Host:", " Host:", 400, "folded"),
        row(&["H14", "S-01"], "Host:", "Host", 400, "header line"),
        row(&["H14", "S-01"], "example.com", "exam\0ple.com", 400, "control"),
        row(&["H14", "S-01"], "/chat", "/\0", 400, "control"),
        row(
            &["H18", "S-07"],
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n",
            "Sec-WebSocket-Key1: 4 @1  46546xW%0l 1 5\r\nSec-WebSocket-Key2: 12998 5 Y3 1  .P00\r\n",
            426,
            "Sec-WebSocket-Version",
        ),
    ];
    let whole = |ids, input: &[u8], status, says| Row { ids, input: input.to_vec(), status, says };
    rows.push(whole(&["H14"], b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0", 505, "HTTP/1.1"));
    rows.push(whole(&["H14", "S-01"], b"\r\n\r\n", 400, "empty line"));
    rows.push(whole(&["H16"], b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03", 400, "control"));
    rows
}

/// No byte from 0x80 to 0xff is taken for a part of anything, wherever it stands.
fn bytes_beyond_ascii(runtime: &Runtime, ran: &mut Ran) {
    let places: &[(&str, &str, u16)] = &[
        // where it is put behind, the beginning of that header, and the answer
        ("/chat", "/chat", 400),
        ("GET", "GET", 400),
        ("example.com", "example.com", 400),
        (": websocket", ": websocket", 400),
        ("Connection: Upgrade", "Connection: Upgrade", 400),
        (KEY, KEY, 400),
        (": 13", ": 13", 400),
        ("Host", "Host", 400),
        (END, "Sec-WebSocket-Protocol: a", 400),
        (END, "Sec-WebSocket-Extensions: a", 400),
        (END, "Origin: http://example.com", 400),
        (END, "Content-Length: 0", 400),
        (END, "X-Harmless: a", 101),
    ];
    let acceptor = Acceptor::new();
    for &(from, before, status) in places {
        for byte in '\u{80}'..='\u{ff}' {
            let end = if from == END { "\r\n" } else { "" };
            let input = [&*replaced(REQUEST, from, &format!("{before}{byte}{end}")), HI_MASKED].concat();
            let served = runtime.block_on(serve(&acceptor, &input, &[]));
            let answered = served.answer.map(|answer| answer.status);
            assert_eq!(answered, Some(status), "{}: {byte:?} behind {before:?}", cited(&["H7"]));
        }
    }
    // Who ignores the header ignores its bytes.
    let any = Acceptor::new().origins(Origins::Any);
    row(&["H7"], END, "Origin: \u{ff}\r\n", 101, "").check(runtime, &any);
    ran.id("H7");
}

/// Lists that only larger limits let through are judged all the same.
fn long_lists(runtime: &Runtime, ran: &mut Ran) {
    let mut config = Config::default();
    config.limits.max_head = 64 * 1024;
    let acceptor = Acceptor::new().config(config).expect("settings that work");
    let names = |prefix: &str, count: usize| -> String {
        (0..count).map(|number| format!("{prefix}{number}")).collect::<Vec<_>>().join(", ")
    };
    let protocol = |value: &str| format!("Sec-WebSocket-Protocol: {value}\r\n");
    let rows = [
        row(&["H5"], END, protocol(&format!("b{}x", " ".repeat(30_000))), 400, "Sec-WebSocket-Protocol"),
        row(&["H5"], END, protocol(&names("a", 128)), 101, ""),
        row(&["H5"], END, protocol(&names("a", 129)), 400, "Sec-WebSocket-Protocol"),
        row(&["H5"], END, protocol(&names("a", 5_000)), 400, "Sec-WebSocket-Protocol"),
        row(&["H5"], END, protocol(&(names("a", 5_000) + ", a17")), 400, "Sec-WebSocket-Protocol"),
        row(&["H6"], END, format!("Sec-WebSocket-Extensions: {}\r\n", names("a;b=", 5_000)), 101, ""),
    ];
    for row in rows {
        row.check(runtime, &acceptor);
        row.ids.iter().for_each(|id| ran.id(id));
    }
}

/// A head that never ends costs what the limits say, however much more of it there is.
fn work_is_bounded(runtime: &Runtime, ran: &mut Ran) {
    let endless: [(&'static [&'static str], &[u8], &str); 4] = [
        (&["H2", "S-15"], b"GET / HTTP/1.1\r\nX: ", "a"),
        (&["H3", "S-15"], b"GET / HTTP/1.1\r\n", "X: y\r\n"),
        (&["H5", "S-15"], b"GET / HTTP/1.1\r\nSec-WebSocket-Protocol: b", " "),
        (&["H6", "S-15"], b"GET / HTTP/1.1\r\nSec-WebSocket-Extensions: a;b=\"", "\\c"),
    ];
    for (ids, begin, more) in endless {
        let cost = |length: usize| {
            let input = [begin, more.repeat(length / more.len()).as_bytes()].concat();
            Row { ids, input, status: 431, says: "head" }.check(runtime, &Acceptor::new())
        };
        let (less, ten_times) = (cost(2 << 20), cost(20 << 20));
        assert_eq!(less, ten_times, "{}: ten times the input costs no more", cited(ids));
        // What is read before the answer is the limit, and what one more growth of the buffer lets in.
        assert!(less.before_answer <= 2 * 16 * 1024, "{}: {less:?}", cited(ids));
        // Behind the answer at most max_drain is read, so that the answer is not destroyed.
        assert!(less.bytes <= less.before_answer + (1 << 20) + 4 * 1024, "{}: {less:?}", cited(ids));
        ids.iter().for_each(|id| ran.id(id));
    }
}

/// Frames that come before the answer belong to the connection.
async fn early_data(ran: &mut Ran) {
    let messages: Vec<Message> = (0..64).map(|number| Message::from(format!("{number:01000}"))).collect();
    let frames: Vec<u8> = (0..64).flat_map(|number| masked(0x81, format!("{number:01000}").as_bytes())).collect();
    let input = [REQUEST.as_bytes(), &frames].concat();
    for cuts in deliveries(&input) {
        let (near, mut far) = duplex(1024);
        let server = async {
            let mut ws = wireline::accept(near).await.expect("accepted");
            receive(&mut ws, messages.len()).await
        };
        let client = async {
            deliver(&mut far, &input, &cuts).await;
            Answer::read(&mut far).await.map(|answer| answer.status)
        };
        let (received, status) = tokio::join!(server, client);
        assert_eq!(status, Some(101), "{}", cited(&["H9"]));
        assert!(received == messages, "{}: {} messages, cut at {cuts:.16?}", cited(&["H9"]), received.len());
    }

    // Little is read before the answer, and what is left is read as it is asked for: 100 MB of it.
    let flood = Row { ids: &["H9"], input: [REQUEST.as_bytes(), HI_MASKED, &frames].concat(), status: 101, says: "" };
    for cuts in deliveries(&flood.input) {
        let served = serve(&Acceptor::new(), &flood.input, &cuts).await;
        flood.judge(&served, &flood.cited());
        assert!(served.read.before_answer <= 4096, "{}: {:?}", cited(&["H9"]), served.read);
    }
    let frame = masked(0x82, &[7; 64 * 1024]);
    let request = [REQUEST.as_bytes(), &frame].concat();
    let (near, mut far) = duplex(1024 * 1024);
    let client = async move {
        far.write_all(&request).await.expect("room");
        for _ in 1..1600 {
            far.write_all(&frame).await.expect("a reader");
        }
        far
    };
    let server = async {
        let mut ws = wireline::accept(near).await.expect("accepted");
        let mut received = 0;
        while received < 1600 {
            let message = ws.next().await.expect("not the end").expect("no error");
            assert_eq!(message, Message::Binary(Bytes::from_static(&[7; 64 * 1024])), "{}", cited(&["H9"]));
            received += 1;
        }
    };
    tokio::join!(server, client);
    ran.id("H9");
}

/// A frame from a client, masked with the key that changes nothing.
pub(super) fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match payload.len() {
        length @ 0..126 => frame.push(0x80 | u8::try_from(length).expect("less than 126")),
        length @ 126..65_536 => {
            frame.push(0x80 | 126);
            frame.extend(u16::try_from(length).expect("less than 65,536").to_be_bytes());
        }
        length => {
            frame.push(0x80 | 127);
            frame.extend((length as u64).to_be_bytes());
        }
    }
    [&*frame, &[0; 4], payload].concat()
}
