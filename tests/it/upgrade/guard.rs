//! A response that is not sent opens nothing.

use std::convert::Infallible;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::{body::Incoming, service::service_fn};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream},
    sync::mpsc,
};
use wireline::{
    Error,
    server::Acceptor,
    upgrade::hyper::{Guard, upgrade},
};

use super::rig::{connect, http2, serve, spawn};

const REQUEST: &[u8] = b"GET /ws HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n\x81\x82\0\0\0\0hi";

/// What a layer does to the response.
type Layer = fn(Response<()>) -> Response<()>;

fn with_status(status: StatusCode) -> Response<()> {
    let mut response = Response::new(());
    *response.status_mut() = status;
    response
}

/// The name, the layer, and whether the WebSocket opens behind it.
const LAYERS: &[(&str, Layer, bool)] = &[
    ("nothing", |response| response, true),
    (
        "another header",
        |mut response| {
            response.headers_mut().insert("x-served-by", HeaderValue::from_static("us"));
            response
        },
        true,
    ),
    (
        "another status",
        |mut response| {
            *response.status_mut() = StatusCode::FORBIDDEN;
            response
        },
        false,
    ),
    ("another response", |_| with_status(StatusCode::FORBIDDEN), false),
    (
        "another response, and the connection ends",
        |_| {
            let mut response = with_status(StatusCode::FORBIDDEN);
            response.headers_mut().insert("connection", HeaderValue::from_static("close"));
            response
        },
        false,
    ),
    ("a page", |_| with_status(StatusCode::OK), false),
    (
        "a response made anew",
        |response| {
            let mut anew = with_status(response.status());
            *anew.headers_mut() = response.headers().clone();
            anew
        },
        false,
    ),
];

/// hyper with a handler that upgrades, a layer around it, and a guard around both; what became of each upgrade.
fn guarded(layer: Layer) -> (DuplexStream, mpsc::UnboundedReceiver<Result<(), Error>>) {
    let (outcome, outcomes) = mpsc::unbounded_channel();
    let stream = serve(service_fn(move |mut request: Request<Incoming>| {
        let guard = Guard::new(&mut request);
        // Within another one it has nothing to say.
        let inner = Guard::new(&mut request);
        let (response, upgrading) = upgrade(&Acceptor::new(), &mut request).expect("a good request");
        inner.confirm(&response);
        let outcome = outcome.clone();
        spawn(async move { outcome.send(upgrading.await.map(drop)) });
        let response = layer(response);
        guard.confirm(&response);
        async { Ok::<_, Infallible>(response.map(|()| Full::<Bytes>::default())) }
    }));
    (stream, outcomes)
}

fn check(name: &str, outcome: Option<Result<(), Error>>, opens: bool) {
    match outcome.expect("an outcome") {
        Ok(()) => assert!(opens, "{name}: opened"),
        Err(error) => assert!(!opens && matches!(error, Error::Network(_)), "{name}: {error:?}"),
    }
}

#[tokio::test]
async fn over_http_1_only_the_response_itself_opens() {
    for &(name, layer, opens) in LAYERS {
        let (mut stream, mut outcomes) = guarded(layer);
        stream.write_all(REQUEST).await.unwrap();
        let mut answer = Vec::new();
        while !answer.windows(4).any(|end| end == b"\r\n\r\n") {
            assert!(stream.read_buf(&mut answer).await.unwrap() > 0, "{name}: {}", answer.escape_ascii());
        }
        // hyper is done with it then, at the latest.
        drop(stream);
        check(name, outcomes.recv().await, opens);
    }
}

#[tokio::test]
async fn over_http_2_only_the_response_itself_opens() {
    let mut headers = HeaderMap::new();
    headers.insert("sec-websocket-version", HeaderValue::from_static("13"));
    for &(name, layer, opens) in LAYERS {
        let (stream, mut outcomes) = guarded(layer);
        let mut client = http2(stream).await;
        let (response, _send) = connect(&mut client, &headers);
        let response = response.await.unwrap();
        assert!(!opens || response.status() == 200, "{name}");
        check(name, outcomes.recv().await, opens);
    }
}

#[cfg(feature = "axum")]
#[tokio::test]
async fn a_layer_of_axum_guards_all_routes() {
    use axum::{Router, middleware, routing::any};
    use hyper_util::service::TowerToHyperService;
    use wireline::upgrade::axum::{GuardLayer, WebSocketUpgrade};

    let (outcome, mut outcomes) = mpsc::unbounded_channel();
    let handler = async move |upgrade: WebSocketUpgrade| {
        let (failed, opened) = (outcome.clone(), outcome.clone());
        upgrade.on_failed_upgrade(move |error| failed.send(Err(error)).unwrap()).on_upgrade(async move |ws| {
            drop(ws);
            Ok(opened.send(Ok(()))?)
        })
    };
    let replace = async |_: axum::response::Response| (StatusCode::FORBIDDEN, [("connection", "close")]);
    let app = Router::new().route("/ws", any(handler));
    let replacing = app.clone().layer(middleware::map_response(replace));
    for (name, app, opens) in [("nothing", app, true), ("another response", replacing, false)] {
        let mut stream = serve(TowerToHyperService::new(app.layer(GuardLayer::new())));
        stream.write_all(REQUEST).await.unwrap();
        check(name, outcomes.recv().await, opens);
    }
}
