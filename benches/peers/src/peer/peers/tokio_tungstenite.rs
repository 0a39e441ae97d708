//! tokio-tungstenite with its defaults. It feeds and flushes apart.

use std::sync::Arc;

use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_tungstenite::{
    accept_async, connect_async,
    tungstenite::{Error, Message},
};

use crate::{
    batch,
    hub::Hub,
    options::{Extra, Options},
    serve::{Done, serve},
    tls,
};

pub(crate) async fn echo(options: Options) -> Done {
    if options.extra == Extra::Tls {
        return tls::serve(&options.address, connection).await;
    }
    serve(&options.address, connection).await
}

async fn connection(stream: impl AsyncRead + AsyncWrite + Unpin) -> Done {
    Ok(batch::echo(accept_async(stream).await?, data).await?)
}

pub(crate) async fn broadcast(options: Options) -> Done {
    let hub = Hub::new();
    serve(&options.address, move |stream| {
        let hub = Arc::clone(&hub);
        async move {
            let (mut sink, mut messages) = accept_async(stream).await?.split();
            let mut deliveries = hub.join();
            // A task of its own: each attempt to read, even in vain, clears the read buffer's 128 KiB.
            let writing = tokio::spawn(async move {
                while let Some(first) = deliveries.recv().await {
                    sink.feed(first).await?;
                    while let Ok(next) = deliveries.try_recv() {
                        sink.feed(next).await?;
                    }
                    sink.flush().await?;
                }
                Ok::<_, Error>(())
            });
            while let Some(message) = messages.next().await {
                if let Some(message) = data(message)? {
                    hub.publish(&message);
                }
            }
            writing.abort();
            Ok(())
        }
    })
    .await
}

fn data(message: Result<Message, Error>) -> Result<Option<Message>, Error> {
    message.map(|message| Some(message).filter(|message| message.is_text() || message.is_binary()))
}

pub(crate) async fn receive(options: Options) -> Done {
    let (mut ws, _) = connect_async(&options.address).await?;
    while let Some(message) = ws.next().await {
        options.check(message?.len())?;
    }
    Ok(())
}
