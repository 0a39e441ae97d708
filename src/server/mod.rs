//! Accepting connections.
//!
//! [`accept`] takes one stream, [`Acceptor`] does so with choices, [`Server`] listens, [`Tracker`] ends what they opened.

pub mod per_core;
pub mod proxies;

mod acceptor;
mod announced;
mod drain;
mod handshakes;
mod listen;
mod listener;
mod origin;
mod outcome;
mod pages;

pub use crate::proto::{
    forwarded::{Endpoint, Evidence, Peer, TrustedProxies},
    handshake::{Acceptance, Refusal},
};
pub use acceptor::{Acceptor, accept};
pub use announced::ProxyProtocol;
pub use drain::{Drained, Tracker};
pub use listen::{BoxError, PeerAddr, Server};
pub(crate) use listen::{FIRST_PAUSE, LAST_PAUSE, is_of_one_connection};
pub use listener::Listener;
pub use origin::Origins;
pub(crate) use outcome::panic_words;
#[cfg(feature = "hyper")]
pub(crate) use outcome::{Observed, see_through};
