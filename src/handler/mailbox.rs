//! Where commands wait for a connection's task.

use std::{
    borrow::Cow,
    cell::Cell,
    collections::VecDeque,
    ops::Range,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::Waker,
};

use bytes::Bytes;

use crate::{
    handler::{CloseCode, Message, OpCode, batch::Bundle, desk, hub::Permit, timeouts::Key, util::Token},
    proto::connection::{Payload, SharedForm},
};

/// What a connection is asked to do.
#[derive(Debug)]
pub(crate) enum Command {
    Message(Message),
    /// A message whose payload may be shared.
    Send(OpCode, Payload),
    Close(CloseCode, Cow<'static, str>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Timeout {
        ms: u64,
        token: Token,
    },
    Cancel(Key),
    /// What every connection is asked to do.
    Shared(Bundle),
    /// From the `WebSocket` itself, outside of the limit.
    Shutdown,
}

/// A command to many connections, held once. It takes one place among the waiting commands until all have carried it out.
#[derive(Debug)]
pub(crate) struct Broadcast {
    pub(crate) what: Everyone,
    _permit: Permit,
}

#[derive(Debug)]
pub(crate) enum Everyone {
    Send {
        opcode: OpCode,
        payload: Payload,
        encoded: Encoded,
    },
    Close(CloseCode, Cow<'static, str>),
    Ping(Bytes),
    Pong(Bytes),
    /// Whoever is the first to carry it out fixes the instant for all.
    Timeout {
        ms: u64,
        token: Token,
        key: OnceLock<Key>,
    },
    Cancel(Key),
}

/// A message that many send, encoded once for all that send it in the same form.
#[derive(Debug, Default)]
pub(crate) struct Encoded {
    plain: OnceLock<Bytes>,
    /// By the window of the compressor.
    compressed: Mutex<Vec<(u8, Bytes)>>,
}

impl Encoded {
    pub(crate) fn get(&self, form: SharedForm, encode: impl FnOnce() -> Bytes) -> Cow<'_, Bytes> {
        let SharedForm::Compressed(window_bits) = form else {
            return Cow::Borrowed(self.plain.get_or_init(encode));
        };
        let mut compressed = self.compressed.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, encoded)) = compressed.iter().find(|(bits, _)| *bits == window_bits) {
            return Cow::Owned(encoded.clone());
        }
        let encoded = encode();
        compressed.push((window_bits, encoded.clone()));
        Cow::Owned(encoded)
    }
}

impl Everyone {
    /// The same for one connection alone, where it is something to be sent: it takes no place among the commands then.
    pub(crate) fn alone(&self) -> Option<Command> {
        Some(match self {
            Self::Send { opcode, payload, .. } => Command::Send(*opcode, payload.clone()),
            Self::Close(code, reason) => Command::Close(*code, reason.clone()),
            Self::Ping(data) => Command::Ping(data.to_vec()),
            Self::Pong(data) => Command::Pong(data.to_vec()),
            Self::Timeout { .. } | Self::Cancel(_) => return None,
        })
    }
}

impl Broadcast {
    pub(crate) fn new(what: Everyone, permit: Permit) -> Arc<Self> {
        Arc::new(Self { what, _permit: permit })
    }
}

/// The commands that wait for one connection.
#[derive(Debug)]
pub(crate) struct Mailbox {
    pub(crate) token: Token,
    pub(crate) id: u32,
    /// The broadcasts between the wish for this connection and its making.
    missed: Range<u64>,
    /// Whether the mail has commands; written under its lock, so that the task knows of its own thread's without it.
    has_mail: AtomicBool,
    /// Whether the mail has the waker; as above.
    is_parked: AtomicBool,
    /// How many places the commands on the desk have. Only the connection's task changes it, and its end.
    desk_places: AtomicUsize,
    mail: Mutex<Mail>,
}

#[derive(Debug, Default)]
struct Mail {
    waiting: Waiting,
    /// The connection's task, while it waits.
    waker: Option<Waker>,
    gone: Gone,
}

