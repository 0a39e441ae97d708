use std::{
    fs,
    process::{Command, Stdio},
};

use wireline_peers::{Failure, Outcome, Sample, Workload};

use crate::{
    options::Options,
    results::{Results, Run, value},
    servers::{Programs, Rank, Server},
};

/// All rounds: in each of them, for each workload, one server after the other, each time another one first.
pub(crate) fn run(options: &Options, programs: &Programs) -> Result<Results, Failure> {
    let mut runs = Vec::new();
    for round in 0..options.rounds {
        for workload in &options.workloads {
            let mut servers = options.servers.clone();
            servers.rotate_left(round % options.servers.len().max(1));
            for server in servers {
                let outcome = match server.command(workload, programs) {
                    Ok(command) => measure(options, programs, workload, server, &command)?,
                    Err(reason) => Outcome::Lacks(reason),
                };
                report(round, workload, server, &outcome);
                runs.push(Run { round, workload: workload.name.into(), server: server.name.into(), outcome });
            }
        }
    }
    Ok(Results { machine: machine(), rounds: options.rounds, seconds: options.seconds, runs })
}

fn measure(
    options: &Options,
    programs: &Programs,
    workload: &Workload,
    server: &Server,
    command: &[String],
) -> Result<Outcome, Failure> {
    let (server_core, load_core) = options.cores;
    let mut load = Command::new("taskset");
    load.args(["-c", &load_core.to_string()]).arg(&programs.load).arg(workload.name);
    load.args(["--core", &server_core.to_string()]);
    load.args(["--seconds", &options.seconds.to_string(), "--warm-up", &options.warm_up.to_string()]);
    if server.rank == Rank::Floor {
        load.arg("--bytes");
    }
    load.arg("--").args(command).stdin(Stdio::null());
    let output = load.output().map_err(|error| format!("taskset: {error}"))?;
    if output.status.success() {
        let sample: Sample = serde_json::from_slice(&output.stdout)?;
        return Ok(Outcome::Measured(sample));
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Ok(Outcome::Fails(said.lines().last().unwrap_or("it says nothing").to_owned()))
}

fn report(round: usize, workload: &Workload, server: &Server, outcome: &Outcome) {
    let said = match outcome {
        Outcome::Measured(sample) => format!("{:.3}", value(workload, sample)),
        Outcome::Fails(reason) => format!("fails: {reason}"),
        Outcome::Lacks(_) => return,
    };
    eprintln!("round {} {:10} {:18} {said}", round + 1, workload.name, server.name);
}

/// Processor, kernel and compiler.
fn machine() -> String {
    let first = |file: &str, name: &str| {
        let text = fs::read_to_string(file).unwrap_or_default();
        let value = text.lines().find_map(|line| line.strip_prefix(name).map(str::to_owned)).unwrap_or_default();
        value.trim_matches([' ', '\t', ':']).to_owned()
    };
    let rustc = Command::new("rustc").arg("--version").output();
    let rustc = rustc.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default();
    let kernel = first("/proc/sys/kernel/osrelease", "");
    let processor = first("/proc/cpuinfo", "model name");
    [processor, format!("Linux {kernel}"), rustc]
        .into_iter()
        .filter(|part| !part.is_empty())
        .collect::<Vec<_>>()
        .join(", ")
}
