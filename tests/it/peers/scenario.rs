//! The scenario of tests/peers/README.md with our server and with our client.

use std::{collections::HashMap, error::Error, sync::Arc};

use bytes::Bytes;
use rustls::ClientConfig;
use tokio::sync::watch;
use wireline::{Client, CloseCode, Config, Ending, Event, Message, Server, Transport, WebSocket};

use super::DEADLINE;

const OFFERED: [&str; 2] = ["other", "echo.v1"];
const SUBPROTOCOL: &str = "echo.v1";

/// How the connections of our server ended, as `CODE REASON` if cleanly, by the path of their request.
type Endings = watch::Sender<HashMap<String, String>>;

/// The server's side, with a configuration that is [`patient`]. Does not return.
pub(super) async fn serve(server: Server) -> wireline::Result<()> {
    let endings = Arc::new(Endings::default());
    server
        .subprotocols([SUBPROTOCOL])
        .serve(move |mut ws, request| {
            let endings = Arc::clone(&endings);
            async move {
                let outcome = answer(&mut ws, &endings).await;
                let ending = match ws.ending() {
                    Some(ending) if ending.is_clean() => format!("{} {}", ending.code(), ending.reason()),
                    other => format!("{other:?}"),
                };
                let path = request.uri().path().to_owned();
                endings.send_modify(|endings| _ = endings.insert(path, ending));
                outcome
            }
        })
        .await
}

async fn answer(ws: &mut WebSocket<Transport>, endings: &Endings) -> Result<(), Box<dyn Error + Send + Sync>> {
    while let Some(message) = ws.next().await {
        let message = message?;
        let words: Vec<&str> = match &message {
            Message::Text(text) => text.splitn(3, ' ').collect(),
            Message::Binary(_) => Vec::new(),
        };
        match words[..] {
            ["ping", "me"] => {
                ping(ws, "their ping").await?;
                ws.send("pong their ping").await?;
            }
            ["ending", path] => {
                let mut endings = endings.subscribe();
                let ending = endings.wait_for(|endings| endings.contains_key(path)).await?[path].clone();
                ws.send(ending).await?;
            }
            ["close", code, reason] => ws.close(CloseCode::try_from(code.parse::<u16>()?)?, reason).await?,
            _ => ws.send(message).await?,
        }
    }
    Ok(())
}

/// The client's steps, against the server at `url`.
pub(super) async fn play(url: &str, tls: Option<Arc<ClientConfig>>) {
    let connect = async |path: &str| {
        let client = Client::new(format!("{url}{path}")).expect("a URL");
        let client = client.config(patient()).expect("a valid configuration");
        let client = client.subprotocols(OFFERED).expect("valid subprotocols");
        let client = match &tls {
            Some(tls) => client.tls(Arc::clone(tls)),
            None => client,
        };
        client.connect().await.expect("the peer accepts").0
    };

    let mut echo = connect("/").await;
    assert_eq!(echo.subprotocol(), Some(SUBPROTOCOL));

    let messages = [
        Message::from("Grüße, 世界 🦀"),
        Message::from(pattern(1000)),
        Message::from(""),
        Message::from(Bytes::new()),
        Message::from(pattern(5 * 1024 * 1024)),
    ];
    for message in messages {
        echo.send(message.clone()).await.expect("sent");
        expect(&mut echo, &message).await;
    }

    for number in 0..2000 {
        echo.feed(format!("message {number}")).await.expect("fed");
    }
    for number in 0..2000 {
        expect(&mut echo, &Message::from(format!("message {number}"))).await;
    }

    ping(&mut echo, "our ping").await.expect("a Pong");
    echo.send("ping me").await.expect("sent");
    expect(&mut echo, &Message::from("pong their ping")).await;

    let mut leaving = connect("/leaving").await;
    leaving.close(CloseCode::try_from(4001).expect("a code that may travel"), "bye").await.expect("closed");
    assert!(leaving.next().await.is_none(), "nothing comes after the Close");
    assert!(leaving.ending().is_some_and(Ending::is_clean), "ended with {:?}", leaving.ending());
    echo.send("ending /leaving").await.expect("sent");
    expect(&mut echo, &Message::from("4001 bye")).await;

    let mut left = connect("/left").await;
    left.send("close 4002 later").await.expect("sent");
    assert!(left.next().await.is_none(), "the peer closes");
    let ending = left.ending().expect("it has ended");
    assert!(ending.is_clean(), "ended with {ending:?}");
    assert_eq!((ending.code(), ending.reason()), (4002, "later"));

    echo.close(CloseCode::NORMAL, "").await.expect("closed");
    assert!(echo.next().await.is_none(), "nothing comes after the Close");
    assert!(echo.ending().is_some_and(Ending::is_clean), "ended with {:?}", echo.ending());
}

/// The defaults, but for the close deadline, which is longer than a test may take: with it, a peer that leaves our
/// connection open after the Close frames fails the test, where else it would only be waited for.
pub(super) fn patient() -> Config {
    let mut config = Config::default();
    config.timings.close = 2 * DEADLINE;
    config
}

/// Waits for the next message. Long ones are not printed whole.
async fn expect(ws: &mut WebSocket<Transport>, expected: &Message) {
    let message = ws.next().await.expect("the connection is open").expect("no error");
    assert!(message == *expected, "got {:.200}, expected {:.200}", format!("{message:?}"), format!("{expected:?}"));
}

/// Sends a Ping while no message is on its way, and waits for the Pong.
async fn ping(ws: &mut WebSocket<Transport>, payload: &'static str) -> Result<(), Box<dyn Error + Send + Sync>> {
    ws.ping(payload).await?;
    match ws.next_event().await {
        Some(Ok(Event::Pong(pong))) if pong == payload.as_bytes() => Ok(()),
        other => Err(format!("expected the Pong, got {other:?}").into()),
    }
}

/// Bytes whose period is a prime, so that a piece in the wrong place shows.
fn pattern(length: usize) -> Bytes {
    (0..=250).cycle().take(length).collect()
}
