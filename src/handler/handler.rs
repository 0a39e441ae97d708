use std::io;

use url::Url;

use crate::{
    Role,
    handler::{
        CloseCode, Error, ErrorKind, Frame, Handshake, Message, Request, Response, Result,
        util::{SslStream, TcpStream, Timeout, Token},
    },
    logging::{Escaped, Log},
    proto::deflate::DeflateConfig,
    tls::Session,
    websocket::now,
};

/// What an application does with one connection.
///
/// Every method has a default, so a handler has those it needs. Callbacks of one connection never overlap. One that takes
/// long holds up its connection, and in [`run`](crate::handler::WebSocket::run) all others too.
///
/// Every closure from a [`Message`] to a [`Result`] is a handler.
///
/// # Errors and panics
///
/// An `Err` of a callback goes to [`on_error`](Self::on_error) first; what becomes of the connection then depends on its
/// kind, once the connection is open:
///
/// | kind | what happens |
/// |---|---|
/// | `Internal` | Close 1011 |
/// | `Capacity`, `Protocol`, `Encoding` | Close 1009, 1002, 1007 |
/// | `Io`, `Ssl`, `Http` | the connection is cut |
/// | `Custom`, `Queue` | nothing; it goes on |
///
/// A panic ends its own connection as `Internal` does. [`Settings`](crate::handler::Settings) has flags by which a kind of
/// error panics instead, out of [`run`](crate::handler::WebSocket::run).
///
/// # Examples
///
/// A server that sends a Pong every five seconds, so that proxies on the way see traffic:
///
/// ```no_run
/// use wireline::handler::{listen, util::Token, Error, ErrorKind, Handler, Handshake, Message, Result, Sender};
///
/// const GRATI: Token = Token(1);
///
/// struct Server {
///     ws: Sender,
/// }
///
/// impl Handler for Server {
///     fn on_open(&mut self, _: Handshake) -> Result<()> {
///         self.ws.timeout(5_000, GRATI)
///     }
///
///     fn on_message(&mut self, msg: Message) -> Result<()> {
///         println!("{msg}");
///         Ok(())
///     }
///
///     fn on_timeout(&mut self, event: Token) -> Result<()> {
///         if event == GRATI {
///             self.ws.pong(vec![])?;
///             self.ws.timeout(5_000, GRATI)
///         } else {
///             Err(Error::new(ErrorKind::Internal, "Invalid timeout token encountered!"))
///         }
///     }
/// }
///
/// listen("127.0.0.1:3012", |ws| Server { ws })?;
/// # Ok::<(), wireline::handler::Error>(())
/// ```
///
/// A server that pings every five seconds, and closes a connection on which nothing arrived for thirty:
///
/// ```no_run
/// use wireline::handler::{
///     listen, util::{Timeout, Token}, CloseCode, Error, ErrorKind, Frame, Handler, Handshake, Result, Sender,
/// };
///
/// const PING: Token = Token(1);
/// const EXPIRE: Token = Token(2);
///
/// struct Server {
///     ws: Sender,
///     timeout: Option<Timeout>,
/// }
///
/// impl Handler for Server {
///     fn on_open(&mut self, _: Handshake) -> Result<()> {
///         self.ws.timeout(5_000, PING)?;
///         self.ws.timeout(30_000, EXPIRE)
///     }
///
///     fn on_timeout(&mut self, event: Token) -> Result<()> {
///         match event {
///             PING => {
///                 self.ws.ping(vec![])?;
///                 self.ws.timeout(5_000, PING)
///             }
///             EXPIRE => self.ws.close(CloseCode::Away),
///             _ => Err(Error::new(ErrorKind::Internal, "Invalid timeout token encountered!")),
///         }
///     }
///
///     fn on_new_timeout(&mut self, event: Token, timeout: Timeout) -> Result<()> {
///         if event == EXPIRE {
///             if let Some(earlier) = self.timeout.take() {
///                 self.ws.cancel(earlier)?;
///             }
///             self.timeout = Some(timeout);
///         }
///         Ok(())
///     }
///
///     fn on_frame(&mut self, frame: Frame) -> Result<Option<Frame>> {
///         self.ws.timeout(30_000, EXPIRE)?;
///         Ok(Some(frame))
///     }
/// }
///
/// listen("127.0.0.1:3012", |ws| Server { ws, timeout: None })?;
/// # Ok::<(), wireline::handler::Error>(())
/// ```
pub trait Handler {
    /// The `WebSocket` shuts down. This connection is closed with 1001 next; no message is delivered any more.
    fn on_shutdown(&mut self) {
        tracing::debug!("handler: shutting down");
    }

