//! The opening handshake with a scripted peer, which says what the row says about extensions.

use wireline::{Client, Config, Result, Role, WebSocket, proto::handshake::Key, server::Acceptor};

use super::{alloc::uncounted, peer::Peer};

const REQUEST: &str = "GET /chat HTTP/1.1\r\nHost: example.com\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n";

const RESPONSE: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n";

/// What is left of the handshake, seen from the peer.
#[derive(Debug)]
pub(crate) struct Opening {
    role: Role,
    /// The values of `Sec-WebSocket-Extensions`, each in a line of its own.
    extensions: Vec<String>,
    /// What our end has written.
    head: Vec<u8>,
    reply: Vec<u8>,
}

impl Opening {
    /// With an end of this role.
    pub(super) fn new(role: Role, extensions: &[&str]) -> Self {
        let extensions = extensions.iter().map(|value| (*value).to_owned()).collect();
        let mut opening = Self { role, extensions, head: Vec::new(), reply: Vec::new() };
        if role == Role::Server {
            opening.reply(REQUEST.to_owned());
        }
        opening
    }

    fn reply(&mut self, mut head: String) {
        for value in &self.extensions {
            head += &format!("Sec-WebSocket-Extensions: {value}\r\n");
        }
        self.reply = (head + "\r\n").into_bytes();
    }

    /// As many bytes of the peer's head as there is room for.
    pub(super) fn read(&mut self, room: usize) -> Vec<u8> {
        let len = self.reply.len().min(room);
        self.reply.drain(..len).collect()
    }

    pub(super) fn written(&mut self, bytes: &[u8]) {
        self.head.extend(bytes);
        if self.is_head_whole() && self.role == Role::Client {
            let head = String::from_utf8_lossy(&self.head).into_owned();
            let key = head.split("Sec-WebSocket-Key: ").nth(1).and_then(|rest| rest.get(..24)).expect("a key");
            let accept = Key::parse(key.as_bytes()).expect("a key").accept();
            self.reply(format!("{RESPONSE}Sec-WebSocket-Accept: {accept}\r\n"));
        }
    }

    fn is_head_whole(&self) -> bool {
        self.head.ends_with(b"\r\n\r\n")
    }

    /// The head of our end, once both are through.
    pub(super) fn finished(&mut self) -> Option<String> {
        let finished = self.is_head_whole() && self.reply.is_empty();
        finished.then(|| String::from_utf8(std::mem::take(&mut self.head)).expect("a head in ASCII"))
    }
}

impl Peer {
    /// Opens a connection to this peer, whose request or response has these values of `Sec-WebSocket-Extensions`.
    pub(crate) async fn open(&self, role: Role, config: Config, extensions: &[&str]) -> Result<WebSocket<Self>> {
        self.opens(uncounted(|| Opening::new(role, extensions)));
        match role {
            Role::Server => Ok(Acceptor::new().config(config)?.accept(self.clone()).await?.0),
            Role::Client => {
                Ok(Client::new("ws://example.com/chat")?.config(config)?.connect_over(self.clone()).await?.0)
            }
        }
    }
}
