//! permessage-deflate with real peers: tests/peers/README.md has the messages and the words for an agreement.

mod messages;
mod tap;

use std::{fmt, time::Duration};

use tokio::{net::TcpListener, task::JoinSet, time::timeout};
use wireline::{
    Client, CloseCode, Config, Ending, Message, Server, Transport, WebSocket,
    handler::{self, Builder, Sender, deflate::DeflateBuilder, deflate::DeflateSettings},
    proto::deflate::{Compression, ContextTakeover, DeflateConfig},
    server::Origins,
};

use self::{
    messages::Messages,
    tap::{Tap, Wire},
};
use super::{
    browser::{Browser, Page},
    program::Peer,
    skipped,
};

/// For all connections of one test, which take some ten seconds, with room for a busy machine.
const DEADLINE: Duration = Duration::from_secs(240);

/// Messages on their way before the first answer is waited for.
const AHEAD: usize = 32;

/// What a connection agrees on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Agreement {
    server: Direction,
    client: Direction,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Direction {
    bits: u8,
    context: Context,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Context {
    Kept,
    Fresh,
}

use Context::{Fresh, Kept};

const AGREEMENTS: [Agreement; 8] = [
    agreement((9, Kept), (9, Kept)),
    agreement((12, Kept), (12, Kept)),
    agreement((15, Kept), (15, Kept)),
    agreement((9, Fresh), (9, Fresh)),
    agreement((12, Fresh), (12, Fresh)),
    agreement((15, Fresh), (15, Fresh)),
    // The directions are not mistaken for each other.
    agreement((9, Fresh), (15, Kept)),
    agreement((15, Kept), (9, Fresh)),
];

const fn agreement(server: (u8, Context), client: (u8, Context)) -> Agreement {
    Agreement {
        server: Direction { bits: server.0, context: server.1 },
        client: Direction { bits: client.0, context: client.1 },
    }
}

#[tokio::test]
async fn python_websockets_compresses_for_our_server() {
    peer_compresses_for_our_server(Peer::WEBSOCKETS_DEFLATE).await;
}

#[tokio::test]
async fn node_ws_compresses_for_our_server() {
    peer_compresses_for_our_server(Peer::WS_DEFLATE).await;
}

#[tokio::test]
async fn our_client_compresses_for_python_websockets() {
    our_client_compresses_for(Peer::WEBSOCKETS_DEFLATE).await;
}

#[tokio::test]
async fn our_client_compresses_for_node_ws() {
    our_client_compresses_for(Peer::WS_DEFLATE).await;
}

#[tokio::test]
async fn chromium_compresses_for_our_server() {
    if skipped() {
        return;
    }
    let page = Page::bind().await;
    let ours = OurServers::start(&[page.origin()]).await;
    let browser = Browser::open(&page.deflate_url(&ours.urls()));

    let report = timeout(DEADLINE, page.report()).await;

    let report = report.unwrap_or_else(|_| panic!("chromium did not report in time: {}", browser.log()));
    ours.judge(&report);
}

#[tokio::test]
async fn python_websockets_compresses_for_our_handler() {
    peer_compresses_for_our_handler(Peer::WEBSOCKETS_DEFLATE).await;
}

#[tokio::test]
async fn node_ws_compresses_for_our_handler() {
    peer_compresses_for_our_handler(Peer::WS_DEFLATE).await;
}

async fn peer_compresses_for_our_server(peer: Peer) {
    if skipped() {
        return;
    }
    let ours = OurServers::start(&[]).await;

    let printed = timeout(DEADLINE, peer.exchange(&ours.urls())).await.expect("the client finishes in time");

    ours.judge(&printed.expect("every message came back"));
}

async fn peer_compresses_for_our_handler(peer: Peer) {
    if skipped() {
        return;
    }
    let defaults = DeflateSettings::default();
    let rows = [
        (DeflateSettings { max_window_bits: 9, ..defaults }, agreement((9, Kept), (9, Kept))),
        (
            DeflateSettings { max_window_bits: 12, request_no_context_takeover: true, ..defaults },
            agreement((12, Kept), (12, Fresh)),
        ),
        (defaults, agreement((15, Kept), (15, Kept))),
    ];
    let mut ours = OurServers::default();
    for (settings, agreed) in rows {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("it listens").port();
        ours.add(agreed, port, serve_by_handlers(listener, settings)).await;
    }

    let printed = timeout(DEADLINE, peer.exchange(&ours.urls())).await.expect("the client finishes in time");

    ours.judge(&printed.expect("every message came back"));
}

async fn our_client_compresses_for(peer: Peer) {
    if skipped() {
        return;
    }
    let messages = Messages::new();
    let play = async {
        let server = peer.start_server(None).await;
        for agreed in AGREEMENTS {
            let tap = Tap::before(server.port()).await;
            let client = Client::new(tap.url(agreed.count()))
                .expect("a URL")
                .config(agreed.config())
                .expect("a valid configuration");
            let (mut ws, _) = client.connect().await.expect("the peer accepts");
            let view = ws.next().await.expect("the connection is open").expect("no error");
            assert_eq!(view, Message::from(agreed.to_string()), "the peer's view of it");
            exchange(&mut ws, &messages, agreed.count()).await;
            assert!(ws.ending().is_some_and(Ending::is_clean), "ended with {:?}", ws.ending());
            agreed.judge(&tap.wire(), &messages);
        }
    };

    timeout(DEADLINE, play).await.expect("our client finishes in time");
}

/// Sends as many messages, sees each come back, and closes.
async fn exchange(ws: &mut WebSocket<Transport>, messages: &Messages, count: usize) {
    for number in 0..count + AHEAD {
        if number < count {
            ws.set_compression(compression(number));
            ws.feed(messages.message(number)).await.expect("fed");
        }
        if let Some(answered) = number.checked_sub(AHEAD) {
            let answer = ws.next().await.expect("the connection is open").expect("no error");
            assert!(answer == messages.message(answered), "message {answered}: {:.200}", format!("{answer:?}"));
        }
    }
    ws.close(CloseCode::NORMAL, "").await.expect("closed");
    assert!(ws.next().await.is_none(), "nothing comes after the Close");
}

/// Compressed messages among those that are not.
fn compression(number: usize) -> Compression {
    match number % 17 {
        0 => Compression::Never,
        1..8 => Compression::ByLength,
        _ => Compression::Always,
    }
}

/// One server for each agreement, and a relay in front of each.
#[derive(Default)]
struct OurServers {
    agreements: Vec<Agreement>,
    taps: Vec<Tap>,
    servers: JoinSet<()>,
}

impl OurServers {
    /// All agreements, by the stream API. Pages of `origins` may connect.
    async fn start(origins: &[String]) -> Self {
        let mut ours = Self::default();
        for agreed in AGREEMENTS {
            let server = Server::bind("127.0.0.1:0").await.expect("a free port");
            let server = server.config(agreed.config()).expect("a valid configuration");
            let server = server.origins(Origins::List(origins.to_vec()));
            let port = server.local_addr().expect("it listens").port();
            ours.add(agreed, port, serve(server)).await;
        }
        ours
    }

    async fn add(&mut self, agreed: Agreement, port: u16, server: impl Future<Output = ()> + Send + 'static) {
        self.agreements.push(agreed);
        self.taps.push(Tap::before(port).await);
        self.servers.spawn(server);
    }

    fn urls(&self) -> Vec<String> {
        self.agreements.iter().zip(&self.taps).map(|(agreed, tap)| tap.url(agreed.count())).collect()
    }

    /// Compares with what the client reports of the agreements, one line each.
    fn judge(&self, reported: &str) {
        let expected: String = self.agreements.iter().map(|agreed| format!("{agreed}\n")).collect();
        assert_eq!(reported, expected, "the peer's view");
        let messages = Messages::new();
        for (agreed, tap) in self.agreements.iter().zip(&self.taps) {
            agreed.judge(&tap.wire(), &messages);
        }
    }
}

async fn serve(server: Server) {
    let ending = server
        .serve(|mut ws, _request| async move {
            let mut number = 0;
            while let Some(message) = ws.next().await {
                ws.set_compression(compression(number));
                ws.feed(message?).await?;
                number += 1;
            }
            Ok(())
        })
        .await;
    panic!("our server ended: {ending:?}");
}

async fn serve_by_handlers(listener: TcpListener, settings: DeflateSettings) {
    let factory = move |out: Sender| {
        DeflateBuilder::new().with_settings(settings).build(move |message: handler::Message| out.send(message))
    };
    let server = Builder::new().build(factory).expect("valid settings");
    let ending = server.serve(listener).await.map(drop);
    panic!("our server ended: {ending:?}");
}

impl Agreement {
    /// Messages to be exchanged: fewer where nothing but the directions is new.
    fn count(self) -> usize {
        if self.server == self.client { 10_000 } else { 2000 }
    }

    /// With it, a peer that has no wishes of its own comes to this agreement. Long messages travel in fragments.
    fn config(self) -> Config {
        let takeover = |direction: Direction| match direction.context {
            Kept => ContextTakeover::Required,
            Fresh => ContextTakeover::Refused,
        };
        let mut deflate = DeflateConfig::default();
        deflate.server_max_window_bits = self.server.bits;
        deflate.client_max_window_bits = self.client.bits;
        deflate.server_context_takeover = takeover(self.server);
        deflate.client_context_takeover = takeover(self.client);
        let mut config = Config::default();
        config.deflate = Some(deflate);
        config.fragment_size = Some(4096);
        config.timings.close = 2 * DEADLINE;
        config
    }

    /// The answer says this, and in both directions less than half of the payload passed, a third of which is noise.
    fn judge(self, wire: &Wire, messages: &Messages) {
        let payload = messages.payload(self.count());
        let answer = wire.extensions().expect("the server accepts");
        assert_eq!(Self::parse(&answer), self, "the answer was {answer:?}");
        for (sent, who) in [(wire.from_client, "client"), (wire.from_server, "server")] {
            assert!(sent < payload / 2, "{self}: the {who} sent {sent} bytes for {payload}");
        }
    }

    fn parse(answer: &str) -> Self {
        let mut parts = answer.split(';').map(str::trim);
        assert_eq!(parts.next(), Some("permessage-deflate"), "the answer was {answer:?}");
        let mut agreed = agreement((15, Kept), (15, Kept));
        for part in parts {
            match part.split_once('=') {
                None if part == "server_no_context_takeover" => agreed.server.context = Fresh,
                None if part == "client_no_context_takeover" => agreed.client.context = Fresh,
                Some(("server_max_window_bits", bits)) => agreed.server.bits = bits.parse().expect("a number"),
                Some(("client_max_window_bits", bits)) => agreed.client.bits = bits.parse().expect("a number"),
                _ => panic!("the answer was {answer:?}"),
            }
        }
        agreed
    }
}

impl fmt::Display for Agreement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "server {}, client {}", self.server, self.client)
    }
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let context = match self.context {
            Kept => "kept",
            Fresh => "fresh",
        };
        write!(f, "{} {context}", self.bits)
    }
}
