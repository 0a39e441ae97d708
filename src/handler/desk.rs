//! What a connection is asked to do in its own turn: it stays on the thread that takes the turn, without lock or counters.
//!
//! Everything on the desk was asked for before what waits in the mailbox: while something does, nothing is put here.
//!
//! The usual case is one message, the answer to the one that was just received: it lies by itself.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    mem::{self, ManuallyDrop},
    sync::Arc,
};

use crate::{
    handler::{
        Message,
        hub::Hub,
        mailbox::{Command, Mailbox, SPARE_CAPACITY, take_spare},
    },
    websocket::Copied,
};

/// What is on the desk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Holds {
    /// Nothing to be done; the memory of a message that was sent may lie there.
    Nothing,
    /// A message to be sent.
    Message,
    Commands,
}

/// Whose turn it is on this thread, and what is on the desk then. Without a destructor, which every access would ask for.
struct Desk {
    /// By the address of its mailbox; 0 for nobody's.
    whose: Cell<usize>,
    /// The number of that connection, and its hub by address.
    id: Cell<u32>,
    hub: Cell<usize>,
    /// The hub that one of the commands has no place of, by its address; 0 for none.
    owes: Cell<usize>,
    holds: Cell<Holds>,
    /// The message to be sent; else one that was sent from here, whose memory is for the next one that arrives. Dropped by
    /// the [`Sitting`] if by nobody else.
    message: RefCell<ManuallyDrop<Option<Message>>>,
    /// The hub, once it has something to post when the turn ends; dropped by the [`Sitting`] too.
    gathers: Cell<ManuallyDrop<Option<Arc<Hub>>>>,
}

thread_local! {
    static DESK: Desk = const {
        Desk {
            whose: Cell::new(0),
            id: Cell::new(0),
            hub: Cell::new(0),
            owes: Cell::new(0),
            holds: Cell::new(Holds::Nothing),
            message: RefCell::new(ManuallyDrop::new(None)),
            gathers: Cell::new(ManuallyDrop::new(None)),
        }
    };
    static COMMANDS: RefCell<VecDeque<Command>> = const { RefCell::new(VecDeque::new()) };
}

/// Looks at this thread's desk. Unlike `with`, `try_with` is meant to be inlined: else what the closure holds goes through
/// memory.
#[inline(always)]
fn desk<T>(look: impl FnOnce(&Desk) -> T) -> T {
    match DESK.try_with(look) {
        Ok(seen) => seen,
        Err(_) => unreachable!("the desk has no destructor"),
    }
}

impl Desk {
    /// Whether it is this connection's, and nothing waits in its mailbox.
    #[inline]
    fn is_of(&self, mailbox: &Mailbox) -> bool {
        self.whose.get() == address(mailbox) && !mailbox.has_mail()
    }

    /// Whether a command of this connection's would be the first, and may go without a place, while the queue has room.
    #[inline]
    fn is_first(&self, hub: &Hub, mailbox: &Mailbox) -> bool {
        self.is_of(mailbox) && self.holds.get() == Holds::Nothing && hub.has_room()
    }

    /// Whether a message and nothing else waits to be sent, and by this connection.
    #[inline]
    fn holds_only_message_of(&self, mailbox: &Mailbox) -> bool {
        self.holds.get() == Holds::Message && self.whose.get() == address(mailbox)
    }

    /// What comes back could not be put down: a thread that is ending takes no turns.
    fn push(&self, command: Command) -> Option<Command> {
        let mut command = Some(command);
        let _ = COMMANDS.try_with(|commands| {
            let mut commands = commands.borrow_mut();
            commands.extend(self.take_message().map(Command::Message));
            commands.extend(command.take());
            self.holds.set(Holds::Commands);
        });
        command
    }

    /// The message to be sent.
    #[inline]
    fn take_message(&self) -> Option<Message> {
        if self.holds.get() == Holds::Message { self.exchange_message(None) } else { None }
    }

    #[inline]
    fn exchange_message(&self, message: Option<Message>) -> Option<Message> {
        ManuallyDrop::into_inner(self.message.replace(ManuallyDrop::new(message)))
    }

