//! Runs all servers through all workloads, and says what each message costs each of them. `run` beside `Cargo.toml` builds
//! everything and starts this; README.md says how to read the result.

mod chart;
mod options;
mod results;
mod rounds;
mod servers;
mod table;

use std::{fs, process::ExitCode};

use wireline_peers::Failure;

use crate::{options::Options, results::Results, servers::Programs};

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("{failure}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Failure> {
    let options = Options::parse(std::env::args().skip(1))?;
    let results = match Results::read(&options.from) {
        Some(results) => results?,
        None => {
            let own = std::env::current_exe()?;
            let programs = Programs {
                load: own.with_file_name("load"),
                peer: own.with_file_name("peer"),
                examples: options.examples.clone(),
            };
            rounds::run(&options, &programs)?
        }
    };
    if let Some(file) = &options.json {
        fs::write(file, serde_json::to_vec(&results)?)?;
    }
    if let Some(file) = &options.markdown {
        fs::write(file, table::markdown(&results)?)?;
    }
    if let Some(file) = &options.svg {
        fs::write(file, chart::svg(&results)?)?;
    }
    print!("{}", table::terminal(&results)?);
    Ok(())
}
