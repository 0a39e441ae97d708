//! A chat inside of an axum application: a page, a login, and WebSockets, on one port.
//!
//! ```text
//! cargo run --release --features axum --example axum_chat -- [ADDR]
//! ```
//!
//! ADDR defaults to 127.0.0.1:9003. Whoever asks for `/chat?name=NAME` is let in by a name that is not taken: the handler
//! looks that up, asynchronously, before the connection opens. Messages are compressed for browsers that offer it.

use std::{collections::HashSet, sync::Arc};

use axum::{
    Router,
    extract::{RawQuery, State},
    http::StatusCode,
    response::{Html, Response},
    routing::{any, get},
};
use tokio::{
    net::TcpListener,
    sync::{Mutex, broadcast},
};
use wireline::{
    WebSocket,
    proto::deflate::DeflateConfig,
    server::{Acceptor, BoxError},
    upgrade::{axum::WebSocketUpgrade, hyper::Upgraded},
};

const PAGE: &str = r#"<!doctype html><meta charset="utf-8"><title>axum_chat</title>
<form><input autofocus placeholder="say something"></form><pre></pre>
<script>
  const name = prompt("Your name?") ?? "";
  const ws = new WebSocket(`chat?name=${encodeURIComponent(name)}`);
  const show = (line) => document.querySelector("pre").prepend(`${line}\n`);
  ws.onmessage = (event) => show(event.data);
  ws.onclose = (event) => show(`closed: ${event.code}`);
  document.forms[0].onsubmit = (event) => {
    event.preventDefault();
    const input = document.querySelector("input");
    ws.send(input.value);
    input.value = "";
  };
</script>
"#;

/// What a slow member may have waiting before it misses lines.
const BACKLOG: usize = 256;

#[derive(Clone)]
struct Chat {
    acceptor: Acceptor,
    names: Arc<Mutex<HashSet<String>>>,
    lines: broadcast::Sender<String>,
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:9003".to_owned());
    let chat = Chat {
        acceptor: Acceptor::new().deflate(DeflateConfig::default())?,
        names: Arc::default(),
        lines: broadcast::channel(BACKLOG).0,
    };
    let app = Router::new()
        .route("/", get(async || Html(PAGE)))
        // Over HTTP/2 the method is CONNECT.
        .route("/chat", any(join))
        .with_state(chat);
    let listener = TcpListener::bind(address).await?;
    println!("listening on http://{}", listener.local_addr()?);
    axum::serve(listener, app).await?;
    Ok(())
}

/// Runs before anything is answered, and may wait and refuse.
async fn join(
    State(chat): State<Chat>,
    RawQuery(query): RawQuery,
    upgrade: WebSocketUpgrade,
) -> Result<Response, StatusCode> {
    let query = query.unwrap_or_default();
    let (_, name) = url::form_urlencoded::parse(query.as_bytes())
        .find(|(key, value)| key == "name" && !value.is_empty())
        .ok_or(StatusCode::BAD_REQUEST)?;
    let name = name.into_owned();
    if chat.names.lock().await.contains(&name) {
        return Err(StatusCode::CONFLICT);
    }
    Ok(upgrade.acceptor(chat.acceptor.clone()).on_upgrade(|ws| member(chat, ws, name)))
}

async fn member(chat: Chat, mut ws: WebSocket<Upgraded>, name: String) -> Result<(), BoxError> {
    // Taken only now that the connection is open; somebody else may have been quicker.
    if !chat.names.lock().await.insert(name.clone()) {
        return Ok(ws.send("this name is taken").await?);
    }
    let outcome = talk(&chat, &mut ws, &name).await;
    chat.names.lock().await.remove(&name);
    outcome
}

async fn talk(chat: &Chat, ws: &mut WebSocket<Upgraded>, name: &str) -> Result<(), BoxError> {
    let mut lines = chat.lines.subscribe();
    loop {
        tokio::select! {
            message = ws.next() => match message.transpose()? {
                // An error only says that nobody listens.
                Some(message) => _ = chat.lines.send(format!("{name}: {}", message.as_text().unwrap_or("(bytes)"))),
                None => return Ok(()),
            },
            line = lines.recv() => match line {
                Ok(line) => ws.send(line).await?,
                Err(broadcast::error::RecvError::Lagged(missed)) => ws.send(format!("({missed} lines missed)")).await?,
                Err(broadcast::error::RecvError::Closed) => return Ok(()),
            },
        }
    }
}
