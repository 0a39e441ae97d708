//! Accepting connections.
//!
//! [`accept`] takes one stream, [`Acceptor`] does so with choices, [`Server`] listens.

mod acceptor;
mod listen;
mod origin;

pub use crate::proto::handshake::{Acceptance, Refusal};
pub use acceptor::{Acceptor, accept};
pub use listen::{BoxError, PeerAddr, Server};
pub use origin::Origins;
