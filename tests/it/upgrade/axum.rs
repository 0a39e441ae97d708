//! Through axum's router.

use axum::{
    Extension, Router,
    extract::{FromRequestParts, Request, State},
    http::{HeaderMap, HeaderValue, StatusCode, Uri},
    middleware::{self, Next},
    response::Response,
    routing::any,
};
use hyper_util::service::TowerToHyperService;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream},
    sync::mpsc,
};
use wireline::{
    Client, Config, Error, Message,
    server::{Acceptor, Tracker},
    upgrade::axum::WebSocketUpgrade,
};

use super::rig::{connect, echo, http2, serve, through_http2};
use crate::{
    opening::origin::policies,
    support::suite::{Ran, Suite},
};

pub(crate) static ROWS: Suite = Suite::new(run);

#[test]
fn no_spelling_of_a_path_gets_round_its_protection() {
    ROWS.ids();
}

fn run(ran: &mut Ran) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(no_other_spelling_reaches_what_is_protected());
    ran.id("H19");
}

/// The layer and the handler see the same path, and no other path reaches the handler: neither past the layer of the route
/// nor past one of the whole router that looks at the path.
async fn no_other_spelling_reaches_what_is_protected() {
    async fn by_path(request: Request, next: Next) -> Result<Response, StatusCode> {
        match (request.uri().path(), request.headers().contains_key("authorization")) {
            ("/ws", false) => Err(StatusCode::UNAUTHORIZED),
            _ => Ok(next.run(request).await),
        }
    }
    async fn open(uri: Uri, upgrade: WebSocketUpgrade) -> Response {
        assert_eq!(uri.path(), "/ws");
        upgrade.on_upgrade(echo)
    }
    let protected = || Router::new().route("/ws", any(open));
    let of_the_route = protected().route_layer(middleware::from_fn(by_path));
    let of_all = protected().layer(middleware::from_fn(by_path));
    for app in [of_the_route, of_all] {
        for (path, expected) in [
            ("/ws", 401),
            ("/ws?", 401),
            ("/ws?a=/b", 401),
            ("http://example.com/ws", 401),
            ("/a/../ws", 404),
            ("/./ws", 404),
            ("//ws", 404),
            ("/ws/", 404),
            ("/ws//", 404),
            ("/ws;x", 404),
            ("/ws;/", 404),
            ("/%77s", 404),
            ("/%2fws", 404),
            ("/ws%00", 404),
            ("/ws%20", 404),
            ("/WS", 404),
            ("/ws/.", 404),
            ("/%2e/ws", 404),
            ("\\ws", 400),
        ] {
            let request = String::from_utf8(upgrade_to("example.com", "Connection: close\r\n")).unwrap();
            let request = request.replacen("/ws", path, 1);
            let (status, answer) = status(app.clone(), request.as_bytes()).await;
            assert_eq!(status, expected, "{path}: {answer}");
        }
        let with_rights = upgrade_to("example.com", "Authorization: x\r\n");
        assert_eq!(status(app.clone(), &with_rights).await.0, 101);
    }
}

fn serve_app(app: Router) -> DuplexStream {
    serve(TowerToHyperService::new(app))
}

fn client(path: &str) -> Client {
    Client::new(format!("ws://example.com{path}")).expect("a URL")
}

/// The status of the answer to a request as it stands on the wire.
async fn status(app: Router, request: &[u8]) -> (u16, String) {
    let mut stream = serve_app(app);
    stream.write_all(request).await.unwrap();
    let mut answer = Vec::new();
    while !answer.windows(4).any(|end| end == b"\r\n\r\n") && stream.read_buf(&mut answer).await.unwrap() > 0 {}
    if !answer.starts_with(b"HTTP/1.1 101") {
        stream.read_to_end(&mut answer).await.unwrap();
    }
    let answer = String::from_utf8_lossy(&answer).into_owned();
    (answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_default(), answer)
}

fn upgrade_to(host: &str, more: &str) -> Vec<u8> {
    let head = format!(
        "GET /ws HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n{more}\r\n"
    );
    head.chars().map(|character| u8::try_from(character).unwrap()).collect()
}

