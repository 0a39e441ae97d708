//! Sends every message back: a whole server of callbacks, in one expression.
//!
//! ```text
//! cargo run --release --example handler_echo -- [ADDR]
//! ```
//!
//! ADDR defaults to 127.0.0.1:9001. Ctrl-C closes all connections in order and ends it.

use wireline::handler::{Builder, Result, Sender, Settings};

fn main() -> Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:9001".into());
    // The rules of RFC 6455 that are optional here, for the sake of old programs.
    let strict = Settings { masking_strict: true, key_strict: true, method_strict: true, ..Settings::default() };
    let server =
        Builder::new().with_settings(strict).build(|out: Sender| move |message| out.send(message))?.bind(address)?;
    println!("listening on ws://{}", server.local_addr()?);
    server.run()?;
    Ok(())
}
