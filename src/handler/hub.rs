//! What the connections of one `WebSocket` share: who they are, and how many commands wait.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    task::Waker,
};

use tokio::runtime::Handle;
use url::Url;

use crate::{
    Config,
    handler::{
        Compressed, Settings,
        batch::{Bundle, Gathering},
        desk,
        mailbox::{Broadcast, Command, Everyone, Mailbox, Posted},
        util::{QueueError, Token},
    },
};

/// One `WebSocket`'s share in all of its Senders and connections.
#[derive(Debug)]
pub(crate) struct Hub {
    pub(crate) rules: Arc<Rules>,
    owner: Owner,
    lines: Mutex<Lines>,
    room: Condvar,
    waiting_for_room: AtomicUsize,
    /// Commands that wait.
    queued: AtomicUsize,
    capacity: usize,
    gone: AtomicBool,
    gathering: Gathering,
    timeouts: AtomicU64,
    /// What handlers that compress last asked for: nearly always all the same.
    compressing: Mutex<Option<(Compressed, Arc<Rules>)>>,
}

/// The settings of a connection, as ws-rs has them and as the core has them.
#[derive(Debug)]
pub(crate) struct Rules {
    pub(crate) settings: Settings,
    pub(crate) config: Arc<Config>,
}

impl Rules {
    pub(crate) fn of(settings: Settings) -> Arc<Self> {
        Arc::new(Self { settings, config: Arc::new(settings.config()) })
    }
}

/// Who carries out what no connection does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    /// A `WebSocket`, whenever it runs.
    WebSocket,
    /// Nobody: a connection that was attached by itself.
    Nobody,
}

#[derive(Debug, Default)]
struct Lines {
    commands: VecDeque<OwnerCommand>,
    waker: Option<Waker>,
    connections: BTreeMap<u32, Arc<Mailbox>>,
    slots: Slots,
    next_id: u32,
    /// All connections, until one comes or goes.
    everyone: Option<Arc<[Arc<Mailbox>]>>,
    /// Client connections that are asked for and not made yet.
    connecting: usize,
    /// Broadcasts so far.
    broadcasts: u64,
}

/// Numbers of places: the lowest free one is used next.
#[derive(Debug, Default)]
struct Slots {
    free: BTreeSet<usize>,
    used: usize,
}

/// What the `WebSocket` itself is asked to do.
#[derive(Debug)]
pub(crate) enum OwnerCommand {
    /// Make a client connection; broadcasts from this number on are for it too.
    Connect {
        url: Url,
        since: u64,
        permit: Option<Permit>,
    },
    /// A broadcast that was issued behind a `Connect`, for whoever that made meanwhile.
    Late {
        broadcast: Arc<Broadcast>,
        number: u64,
    },
    Shutdown,
}

/// Whether a caller that finds the queue full may wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Patience {
    /// Outside of Tokio: until there is room.
    Block,
    Never,
}

impl Hub {
    pub(crate) fn new(settings: Settings, owner: Owner) -> Arc<Self> {
        Arc::new(Self {
            rules: Rules::of(settings),
            owner,
            lines: Mutex::default(),
            room: Condvar::new(),
            waiting_for_room: AtomicUsize::new(0),
            queued: AtomicUsize::new(0),
            capacity: settings.max_connections.saturating_mul(settings.queue_size).max(1),
            gone: AtomicBool::new(false),
            gathering: Gathering::default(),
            timeouts: AtomicU64::new(0),
            compressing: Mutex::default(),
        })
    }

    /// These rules for a handler that compresses.
    pub(crate) fn compressing(&self, rules: &Arc<Rules>, wanted: &Compressed) -> Arc<Rules> {
        let mut last = self.compressing.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((same, compressing)) = &*last
            && same == wanted
            && Arc::ptr_eq(rules, &self.rules)
        {
            return Arc::clone(compressing);
        }
        let mut config = Config::clone(&rules.config);
        config.deflate.clone_from(&wanted.deflate);
        config.limits.max_fragments = wanted.max_fragments;
        let compressing = Arc::new(Rules { settings: rules.settings, config: Arc::new(config) });
        if Arc::ptr_eq(rules, &self.rules) {
            *last = Some((wanted.clone(), Arc::clone(&compressing)));
        }
        compressing
    }

