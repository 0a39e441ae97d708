//! Defects of ws-rs, by their numbers: what did not hold there holds here.

mod errors;
#[cfg(unix)]
mod interrupt;
mod kept;
mod life;
mod opening;
mod pressure;
mod stage;
mod timers;
#[cfg(feature = "tls")]
mod tls;
