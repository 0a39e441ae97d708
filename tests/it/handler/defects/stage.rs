//! What these tests share: a handler that notes what it is told, the thread of a blocking run, and peers whose every byte a
//! test decides.

use std::{net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpSocket, TcpStream},
    sync::{oneshot, watch},
    time::timeout,
};
use url::Url;
use wireline::{
    Role,
    handler::{
        Attach, Builder, CloseCode, Error, ErrorKind, Factory, Handler, Handshake, Message, Result, Sender, Settings,
        WebSocket,
        util::{Timeout, Token},
    },
    proto::{Mask, Opcode},
};

use crate::support::{
    alloc::uncounted,
    peer::{After, Peer},
    row,
    script::{Delivery, Keys, Script},
};

/// Anything that takes longer never ends: the test fails with a message.
const PATIENCE: Duration = Duration::from_secs(30);

pub(super) const REQUEST: &str = "GET /chat HTTP/1.1\r\nHost: example.com\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";

/// Handlers look at its `Sec-WebSocket-Accept` with `key_strict` only, so that there is none.
pub(super) const RESPONSE: &str =
    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n";

pub(super) async fn within<T>(what: &str, awaited: impl Future<Output = T>) -> T {
    timeout(PATIENCE, awaited).await.unwrap_or_else(|_| panic!("in vain: {what}"))
}

/// What handlers and their factory were told, each with the number of its connection.
#[derive(Clone, Debug)]
pub(super) struct Log(watch::Sender<Vec<(u32, String)>>);

impl Log {
    pub(super) fn new() -> Self {
        Self(watch::Sender::new(Vec::new()))
    }

    pub(super) fn note(&self, id: u32, what: impl Into<String>) {
        uncounted(|| self.0.send_modify(|entries| entries.push((id, what.into()))));
    }

    /// What that connection was told.
    pub(super) fn of(&self, id: u32) -> Vec<String> {
        self.0.borrow().iter().filter(|(whose, _)| *whose == id).map(|(_, what)| what.clone()).collect()
    }

    /// Waits until that connection has been told this.
    pub(super) async fn until(&self, id: u32, what: &str) {
        self.wait(what, |entries| entries.iter().any(|(whose, told)| *whose == id && told == what)).await;
    }

    /// Waits until so many connections have been told this.
    pub(super) async fn until_all(&self, count: usize, what: &str) {
        self.wait(what, |entries| entries.iter().filter(|(_, told)| told == what).count() >= count).await;
    }

    async fn wait(&self, what: &str, met: impl FnMut(&Vec<(u32, String)>) -> bool) {
        let mut entries = self.0.subscribe();
        let waited = timeout(PATIENCE, entries.wait_for(met)).await.is_ok();
        assert!(waited, "in vain: {what:?} in {:?}", self.0.borrow());
    }
}

