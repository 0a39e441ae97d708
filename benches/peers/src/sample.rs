use serde::{Deserialize, Serialize};

/// What one run of one workload against one program was like.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct Sample {
    /// CPU time of the measured program, user and system, of all its threads: microseconds per message.
    pub cpu: f64,
    /// The same of the load generator.
    pub load_cpu: f64,
    /// Messages, deliveries or connections per second.
    pub rate: f64,
    /// Microseconds from a batch's write to its last byte's arrival, where the load generator waits for one.
    pub p50: Option<f64>,
    /// The same, 99th percentile.
    pub p99: Option<f64>,
    /// Resident bytes of the measured program at the end.
    pub resident: u64,
    /// By how many bytes that had grown: per connection where they idle, in all where one consumer is slow.
    pub growth: Option<f64>,
    /// Bytes of one reply, frame headers included.
    pub reply: Option<u64>,
    /// What else there is to say.
    pub note: Option<String>,
}

/// What came of one run.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    Measured(Sample),
    /// The program does not have what the workload needs.
    Lacks(String),
    /// It has, but fails.
    Fails(String),
}
