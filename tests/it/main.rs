//! Behaviour of the whole library, by topic. One binary, so that it links once.

mod support;

#[cfg(feature = "tls")]
mod peers;
