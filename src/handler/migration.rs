//! What changes for a program that was written for the crate `ws`, which is called ws-rs here (0.9.2).
//!
//! Names, signatures and the order of callbacks are ws-rs's, and most programs need one changed line. What behaves
//! differently does so for a reason that is given below; numbers such as #178 are issues of ws-rs.
//!
//! # The one line
//!
//! ```no_run
//! use wireline::handler as ws; // before: extern crate ws;
//! use ws::{CloseCode, connect};
//!
//! connect("ws://127.0.0.1:3012", |out| {
//!     out.send("Hello WebSocket").unwrap();
//!     move |msg| {
//!         println!("Got message: {msg}");
//!         out.close(CloseCode::Normal)
//!     }
//! })
//! .unwrap();
//! ```
//!
//! Where more than one file says `ws`, or the edition is 2015, a facade does the same without any change in the sources: the
//! crate in `compat/ws` of this library's repository, whose name is `ws` and whose content is `pub use wireline::handler::*`.
//!
//! | in the manifest or the imports | before | now |
//! |---|---|---|
//! | the handle of a timeout | `mio_extras::timer::Timeout` | [`util::Timeout`](super::util::Timeout) |
//! | TLS | features `ssl` and `nativetls`; `openssl` or `native-tls` | feature `tls`, a default; `rustls` |
//! | logging | `log` | [`tracing`], which hands on to `log` where no subscriber is set, so that `env_logger` works; a filter such as `RUST_LOG=ws=debug` becomes `wireline=debug` |
//! | compression | feature `permessage-deflate`, `ws::deflate`, which aborts on a current Rust | feature `deflate`, a default; `wireline::handler::deflate` with the same names, bounded by `max_message_size` while it inflates |
//!
//! Additions are felt only by literals of [`Settings`](super::Settings) without `..Settings::default()`, which has five
//! more fields, by matches on [`ErrorKind`](super::ErrorKind) without `_`, where `Ssl` is always there and `SslHandshake`
//! never, and by hand-written wrappers of [`Handler`](super::Handler), which have
//! [`on_rejected`](super::Handler::on_rejected) to hand on.
//!
//! # Nobody checks the origin
//!
//! As in ws-rs, every page of the web may connect, with the cookies that the user's browser has for this server. A server that
//! goes by them asks where the page comes from:
//!
//! ```no_run
//! use wireline::handler::{Handler, Request, Response, Result};
//!
//! struct Server;
//!
//! impl Handler for Server {
//!     fn on_request(&mut self, req: &Request) -> Result<Response> {
//!         match req.origin()? {
//!             // Browsers always send one, other programs need not.
//!             None | Some("https://example.com") => Response::from_request(req),
//!             Some(_) => Ok(Response::new(403, "Forbidden", b"not from this page".to_vec())),
//!         }
//!     }
//! }
//! ```
//!
//! # Tests that assert inside of handlers
//!
//! A panic of a callback ended ws-rs's loop, and so the test. Here it ends its own connection: it is logged, goes to
//! [`on_error`](super::Handler::on_error) as `Internal`, and the peer gets Close 1011, while the others go on. Such a test
//! would pass whatever its assertions find. With this flag the panic comes out of `run` again:
//!
//! ```no_run
//! use wireline::handler::{Builder, Message, Sender, Settings};
//!
//! // before: ws::listen("127.0.0.1:3012", |out| …)
//! let settings = Settings { panic_on_internal: true, ..Settings::default() };
//! let server = Builder::new().with_settings(settings).build(|out: Sender| {
//!     move |msg: Message| {
//!         assert_eq!(msg.as_text()?, "Hello WebSocket");
//!         out.send(msg)
//!     }
//! })?;
//! server.listen("127.0.0.1:3012")?;
//! # Ok::<(), wireline::handler::Error>(())
//! ```
//!
//! # TLS
//!
//! The hooks have their names and parameters; what they return is a handshake that is about to happen, made with a
//! configuration of [rustls](https://docs.rs/rustls), instead of one that has happened. A server with one certificate needs no
//! hook: [`WebSocket::with_tls`](super::WebSocket::with_tls).
//!
//! ```no_run
//! use std::sync::Arc;
//! use wireline::handler::{Handler, Message, Result, Sender, util::{SslStream, TcpStream}};
//!
//! struct Server {
//!     out: Sender,
//!     tls: Arc<rustls::ServerConfig>, // before: Rc<openssl::ssl::SslAcceptor>
//! }
//!
//! impl Handler for Server {
//!     fn on_message(&mut self, msg: Message) -> Result<()> {
//!         self.out.send(msg)
//!     }
//!
//!     fn upgrade_ssl_server(&mut self, stream: TcpStream) -> Result<SslStream<TcpStream>> {
//!         Ok(SslStream::server(stream, self.tls.clone())) // before: self.tls.accept(stream).map_err(From::from)
//!     }
//! }
//! ```
//!
//! | ws-rs | here | why |
//! |---|---|---|
//! | the hooks return streams of openssl or native-tls over mio's TCP | an [`SslStream`](super::util::SslStream) over Tokio's TCP, for rustls | one back end, and one that works with every set of features |
//! | a client cannot connect to the `wss` URL of an IP address | it can | certificates name addresses too |
//!
//! # Opening a connection
//!
//! | ws-rs | here | why |
//! |---|---|---|
//! | a connection that cannot be made often fails in silence: 301 and 302 hang, a Close frame is sent to an HTTP server, which is then told in `on_close`, or a failure closes the connection that asked for it | always one `on_error` of the new handler, then `connection_lost`, and nothing else; the response is in `on_rejected` | #64 #294 |
//! | a server reads only the key of a request; `method_strict` has no effect | Upgrade, Connection, Host, key and version are checked (400, or 426 for the version), and the flag works | RFC 6455 section 4.2 |
//! | a client reads only the status of a response, and its key if `key_strict` is on | Upgrade, Connection, and whether it asked for the subprotocol and the extensions are checked too | RFC 6455 section 4.1 |
//! | a request or a response has at most 124 header lines | 64 from a peer, in at most 16 KiB | what a peer may cost |
//! | a server loses what the client sends right behind its request | it is read as frames | clients may do so |
//! | what is sent before the connection is open goes through `on_send_frame` before `on_open` | it waits until after the opening handshake | only then is it known which extensions there are |
//! | beyond `max_connections` an accepted connection is dropped | it is answered with 503 | the other end sees why |
//! | the last address of a name is tried first, the others on Linux only | in the resolver's order, until one works, on every platform | #64 #90 |
//! | `Host` always has a port; user name and password stay percent-encoded | the default port is left out; they are decoded | RFC 9110, RFC 7617 |
//! | `remove_protocol` and `remove_extension` keep what they should remove, and remove the rest | they remove it | a defect |
//! | the default `on_open` can fail | it is `Ok` | it only logs |
//!
//! # Sending and commands
//!
//! | ws-rs | here | why |
//! |---|---|---|
//! | a full queue blocks whoever sends, for ever if that is a handler | in a Tokio context, which every callback is, an error of kind `Queue` at once; other threads wait for room | #59 #219 |
//! | to send on a dead connection is `Ok` | also, but [`try_send`](super::Sender::try_send) and [`is_alive`](super::Sender::is_alive) tell | #316 |
//! | what waits for a slow peer grows without limit, whatever `out_buffer_grow` says | [`max_out_buffer`](super::Settings::max_out_buffer) limits it, and the flag works | RUSTSEC-2020-0043, #291 |
//! | pings above 125 bytes are sent, as are other frames that the RFC forbids | `ping` and `pong` fail; a control frame that a hook has made illegal is not sent; a Close code that may not travel goes out as a Close frame without payload | RFC 6455 sections 5.5, 7.4 |
//! | a timeout fires at the next tick of 100 ms, perhaps for another connection that has the same place by then; a broadcaster's never | when it is due, for the connection that asked; a broadcaster's for all | #75 #242 |
//!
//! # Receiving
//!
//! | ws-rs | here | why |
//! |---|---|---|
//! | a size is limited per frame, and Close 1002 if it is exceeded | per message too ([`max_message_size`](super::Settings::max_message_size), 16 MiB), and 1009 | #117 |
//! | the order of fragments, and whether text is UTF-8, are looked at late, after the hooks | at once; text without reserved bits before the hooks | RFC 6455 section 8.1: fail on the first wrong byte |
//! | after a fatal error it goes on to read, out of step | nothing more is delivered | such messages were never sent |
//!
//! # Ending
//!
//! | ws-rs | here | why |
//! |---|---|---|
//! | no time limits | [`handshake_timeout`](super::Settings::handshake_timeout) and [`close_timeout`](super::Settings::close_timeout), 10 s each; [`idle_timeout`](super::Settings::idle_timeout), off by default; and 30 s in which a peer takes nothing of what waits for it | silent peers kept their places for ever |
//! | `shutdown` drops Close frames that are not sent yet, calls no callbacks, and may panic while something connects | Close frames are sent and answered, within `close_timeout`, and every handler gets its callbacks | #178 #186 #308 |
//! | `panic_on_internal` is on, and a panic in a handler ends the loop with all connections | it is off, and both end their own connection | one connection must not end the others |
//! | Close codes 1012 to 1014 are refused | accepted | they are registered |
//! | codes 0 and 1016 to 2999, and Close payloads of one byte, are accepted in part; invalid ones never get `on_close` | answered with 1002; `on_close` gets `Abnormal` at the end | RFC 6455 section 7.4, and one sure callback at the end |
//! | the reason of a Close frame may be too long to travel; for errors it is "description() is deprecated" | it is cut to 123 bytes, and is the error's text | defects |
//! | SIGINT ends the process, although `shutdown_on_interrupt` says otherwise | the flag, which is on, shuts blocking runs down in order; a second SIGINT ends the process | what the flag promised |
//! | a second `run`, and to reconnect from the last callback, fail | both work | #211 |
//! | the default `on_error` prints where there is no logger | it logs | libraries do not print |
//! | `to_string` of a `Request` or `Response` panics if it is not UTF-8 | what is not is replaced | `Display` must not fail |
//!
//! # Inside of an async program
//!
//! [`run`](super::WebSocket::run), [`listen`](super::listen()) and [`connect`](super::connect()) block their thread, as they did.
//! Where there is a Tokio runtime already, [`serve`](super::WebSocket::serve), [`run_async`](super::WebSocket::run_async) and
//! [`connect_async`](super::connect_async()) are their futures, and [`Attach`](super::Attach) runs one handler over a stream that
//! another library has opened.
