//! What the three programs of the benchmark share: the workloads, and what is measured of each.
//!
//! ```text
//! bench ── starts, once per round, workload and server ──> load ── starts and measures ──> peer, or wireline's examples
//! ```

mod sample;
mod workload;

pub use sample::{Outcome, Sample};
pub use workload::{Content, Kind, WORKLOADS, Workload, workload};

/// Anything that ends a measurement, with the reason for people.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;
