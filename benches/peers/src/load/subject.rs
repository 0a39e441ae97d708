//! The measured program: started on a core of its own, watched through the operating system, and ended.

use std::{
    fs,
    io::{BufRead, BufReader},
    net::SocketAddr,
    process::{Child, ChildStderr, Command, Stdio},
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use nix::{
    sys::signal::{Signal, kill},
    time::{ClockId, clock_getcpuclockid},
    unistd::Pid,
};
use wireline_peers::Failure;

#[derive(Debug)]
pub(crate) struct Subject {
    child: Child,
    clock: ClockId,
    /// The last line of its standard error.
    said: Arc<Mutex<String>>,
}

const GREETING: &str = "listening on ws://";

impl Subject {
    /// Starts a client. It is killed at the limit.
    pub(crate) fn start(command: &[String], core: Option<usize>, limit: Duration) -> Result<Self, Failure> {
        let (program, arguments) = command.split_first().ok_or("no command")?;
        let mut command = match core {
            Some(core) => {
                let mut pinned = Command::new("taskset");
                pinned.args(["-c", &core.to_string(), program]);
                pinned
            }
            None => Command::new(program),
        };
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|error| format!("{program}: {error}"))?;
        let said = Arc::<Mutex<String>>::default();
        if let Some(stderr) = child.stderr.take() {
            let said = Arc::clone(&said);
            thread::spawn(move || listen(stderr, &said));
        }
        let pid = pid(&child);
        let clock = clock_getcpuclockid(pid)?;
        // Whatever hangs, here or there, this ends it.
        thread::spawn(move || {
            thread::sleep(limit);
            kill(pid, Signal::SIGKILL)
        });
        Ok(Self { child, clock, said })
    }

    /// Starts a server and waits for its first line, which says where it listens.
    pub(crate) fn start_server(
        command: &[String],
        core: Option<usize>,
        limit: Duration,
    ) -> Result<(Self, SocketAddr), Failure> {
        let mut subject = Self::start(command, core, limit)?;
        let stdout = subject.child.stdout.take().ok_or("no standard output")?;
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        if line.is_empty() {
            return Err(subject.explain("it did not start".into()));
        }
        let address = line.trim_end().strip_prefix(GREETING).ok_or("its first line does not say where it listens")?;
        let address = address.trim_end_matches('/').parse()?;
        Ok((subject, address))
    }

    pub(crate) fn pid(&self) -> Pid {
        pid(&self.child)
    }

    /// CPU time so far, user and system, of all its threads.
    pub(crate) fn cpu(&self) -> Result<Duration, Failure> {
        Ok(self.clock.now()?.into())
    }

    /// Resident memory in bytes.
    pub(crate) fn resident(&self) -> Result<u64, Failure> {
        // Unlike `status` and `statm`, the sum over its mappings is exact.
        let rollup = fs::read_to_string(format!("/proc/{}/smaps_rollup", self.child.id()))?;
        let line = rollup.lines().find_map(|line| line.strip_prefix("Rss:")).ok_or("no Rss in smaps_rollup")?;
        let kibibytes: u64 = line.trim().trim_end_matches(" kB").parse()?;
        Ok(kibibytes * 1024)
    }

    /// A failure, with what is known of the program's own end.
    pub(crate) fn explain(&mut self, failure: Failure) -> Failure {
        // What it said and its exit status follow the closed connection.
        thread::sleep(Duration::from_millis(300));
        let said = self.said.lock().map(|said| said.clone()).unwrap_or_default();
        let exited = self.child.try_wait().ok().flatten().map(|status| status.to_string());
        let parts = [Some(failure.to_string()), exited, Some(said).filter(|said| !said.is_empty())];
        parts.into_iter().flatten().collect::<Vec<_>>().join("; ").into()
    }
}

impl Drop for Subject {
    fn drop(&mut self) {
        let _ = kill(self.pid(), Signal::SIGKILL);
        let _ = self.child.wait();
    }
}

fn pid(child: &Child) -> Pid {
    Pid::from_raw(child.id().cast_signed())
}

fn listen(stderr: ChildStderr, said: &Mutex<String>) {
    for line in BufReader::new(stderr).lines().map_while(Result::ok).filter(|line| !line.trim().is_empty()) {
        if let Ok(mut said) = said.lock() {
            *said = line;
        }
    }
}
