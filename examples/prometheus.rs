//! Echoes over WebSocket, and shows what the library counts on a page for Prometheus, both from one axum server.
//!
//! ```text
//! cargo run --release --features axum,metrics --example prometheus [-- ADDR]
//! ```
//!
//! Connections are at `ws://ADDR/`, the page is at `http://ADDR/metrics`. ADDR is 127.0.0.1:9001 by default. The metrics are
//! listed in the documentation of `wireline::metrics`; with `RUST_LOG=debug` each connection's span and end are logged too.

use axum::{
    Router,
    response::Response,
    routing::{any, get},
};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder};
use tracing_subscriber::EnvFilter;
use wireline::upgrade::axum::WebSocketUpgrade;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    tracing_subscriber::fmt().with_env_filter(EnvFilter::from_default_env()).init();
    let round_trips = Matcher::Full("wireline_round_trip_seconds".into());
    let page = PrometheusBuilder::new()
        .set_buckets_for_metric(round_trips, &[0.001, 0.01, 0.1, 1.0, 10.0])?
        .install_recorder()?;
    wireline::metrics::describe();
    let app = Router::new().route("/", any(echo)).route("/metrics", get(move || async move { page.render() }));
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:9001".into());
    let listener = tokio::net::TcpListener::bind(address).await?;
    println!("listening on ws://{}", listener.local_addr()?);
    axum::serve(listener, app).await?;
    Ok(())
}

async fn echo(upgrade: WebSocketUpgrade) -> Response {
    upgrade.on_upgrade(|mut ws| async move {
        while let Some(message) = ws.next().await {
            ws.feed(message?).await?;
        }
        Ok(())
    })
}
