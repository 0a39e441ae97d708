//! Behaviour of the whole library, by topic. One binary, so that it links once.

mod support;

mod scripted;

mod architecture;
mod framing;
mod handler;
mod hostile;
mod ids;
mod opening;
mod pages;
#[cfg(target_os = "linux")]
mod per_core;
mod proxied;

mod allocations;
mod backpressure;
mod cancellation;
mod closing;
#[cfg(feature = "deflate")]
mod deflate;
mod draining;
mod finishing;
mod halves;
mod liveness;
mod observing;
mod upgrade;

#[cfg(feature = "tls")]
mod peers;
