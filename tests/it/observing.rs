//! What a connection says of itself: its counters, its span and log lines, and its metrics.

mod logs;
#[cfg(feature = "metrics")]
mod metrics;
mod stats;
