//! `handler-server ADDR`: echoes with a `Handler` that accepts compression, with the strict flags on.

use wireline::handler::{Builder, Message, Result, Sender, Settings, deflate::DeflateHandler};

fn main() -> Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:9001".to_owned());
    let websocket = Builder::new()
        .with_settings(Settings { tcp_nodelay: true, ..strict() })
        .build(|out: Sender| DeflateHandler::new(move |message: Message| out.send(message)))?
        .bind(address)?;
    println!("listening on ws://{}", websocket.local_addr()?);
    websocket.run().map(drop)
}

fn strict() -> Settings {
    Settings { masking_strict: true, key_strict: true, method_strict: true, ..Settings::default() }
}
