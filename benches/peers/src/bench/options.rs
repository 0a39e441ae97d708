use std::path::PathBuf;

use nix::{
    sched::{CpuSet, sched_getaffinity},
    unistd::Pid,
};
use wireline_peers::{Failure, WORKLOADS, Workload, workload};

use crate::servers::{SERVERS, Server, server};

pub(crate) const USAGE: &str = "usage: run [--only WORKLOAD,...] [--servers NAME,...] [--rounds N] [--seconds SECONDS]
           [--warm-up SECONDS] [--cores SERVER,LOAD] [--examples DIRECTORY]
           [--json FILE] [--markdown FILE] [--svg FILE] [--from FILE,...]";

#[derive(Debug)]
pub(crate) struct Options {
    pub(crate) workloads: Vec<&'static Workload>,
    pub(crate) servers: Vec<&'static Server>,
    pub(crate) rounds: usize,
    pub(crate) seconds: f64,
    pub(crate) warm_up: f64,
    /// Where the measured program runs, and where the load generator does.
    pub(crate) cores: (usize, usize),
    pub(crate) examples: PathBuf,
    pub(crate) json: Option<PathBuf>,
    pub(crate) markdown: Option<PathBuf>,
    pub(crate) svg: Option<PathBuf>,
    /// The results of earlier runs, instead of a new one.
    pub(crate) from: Vec<PathBuf>,
}

impl Options {
    pub(crate) fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Self, Failure> {
        let mut options = Self {
            workloads: WORKLOADS.iter().collect(),
            servers: SERVERS.iter().collect(),
            rounds: 9,
            seconds: 2.0,
            warm_up: 0.5,
            cores: cores()?,
            examples: "../../target/release/examples".into(),
            json: None,
            markdown: None,
            svg: None,
            from: Vec::new(),
        };
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().ok_or_else(|| format!("{argument} needs a value\n{USAGE}"));
            match &*argument {
                "--only" => options.workloads = each(&value()?, "workload", workload)?,
                "--servers" => options.servers = each(&value()?, "server", server)?,
                "--rounds" => options.rounds = value()?.parse()?,
                "--seconds" => options.seconds = value()?.parse()?,
                "--warm-up" => options.warm_up = value()?.parse()?,
                "--cores" => {
                    let value = value()?;
                    let (server, load) = value.split_once(',').ok_or("--cores takes two numbers")?;
                    options.cores = (server.parse()?, load.parse()?);
                }
                "--examples" => options.examples = value()?.into(),
                "--json" => options.json = Some(value()?.into()),
                "--markdown" => options.markdown = Some(value()?.into()),
                "--svg" => options.svg = Some(value()?.into()),
                "--from" => options.from = value()?.split(',').map(PathBuf::from).collect(),
                _ => return Err(format!("unknown option {argument}\n{USAGE}").into()),
            }
        }
        Ok(options)
    }
}

fn each<T>(names: &str, what: &str, find: impl Fn(&str) -> Option<T>) -> Result<Vec<T>, Failure> {
    names.split(',').map(|name| find(name).ok_or_else(|| format!("no {what} {name:?}").into())).collect()
}

/// The first two cores that this process may use.
fn cores() -> Result<(usize, usize), Failure> {
    let allowed = sched_getaffinity(Pid::from_raw(0))?;
    let mut cores = (0..CpuSet::count()).filter(|core| allowed.is_set(*core).unwrap_or_default());
    let first = cores.next().ok_or("no core to run on")?;
    let second = cores.next().unwrap_or_else(|| {
        eprintln!("only one core: the load generator takes its time from the server's");
        first
    });
    Ok((first, second))
}
