//! A handler with its mailbox and timeouts: calls callbacks one at a time, and contains their panics.

use std::{
    collections::VecDeque,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use crate::{
    Config, Role,
    handler::{
        Error, ErrorKind, Handler, Message, Observes, Result, Settings,
        batch::{Batch, Bundle},
        desk::{self, Sitting, Taken},
        hub::{Place, Rules},
        mailbox::{Broadcast, Command, Everyone, give_spare, take_spare},
        timeouts::{Key, Target, Timeout, Timeouts},
        util::Token,
    },
    logging::Log,
    proto::{
        Opcode,
        codec::decoder::Masking,
        connection::{Collector, after},
        deflate::{Agreed, DeflateConfig},
    },
    server::panic_words,
    websocket::{Alarm, Copied, now},
};

/// Commands carried out before a frame, or another connection, has its turn.
pub(crate) const COMMANDS_PER_TURN: usize = 1024;

/// One connection's handler.
#[derive(Debug)]
pub(crate) struct Agent<H> {
    handler: H,
    place: Place,
    rules: Arc<Rules>,
    commands: VecDeque<Command>,
    /// What is to be sent once the connection is open.
    held: Option<Box<Held>>,
    observes: Observes,
    timeouts: Timeouts,
    /// From the first timeout on.
    alarm: Option<Box<Alarm>>,
}

#[derive(Debug, Default)]
struct Held {
    commands: VecDeque<Command>,
    bytes: usize,
}

/// An error that a callback returned, or its panic.
#[derive(Debug)]
pub(crate) enum Raised {
    Error(Error),
    Panic(Error),
}

impl From<Error> for Raised {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

impl Raised {
    pub(crate) const fn error(&self) -> &Error {
        match self {
            Self::Error(error) | Self::Panic(error) => error,
        }
    }

    pub(crate) fn into_error(self) -> Error {
        match self {
            Self::Error(error) | Self::Panic(error) => error,
        }
    }

    /// What the peer is told.
    pub(crate) fn reason(&self) -> String {
        match self {
            Self::Error(error) => error.to_string(),
            Self::Panic(_) => Error::new(ErrorKind::Internal, "").to_string(),
        }
    }
}

/// Why a payload was not delivered as a message.
#[derive(Debug)]
pub(crate) enum Undelivered {
    /// It should be text, and is not UTF-8.
    NotText,
    /// The callback returned an error, or panicked.
    Raised(Raised),
}

/// What is next of the commands.
#[derive(Debug)]
pub(crate) enum Next {
    Command(Command),
    /// Nothing waits.
    Nothing,
    /// More waits, but others have their turn first.
    Enough,
}

impl<H: Handler> Agent<H> {
    pub(crate) fn new(handler: H, place: Place, rules: Arc<Rules>) -> Self {
        // A limit on fragments is counted where frames pass.
        let observes = if rules.settings.fragments_grow { handler.observes() } else { Observes::Frames };
        Self {
            handler,
            place,
            rules,
            commands: VecDeque::new(),
            held: None,
            observes,
            timeouts: Timeouts::default(),
            alarm: None,
        }
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.rules.settings
    }

    /// Whether this connection cuts messages into fragments as its `WebSocket` does.
    pub(crate) fn is_like_the_others(&self) -> bool {
        self.settings().fragment_size == self.place.hub.rules.settings.fragment_size
    }

    pub(crate) fn config(&self) -> &Arc<Config> {
        &self.rules.config
    }

    pub(crate) const fn observes(&self) -> Observes {
        self.observes
    }

    /// What becomes of the bytes that arrive: whole messages where nobody looks at frames. So it is where messages may be
    /// compressed, because a fragment of one says nothing.
    pub(crate) fn collector(&self, masking: Masking, agreed: Option<&Agreed>) -> Collector {
        match (self.observes, agreed) {
            (Observes::Frames, None) => Collector::frames(masking),
            _ => Collector::messages(masking),
        }
    }

    /// Takes over how the handler wants messages to be compressed, if it does.
    pub(crate) fn compress(&mut self, role: Role) -> Option<&DeflateConfig> {
        let wanted = self.handler.compression(role)?;
        self.rules = self.place.hub.compressing(&self.rules, &wanted);
        self.rules.config.deflate.as_ref()
    }

    /// Calls a callback whose error or panic matters.
    #[inline]
    pub(crate) fn call<T>(&mut self, callback: impl FnOnce(&mut H) -> Result<T>) -> Result<T, Raised> {
        if self.settings().panic_on_internal {
            return Ok(callback(&mut self.handler)?);
        }
        match catch_unwind(AssertUnwindSafe(|| callback(&mut self.handler))) {
            Ok(result) => Ok(result?),
            Err(panic) => {
                let details = format!("handler panicked: {}", panic_words(&*panic));
                Log::shared().panicked(now(), "handler", panic_words(&*panic));
                Err(Raised::Panic(Error::new(ErrorKind::Internal, details)))
            }
        }
    }

    /// Makes a message of a payload and delivers it. It is made where it is taken, so that the processor has it at hand: a
    /// message that is written to memory and moved on at once has to be waited for, each time.
    #[inline(always)]
    pub(crate) fn deliver(&mut self, opcode: Opcode, payload: &[u8]) -> Result<(), Box<Undelivered>> {
        let deliver =
            |handler: &mut H| Message::of(opcode, payload).map(|message| handler.on_message(message)).transpose();
        match self.call(deliver) {
            Ok(Some(())) => Ok(()),
            Ok(None) => Err(Box::new(Undelivered::NotText)),
            Err(raised) => Err(Box::new(Undelivered::Raised(raised))),
        }
    }

    /// Calls a callback that only listens.
    pub(crate) fn tell(&mut self, callback: impl FnOnce(&mut H)) {
        if self.settings().panic_on_internal {
            callback(&mut self.handler);
        } else {
            contain("handler", || callback(&mut self.handler));
        }
    }

    /// Until dropped, what this connection asks itself to do stays on this thread.
    pub(crate) fn sit_down(&self) -> Sitting {
        Sitting::begin(&self.place.hub, &self.place.mailbox)
    }

    /// The next command if it is a message and nothing else waits that was asked for in this turn: the answer to the message
    /// that was just received.
    #[inline]
    pub(crate) fn answer(&self, left: &mut usize) -> Option<Message> {
        if *left == 0 || !self.commands.is_empty() {
            return None;
        }
        let message = desk::take_only_message(&self.place.mailbox)?;
        *left -= 1;
        Some(message)
    }

    /// Sends the answer from where it lies, if `send` copies it; whether it did.
    #[inline]
    pub(crate) fn send_answer(&self, left: &mut usize, send: impl FnOnce(&Message) -> Copied) -> bool {
        let sent = *left > 0 && self.commands.is_empty() && desk::send_only_message(&self.place.mailbox, send);
        *left -= usize::from(sent);
        sent
    }

    /// Whether there may be a next command.
    #[inline]
    pub(crate) fn has_commands(&self) -> bool {
        !self.commands.is_empty() || desk::in_use() || self.place.mailbox.has_mail()
    }

    /// The next command; `left` is what is left of this turn's budget.
    pub(crate) fn next(&mut self, left: &mut usize) -> Next {
        if self.commands.is_empty() && *left > 0 {
            match self.take_from_desk() {
                Taken::One(command) => {
                    *left -= 1;
                    return Next::Command(command);
                }
                Taken::More => {}
                Taken::Nothing if self.place.mailbox.has_mail() => {
                    if let Some(command) = self.collect() {
                        *left -= 1;
                        return Next::Command(command);
                    }
                }
                Taken::Nothing => return Next::Nothing,
            }
        }
        if *left == 0 {
            return self.stop();
        }
        match self.commands.pop_front() {
            Some(command) => {
                *left -= 1;
                Next::Command(command)
            }
            None => Next::Nothing,
        }
    }

    fn take_from_desk(&mut self) -> Taken {
        if !desk::in_use() {
            return Taken::Nothing;
        }
        let taken = desk::take(&self.place.mailbox, &mut self.commands);
        if !matches!(taken, Taken::Nothing) {
            // As from the mail: see `collect`.
            self.place.hub.give_room(self.place.mailbox.take_desk_places());
        }
        taken
    }

    /// The turn's budget is used up.
    fn stop(&self) -> Next {
        let (commands, owed) = desk::clear(&self.place.mailbox);
        if !commands.is_empty() {
            self.place.hub.owe_room(owed);
            self.place.mailbox.put_back(commands);
        }
        if self.commands.is_empty() && !self.place.mailbox.has_mail() { Next::Nothing } else { Next::Enough }
    }

    /// Keeps a command until the connection is open. What is kept is bounded as what is unsent is.
    pub(crate) fn hold(&mut self, command: Command) -> Result<(), Error> {
        // Each is charged for the place it takes, so that empty ones are bounded too.
        let bytes = command.payload_len() + size_of::<Command>();
        let held = self.held.get_or_insert_default();
        held.bytes = held.bytes.saturating_add(bytes);
        if held.bytes > self.rules.config.limits.max_queue {
            let details = "max_out_buffer bytes wait for the opening handshake";
            return Err(Error::new(ErrorKind::Capacity, details));
        }
        held.commands.push_back(command);
        Ok(())
    }

    /// The connection is open: what was held is carried out next.
    pub(crate) fn release(&mut self) {
        if let Some(mut held) = self.held.take() {
            held.commands.append(&mut self.commands);
            self.commands = held.commands;
        }
    }

    /// Whether so many commands wait that others should have their turn.
    #[inline]
    pub(crate) fn crowds_the_queue(&self) -> bool {
        self.place.hub.is_half_full()
    }

    /// What is in the mail is next: it alone, or what is among the commands now.
    fn collect(&mut self) -> Option<Command> {
        let alone = self.place.mailbox.collect(&mut self.commands);
        if alone.is_some() {
            return alone;
        }
        // Nothing but broadcasts holds a place of its own until it is carried out: from here on the queue is bounded by
        // what was in it.
        let places = self.commands.iter().filter(|command| command.has_place()).count();
        self.place.hub.give_room(places);
        None
    }

    /// Carries out each of a batch by itself, next.
    pub(crate) fn take_apart(&mut self, batch: &Batch) {
        if self.commands.capacity() == 0 {
            self.commands = take_spare();
        }
        for broadcast in batch.broadcasts.iter().rev() {
            self.commands.push_front(Command::Shared(Bundle::One(Arc::clone(broadcast))));
        }
    }

    /// Another task than the one that waited last has the connection now.
    pub(crate) fn moved(&self) {
        self.place.mailbox.unpark();
    }

    /// Ends a turn that comes to waiting; `false` if there is something to do before.
    pub(crate) fn end_turn(&mut self, cx: &Context<'_>) -> bool {
        let mailbox = &self.place.mailbox;
        let busy = desk::in_use() && desk::is_turn_of(mailbox);
        if !self.commands.is_empty() || busy || !(mailbox.is_parked() || mailbox.park(cx.waker())) {
            return false;
        }
        if self.commands.capacity() > 0 {
            give_spare(std::mem::take(&mut self.commands));
        }
        true
    }

    /// Schedules a timeout.
    pub(crate) fn schedule(&mut self, ms: u64, token: Token) -> Result<(), Raised> {
        let key = self.key(ms);
        let target = Target::One(Arc::downgrade(&self.place.mailbox));
        self.timeouts.insert(key, token);
        self.call(|handler| handler.on_new_timeout(token, Timeout { target, key }))
    }

    fn key(&self, ms: u64) -> Key {
        Key { at: after(now(), Duration::from_millis(ms)), number: self.place.hub.timeout_number() }
    }

    /// Schedules a timeout that every connection has.
    pub(crate) fn schedule_shared(&mut self, broadcast: &Broadcast) -> Result<(), Raised> {
        let Everyone::Timeout { ms, token, key } = &broadcast.what else { return Ok(()) };
        let key = *key.get_or_init(|| self.key(*ms));
        self.timeouts.insert(key, *token);
        self.call(|handler| handler.on_new_timeout(*token, Timeout { target: Target::All, key }))
    }

    /// What a broadcast asks for that is no sending.
    pub(crate) fn carry_out_timeouts(&mut self, broadcast: &Broadcast) -> Result<(), Raised> {
        if let Everyone::Cancel(key) = &broadcast.what {
            self.cancel(*key);
        }
        self.schedule_shared(broadcast)
    }

    pub(crate) fn cancel(&mut self, key: Key) {
        self.timeouts.cancel(key);
    }

    pub(crate) fn cancel_all(&mut self) {
        self.timeouts.clear();
    }

    /// Calls `on_timeout` for the earliest timeout that has passed, if there is one.
    #[inline]
    pub(crate) fn fire(&mut self) -> Option<Result<(), Raised>> {
        self.timeouts.next()?;
        let token = self.timeouts.due(now())?;
        Some(self.call(|handler| handler.on_timeout(token)))
    }

    /// Waits for the earliest timeout, or for `other` if that is earlier.
    #[inline]
    pub(crate) fn poll_alarm(&mut self, cx: &mut Context<'_>, other: Option<Instant>) -> Poll<()> {
        let at = match (self.timeouts.next(), other) {
            (Some(next), Some(other)) => next.min(other),
            (next, other) => match next.or(other) {
                Some(at) => at,
                None => return Poll::Pending,
            },
        };
        self.alarm.get_or_insert_default().poll(cx, at)
    }

    /// The connection has ended: what is still sent to it is dropped.
    pub(crate) fn end(&mut self) {
        self.place.hub.give_room(self.place.mailbox.close());
        self.commands = VecDeque::new();
        self.held = None;
        self.timeouts.clear();
        self.alarm = None;
    }

    /// The handler, and the connection's place, to be given up when the handler is dealt with.
    pub(crate) fn into_parts(self) -> (H, Place) {
        (self.handler, self.place)
    }
}

/// Calls something of the application's whose panic is only logged; `None` if it panicked.
pub(crate) fn contain<T>(whose: &'static str, callback: impl FnOnce() -> T) -> Option<T> {
    match catch_unwind(AssertUnwindSafe(callback)) {
        Ok(value) => Some(value),
        Err(panic) => {
            Log::shared().panicked(now(), whose, panic_words(&*panic));
            None
        }
    }
}
