//! A chat inside of an axum application: a page, a login, and WebSockets, on one port.
//!
//! ```text
//! cargo run --release --features axum --example axum_chat -- [ADDR [CERTIFICATE KEY]]
//! ```
//!
//! ADDR defaults to 127.0.0.1:9003. CERTIFICATE and KEY are files of PEM: with them it speaks TLS, and browsers open the
//! WebSocket on the page's own connection of HTTP/2 (RFC 8441).
//! Whoever asks for `/chat?name=NAME` is let in by a name that is not taken: the handler
//! looks that up, asynchronously, before the connection opens. Messages are compressed for browsers that offer it.

use std::{collections::HashSet, sync::Arc};

use axum::{
    Router,
    extract::{RawQuery, State},
    http::{StatusCode, Version},
    response::{Html, Response},
    routing::{any, get},
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
    service::TowerToHyperService,
};
use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Mutex, broadcast},
};
use tokio_rustls::TlsAcceptor;
use wireline::{
    WebSocket,
    proto::deflate::DeflateConfig,
    server::{Acceptor, BoxError},
    upgrade::{axum::WebSocketUpgrade, hyper::Upgraded},
};

const PAGE: &str = r#"<!doctype html><meta charset="utf-8"><title>axum_chat</title>
<form><input autofocus placeholder="say something"></form><pre></pre>
<script>
  const name = new URLSearchParams(location.search).get("name") ?? prompt("Your name?") ?? "";
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
    let mut arguments = std::env::args().skip(1);
    let address = arguments.next().unwrap_or_else(|| "127.0.0.1:9003".to_owned());
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
    if let (Some(certificate), Some(key)) = (arguments.next(), arguments.next()) {
        let tls = tls(&certificate, &key)?;
        println!("listening on https://{}", listener.local_addr()?);
        return serve_tls(listener, tls, app).await;
    }
    println!("listening on http://{}", listener.local_addr()?);
    axum::serve(listener, app).await?;
    Ok(())
}

fn tls(certificate: &str, key: &str) -> Result<TlsAcceptor, BoxError> {
    let chain = CertificateDer::pem_file_iter(certificate)?.collect::<Result<_, _>>()?;
    let key = PrivateKeyDer::from_pem_file(key)?;
    let mut config = ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config).into())
}

/// What `axum::serve` does, over TLS.
async fn serve_tls(listener: TcpListener, tls: TlsAcceptor, app: Router) -> Result<(), BoxError> {
    loop {
        let (stream, _) = listener.accept().await?;
        let connection = serve_connection(stream, tls.clone(), app.clone());
        #[expect(clippy::disallowed_methods, reason = "a task for each connection")]
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                eprintln!("{error}");
            }
        });
    }
}

async fn serve_connection(stream: TcpStream, tls: TlsAcceptor, app: Router) -> Result<(), BoxError> {
    stream.set_nodelay(true)?;
    let stream = TokioIo::new(tls.accept(stream).await?);
    let mut builder = auto::Builder::new(TokioExecutor::new());
    // Tells clients of HTTP/2 that they may open WebSockets.
    builder.http2().enable_connect_protocol();
    builder.serve_connection_with_upgrades(stream, TowerToHyperService::new(app)).await
}

/// Runs before anything is answered, and may wait and refuse.
async fn join(
    State(chat): State<Chat>,
    RawQuery(query): RawQuery,
    http: Version,
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
    Ok(upgrade.acceptor(chat.acceptor.clone()).on_upgrade(move |ws| member(chat, ws, name, http)))
}

async fn member(chat: Chat, mut ws: WebSocket<Upgraded>, name: String, http: Version) -> Result<(), BoxError> {
    // Taken only now that the connection is open; somebody else may have been quicker.
    if !chat.names.lock().await.insert(name.clone()) {
        return Ok(ws.send("this name is taken").await?);
    }
    ws.feed(format!("welcome, {name}, over {http:?}")).await?;
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
