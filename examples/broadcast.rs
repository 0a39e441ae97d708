//! Sends every message to every connection, the one that it came from included.
//!
//! ```text
//! cargo run --release --example broadcast -- [ADDR] [--threads N]
//! ```
//!
//! ADDR defaults to 127.0.0.1:9001. With one thread, the default, all connections run on the main thread; with more, each
//! is a task of a multi-threaded runtime.

use wireline::handler::{Builder, Result, Sender, Settings};

const USAGE: &str = "usage: broadcast [ADDR] [--threads N]";

struct Options {
    address: String,
    threads: usize,
}

fn main() {
    let outcome = options(std::env::args().skip(1)).and_then(|options| run(options).map_err(|error| error.to_string()));
    if let Err(error) = outcome {
        eprintln!("{error}");
        std::process::exit(1);
    }
}

fn run(options: Options) -> Result<()> {
    let settings = Settings {
        max_connections: 20_000,
        // A broadcast takes one place in the queue, however many it goes to. A connection reads up to 128 messages before
        // the others have their turn: with a place for each of them, none is refused.
        queue_size: 128,
        tcp_nodelay: true,
        masking_strict: true,
        key_strict: true,
        method_strict: true,
        ..Settings::default()
    };
    let server = Builder::new().with_settings(settings).build(|out: Sender| move |message| out.broadcast(message))?;
    if options.threads == 1 {
        let server = server.bind(options.address)?;
        println!("listening on ws://{}", server.local_addr()?);
        server.run()?;
        return Ok(());
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(options.threads).enable_all().build()?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind(options.address).await?;
        println!("listening on ws://{}", listener.local_addr()?);
        server.serve(listener).await?;
        Ok(())
    })
}

fn options(mut arguments: impl Iterator<Item = String>) -> std::result::Result<Options, String> {
    let mut options = Options { address: "127.0.0.1:9001".into(), threads: 1 };
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--threads" => {
                let threads = arguments.next().and_then(|value| value.parse().ok()).filter(|threads| *threads > 0);
                options.threads = threads.ok_or("--threads takes a number from 1")?;
            }
            flag if flag.starts_with('-') => return Err(format!("unknown option {flag}\n{USAGE}")),
            address => options.address = address.into(),
        }
    }
    Ok(options)
}
