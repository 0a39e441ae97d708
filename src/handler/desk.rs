//! What a connection is asked to do in its own turn: it stays on the thread that takes the turn, without lock or counters.
//!
//! Everything on the desk was asked for before what waits in the mailbox: while something does, nothing is put here.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    mem,
    sync::Arc,
};

use crate::handler::{
    hub::Hub,
    mailbox::{Command, Mailbox, SPARE_CAPACITY, take_spare},
};

#[derive(Debug)]
struct Desk {
    /// Whose turn it is on this thread, by the address of its mailbox; 0 for nobody's.
    whose: usize,
    commands: VecDeque<Command>,
    /// The hub that one of the commands has no place of, by its address; 0 for none.
    owes: usize,
    /// The number of the connection, and its hub by address.
    id: u32,
    hub: usize,
    /// The same hub, once it has something to post when the turn ends.
    gathers: Option<Arc<Hub>>,
}

impl Desk {
    const EMPTY: Self = Self { whose: 0, commands: VecDeque::new(), owes: 0, id: 0, hub: 0, gathers: None };
}

thread_local! {
    static DESK: RefCell<Desk> = const { RefCell::new(Desk::EMPTY) };
    /// Whether something is on it: asked before and behind every frame.
    static IN_USE: Cell<bool> = const { Cell::new(false) };
}

/// Whether something is on the desk of the connection whose turn it is on this thread.
#[inline]
pub(crate) fn in_use() -> bool {
    IN_USE.get()
}

/// A connection's turn, until dropped. What is on the desk then is dropped too, and what was gathered is posted.
#[derive(Debug)]
pub(crate) struct Sitting {
    /// The turn in which this one began: a callback may run another `WebSocket` to its end.
    outer: Option<Box<Desk>>,
}

impl Sitting {
    pub(crate) fn begin(hub: &Hub, mailbox: &Mailbox) -> Self {
        DESK.with(|cell| {
            hub.turn_begins(address(cell));
            let outer = if cell.borrow().whose == 0 { None } else { put_aside(cell) };
            let mut desk = cell.borrow_mut();
            (desk.whose, desk.id, desk.hub) = (address(mailbox), mailbox.id, address(hub));
            IN_USE.set(false);
            Self { outer }
        })
    }
}

/// Whatever the outer turn waits for may need what it has broadcast.
#[cold]
fn put_aside(cell: &RefCell<Desk>) -> Option<Box<Desk>> {
    let mut outer = Box::new(cell.replace(Desk::EMPTY));
    if let Some(hub) = outer.gathers.take() {
        hub.post_gathered();
    }
    Some(outer)
}

impl Drop for Sitting {
    fn drop(&mut self) {
        let left = DESK.try_with(|desk| {
            let mut desk = desk.borrow_mut();
            IN_USE.set(self.outer.as_ref().is_some_and(|outer| !outer.commands.is_empty()));
            let keeps = desk.commands.is_empty() && desk.commands.capacity() <= SPARE_CAPACITY;
            let gathers = desk.gathers.take();
            let left = match self.outer.take() {
                None if keeps => {
                    (desk.whose, desk.owes) = (0, 0);
                    None
                }
                outer => Some(mem::replace(&mut *desk, outer.map_or(Desk::EMPTY, |outer| *outer))),
            };
            (left, gathers)
        });
        // Dropped behind the desk: a broadcast that ends here gives its room back.
        let Ok((left, gathers)) = left else { return };
        drop(left);
        if let Some(hub) = gathers {
            hub.post_gathered();
        }
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
    DESK.try_with(|desk| {
        let thread = address(desk);
        let desk = desk.borrow();
        (desk.whose != 0 && desk.hub == address(hub)).then_some(Turn { id: desk.id, thread })
    })
    .ok()
    .flatten()
}

/// The hub has something to post when this thread's turn ends.
pub(crate) fn gathers(hub: &Arc<Hub>) {
    DESK.with_borrow_mut(|desk| {
        desk.gathers.get_or_insert_with(|| Arc::clone(hub));
    });
}

/// Whether it is this connection's turn on this thread.
pub(crate) fn is_turn_of(mailbox: &Mailbox) -> bool {
    DESK.try_with(|desk| desk.borrow().whose == address(mailbox)).unwrap_or(false)
}

/// Puts down a command that takes no place: the first of this connection's turn, while the queue has room. What comes back
/// is for someone else, or for later.
pub(crate) fn put_first(hub: &Hub, mailbox: &Mailbox, command: Command) -> Option<Command> {
    put_if(mailbox, command, |desk| {
        let first = desk.commands.is_empty() && hub.has_room();
        if first {
            desk.owes = address(hub);
        }
        first
    })
}

/// Puts down a command if it is this connection's turn.
pub(crate) fn put(mailbox: &Mailbox, command: Command) -> Option<Command> {
    put_if(mailbox, command, |_| true)
}

#[inline]
fn put_if(mailbox: &Mailbox, command: Command, may: impl FnOnce(&mut Desk) -> bool) -> Option<Command> {
    let mut command = Some(command);
    // A thread that is ending takes no turns.
    let _ = DESK.try_with(|desk| {
        let mut desk = desk.borrow_mut();
        if desk.whose == address(mailbox)
            && !mailbox.has_mail()
            && may(&mut desk)
            && let Some(command) = command.take()
        {
            desk.commands.push_back(command);
            IN_USE.set(true);
        }
    });
    command
}

/// How many commands on this thread's desk have no place of that hub.
pub(crate) fn owed(hub: &Hub) -> usize {
    DESK.try_with(|desk| usize::from(desk.borrow().owes == address(hub))).unwrap_or(0)
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
    DESK.with_borrow_mut(|desk| {
        if desk.whose != address(mailbox) {
            return Taken::Nothing;
        }
        desk.owes = 0;
        IN_USE.set(false);
        if desk.commands.len() < 2 {
            return desk.commands.pop_front().map_or(Taken::Nothing, Taken::One);
        }
        if queue.capacity() == 0 {
            *queue = take_spare();
        }
        mem::swap(&mut desk.commands, queue);
        Taken::More
    })
}

/// Clears the desk before the turn ends, and says for how many of its commands a place is owed.
pub(crate) fn clear(mailbox: &Mailbox) -> (VecDeque<Command>, usize) {
    DESK.with_borrow_mut(|desk| {
        if desk.whose != address(mailbox) {
            return (VecDeque::new(), 0);
        }
        let owed = usize::from(mem::take(&mut desk.owes) != 0);
        IN_USE.set(false);
        (mem::take(&mut desk.commands), owed)
    })
}

/// Tells apart what is alive at the same time.
fn address<T>(of: &T) -> usize {
    std::ptr::from_ref(of).addr()
}
