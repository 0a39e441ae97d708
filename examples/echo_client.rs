//! Sends messages to an echo server, checks what comes back, and says so.
//!
//! ```text
//! cargo run --release --example echo_client -- URL [--messages N] [--size B] [--deflate]
//! ```
//!
//! With --deflate, it offers to compress messages, and the server must accept. Exits with 0 if every message came back as
//! it was sent.

use std::error::Error;

use wireline::{Client, CloseCode, Message, proto::deflate::DeflateConfig};

const USAGE: &str = "usage: echo_client URL [--messages N] [--size B] [--deflate]";

struct Options {
    url: String,
    messages: usize,
    size: usize,
    deflate: Option<DeflateConfig>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let echoed = match options(std::env::args().skip(1)) {
        Ok(options) => echo(options).await,
        Err(error) => Err(error),
    };
    if let Err(error) = echoed {
        eprintln!("{error}");
        let mut source = error.source();
        while let Some(error) = source {
            eprintln!("  {error}");
            source = error.source();
        }
        std::process::exit(1);
    }
}

async fn echo(options: Options) -> Result<(), Box<dyn Error>> {
    let mut client = Client::new(&options.url)?;
    let compressed = options.deflate.is_some();
    if let Some(deflate) = options.deflate {
        client = client.deflate(deflate)?;
    }
    let (mut ws, response) = client.connect().await?;
    if compressed && !response.headers().contains_key("sec-websocket-extensions") {
        return Err("the server does not compress".into());
    }
    for number in 0..options.messages {
        let message = message(number, options.size);
        ws.send(message.clone()).await?;
        let echo = ws.next().await.ok_or("the server closed the connection early")??;
        if echo != message {
            return Err(format!("message {number} came back as {} bytes of something else", echo.len()).into());
        }
        println!("{number}: {} bytes came back", echo.len());
    }
    ws.close(CloseCode::NORMAL, "").await?;
    println!("all {} messages came back as they were sent", options.messages);
    Ok(())
}

/// Text and bytes in turn.
fn message(number: usize, size: usize) -> Message {
    let text = "wireline ".chars().cycle().skip(number % 9).take(size).collect::<String>();
    if number.is_multiple_of(2) { text.into() } else { text.into_bytes().into() }
}

fn options(mut arguments: impl Iterator<Item = String>) -> Result<Options, Box<dyn Error>> {
    let mut options = Options { url: String::new(), messages: 10, size: 32, deflate: None };
    while let Some(argument) = arguments.next() {
        let mut number = || -> Result<usize, Box<dyn Error>> {
            let value = arguments.next().ok_or(format!("{argument} needs a number\n{USAGE}"))?;
            Ok(value.parse().map_err(|_| format!("{argument} takes a number, not {value}"))?)
        };
        match argument.as_str() {
            "--messages" => options.messages = number()?,
            "--size" => options.size = number()?,
            "--deflate" => options.deflate = Some(DeflateConfig::default()),
            flag if flag.starts_with('-') => return Err(format!("unknown option {flag}\n{USAGE}").into()),
            url => options.url = url.into(),
        }
    }
    if options.url.is_empty() { Err(USAGE.into()) } else { Ok(options) }
}
