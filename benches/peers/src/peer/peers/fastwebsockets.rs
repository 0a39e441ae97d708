//! fastwebsockets, without tokio's budget, as in its own benchmark.
//!
//! It writes each frame at once and does not say whether another one has arrived. What can be done about that: its halves
//! apart, the writing one over a buffer, and a flush when the reading one has to wait. With its halves apart it leaves
//! Pongs and Closes to the application.

use std::sync::Arc;

use fastwebsockets::{
    FragmentCollector, FragmentCollectorRead, Frame, OpCode, Payload, Role, WebSocket, WebSocketError, WebSocketWrite,
    after_handshake_split, handshake,
};
use http_body_util::Empty;
use hyper::{
    Request,
    body::Bytes,
    header::{CONNECTION, HOST, UPGRADE},
};
use tokio::{
    io::BufWriter,
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    task::unconstrained,
};
use tokio_rustls::server::TlsStream;

use crate::{
    batch::or_flush,
    hub::Hub,
    options::{Extra, Options},
    serve::{Done, serve},
    tls,
    upgrade::upgrade,
};

const BUFFER: usize = 32 * 1024;

fn buffer(extra: Extra) -> usize {
    // Through none, each frame is written at once.
    if extra == Extra::Plain { 0 } else { BUFFER }
}

type Reader = FragmentCollectorRead<OwnedReadHalf>;
type Writer = WebSocketWrite<BufWriter<OwnedWriteHalf>>;

pub(crate) async fn echo(options: Options) -> Done {
    if options.extra == Extra::Tls {
        return tls::serve(&options.address, |stream| unconstrained(over_tls(stream))).await;
    }
    let buffer = buffer(options.extra);
    serve(&options.address, move |stream| {
        unconstrained(async move {
            let (mut reader, mut writer) = accept(stream, buffer).await?;
            loop {
                let frame = or_flush(next(&mut reader), writer.flush()).await??;
                match frame.opcode {
                    OpCode::Text | OpCode::Binary => writer.write_frame(frame).await?,
                    OpCode::Ping => writer.write_frame(Frame::pong(frame.payload)).await?,
                    OpCode::Close => return end(&mut writer, frame).await,
                    OpCode::Continuation | OpCode::Pong => {}
                }
            }
        })
    })
    .await
}

/// One message is under way at a time, and a TLS stream has no halves but behind a lock: nothing is buffered or flushed.
async fn over_tls(stream: TlsStream<TcpStream>) -> Done {
    let (stream, _) =
        upgrade(stream, |request| fastwebsockets::upgrade::upgrade(request).map(|(response, _)| response)).await?;
    let mut ws = FragmentCollector::new(WebSocket::after_handshake(stream, Role::Server));
    loop {
        let frame = ws.read_frame().await?;
        match frame.opcode {
            OpCode::Text | OpCode::Binary => ws.write_frame(frame).await?,
            OpCode::Close => return Ok(()),
            OpCode::Continuation | OpCode::Ping | OpCode::Pong => {}
        }
    }
}

pub(crate) async fn broadcast(options: Options) -> Done {
    let hub = Hub::<(OpCode, Bytes)>::new();
    serve(&options.address, move |stream| {
        let hub = Arc::clone(&hub);
        unconstrained(async move {
            let (mut reader, mut writer) = accept(stream, BUFFER).await?;
            let mut deliveries = hub.join();
            let writing = tokio::spawn(unconstrained(async move {
                while let Some(first) = deliveries.recv().await {
                    let more = std::iter::from_fn(|| deliveries.try_recv().ok());
                    for (opcode, payload) in std::iter::once(first).chain(more) {
                        writer.write_frame(Frame::new(true, opcode, None, Payload::Borrowed(&payload))).await?;
                    }
                    writer.flush().await?;
                }
                Ok::<_, WebSocketError>(())
            }));
            loop {
                let frame = next(&mut reader).await?;
                match frame.opcode {
                    OpCode::Text | OpCode::Binary => hub.publish(&(frame.opcode, bytes(frame.payload))),
                    OpCode::Close => break,
                    OpCode::Continuation | OpCode::Ping | OpCode::Pong => {}
                }
            }
            writing.abort();
            Ok(())
        })
    })
    .await
}

async fn accept(stream: TcpStream, buffer: usize) -> Result<(Reader, Writer), wireline_peers::Failure> {
    let (stream, _) =
        upgrade(stream, |request| fastwebsockets::upgrade::upgrade(request).map(|(response, _)| response)).await?;
    let (read, write) = stream.into_split();
    let (mut reader, writer) = after_handshake_split(read, BufWriter::with_capacity(buffer, write), Role::Server);
    reader.set_auto_close(false);
    reader.set_auto_pong(false);
    Ok((FragmentCollectorRead::new(reader), writer))
}

async fn next(reader: &mut Reader) -> Result<Frame<'static>, WebSocketError> {
    reader.read_frame(&mut |_| async { Ok::<_, WebSocketError>(()) }).await
}

async fn end(writer: &mut Writer, close: Frame<'static>) -> Done {
    writer.write_frame(Frame::close_raw(close.payload)).await?;
    Ok(writer.flush().await?)
}

fn bytes(payload: Payload<'static>) -> Bytes {
    match payload {
        Payload::Bytes(bytes) => bytes.freeze(),
        Payload::Owned(bytes) => bytes.into(),
        Payload::Borrowed(bytes) => Bytes::from_static(bytes),
        Payload::BorrowedMut(bytes) => Bytes::copy_from_slice(bytes),
    }
}

pub(crate) async fn receive(options: Options) -> Done {
    let request = Request::get(&options.address)
        .header(HOST, options.host())
        .header(UPGRADE, "websocket")
        .header(CONNECTION, "upgrade")
        .header("Sec-WebSocket-Key", handshake::generate_key())
        .header("Sec-WebSocket-Version", "13")
        .body(Empty::<Bytes>::new())?;
    let stream = TcpStream::connect(options.host()).await?;
    let (ws, _) = handshake::client(&Tasks, request, stream).await?;
    let mut ws = FragmentCollector::new(ws);
    unconstrained(async {
        loop {
            options.check(ws.read_frame().await?.payload.len())?;
        }
    })
    .await
}

struct Tasks;

impl<F> hyper::rt::Executor<F> for Tasks
where
    F: Future<Output: Send> + Send + 'static,
{
    fn execute(&self, task: F) {
        tokio::spawn(task);
    }
}