/// A call of a handler, to react to.
pub(super) enum Call<'a> {
    Open,
    Message(&'a Message),
    Timeout(Token),
    NewTimeout(&'a Timeout),
    Close,
    Error,
    Shutdown,
    /// The factory's `connection_lost`.
    Lost,
}

/// Makes handlers that note what they are told and react to it.
#[derive(Clone, Debug)]
pub(super) struct Recording<R> {
    log: Log,
    react: R,
}

pub(super) const fn recording<R>(log: Log, react: R) -> Recording<R>
where
    R: FnMut(&Sender, Call<'_>) -> Result<()> + Clone,
{
    Recording { log, react }
}

/// Reacts to nothing.
pub(super) const fn listens(_: &Sender, _: Call<'_>) -> Result<()> {
    Ok(())
}

/// Reacts to a message by sending it back.
pub(super) fn echoes(out: &Sender, call: Call<'_>) -> Result<()> {
    if let Call::Message(message) = call { out.send(message.clone()) } else { Ok(()) }
}

/// The handler of a [`Recording`].
#[derive(Debug)]
pub(super) struct Recorded<R> {
    out: Sender,
    log: Log,
    react: R,
}

impl<R: FnMut(&Sender, Call<'_>) -> Result<()>> Recorded<R> {
    pub(super) const fn new(out: Sender, log: Log, react: R) -> Self {
        Self { out, log, react }
    }

    fn told(&mut self, what: impl Into<String>, call: Call<'_>) -> Result<()> {
        self.log.note(self.out.connection_id(), what);
        (self.react)(&self.out, call)
    }
}

impl<R: FnMut(&Sender, Call<'_>) -> Result<()> + Clone> Factory for Recording<R> {
    type Handler = Recorded<R>;

    fn connection_made(&mut self, out: Sender) -> Self::Handler {
        Recorded::new(out, self.log.clone(), self.react.clone())
    }

    fn connection_lost(&mut self, mut handler: Self::Handler) {
        let _ = handler.told("lost", Call::Lost);
    }

    fn on_shutdown(&mut self) {
        self.log.note(FACTORY, "shutdown");
    }
}

/// The number under which the factory's own `on_shutdown` is noted.
pub(super) const FACTORY: u32 = u32::MAX;

impl<R: FnMut(&Sender, Call<'_>) -> Result<()>> Handler for Recorded<R> {
    fn on_shutdown(&mut self) {
        let _ = self.told("shutdown", Call::Shutdown);
    }

    fn on_open(&mut self, _: Handshake) -> Result<()> {
        self.told("open", Call::Open)
    }

    fn on_message(&mut self, msg: Message) -> Result<()> {
        let told = match &msg {
            Message::Text(text) => format!("message {text}"),
            Message::Binary(bytes) => format!("message of {} bytes", bytes.len()),
        };
        self.told(told, Call::Message(&msg))
    }

    fn on_close(&mut self, code: CloseCode, reason: &str) {
        let _ = self.told(format!("close {} {reason}", u16::from(code)).trim_end(), Call::Close);
    }

    fn on_error(&mut self, err: Error) {
        let _ = self.told(format!("error {}", kind(&err)), Call::Error);
    }

    fn on_timeout(&mut self, event: Token) -> Result<()> {
        self.told(format!("timeout {}", event.0), Call::Timeout(event))
    }

    fn on_new_timeout(&mut self, event: Token, timeout: Timeout) -> Result<()> {
        self.told(format!("new timeout {}", event.0), Call::NewTimeout(&timeout))
    }
}

pub(super) fn kind(error: &Error) -> String {
    match &error.kind {
        ErrorKind::Internal => "Internal".to_owned(),
        ErrorKind::Capacity => "Capacity".to_owned(),
        ErrorKind::Protocol => "Protocol".to_owned(),
        ErrorKind::Encoding(_) => "Encoding".to_owned(),
        ErrorKind::Io(error) => format!("Io({:?})", error.kind()),
        ErrorKind::Http(_) => "Http".to_owned(),
        ErrorKind::Queue(error) => format!("Queue({error:?})"),
        ErrorKind::Ssl(_) => "Ssl".to_owned(),
        ErrorKind::Custom(_) => "Custom".to_owned(),
    }
}

/// Something that blocks, on a thread of its own.
#[derive(Debug)]
pub(super) struct Running<T>(oneshot::Receiver<T>);

impl<T: Send + 'static> Running<T> {
    pub(super) fn start(run: impl FnOnce() -> T + Send + 'static) -> Self {
        let (tell, ended) = oneshot::channel();
        std::thread::spawn(move || tell.send(run()));
        Self(ended)
    }

    pub(super) async fn returns(self) -> T {
        within("the blocking call returns", self.0).await.expect("it does not panic")
    }
}

/// How much of a processor this thread needs for something, to a hundredth of a second.
#[cfg(target_os = "linux")]
pub(super) fn processor_time<T>(run: impl FnOnce() -> T) -> (T, Duration) {
    // By proc_pid_stat(5): user and system time are the 12th and 13th numbers behind the name, in hundredths.
    let used = || {
        let stat = std::fs::read_to_string("/proc/thread-self/stat").expect("Linux");
        let numbers = stat.rsplit(')').next().unwrap_or_default().split_whitespace().skip(11).take(2);
        numbers.map(|number| number.parse::<u64>().expect("a number")).sum::<u64>()
    };
    let before = used();
    let result = run();
    (result, Duration::from_millis(10 * (used() - before)))
}

/// A blocking run that listens.
#[derive(Debug)]
pub(super) struct Listening<F: Factory> {
    pub(super) address: SocketAddr,
    pub(super) sender: Sender,
    run: Running<Result<WebSocket<F>>>,
}

pub(super) fn build<F: Factory>(settings: Settings, factory: F) -> WebSocket<F> {
    Builder::new().with_settings(settings).build(factory).expect("a WebSocket")
}

pub(super) fn listen<F: Factory + Send + 'static>(settings: Settings, factory: F) -> Listening<F> {
    Listening::run(build(settings, factory).bind("127.0.0.1:0").expect("a port"))
}

