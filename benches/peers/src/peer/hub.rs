//! Who receives a broadcast, for libraries that leave this to the application.

use std::sync::{Arc, Mutex};

use tokio::sync::mpsc::{Receiver, Sender, channel, error::TrySendError};

/// Messages that may wait for one connection. A consumer that is slower misses what comes beyond.
const WAITING: usize = 1024;

#[derive(Debug)]
pub(crate) struct Hub<M> {
    members: Mutex<Vec<Sender<M>>>,
}

impl<M: Clone> Hub<M> {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { members: Mutex::default() })
    }

    pub(crate) fn join(&self) -> Receiver<M> {
        let (sender, receiver) = channel(WAITING);
        if let Ok(mut members) = self.members.lock() {
            members.push(sender);
        }
        receiver
    }

    pub(crate) fn publish(&self, message: &M) {
        if let Ok(mut members) = self.members.lock() {
            members.retain(|member| !matches!(member.try_send(message.clone()), Err(TrySendError::Closed(_))));
        }
    }
}
