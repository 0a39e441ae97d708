//! A handler that writes down what it is told and does what a test says, over transports and sockets whose other end is the
//! test itself.

use std::{
    fmt::Write as _,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::task::JoinSet;
use url::Url;
use wireline::{
    Role,
    handler::{
        Attach, Builder, CloseCode, Error, ErrorKind, Factory, Frame, Handler, Handshake, Message, Observes, OpCode,
        Request, Response, Result, Sender, Settings, WebSocket,
        util::{Timeout, Token},
    },
    proto,
};

use crate::scripted::{Control, Scripted, encode, frames, settle};

/// Only a broken library is waited for this long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// What happened, one line each, with the number of the connection.
#[derive(Clone, Debug, Default)]
pub(crate) struct Log(Arc<(Mutex<Lines>, Condvar)>);

#[derive(Debug, Default)]
struct Lines {
    lines: Vec<(u32, String)>,
    errors: Vec<String>,
    timeouts: Vec<Timeout>,
}

impl Log {
    fn inner(&self) -> MutexGuard<'_, Lines> {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn push(&self, id: u32, line: &str) {
        self.inner().lines.push((id, line.to_owned()));
        self.0.1.notify_all();
    }

    /// Everything, in order.
    pub(crate) fn all(&self) -> Vec<String> {
        self.inner().lines.iter().map(|(_, line)| line.clone()).collect()
    }

    /// All but the frame hooks.
    pub(crate) fn callbacks(&self) -> Vec<String> {
        without_frames(self.all())
    }

    /// All of one connection but the frame hooks.
    pub(crate) fn of(&self, id: u32) -> Vec<String> {
        let lines = self.inner().lines.iter().filter(|(of, _)| *of == id).map(|(_, line)| line.clone()).collect();
        without_frames(lines)
    }

    /// What begins with this word.
    pub(crate) fn only(&self, word: &str) -> Vec<String> {
        let mut lines = self.all();
        lines.retain(|line| line.split(' ').next() == Some(word));
        lines
    }

    pub(crate) fn count(&self, line: &str) -> usize {
        self.all().iter().filter(|found| *found == line).count()
    }

    /// The errors as they display, in order.
    pub(crate) fn errors(&self) -> Vec<String> {
        self.inner().errors.clone()
    }

    /// The handles of `on_new_timeout`, in order.
    pub(crate) fn timeouts(&self) -> Vec<Timeout> {
        self.inner().timeouts.clone()
    }

    /// Waits until this line was written so many times, by another thread.
    pub(crate) fn await_times(&self, line: &str, times: usize) {
        let count = |lines: &mut Lines| lines.lines.iter().filter(|(_, found)| found == line).count();
        let waited = self.0.1.wait_timeout_while(self.inner(), PATIENCE, |lines| count(lines) < times);
        let (mut lines, _) = waited.unwrap_or_else(PoisonError::into_inner);
        assert!(count(&mut lines) >= times, "waiting for {line:?}, found {:?}", lines.lines);
    }

    pub(crate) fn wait_for(&self, line: &str) {
        self.await_times(line, 1);
    }
}

fn without_frames(mut lines: Vec<String>) -> Vec<String> {
    lines.retain(|line| !line.starts_with("on_frame") && !line.starts_with("on_send_frame"));
    lines
}

/// The kind of an error, with what tells one of its kind from another.
pub(crate) fn kind(error: &Error) -> String {
    match &error.kind {
        ErrorKind::Io(error) => format!("Io({:?})", error.kind()),
        ErrorKind::Queue(error) => format!("Queue({error:?})"),
        ErrorKind::Encoding(_) => "Encoding".to_owned(),
        ErrorKind::Http(_) => "Http".to_owned(),
        ErrorKind::Ssl(_) => "Ssl".to_owned(),
        ErrorKind::Custom(_) => "Custom".to_owned(),
        kind => format!("{kind:?}"),
    }
}

/// What a call came to, for comparison.
pub(crate) fn outcome<T>(result: Result<T>) -> String {
    match result {
        Ok(_) => "Ok".to_owned(),
        Err(error) => kind(&error),
    }
}

/// A frame as one line.
fn shown(frame: &Frame) -> String {
    let payload = frame.payload();
    let mut shown = frame.opcode().to_string();
    if !frame.is_final() {
        shown.push('+');
    }
    match (frame.opcode(), payload.split_first_chunk::<2>()) {
        (OpCode::Close, Some((code, reason))) => {
            let _ = write!(shown, " {} {}", u16::from_be_bytes(*code), reason.escape_ascii());
        }
        _ => {
            let _ = write!(shown, " {}", payload[..payload.len().min(40)].escape_ascii());
        }
    }
    shown.trim_end().to_owned()
}

type React = dyn Fn(&Sender, &str) -> Result<()> + Send + Sync;
type Hook = fn(Frame) -> Result<Option<Frame>>;
type Answer = fn(&Request) -> Result<Response>;
type Ask = fn(&Url) -> Result<Request>;

