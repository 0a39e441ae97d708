//! The deadline of the opening handshake: total and not per read, to the instant, on a paused clock.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex},
    runtime::Runtime,
    time::{Instant, sleep},
};
use wireline::{Client, Config, Error, Result, proto::Awaited, server::Acceptor};

use super::{
    REQUEST, RESPONSE, cited,
    wire::{Answer, name, paused, read_head, with_accept},
};
use crate::support::suite::{Ran, Suite};

pub(super) static ROWS: Suite = Suite::new(run);

#[test]
fn slow_handshakes_are_cut_at_their_deadline() {
    ROWS.ids();
}

fn run(ran: &mut Ran) {
    let runtime = paused();
    slow_requests(&runtime, ran);
    slow_readers(&runtime, ran);
    slow_responses(&runtime, ran);
}

/// Bytes and how long the peer waits before each.
type Script = Vec<(Duration, Vec<u8>)>;

fn each(bytes: &[u8], wait: Duration) -> Script {
    bytes.iter().map(|byte| (wait, vec![*byte])).collect()
}

async fn play(stream: &mut DuplexStream, script: Script) {
    for (wait, bytes) in script {
        sleep(wait).await;
        if stream.write_all(&bytes).await.is_err() {
            return;
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "the paused clock")]
fn now() -> Instant {
    Instant::now()
}

/// How long `run` takes on the paused clock, whose timers have a resolution of a millisecond.
async fn timed<T>(run: impl Future<Output = T>) -> (T, Duration) {
    let begin = now();
    let result = run.await;
    (result, Duration::from_millis(begin.elapsed().as_millis().try_into().expect("not so long")))
}

const SECOND: Duration = Duration::from_secs(1);

fn timed_out<T>(result: &Result<T>) -> bool {
    matches!(result, Err(Error::Timeout(Awaited::Handshake)))
}

fn slow_requests(runtime: &Runtime, ran: &mut Ran) {
    let deadline = |handshake: Duration| {
        let mut config = Config::default();
        config.timings.handshake = handshake;
        Acceptor::new().config(config).expect("settings that work")
    };
    let whole = |wait: Duration| vec![(wait, REQUEST.as_bytes().to_vec())];
    let nearly = Duration::from_millis(9_999);
    let table: [(&str, Acceptor, Script, Option<Duration>); 8] = [
        // what the peer does, and when it is cut, if it is
        ("1 byte per second", Acceptor::new(), each(REQUEST.as_bytes(), SECOND), Some(10 * SECOND)),
        ("1 byte per 9.999 seconds", Acceptor::new(), each(REQUEST.as_bytes(), nearly), Some(10 * SECOND)),
        ("nothing", Acceptor::new(), vec![], Some(10 * SECOND)),
        (
            "all but the last byte",
            Acceptor::new(),
            vec![(SECOND, REQUEST[..REQUEST.len() - 1].into())],
            Some(10 * SECOND),
        ),
        ("an SSH banner", Acceptor::new(), vec![(SECOND, b"SSH-2.0-x\r\n".to_vec())], Some(10 * SECOND)),
        ("just in time", Acceptor::new(), whole(nearly), None),
        ("1 byte per millisecond", Acceptor::new(), each(REQUEST.as_bytes(), SECOND / 1000), None),
        ("a deadline of its own", deadline(3 * SECOND), each(REQUEST.as_bytes(), SECOND), Some(3 * SECOND)),
    ];
    for (shown, acceptor, script, cut) in table {
        let context = format!("{}: {shown}", cited(&["H1"]));
        runtime.block_on(async {
            let (near, mut far) = duplex(1024);
            let server = timed(acceptor.accept(near));
            let client = async {
                play(&mut far, script).await;
                Answer::read(&mut far).await
            };
            let server = async {
                let (accepted, took) = server.await;
                // What was accepted is dropped here, so that the client sees an end in each case.
                (timed_out(&accepted), accepted.is_ok(), took)
            };
            let ((timed_out, accepted, took), answer) = tokio::join!(server, client);
            match cut {
                Some(deadline) => {
                    assert!(timed_out, "{context}");
                    assert_eq!(took, deadline, "{context}: in all, not per read");
                    assert!(answer.is_none_or(|answer| answer.status == 408), "{context}");
                }
                None => {
                    assert!(accepted, "{context}");
                    assert_eq!(answer.map(|answer| answer.status), Some(101), "{context}");
                }
            }
        });
    }
    ran.id("H1");
}

/// A peer that asks and does not read.
fn slow_readers(runtime: &Runtime, ran: &mut Ran) {
    let refused = REQUEST.replace("GET", "PUT");
    let table = [
        // request, room for the answer, result, time
        (REQUEST, 16, "Timeout(Handshake)", 10 * SECOND),
        // A refusal that is not taken is given up after the close deadline, which is 10 seconds too.
        (&refused, 16, "Refused 405", 10 * SECOND),
        (&refused, 1024, "Refused 405", 10 * SECOND),
    ];
    for (request, room, result, time) in table {
        let context = format!("{}: an answer that is not taken, room {room}", cited(&["H1"]));
        runtime.block_on(async {
            let (near, far) = duplex(room);
            let (mut from, mut to) = tokio::io::split(far);
            let client = async { to.write_all(request.as_bytes()).await };
            let acceptor = Acceptor::new();
            let (_, (accepted, took)) = tokio::join!(client, timed(acceptor.accept(near)));
            assert_eq!(name(&accepted.expect_err("not open")), result, "{context}");
            assert_eq!(took, time, "{context}");
            let mut rest = Vec::new();
            from.read_to_end(&mut rest).await.expect("what was sent until then");
        });
    }
    ran.id("H1");
}

fn slow_responses(runtime: &Runtime, ran: &mut Ran) {
    let whole = |wait: Duration, bytes: &[u8]| vec![(wait, bytes.to_vec())];
    let head = b"HTTP/1.1 503 x\r\nContent-Length: 100\r\n\r\nsorry, ";
    let chunked = b"HTTP/1.1 500 x\r\nTransfer-Encoding: chunked\r\n\r\n7\r\nsorry, ";
    let then_slowly = |head: &[u8], body: &[u8]| [whole(SECOND * 3 / 2, head), each(body, SECOND)].concat();
    let table: [(&str, &str, Script, &str, Duration); 10] = [
        // id, what the server does, the result, and when
        ("C7", "1 byte per second", each(RESPONSE.as_bytes(), SECOND), "Timeout(Handshake)", 10 * SECOND),
        ("C7", "nothing", vec![], "Timeout(Handshake)", 10 * SECOND),
        (
            "C7",
            "no final CRLF",
            whole(SECOND, &RESPONSE.as_bytes()[..RESPONSE.len() - 2]),
            "Timeout(Handshake)",
            10 * SECOND,
        ),
        ("C7", "another protocol", each(b"220 ", SECOND), "MalformedHead", SECOND),
        (
            "C7",
            "an interim response per second",
            (0..60).flat_map(|_| whole(SECOND, b"HTTP/1.1 102 \r\n\r\n")).collect(),
            "Timeout(Handshake)",
            10 * SECOND,
        ),
        (
            "C7",
            "just in time",
            whole(Duration::from_millis(9_999), RESPONSE.as_bytes()),
            "open",
            Duration::from_millis(9_999),
        ),
        // A rejection whose body does not come in time is a rejection all the same, with what is there.
        ("C2", "a rejection without its body", whole(SECOND, &head[..head.len() - 7]), "Rejected 503 ", 10 * SECOND),
        (
            "C2",
            "a rejection with a slow body",
            then_slowly(head, &[b'o'; 90]),
            "Rejected 503 sorry, oooooooo",
            10 * SECOND,
        ),
        (
            "C2",
            "a rejection in slow chunks",
            then_slowly(chunked, b"\r\n5\r\nworld\r\n"),
            "Rejected 500 sorry, wor",
            10 * SECOND,
        ),
        ("C2", "a rejection with a slow head", each(head, SECOND), "Timeout(Handshake)", 10 * SECOND),
    ];
    for (id, shown, script, expected, time) in table {
        let context = format!("{}: {shown}", cited(&[id]));
        runtime.block_on(async {
            let (near, mut far) = duplex(1024);
            let client = Client::new("ws://example.com/").expect("a URL");
            let server = async {
                let request = read_head(&mut far).await;
                let script = script.into_iter().map(|(wait, bytes)| (wait, with_accept(&bytes, &request)));
                play(&mut far, script.collect()).await;
                let _ = far.read_to_end(&mut Vec::new()).await;
            };
            let opening = async {
                let (opened, took) = timed(client.connect_over(near)).await;
                (opened.map_or_else(|error| name(&error), |_| "open".to_owned()), took)
            };
            let ((result, took), ()) = tokio::join!(opening, server);
            assert_eq!((&*result, took), (expected, time), "{context}");
        });
        ran.id(id);
    }

    // A server that does not even take the request.
    runtime.block_on(async {
        let (near, _far) = duplex(16);
        let (opened, took) = timed(Client::new("ws://example.com/").expect("a URL").connect_over(near)).await;
        assert!(timed_out(&opened), "{}: a request that is not taken", cited(&["C7"]));
        assert_eq!(took, 10 * SECOND, "{}: a request that is not taken", cited(&["C7"]));
    });
}