#[tokio::test]
async fn h17_pages_of_the_policy_are_let_in() {
    for (origins, rows) in policies() {
        for by_method in [false, true] {
            let origins_of_row = origins.clone();
            let handler = async move |State(origins): State<_>, upgrade: WebSocketUpgrade| {
                let upgrade = match by_method {
                    true => upgrade.origins(origins),
                    false => upgrade.acceptor(Acceptor::new().origins(origins)),
                };
                upgrade.on_upgrade(echo)
            };
            let app = Router::new().route("/ws", any(handler)).with_state(origins_of_row);
            for &(host, lines, expected, says) in rows {
                let lines: String = lines.iter().map(|line| format!("Origin: {line}\r\n")).collect();
                let (status, answer) = status(app.clone(), &upgrade_to(host, &lines)).await;
                assert_eq!(status, expected, "{origins:?}, Host: {host}, {lines:?}: {answer}");
                assert!(answer.contains(says), "{origins:?}, Host: {host}, {lines:?}: {answer}");
            }
        }
    }
}

/// With the acceptor as an extension it is judged before the handler.
#[tokio::test]
async fn h17_no_handler_runs_for_pages_of_other_origins() {
    for (origins, rows) in policies() {
        let acceptor = Acceptor::new().origins(origins.clone());
        let handler = async |_: WebSocketUpgrade| StatusCode::IM_A_TEAPOT;
        let app = Router::new().route("/ws", any(handler)).layer(Extension(acceptor));
        for &(host, lines, expected, says) in rows {
            let expected = if expected == 101 { 418 } else { expected };
            let lines: String = lines.iter().map(|line| format!("Origin: {line}\r\n")).collect();
            let request = upgrade_to(host, &format!("{lines}Connection: close\r\n"));
            let (status, answer) = status(app.clone(), &request).await;
            assert_eq!(status, expected, "{origins:?}, Host: {host}, {lines:?}: {answer}");
            assert!(answer.contains(says), "{origins:?}, Host: {host}, {lines:?}: {answer}");
        }
    }
}

#[tokio::test]
async fn the_acceptor_of_an_extension_is_what_an_upgrade_begins_with() {
    let app = Router::new().route("/chat", any(async |upgrade: WebSocketUpgrade| upgrade.on_upgrade(echo)));
    let app = app.layer(Extension(Acceptor::new().subprotocols(["b"])));
    let client = client("/chat").subprotocols(["a", "b"]).unwrap();
    let (ws, _) = client.connect_over(serve_app(app.clone())).await.unwrap();
    assert_eq!(ws.subprotocol(), Some("b"));

    let mut headers = HeaderMap::new();
    headers.insert("sec-websocket-version", HeaderValue::from_static("13"));
    headers.insert("origin", HeaderValue::from_static("https://evil.example"));
    let (response, _send) = connect(&mut http2(serve_app(app)).await, &headers);
    let response = response.await.unwrap();
    assert!(response.status() == 403 && !response.headers().contains_key("connection"), "{response:?}");
}

#[tokio::test]
async fn h8_to_h14_requests_that_break_a_rule_never_reach_the_handler() {
    let app = Router::new().route("/ws", any(async |_: WebSocketUpgrade| StatusCode::IM_A_TEAPOT));
    let table: &[(&str, &str, &str, u16, &str)] = &[
        ("as it should be", "", "", 418, ""),
        ("H10", "Connection: Upgrade", "Connection: keep-alive", 400, "Connection"),
        ("H11", "Upgrade: websocket\r\n", "", 426, "upgrade: websocket"),
        ("H11", ": websocket", ": websockets", 400, "Upgrade"),
        ("H12", "dGhl", "dG", 400, "Sec-WebSocket-Key"),
        ("H13", "Version: 13", "Version: 8", 426, "sec-websocket-version: 13"),
        ("H14", "GET", "POST", 405, "allow: GET"),
        ("H5", "\r\n\r\n", "\r\nSec-WebSocket-Protocol: a, a\r\n\r\n", 400, "Sec-WebSocket-Protocol"),
        ("H8", "\r\n\r\n", "\r\nContent-Length: 5\r\n\r\nhello", 400, "body"),
    ];
    let request = String::from_utf8(upgrade_to("example.com", "Connection: close\r\n")).unwrap();
    for &(id, from, to, expected, says) in table {
        let (status, answer) = status(app.clone(), request.replacen(from, to, 1).as_bytes()).await;
        assert_eq!(status, expected, "{id} {from:?} -> {to:?}: {answer}");
        assert!(answer.contains(says), "{id} {from:?} -> {to:?}: {answer}");
    }
}

async fn chat(upgrade: WebSocketUpgrade) -> wireline::Result<Response> {
    let mut config = Config::default();
    config.limits.max_message = Some(1000);
    let upgrade = upgrade.config(config)?.protocols(["v2", "v1"]);
    let selected = upgrade.selected_protocol().map(str::to_owned);
    let requested = upgrade.requested_protocols().join("+");
    Ok(upgrade.on_upgrade(async move |mut ws| {
        ws.send(format!("{selected:?} of {requested}, {:?}", ws.subprotocol())).await?;
        echo(ws).await
    }))
}