/// Commands that wait.
#[derive(Debug)]
enum Waiting {
    Queue(VecDeque<Command>),
    /// This one alone, for which a connection that owns no queue needs none.
    Only(Bundle),
}

// Connections at rest are many.
const _: () = assert!(size_of::<Waiting>() == size_of::<VecDeque<Command>>());

impl Default for Waiting {
    fn default() -> Self {
        Self::Queue(VecDeque::new())
    }
}

impl Waiting {
    fn is_empty(&self) -> bool {
        matches!(self, Self::Queue(commands) if commands.is_empty())
    }

    fn push(&mut self, command: Command) {
        if let (Self::Queue(commands), Command::Shared(bundle)) = (&*self, &command)
            && commands.capacity() == 0
        {
            *self = Self::Only(bundle.clone());
            return;
        }
        if let Self::Only(_) = self
            && let Self::Only(bundle) = std::mem::take(self)
        {
            *self = Self::Queue(VecDeque::from([Command::Shared(bundle)]));
        }
        if let Self::Queue(commands) = self {
            commands.push_back(command);
        }
    }

    fn into_queue(self) -> VecDeque<Command> {
        match self {
            Self::Queue(commands) => commands,
            Self::Only(bundle) => VecDeque::from([Command::Shared(bundle)]),
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Gone {
    #[default]
    No,
    Yes,
}

/// Whether a command was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Posted {
    Queued,
    /// Its connection is gone; nobody will carry it out.
    Dropped,
}

impl Mailbox {
    pub(crate) fn new(token: Token, id: u32, missed: Range<u64>) -> Arc<Self> {
        let [has_mail, is_parked] = [false; 2].map(AtomicBool::new);
        let desk_places = AtomicUsize::new(0);
        Arc::new(Self { token, id, missed, has_mail, is_parked, desk_places, mail: Mutex::default() })
    }

    /// Whether that broadcast was for this connection before it existed.
    pub(crate) fn misses(&self, broadcast: u64) -> bool {
        self.missed.contains(&broadcast)
    }

    fn mail(&self) -> std::sync::MutexGuard<'_, Mail> {
        self.mail.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues a command. The place it may have was taken.
    pub(crate) fn post(&self, command: Command) -> Posted {
        let places = usize::from(command.has_place());
        let Some(command) = desk::put(self, command) else {
            self.desk_places.store(self.desk_places.load(Ordering::Relaxed) + places, Ordering::Relaxed);
            return Posted::Queued;
        };
        let (posted, waker) = self.push(command);
        if let Some(waker) = waker {
            waker.wake();
        }
        posted
    }

    /// The same from elsewhere; whoever is returned is to be woken.
    pub(crate) fn push(&self, command: Command) -> (Posted, Option<Waker>) {
        let mut mail = self.mail();
        if mail.gone == Gone::Yes {
            // Dropped behind the lock: a broadcast that ends here gives its room back.
            drop(mail);
            drop(command);
            return (Posted::Dropped, None);
        }
        mail.waiting.push(command);
        self.has_mail.store(true, Ordering::Release);
        let waker = mail.waker.take();
        self.is_parked.store(false, Ordering::Release);
        (Posted::Queued, waker)
    }

    pub(crate) fn is_gone(&self) -> bool {
        self.mail().gone == Gone::Yes
    }

    /// Whether commands wait. Those of this thread are seen for sure.
    #[inline]
    pub(crate) fn has_mail(&self) -> bool {
        self.has_mail.load(Ordering::Acquire)
    }

    /// The commands on the desk are about to be carried out: the places they had.
    pub(crate) fn take_desk_places(&self) -> usize {
        match self.desk_places.load(Ordering::Relaxed) {
            0 => 0,
            _ => self.desk_places.swap(0, Ordering::Relaxed),
        }
    }

    /// What was on the desk waits until the connection's next turn, with a place for each.
    pub(crate) fn put_back(&self, mut commands: VecDeque<Command>) {
        self.desk_places.store(0, Ordering::Relaxed);
        let mut mail = self.mail();
        commands.append(&mut std::mem::take(&mut mail.waiting).into_queue());
        mail.waiting = Waiting::Queue(commands);
        self.has_mail.store(true, Ordering::Release);
    }

    /// What waits goes into `commands`, which is empty, unless it is one broadcast alone.
    pub(crate) fn collect(&self, commands: &mut VecDeque<Command>) -> Option<Command> {
        let mut mail = self.mail();
        self.has_mail.store(false, Ordering::Release);
        match std::mem::take(&mut mail.waiting) {
            Waiting::Only(bundle) => Some(Command::Shared(bundle)),
            Waiting::Queue(mut queue) => {
                std::mem::swap(&mut queue, commands);
                mail.waiting = Waiting::Queue(queue);
                None
            }
        }
    }

    /// Whether the task, about to wait once more, has left its waker: whoever posts from now on will wake it.
    #[inline]
    pub(crate) fn is_parked(&self) -> bool {
        // In this order: who takes the waker says first that there is mail.
        self.is_parked.load(Ordering::Acquire) && !self.has_mail()
    }

    /// The next to wait is another task.
    pub(crate) fn unpark(&self) {
        self.is_parked.store(false, Ordering::Relaxed);
    }

    /// The task is about to wait; `false` if there is something to do before.
    pub(crate) fn park(&self, waker: &Waker) -> bool {
        let mut mail = self.mail();
        if !mail.waiting.is_empty() {
            return false;
        }
        let unused = match &mut mail.waiting {
            Waiting::Queue(queue) if queue.capacity() > 0 => Some(std::mem::take(queue)),
            _ => None,
        };
        match &mut mail.waker {
            Some(old) => old.clone_from(waker),
            none => *none = Some(waker.clone()),
        }
        self.is_parked.store(true, Ordering::Release);
        drop(mail);
        if let Some(unused) = unused {
            give_spare(unused);
        }
        true
    }

    /// Nothing is carried out any more. What waits is dropped, and given back how many of it had a place of their own.
    pub(crate) fn close(&self) -> usize {
        let mut mail = self.mail();
        mail.gone = Gone::Yes;
        mail.waker = None;
        self.is_parked.store(false, Ordering::Release);
        let commands = std::mem::take(&mut mail.waiting).into_queue();
        self.has_mail.store(false, Ordering::Release);
        drop(mail);
        commands.iter().filter(|command| command.has_place()).count() + self.take_desk_places()
    }
}

impl Command {
    /// Bytes that it holds for itself alone.
    pub(crate) fn payload_len(&self) -> usize {
        match self {
            Self::Message(message) => message.len(),
            Self::Send(_, payload) => payload.bytes().len(),
            Self::Close(_, reason) => reason.len(),
            Self::Ping(data) | Self::Pong(data) => data.len(),
            Self::Timeout { .. } | Self::Cancel(_) | Self::Shared(_) | Self::Shutdown => 0,
        }
    }

    /// Whether it counts among the commands that may wait; a broadcast counts once for all.
    pub(crate) const fn has_place(&self) -> bool {
        !matches!(self, Self::Shared(_) | Self::Shutdown)
    }
}

thread_local! {
    static SPARE: Cell<VecDeque<Command>> = const { Cell::new(VecDeque::new()) };
}

/// A queue with room, if this thread has one to spare: connections that wait own none.
pub(crate) fn take_spare() -> VecDeque<Command> {
    SPARE.try_with(Cell::take).unwrap_or_default()
}

/// Keeps an empty queue for whoever needs one next.
pub(crate) fn give_spare(queue: VecDeque<Command>) {
    if queue.is_empty() && (1..=SPARE_CAPACITY).contains(&queue.capacity()) {
        // A thread that is ending keeps nothing.
        let _ = SPARE.try_with(|spare| spare.set(queue));
    }
}

pub(crate) const SPARE_CAPACITY: usize = 4096;
