//! sockudo-ws with its defaults. It feeds and flushes apart, and broadcasts through its own topics.

use std::sync::Arc;

use bytes::BytesMut;
use futures_util::StreamExt;
use sockudo_ws::{
    Config, Error, Http1, Message,
    client::WebSocketClient,
    deflate::{DeflateConfig, negotiate_server_deflate},
    handshake::{build_response, generate_accept_key, parse_request},
    pubsub::PubSub,
    server::WebSocketServer,
    stream::CompressedWebSocketStream,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
    sync::mpsc::unbounded_channel,
};
use wireline_peers::Failure;

use crate::{
    batch,
    options::{Extra, Options},
    serve::{Done, serve},
    tls,
};

const TOPIC: &str = "all";

pub(crate) async fn echo(options: Options) -> Done {
    if options.extra == Extra::Deflate {
        return serve(&options.address, |stream| async { Ok(batch::echo(accept_deflate(stream).await?, data).await?) })
            .await;
    }
    let server = WebSocketServer::<Http1>::new(Config::default());
    if options.extra == Extra::Tls {
        return tls::serve(&options.address, move |stream| connection(server.clone(), stream)).await;
    }
    serve(&options.address, move |stream| connection(server.clone(), stream)).await
}

async fn connection(server: WebSocketServer<Http1>, stream: impl AsyncRead + AsyncWrite + Unpin) -> Done {
    let (ws, _) = server.accept_raw(stream).await?;
    Ok(batch::echo(ws, data).await?)
}

/// Its server of HTTP/1.1 does not negotiate; its examples do it like this.
async fn accept_deflate(mut stream: TcpStream) -> Result<CompressedWebSocketStream<TcpStream>, Failure> {
    let policy = DeflateConfig::default();
    let mut head = BytesMut::with_capacity(4096);
    loop {
        if stream.read_buf(&mut head).await? == 0 {
            return Err("no request came".into());
        }
        let Some((request, _)) = parse_request(&head)? else { continue };
        let agreed = request.extensions.and_then(|offers| negotiate_server_deflate(offers, &policy));
        let agreed = agreed.ok_or("no agreement on permessage-deflate")?;
        let extensions = agreed.to_response_header();
        let response = build_response(&generate_accept_key(request.key), None, Some(&extensions));
        stream.write_all(&response).await?;
        return Ok(CompressedWebSocketStream::server(stream, Config::default(), agreed.config));
    }
}

pub(crate) async fn broadcast(options: Options) -> Done {
    let server = WebSocketServer::<Http1>::new(Config::default());
    let topics = Arc::new(PubSub::new());
    serve(&options.address, move |stream| {
        let (server, topics) = (server.clone(), Arc::clone(&topics));
        async move {
            let (ws, _) = server.accept_raw(stream).await?;
            let (sender, mut deliveries) = unbounded_channel();
            let member = topics.create_subscriber(sender);
            topics.subscribe(member, TOPIC);
            let publish = |message| {
                topics.publish(TOPIC, message);
            };
            let ended = batch::broadcast(ws, data, |cx| deliveries.poll_recv(cx), publish).await;
            topics.remove_subscriber(member);
            Ok(ended?)
        }
    })
    .await
}

fn data(message: Result<Message, Error>) -> Result<Option<Message>, Error> {
    message.map(|message| Some(message).filter(|message| matches!(message, Message::Text(_) | Message::Binary(_))))
}

pub(crate) async fn receive(options: Options) -> Done {
    let stream = TcpStream::connect(options.host()).await?;
    stream.set_nodelay(true)?;
    let client = WebSocketClient::<Http1>::new(Config::default());
    let (mut ws, _) = client.connect_raw(stream, options.host(), "/", None).await?;
    while let Some(message) = ws.next().await {
        match message? {
            Message::Text(payload) | Message::Binary(payload) => options.check(payload.len())?,
            Message::Ping(_) | Message::Pong(_) | Message::Close(_) => {}
        }
    }
    Ok(())
}
