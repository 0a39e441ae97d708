//! The messages that a turn broadcasts go to each other connection as one command, behind the turn, where nobody can tell:
//! where all have their turns on one thread.

use std::{
    borrow::Cow,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::Waker,
};

use bytes::{Bytes, BytesMut};
use tokio::runtime::{Handle, RuntimeFlavor};

use crate::{
    handler::{
        OpCode,
        desk::Turn,
        mailbox::{Broadcast, Command, Encoded, Everyone, Mailbox},
    },
    proto::{
        Header,
        connection::{Payload, SharedForm},
    },
};

/// Bytes in one batch at most: its frames are queued as one, and a Pong waits for that.
const MOST: usize = 16 * 1024;

/// Messages that are broadcast together.
#[derive(Debug)]
pub(crate) struct Batch {
    pub(crate) broadcasts: Box<[Arc<Broadcast>]>,
    frames: Encoded,
}

impl Batch {
    /// The frames of all, encoded once for all that send them in the same form.
    pub(crate) fn frames(&self, form: SharedForm, mut encode: impl FnMut(OpCode, &Payload) -> Bytes) -> Cow<'_, Bytes> {
        self.frames.get(form, || {
            let mut frames = BytesMut::new();
            for broadcast in &self.broadcasts {
                if let Everyone::Send { opcode, payload, encoded } = &broadcast.what {
                    frames.extend_from_slice(&encoded.get(form, || encode(*opcode, payload)));
                }
            }
            frames.freeze()
        })
    }
}

/// What the turn under way has broadcast and not posted yet.
///
/// Whoever posts to another connection posts this first, and holds the lock until every mailbox has it: nothing overtakes,
/// from whatever thread.
#[derive(Debug, Default)]
pub(crate) struct Gathering {
    some: AtomicBool,
    /// On which thread all turns have been so far.
    thread: AtomicUsize,
    gathered: Mutex<Gathered>,
}

/// As `thread`: none yet, and more than one.
const NONE: usize = 0;
const SEVERAL: usize = usize::MAX;

#[derive(Debug, Default)]
struct Gathered {
    broadcasts: Vec<Arc<Broadcast>>,
    bytes: usize,
    everyone: Option<Arc<[Arc<Mailbox>]>>,
    /// Whose turn it is. What it sends to itself is posted at once.
    except: u32,
}

/// A broadcast, or the messages of several.
#[derive(Clone, Debug)]
pub(crate) enum Bundle {
    One(Arc<Broadcast>),
    More(Arc<Batch>),
}

impl Bundle {
    fn of(broadcasts: &mut Vec<Arc<Broadcast>>) -> Option<Self> {
        if broadcasts.len() < 2 {
            return broadcasts.pop().map(Self::One);
        }
        let broadcasts = broadcasts.drain(..).collect();
        Some(Self::More(Arc::new(Batch { broadcasts, frames: Encoded::default() })))
    }
}

/// What was posted, to be dealt with when the lock is released: wakers may do anything, and a broadcast that ends here gives
/// its room back.
#[derive(Debug, Default)]
#[must_use]
struct Delivered {
    wakers: Vec<Waker>,
    _bundle: Option<Bundle>,
}

impl Delivered {
    fn wake(self) {
        self.wakers.into_iter().for_each(Waker::wake);
    }
}

impl Gathering {
    fn gathered(&self) -> std::sync::MutexGuard<'_, Gathered> {
        self.gathered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether something waits. What happened before on the caller's thread, or on one that it heard from, is seen for sure.
    #[inline]
    pub(crate) fn has_some(&self) -> bool {
        self.some.load(Ordering::Acquire)
    }

    #[inline]
    pub(crate) fn turn_begins(&self, thread: usize) {
        let seen = self.thread.load(Ordering::Relaxed);
        if seen != thread && seen != SEVERAL {
            self.turn_begins_elsewhere(thread);
        }
    }

    #[cold]
    fn turn_begins_elsewhere(&self, thread: usize) {
        if self.thread.compare_exchange(NONE, thread, Ordering::SeqCst, Ordering::SeqCst).is_err() {
            self.thread.store(SEVERAL, Ordering::SeqCst);
            self.post();
        }
    }

    /// Keeps a message for the end of the turn. What comes back is to be posted now.
    pub(crate) fn add(
        &self,
        turn: Turn,
        broadcast: Arc<Broadcast>,
        everyone: &Arc<[Arc<Mailbox>]>,
    ) -> Option<Arc<Broadcast>> {
        let Everyone::Send { payload, .. } = &broadcast.what else { return Some(broadcast) };
        let len = payload.bytes().len().saturating_add(Header::MAX_LEN);
        if len > MOST {
            return Some(broadcast);
        }
        let mut gathered = self.gathered();
        if self.thread.load(Ordering::SeqCst) != turn.thread {
            return Some(broadcast);
        }
        let joins = gathered.bytes.saturating_add(len) <= MOST
            && gathered.except == turn.id
            && gathered.everyone.as_ref().is_some_and(|same| Arc::ptr_eq(same, everyone));
        let mut delivered = Delivered::default();
        if !joins {
            if !is_on_one_thread() {
                return Some(broadcast);
            }
            delivered = self.deliver(&mut gathered);
            (gathered.everyone, gathered.except) = (Some(Arc::clone(everyone)), turn.id);
        }
        gathered.bytes += len;
        gathered.broadcasts.push(broadcast);
        self.some.store(true, Ordering::Release);
        drop(gathered);
        delivered.wake();
        None
    }

    /// Posts what was gathered.
    pub(crate) fn post(&self) {
        let mut gathered = self.gathered();
        let delivered = self.deliver(&mut gathered);
        drop(gathered);
        delivered.wake();
    }

    fn deliver(&self, gathered: &mut Gathered) -> Delivered {
        gathered.bytes = 0;
        let Some(everyone) = gathered.everyone.take() else { return Delivered::default() };
        let Some(bundle) = Bundle::of(&mut gathered.broadcasts) else { return Delivered::default() };
        let mut wakers = Vec::with_capacity(everyone.len());
        for mailbox in everyone.iter().filter(|mailbox| mailbox.id != gathered.except) {
            let (_, waker) = mailbox.push(Command::Shared(bundle.clone()));
            wakers.extend(waker);
        }
        self.some.store(false, Ordering::Release);
        Delivered { wakers, _bundle: Some(bundle) }
    }
}

/// Whether the tasks of this runtime wait for each other anyway.
fn is_on_one_thread() -> bool {
    Handle::try_current().is_ok_and(|runtime| runtime.runtime_flavor() == RuntimeFlavor::CurrentThread)
}
