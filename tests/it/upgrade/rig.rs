//! hyper in memory, and a way for our client to reach it over HTTP/2.

use std::convert::Infallible;

use bytes::{Bytes, BytesMut};
use h2::{
    RecvStream, SendStream,
    client::{ResponseFuture, SendRequest},
    ext::Protocol,
};
use http::{Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::{
    body::{Body, Incoming},
    service::{Service, service_fn},
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadHalf, WriteHalf, duplex};
use wireline::{
    Limits, WebSocket,
    proto::handshake::{AwaitRequest, Key, encode_response},
    server::{Acceptor, BoxError},
    upgrade::hyper::{Upgraded, upgrade},
};

/// Room in each direction of an in-memory stream.
const ROOM: usize = 64 * 1024;

/// A stream to a hyper server with this service, by HTTP/1.1 or HTTP/2 as the client likes.
pub(super) fn serve<S, B>(service: S) -> DuplexStream
where
    S: Service<Request<Incoming>, Response = Response<B>> + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Into<BoxError>,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    let (ours, theirs) = duplex(ROOM);
    spawn(async move {
        let mut builder = auto::Builder::new(TokioExecutor::new());
        builder.http2().enable_connect_protocol();
        // How HTTP ends is for the tests to see from the other side.
        let _ = builder.serve_connection_with_upgrades(TokioIo::new(ours), service).await;
    });
    theirs
}

/// What a server does beside the test.
#[expect(clippy::disallowed_methods, reason = "a server has tasks")]
pub(super) fn spawn<T: Send + 'static>(task: impl Future<Output = T> + Send + 'static) {
    tokio::spawn(task);
}

/// The same with an application for every WebSocket.
pub(super) fn serve_with<F, Fut>(acceptor: Acceptor, application: F) -> DuplexStream
where
    F: Fn(WebSocket<Upgraded>) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = Result<(), BoxError>> + Send + 'static,
{
    serve(service_fn(move |mut request: Request<Incoming>| {
        let response = match upgrade(&acceptor, &mut request) {
            Ok((response, upgrading)) => {
                spawn(upgrading.serve(application.clone()));
                response.map(|()| Full::default())
            }
            Err(refusal) => refusal.into_response().map(Full::new),
        };
        async { Ok::<_, Infallible>(response) }
    }))
}

pub(super) async fn echo(mut ws: WebSocket<Upgraded>) -> Result<(), BoxError> {
    while let Some(message) = ws.next().await {
        ws.feed(message?).await?;
    }
    Ok(())
}

/// A client of HTTP/2 over this stream, whose server offers extended CONNECT.
pub(super) async fn http2(stream: DuplexStream) -> SendRequest<Bytes> {
    let (client, connection) = h2::client::handshake(stream).await.expect("HTTP/2");
    spawn(connection);
    let client = client.ready().await.expect("a connection");
    // H-02: not before the server's settings are here.
    while !client.is_extended_connect_protocol_enabled() {
        tokio::task::yield_now().await;
    }
    client
}

/// Sends an extended CONNECT with more headers.
pub(super) fn connect(
    client: &mut SendRequest<Bytes>,
    headers: &http::HeaderMap,
) -> (ResponseFuture, SendStream<Bytes>) {
    let mut request = Request::connect("https://example.com/chat").body(()).expect("a request");
    request.extensions_mut().insert(Protocol::from_static("websocket"));
    request.headers_mut().extend(headers.clone());
    client.send_request(request, false).expect("a stream")
}

/// What `Client::connect_over` can use to open a connection by HTTP/2: its request over HTTP/1.1 becomes an extended
/// CONNECT, and the answer a response of HTTP/1.1.
pub(super) async fn through_http2(mut client: SendRequest<Bytes>) -> DuplexStream {
    let (mut near, far) = duplex(ROOM);
    spawn(async move {
        let mut awaiting = AwaitRequest::new(&Limits::default());
        let mut input = BytesMut::new();
        let request = loop {
            if let Some(request) = awaiting.receive(&mut input).expect("our client's request") {
                break request;
            }
            near.read_buf(&mut input).await.expect("a request");
        };
        let mut headers = request.headers().clone();
        let key = headers.remove(header::SEC_WEBSOCKET_KEY).expect("a key");
        for connection in [header::HOST, header::UPGRADE, header::CONNECTION] {
            headers.remove(connection);
        }
        let (response, send) = connect(&mut client, &headers);
        let mut response = response.await.expect("a response").map(Some);
        let receive = response.body_mut().take().expect("a body");
        let mut response = response.map(drop);
        if response.status() == StatusCode::OK {
            *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
            let accept = Key::parse(key.as_bytes()).expect("a key").accept();
            for (name, value) in
                [("upgrade", "websocket"), ("connection", "Upgrade"), ("sec-websocket-accept", &accept)]
            {
                response.headers_mut().insert(name, value.parse().expect("a value"));
            }
        }
        relay(near, response, send, receive).await;
        drop(client);
    });
    far
}

async fn relay(mut near: DuplexStream, response: Response<()>, send: SendStream<Bytes>, receive: RecvStream) {
    let mut head = BytesMut::new();
    encode_response(&response, &[], &mut head);
    near.write_all(&head).await.expect("our client reads");
    let (read, write) = tokio::io::split(near);
    tokio::join!(outward(read, send), inward(receive, write));
}

/// To the server, as its windows allow; the end is END_STREAM.
async fn outward(mut from: ReadHalf<impl AsyncRead>, mut to: SendStream<Bytes>) {
    let mut bytes = BytesMut::new();
    while matches!(from.read_buf(&mut bytes).await, Ok(1..)) {
        while !bytes.is_empty() {
            to.reserve_capacity(bytes.len());
            let Some(Ok(room)) = std::future::poll_fn(|cx| to.poll_capacity(cx)).await else { return };
            let piece = bytes.split_to(room.min(bytes.len())).freeze();
            if to.send_data(piece, false).is_err() {
                return;
            }
        }
    }
    let _ = to.send_data(Bytes::new(), true);
}

async fn inward(mut from: RecvStream, mut to: WriteHalf<impl AsyncWrite>) {
    while let Some(Ok(bytes)) = from.data().await {
        if to.write_all(&bytes).await.is_err() {
            return;
        }
        let _ = from.flow_control().release_capacity(bytes.len());
    }
    let _ = to.shutdown().await;
}
