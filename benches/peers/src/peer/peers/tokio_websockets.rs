//! tokio-websockets with the settings of its own benchmark: no limits, one frame per message, and no budget of tokio's.
//!
//! Its `poll_next` flushes what is queued before it looks for the next message, so that a loop of `next` and `feed`
//! writes once per message. To write once per batch, all messages that are there are taken first, and then fed.

use std::sync::Arc;

use futures_util::{FutureExt, SinkExt, StreamExt};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    task::{coop::Unconstrained, unconstrained},
};
use tokio_websockets::{ClientBuilder, Config, Error, Limits, Message, ServerBuilder, WebSocketStream};

use crate::{
    batch,
    hub::Hub,
    options::{Extra, Options},
    serve::{Done, serve},
    tls,
};

pub(crate) async fn echo(options: Options) -> Done {
    if options.extra == Extra::Tls {
        return tls::serve(&options.address, |stream| unconstrained(connection(stream))).await;
    }
    serve(&options.address, |stream| -> Unconstrained<_> { unconstrained(connection(stream)) }).await
}

async fn connection(stream: impl AsyncRead + AsyncWrite + Unpin) -> Done {
    let mut ws = accept(stream).await?;
    let mut more = Vec::new();
    while let Some(first) = ws.next().await {
        let first = data(first)?;
        while let Some(Some(message)) = ws.next().now_or_never() {
            more.extend(data(message)?);
        }
        if let Some(first) = first {
            ws.feed(first).await?;
        }
        for message in more.drain(..) {
            ws.feed(message).await?;
        }
        ws.flush().await?;
    }
    Ok(())
}

pub(crate) async fn broadcast(options: Options) -> Done {
    let hub = Hub::new();
    serve(&options.address, move |stream| {
        let hub = Arc::clone(&hub);
        unconstrained(async move {
            let ws = accept(stream).await?;
            let mut deliveries = hub.join();
            Ok(batch::broadcast(ws, data, |cx| deliveries.poll_recv(cx), |message| hub.publish(&message)).await?)
        })
    })
    .await
}

async fn accept<S: AsyncRead + AsyncWrite + Unpin>(stream: S) -> Result<WebSocketStream<S>, Error> {
    let config = Config::default().frame_size(usize::MAX);
    let (_, ws) = ServerBuilder::new().config(config).limits(Limits::unlimited()).accept(stream).await?;
    Ok(ws)
}

fn data(message: Result<Message, Error>) -> Result<Option<Message>, Error> {
    message.map(|message| Some(message).filter(|message| message.is_text() || message.is_binary()))
}

pub(crate) async fn receive(options: Options) -> Done {
    let (mut ws, _) = ClientBuilder::new().uri(&options.address)?.limits(Limits::unlimited()).connect().await?;
    while let Some(message) = ws.next().await {
        options.check(message?.as_payload().len())?;
    }
    Ok(())
}
