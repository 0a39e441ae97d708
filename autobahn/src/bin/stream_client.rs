//! `stream-client URL AGENT`: runs every case of the fuzzing server at URL with the `Stream` and `Sink` of the library,
//! at its defaults but for compression, which it offers, and then has the reports written.

use std::time::Duration;

use wireline::{Client, Config, Transport, WebSocket, proto::deflate::DeflateConfig};

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

#[tokio::main]
async fn main() -> Outcome<()> {
    let mut arguments = std::env::args().skip(1);
    let (Some(url), Some(agent)) = (arguments.next(), arguments.next()) else {
        return Err("usage: stream-client URL AGENT".into());
    };

    let mut websocket = wireline::connect(&format!("{url}/getCaseCount")).await?;
    let count = websocket.next().await.ok_or("no number of cases")??;
    let count: u32 = count.to_string().parse()?;
    drain(websocket).await;

    for case in 1..=count {
        // The handshake is valid in every case, so its failure is the end. What comes after it may fail on purpose.
        let client = Client::new(format!("{url}/runCase?case={case}&agent={agent}"))?;
        let (websocket, _) = client.deflate(DeflateConfig::default())?.connect().await?;
        if let Err(error) = echo(websocket).await {
            eprintln!("{case}: {error}");
        }
    }

    // The suite answers the handshake only when it has written the report of every case.
    let mut config = Config::default();
    config.timings.handshake = Duration::from_secs(300);
    let updating = Client::new(format!("{url}/updateReports?agent={agent}"))?.config(config)?;
    drain(updating.connect().await?.0).await;
    Ok(())
}

/// Sends every message back, until the connection has ended.
async fn echo(mut websocket: WebSocket<Transport>) -> wireline::Result<()> {
    while let Some(message) = websocket.next().await {
        websocket.send(message?).await?;
    }
    Ok(())
}

/// Reads to the end, whatever it is: the suite closes these connections.
async fn drain(mut websocket: WebSocket<Transport>) {
    while let Some(Ok(_)) = websocket.next().await {}
}
