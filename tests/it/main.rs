//! Behaviour of the whole library, by topic. One binary, so that it links once.

mod support;

mod framing;
mod hostile;
mod ids;
mod opening;

#[cfg(feature = "tls")]
mod peers;
