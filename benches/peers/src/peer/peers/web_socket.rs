//! web-socket. It has no handshake, no buffers, and leaves the assembling of fragments, the checking of text, Pongs and
//! Closes to the application.
//!
//! It writes each frame at once. What can be done about that: one of it for reading and one for writing, each over a
//! buffer, and a flush when the reading one has to wait.

use std::sync::Arc;

use bytes::Bytes;
use tokio::{
    io::{AsyncWrite, BufReader, BufStream, BufWriter},
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
};
use tokio_rustls::server::TlsStream;
use web_socket::{DataType, Event, MessageType, Stream, WebSocket};
use wireline_peers::Failure;

use crate::{
    batch::or_flush,
    handshake,
    hub::Hub,
    options::{Extra, Options},
    serve::{Done, serve},
    tls,
};

const BUFFER: usize = 32 * 1024;

/// Bytes of the buffers for reading and for writing.
fn buffers(extra: Extra) -> (usize, usize) {
    // Through none, each frame is written at once; without the other, each part of a header would be read by itself.
    if extra == Extra::Plain { (8 * 1024, 0) } else { (BUFFER, BUFFER) }
}

type Reader = WebSocket<BufReader<OwnedReadHalf>>;
type Writer = WebSocket<BufWriter<OwnedWriteHalf>>;

pub(crate) async fn echo(options: Options) -> Done {
    if options.extra == Extra::Tls {
        return tls::serve(&options.address, over_tls).await;
    }
    let buffers = buffers(options.extra);
    serve(&options.address, move |stream| async move {
        let (mut reader, mut writer) = accept(stream, buffers).await?;
        let mut fragments = Vec::new();
        loop {
            match or_flush(reader.recv(), writer.flash()).await?? {
                Event::Data { ty, data } => {
                    if let Some((kind, message)) = assemble(ty, data, &mut fragments) {
                        send(&mut writer, kind, &message).await?;
                    }
                }
                Event::Ping(payload) => writer.send_pong(payload).await?,
                Event::Pong(_) => {}
                Event::Error(rule) => return Err(rule.into()),
                Event::Close { .. } => return Ok(writer.close(()).await?),
            }
        }
    })
    .await
}

/// One message is under way at a time, and a TLS stream has no halves but behind a lock: each is flushed.
async fn over_tls(stream: TlsStream<TcpStream>) -> Done {
    let mut stream = BufStream::with_capacity(BUFFER, BUFFER, stream);
    handshake::accept(&mut stream).await?;
    let mut ws = WebSocket::server(stream);
    let mut fragments = Vec::new();
    loop {
        match ws.recv().await? {
            Event::Data { ty, data } => {
                if let Some((kind, message)) = assemble(ty, data, &mut fragments) {
                    send(&mut ws, kind, &message).await?;
                    ws.flash().await?;
                }
            }
            Event::Ping(_) | Event::Pong(_) => {}
            Event::Error(rule) => return Err(rule.into()),
            Event::Close { .. } => return Ok(ws.close(()).await?),
        }
    }
}

pub(crate) async fn broadcast(options: Options) -> Done {
    let hub = Hub::<(MessageType, Bytes)>::new();
    serve(&options.address, move |stream| {
        let hub = Arc::clone(&hub);
        async move {
            let (mut reader, mut writer) = accept(stream, (BUFFER, BUFFER)).await?;
            let mut deliveries = hub.join();
            let writing = tokio::spawn(async move {
                while let Some((kind, message)) = deliveries.recv().await {
                    send(&mut writer, kind, &message).await?;
                    while let Ok((kind, message)) = deliveries.try_recv() {
                        send(&mut writer, kind, &message).await?;
                    }
                    writer.flash().await?;
                }
                Ok::<_, Failure>(())
            });
            let mut fragments = Vec::new();
            loop {
                match reader.recv().await? {
                    Event::Data { ty, data } => {
                        if let Some((kind, message)) = assemble(ty, data, &mut fragments) {
                            hub.publish(&(kind, message.into()));
                        }
                    }
                    Event::Ping(_) | Event::Pong(_) => {}
                    Event::Error(_) | Event::Close { .. } => break,
                }
            }
            writing.abort();
            Ok(())
        }
    })
    .await
}

async fn accept(stream: TcpStream, buffers: (usize, usize)) -> Result<(Reader, Writer), Failure> {
    let mut stream = BufStream::with_capacity(1024, 1024, stream);
    handshake::accept(&mut stream).await?;
    let (read, write) = stream.into_inner().into_split();
    let reader = WebSocket::server(BufReader::with_capacity(buffers.0, read));
    Ok((reader, WebSocket::server(BufWriter::with_capacity(buffers.1, write))))
}

fn assemble(kind: DataType, data: Box<[u8]>, fragments: &mut Vec<u8>) -> Option<(MessageType, Vec<u8>)> {
    match kind {
        DataType::Complete(kind) => Some((kind, data.into_vec())),
        DataType::Stream(Stream::Start(_) | Stream::Next(_)) => {
            fragments.extend_from_slice(&data);
            None
        }
        DataType::Stream(Stream::End(kind)) => {
            fragments.extend_from_slice(&data);
            Some((kind, std::mem::take(fragments)))
        }
    }
}

async fn send<S>(writer: &mut WebSocket<S>, kind: MessageType, message: &[u8]) -> Result<(), Failure>
where
    S: AsyncWrite + Unpin,
{
    match kind {
        MessageType::Text => writer.send(std::str::from_utf8(message)?).await?,
        MessageType::Binary => writer.send(message).await?,
    }
    Ok(())
}

pub(crate) async fn receive(options: Options) -> Done {
    let stream = TcpStream::connect(options.host()).await?;
    let mut stream = BufReader::with_capacity(BUFFER, stream);
    handshake::connect(&mut stream, options.host()).await?;
    let mut ws = WebSocket::client(stream);
    loop {
        match ws.recv().await? {
            Event::Data { ty: DataType::Complete(MessageType::Text), data } => {
                options.check(std::str::from_utf8(&data)?.len())?;
            }
            Event::Data { data, .. } => options.check(data.len())?,
            Event::Ping(_) | Event::Pong(_) => {}
            Event::Error(rule) => return Err(rule.into()),
            Event::Close { .. } => return Ok(()),
        }
    }
}
