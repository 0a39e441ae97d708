//! The span of each connection, and lines that no peer can multiply or forge.

use std::{future::Future, net::SocketAddr, time::Duration};

use http::Request;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, duplex},
    net::TcpStream,
};
use wireline::{
    Client, CloseCode, Config, Server, Transport, WebSocket, connect,
    handler::{self, Attach, Handler, Message, Sender},
    server::{BoxError, TrustedProxies},
};

use crate::{
    scripted::{block_on, now},
    support::lines::Lines,
};

/// Line ends, a terminal's escape sequence, a change of the writing's direction.
const FORGED: &str = "x\r\nERROR forged\u{1b}[31m\u{202e}\u{85}";
const ESCAPED: &str = "x\\r\\nERROR forged\\u{1b}[31m\\u{202e}\\u{85}";

async fn serving<F, Fut>(server: Server, application: F, client: impl AsyncFnOnce(SocketAddr))
where
    F: Fn(WebSocket<Transport>, Request<()>) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<(), BoxError>> + Send + 'static,
{
    let address = server.local_addr().unwrap();
    tokio::select! {
        served = server.serve(application) => panic!("{served:?}"),
        () = client(address) => {}
    }
}

async fn server() -> Server {
    let mut config = Config::default();
    config.timings.close = Duration::from_millis(300);
    Server::bind("127.0.0.1:0").await.unwrap().config(config).unwrap()
}

/// Waits until the server's task has said so much.
async fn said(lines: &Lines, words: &str) -> String {
    loop {
        if let Some(line) = lines.with(words).pop() {
            return line;
        }
        tokio::task::yield_now().await;
    }
}

/// A line without the number of its connection, which counts those of the whole process.
fn unnumbered(line: &str) -> String {
    let (before, rest) = line.split_once("websocket{id=").expect("it is in the span of a connection");
    format!("{before}websocket{{{}", rest.trim_start_matches(|char: char| char.is_ascii_digit()))
}

#[tokio::test]
async fn a_connection_is_a_span_and_its_end_is_an_event() {
    let (lines, _guard) = Lines::record();
    let server = server().await.trusted_proxies(TrustedProxies::new(["127.0.0.1"]).unwrap());
    let application = async |mut ws: WebSocket<Transport>, _| {
        tracing::info!("inside");
        assert!(ws.next().await.is_none());
        Ok(())
    };
    serving(server, application, async |address| {
        let url = format!("ws://{address}/chat%0d%0a?token=secret");
        let client = Client::new(url).unwrap().header("x-forwarded-for", "192.0.2.7").unwrap();
        let (mut ws, _) = client.connect().await.unwrap();
        ws.close(CloseCode::try_from(4000).unwrap(), FORGED).await.unwrap();
        let closed = said(&lines, "connection closed").await;
        let span = "websocket{ peer=192.0.2.7 path=/chat%0d%0a}: ";
        let end = format!("connection closed code=4000 reason={ESCAPED} cause=Clean initiator=Peer");
        assert_eq!(unnumbered(&closed), format!("DEBUG {span}{end}"));
        assert_eq!(unnumbered(&said(&lines, "inside").await), format!("INFO {span}inside"));
        assert_eq!(lines.with("secret"), [""; 0]);
    })
    .await;
}

/// Faults 4.13 and 4.28: what a panic and an error said is reported, in their connection's span and in one line each.
#[tokio::test]
async fn panics_and_errors_of_applications_are_reported_in_one_line() {
    let (lines, _guard) = Lines::record();
    let application = |mut ws: WebSocket<Transport>, request: Request<()>| async move {
        let said = ws.next().await.transpose()?.map(|message| message.to_string()).unwrap_or_default();
        if request.uri().path() == "/panic" {
            std::panic::panic_any(said);
        }
        Err(said.into())
    };
    serving(server().await, application, async |address| {
        for (path, level, line) in [
            ("/panic", "ERROR", "the application panicked reason="),
            ("/error", "DEBUG", "the application ended its connection with an error error="),
        ] {
            let mut ws = connect(&format!("ws://{address}{path}")).await.unwrap();
            let peer = ws.get_ref().local_addr().unwrap();
            ws.send(FORGED).await.unwrap();
            assert!(ws.next().await.is_none());
            assert_eq!(ws.ending().unwrap().code(), 1011);
            let span = format!("websocket{{ peer={peer} path={path}}}: ");
            assert_eq!(unnumbered(&said(&lines, line).await), format!("{level} {span}{line}{ESCAPED}"));
        }
    })
    .await;
}

