//! Through hyper's HTTP/1.1 and HTTP/2, by the same tests.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, header};
use http_body_util::Full;
use hyper::{body::Incoming, service::service_fn};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use wireline::{
    Client, CloseCode, Config, Error, Message, Result, WebSocket,
    proto::{Awaited, handshake::HandshakeError},
    server::{Acceptor, BoxError, Refusal},
    upgrade::hyper::{Upgraded, upgrade},
};

use super::rig::{connect, echo, http2, serve, serve_with, spawn, through_http2};

#[derive(Clone, Copy, Debug)]
enum Version {
    Http1,
    Http2,
}

const BOTH: [Version; 2] = [Version::Http1, Version::Http2];

impl Version {
    async fn open(self, stream: DuplexStream, client: Client) -> Result<WebSocket<DuplexStream>> {
        Ok(self.open_with_response(stream, client).await?.0)
    }

    async fn open_with_response(
        self,
        stream: DuplexStream,
        client: Client,
    ) -> Result<(WebSocket<DuplexStream>, http::Response<()>)> {
        let stream = match self {
            Self::Http1 => stream,
            Self::Http2 => through_http2(http2(stream).await).await,
        };
        client.connect_over(stream).await
    }
}

fn client() -> Client {
    Client::new("ws://example.com/chat").expect("a URL")
}

#[tokio::test]
async fn h_09_messages_come_back_and_the_close_code_too() {
    for version in BOTH {
        let stream = serve_with(Acceptor::new().subprotocols(["b"]), echo);
        let mut ws = version.open(stream, client().subprotocols(["a", "b"]).unwrap()).await.unwrap();
        assert_eq!(ws.subprotocol(), Some("b"), "{version:?}");
        for length in [0, 125, 126, 65_535, 65_536, 1024 * 1024] {
            let message = Message::from(vec![7; length]);
            ws.send(message.clone()).await.unwrap();
            assert_eq!(ws.next().await.transpose().unwrap(), Some(message), "{version:?} {length}");
        }
        ws.close(CloseCode::try_from(4321).unwrap(), "enough").await.unwrap();
        let ending = ws.ending().expect("it has ended");
        assert!(ending.is_clean(), "{version:?} {ending:?}");
        assert_eq!(ending.code(), 4321, "{version:?}");
    }
}

/// Of an application's end: how it ends, and what the peer is told.
#[tokio::test]
async fn an_application_closes_by_its_outcome_4_13() {
    type Application = fn(WebSocket<Upgraded>) -> futures_util::future::BoxFuture<'static, Result<(), BoxError>>;
    let table: &[(&str, Application, u16)] = &[
        ("Ok", |mut ws| Box::pin(async move { Ok(ws.feed("last words").await?) }), 1000),
        (
            "Err",
            |mut ws| {
                Box::pin(async move {
                    ws.feed("last words").await?;
                    Err("a reason".into())
                })
            },
            1011,
        ),
        (
            "panic",
            |mut ws| {
                Box::pin(async move {
                    ws.feed("last words").await?;
                    panic!("on purpose")
                })
            },
            1011,
        ),
    ];
    for version in BOTH {
        for &(name, application, code) in table {
            let stream = serve_with(Acceptor::new(), application);
            let mut ws = version.open(stream, client()).await.unwrap();
            let last = ws.next().await.transpose().unwrap();
            assert_eq!(last, Some(Message::from("last words")), "{version:?} {name}");
            assert!(ws.next().await.is_none(), "{version:?} {name}");
            assert_eq!(ws.ending().map(wireline::Ending::code), Some(code), "{version:?} {name}");
        }
    }
}

