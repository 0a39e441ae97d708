//! The opening handshake by hand, for programs that have none: no more of it than the benchmark needs.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use sha1::{Digest, Sha1};
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncWrite, AsyncWriteExt};
use wireline_peers::Failure;

pub(crate) async fn accept(stream: &mut (impl AsyncBufRead + AsyncWrite + Unpin)) -> Result<(), Failure> {
    let head = read_head(stream).await?;
    let key = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("sec-websocket-key").then(|| value.trim())
    });
    let digest = Sha1::digest(format!("{}258EAFA5-E914-47DA-95CA-C5AB0DC85B11", key.ok_or("no key")?));
    let response = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {}\r\n\r\n",
        STANDARD.encode(digest)
    );
    stream.write_all(response.as_bytes()).await?;
    Ok(stream.flush().await?)
}

pub(crate) async fn connect(stream: &mut (impl AsyncBufRead + AsyncWrite + Unpin), host: &str) -> Result<(), Failure> {
    let request = format!(
        "GET / HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await?;
    stream.flush().await?;
    let head = read_head(stream).await?;
    if head.starts_with("HTTP/1.1 101") { Ok(()) } else { Err("the handshake failed".into()) }
}

async fn read_head(stream: &mut (impl AsyncBufRead + Unpin)) -> Result<String, Failure> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if stream.read_line(&mut head).await? == 0 {
            return Err("no head came".into());
        }
    }
    Ok(head)
}