    fn lines(&self) -> MutexGuard<'_, Lines> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A number for a timeout, greater than all before.
    pub(crate) fn timeout_number(&self) -> u64 {
        self.timeouts.fetch_add(1, Ordering::Relaxed)
    }

    #[inline]
    pub(crate) fn is_gone(&self) -> bool {
        self.gone.load(Ordering::Acquire)
    }

    /// The `WebSocket` is no more.
    pub(crate) fn end(&self) {
        self.gone.store(true, Ordering::Release);
        let commands = std::mem::take(&mut self.lines().commands);
        drop(commands);
        self.room.notify_all();
    }

    /// The same as something that is held, and given back by dropping it.
    pub(crate) fn take_permit(self: &Arc<Self>, patience: Patience) -> Result<Permit, QueueError> {
        self.take_room(patience)?;
        Ok(Permit(Arc::clone(self)))
    }

    /// Takes a place among the commands that may wait.
    pub(crate) fn take_room(&self, patience: Patience) -> Result<(), QueueError> {
        if self.is_gone() {
            return Err(QueueError::Closed);
        }
        if self.try_take_room() {
            return Ok(());
        }
        if patience == Patience::Never || Handle::try_current().is_ok() {
            return Err(QueueError::Full);
        }
        let mut lines = self.lines();
        self.waiting_for_room.fetch_add(1, Ordering::SeqCst);
        let taken = loop {
            if self.is_gone() {
                break Err(QueueError::Closed);
            }
            if self.try_take_room() {
                break Ok(());
            }
            lines = self.room.wait(lines).unwrap_or_else(PoisonError::into_inner);
        };
        self.waiting_for_room.fetch_sub(1, Ordering::SeqCst);
        taken
    }

    /// Whether one more command may wait.
    #[inline]
    pub(crate) fn has_room(&self) -> bool {
        !self.is_gone() && self.queued.load(Ordering::SeqCst) < self.capacity
    }

    /// Whether more than half of the commands wait that may.
    #[inline]
    pub(crate) fn is_half_full(&self) -> bool {
        self.queued.load(Ordering::Relaxed) > self.capacity / 2
    }

    fn try_take_room(&self) -> bool {
        let capacity = self.capacity - desk::owed(self);
        let more = |queued: usize| (queued < capacity).then_some(queued + 1);
        self.queued.fetch_update(Ordering::SeqCst, Ordering::SeqCst, more).is_ok()
    }

    /// Takes places whether there are any or not, for commands that have none.
    pub(crate) fn owe_room(&self, places: usize) {
        self.queued.fetch_add(places, Ordering::SeqCst);
    }

    pub(crate) fn give_room(&self, places: usize) {
        if places > 0 {
            self.queued.fetch_sub(places, Ordering::SeqCst);
            if self.waiting_for_room.load(Ordering::SeqCst) > 0 {
                drop(self.lines());
                self.room.notify_all();
            }
        }
    }

    /// Asks for a client connection.
    pub(crate) fn connect(&self, url: Url, permit: Option<Permit>) -> Result<(), QueueError> {
        if self.owner == Owner::Nobody {
            return Err(QueueError::Closed);
        }
        let mut lines = self.lines();
        // Looked at behind the lock: nobody would take it.
        if self.is_gone() {
            return Err(QueueError::Closed);
        }
        lines.connecting += 1;
        let since = lines.broadcasts;
        let waker = lines.post(OwnerCommand::Connect { url, since, permit });
        drop(lines);
        wake(waker);
        Ok(())
    }

    pub(crate) fn shutdown(&self) {
        match self.owner {
            Owner::WebSocket => {
                let waker = self.lines().post(OwnerCommand::Shutdown);
                wake(waker);
            }
            Owner::Nobody => self.shutdown_everyone(),
        }
    }

