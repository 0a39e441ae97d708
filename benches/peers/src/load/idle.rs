//! Memory of connections that have echoed one message and rest.

use std::{net::SocketAddr, thread, time::Duration};

use wireline_peers::{Failure, Sample};

use crate::{job::Job, subject::Subject};

/// Opened and closed before, so that what a server allocates once is not counted.
const WARM: usize = 16;

pub(crate) fn run(job: &Job, subject: &Subject, address: SocketAddr) -> Result<Sample, Failure> {
    let open = |count| (0..count).map(|_| job.open_and_echo(address)).collect::<Result<Vec<_>, Failure>>();
    let warm = open(WARM)?;
    drop(warm);
    rest();
    let before = subject.resident()?;
    let connections = open(job.workload.connections)?;
    rest();
    let resident = subject.resident()?;
    let growth = resident.saturating_sub(before) as f64 / connections.len() as f64;
    Ok(Sample { resident, growth: Some(growth), ..Sample::default() })
}

fn rest() {
    thread::sleep(Duration::from_millis(500));
}
