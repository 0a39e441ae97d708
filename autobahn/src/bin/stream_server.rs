//! `stream-server ADDR [--chop]`: echoes with the `Stream` and `Sink` of the library, at its defaults but for compression,
//! which it accepts.
//! `--chop` gives the connection its input one byte a read.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use wireline::{proto::deflate::DeflateConfig, server::Acceptor};

#[tokio::main]
async fn main() -> io::Result<()> {
    let mut address = String::from("127.0.0.1:9001");
    let mut chop = false;
    for argument in std::env::args().skip(1) {
        if argument == "--chop" {
            chop = true;
        } else {
            address = argument;
        }
    }
    let listener = TcpListener::bind(address).await?;
    println!("listening on ws://{}", listener.local_addr()?);
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        while connections.try_join_next().is_some() {}
        if chop {
            connections.spawn(report(echo(Chopped(stream))));
        } else {
            connections.spawn(report(echo(stream)));
        }
    }
}

/// Sends every message back, until the connection has ended.
async fn echo<S: AsyncRead + AsyncWrite + Unpin>(stream: S) -> wireline::Result<()> {
    let acceptor = Acceptor::new().deflate(DeflateConfig::default())?;
    let (mut websocket, _) = acceptor.accept(stream).await?;
    while let Some(message) = websocket.next().await {
        websocket.send(message?).await?;
    }
    Ok(())
}

/// Most cases end in an error on purpose; it goes to the agent's log.
async fn report(connection: impl Future<Output = wireline::Result<()>>) {
    if let Err(error) = connection.await {
        eprintln!("{error}");
    }
}

/// A stream that gives one byte a read, however many there are.
struct Chopped(TcpStream);

impl AsyncRead for Chopped {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if buffer.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        let mut byte = [0];
        let mut one = ReadBuf::new(&mut byte);
        ready!(Pin::new(&mut self.0).poll_read(cx, &mut one))?;
        buffer.put_slice(one.filled());
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Chopped {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
