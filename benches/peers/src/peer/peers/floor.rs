//! No WebSocket at all: what the system calls cost under tokio. As many bytes go back as an echo has, with one read into
//! a buffer of the thread, and one write for each read.

use std::{cell::RefCell, future::poll_fn, pin::Pin, task::ready};

use tokio::{
    io::{AsyncRead, AsyncWriteExt, ReadBuf},
    net::TcpStream,
};

use crate::{
    handshake,
    options::Options,
    serve::{Done, serve},
};

const BUFFER: usize = 256 * 1024;
static ZEROS: [u8; BUFFER] = [0; BUFFER];

pub(crate) async fn echo(options: Options) -> Done {
    let (request, reply) = options.sizes;
    serve(&options.address, move |stream| connection(stream, request, reply)).await
}

async fn connection(mut stream: TcpStream, request: usize, reply: usize) -> Done {
    let (mut received, mut sent) = (0, 0);
    loop {
        match read(&mut stream).await? {
            0 => return Ok(()),
            read => received += read,
        }
        let owed = received * reply / request - sent;
        stream.write_all(&ZEROS[..owed]).await?;
        sent += owed;
    }
}

pub(crate) async fn receive(options: Options) -> Done {
    let mut stream = tokio::io::BufStream::with_capacity(1024, 1024, TcpStream::connect(options.host()).await?);
    handshake::connect(&mut stream, options.host()).await?;
    let mut stream = stream.into_inner();
    while read(&mut stream).await? > 0 {}
    Ok(())
}

async fn read(stream: &mut TcpStream) -> std::io::Result<usize> {
    thread_local! {
        static SCRATCH: RefCell<Vec<u8>> = RefCell::new(vec![0; BUFFER]);
    }
    poll_fn(|cx| {
        SCRATCH.with_borrow_mut(|scratch| {
            let mut buffer = ReadBuf::new(scratch);
            ready!(Pin::new(&mut *stream).poll_read(cx, &mut buffer))?;
            Ok(buffer.filled().len()).into()
        })
    })
    .await
}
