//! What a connection is asked to do in its own turn: it stays on the thread that takes the turn, without lock or counters.
//!
//! Everything on the desk was asked for before what waits in the mailbox: while something does, nothing is put here.
//!
//! The usual case is one message, the answer to the one that was just received: it lies by itself.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    mem::{self, ManuallyDrop},
};

use crate::handler::{
    Message,
    hub::Hub,
    mailbox::{Command, Mailbox, SPARE_CAPACITY, take_spare},
};

/// What is on the desk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Holds {
    Nothing,
    /// A message to be sent.
    Message,
    Commands,
}

// Each by itself, because what has no destructor is one instruction away; that of the message is left to the `Sitting`.
thread_local! {
    /// Whose turn it is on this thread, by the address of its mailbox; 0 for nobody's.
    static WHOSE: Cell<usize> = const { Cell::new(0) };
    /// The hub that one of the commands has no place of, by its address; 0 for none.
    static OWES: Cell<usize> = const { Cell::new(0) };
    static HOLDS: Cell<Holds> = const { Cell::new(Holds::Nothing) };
    static MESSAGE: Cell<ManuallyDrop<Option<Message>>> = const { Cell::new(ManuallyDrop::new(None)) };
    static COMMANDS: RefCell<VecDeque<Command>> = const { RefCell::new(VecDeque::new()) };
}

/// Whether something is on the desk of the connection whose turn it is on this thread.
#[inline]
pub(crate) fn in_use() -> bool {
    HOLDS.get() != Holds::Nothing
}

/// A connection's turn, until dropped. What is on the desk then is dropped too.
#[derive(Debug)]
pub(crate) struct Sitting {
    /// The turn in which this one began: a callback may run another `WebSocket` to its end.
    outer: Option<Box<Outer>>,
}

#[derive(Debug)]
struct Outer {
    whose: usize,
    owes: usize,
    commands: VecDeque<Command>,
}

impl Sitting {
    #[inline]
    pub(crate) fn begin(mailbox: &Mailbox) -> Self {
        let whose = WHOSE.replace(address(mailbox));
        Self { outer: if whose == 0 { None } else { Some(Outer::put_aside(whose)) } }
    }
}

impl Outer {
    #[cold]
    fn put_aside(whose: usize) -> Box<Self> {
        let owes = OWES.get();
        Box::new(Self { whose, owes, commands: take_all() })
    }
}

impl Drop for Sitting {
    #[inline]
    fn drop(&mut self) {
        if in_use() {
            // A broadcast that ends here gives its room back.
            drop(take_all());
        }
        WHOSE.set(0);
        if let Some(outer) = self.outer.take() {
            WHOSE.set(outer.whose);
            OWES.set(outer.owes);
            if !outer.commands.is_empty() {
                HOLDS.set(Holds::Commands);
                let _ = COMMANDS.try_with(|commands| commands.replace(outer.commands));
            }
        }
    }
}

/// Whether a command of this connection's would be the first of its turn, and may go without a place, while the queue has
/// room.
#[inline]
pub(crate) fn is_first(hub: &Hub, mailbox: &Mailbox) -> bool {
    is_turn_of(mailbox) && !in_use() && hub.has_room()
}

/// Whether it is this connection's turn, and nothing waits in its mailbox.
#[inline]
fn is_turn_of(mailbox: &Mailbox) -> bool {
    WHOSE.get() == address(mailbox) && !mailbox.has_mail()
}

/// Puts down a message that takes no place, if it [`is_first`].
#[inline]
pub(crate) fn put_message(hub: &Hub, message: Message) {
    MESSAGE.set(ManuallyDrop::new(Some(message)));
    OWES.set(address(hub));
    HOLDS.set(Holds::Message);
}

/// Puts down a command that takes no place, if it is the first. What comes back is for someone else, or for later.
pub(crate) fn put_first(hub: &Hub, mailbox: &Mailbox, command: Command) -> Option<Command> {
    if !is_first(hub, mailbox) {
        return Some(command);
    }
    let left = push(command);
    if left.is_none() {
        OWES.set(address(hub));
    }
    left
}

/// Puts down a command if it is this connection's turn.
pub(crate) fn put(mailbox: &Mailbox, command: Command) -> Option<Command> {
    if is_turn_of(mailbox) { push(command) } else { Some(command) }
}

/// What comes back could not be put down: a thread that is ending takes no turns.
fn push(command: Command) -> Option<Command> {
    let mut command = Some(command);
    let _ = COMMANDS.try_with(|commands| {
        let mut commands = commands.borrow_mut();
        commands.extend(take_message().map(Command::Message));
        commands.extend(command.take());
        HOLDS.set(Holds::Commands);
    });
    command
}

/// How many commands on this thread's desk have no place of that hub.
pub(crate) fn owed(hub: &Hub) -> usize {
    usize::from(OWES.get() == address(hub))
}

/// Takes what is on the desk if it is a message and nothing else.
#[inline]
pub(crate) fn take_only_message(mailbox: &Mailbox) -> Option<Message> {
    if HOLDS.get() != Holds::Message || WHOSE.get() != address(mailbox) {
        return None;
    }
    reset();
    take_message()
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
    if WHOSE.get() != address(mailbox) {
        return Taken::Nothing;
    }
    reset();
    if let Some(message) = take_message() {
        return Taken::One(Command::Message(message));
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
    if WHOSE.get() != address(mailbox) {
        return (VecDeque::new(), 0);
    }
    let owed = usize::from(OWES.get() != 0);
    (take_all(), owed)
}

/// Clears the desk, whatever is on it.
#[cold]
fn take_all() -> VecDeque<Command> {
    reset();
    let mut commands = COMMANDS.try_with(RefCell::take).unwrap_or_default();
    commands.extend(take_message().map(Command::Message));
    commands
}

#[inline]
fn take_message() -> Option<Message> {
    ManuallyDrop::into_inner(MESSAGE.replace(ManuallyDrop::new(None)))
}

/// The desk is empty, and nothing is owed.
#[inline]
fn reset() {
    OWES.set(0);
    HOLDS.set(Holds::Nothing);
}

/// Tells apart what is alive at the same time.
#[inline]
fn address<T>(of: &T) -> usize {
    std::ptr::from_ref(of).addr()
}