    /// The opening handshake is done: messages may be sent and will arrive.
    ///
    /// # Errors
    ///
    /// See [`Handler`].
    fn on_open(&mut self, shake: Handshake) -> Result<()> {
        tracing::debug!(peer = ?shake.peer_addr, "handler: open");
        Ok(())
    }

    /// A message arrived.
    ///
    /// # Errors
    ///
    /// See [`Handler`].
    fn on_message(&mut self, msg: Message) -> Result<()> {
        tracing::trace!(length = msg.len(), "handler: message");
        Ok(())
    }

    /// The connection has closed, or will have in a moment: exactly once for each that was opened. `code` and `reason` are
    /// the peer's; [`CloseCode::Status`] if its Close frame had none, [`CloseCode::Abnormal`] if there was no valid Close
    /// frame.
    fn on_close(&mut self, code: CloseCode, reason: &str) {
        tracing::debug!(?code, reason = %Escaped(reason), "handler: closed");
    }

    /// Something went wrong: on the connection, or in a callback. It comes before the [`on_close`](Self::on_close) that it
    /// leads to.
    fn on_error(&mut self, err: Error) {
        match &err.kind {
            ErrorKind::Io(error) if error.kind() == io::ErrorKind::ConnectionReset => {}
            _ => Log::shared().handler_failed(now(), &err),
        }
    }

    /// A server answers a request. A [`Response`] other than 101 is sent with its body and ends the connection, so pages
    /// can be served beside WebSockets. A 101 goes out only if the request is an opening handshake by RFC 6455 section 4.2.
    ///
    /// ```
    /// use wireline::handler::{Handler, Request, Response, Result};
    ///
    /// struct Server;
    ///
    /// impl Handler for Server {
    ///     fn on_request(&mut self, req: &Request) -> Result<Response> {
    ///         let mut res = Response::from_request(req)?;
    ///         if let Some(extension) = req.extensions()?.iter().find(|name| name.contains("myextension-name")) {
    ///             res.add_extension(extension);
    ///         }
    ///         Ok(res)
    ///     }
    /// }
    /// ```
    ///
    /// # Errors
    ///
    /// `Protocol` is answered with 400, `Io` and `Ssl` with silence, all else with 500; the text is the body.
    fn on_request(&mut self, req: &Request) -> Result<Response> {
        Response::from_request(req)
    }

    /// A client got the response that opens its connection.
    ///
    /// # Errors
    ///
    /// The connection is closed again, without [`on_open`](Self::on_open) and [`on_close`](Self::on_close).
    fn on_response(&mut self, res: &Response) -> Result<()> {
        tracing::debug!(status = res.status(), "handler: response");
        Ok(())
    }

    /// A client got a response that does not open its connection: a refusal, a redirect, a page.
    /// [`on_error`](Self::on_error) follows.
    fn on_rejected(&mut self, res: &Response) {
        tracing::debug!(status = res.status(), "handler: rejected");
    }

    /// A timeout of [`Sender::timeout`](crate::handler::Sender::timeout) has passed.
    ///
    /// # Errors
    ///
    /// See [`Handler`].
    fn on_timeout(&mut self, event: Token) -> Result<()> {
        tracing::debug!(?event, "handler: timeout");
        Ok(())
    }

    /// A timeout was scheduled; keep `timeout` to cancel it by.
    ///
    /// # Errors
    ///
    /// See [`Handler`].
    fn on_new_timeout(&mut self, event: Token, timeout: Timeout) -> Result<()> {
        tracing::trace!(?event, ?timeout, "handler: new timeout");
        Ok(())
    }

    /// A frame arrived, unmasked: each fragment, each control frame. What is returned is taken in its place; `None` drops
    /// it, a Ping with its Pong, a Close with its answer.
    ///
    /// By default reserved bits are refused; a handler that overrides this accepts them.
    ///
    /// # Errors
    ///
    /// See [`Handler`].
    fn on_frame(&mut self, frame: Frame) -> Result<Option<Frame>> {
        refuse_reserved_bits(&frame)?;
        Ok(Some(frame))
    }

    /// A frame is about to be sent: a whole message, before it is cut into fragments and masked, or a control frame,
    /// automatic Pongs and every Close included. What is returned is sent in its place; `None` sends nothing.
    ///
    /// By default reserved bits are refused.
    ///
    /// # Errors
    ///
    /// See [`Handler`].
    fn on_send_frame(&mut self, frame: Frame) -> Result<Option<Frame>> {
        refuse_reserved_bits(&frame)?;
        Ok(Some(frame))
    }

    /// A client makes its request.
    ///
    /// ```
    /// use wireline::handler::{Handler, Request, Result};
    ///
    /// struct Client;
    ///
    /// impl Handler for Client {
    ///     fn build_request(&mut self, url: &url::Url) -> Result<Request> {
    ///         let mut req = Request::from_url(url)?;
    ///         req.add_extension("permessage-deflate; client_max_window_bits");
    ///         Ok(req)
    ///     }
    /// }
    /// ```
    ///
    /// # Errors
    ///
    /// The connection is not made; [`on_error`](Self::on_error) follows.
    fn build_request(&mut self, url: &Url) -> Result<Request> {
        Request::from_url(url)
    }

