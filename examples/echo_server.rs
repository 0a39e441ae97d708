//! Sends every message back, by either API.
//!
//! ```text
//! cargo run --release --example echo_server -- [ADDR] [--threads N] [--path stream|handler] \
//!     [--max-message BYTES] [--deflate]
//! ```
//!
//! ADDR defaults to 127.0.0.1:9001. With one thread, the default, that thread serves all connections. The path is the API:
//! one async block for each connection, or callbacks. With --deflate, messages are compressed for clients that offer it.

use std::error::Error;

use wireline::{
    Config, Server,
    handler::{Builder, Handler, Message, Sender, Settings, deflate::DeflateHandler},
    proto::deflate::DeflateConfig,
};

const USAGE: &str = "usage: echo_server [ADDR] [--threads N] [--path stream|handler] [--max-message BYTES] [--deflate]";

type Result<T> = std::result::Result<T, Box<dyn Error>>;

struct Options {
    address: String,
    threads: usize,
    path: Path,
    max_message: Option<usize>,
    compression: Compression,
}

enum Compression {
    Off,
    Deflate,
}

enum Path {
    Stream,
    Handler,
}

fn main() {
    if let Err(error) = options(std::env::args().skip(1)).and_then(run) {
        eprintln!("{error}");
        std::process::exit(1);
    }
}

fn run(options: Options) -> Result<()> {
    match options.path {
        Path::Stream => runtime(options.threads)?.block_on(stream(options)),
        Path::Handler => match options.compression {
            Compression::Off => handler(&options, |out| move |message| out.send(message)),
            Compression::Deflate => {
                handler(&options, |out| DeflateHandler::new(move |message: Message| out.send(message)))
            }
        },
    }
}

fn runtime(threads: usize) -> std::io::Result<tokio::runtime::Runtime> {
    match threads {
        1 => tokio::runtime::Builder::new_current_thread().enable_all().build(),
        _ => tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build(),
    }
}

async fn stream(options: Options) -> Result<()> {
    let mut config = Config::default();
    if let Some(bytes) = options.max_message {
        config.limits.max_message = Some(bytes.try_into()?);
    }
    if let Compression::Deflate = options.compression {
        config.deflate = Some(DeflateConfig::default());
    }
    let server = Server::bind(&options.address).await?.config(config)?;
    println!("listening on ws://{}", server.local_addr()?);
    server
        .serve(|mut ws, _request| async move {
            // Everything that has arrived is answered with one write: `next` flushes before it waits.
            while let Some(message) = ws.next().await {
                ws.feed(message?).await?;
            }
            Ok(())
        })
        .await?;
    Ok(())
}

fn handler<H: Handler + Send + 'static>(options: &Options, factory: impl FnMut(Sender) -> H) -> Result<()> {
    let defaults = Settings::default();
    let settings = Settings {
        max_connections: 20_000,
        max_message_size: options.max_message.unwrap_or(defaults.max_message_size),
        // As the stream API always does.
        tcp_nodelay: true,
        masking_strict: true,
        key_strict: true,
        method_strict: true,
        ..defaults
    };
    let server = Builder::new().with_settings(settings).build(factory)?;
    if options.threads == 1 {
        let server = server.bind(&options.address)?;
        println!("listening on ws://{}", server.local_addr()?);
        server.run()?;
        return Ok(());
    }
    runtime(options.threads)?.block_on(async {
        let listener = tokio::net::TcpListener::bind(&options.address).await?;
        println!("listening on ws://{}", listener.local_addr()?);
        server.serve(listener).await?;
        Ok(())
    })
}

fn options(mut arguments: impl Iterator<Item = String>) -> Result<Options> {
    let mut options = Options {
        address: "127.0.0.1:9001".into(),
        threads: 1,
        path: Path::Stream,
        max_message: None,
        compression: Compression::Off,
    };
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or(format!("{argument} needs a value\n{USAGE}"));
        match argument.as_str() {
            "--threads" => {
                let threads = value()?.parse().ok().filter(|threads| *threads > 0);
                options.threads = threads.ok_or("--threads takes a number from 1")?;
            }
            "--max-message" => {
                let bytes = value()?.parse().map_err(|_| "--max-message takes a number of bytes")?;
                options.max_message = Some(bytes);
            }
            "--path" => {
                options.path = match value()?.as_str() {
                    "stream" => Path::Stream,
                    "handler" => Path::Handler,
                    _ => return Err("--path takes stream or handler".into()),
                }
            }
            "--deflate" => options.compression = Compression::Deflate,
            flag if flag.starts_with('-') => return Err(format!("unknown option {flag}\n{USAGE}").into()),
            address => options.address = address.into(),
        }
    }
    Ok(options)
}