impl<F: Factory + Send + 'static> Listening<F> {
    pub(super) fn run(ws: WebSocket<F>) -> Self {
        let address = ws.local_addr().expect("it listens");
        Self { address, sender: ws.broadcaster(), run: Running::start(|| ws.run()) }
    }

    pub(super) async fn shut_down(self) -> WebSocket<F> {
        self.sender.shutdown().expect("it is there");
        self.returns().await
    }

    pub(super) async fn returns(self) -> WebSocket<F> {
        self.run.returns().await.expect("the run is no error")
    }
}

/// A blocking run that is a client of this address.
pub(super) fn connect<F: Factory + Send + 'static>(
    settings: Settings,
    address: SocketAddr,
    factory: F,
) -> (Sender, Running<Result<WebSocket<F>>>) {
    let mut ws = build(settings, factory);
    ws.connect(url(address)).expect("queued");
    (ws.broadcaster(), Running::start(|| ws.run()))
}

pub(super) fn url(address: SocketAddr) -> Url {
    Url::parse(&format!("ws://{address}/")).expect("a URL")
}

/// A listener that the test accepts from.
pub(super) async fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    (listener, address)
}

/// An address that refuses, as long as the socket that has it and does not listen is there.
pub(super) fn refusing() -> (TcpSocket, SocketAddr) {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind("127.0.0.1:0".parse().expect("an address")).expect("a port");
    let address = socket.local_addr().expect("an address");
    (socket, address)
}

/// The other end of a connection.
#[derive(Debug)]
pub(super) struct Wire<S = TcpStream>(pub(super) S);

impl Wire {
    pub(super) async fn to(address: SocketAddr) -> Self {
        Self(within("a TCP connection", TcpStream::connect(address)).await.expect("connected"))
    }

    /// A client whose connection is open.
    pub(super) async fn open(address: SocketAddr) -> Self {
        let mut wire = Self::to(address).await;
        wire.send(REQUEST).await;
        wire.opened().await;
        wire
    }

    pub(super) async fn from(listener: &TcpListener) -> Self {
        Self(within("a client", listener.accept()).await.expect("accepted").0)
    }

    /// A server whose connection is open.
    pub(super) async fn accept(listener: &TcpListener) -> Self {
        let mut wire = Self::from(listener).await;
        wire.head().await;
        wire.send(RESPONSE).await;
        wire
    }
}