/// What a handler does.
#[derive(Clone)]
pub(crate) struct Spec {
    pub(crate) settings: Settings,
    pub(crate) log: Log,
    react: Arc<React>,
    on_frame: Hook,
    on_send_frame: Hook,
    on_request: Answer,
    build_request: Ask,
    observes: Observes,
}

/// A handler with all defaults.
struct Plain;

impl Handler for Plain {}

impl Spec {
    /// One that only writes down.
    pub(crate) fn new() -> Self {
        Self {
            settings: Settings::default(),
            log: Log::default(),
            react: Arc::new(|_, _| Ok(())),
            on_frame: |frame| Plain.on_frame(frame),
            on_send_frame: |frame| Plain.on_send_frame(frame),
            on_request: |request| Plain.on_request(request),
            build_request: |url| Plain.build_request(url),
            observes: Observes::Frames,
        }
    }

    /// The same with a log of its own.
    pub(crate) fn fresh(&self) -> Self {
        Self { log: Log::default(), ..self.clone() }
    }

    pub(crate) fn settings(mut self, settings: Settings) -> Self {
        self.settings = settings;
        self
    }

    /// Does this in each callback, after its line was written; an error is what the callback returns, if it returns one.
    pub(crate) fn react(mut self, react: impl Fn(&Sender, &str) -> Result<()> + Send + Sync + 'static) -> Self {
        self.react = Arc::new(react);
        self
    }

    pub(crate) fn on_frame(mut self, hook: Hook) -> Self {
        self.on_frame = hook;
        self
    }

    pub(crate) fn on_send_frame(mut self, hook: Hook) -> Self {
        self.on_send_frame = hook;
        self
    }

    pub(crate) fn on_request(mut self, answer: Answer) -> Self {
        self.on_request = answer;
        self
    }

    pub(crate) fn build_request(mut self, ask: Ask) -> Self {
        self.build_request = ask;
        self
    }

    pub(crate) fn observes(mut self, observes: Observes) -> Self {
        self.observes = observes;
        self
    }

    pub(crate) fn spy(&self, ws: Sender) -> Spy {
        Spy { spec: self.clone(), ws }
    }

    /// A factory of such handlers.
    pub(crate) fn team(&self) -> Team {
        Team(self.clone())
    }

    pub(crate) fn websocket(&self) -> WebSocket<Team> {
        Builder::new().with_settings(self.settings).build(self.team()).unwrap()
    }

    /// A handler over a transport in memory.
    pub(crate) async fn attach(&self, role: Role) -> Conn {
        self.attach_by(role, attach(role).settings(self.settings)).await
    }

    /// The same as one of a group.
    pub(crate) async fn join(&self, role: Role, group: &Sender) -> Conn {
        self.attach_by(role, attach(role).group(group)).await
    }

    pub(crate) async fn attach_by(&self, role: Role, attach: Attach) -> Conn {
        let (transport, control) = Scripted::new();
        let conn = self.begin(role, attach, transport, control);
        settle().await;
        conn
    }

    /// The same over this transport; nothing has run yet.
    pub(crate) fn begin(&self, role: Role, attach: Attach, transport: Scripted, control: Control) -> Conn {
        let sender = Arc::new(Mutex::new(None));
        let (spec, to) = (self.clone(), Arc::clone(&sender));
        let mut task = JoinSet::new();
        task.spawn(attach.run(transport, move |ws| {
            *to.lock().unwrap() = Some(ws.clone());
            spec.spy(ws)
        }));
        Conn { role, control, log: self.log.clone(), sender, task }
    }
}

pub(crate) fn attach(role: Role) -> Attach {
    match role {
        Role::Server => Attach::server(),
        Role::Client => Attach::client(),
    }
}

/// The handler.
pub(crate) struct Spy {
    spec: Spec,
    pub(crate) ws: Sender,
}

impl Spy {
    fn note(&self, line: impl AsRef<str>) -> Result<()> {
        let line = line.as_ref().trim_end();
        self.spec.log.push(self.ws.connection_id(), line);
        (self.spec.react)(&self.ws, line)
    }
}

impl Handler for Spy {
    fn on_shutdown(&mut self) {
        let _ = self.note("on_shutdown");
    }

    fn on_open(&mut self, _: Handshake) -> Result<()> {
        self.note("on_open")
    }

    fn on_message(&mut self, msg: Message) -> Result<()> {
        let shown: String = msg.to_string().chars().take(40).collect();
        self.note(format!("on_message {shown}"))
    }

    fn on_close(&mut self, code: CloseCode, reason: &str) {
        let _ = self.note(format!("on_close {code:?} {reason}"));
    }

    fn on_error(&mut self, err: Error) {
        self.spec.log.inner().errors.push(err.to_string());
        let _ = self.note(format!("on_error {}", kind(&err)));
    }

    fn on_request(&mut self, req: &Request) -> Result<Response> {
        self.note("on_request")?;
        (self.spec.on_request)(req)
    }

