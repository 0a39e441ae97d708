//! soketto over buffers, as in its own examples. It flushes on demand. Text is for the application to check.
//!
//! Without its permessage-deflate, which fails with flate2 1.1.11 (its decoder ends each message like a whole deflate stream,
//! and flate2 has come to call that incomplete), and would put all who share flate2 on the system's zlib.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::io::{BufReader, BufWriter};
use soketto::{
    Data,
    connection::Error,
    handshake::{Client, Server, ServerResponse, server::Response},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_util::compat::{Compat, TokioAsyncReadCompatExt};
use wireline_peers::Failure;

use crate::{
    batch::or_flush,
    hub::Hub,
    options::{Extra, Options},
    serve::{Done, serve},
    tls,
};

const BUFFER: usize = 32 * 1024;

type Buffered<S> = BufReader<BufWriter<Compat<S>>>;
type Sender<S> = soketto::Sender<Buffered<S>>;
type Receiver<S> = soketto::Receiver<Buffered<S>>;

pub(crate) async fn echo(options: Options) -> Done {
    let extra = options.extra;
    if extra == Extra::Tls {
        return tls::serve(&options.address, move |stream| connection(stream, extra)).await;
    }
    serve(&options.address, move |stream| connection(stream, extra)).await
}

async fn connection<S: AsyncRead + AsyncWrite + Unpin>(stream: S, extra: Extra) -> Done {
    let (mut sender, mut receiver) = accept(stream, extra).await?;
    let mut message = Vec::new();
    loop {
        message.clear();
        match or_flush(receiver.receive_data(&mut message), sender.flush()).await? {
            Ok(Data::Text(_)) => sender.send_text(std::str::from_utf8(&message)?).await?,
            Ok(Data::Binary(_)) => sender.send_binary_mut(&mut message).await?,
            Err(Error::Closed) => return Ok(sender.flush().await?),
            Err(error) => return Err(error.into()),
        }
    }
}

pub(crate) async fn broadcast(options: Options) -> Done {
    let hub = Hub::<(Data, Bytes)>::new();
    serve(&options.address, move |stream| {
        let hub = Arc::clone(&hub);
        async move {
            let (mut sender, mut receiver) = accept(stream, Extra::Nothing).await?;
            let mut deliveries = hub.join();
            let writing = tokio::spawn(async move {
                while let Some((kind, message)) = deliveries.recv().await {
                    send(&mut sender, kind, &message).await?;
                    while let Ok((kind, message)) = deliveries.try_recv() {
                        send(&mut sender, kind, &message).await?;
                    }
                    sender.flush().await?;
                }
                Ok::<_, Failure>(())
            });
            let mut message = Vec::new();
            while let Ok(kind) = receiver.receive_data(&mut message).await {
                hub.publish(&(kind, std::mem::take(&mut message).into()));
            }
            writing.abort();
            Ok(())
        }
    })
    .await
}

async fn send(sender: &mut Sender<TcpStream>, kind: Data, message: &[u8]) -> Result<(), Failure> {
    match kind {
        Data::Text(_) => sender.send_text(std::str::from_utf8(message)?).await?,
        Data::Binary(_) => sender.send_binary(message).await?,
    }
    Ok(())
}

async fn accept<S>(stream: S, extra: Extra) -> Result<(Sender<S>, Receiver<S>), Failure>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    // The default of both buffers, or room for a batch.
    let buffer = if extra == Extra::Plain { 8 * 1024 } else { BUFFER };
    let mut server = Server::new(buffered(stream, buffer));
    let key = server.receive_request().await?.key();
    server.send_response(&Response::Accept { key, protocol: None }).await?;
    Ok(server.into_builder().finish())
}

fn buffered<S: AsyncRead + AsyncWrite>(stream: S, buffer: usize) -> Buffered<S> {
    BufReader::with_capacity(buffer, BufWriter::with_capacity(buffer, stream.compat()))
}

pub(crate) async fn receive(options: Options) -> Done {
    let stream = TcpStream::connect(options.host()).await?;
    let mut client = Client::new(buffered(stream, BUFFER), options.host(), "/");
    if !matches!(client.handshake().await?, ServerResponse::Accepted { .. }) {
        return Err("the handshake failed".into());
    }
    let (_sender, mut receiver) = client.into_builder().finish();
    let mut message = Vec::new();
    loop {
        message.clear();
        if receiver.receive_data(&mut message).await?.is_text() {
            std::str::from_utf8(&message)?;
        }
        options.check(message.len())?;
    }
}
