//! A server on a Unix socket, for a proxy on the same machine, or on the sockets that systemd started it with.
//!
//! ```text
//! cargo run --release --example unix_socket -- [PATH]
//! ```
//!
//! PATH defaults to wireline.sock in the directory for temporary files. With `LISTEN_FDS` in the environment, as
//! `systemd-socket-activate -l /run/echo.sock PROGRAM` sets it, those sockets are served.

#[cfg(unix)]
#[tokio::main]
async fn main() -> wireline::Result<()> {
    use wireline::{
        Server,
        server::{Peer, TrustedProxies},
    };

    let server = match Server::inherited()? {
        Some(server) => {
            println!("listening on what the process was started with");
            server
        }
        None => {
            let path = std::env::args_os().nth(1).map(Into::into);
            let path = path.unwrap_or_else(|| std::env::temp_dir().join("wireline.sock"));
            let server = Server::bind_unix(&path).await?;
            println!("listening on {}", path.display());
            server
        }
    };

    // Whoever may connect to the socket is the proxy.
    server
        .trusted_proxies(TrustedProxies::default().unix_peer())
        .serve(|mut ws, request| async move {
            let peer = request.extensions().get::<Peer>().ok_or("no peer")?;
            println!("{:?}, known by {:?}", peer.address, peer.evidence);
            while let Some(message) = ws.next().await {
                ws.feed(message?).await?;
            }
            Ok(())
        })
        .await
}

#[cfg(not(unix))]
fn main() {
    eprintln!("there are no Unix sockets here");
}
