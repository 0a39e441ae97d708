//! Who a request comes from where a proxy passed it on: `Forwarded` (RFC 7239) and `X-Forwarded-For`, `-Proto`, `-Host`.
//!
//! Each proxy writes its part to the right of what it received, and what it received may be anything:
//!
//! ```text
//! X-Forwarded-For: 10.9.9.9, 203.0.113.7, 10.0.0.2
//!                  |         |            '- written by the proxy that connects to us: it saw the next proxy
//!                  |         '- written by that one: it saw the client
//!                  '- sent by the client: worth nothing
//! ```
//!
//! So the headers are read from the right, as far as the proxies are trusted, and no further: what stands to the left cannot
//! even break the reading. [`TrustedProxies`] does that; nothing here believes a header without it.

mod element;
mod quoted;
mod trust;

pub use element::{Element, ForwardedError, Node, NodeName, elements_from_the_right};
pub use trust::{Endpoint, Evidence, Peer, TrustedProxies};

/// The most proxies that are followed from the right. Whatever the headers say beyond is not looked at.
pub const MAX_HOPS: usize = 32;
