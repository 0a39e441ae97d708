//! Starts a program, puts one workload on it, and prints what was measured as one line of JSON.
//!
//! ```text
//! load WORKLOAD [--warm-up SECONDS] [--seconds SECONDS] [--core N] [--bytes] -- COMMAND...
//! ```
//!
//! COMMAND is a server whose first line is `listening on ws://ADDR`, or, where clients are measured, a client that takes
//! the URL as its last argument. `--core` is where it runs; the load generator itself is pinned by whoever starts it.
//! `--bytes` is for a server that knows no WebSocket and returns as many bytes as an echo has.

mod content;
mod echo;
mod fan;
mod frames;
mod histogram;
mod idle;
mod job;
mod meter;
mod receive;
mod socket;
mod storm;
mod subject;

use std::{process::ExitCode, time::Duration};

use wireline_peers::{Failure, Kind, Sample, workload};

use crate::{
    job::{Job, Speech},
    subject::Subject,
};

const USAGE: &str = "usage: load WORKLOAD [--warm-up SECONDS] [--seconds SECONDS] [--core N] [--bytes] -- COMMAND...";

fn main() -> ExitCode {
    let sample = run(std::env::args().skip(1));
    match sample.and_then(|sample| Ok(serde_json::to_string(&sample)?)) {
        Ok(sample) => {
            println!("{sample}");
            ExitCode::SUCCESS
        }
        Err(failure) => {
            eprintln!("{failure}");
            ExitCode::FAILURE
        }
    }
}

fn run(mut arguments: impl Iterator<Item = String>) -> Result<Sample, Failure> {
    let name = arguments.next().ok_or(USAGE)?;
    let workload = workload(&name).ok_or_else(|| format!("no workload {name:?}"))?;
    let (mut warm_up, mut window, mut core, mut speech) = (0.5, 2.0, None, Speech::WebSocket);
    while let Some(argument) = arguments.next().filter(|argument| argument != "--") {
        let mut value = || arguments.next().ok_or(USAGE);
        match &*argument {
            "--warm-up" => warm_up = value()?.parse()?,
            "--seconds" => window = value()?.parse()?,
            "--core" => core = Some(value()?.parse()?),
            "--bytes" => speech = Speech::Bytes,
            _ => return Err(USAGE.into()),
        }
    }
    let command: Vec<String> = arguments.collect();
    let job = Job::new(workload, Duration::try_from_secs_f64(warm_up)?, Duration::try_from_secs_f64(window)?, speech)?;
    if workload.kind == Kind::Receive {
        return receive::run(&job, &command, core);
    }
    let (mut subject, address) = Subject::start_server(&command, core, job.limit())?;
    let sample = match workload.kind {
        Kind::Fan | Kind::Slow => fan::run(&job, &subject, address),
        Kind::Storm => storm::run(&job, &subject, address),
        Kind::Idle => idle::run(&job, &subject, address),
        Kind::Echo | Kind::Tls | Kind::Deflate | Kind::Receive => echo::run(&job, &subject, address),
    };
    sample.map_err(|failure| subject.explain(failure))
}
