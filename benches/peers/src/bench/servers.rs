//! What is measured, and how each of it is started.

use std::path::{Path, PathBuf};

use wireline_peers::{Kind, Workload};

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Rank {
    Floor,
    Ours,
    /// Ours once more, to see by how much equals differ.
    Again,
    Peer,
}

#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) name: &'static str,
    /// For the table's head.
    pub(crate) title: &'static str,
    pub(crate) rank: Rank,
    lacks: &'static [(Need, &'static str)],
}

/// What a workload needs of a server, beyond an echo.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Need {
    Handshake,
    Deflate,
    Tls,
    Broadcast,
}

const NO_DEFLATE: (Need, &str) = (Need::Deflate, "has no permessage-deflate");

pub(crate) const HANDLER: &str = "wireline-handler";
pub(crate) const STREAM: &str = "wireline";

pub(crate) const SERVERS: &[Server] = &[
    Server { name: "floor", title: "floor", rank: Rank::Floor, lacks: &[] },
    Server {
        name: STREAM,
        title: "wireline",
        rank: Rank::Ours,
        lacks: &[(Need::Broadcast, "broadcasts by its handlers")],
    },
    Server { name: HANDLER, title: "wireline, handler", rank: Rank::Ours, lacks: &[] },
    peer("tokio-tungstenite", "tokio-tungstenite 0.30", &[NO_DEFLATE]),
    peer("tokio-websockets", "tokio-websockets 0.13", &[NO_DEFLATE]),
    peer("fastwebsockets", "fastwebsockets 0.10", &[NO_DEFLATE]),
    peer("yawc", "yawc 0.5", &[]),
    peer("sockudo-ws", "sockudo-ws 3.1", &[]),
    peer("web-socket", "web-socket 0.7", &[NO_DEFLATE, (Need::Handshake, "has no opening handshake")]),
    peer("soketto", "soketto 0.8", &[(Need::Deflate, "has one that fails with flate2 1.1")]),
    peer("ws-rs", "ws 0.9.2", &[(Need::Tls, "has TLS by OpenSSL only")]),
    Server { name: "again", title: "wireline again (A/A)", rank: Rank::Again, lacks: &[] },
];

const fn peer(name: &'static str, title: &'static str, lacks: &'static [(Need, &'static str)]) -> Server {
    Server { name, title, rank: Rank::Peer, lacks }
}

pub(crate) fn server(name: &str) -> Option<&'static Server> {
    SERVERS.iter().find(|server| server.name == name)
}

/// Whose second run it is, in this workload.
pub(crate) fn original(workload: &Workload) -> &'static str {
    if need(workload) == Some(Need::Broadcast) { HANDLER } else { STREAM }
}

/// Where the programs are.
#[derive(Clone, Debug)]
pub(crate) struct Programs {
    pub(crate) load: PathBuf,
    pub(crate) peer: PathBuf,
    /// The directory of wireline's own examples.
    pub(crate) examples: PathBuf,
}

impl Server {
    /// How it is started for this workload, or why it is not.
    pub(crate) fn command(&self, workload: &Workload, programs: &Programs) -> Result<Vec<String>, String> {
        let need = need(workload);
        if let Some((_, reason)) = self.lacks.iter().find(|(lacking, _)| Some(*lacking) == need) {
            return Err((*reason).to_owned());
        }
        let name = match self.rank {
            Rank::Again => original(workload),
            Rank::Floor if !workload.has_floor() => return Err("has none".to_owned()),
            _ => self.name,
        };
        let example = |name: &str| path(&programs.examples.join(name));
        let sizes = |request: usize, reply: usize| ["--sizes".to_owned(), request.to_string(), reply.to_string()];
        let ours = name == STREAM || name == HANDLER;
        let mut command = match workload.kind {
            Kind::Receive => vec![path(&programs.peer), "receive".to_owned(), name.to_owned()],
            Kind::Fan | Kind::Slow if ours => vec![example("broadcast")],
            Kind::Fan | Kind::Slow => vec![path(&programs.peer), "broadcast".to_owned(), name.to_owned()],
            Kind::Echo | Kind::Deflate | Kind::Idle | Kind::Storm if ours => vec![example("echo_server")],
            Kind::Echo | Kind::Deflate | Kind::Idle | Kind::Storm | Kind::Tls => {
                vec![path(&programs.peer), "echo".to_owned(), name.to_owned()]
            }
        };
        if workload.kind == Kind::Receive {
            command.extend(sizes(workload.bytes, workload.bytes));
            return Ok(command);
        }
        command.push("127.0.0.1:0".to_owned());
        match workload.kind {
            Kind::Deflate => command.push("--deflate".to_owned()),
            Kind::Tls => command.push("--tls".to_owned()),
            Kind::Idle if self.rank == Rank::Peer => command.push("--plain".to_owned()),
            _ => {}
        }
        if name == HANDLER && command[0].ends_with("echo_server") {
            command.extend(["--path".to_owned(), "handler".to_owned()]);
        }
        if self.rank == Rank::Floor {
            command.extend(sizes(workload.request(), workload.reply()));
        }
        Ok(command)
    }
}

fn need(workload: &Workload) -> Option<Need> {
    match workload.kind {
        Kind::Echo | Kind::Idle | Kind::Receive => None,
        Kind::Tls => Some(Need::Tls),
        Kind::Deflate => Some(Need::Deflate),
        Kind::Fan | Kind::Slow => Some(Need::Broadcast),
        Kind::Storm => Some(Need::Handshake),
    }
}

fn path(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use wireline_peers::workload;

    use super::*;

    #[test]
    fn commands() {
        let programs = Programs { load: "load".into(), peer: "peer".into(), examples: "x".into() };
        let rows = [
            ("floor", "small", Ok("peer echo floor 127.0.0.1:0 --sizes 26 22")),
            ("floor", "frag", Err("has none")),
            ("floor", "receive", Ok("peer receive floor --sizes 20 20")),
            ("wireline", "small", Ok("x/echo_server 127.0.0.1:0")),
            ("wireline", "fan", Err("broadcasts by its handlers")),
            ("wireline", "tls", Ok("peer echo wireline 127.0.0.1:0 --tls")),
            ("wireline-handler", "json1k", Ok("x/echo_server 127.0.0.1:0 --deflate --path handler")),
            ("wireline-handler", "fan", Ok("x/broadcast 127.0.0.1:0")),
            ("again", "slow", Ok("x/broadcast 127.0.0.1:0")),
            ("again", "storm", Ok("x/echo_server 127.0.0.1:0")),
            ("yawc", "json8k", Ok("peer echo yawc 127.0.0.1:0 --deflate")),
            ("web-socket", "storm", Err("has no opening handshake")),
            ("yawc", "idle", Ok("peer echo yawc 127.0.0.1:0 --plain")),
            ("again", "idle", Ok("x/echo_server 127.0.0.1:0")),
            ("ws-rs", "fan16", Ok("peer broadcast ws-rs 127.0.0.1:0")),
        ];
        for (name, of, expected) in rows {
            let (server, workload) = (server(name).expect(name), workload(of).expect(of));
            let found = server.command(workload, &programs).map(|command| command.join(" "));
            assert_eq!(found.as_deref().map_err(|reason| &**reason), expected, "{name} {of}");
        }
    }
}
