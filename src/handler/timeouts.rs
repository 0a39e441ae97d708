use std::{collections::BTreeMap, fmt, sync::Weak, time::Instant};

use crate::handler::{mailbox::Mailbox, util::Token};

/// A timeout that was scheduled, to [`cancel`](crate::handler::Sender::cancel) it by.
///
/// A handler gets it in [`on_new_timeout`](crate::handler::Handler::on_new_timeout).
#[derive(Clone)]
pub struct Timeout {
    pub(crate) target: Target,
    pub(crate) key: Key,
}

/// Whose timeout it is.
#[derive(Clone)]
pub(crate) enum Target {
    /// One connection's.
    One(Weak<Mailbox>),
    /// Every connection's.
    All,
}

/// When it is due; the number tells timeouts of the same instant apart, the earlier made first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    pub(crate) at: Instant,
    pub(crate) number: u64,
}

impl fmt::Debug for Timeout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Timeout").field(&self.key.number).finish()
    }
}

/// The timeouts of one connection, the earliest first.
#[derive(Debug, Default)]
pub(crate) struct Timeouts(BTreeMap<Key, Token>);

impl Timeouts {
    pub(crate) fn insert(&mut self, key: Key, token: Token) {
        self.0.insert(key, token);
    }

    pub(crate) fn cancel(&mut self, key: Key) {
        self.0.remove(&key);
    }

    /// When the earliest is due.
    #[inline]
    pub(crate) fn next(&self) -> Option<Instant> {
        if self.0.is_empty() {
            return None;
        }
        self.0.first_key_value().map(|(key, _)| key.at)
    }

    /// The earliest, if it is due.
    pub(crate) fn due(&mut self, now: Instant) -> Option<Token> {
        let first = self.0.first_entry().filter(|first| first.key().at <= now)?;
        Some(first.remove())
    }

    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }
}
