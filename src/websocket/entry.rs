//! How the connections of a server are told that it ends: each has an entry in a list that they share.
//!
//! ```text
//! Serve --- the list is drained ---> Close --- the deadline, or a second signal ---> Cut
//! ```
//!
//! An order is never taken back. Whoever holds an entry, the connection and the task that serves it, keeps to the order when
//! it is polled, and is woken for it.

use std::{
    future::{Future, poll_fn},
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicU8, AtomicU32, AtomicUsize, Ordering},
    },
    task::{Poll, Waker},
};

use futures_util::{FutureExt, task::AtomicWaker};
use slab::Slab;
use tokio::sync::Notify;

use crate::{
    Error, Result,
    proto::{Awaited, CloseCode},
};

/// What all connections of a list are to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// Go on.
    Serve,
    /// Begin the closing handshake.
    Close(CloseCode),
    /// End at once; the code is for those that have not begun to close.
    Cut(CloseCode),
}

impl Order {
    const CUT: u32 = 1 << 16;

    fn encode(self) -> u32 {
        match self {
            Self::Serve => 0,
            Self::Close(code) => u32::from(code.get()),
            Self::Cut(code) => Self::CUT | u32::from(code.get()),
        }
    }

    fn decode(order: u32) -> Self {
        let code = u16::try_from(order & !Self::CUT).ok().and_then(|code| CloseCode::try_from(code).ok());
        match code {
            None => Self::Serve,
            Some(code) if order & Self::CUT == 0 => Self::Close(code),
            Some(code) => Self::Cut(code),
        }
    }

    pub(crate) const fn code(self) -> Option<CloseCode> {
        match self {
            Self::Serve => None,
            Self::Close(code) | Self::Cut(code) => Some(code),
        }
    }

    pub(crate) const fn is_cut(self) -> bool {
        matches!(self, Self::Cut(_))
    }
}

/// Connections that end together, those in their opening handshake included.
#[derive(Debug, Default)]
pub(crate) struct Entries {
    order: AtomicU32,
    list: Mutex<List>,
    open: AtomicUsize,
    /// Notified of every order, and when the list has become empty.
    changed: Notify,
}

#[derive(Debug, Default)]
struct List {
    entries: Slab<Weak<Entry>>,
    /// Those that were open when they were told to close and have ended.
    ended: Ended,
}

/// How connections ended once they were told to close.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ended {
    pub(crate) clean: usize,
    pub(crate) forced: usize,
}

impl Entries {
    /// One lock, and one more when the entry is dropped.
    pub(crate) fn enter(self: &Arc<Self>) -> Arc<Entry> {
        let mut list = self.list();
        let vacant = list.entries.vacant_entry();
        let entry = Arc::new(Entry {
            entries: Arc::clone(self),
            at: vacant.key(),
            stage: AtomicU8::new(OPENING),
            connection: AtomicWaker::new(),
            task: AtomicWaker::new(),
        });
        vacant.insert(Arc::downgrade(&entry));
        entry
    }

    pub(crate) fn order(&self) -> Order {
        Order::decode(self.order.load(Ordering::SeqCst))
    }

    /// Gives an order, unless it or a later one was given before; the first code is kept.
    pub(crate) fn give(&self, order: Order) {
        let given =
            self.order.try_update(Ordering::SeqCst, Ordering::SeqCst, |before| match (Order::decode(before), order) {
                (Order::Serve, _) => Some(order.encode()),
                (Order::Close(code), Order::Cut(_)) => Some(Order::Cut(code).encode()),
                (Order::Close(_) | Order::Cut(_), _) => None,
            });
        if given.is_err() {
            return;
        }
        // Woken without the lock: a waker may run what drops an entry.
        let entries: Vec<_> = self.list().entries.iter().filter_map(|(_, entry)| entry.upgrade()).collect();
        for entry in entries {
            entry.connection.wake();
            entry.task.wake();
        }
        self.changed.notify_waiters();
    }