    /// Puts down a message to be sent, where no command lies.
    #[inline(always)]
    fn lay(&self, message: Message, hub: &Hub) {
        drop(self.exchange_message(Some(message)));
        self.owes.set(address(hub));
        self.holds.set(Holds::Message);
    }

    fn take_gatherer(&self) -> Option<Arc<Hub>> {
        ManuallyDrop::into_inner(self.gathers.replace(ManuallyDrop::new(None)))
    }

    /// Clears the desk, whatever is on it.
    #[cold]
    fn take_all(&self) -> VecDeque<Command> {
        let mut commands = COMMANDS.try_with(RefCell::take).unwrap_or_default();
        commands.extend(self.take_message().map(Command::Message));
        self.cleared();
        commands
    }

    /// The desk is empty, and nothing is owed.
    fn cleared(&self) {
        self.owes.set(0);
        self.holds.set(Holds::Nothing);
    }
}

/// Whether something is on the desk of the connection whose turn it is on this thread.
#[inline]
pub(crate) fn in_use() -> bool {
    desk(|desk| desk.holds.get() != Holds::Nothing)
}

/// A connection's turn, until dropped. What is still to be done then is dropped too, and what was gathered is posted.
#[derive(Debug)]
pub(crate) struct Sitting {
    /// The turn in which this one began: a callback may run another `WebSocket` to its end.
    outer: Option<Box<Outer>>,
}

#[derive(Debug)]
struct Outer {
    whose: usize,
    id: u32,
    hub: usize,
    owes: usize,
    commands: VecDeque<Command>,
}

impl Sitting {
    pub(crate) fn begin(hub: &Hub, mailbox: &Mailbox) -> Self {
        desk(|desk| {
            hub.turn_begins(address(desk));
            let outer = if desk.whose.get() == 0 { None } else { Some(Outer::put_aside(desk)) };
            desk.whose.set(address(mailbox));
            desk.id.set(mailbox.id);
            desk.hub.set(address(hub));
            Self { outer }
        })
    }
}

impl Outer {
    #[cold]
    fn put_aside(desk: &Desk) -> Box<Self> {
        let (whose, id, hub, owes) = (desk.whose.get(), desk.id.get(), desk.hub.get(), desk.owes.get());
        // Whatever the outer turn waits for may need what it has broadcast.
        if let Some(hub) = desk.take_gatherer() {
            hub.post_gathered();
        }
        Box::new(Self { whose, id, hub, owes, commands: desk.take_all() })
    }

    fn put_back(self, desk: &Desk) {
        desk.whose.set(self.whose);
        desk.id.set(self.id);
        desk.hub.set(self.hub);
        desk.owes.set(self.owes);
        if !self.commands.is_empty() {
            desk.holds.set(Holds::Commands);
            let _ = COMMANDS.try_with(|commands| commands.replace(self.commands));
        }
    }
}

impl Drop for Sitting {
    fn drop(&mut self) {
        desk(|desk| {
            if desk.holds.get() != Holds::Nothing {
                // A broadcast that ends here gives its room back.
                drop(desk.take_all());
            }
            if let Some(sent) = desk.exchange_message(None) {
                sent.recycle();
            }
            desk.whose.set(0);
            let gathers = desk.take_gatherer();
            if let Some(outer) = self.outer.take() {
                outer.put_back(desk);
            }
            if let Some(hub) = gathers {
                hub.post_gathered();
            }
        });
    }
}

/// A turn under way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Turn {
    /// Whose it is.
    pub(crate) id: u32,
    /// The thread, by an address of its own.
    pub(crate) thread: usize,
}

/// The turn on this thread, if it is one of that hub's connections.
pub(crate) fn turn_of(hub: &Hub) -> Option<Turn> {
    desk(|desk| {
        let is = desk.whose.get() != 0 && desk.hub.get() == address(hub);
        is.then(|| Turn { id: desk.id.get(), thread: address(desk) })
    })
}

/// The hub has something to post when this thread's turn ends.
pub(crate) fn gathers(hub: &Arc<Hub>) {
    desk(|desk| {
        let gathers = desk.take_gatherer().unwrap_or_else(|| Arc::clone(hub));
        desk.gathers.set(ManuallyDrop::new(Some(gathers)));
    });
}