impl<S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin> Wire<S> {
    pub(super) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let sent = async {
            self.0.write_all(bytes.as_ref()).await?;
            self.0.flush().await
        };
        within("room to write", sent).await.expect("sent");
    }

    /// Reads a head up to its empty line.
    pub(super) async fn head(&mut self) -> String {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(within("the rest of a head", self.0.read_u8()).await.expect("a byte of the head"));
        }
        String::from_utf8(head).expect("text")
    }

    pub(super) async fn opened(&mut self) {
        let head = self.head().await;
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    }

    pub(super) async fn reads(&mut self, expected: impl AsRef<[u8]>) {
        let expected = expected.as_ref();
        let mut found = vec![0; expected.len()];
        within("bytes to read", self.0.read_exact(&mut found)).await.expect("bytes");
        assert!(found == expected, "read {}, not {}", shown(&found), shown(expected));
    }

    /// Reads a short frame of a client: its first byte, and its payload.
    pub(super) async fn client_frame(&mut self) -> (u8, Vec<u8>) {
        let read = async {
            let (first, second) = (self.0.read_u8().await?, self.0.read_u8().await?);
            let mut key = [0; 4];
            self.0.read_exact(&mut key).await?;
            let mut payload = vec![0; usize::from(second & 0x7f)];
            self.0.read_exact(&mut payload).await?;
            Mask::new(key).apply(&mut payload, 0);
            std::io::Result::Ok((first, payload))
        };
        within("a client's frame", read).await.expect("a frame")
    }

    /// Reads until the end, be it a reset.
    pub(super) async fn rest(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        let _ = within("the end", self.0.read_to_end(&mut rest)).await;
        rest
    }

    /// Sends a message and reads it again.
    pub(super) async fn is_echoed(&mut self, text: &str) {
        self.send(masked(0x81, text)).await;
        self.reads(unmasked(0x81, text)).await;
    }
}

fn shown(bytes: &[u8]) -> String {
    bytes[..bytes.len().min(80)].escape_ascii().to_string()
}

/// A client's frame, masked with the key that changes nothing.
pub(super) fn masked(first: u8, payload: impl AsRef<[u8]>) -> Vec<u8> {
    frame(first, Some([0; 4]), payload.as_ref())
}

/// A server's frame.
pub(super) fn unmasked(first: u8, payload: impl AsRef<[u8]>) -> Vec<u8> {
    frame(first, None, payload.as_ref())
}

fn frame(first: u8, key: Option<[u8; 4]>, payload: &[u8]) -> Vec<u8> {
    let mask = if key.is_some() { 0x80 } else { 0 };
    let mut frame = vec![first];
    match payload.len() {
        len @ 0..126 => frame.push(mask | u8::try_from(len).expect("less than 126")),
        len => {
            frame.push(mask | 126);
            frame.extend(u16::try_from(len).expect("less than 65,536").to_be_bytes());
        }
    }
    frame.extend(key.into_iter().flatten());
    frame.extend(payload);
    frame
}

/// The payload of a Close frame.
pub(super) fn farewell(code: u16, reason: &str) -> Vec<u8> {
    [&code.to_be_bytes(), reason.as_bytes()].concat()
}

/// A handler of an open connection over a stream in memory, whose peer follows a script.
#[derive(Clone, Debug)]
pub(super) struct Scene {
    pub(super) role: Role,
    pub(super) script: Script,
    pub(super) after: After,
    pub(super) settings: Settings,
}

/// What it came to: what the handler was told, and the frames on the wire.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) told: Vec<String>,
    pub(super) wire: Vec<(Opcode, Vec<u8>)>,
    pub(super) peer: Peer,
}

impl Scene {
    pub(super) fn new(role: Role, script: Script) -> Self {
        Self { role, script, after: After::EndOnClose, settings: Settings::default() }
    }

    /// On a paused clock.
    pub(super) fn play(self, react: impl FnMut(&Sender, Call<'_>) -> Result<()>) -> Outcome {
        row::runtime().block_on(self.run(react))
    }

    pub(super) async fn run(self, react: impl FnMut(&Sender, Call<'_>) -> Result<()>) -> Outcome {
        let Self { role, script, after, settings } = self;
        let peer = Peer::new(script.source(Keys::for_role(role)[0], Delivery::Whole), after);
        peer.measure();
        let log = Log::new();
        let attach = attach(role).settings(settings);
        attach.run(peer.clone(), |out| Recorded::new(out, log.clone(), react)).await.expect("it runs");
        let frames = peer.frames(role).expect("frames that a peer understands");
        let wire = frames.into_iter().map(|frame| (frame.opcode, frame.payload.to_vec())).collect();
        Outcome { told: log.of(0), wire, peer }
    }
}

pub(super) const fn attach(role: Role) -> Attach {
    match role {
        Role::Server => Attach::server(),
        Role::Client => Attach::client(),
    }
}