    /// Connections that are open, or whose application has not ended.
    pub(crate) fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.list().entries.is_empty()
    }

    /// Those that are open still count as forced.
    pub(crate) fn ended(&self) -> Ended {
        let list = self.list();
        Ended { forced: list.ended.forced + self.open(), ..list.ended }
    }

    /// Waits until this is true of them, as it may become with an order, or when the list becomes empty.
    pub(crate) async fn until(&self, is_so: impl Fn(&Self) -> bool) {
        loop {
            // Made first: what changes after that is not missed.
            let changed = self.changed.notified();
            if is_so(self) {
                return;
            }
            changed.await;
        }
    }

    fn list(&self) -> MutexGuard<'_, List> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The stages of an entry: in its opening handshake, open, and cut because a peer took too long over its end.
const OPENING: u8 = 0;
const OPEN: u8 = 1;
const LATE: u8 = 2;

/// A connection in the list, until neither it nor its application is left.
#[derive(Debug)]
pub(crate) struct Entry {
    entries: Arc<Entries>,
    at: usize,
    stage: AtomicU8,
    /// Whoever waits for the connection.
    connection: AtomicWaker,
    /// The task that opens it, and then runs its application: that may be stuck, and not look at its connection.
    task: AtomicWaker,
}

impl Entry {
    pub(super) fn opened(&self) {
        self.stage.store(OPEN, Ordering::Relaxed);
        self.entries.open.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn late(&self) {
        self.stage.store(LATE, Ordering::Relaxed);
    }

    pub(crate) fn order(&self) -> Order {
        self.entries.order()
    }

    /// The order, of whose change the poller of the connection will be woken: once.
    pub(super) fn watch(&self, poller: &Waker) -> Order {
        self.connection.register(poller);
        self.order()
    }

    /// The same for the task that serves the connection.
    pub(super) fn watch_in_task(&self, task: &Waker) -> Order {
        self.task.register(task);
        self.order()
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let mut list = self.entries.list();
        if *self.stage.get_mut() != OPENING {
            self.entries.open.fetch_sub(1, Ordering::Relaxed);
            match (self.entries.order(), *self.stage.get_mut()) {
                (Order::Serve, _) => {}
                (Order::Close(_), OPEN) => list.ended.clean += 1,
                (Order::Close(_) | Order::Cut(_), _) => list.ended.forced += 1,
            }
        }
        list.entries.remove(self.at);
        if list.entries.is_empty() {
            drop(list);
            self.entries.changed.notify_waiters();
        }
    }
}

/// The result, or `None` once there is an order that the work must not go on under.
///
/// No `async fn`, and the work is pinned by the caller: that would have room for it twice.
fn unless<T>(
    entry: Option<&Entry>,
    stops: fn(Order) -> bool,
    mut work: Pin<&mut impl Future<Output = T>>,
) -> impl Future<Output = Option<T>> {
    poll_fn(move |cx| {
        if entry.is_some_and(|entry| stops(entry.watch_in_task(cx.waker()))) {
            return Poll::Ready(None);
        }
        work.as_mut().poll(cx).map(Some)
    })
}

/// What only makes sense while the server goes on; `None` when it does not.
pub(crate) fn while_serving<T>(
    entry: Option<&Entry>,
    work: Pin<&mut impl Future<Output = T>>,
) -> impl Future<Output = Option<T>> {
    unless(entry, |order| order != Order::Serve, work)
}

/// An opening handshake, cut when everything is.
pub(crate) fn until_cut<T>(
    entry: Option<&Entry>,
    handshake: Pin<&mut impl Future<Output = Result<T>>>,
) -> impl Future<Output = Result<T>> {
    unless(entry, Order::is_cut, handshake).map(|done| done.unwrap_or(Err(Error::Timeout(Awaited::Handshake))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_is_never_taken_back_and_keeps_its_first_code() {
        let [first, second] = [CloseCode::GOING_AWAY, CloseCode::SERVICE_RESTART];
        let entries = Entries::default();
        let steps = [
            (Order::Close(first), Order::Close(first)),
            (Order::Close(second), Order::Close(first)),
            (Order::Cut(second), Order::Cut(first)),
            (Order::Close(second), Order::Cut(first)),
        ];
        assert_eq!(entries.order(), Order::Serve);
        for (given, expected) in steps {
            entries.give(given);
            assert_eq!(entries.order(), expected, "{given:?}");
        }
    }
}
