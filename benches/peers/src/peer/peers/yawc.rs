//! yawc with the buffers of its own benchmark. It does not look whether text is UTF-8 unless it is told to, and is not.

use std::{sync::Arc, task::Poll};

use tokio::io::{AsyncRead, AsyncWrite};
use wireline_peers::Failure;
use yawc::{DeflatePool, Frame, HttpStream, OpCode, Options as Settings, Role, WebSocket, WebSocketError};

use crate::{
    batch,
    hub::Hub,
    options::{Extra, Options},
    serve::{Done, serve},
    tls,
    upgrade::upgrade,
};

pub(crate) async fn echo(options: Options) -> Done {
    let settings = match options.extra {
        Extra::Deflate => settings().with_balanced_compression().with_deflate_pool(DeflatePool::new(1)),
        Extra::Plain => Settings::default(),
        Extra::Nothing | Extra::Tls => settings(),
    };
    if options.extra == Extra::Tls {
        return tls::serve(&options.address, move |stream| connection(stream, settings.clone())).await;
    }
    serve(&options.address, move |stream| connection(stream, settings.clone())).await
}

async fn connection(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, settings: Settings) -> Done {
    Ok(batch::echo(accept(stream, settings).await?, data).await?)
}

pub(crate) async fn broadcast(options: Options) -> Done {
    let hub = Hub::new();
    serve(&options.address, move |stream| {
        let hub = Arc::clone(&hub);
        async move {
            let ws = accept(stream, settings()).await?;
            let mut deliveries = hub.join();
            Ok(batch::broadcast(ws, data, |cx| deliveries.poll_recv(cx), |message| hub.publish(&message)).await?)
        }
    })
    .await
}

fn settings() -> Settings {
    // A frame of 1 MiB would be beyond the default.
    Settings::default()
        .with_limits(64 * 1024 * 1024, 64 * 1024 * 1024)
        .with_read_buffer_capacity(128 * 1024)
        .with_backpressure_boundary(64 * 1024)
}

async fn accept<S>(stream: S, settings: Settings) -> Result<WebSocket<S>, Failure>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (stream, extensions) = upgrade(stream, |request| {
        WebSocket::<HttpStream>::upgrade_with_options(request, settings.clone()).map(|(response, _)| response)
    })
    .await?;
    Ok(WebSocket::from_stream_with_extensions(stream, Role::Server, extensions.as_deref(), settings)?)
}

fn data(frame: Frame) -> Result<Option<Frame>, WebSocketError> {
    Ok(Some(frame).filter(|frame| matches!(frame.opcode(), OpCode::Text | OpCode::Binary)))
}

pub(crate) async fn receive(options: Options) -> Done {
    let mut ws = WebSocket::connect(options.address.parse()?).with_options(settings()).await?;
    std::future::poll_fn(|cx| {
        loop {
            let Poll::Ready(frame) = ws.poll_next_frame(cx) else { return Poll::Pending };
            options.check(frame?.payload().len())?;
        }
    })
    .await
}
