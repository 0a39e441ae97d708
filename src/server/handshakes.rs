use std::{
    collections::BTreeMap,
    future::{Future, poll_fn},
    pin::Pin,
    sync::{Mutex, MutexGuard, PoisonError},
    task::{Poll, Waker},
};

/// The opening handshakes under way, so that slow ones make room for others.
#[derive(Debug)]
pub(super) struct Handshakes {
    max: usize,
    running: Mutex<Running>,
}

/// The oldest first, each with whom to wake. One that is missing has been cut.
#[derive(Debug, Default)]
struct Running {
    next: u64,
    wakers: BTreeMap<u64, Option<Waker>>,
}

impl Handshakes {
    pub(super) fn new(max: usize) -> Self {
        Self { max, running: Mutex::default() }
    }

    /// One more begins, for which the oldest is cut if there are too many. Its number is to be [ended](Self::end).
    pub(super) fn begin(&self) -> u64 {
        let mut running = self.lock();
        let oldest = if running.wakers.len() >= self.max { running.wakers.pop_first() } else { None };
        let id = running.next;
        running.next += 1;
        running.wakers.insert(id, None);
        drop(running);
        if let Some((_, Some(waker))) = oldest {
            waker.wake();
        }
        id
    }

    pub(super) fn end(&self, id: u64) {
        let waker = self.lock().wakers.remove(&id);
        drop(waker);
    }

    /// A handshake's result, or `None` when it is cut. One that needs not wait is never asked whether it is.
    ///
    /// No `async fn`, and the handshake is pinned by the caller: that would have room for it twice.
    pub(super) fn unless_cut<T>(
        &self,
        id: u64,
        mut handshake: Pin<&mut impl Future<Output = T>>,
    ) -> impl Future<Output = Option<T>> {
        poll_fn(move |cx| {
            if let Poll::Ready(done) = handshake.as_mut().poll(cx) {
                return Poll::Ready(Some(done));
            }
            match self.lock().wakers.get_mut(&id) {
                None => Poll::Ready(None),
                Some(Some(waker)) if waker.will_wake(cx.waker()) => Poll::Pending,
                Some(waker) => {
                    *waker = Some(cx.waker().clone());
                    Poll::Pending
                }
            }
        })
    }

    fn lock(&self) -> MutexGuard<'_, Running> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
