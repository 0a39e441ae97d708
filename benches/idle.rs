//! Resident memory of an idle connection.
//!
//! ```text
//! cargo bench --bench idle [-- CONNECTIONS]
//! ```
//!
//! A child process serves; this one opens the connections (2,000 by default), has one message echoed on each, lets them
//! rest, and reads the growth of the child's resident memory. Beside wireline with all its defaults, keepalive included,
//! stand a handler of the callback module for each connection, under its blocking `listen`, and a bare task that echoes
//! bytes with tokio and nothing else.

use std::{
    cell::RefCell,
    future::poll_fn,
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    pin::Pin,
    process::{Child, Command, Stdio},
    task::ready,
    time::Duration,
};

use tokio::io::{AsyncRead, AsyncWriteExt, ReadBuf};

const SERVE: &str = "--serve";

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    if let [serve, kind] = arguments.as_slice()
        && serve == SERVE
    {
        return serve_as(kind);
    }
    let connections = arguments.first().and_then(|count| count.parse().ok()).unwrap_or(2000);
    println!("resident bytes per idle connection, {connections} connections");
    for kind in ["bare", "wireline", "handler"] {
        let bytes = measure(kind, connections);
        println!("{kind:10} {bytes:6}");
    }
}

fn serve_as(kind: &str) {
    if kind == "handler" {
        return handlers().expect("the server of handlers");
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    match kind {
        "bare" => runtime.block_on(bare()).expect("the bare server"),
        _ => runtime.block_on(wireline_echo()).expect("the wireline server"),
    }
}

async fn wireline_echo() -> wireline::Result<()> {
    let server = wireline::Server::bind("127.0.0.1:0").await?;
    println!("{}", server.local_addr()?);
    server
        .serve(|mut ws, _request| async move {
            while let Some(message) = ws.next().await {
                ws.feed(message?).await?;
            }
            Ok(())
        })
        .await
}

/// A handler that holds its sender and nothing else. Only the limit on connections is not the default.
fn handlers() -> wireline::handler::Result<()> {
    use wireline::handler::{Builder, Message, Sender, Settings};
    let settings = Settings { max_connections: 1_000_000, ..Settings::default() };
    let ws = Builder::new().with_settings(settings).build(|out: Sender| move |message: Message| out.send(message))?;
    let ws = ws.bind("127.0.0.1:0")?;
    println!("{}", ws.local_addr()?);
    ws.run().map(drop)
}

/// The floor: one task, one socket, one scratch buffer per thread.
#[expect(clippy::disallowed_methods, reason = "the bare task is what is measured")]
async fn bare() -> std::io::Result<()> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    println!("{}", listener.local_addr()?);
    loop {
        let (mut stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        tokio::spawn(async move {
            while let Ok(echo @ [_, ..]) = read(&mut stream).await.as_deref() {
                if stream.write_all(echo).await.is_err() {
                    break;
                }
            }
        });
    }
}

async fn read(stream: &mut tokio::net::TcpStream) -> std::io::Result<Vec<u8>> {
    thread_local! {
        static SCRATCH: RefCell<Vec<u8>> = RefCell::new(vec![0; 64 * 1024]);
    }
    poll_fn(|cx| {
        SCRATCH.with_borrow_mut(|scratch| {
            let mut buffer = ReadBuf::new(scratch);
            ready!(Pin::new(&mut *stream).poll_read(cx, &mut buffer))?;
            std::task::Poll::Ready(Ok(buffer.filled().to_vec()))
        })
    })
    .await
}

fn measure(kind: &str, connections: usize) -> u64 {
    let mut server = Server::start(kind);
    let warm: Vec<TcpStream> = (0..16).map(|_| open(kind, server.address)).collect();
    drop(warm);
    rest();
    let before = server.resident();
    let open: Vec<TcpStream> = (0..connections).map(|_| open(kind, server.address)).collect();
    rest();
    let after = server.resident();
    drop(open);
    server.child.kill().expect("the server is ours");
    server.child.wait().expect("the server is ours");
    after.saturating_sub(before) / connections as u64
}

fn rest() {
    std::thread::sleep(Duration::from_millis(500));
}

/// One connection that has echoed one message.
fn open(kind: &str, address: SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(address).expect("the server listens");
    if kind == "bare" {
        stream.write_all(b"hello").expect("the server reads");
        stream.read_exact(&mut [0; 5]).expect("the server echoes");
        return stream;
    }
    let request = "GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                   Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    stream.write_all(request.as_bytes()).expect("the server reads");
    let mut response = Vec::new();
    while !response.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).expect("the server answers");
        response.extend_from_slice(&byte);
    }
    stream.write_all(b"\x81\x85\0\0\0\0hello").expect("the server reads");
    let mut echo = [0; 7];
    stream.read_exact(&mut echo).expect("the server echoes");
    assert_eq!(&echo, b"\x81\x05hello");
    stream
}

struct Server {
    child: Child,
    address: SocketAddr,
}

impl Server {
    fn start(kind: &str) -> Self {
        let program = std::env::current_exe().expect("this program has a path");
        let mut child =
            Command::new(program).args([SERVE, kind]).stdout(Stdio::piped()).spawn().expect("a second process");
        let mut line = String::new();
        let output = child.stdout.take().expect("its output is a pipe");
        BufReader::new(output).read_line(&mut line).expect("it prints its address");
        Self { child, address: line.trim().parse().expect("an address") }
    }

    /// Bytes of resident memory, as the kernel sums them up over all mappings.
    fn resident(&self) -> u64 {
        let rollup = std::fs::read_to_string(format!("/proc/{}/smaps_rollup", self.child.id())).expect("Linux");
        let line = rollup.lines().find(|line| line.starts_with("Rss:")).expect("a line of the sum");
        let kilobytes: u64 = line.split_whitespace().nth(1).and_then(|number| number.parse().ok()).expect("a number");
        kilobytes * 1024
    }
}
