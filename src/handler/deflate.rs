//! Compression of messages (permessage-deflate, RFC 7692) for handlers.
//!
//! A [`DeflateHandler`] around a handler is all it takes: a client then offers compression, a server accepts it where it is
//! offered, and the handler's own hooks see frames as they are without it, each message as one frame.
//!
//! ```no_run
//! use wireline::handler::{deflate::DeflateHandler, listen, Message};
//! listen("127.0.0.1:3012", |out| DeflateHandler::new(move |message: Message| out.send(message)))?;
//! # Ok::<(), wireline::handler::Error>(())
//! ```

use url::Url;

use crate::{
    Role,
    handler::{
        CloseCode, Compressed, Error, Frame, Handler, Handshake, Message, Observes, Request, Response, Result,
        util::{SslStream, TcpStream, Timeout, Token},
    },
    proto::deflate::{ContextTakeover, DeflateConfig},
};

/// A handler whose connection compresses messages where the peer agrees.
///
/// Inflating stops at [`max_message_size`](crate::handler::Settings::max_message_size), with
/// [`ErrorKind::Capacity`](crate::handler::ErrorKind::Capacity). Messages below 128 bytes go out as they are.
#[derive(Clone, Debug)]
pub struct DeflateHandler<H: Handler> {
    inner: H,
    settings: DeflateSettings,
}

impl<H: Handler> DeflateHandler<H> {
    /// Around `handler`, with all defaults.
    pub fn new(handler: H) -> Self {
        DeflateBuilder::new().build(handler)
    }
}

/// Makes [`DeflateHandler`]s with settings of choice.
///
/// ```
/// use wireline::handler::{deflate::{DeflateBuilder, DeflateSettings}, Message};
/// let settings = DeflateSettings { max_window_bits: 12, ..DeflateSettings::default() };
/// let handler = DeflateBuilder::new().with_settings(settings).build(|message: Message| {
///     println!("{message}");
///     Ok(())
/// });
/// # drop(handler);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct DeflateBuilder {
    settings: DeflateSettings,
}

impl DeflateBuilder {
    /// With all defaults.
    #[must_use]
    pub fn new() -> Self {
        Self { settings: DeflateSettings::default() }
    }

    /// Sets the settings.
    pub const fn with_settings(&mut self, settings: DeflateSettings) -> &mut Self {
        self.settings = settings;
        self
    }

    /// A handler around this one.
    pub fn build<H: Handler>(&self, handler: H) -> DeflateHandler<H> {
        DeflateHandler { inner: handler, settings: self.settings }
    }
}

impl Default for DeflateBuilder {
    fn default() -> Self {
        Self::new()
    }
}

/// The settings of compression.
///
/// ```
/// let settings = wireline::handler::deflate::DeflateSettings::default();
/// assert_eq!((settings.max_window_bits, settings.accept_no_context_takeover), (15, true));
/// ```
#[derive(Clone, Copy, Debug)]
#[expect(clippy::exhaustive_structs, reason = "programs write literals of it, as they did for ws-rs")]
pub struct DeflateSettings {
    /// The window of both compressors, as the power of two of its bytes. Default 15; 9 to 15, and what is beyond counts as
    /// the nearer of them.
    pub max_window_bits: u8,
    /// Whether the peer is asked to let no message refer to earlier ones, which saves memory here: as many bytes as the
    /// window has. Default false.
    pub request_no_context_takeover: bool,
    /// Whether the peer may ask that of us. Default true. If false, a server leaves such a connection uncompressed, and a
    /// client fails the handshake with [`ErrorKind::Protocol`](crate::handler::ErrorKind::Protocol).
    pub accept_no_context_takeover: bool,
    /// Continuation frames of one compressed message while `fragments_grow` is false. Default 10.
    pub fragments_capacity: usize,
    /// Whether there may be more. Default true. If false, one more is
    /// [`ErrorKind::Capacity`](crate::handler::ErrorKind::Capacity).
    pub fragments_grow: bool,
}

impl Default for DeflateSettings {
    fn default() -> Self {
        Self {
            max_window_bits: 15,
            request_no_context_takeover: false,
            accept_no_context_takeover: true,
            fragments_capacity: 10,
            fragments_grow: true,
        }
    }
}

impl DeflateSettings {
    /// What they mean to the core, for one end or the other.
    fn config(&self, role: Role) -> DeflateConfig {
        let bits = self.max_window_bits.clamp(9, 15);
        let ours = if self.accept_no_context_takeover { ContextTakeover::Allowed } else { ContextTakeover::Required };
        let peers = if self.request_no_context_takeover { ContextTakeover::Refused } else { ContextTakeover::Allowed };
        let (server, client) = match role {
            Role::Server => (ours, peers),
            Role::Client => (peers, ours),
        };
        DeflateConfig {
            server_max_window_bits: bits,
            client_max_window_bits: bits,
            server_context_takeover: server,
            client_context_takeover: client,
            ..DeflateConfig::default()
        }
    }
}

impl<H: Handler> Handler for DeflateHandler<H> {
    fn on_shutdown(&mut self) {
        self.inner.on_shutdown();
    }

    fn on_open(&mut self, shake: Handshake) -> Result<()> {
        self.inner.on_open(shake)
    }

    fn on_message(&mut self, msg: Message) -> Result<()> {
        self.inner.on_message(msg)
    }

    fn on_close(&mut self, code: CloseCode, reason: &str) {
        self.inner.on_close(code, reason);
    }

    fn on_error(&mut self, err: Error) {
        self.inner.on_error(err);
    }

    fn on_request(&mut self, req: &Request) -> Result<Response> {
        self.inner.on_request(req)
    }

    fn on_response(&mut self, res: &Response) -> Result<()> {
        self.inner.on_response(res)
    }

    fn on_rejected(&mut self, res: &Response) {
        self.inner.on_rejected(res);
    }

    fn on_timeout(&mut self, event: Token) -> Result<()> {
        self.inner.on_timeout(event)
    }

    fn on_new_timeout(&mut self, event: Token, timeout: Timeout) -> Result<()> {
        self.inner.on_new_timeout(event, timeout)
    }

    fn on_frame(&mut self, frame: Frame) -> Result<Option<Frame>> {
        self.inner.on_frame(frame)
    }

    fn on_send_frame(&mut self, frame: Frame) -> Result<Option<Frame>> {
        self.inner.on_send_frame(frame)
    }

    fn build_request(&mut self, url: &Url) -> Result<Request> {
        self.inner.build_request(url)
    }

    fn upgrade_ssl_client(&mut self, stream: TcpStream, url: &Url) -> Result<SslStream<TcpStream>> {
        self.inner.upgrade_ssl_client(stream, url)
    }

    fn upgrade_ssl_server(&mut self, stream: TcpStream) -> Result<SslStream<TcpStream>> {
        self.inner.upgrade_ssl_server(stream)
    }

    fn observes(&self) -> Observes {
        self.inner.observes()
    }

    fn compression(&self, role: Role) -> Option<Compressed> {
        let fragments = if self.settings.fragments_grow { None } else { Some(self.settings.fragments_capacity as u64) };
        Some(Compressed { deflate: Some(self.settings.config(role)), max_fragments: fragments })
    }
}
