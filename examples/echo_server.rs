//! Sends every message back.
//!
//! ```text
//! cargo run --release --example echo_server -- [ADDR] [--threads N] [--path stream] [--max-message BYTES] [--deflate]
//! ```
//!
//! ADDR defaults to 127.0.0.1:9001. With one thread, the default, a current-thread runtime serves all connections.
//! With --deflate, messages are compressed for clients that offer it.

use wireline::{Config, Server, proto::deflate::DeflateConfig};

const USAGE: &str = "usage: echo_server [ADDR] [--threads N] [--path stream] [--max-message BYTES] [--deflate]";

struct Options {
    address: String,
    threads: usize,
    config: Config,
}

fn main() {
    if let Err(error) = options(std::env::args().skip(1)).and_then(run) {
        eprintln!("{error}");
        std::process::exit(1);
    }
}

fn run(options: Options) -> Result<(), String> {
    let runtime = match options.threads {
        1 => tokio::runtime::Builder::new_current_thread().enable_all().build(),
        threads => tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build(),
    };
    let runtime = runtime.map_err(|error| error.to_string())?;
    runtime.block_on(serve(options)).map_err(|error| error.to_string())
}

async fn serve(options: Options) -> wireline::Result<()> {
    let server = Server::bind(&options.address).await?.config(options.config)?;
    println!("listening on ws://{}", server.local_addr()?);
    server
        .serve(|mut ws, _request| async move {
            // Everything that has arrived is answered with one write: `next` flushes before it waits.
            while let Some(message) = ws.next().await {
                ws.feed(message?).await?;
            }
            Ok(())
        })
        .await
}

fn options(mut arguments: impl Iterator<Item = String>) -> Result<Options, String> {
    let mut options = Options { address: "127.0.0.1:9001".into(), threads: 1, config: Config::default() };
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or(format!("{argument} needs a value\n{USAGE}"));
        match argument.as_str() {
            "--threads" => {
                let threads = value()?.parse().ok().filter(|threads| *threads > 0);
                options.threads = threads.ok_or("--threads takes a number from 1")?;
            }
            "--max-message" => {
                let bytes = value()?.parse().map_err(|_| "--max-message takes a number of bytes")?;
                options.config.limits.max_message = Some(bytes);
            }
            "--path" => match value()?.as_str() {
                "stream" => {}
                "handler" => return Err("--path handler: there is no handler API in this version".into()),
                _ => return Err("--path takes stream".into()),
            },
            "--deflate" => options.config.deflate = Some(DeflateConfig::default()),
            flag if flag.starts_with('-') => return Err(format!("unknown option {flag}\n{USAGE}")),
            address => options.address = address.into(),
        }
    }
    Ok(options)
}
