//! A server that ends gracefully: SIGINT (Ctrl-C) or SIGTERM stops accepting and closes every connection, behind what was fed,
//! within five seconds; a second signal cuts the rest at once.
//!
//! ```text
//! cargo run --release --example graceful_shutdown -- [ADDRESS]
//! ```

use std::{io, time::Duration};

use wireline::Server;

const DEADLINE: Duration = Duration::from_secs(5);

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:9001".into());
    let server = Server::bind(address).await?;
    println!("listening on ws://{}", server.local_addr()?);
    let drained = server
        .serve_until(signal, DEADLINE, |mut ws, _request| async move {
            while let Some(message) = ws.next().await {
                ws.feed(message?).await?;
            }
            Ok(())
        })
        .await?;
    println!("{} connections ended by themselves, {} were cut", drained.clean, drained.forced);
    Ok(())
}

/// One signal to end: it is waited for twice.
async fn signal() {
    match stop().await {
        Ok(()) => println!("ending; once more to cut what is left"),
        Err(error) => eprintln!("cannot wait for signals, ending: {error}"),
    }
}

#[cfg(unix)]
async fn stop() -> io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    Ok(())
}

#[cfg(not(unix))]
async fn stop() -> io::Result<()> {
    tokio::signal::ctrl_c().await
}