    pub(crate) fn shutdown_everyone(&self) {
        self.post_gathered();
        for mailbox in &*self.everyone() {
            mailbox.post(Command::Shutdown);
        }
    }

    /// Every connection, held without the lock: posting wakes tasks.
    fn everyone(&self) -> Arc<[Arc<Mailbox>]> {
        self.lines().everyone()
    }

    /// Asks every connection but `except`.
    pub(crate) fn broadcast(self: &Arc<Self>, what: Everyone, permit: Permit, except: Option<u32>) {
        let broadcast = Broadcast::new(what, permit);
        let mut lines = self.lines();
        let number = lines.broadcasts;
        lines.broadcasts += 1;
        let late = OwnerCommand::Late { broadcast: Arc::clone(&broadcast), number };
        let everyone = lines.everyone();
        // A `WebSocket` that waits for its first command has one now, although there is nobody to carry it out.
        let is_first = everyone.is_empty() && lines.commands.is_empty() && self.owner == Owner::WebSocket;
        let waker = if (lines.connecting > 0 || is_first) && !self.is_gone() { lines.post(late) } else { None };
        drop(lines);
        wake(waker);
        let Some(broadcast) = self.gather(broadcast, &everyone, except) else { return };
        self.post_gathered();
        for mailbox in everyone.iter().filter(|mailbox| Some(mailbox.id) != except) {
            mailbox.post(Command::Shared(Bundle::One(Arc::clone(&broadcast))));
        }
    }

    /// Keeps a broadcast that the turn on this thread issues until the turn ends, if nobody can tell.
    fn gather(
        self: &Arc<Self>,
        broadcast: Arc<Broadcast>,
        everyone: &Arc<[Arc<Mailbox>]>,
        except: Option<u32>,
    ) -> Option<Arc<Broadcast>> {
        let Some(turn) = desk::turn_of(self).filter(|turn| except.is_none_or(|except| except == turn.id)) else {
            return Some(broadcast);
        };
        let own = Arc::clone(&broadcast);
        if let Some(broadcast) = self.gathering.add(turn, broadcast, everyone) {
            return Some(broadcast);
        }
        desk::gathers(self);
        if except.is_none()
            && let Ok(at) = everyone.binary_search_by_key(&turn.id, |mailbox| mailbox.id)
            && let Some(mailbox) = everyone.get(at)
        {
            mailbox.post(Command::Shared(Bundle::One(own)));
        }
        None
    }

    pub(crate) fn turn_begins(&self, thread: usize) {
        self.gathering.turn_begins(thread);
    }

    /// Posts what turns have broadcast so far.
    pub(crate) fn post_gathered(&self) {
        if self.gathering.has_some() {
            self.gathering.post();
        }
    }

    /// Posts a command to one connection, behind what was broadcast before.
    pub(crate) fn post(&self, mailbox: &Mailbox, command: Command) -> Posted {
        if self.gathering.has_some() && !desk::is_turn_of(mailbox) {
            self.gathering.post();
        }
        mailbox.post(command)
    }

    /// The next command for the `WebSocket`; its task is woken for another.
    pub(crate) fn next(&self, waker: &Waker) -> Option<OwnerCommand> {
        let mut lines = self.lines();
        let command = lines.commands.pop_front();
        if command.is_none() {
            lines.waker = Some(waker.clone());
        }
        command
    }

    /// A client connection that was asked for is not made.
    pub(crate) fn connect_dropped(&self) {
        self.lines().connecting -= 1;
    }

    pub(crate) fn has_commands(&self) -> bool {
        !self.lines().commands.is_empty()
    }

    /// Passes on a broadcast to those client connections that were asked for before it and made after it.
    pub(crate) fn pass_on(&self, broadcast: &Arc<Broadcast>, number: u64) {
        self.post_gathered();
        for mailbox in self.everyone().iter().filter(|mailbox| mailbox.misses(number)) {
            mailbox.post(Command::Shared(Bundle::One(Arc::clone(broadcast))));
        }
    }