/// Fault 4.28: what a peer puts into its request, its frames and its Close is in no line as it is.
#[tokio::test]
async fn no_peer_forges_a_line_and_no_payload_is_logged() {
    let (lines, _guard) = Lines::record();
    let key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n";
    let usual = format!("Upgrade: websocket\r\nConnection: Upgrade\r\n{key}\r\n");
    let requests = [
        format!("GET /\u{1b}[31mERROR HTTP/1.1\r\nHost: a\r\n{usual}"),
        format!("GET /\rERROR HTTP/1.1\r\nHost: a\r\n{usual}"),
        format!("GET /%1b%0d%0aERROR HTTP/1.1\r\nHost: a\r\nOrigin: http://b\u{1b}[31m\r\n{usual}"),
        format!("GET / HTTP/1.1\r\nHost: a\u{1b}\r\n{usual}"),
        format!("GET / HTTP/1.1\r\nHost: a\r\nOrigin: http://\u{202e}b\u{85}\r\n{usual}"),
        format!("GET / HTTP/1.1\r\nHost: a\r\nSec-WebSocket-Protocol: a\u{1b}\rERROR\r\n{usual}"),
        format!("GET / HTTP/1.1\r\nHost: a\r\nSec-WebSocket-Extensions: \u{85}\u{1b}\r\n{usual}"),
        format!("GET / HTTP/1.1\r\nHost: a\r\nUpgrade: \u{1b}[31m\r\nConnection: ERROR\u{7}\r\n{key}\r\n"),
    ];
    let application = |mut ws: WebSocket<Transport>, _| async move {
        while let Some(message) = ws.next().await {
            ws.feed(message?).await?;
        }
        Ok(())
    };
    serving(server().await, application, async |address| {
        for request in &requests {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(request.as_bytes()).await.unwrap();
            stream.shutdown().await.unwrap();
            let mut answer = Vec::new();
            let _ = stream.read_to_end(&mut answer).await;
        }
        let mut ws = connect(&format!("ws://{address}/")).await.unwrap();
        ws.send("PAYLOAD").await.unwrap();
        ws.next().await.unwrap().unwrap();
        ws.ping("PAYLOAD").await.unwrap();
        ws.close(CloseCode::NORMAL, FORGED).await.unwrap();
        said(&lines, "connection closed").await;
    })
    .await;

    assert!(lines.with("opening handshake failed").len() > 3, "{:?}", lines.all());
    harmless(&lines);
}

fn harmless(lines: &Lines) {
    for line in lines.all() {
        assert!(!line.contains(|char: char| char.is_control() || char == '\u{202e}'), "{line:?}");
        assert!(!line.contains("PAYLOAD"), "{line:?}");
    }
}

/// The same of callbacks whose default says what happens.
#[test]
fn no_peer_forges_a_line_of_a_handler() {
    struct Default;
    impl Handler for Default {}
    let (lines, _guard) = Lines::record();
    block_on(async {
        let (here, there) = duplex(4096);
        let server = Attach::server().run(there, |_: Sender| Default);
        let client = Attach::client().run(here, |out: Sender| {
            out.send(Message::text("PAYLOAD")).unwrap();
            out.ping(b"PAYLOAD".to_vec()).unwrap();
            out.close_with_reason(handler::CloseCode::Away, FORGED).unwrap();
            Default
        });
        let (server, client) = tokio::join!(server, client);
        server.and(client).map(drop).unwrap();
    });
    assert!(lines.with("handler: closed")[0].contains(ESCAPED), "{:?}", lines.all());
    harmless(&lines);
}

/// Ten lines of a kind in a second, then their number: hundreds of failed handshakes are not hundreds of lines.
#[tokio::test]
async fn failed_handshakes_are_few_lines_a_second() {
    const FAILED: usize = 300;
    let (lines, _guard) = Lines::record();
    let begun = now();
    serving(
        server().await,
        async |_, _| Ok(()),
        async |address| {
            for _ in 0..FAILED {
                let mut stream = TcpStream::connect(address).await.unwrap();
                stream.write_all(b"GET / HTTP/1.0\r\n\r\n").await.unwrap();
                stream.read_to_end(&mut Vec::new()).await.unwrap();
            }
        },
    )
    .await;
    let seconds = usize::try_from(begun.elapsed().as_secs()).unwrap() + 2;
    let logged = lines.with("opening handshake failed").len();
    assert!((1..=10 * seconds).contains(&logged), "{logged} lines in less than {seconds} s");
    assert!(lines.with("more opening handshakes failed").len() <= seconds);
}
