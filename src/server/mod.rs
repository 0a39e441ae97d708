//! Accepting connections.
//!
//! [`accept`] takes one stream, [`Acceptor`] does so with choices, [`Server`] listens.

pub mod proxies;

mod acceptor;
mod announced;
mod listen;
mod listener;
mod origin;
mod outcome;

pub use crate::proto::{
    forwarded::{Endpoint, Evidence, Peer, TrustedProxies},
    handshake::{Acceptance, Refusal},
};
pub use acceptor::{Acceptor, accept};
pub use announced::ProxyProtocol;
#[cfg(feature = "hyper")]
pub(crate) use listen::see_through;
pub use listen::{BoxError, PeerAddr, Server};
pub(crate) use listen::{FIRST_PAUSE, LAST_PAUSE, is_of_one_connection};
pub use listener::Listener;
pub use origin::Origins;
#[cfg(feature = "hyper")]
pub(crate) use outcome::Observed;
pub(crate) use outcome::panic_words;
