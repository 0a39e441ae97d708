//! Pings every connection, and closes those on which nothing arrives for too long.
//!
//! ```text
//! cargo run --release --example handler_timeouts -- [ADDR]
//! ```
//!
//! ADDR defaults to 127.0.0.1:9001. Every browser answers Pings by itself. A program that only wants silent connections
//! closed needs no timeouts of its own: `Settings::idle_timeout` does that.

use wireline::handler::{
    CloseCode, Error, ErrorKind, Frame, Handler, Handshake, Message, Result, Sender, WebSocket,
    util::{Timeout, Token},
};

const PING: Token = Token(1);
const EXPIRE: Token = Token(2);

/// In milliseconds.
const PING_AFTER: u64 = 5_000;
const EXPIRE_AFTER: u64 = 30_000;

struct Connection {
    ws: Sender,
    /// The one `EXPIRE` that counts.
    expire: Option<Timeout>,
}

impl Handler for Connection {
    fn on_open(&mut self, _: Handshake) -> Result<()> {
        self.ws.timeout(PING_AFTER, PING)?;
        self.ws.timeout(EXPIRE_AFTER, EXPIRE)
    }

    fn on_message(&mut self, message: Message) -> Result<()> {
        self.ws.send(message)
    }

    fn on_timeout(&mut self, event: Token) -> Result<()> {
        match event {
            PING => {
                self.ws.ping(Vec::new())?;
                self.ws.timeout(PING_AFTER, PING)
            }
            EXPIRE => {
                println!("{}: nothing arrived for {EXPIRE_AFTER} ms", self.ws.connection_id());
                self.ws.close(CloseCode::Away)
            }
            _ => Err(Error::new(ErrorKind::Internal, "an unknown timeout")),
        }
    }

    /// A handle comes here once its timeout is scheduled. The new `EXPIRE` takes the place of the one before.
    fn on_new_timeout(&mut self, event: Token, timeout: Timeout) -> Result<()> {
        match event {
            EXPIRE => self.expire.replace(timeout).map_or(Ok(()), |earlier| self.ws.cancel(earlier)),
            _ => Ok(()),
        }
    }

    /// Whatever arrives, Pongs too, puts `EXPIRE` off. As every `on_frame` that does not look at them, it accepts reserved
    /// bits.
    fn on_frame(&mut self, frame: Frame) -> Result<Option<Frame>> {
        self.ws.timeout(EXPIRE_AFTER, EXPIRE)?;
        Ok(Some(frame))
    }

    fn on_close(&mut self, code: CloseCode, reason: &str) {
        println!("{}: closed with {code:?} {reason}", self.ws.connection_id());
    }
}

fn main() -> Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:9001".into());
    let server = WebSocket::new(|ws: Sender| Connection { ws, expire: None })?.bind(address)?;
    println!("listening on ws://{}", server.local_addr()?);
    server.run()?;
    Ok(())
}