/// Whether it is this connection's turn on this thread.
pub(crate) fn is_turn_of(mailbox: &Mailbox) -> bool {
    desk(|desk| desk.whose.get() == address(mailbox))
}

/// Puts down a message that takes no place: the first command of this connection's turn, while the queue has room. What
/// comes back is for someone else, or for later.
#[inline]
pub(crate) fn put_message(hub: &Hub, mailbox: &Mailbox, message: Message) -> Result<(), Message> {
    // Asked first by itself, so that the message is written once, to where it stays.
    if !desk(|desk| desk.is_first(hub, mailbox)) {
        return Err(message);
    }
    desk(|desk| desk.lay(message, hub));
    Ok(())
}

/// The same of any command.
pub(crate) fn put_first(hub: &Hub, mailbox: &Mailbox, command: Command) -> Option<Command> {
    desk(|desk| {
        if !desk.is_first(hub, mailbox) {
            return Some(command);
        }
        let left = desk.push(command);
        if left.is_none() {
            desk.owes.set(address(hub));
        }
        left
    })
}

/// Puts down a command if it is this connection's turn.
pub(crate) fn put(mailbox: &Mailbox, command: Command) -> Option<Command> {
    desk(|desk| if desk.is_of(mailbox) { desk.push(command) } else { Some(command) })
}

/// How many commands on this thread's desk have no place of that hub.
pub(crate) fn owed(hub: &Hub) -> usize {
    desk(|desk| usize::from(desk.owes.get() == address(hub)))
}

/// Takes what is on the desk if it is a message and nothing else.
#[inline]
pub(crate) fn take_only_message(mailbox: &Mailbox) -> Option<Message> {
    desk(|desk| {
        if !desk.holds_only_message_of(mailbox) {
            return None;
        }
        desk.cleared();
        desk.exchange_message(None)
    })
}

/// Sends what is on the desk, if it is a message and nothing else, and if `send` copies it; whether it did.
#[inline]
pub(crate) fn send_only_message(mailbox: &Mailbox, send: impl FnOnce(&Message) -> Copied) -> bool {
    desk(|desk| {
        if !desk.holds_only_message_of(mailbox) {
            return false;
        }
        let sent = desk.message.borrow().as_ref().map(send) == Some(Copied::Yes);
        if sent {
            desk.cleared();
        }
        sent
    })
}

/// A message that was sent, whose memory is free.
#[inline]
pub(crate) fn take_sent_message() -> Option<Message> {
    desk(|desk| if desk.holds.get() == Holds::Nothing { desk.exchange_message(None) } else { None })
}

/// What is on the connection's desk, if it is its turn.
#[derive(Debug)]
pub(crate) enum Taken {
    Nothing,
    /// One command.
    One(Command),
    /// More, which are in the queue now.
    More,
}

/// Takes what is on the desk; more than one command goes into `queue`, which is empty and whose memory is used here.
pub(crate) fn take(mailbox: &Mailbox, queue: &mut VecDeque<Command>) -> Taken {
    let message = desk(|desk| {
        if desk.whose.get() != address(mailbox) {
            return Some(Taken::Nothing);
        }
        let message = desk.take_message();
        desk.cleared();
        message.map(|message| Taken::One(Command::Message(message)))
    });
    if let Some(taken) = message {
        return taken;
    }
    COMMANDS.with_borrow_mut(|commands| {
        if commands.len() < 2 {
            return commands.pop_front().map_or(Taken::Nothing, Taken::One);
        }
        if queue.capacity() == 0 {
            *queue = take_spare();
        }
        mem::swap(commands, queue);
        if commands.capacity() > SPARE_CAPACITY {
            *commands = VecDeque::new();
        }
        Taken::More
    })
}

/// Clears the desk before the turn ends, and says for how many of its commands a place is owed.
pub(crate) fn clear(mailbox: &Mailbox) -> (VecDeque<Command>, usize) {
    desk(|desk| {
        if desk.whose.get() != address(mailbox) {
            return (VecDeque::new(), 0);
        }
        let owed = usize::from(desk.owes.get() != 0);
        (desk.take_all(), owed)
    })
}

/// Tells apart what is alive at the same time.
fn address<T>(of: &T) -> usize {
    std::ptr::from_ref(of).addr()
}