    /// A client of a `wss` URL says how to do TLS over `stream`. By default with Mozilla's root certificates, for the URL's
    /// host. This needs the feature `tls`.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use wireline::handler::{Error, ErrorKind, Handler, Result, util::{SslStream, TcpStream}};
    ///
    /// struct Client {
    ///     tls: Arc<rustls::ClientConfig>,
    /// }
    ///
    /// impl Handler for Client {
    ///     fn upgrade_ssl_client(&mut self, stream: TcpStream, _: &url::Url) -> Result<SslStream<TcpStream>> {
    ///         let name = "internal.example".try_into().map_err(|_| Error::new(ErrorKind::Protocol, "no name"))?;
    ///         Ok(SslStream::client(stream, self.tls.clone(), name))
    ///     }
    /// }
    /// ```
    ///
    /// # Errors
    ///
    /// The connection is not made; [`on_error`](Self::on_error) follows.
    fn upgrade_ssl_client(&mut self, stream: TcpStream, url: &Url) -> Result<SslStream<TcpStream>> {
        let host = match url.host() {
            Some(url::Host::Domain(name)) => name.to_owned(),
            Some(url::Host::Ipv4(address)) => address.to_string(),
            Some(url::Host::Ipv6(address)) => address.to_string(),
            None => return Err(Error::new(ErrorKind::Protocol, "the URL has no host to verify a certificate for")),
        };
        let session = Session::to(&host).map_err(|error| Error::new(ErrorKind::Protocol, error.to_string()))?;
        Ok(SslStream::new(stream, session))
    }

    /// A server with [`encrypt_server`](crate::handler::Settings::encrypt_server) says how to do TLS over `stream`. By
    /// default with the configuration of [`with_tls`](crate::handler::WebSocket::with_tls).
    ///
    /// # Errors
    ///
    /// The connection is dropped; [`on_error`](Self::on_error) follows.
    fn upgrade_ssl_server(&mut self, stream: TcpStream) -> Result<SslStream<TcpStream>> {
        Ok(SslStream::server_default(stream))
    }

    /// What this handler looks at. [`on_frame`](Self::on_frame) and [`on_send_frame`](Self::on_send_frame) are called only
    /// where it is [`Observes::Frames`], the default; a handler that implements neither may say
    /// [`Observes::Messages`], and each of its messages costs less. It is asked once, before the connection is open.
    ///
    /// ```no_run
    /// use wireline::handler::{Handler, Message, Observes, Result, Sender, listen};
    ///
    /// struct Echo(Sender);
    ///
    /// impl Handler for Echo {
    ///     fn on_message(&mut self, msg: Message) -> Result<()> {
    ///         self.0.send(msg)
    ///     }
    ///
    ///     fn observes(&self) -> Observes {
    ///         Observes::Messages
    ///     }
    /// }
    ///
    /// listen("127.0.0.1:3012", Echo)?;
    /// # Ok::<(), wireline::handler::Error>(())
    /// ```
    fn observes(&self) -> Observes {
        Observes::Frames
    }

    /// How the messages of this connection are compressed: for a `DeflateHandler` to say.
    #[doc(hidden)]
    fn compression(&self, _: Role) -> Option<Compressed> {
        None
    }
}

/// What a [`Handler`] looks at: see [`Handler::observes`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "there is nothing else that passes")]
pub enum Observes {
    /// Every frame, both ways, and messages.
    #[default]
    Frames,
    /// Messages only.
    Messages,
}

/// What a `DeflateHandler` asks for.
#[doc(hidden)]
#[derive(Clone, Debug, PartialEq)]
pub struct Compressed {
    /// Always there; an option, because without the feature there is no value of the other type.
    pub(crate) deflate: Option<DeflateConfig>,
    pub(crate) max_fragments: Option<u64>,
}

fn refuse_reserved_bits(frame: &Frame) -> Result<()> {
    if frame.has_rsv1() || frame.has_rsv2() || frame.has_rsv3() {
        let details = "reserved bit set without an extension (RFC 6455 section 5.2)";
        return Err(Error::new(ErrorKind::Protocol, details));
    }
    Ok(())
}

impl<F> Handler for F
where
    F: FnMut(Message) -> Result<()>,
{
    #[inline(always)]
    fn on_message(&mut self, msg: Message) -> Result<()> {
        self(msg)
    }

    /// A closure has no hooks.
    fn observes(&self) -> Observes {
        Observes::Messages
    }
}