    /// How many connections there are.
    pub(crate) fn len(&self) -> usize {
        self.lines().connections.len()
    }

    /// A new connection: its mailbox, and its membership until dropped.
    ///
    /// `since` is when it was asked for, where that was before now.
    pub(crate) fn join(self: &Arc<Self>, since: Option<u64>) -> Place {
        let mut lines = self.lines();
        if since.is_some() {
            lines.connecting -= 1;
        }
        let token = lines.slots.take();
        let id = lines.free_id();
        let made = lines.broadcasts;
        let mailbox = Mailbox::new(Token(token), id, since.unwrap_or(made)..made);
        lines.connections.insert(id, Arc::clone(&mailbox));
        lines.everyone = None;
        drop(lines);
        Place { hub: Arc::clone(self), mailbox }
    }

    fn leave(&self, mailbox: &Mailbox) {
        self.give_room(mailbox.close());
        let mut lines = self.lines();
        lines.connections.remove(&mailbox.id);
        lines.slots.give(mailbox.token.0);
        lines.everyone = None;
    }

    pub(crate) fn find(&self, id: u32) -> Option<Arc<Mailbox>> {
        self.lines().connections.get(&id).cloned()
    }

    /// Whoever is there, by number.
    pub(crate) fn living(&self) -> Vec<Arc<Mailbox>> {
        self.everyone().iter().filter(|mailbox| !mailbox.is_gone()).cloned().collect()
    }
}

impl Lines {
    /// Whoever is returned is to be woken without the lock.
    fn post(&mut self, command: OwnerCommand) -> Option<Waker> {
        self.commands.push_back(command);
        self.waker.take()
    }

    fn everyone(&mut self) -> Arc<[Arc<Mailbox>]> {
        let connections = &self.connections;
        Arc::clone(self.everyone.get_or_insert_with(|| connections.values().cloned().collect()))
    }

    /// The next number that none of the living has.
    fn free_id(&mut self) -> u32 {
        while self.connections.contains_key(&self.next_id) {
            self.next_id = self.next_id.wrapping_add(1);
        }
        let id = self.next_id;
        self.next_id = self.next_id.wrapping_add(1);
        id
    }
}

impl Slots {
    fn take(&mut self) -> usize {
        self.free.pop_first().unwrap_or_else(|| {
            self.used += 1;
            self.used - 1
        })
    }

    fn give(&mut self, slot: usize) {
        self.free.insert(slot);
    }
}

fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}

/// A place among the commands that may wait, until dropped.
#[derive(Debug)]
pub(crate) struct Permit(Arc<Hub>);

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.give_room(1);
    }
}

/// A connection's membership, until dropped.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) hub: Arc<Hub>,
    pub(crate) mailbox: Arc<Mailbox>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.hub.leave(&self.mailbox);
    }
}

/// Sends a command to the connection that a timeout belongs to.
pub(crate) fn post_to(hub: &Hub, mailbox: &Weak<Mailbox>, command: Command) -> Posted {
    mailbox.upgrade().map_or(Posted::Dropped, |mailbox| hub.post(&mailbox, command))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The owner has taken the wish for a connection, and is about to make it, when another thread broadcasts.
    #[test]
    fn a_broadcast_reaches_a_connection_that_is_being_made_s3_8() {
        let hub = Hub::new(Settings::default(), Owner::WebSocket);
        hub.connect(Url::parse("ws://localhost").unwrap(), None).unwrap();
        let Some(OwnerCommand::Connect { since, .. }) = hub.next(Waker::noop()) else { panic!("no wish") };
        let permit = hub.take_permit(Patience::Never).unwrap();
        hub.broadcast(Everyone::Ping(bytes::Bytes::new()), permit, None);
        let place = hub.join(Some(since));
        let Some(OwnerCommand::Late { broadcast, number }) = hub.next(Waker::noop()) else { panic!("not passed on") };
        hub.pass_on(&broadcast, number);
        assert!(place.mailbox.has_mail());
    }
}
