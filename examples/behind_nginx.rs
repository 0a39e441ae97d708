//! A server behind a reverse proxy: who the client is, which pages may connect, and a path that is the server's part of a site.
//!
//! ```text
//! cargo run --release --example behind_nginx -- [ADDR]
//! ```
//!
//! ADDR defaults to 127.0.0.1:9010. `behind_nginx.conf` beside this file is the configuration of nginx for it.

use wireline::{
    Server,
    server::{Peer, TrustedProxies},
};

#[tokio::main]
async fn main() -> wireline::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:9010".into());
    let server = Server::bind(&address).await?;
    println!("listening on ws://{}", server.local_addr()?);

    // Headers of anyone else are not believed.
    server
        .trusted_proxies(TrustedProxies::new(["127.0.0.1", "::1"])?)
        .path_prefix("/live")?
        .serve(|mut ws, request| async move {
            let peer = request.extensions().get::<Peer>().ok_or("no peer")?;
            let address = peer.address.map_or_else(|| "an unknown address".into(), |address| address.to_string());
            ws.send(format!("welcome to {}, {address}", request.uri().path())).await?;
            while let Some(message) = ws.next().await {
                ws.feed(message?).await?;
            }
            Ok(())
        })
        .await
}
