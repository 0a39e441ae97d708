//! Real peers, each as client of our server and as server of our client; tests/peers/README.md has the scenario.
//!
//! `tests/peers/install` installs them, and `WIRELINE_PEERS=1` says that it did: without it each test only says that it
//! was skipped; with it, a peer that is missing is a failure.

mod browser;
mod certificate;
mod chat;
#[cfg(feature = "deflate")]
mod deflate;
mod directory;
mod http2;
mod program;
#[cfg(all(feature = "deflate", unix))]
mod proxies;
#[cfg(all(feature = "deflate", unix))]
mod reverse_proxy;
mod scenario;
mod tab;
#[cfg(unix)]
mod tls_server;

use std::{env, time::Duration};

use tokio::time::timeout;
use wireline::{Server, server::Origins};

use self::{
    browser::{Browser, Page},
    certificate::Certificate,
    program::Peer,
};

/// For one whole scenario, which takes a second or two, with room for a busy machine.
const DEADLINE: Duration = Duration::from_secs(60);

/// How often something is looked at that does not say when it changes.
const POLLING: Duration = Duration::from_millis(20);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Scheme {
    Ws,
    Wss,
}

impl Scheme {
    fn certificate(self) -> Option<Certificate> {
        (self == Self::Wss).then(Certificate::new)
    }

    fn url(self, port: u16) -> String {
        match self {
            Self::Ws => format!("ws://127.0.0.1:{port}"),
            Self::Wss => format!("wss://localhost:{port}"),
        }
    }
}

#[tokio::test]
async fn python_websockets_talks_to_our_server() {
    peer_talks_to_our_server(Peer::WEBSOCKETS, Scheme::Ws).await;
}

#[tokio::test]
async fn python_websockets_talks_to_our_server_over_wss() {
    peer_talks_to_our_server(Peer::WEBSOCKETS, Scheme::Wss).await;
}

#[tokio::test]
async fn aiohttp_talks_to_our_server() {
    peer_talks_to_our_server(Peer::AIOHTTP, Scheme::Ws).await;
}

#[tokio::test]
async fn aiohttp_talks_to_our_server_over_wss() {
    peer_talks_to_our_server(Peer::AIOHTTP, Scheme::Wss).await;
}

#[tokio::test]
async fn node_ws_talks_to_our_server() {
    peer_talks_to_our_server(Peer::WS, Scheme::Ws).await;
}

#[tokio::test]
async fn node_ws_talks_to_our_server_over_wss() {
    peer_talks_to_our_server(Peer::WS, Scheme::Wss).await;
}

#[tokio::test]
async fn our_client_talks_to_python_websockets() {
    our_client_talks_to(Peer::WEBSOCKETS, Scheme::Ws).await;
}

#[tokio::test]
async fn our_client_talks_to_python_websockets_over_wss() {
    our_client_talks_to(Peer::WEBSOCKETS, Scheme::Wss).await;
}

#[tokio::test]
async fn our_client_talks_to_aiohttp() {
    our_client_talks_to(Peer::AIOHTTP, Scheme::Ws).await;
}

#[tokio::test]
async fn our_client_talks_to_aiohttp_over_wss() {
    our_client_talks_to(Peer::AIOHTTP, Scheme::Wss).await;
}

#[tokio::test]
async fn our_client_talks_to_node_ws() {
    our_client_talks_to(Peer::WS, Scheme::Ws).await;
}

#[tokio::test]
async fn our_client_talks_to_node_ws_over_wss() {
    our_client_talks_to(Peer::WS, Scheme::Wss).await;
}

#[tokio::test]
async fn chromium_talks_to_our_server() {
    chromium_talks_to_our_server_over(Scheme::Ws).await;
}

#[tokio::test]
async fn chromium_talks_to_our_server_over_wss() {
    chromium_talks_to_our_server_over(Scheme::Wss).await;
}

#[tokio::test]
async fn chromium_without_permission_gets_403() {
    if skipped() {
        return;
    }
    let page = Page::bind().await;
    let recorder = browser::Recorder::bind().await;
    let browser = Browser::open(&page.url(&Scheme::Ws.url(recorder.port())));

    let (report, answer) = timeout(DEADLINE, async { tokio::join!(page.report(), recorder.first_answer()) })
        .await
        .unwrap_or_else(|_| panic!("chromium did not report in time: {}", browser.log()));

    assert!(answer.starts_with("HTTP/1.1 403 "), "the answer was {answer:?}");
    assert_eq!(report, "Error: connect: the connection failed");
}

async fn peer_talks_to_our_server(peer: Peer, scheme: Scheme) {
    if skipped() {
        return;
    }
    let certificate = scheme.certificate();
    let server = our_server(certificate.as_ref()).await;
    let url = scheme.url(server.local_addr().unwrap().port());

    let outcome = tokio::select! {
        ending = scenario::serve(server) => panic!("our server ended: {ending:?}"),
        outcome = timeout(DEADLINE, peer.run_client(&url, certificate.as_ref())) => outcome,
    };

    assert_eq!(outcome.expect("the client finishes in time"), Ok(()));
}

async fn our_client_talks_to(peer: Peer, scheme: Scheme) {
    if skipped() {
        return;
    }
    let certificate = scheme.certificate();

    let play = async {
        let server = peer.start_server(certificate.as_ref()).await;
        let tls = certificate.as_ref().map(Certificate::client_config);
        scenario::play(&scheme.url(server.port()), tls).await;
    };

    timeout(DEADLINE, play).await.expect("our client finishes in time");
}

async fn chromium_talks_to_our_server_over(scheme: Scheme) {
    if skipped() {
        return;
    }
    let page = Page::bind().await;
    let certificate = scheme.certificate();
    let server = our_server(certificate.as_ref()).await.origins(Origins::List(vec![page.origin()]));
    let browser = Browser::open(&page.url(&scheme.url(server.local_addr().unwrap().port())));

    let report = tokio::select! {
        ending = scenario::serve(server) => panic!("our server ended: {ending:?}"),
        report = timeout(DEADLINE, page.report()) => report,
    };

    let report = report.unwrap_or_else(|_| panic!("chromium did not report in time: {}", browser.log()));
    assert_eq!(report, "passed");
}

async fn our_server(certificate: Option<&Certificate>) -> Server {
    let server = Server::bind("127.0.0.1:0").await.expect("a free port");
    let server = server.config(scenario::patient()).expect("a valid configuration");
    match certificate {
        Some(certificate) => server.tls(certificate.server_config()),
        None => server,
    }
}

fn skipped() -> bool {
    let skipped = env::var_os("WIRELINE_PEERS").is_none_or(|value| value != "1");
    if skipped {
        println!("skipped: WIRELINE_PEERS is not set");
    }
    skipped
}
