//! Pages and WebSockets by one hyper server, over HTTP/1.1 and HTTP/2.
//!
//! ```text
//! cargo run --release --features hyper --example hyper_upgrade -- [ADDR]
//! ```
//!
//! ADDR defaults to 127.0.0.1:9004. `/echo` sends every message back, compressed where the client offers that; any other
//! path is a page.

use std::{convert::Infallible, sync::Arc};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use tokio::net::TcpListener;
use wireline::{
    WebSocket,
    proto::deflate::DeflateConfig,
    server::{Acceptor, BoxError},
    upgrade::hyper::{Upgraded, upgrade},
};

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:9004".to_owned());
    let acceptor = Arc::new(Acceptor::new().deflate(DeflateConfig::default())?);
    let listener = TcpListener::bind(address).await?;
    println!("listening on http://{}", listener.local_addr()?);
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let acceptor = Arc::clone(&acceptor);
        spawn(async move {
            let service = service_fn(|request| {
                let response = answer(&acceptor, request);
                async { Ok::<_, Infallible>(response) }
            });
            let mut builder = auto::Builder::new(TokioExecutor::new());
            // RFC 8441: tells clients of HTTP/2 that they may.
            builder.http2().enable_connect_protocol();
            if let Err(error) = builder.serve_connection_with_upgrades(TokioIo::new(stream), service).await {
                eprintln!("{error}");
            }
        });
    }
}

#[expect(clippy::disallowed_methods, reason = "a task for each connection, of HTTP and of WebSocket")]
fn spawn(connection: impl Future<Output = ()> + Send + 'static) {
    tokio::spawn(connection);
}

fn answer(acceptor: &Acceptor, mut request: Request<Incoming>) -> Response<Full<Bytes>> {
    if request.uri().path() != "/echo" {
        return Response::new(Full::from("WebSockets are at /echo.\n"));
    }
    match upgrade(acceptor, &mut request) {
        Ok((response, upgrading)) => {
            spawn(async move {
                if let Err(error) = upgrading.serve(echo).await {
                    eprintln!("{error}");
                }
            });
            response.map(|()| Full::default())
        }
        Err(refusal) => refusal.into_response().map(Full::from),
    }
}

async fn echo(mut ws: WebSocket<Upgraded>) -> Result<(), BoxError> {
    while let Some(message) = ws.next().await {
        ws.feed(message?).await?;
    }
    Ok(())
}
