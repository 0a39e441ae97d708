//! The raw rounds, and what they come to.

use std::{fs, path::PathBuf};

use serde::{Deserialize, Serialize};
use wireline_peers::{Failure, Kind, Outcome, Sample, Workload, workload};

use crate::servers::{Rank, SERVERS, Server, original};

#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Results {
    pub(crate) machine: String,
    pub(crate) rounds: usize,
    pub(crate) seconds: f64,
    pub(crate) runs: Vec<Run>,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Run {
    pub(crate) round: usize,
    pub(crate) workload: String,
    pub(crate) server: String,
    pub(crate) outcome: Outcome,
}

/// All that a table says of one server in one workload.
#[derive(Clone, Debug)]
pub(crate) enum Summary {
    Medians(Sample),
    Lacks(String),
    Fails(String),
}

impl Results {
    /// The rounds of all these files together, as if one run had made them, if there are any files. They must be of one
    /// machine and one length.
    pub(crate) fn read(files: &[PathBuf]) -> Option<Result<Self, Failure>> {
        let each = files.iter().map(|file| Ok(serde_json::from_slice(&fs::read(file)?)?));
        each.reduce(|all: Result<Self, Failure>, further| all?.and(further?))
    }

    fn and(mut self, further: Self) -> Result<Self, Failure> {
        if further.machine != self.machine || further.seconds != self.seconds {
            return Err("results of different machines, or of rounds of different lengths".into());
        }
        self.runs.extend(further.runs.into_iter().map(|run| Run { round: run.round + self.rounds, ..run }));
        self.rounds += further.rounds;
        Ok(self)
    }

    /// The workloads that were run, in their order.
    pub(crate) fn workloads(&self) -> Vec<&'static Workload> {
        let mut found: Vec<&'static Workload> = Vec::new();
        for run in &self.runs {
            if let Some(workload) = workload(&run.workload)
                && found.iter().all(|other| other.name != workload.name)
            {
                found.push(workload);
            }
        }
        found
    }

    /// The servers that were run, in their order.
    pub(crate) fn servers(&self) -> Vec<&'static Server> {
        let has_run = |server: &&Server| self.runs.iter().any(|run| run.server == server.name);
        SERVERS.iter().filter(has_run).collect()
    }

    pub(crate) fn summary(&self, workload: &Workload, server: &Server) -> Option<Summary> {
        let of = |run: &&Run| run.workload == workload.name && run.server == server.name;
        let outcomes: Vec<&Outcome> = self.runs.iter().filter(of).map(|run| &run.outcome).collect();
        let mut samples: Vec<Sample> = Vec::new();
        for outcome in &outcomes {
            match outcome {
                Outcome::Measured(sample) => samples.push(sample.clone()),
                Outcome::Lacks(reason) => return Some(Summary::Lacks(reason.clone())),
                // One failure is one too many: medians of the other rounds would hide it.
                Outcome::Fails(reason) => return Some(Summary::Fails(reason.clone())),
            }
        }
        Some(Summary::Medians(medians(&samples)?))
    }

    /// What is compared, if it was measured: bytes per connection where they idle, else CPU microseconds per message.
    pub(crate) fn value(&self, workload: &Workload, server: &Server) -> Option<f64> {
        match self.summary(workload, server)? {
            Summary::Medians(sample) => Some(value(workload, &sample)),
            Summary::Lacks(_) | Summary::Fails(_) => None,
        }
    }

    /// The smallest value of a rank.
    pub(crate) fn best(&self, workload: &Workload, rank: Rank) -> Option<f64> {
        let of_rank = SERVERS.iter().filter(|server| server.rank == rank);
        of_rank.filter_map(|server| self.value(workload, server)).min_by(f64::total_cmp)
    }

    /// By how much one server differs from itself.
    pub(crate) fn spread(&self, workload: &Workload) -> Option<f64> {
        let again = self.best(workload, Rank::Again)?;
        let first = SERVERS.iter().find(|server| server.name == original(workload))?;
        Some((again / self.value(workload, first)? - 1.0).abs())
    }
}

pub(crate) fn value(workload: &Workload, sample: &Sample) -> f64 {
    if workload.kind == Kind::Idle { sample.growth.unwrap_or_default() } else { sample.cpu }
}

fn medians(samples: &[Sample]) -> Option<Sample> {
    let of = |value: &dyn Fn(&Sample) -> Option<f64>| median(samples.iter().filter_map(value).collect());
    Some(Sample {
        cpu: of(&|sample| Some(sample.cpu))?,
        load_cpu: of(&|sample| Some(sample.load_cpu))?,
        rate: of(&|sample| Some(sample.rate))?,
        p50: of(&|sample| sample.p50),
        p99: of(&|sample| sample.p99),
        resident: of(&|sample| Some(sample.resident as f64))? as u64,
        growth: of(&|sample| sample.growth),
        reply: samples.last()?.reply,
        note: samples.last()?.note.clone(),
    })
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        odd if odd % 2 == 1 => Some(values[middle]),
        _ => Some(f64::midpoint(values[middle - 1], values[middle])),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median() {
        let rows: [(&[f64], Option<f64>); 4] =
            [(&[], None), (&[2.0], Some(2.0)), (&[9.0, 1.0, 2.0], Some(2.0)), (&[4.0, 1.0, 2.0, 9.0], Some(3.0))];
        for (values, expected) in rows {
            assert_eq!(median(values.to_vec()), expected);
        }
    }

    fn results(rows: &[(&str, f64)]) -> Results {
        let run = |(server, cpu): &(&str, f64)| Run {
            round: 0,
            workload: "small".into(),
            server: (*server).into(),
            outcome: Outcome::Measured(Sample { cpu: *cpu, ..Sample::default() }),
        };
        Results { machine: String::new(), rounds: 1, seconds: 1.0, runs: rows.iter().map(run).collect() }
    }

    #[test]
    fn what_is_compared() {
        let workload = workload("small").expect("small");
        let mut results = results(&[("floor", 4.0), ("wireline", 5.0), ("again", 5.5), ("yawc", 7.0), ("ws-rs", 6.0)]);
        assert_eq!(results.best(workload, Rank::Floor), Some(4.0));
        assert_eq!(results.best(workload, Rank::Peer), Some(6.0));
        assert!(results.spread(workload).is_some_and(|spread| (spread - 0.1).abs() < 1e-9));
        assert_eq!(results.servers().len(), 5);

        results.runs[4].outcome = Outcome::Fails("it hung up".into());
        assert_eq!(results.best(workload, Rank::Peer), Some(7.0));
    }

    #[test]
    fn rounds_of_several_runs_together() {
        let rounds = |results: &Results| results.runs.iter().map(|run| run.round).collect::<Vec<_>>();
        let (first, second) = (results(&[("floor", 4.0), ("yawc", 7.0)]), results(&[("floor", 5.0)]));
        let both = first.clone().and(second.clone()).expect("of one machine");
        assert_eq!((both.rounds, rounds(&both)), (2, vec![0, 0, 1]));
        assert_eq!(both.best(workload("small").expect("small"), Rank::Floor), Some(4.5));

        assert!(first.clone().and(Results { machine: "another".into(), ..second.clone() }).is_err());
        assert!(first.and(Results { seconds: 2.0, ..second }).is_err());
    }
}
