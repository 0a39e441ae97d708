//! From the response on, as a client sees it: frames in the same segment, nothing sent before, hostile first frames, and
//! connections that break.

use std::io::ErrorKind;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, duplex},
    net::TcpListener,
    runtime::Runtime,
};
use wireline::{
    Cause, CloseCode, CloseFrame, CloseRecord, Error, Initiator, Message,
    proto::{Fault, Violation},
};

use super::{
    RESPONSE, cited, client,
    wire::{Then, ask, deliver, deliveries, name, read_head, runtime, with_accept},
};
use crate::support::suite::{Ran, Suite};

pub(super) static ROWS: Suite = Suite::new(run);

#[test]
fn client_takes_what_follows_the_response() {
    ROWS.ids();
}

fn run(ran: &mut Ran) {
    let runtime = runtime();
    frames_behind_the_response(&runtime, ran);
    runtime.block_on(data_waits_for_the_response(ran));
    first_frames(&runtime, ran);
    runtime.block_on(lost_connections(ran));
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
