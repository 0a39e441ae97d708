//! TLS with a certificate of one's own, on both sides: a server that has it, and a client that trusts nothing else.
//!
//! ```text
//! cargo run --release --example handler_tls
//! ```
//!
//! The client sends a message over `wss`, gets it back and closes; then the program ends, with status 0 if all went well.

use std::{cell::Cell, error::Error, sync::Arc, thread};

use rustls::{ClientConfig, RootCertStore, ServerConfig};
use url::Url;
use wireline::handler::{
    CloseCode, Error as WsError, ErrorKind, Handler, Handshake, Message, Result, Sender, WebSocket, connect,
    util::{SslStream, TcpStream},
};

const GREETING: &str = "over TLS";

struct Client<'a> {
    out: Sender,
    tls: Arc<ClientConfig>,
    echoed: &'a Cell<bool>,
}

impl Handler for Client<'_> {
    /// Called once there is a TCP connection. It only says how TLS is to be done, and returns.
    fn upgrade_ssl_client(&mut self, stream: TcpStream, url: &Url) -> Result<SslStream<TcpStream>> {
        let host = url.host_str().unwrap_or_default().to_owned();
        println!("client: connected to {url}, expecting a certificate for {host}");
        let name = host.try_into().map_err(|_| WsError::new(ErrorKind::Protocol, "not a name"))?;
        Ok(SslStream::client(stream, self.tls.clone(), name))
    }

    fn on_open(&mut self, _: Handshake) -> Result<()> {
        println!("client: open");
        self.out.send(GREETING)
    }

    fn on_message(&mut self, message: Message) -> Result<()> {
        println!("client: got {message:?}");
        self.echoed.set(message.as_text()? == GREETING);
        self.out.close(CloseCode::Normal)
    }

    fn on_close(&mut self, code: CloseCode, _: &str) {
        println!("client: closed with {code:?}");
    }

    fn on_error(&mut self, error: WsError) {
        println!("client: {error}");
    }
}

fn main() -> std::result::Result<(), Box<dyn Error>> {
    let own = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
    let key = own.signing_key.serialize_der().try_into()?;
    let server_tls =
        ServerConfig::builder().with_no_client_auth().with_single_cert(vec![own.cert.der().clone()], key)?;
    let mut roots = RootCertStore::empty();
    roots.add(own.cert.der().clone())?;
    let client_tls = Arc::new(ClientConfig::builder().with_root_certificates(roots).with_no_client_auth());

    // Where connections need different certificates, their handlers override `upgrade_ssl_server` instead.
    let server = WebSocket::new(|out: Sender| move |message| out.send(message))?
        .with_tls(Arc::new(server_tls))
        .bind("localhost:0")?;
    let url = format!("wss://localhost:{}", server.local_addr()?.port());
    println!("server: listening on {url}");
    let everyone = server.broadcaster();
    let server = thread::spawn(move || server.run().map(drop));

    let echoed = Cell::new(false);
    connect(url, |out| Client { out, tls: client_tls.clone(), echoed: &echoed })?;
    everyone.shutdown()?;
    server.join().map_err(|_| "the server panicked")??;
    println!("server: shut down");
    if echoed.get() { Ok(()) } else { Err("the message did not come back".into()) }
}
