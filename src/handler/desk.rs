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

/// Whose turn it is on this thread, and what is on the desk then. Without a destructor, which every access would ask for.
struct Turn {
    /// By the address of its mailbox; 0 for nobody's.
    whose: Cell<usize>,
    /// The hub that one of the commands has no place of, by its address; 0 for none.
    owes: Cell<usize>,
    holds: Cell<Holds>,
    /// Dropped by the [`Sitting`] if by nobody else.
    message: Cell<ManuallyDrop<Option<Message>>>,
}

thread_local! {
    static TURN: Turn = const {
        Turn {
            whose: Cell::new(0),
            owes: Cell::new(0),
            holds: Cell::new(Holds::Nothing),
            message: Cell::new(ManuallyDrop::new(None)),
        }
    };
    static COMMANDS: RefCell<VecDeque<Command>> = const { RefCell::new(VecDeque::new()) };
}

impl Turn {
    /// Whether it is this connection's, and nothing waits in its mailbox.
    fn is_of(&self, mailbox: &Mailbox) -> bool {
        self.whose.get() == address(mailbox) && !mailbox.has_mail()
    }

    /// Whether a command of this connection's would be the first, and may go without a place, while the queue has room.
    fn is_first(&self, hub: &Hub, mailbox: &Mailbox) -> bool {
        self.is_of(mailbox) && self.holds.get() == Holds::Nothing && hub.has_room()
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

    fn take_message(&self) -> Option<Message> {
        ManuallyDrop::into_inner(self.message.replace(ManuallyDrop::new(None)))
    }

    /// Clears the desk, whatever is on it.
    #[cold]
    fn take_all(&self) -> VecDeque<Command> {
        self.cleared();
        let mut commands = COMMANDS.try_with(RefCell::take).unwrap_or_default();
        commands.extend(self.take_message().map(Command::Message));
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
    TURN.with(|turn| turn.holds.get() != Holds::Nothing)
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
    pub(crate) fn begin(mailbox: &Mailbox) -> Self {
        TURN.with(|turn| {
            let whose = turn.whose.replace(address(mailbox));
            Self { outer: if whose == 0 { None } else { Some(Outer::put_aside(turn, whose)) } }
        })
    }
}

impl Outer {
    #[cold]
    fn put_aside(turn: &Turn, whose: usize) -> Box<Self> {
        let owes = turn.owes.get();
        Box::new(Self { whose, owes, commands: turn.take_all() })
    }
}

impl Drop for Sitting {
    fn drop(&mut self) {
        TURN.with(|turn| {
            if turn.holds.get() != Holds::Nothing {
                // A broadcast that ends here gives its room back.
                drop(turn.take_all());
            }
            turn.whose.set(0);
            if let Some(outer) = self.outer.take() {
                turn.whose.set(outer.whose);
                turn.owes.set(outer.owes);
                if !outer.commands.is_empty() {
                    turn.holds.set(Holds::Commands);
                    let _ = COMMANDS.try_with(|commands| commands.replace(outer.commands));
                }
            }
        });
    }
}

/// Puts down a message that takes no place: the first command of this connection's turn, while the queue has room. What
/// comes back is for someone else, or for later.
pub(crate) fn put_message(hub: &Hub, mailbox: &Mailbox, message: Message) -> Result<(), Message> {
    TURN.with(|turn| {
        if !turn.is_first(hub, mailbox) {
            return Err(message);
        }
        turn.message.set(ManuallyDrop::new(Some(message)));
        turn.owes.set(address(hub));
        turn.holds.set(Holds::Message);
        Ok(())
    })
}

/// The same of any command.
pub(crate) fn put_first(hub: &Hub, mailbox: &Mailbox, command: Command) -> Option<Command> {
    TURN.with(|turn| {
        if !turn.is_first(hub, mailbox) {
            return Some(command);
        }
        let left = turn.push(command);
        if left.is_none() {
            turn.owes.set(address(hub));
        }
        left
    })
}

/// Puts down a command if it is this connection's turn.
pub(crate) fn put(mailbox: &Mailbox, command: Command) -> Option<Command> {
    TURN.with(|turn| if turn.is_of(mailbox) { turn.push(command) } else { Some(command) })
}

/// How many commands on this thread's desk have no place of that hub.
pub(crate) fn owed(hub: &Hub) -> usize {
    TURN.with(|turn| usize::from(turn.owes.get() == address(hub)))
}

/// Takes what is on the desk if it is a message and nothing else.
pub(crate) fn take_only_message(mailbox: &Mailbox) -> Option<Message> {
    TURN.with(|turn| {
        if turn.holds.get() != Holds::Message || turn.whose.get() != address(mailbox) {
            return None;
        }
        turn.cleared();
        turn.take_message()
    })
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
    let message = TURN.with(|turn| {
        if turn.whose.get() != address(mailbox) {
            return Some(Taken::Nothing);
        }
        turn.cleared();
        turn.take_message().map(|message| Taken::One(Command::Message(message)))
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
    TURN.with(|turn| {
        if turn.whose.get() != address(mailbox) {
            return (VecDeque::new(), 0);
        }
        let owed = usize::from(turn.owes.get() != 0);
        (turn.take_all(), owed)
    })
}

/// Tells apart what is alive at the same time.
fn address<T>(of: &T) -> usize {
    std::ptr::from_ref(of).addr()
}