#[tokio::test]
async fn both_versions_of_http_reach_the_same_route() {
    for http in 1..=2 {
        let stream = serve_app(Router::new().route("/chat", any(chat)));
        let stream = if http == 2 { through_http2(http2(stream).await).await } else { stream };
        let client = client("/chat").subprotocols(["v0", "v1"]).unwrap();
        let (mut ws, _) = client.connect_over(stream).await.unwrap();
        let hello = ws.next().await.transpose().unwrap();
        assert_eq!(hello, Some(Message::from("Some(\"v1\") of v0+v1, Some(\"v1\")")), "HTTP/{http}");
        ws.send(vec![1; 1000]).await.unwrap();
        assert_eq!(ws.next().await.transpose().unwrap(), Some(Message::from(vec![1; 1000])), "HTTP/{http}");
        ws.send(vec![1; 1001]).await.unwrap();
        while ws.next().await.is_some() {}
        assert_eq!(ws.ending().map(wireline::Ending::code), Some(1009), "HTTP/{http}");
    }
}

/// Row 4.15.
#[tokio::test]
async fn what_the_extractor_opens_drains_and_no_more_opens() {
    for http in 1..=2 {
        let tracker = Tracker::new();
        let handler = async |State(tracker): State<Tracker>, upgrade: WebSocketUpgrade| {
            upgrade.tracker(&tracker).on_upgrade(echo)
        };
        let app = Router::new().route("/ws", any(handler)).route("/chat", any(handler)).with_state(tracker.clone());
        let stream = serve_app(app.clone());
        let stream = if http == 2 { through_http2(http2(stream).await).await } else { stream };
        let (mut ws, _) = client("/chat").connect_over(stream).await.unwrap();
        ws.send("hello").await.unwrap();
        assert_eq!(ws.next().await.transpose().unwrap(), Some(Message::from("hello")), "HTTP/{http}");
        let (drained, end) = tokio::join!(tracker.drain(std::time::Duration::from_secs(600)), ws.next());
        assert!(end.is_none(), "HTTP/{http}");
        assert_eq!((drained.clean, drained.forced), (1, 0), "HTTP/{http}");
        assert_eq!(ws.ending().map(wireline::Ending::code), Some(1001), "HTTP/{http}");
        let (status, answer) = status(app, &upgrade_to("example.com", "Connection: close\r\n")).await;
        assert_eq!(status, 503, "HTTP/{http}: {answer}");
    }
}

#[tokio::test]
async fn on_failed_upgrade_is_told_why() {
    let (failed, mut failures) = mpsc::unbounded_channel();
    let handler = async move |upgrade: WebSocketUpgrade| {
        let failed = failed.clone();
        upgrade.on_failed_upgrade(move |error| failed.send(error).unwrap()).on_upgrade(echo)
    };
    let refusing = Router::new().route("/ws", any(handler));
    let (status, _) = status(refusing, &upgrade_to("good.com", "Origin: https://evil.com\r\n")).await;
    assert_eq!(status, 403);
    assert!(matches!(failures.recv().await, Some(Error::Handshake(_))));
}

#[tokio::test]
async fn a_handler_may_wait_and_refuse_before_the_101() {
    let handler = async |headers: HeaderMap, upgrade: WebSocketUpgrade| {
        tokio::task::yield_now().await;
        match headers.get("authorization") {
            Some(_) => Ok(upgrade.on_upgrade(echo)),
            None => Err(StatusCode::UNAUTHORIZED),
        }
    };
    let app = Router::new().route("/ws", any(handler));
    let anonymous = upgrade_to("a", "Connection: close\r\n");
    assert_eq!(status(app.clone(), &anonymous).await.0, 401);
    assert_eq!(status(app, &upgrade_to("a", "Authorization: x\r\n")).await.0, 101);
}

#[tokio::test]
async fn without_hypers_upgrade_the_answer_is_500() {
    let handler = async |mut request: Request| {
        request.extensions_mut().clear();
        let mut parts = request.into_parts().0;
        WebSocketUpgrade::from_request_parts(&mut parts, &()).await.expect_err("nothing to upgrade")
    };
    let (status, answer) = status(Router::new().route("/ws", any(handler)), &upgrade_to("a", "")).await;
    assert!(status == 500 && answer.ends_with("\r\n\r\n"), "{answer}");
}