    fn on_response(&mut self, _: &Response) -> Result<()> {
        self.note("on_response")
    }

    fn on_rejected(&mut self, res: &Response) {
        let _ = self.note(format!("on_rejected {}", res.status()));
    }

    fn on_timeout(&mut self, event: Token) -> Result<()> {
        self.note(format!("on_timeout {}", event.0))
    }

    fn on_new_timeout(&mut self, event: Token, timeout: Timeout) -> Result<()> {
        self.spec.log.inner().timeouts.push(timeout);
        self.note(format!("on_new_timeout {}", event.0))
    }

    fn on_frame(&mut self, frame: Frame) -> Result<Option<Frame>> {
        assert!(!frame.is_masked(), "3.3: frames arrive in the hook unmasked");
        self.note(format!("on_frame {}", shown(&frame)))?;
        (self.spec.on_frame)(frame)
    }

    fn on_send_frame(&mut self, frame: Frame) -> Result<Option<Frame>> {
        assert!(!frame.is_masked(), "3.3: the hook comes before masking");
        self.note(format!("on_send_frame {}", shown(&frame)))?;
        (self.spec.on_send_frame)(frame)
    }

    fn build_request(&mut self, url: &Url) -> Result<Request> {
        self.note("build_request")?;
        (self.spec.build_request)(url)
    }

    fn observes(&self) -> Observes {
        self.spec.observes
    }
}

/// The factory.
pub(crate) struct Team(Spec);

impl Team {
    fn note(&self, ws: &Sender, line: &str) {
        self.0.log.push(ws.connection_id(), line);
        (self.0.react)(ws, line).unwrap();
    }
}

impl Factory for Team {
    type Handler = Spy;

    fn connection_made(&mut self, ws: Sender) -> Spy {
        panic!("neither a client nor a server: {ws:?}");
    }

    fn client_connected(&mut self, ws: Sender) -> Spy {
        self.note(&ws, "client_connected");
        self.0.spy(ws)
    }

    fn server_connected(&mut self, ws: Sender) -> Spy {
        self.note(&ws, "server_connected");
        self.0.spy(ws)
    }

    fn connection_lost(&mut self, handler: Spy) {
        self.note(&handler.ws, "connection_lost");
    }

    fn on_shutdown(&mut self) {
        self.0.log.push(u32::MAX, "Factory::on_shutdown");
    }
}

/// A connection in memory, whose other end the test has.
pub(crate) struct Conn {
    pub(crate) role: Role,
    pub(crate) control: Control,
    pub(crate) log: Log,
    sender: Arc<Mutex<Option<Sender>>>,
    task: JoinSet<Result<Spy>>,
}

impl Conn {
    pub(crate) fn ws(&self) -> Sender {
        self.sender.lock().unwrap().clone().expect("the handler was made")
    }

    /// These frames arrive, with one read, and all that comes of it happens.
    pub(crate) async fn arrive(&self, frames: impl IntoIterator<Item = proto::Frame>) {
        self.arrive_bytes(encode(self.role, frames)).await;
    }

    pub(crate) async fn arrive_bytes(&self, bytes: impl AsRef<[u8]>) {
        self.control.arrive(bytes);
        settle().await;
    }

    /// What was written so far.
    pub(crate) fn frames(&self) -> Vec<proto::Frame> {
        frames(self.role, &self.control.output())
    }

    /// The peer ends its side.
    pub(crate) async fn hang_up(&self) {
        self.control.end();
        settle().await;
    }

    /// Whether the handler was given back.
    pub(crate) fn is_over(&mut self) -> bool {
        match self.task.try_join_next() {
            None => false,
            Some(ended) => {
                ended.expect("no panic").expect("attached");
                true
            }
        }
    }

    /// The peer ends its side, if it has not, and the connection is awaited: the callbacks but for the frame hooks.
    pub(crate) async fn ended(mut self) -> Vec<String> {
        self.control.end();
        self.join().await.expect("no panic").expect("attached");
        self.log.callbacks()
    }

    /// Waits for the end, be it a panic.
    pub(crate) async fn join(&mut self) -> std::result::Result<Result<Spy>, tokio::task::JoinError> {
        let ended = tokio::time::timeout(Duration::from_secs(24 * 3600), self.task.join_next()).await;
        ended.expect("it ends within a day of the paused clock").expect("it has not ended before")
    }
}

/// A Close frame without payload.
pub(crate) fn bare_close() -> proto::Frame {
    proto::Frame::new(proto::Opcode::Close, "")
}

/// The same frame, not final.
pub(crate) fn part(mut frame: proto::Frame) -> proto::Frame {
    frame.fin = false;
    frame
}

pub(crate) fn continuation(payload: &'static str) -> proto::Frame {
    proto::Frame::new(proto::Opcode::Continuation, payload)
}

pub(crate) fn error(kind: ErrorKind) -> Error {
    Error::new(kind, "because")
}
