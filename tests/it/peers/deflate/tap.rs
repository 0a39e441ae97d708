//! A relay in front of a server, which counts what passes and keeps the server's answer to the handshake.

use std::sync::{Arc, Mutex};

use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    task::JoinSet,
};
use tokio_util::io::InspectReader;

/// It relays until it is dropped.
pub(super) struct Tap {
    port: u16,
    wire: Arc<Mutex<Wire>>,
    _relay: JoinSet<()>,
}

/// What passed, of all connections together.
#[derive(Clone, Default)]
pub(super) struct Wire {
    pub(super) from_client: usize,
    pub(super) from_server: usize,
    answer: Vec<u8>,
}

impl Tap {
    pub(super) async fn before(server: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("it listens").port();
        let wire = Arc::default();
        let mut relay = JoinSet::new();
        relay.spawn(relay_all(listener, server, Arc::clone(&wire)));
        Self { port, wire, _relay: relay }
    }

    /// The path says how many messages are to be exchanged.
    pub(super) fn url(&self, count: usize) -> String {
        format!("ws://127.0.0.1:{}/{count}", self.port)
    }

    pub(super) fn wire(&self) -> Wire {
        self.wire.lock().expect("not poisoned").clone()
    }
}

async fn relay_all(listener: TcpListener, server: u16, wire: Arc<Mutex<Wire>>) {
    let mut connections = JoinSet::new();
    loop {
        let (client, _) = listener.accept().await.expect("a connection");
        let server = TcpStream::connect(("127.0.0.1", server)).await.expect("the server listens");
        for stream in [&client, &server] {
            stream.set_nodelay(true).expect("a TCP stream");
        }
        let (from_client, from_server) = (Arc::clone(&wire), Arc::clone(&wire));
        let mut client = InspectReader::new(client, move |bytes: &[u8]| {
            from_client.lock().expect("not poisoned").from_client += bytes.len();
        });
        let mut server = InspectReader::new(server, move |bytes: &[u8]| {
            from_server.lock().expect("not poisoned").server_sent(bytes);
        });
        // How a connection ends is for its ends to judge.
        connections.spawn(async move { copy_bidirectional(&mut client, &mut server).await.map(drop) });
    }
}

impl Wire {
    fn server_sent(&mut self, bytes: &[u8]) {
        self.from_server += bytes.len();
        if !self.answer.windows(4).any(|end| end == b"\r\n\r\n") {
            self.answer.extend_from_slice(bytes);
        }
    }

    /// The value of `Sec-WebSocket-Extensions` in the server's answer.
    pub(super) fn extensions(&self) -> Option<String> {
        let answer = String::from_utf8_lossy(&self.answer);
        answer.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("sec-websocket-extensions").then(|| value.trim().to_owned())
        })
    }
}
