//! What compressors and inflaters work with belongs to the thread, and is lent for as long as a message takes.
//!
//! A connection that keeps no context between messages then owns nothing between them, and what is expensive to make is
//! made once for each thread. At the end of a thread its pools are gone, and whatever is given back then is dropped.

use std::{
    cell::RefCell,
    ops::{Deref, DerefMut},
};

/// Things of one kind that are not in use.
#[derive(Debug)]
pub(super) struct Pool<T>(RefCell<Vec<T>>);

impl<T> Pool<T> {
    pub(super) const fn new() -> Self {
        Self(RefCell::new(Vec::new()))
    }

    pub(super) fn take(&self, fits: impl FnMut(&T) -> bool) -> Option<T> {
        let mut idle = self.0.borrow_mut();
        let at = idle.iter().position(fits)?;
        Some(idle.swap_remove(at))
    }

    /// Keeps it for the next one, and at most `at_most` of them all: the one that has waited longest goes.
    pub(super) fn give(&self, item: T, at_most: usize) {
        let mut idle = self.0.borrow_mut();
        if idle.len() >= at_most {
            idle.remove(0);
        }
        idle.push(item);
    }
}

/// The bytes of a [`Scratch`]: what one step of inflating may put out before other tasks have their turn.
pub(super) const SCRATCH: usize = 64 * 1024;

/// Scratch buffers kept per thread: a caller holds one, or two.
const SCRATCHES: usize = 2;

thread_local! {
    static POOL: Pool<Box<[u8]>> = const { Pool::new() };
}

/// A buffer to put output into before its length is known, so that what is kept is no larger than it has to be.
#[derive(Debug)]
pub(super) struct Scratch(Box<[u8]>);

impl Scratch {
    pub(super) fn take() -> Self {
        let idle = POOL.try_with(|pool| pool.take(|_| true)).ok().flatten();
        Self(idle.unwrap_or_else(|| vec![0; SCRATCH].into_boxed_slice()))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let buffer = std::mem::take(&mut self.0);
        // Without a pool, at the end of the thread, the buffer is dropped.
        let _ = POOL.try_with(|pool| pool.give(buffer, SCRATCHES));
    }
}

impl Deref for Scratch {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl DerefMut for Scratch {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pool_keeps_the_latest_and_no_more_than_it_may() {
        let pool = Pool::new();
        for item in 0..5 {
            pool.give(item, 3);
        }
        assert_eq!(pool.take(|item| *item == 1), None);
        assert_eq!(pool.take(|item| *item == 3), Some(3));
        assert_eq!(pool.take(|item| *item == 3), None);
        assert_eq!(pool.0.borrow().len(), 2);
    }

    /// Given back after the pool of its thread is gone.
    #[test]
    fn the_end_of_a_thread_is_no_panic() {
        struct Late(Option<Scratch>);
        impl Drop for Late {
            fn drop(&mut self) {
                drop(self.0.take());
                drop(Scratch::take());
            }
        }
        thread_local! {
            static LATE: RefCell<Late> = const { RefCell::new(Late(None)) };
        }
        let thread = std::thread::spawn(|| {
            // Destructors of a thread run in an order of their own: both are tried.
            LATE.with_borrow_mut(|late| late.0 = Some(Scratch::take()));
            drop(Scratch::take());
        });
        assert!(thread.join().is_ok());
        let thread = std::thread::spawn(|| {
            drop(Scratch::take());
            LATE.with_borrow_mut(|late| late.0 = Some(Scratch::take()));
        });
        assert!(thread.join().is_ok());
    }
}
