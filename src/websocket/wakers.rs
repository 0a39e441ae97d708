use std::{
    sync::Arc,
    task::{Wake, Waker},
};

/// Which half of the connection a task polls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Reader,
    Writer,
}

/// Who must be woken when the transport can go on.
///
/// A transport remembers one waker for reading and one for writing, but each half here does both: a reader flushes Pongs,
/// TLS reads while it writes. Where two tasks hold the halves (`StreamExt::split`), the transport therefore sees one waker
/// that wakes both; where one task holds all, which is nearly always, its own waker, and nothing is allocated.
#[derive(Debug, Default)]
pub(super) struct Wakers {
    single: Option<Waker>,
    pair: Option<Box<Pair>>,
}

#[derive(Debug)]
struct Pair {
    reader: Waker,
    writer: Waker,
    both: Waker,
}

#[derive(Debug)]
struct Both(Waker, Waker);

impl Wake for Both {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.wake_by_ref();
        self.1.wake_by_ref();
    }
}

impl Wakers {
    /// Whether this is the one task that has polled so far.
    pub(super) fn is_only(&self, waker: &Waker) -> bool {
        self.pair.is_none() && self.single.as_ref().is_some_and(|single| same(single, waker))
    }

    /// Notes that `waker` polls `side`. What comes back, if anything, is to be used in its place.
    pub(super) fn enter(&mut self, side: Side, waker: &Waker) -> Option<Waker> {
        match (&self.single, &self.pair) {
            (None, None) => {
                self.single = Some(waker.clone());
                None
            }
            _ => self.enter_slow(side, waker),
        }
    }

    #[cold]
    fn enter_slow(&mut self, side: Side, waker: &Waker) -> Option<Waker> {
        let (reader, writer) = match (self.pair.take(), self.single.take()) {
            (Some(pair), _) if pair.polled_by(side, waker) => {
                let both = pair.both.clone();
                self.pair = Some(pair);
                return Some(both);
            }
            (Some(pair), _) => (pair.reader, pair.writer),
            // Which half the other task polled is not known: it keeps the other half, and is woken once too often at worst.
            (None, Some(single)) => (single.clone(), single),
            (None, None) => (waker.clone(), waker.clone()),
        };
        let (reader, writer) = match side {
            Side::Reader => (waker.clone(), writer),
            Side::Writer => (reader, waker.clone()),
        };
        if same(&reader, &writer) {
            self.single = Some(reader);
            return None;
        }
        let both = Waker::from(Arc::new(Both(reader.clone(), writer.clone())));
        self.pair = Some(Box::new(Pair { reader, writer, both: both.clone() }));
        Some(both)
    }

    /// Wakes whoever else waits: the connection has ended, or is about to.
    pub(super) fn wake(&mut self) {
        if let Some(pair) = self.pair.take() {
            pair.both.wake();
        }
        self.single = None;
    }
}

impl Pair {
    fn polled_by(&self, side: Side, waker: &Waker) -> bool {
        match side {
            Side::Reader => same(&self.reader, waker),
            Side::Writer => same(&self.writer, waker),
        }
    }
}

/// Whether both wake the same task. The compiler may keep several copies of a waker's table, so that a waker and its clone
/// look different to `will_wake`; their data still is the same.
fn same(waker: &Waker, other: &Waker) -> bool {
    waker.will_wake(other) || (waker.data() == other.data() && !waker.data().is_null())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn one_task_is_woken_by_its_own_waker() {
        let waker = Waker::from(Arc::new(Count::default()));
        let mut wakers = Wakers::default();
        for side in [Side::Reader, Side::Writer, Side::Reader] {
            assert!(wakers.enter(side, &waker).is_none());
        }
    }

    #[test]
    fn two_tasks_are_woken_together() {
        let counts = [Arc::new(Count::default()), Arc::new(Count::default())];
        let [reader, writer] = [0, 1].map(|at| Waker::from(Arc::clone(&counts[at])));
        let mut wakers = Wakers::default();
        wakers.enter(Side::Reader, &reader);
        let both = wakers.enter(Side::Writer, &writer).expect("two tasks");
        both.wake_by_ref();
        wakers.enter(Side::Reader, &reader).expect("still two tasks").wake();
        assert_eq!(counts.map(|count| count.0.load(Ordering::Relaxed)), [2, 2]);
    }

    #[test]
    fn a_connection_that_moves_to_another_task_needs_no_pair_for_long() {
        let [old, new] = [0, 1].map(|_| Waker::from(Arc::new(Count::default())));
        let mut wakers = Wakers::default();
        wakers.enter(Side::Reader, &old);
        assert!(wakers.enter(Side::Reader, &new).is_some());
        assert!(wakers.enter(Side::Writer, &new).is_none());
        assert!(wakers.enter(Side::Reader, &new).is_none());
    }
}