#[tokio::test]
async fn limits_hold() {
    let mut config = Config::default();
    config.limits.max_message = Some(1000);
    for version in BOTH {
        let stream = serve_with(Acceptor::new().config(config.clone()).unwrap(), echo);
        let mut ws = version.open(stream, client()).await.unwrap();
        ws.send(vec![0; 1001]).await.unwrap();
        while ws.next().await.is_some() {}
        assert_eq!(ws.ending().map(wireline::Ending::code), Some(1009), "{version:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_silent_peer_is_pinged_and_given_up() {
    for version in BOTH {
        let (ended, outcome) = tokio::sync::oneshot::channel();
        let ended = std::sync::Arc::new(std::sync::Mutex::new(Some(ended)));
        let stream = serve_with(Acceptor::new(), move |mut ws| {
            let ended = ended.lock().unwrap().take();
            async move {
                let outcome = ws.next().await;
                ended.expect("one connection").send(outcome).map_err(|_| "nobody waits")?;
                Ok(())
            }
        });
        // It is open, and never polled again: no Pong.
        let _ws = version.open(stream, client()).await.unwrap();
        let outcome = outcome.await.unwrap();
        assert!(matches!(outcome, Some(Err(Error::Timeout(Awaited::Pong)))), "{version:?} {outcome:?}");
    }
}

#[cfg(feature = "deflate")]
#[tokio::test]
async fn messages_are_compressed_where_both_sides_want_it() {
    use wireline::proto::deflate::DeflateConfig;
    for version in BOTH {
        let stream = serve_with(Acceptor::new().deflate(DeflateConfig::default()).unwrap(), echo);
        let client = client().deflate(DeflateConfig::default()).unwrap();
        let (mut ws, response) = version.open_with_response(stream, client).await.unwrap();
        let agreed = response.headers().get(header::SEC_WEBSOCKET_EXTENSIONS).map(HeaderValue::as_bytes);
        assert!(agreed.is_some_and(|agreed| agreed.starts_with(b"permessage-deflate")), "{version:?} {agreed:?}");
        let long = Message::from("all work and no play ".repeat(50_000));
        ws.send(long.clone()).await.unwrap();
        assert_eq!(ws.next().await.transpose().unwrap(), Some(long), "{version:?}");
    }
}

#[tokio::test]
async fn refused_requests_get_their_status_and_reason() {
    for version in BOTH {
        let stream = serve_with(Acceptor::new(), echo);
        let origin = HeaderValue::from_static("https://evil.example");
        let refused = version.open(stream, client().header(header::ORIGIN, origin).unwrap()).await;
        let Err(Error::Handshake(error)) = refused else { panic!("{version:?} {refused:?}") };
        let HandshakeError::Rejected(response) = *error else { panic!("{version:?} {error:?}") };
        assert_eq!(response.status().as_u16(), 403, "{version:?}");
    }
}

#[tokio::test]
async fn h9_frames_right_behind_the_request_are_not_lost() {
    let mut stream = serve_with(Acceptor::new(), echo);
    let request = "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";
    let frames = b"\x81\x82\0\0\0\0hi\x88\x82\0\0\0\0\x03\xe8";
    stream.write_all(&[request.as_bytes(), frames].concat()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 101 "), "{}", answer.escape_ascii());
    assert!(answer.ends_with(b"\r\n\r\n\x81\x02hi\x88\x02\x03\xe8"), "{}", answer.escape_ascii());
}

#[tokio::test]
async fn h_07_dropping_an_open_connection_ends_its_stream_only() {
    let stream = serve(service_fn(async |mut request: Request<Incoming>| {
        let (response, upgrading) = upgrade(&Acceptor::new(), &mut request)?;
        spawn(async move {
            let mut ws = upgrading.await?;
            let outcome: Result<()> = match ws.next().await.transpose()? {
                Some(message) if message == Message::from("drop") => Ok(()),
                Some(message) => {
                    ws.feed(message).await?;
                    ws.close(CloseCode::NORMAL, "").await
                }
                None => Ok(()),
            };
            outcome
        });
        Ok::<_, Refusal>(response.map(|()| Full::<Bytes>::default()))
    }));
    let mut client = http2(stream).await;
    let mut headers = HeaderMap::new();
    headers.insert("sec-websocket-version", HeaderValue::from_static("13"));
    for (text, expected) in [(&b"drop"[..], None), (b"echo", Some(&b"\x81\x04echo\x88\x02\x03\xe8"[..]))] {
        let (response, mut send) = connect(&mut client, &headers);
        let mut frame = vec![0x81, 0x84, 0, 0, 0, 0];
        frame.extend_from_slice(text);
        send.send_data(Bytes::from(frame), false).unwrap();
        let mut receive = response.await.unwrap().into_body();
        let mut received = Vec::new();
        // hyper ends a stream that was let go of with END_STREAM: without a Close frame before it, that is an abort.
        while let Some(data) = receive.data().await {
            let data = data.unwrap();
            received.extend_from_slice(&data);
            if !data.is_empty() && Some(&*received) == expected {
                // Its answer to the Close, and the end.
                send.send_data(Bytes::from_static(b"\x88\x82\0\0\0\0\x03\xe8"), true).unwrap();
            }
        }
        assert_eq!(&*received, expected.unwrap_or_default());
    }
}
