//! The peers' programs as child processes, which end when the test does, however it ends.

use std::{path::Path, process::Stdio};

#[cfg(all(feature = "deflate", unix))]
use tokio::{io::Lines, process::ChildStdout};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
};

use super::certificate::Certificate;

/// A program of tests/peers and what runs it, both below the root of the package.
#[derive(Clone, Copy)]
pub(super) struct Peer {
    interpreter: &'static str,
    program: &'static str,
}

impl Peer {
    pub(super) const WEBSOCKETS: Self =
        Self { interpreter: "target/peers/python/bin/python", program: "tests/peers/peer_websockets.py" };
    pub(super) const AIOHTTP: Self =
        Self { interpreter: "target/peers/python/bin/python", program: "tests/peers/peer_aiohttp.py" };
    pub(super) const WS: Self = Self { interpreter: "node", program: "tests/peers/peer_ws.mjs" };
    #[cfg(feature = "deflate")]
    pub(super) const WEBSOCKETS_DEFLATE: Self =
        Self { program: "tests/peers/deflate_websockets.py", ..Self::WEBSOCKETS };
    #[cfg(feature = "deflate")]
    pub(super) const WS_DEFLATE: Self = Self { program: "tests/peers/deflate_ws.mjs", ..Self::WS };

    /// Plays the scenario against the server at `url`. An error is what the program printed.
    pub(super) async fn run_client(self, url: &str, certificate: Option<&Certificate>) -> Result<(), String> {
        let mut command = self.command();
        command.args(["client", url]);
        if let Some(certificate) = certificate {
            command.arg("--ca").arg(certificate.ca_file());
        }
        self.run(command).await.map(drop)
    }

    /// Plays the scenario and stays for what comes after it: returns the lines that it prints.
    #[cfg(all(feature = "deflate", unix))]
    pub(super) fn start_client(self, url: &str, certificate: &Certificate) -> PeerClient {
        let mut command = self.command();
        command.args(["client", url, "--restart", "--ca"]).arg(certificate.ca_file()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| self.missing(&error));
        let lines = BufReader::new(child.stdout.take().expect("standard output is piped")).lines();
        PeerClient { _child: child, lines }
    }

    /// Exchanges compressed messages with the servers at `urls`, and returns what the program printed. So is an error.
    #[cfg(feature = "deflate")]
    pub(super) async fn exchange(self, urls: &[String]) -> Result<String, String> {
        let mut command = self.command();
        command.arg("client").args(urls);
        self.run(command).await
    }

    async fn run(self, mut command: Command) -> Result<String, String> {
        let output = command.output().await.unwrap_or_else(|error| self.missing(&error));
        let (outcome, printed): (fn(String) -> _, _) = match output.status.success() {
            true => (Ok, output.stdout),
            false => (Err, output.stderr),
        };
        outcome(String::from_utf8_lossy(&printed).into_owned())
    }

    /// Returns once the server listens.
    pub(super) async fn start_server(self, certificate: Option<&Certificate>) -> PeerServer {
        let mut command = self.command();
        command.arg("server");
        if let Some(certificate) = certificate {
            command.arg("--cert").arg(certificate.certificate_file()).arg("--key").arg(certificate.key_file());
        }
        // It serves until its standard input ends.
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| self.missing(&error));

        let mut line = String::new();
        let output = child.stdout.take().expect("standard output is piped");
        BufReader::new(output).read_line(&mut line).await.expect("a line of text");
        let port = line.strip_prefix("listening ").and_then(|port| port.trim_end().parse().ok());
        let port = port.unwrap_or_else(|| panic!("{} printed {line:?}", self.program));
        PeerServer { _child: child, port }
    }

    fn command(self) -> Command {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let interpreter = match self.interpreter.contains('/') {
            true => root.join(self.interpreter),
            false => self.interpreter.into(),
        };
        let mut command = Command::new(interpreter);
        command.arg(root.join(self.program)).kill_on_drop(true);
        command
    }

    fn missing(self, error: &std::io::Error) -> ! {
        panic!("{} does not run; tests/peers/install installs it: {error}", self.interpreter)
    }
}

/// A peer's client that says what it has done; it is killed with the value.
#[cfg(all(feature = "deflate", unix))]
pub(super) struct PeerClient {
    _child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

#[cfg(all(feature = "deflate", unix))]
impl PeerClient {
    /// What it says next; what went wrong, it says on standard error.
    pub(super) async fn report(&mut self) -> String {
        self.lines.next_line().await.expect("text").unwrap_or_else(|| "nothing: it has ended".into())
    }
}

/// A peer's server; it is killed with the value.
pub(super) struct PeerServer {
    _child: Child,
    port: u16,
}

impl PeerServer {
    pub(super) const fn port(&self) -> u16 {
        self.port
    }
}
