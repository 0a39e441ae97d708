//! A server for each core: threads with a runtime of their own, which listen on the same port and share nothing.
//!
//! ```text
//! cargo run --release --example per_core -- [ADDR] [THREADS]
//! ```
//!
//! ADDR defaults to 127.0.0.1:9001, THREADS to as many as there are cores. Each connection is told which thread it is on and
//! how many have been there before it; then it echoes.

#[cfg(unix)]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    use std::thread;

    use tokio::runtime::Builder;
    use wireline::Server;

    let mut arguments = std::env::args().skip(1);
    let mut address = arguments.next().unwrap_or_else(|| "127.0.0.1:9001".into());
    let threads = match arguments.next() {
        Some(threads) => threads.parse()?,
        None => thread::available_parallelism()?.get(),
    };

    let mut cores = Vec::new();
    for _ in 0..threads {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        // A listener belongs to the runtime in which it is made.
        let server = runtime.block_on(Server::bind_reuse_port(&address))?;
        // The first may have taken any free port; the others take the same.
        address = server.local_addr()?.to_string();
        cores.push((runtime, server));
    }
    println!("listening on ws://{address}");
    thread::scope(|scope| {
        for (number, (runtime, server)) in cores.into_iter().enumerate() {
            scope.spawn(move || runtime.block_on(serve(server, number)));
        }
    });
    Ok(())
}

/// Serves on the thread that calls it, with whatever is that thread's own.
#[cfg(unix)]
async fn serve(server: wireline::Server, thread: usize) -> wireline::Result<()> {
    use std::sync::atomic::{AtomicU64, Ordering};

    // Threads that write to one counter wait for each other's caches; nobody else writes to this one.
    let served = AtomicU64::new(0);
    server
        .serve(move |mut ws, _request| {
            let before = served.fetch_add(1, Ordering::Relaxed);
            async move {
                ws.feed(format!("thread {thread}, {before} connections before")).await?;
                while let Some(message) = ws.next().await {
                    ws.feed(message?).await?;
                }
                Ok(())
            }
        })
        .await
}

#[cfg(not(unix))]
fn main() {
    eprintln!("ports cannot be shared here");
}
