//! `axum-server ADDR`: echoes at a route of axum, at the library's defaults but for compression, which it accepts.

use axum::{Router, extract::State, response::Response, routing::any};
use tokio::net::TcpListener;
use wireline::{
    WebSocket,
    proto::deflate::DeflateConfig,
    server::{Acceptor, BoxError},
    upgrade::{axum::WebSocketUpgrade, hyper::Upgraded},
};

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:9001".to_owned());
    let acceptor = Acceptor::new().deflate(DeflateConfig::default())?;
    let app = Router::new().route("/", any(answer)).with_state(acceptor);
    let listener = TcpListener::bind(address).await?;
    println!("listening on ws://{}", listener.local_addr()?);
    Ok(axum::serve(listener, app).await?)
}

async fn answer(State(acceptor): State<Acceptor>, upgrade: WebSocketUpgrade) -> Response {
    upgrade.acceptor(acceptor).on_upgrade(async |ws| {
        let outcome = echo(ws).await;
        // Most cases end in an error on purpose; it goes to the agent's log.
        if let Err(error) = &outcome {
            eprintln!("{error}");
        }
        outcome
    })
}

/// Sends every message back, until the connection has ended.
async fn echo(mut ws: WebSocket<Upgraded>) -> Result<(), BoxError> {
    while let Some(message) = ws.next().await {
        ws.send(message?).await?;
    }
    Ok(())
}
