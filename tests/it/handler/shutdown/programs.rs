//! What is a process's own, SIGINT and its limit of files, in other processes: this test binary again, with the name of a
//! test that does nothing by itself.

use std::{
    io::{BufRead, BufReader, Lines},
    os::unix::process::ExitStatusExt,
    process::{Child, ChildStdout, Command, Stdio},
};

use wireline::handler::{Builder, Handler, Handshake, Message, Sender, Settings, WebSocket};

use super::super::wire::{REQUEST, Raw};
use crate::scripted::{close, text};

/// What the other process is to do; without it the test that it runs is over at once.
const ROLE: &str = "WIRELINE_TEST_PROGRAM";

const SIGINT: i32 = 2;

/// This binary, as a process that runs a server.
struct Program {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Program {
    fn start(role: &str) -> Self {
        Self::with_files(role, 256)
    }

    /// With so many open files at most.
    fn with_files(role: &str, files: u32) -> Self {
        let mut child = Command::new("sh")
            .args(["-c", &format!("ulimit -n {files}; exec \"$@\""), "sh"])
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", "handler::shutdown::programs::a_program", "--nocapture", "--test-threads=1"])
            .env(ROLE, role)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    /// The rest of the next line that begins so.
    fn told(&mut self, beginning: &str) -> Option<String> {
        let mut lines = self.lines.by_ref().map_while(Result::ok);
        lines.find_map(|line| line.split_once(beginning).map(|(_, rest)| rest.to_owned()))
    }

    fn interrupt(&self) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    }

    /// The signal that ended it, if one did.
    fn signal(mut self) -> Option<i32> {
        // Waiting would close it, and the program with it.
        let stdin = self.child.stdin.take();
        let status = self.child.wait().unwrap();
        drop(stdin);
        assert!(status.success() || status.signal().is_some(), "{status}");
        status.signal()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // Only one that has not ended, because the test has failed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn say(line: &str) {
    println!("\n{line}");
}

struct Saying(Sender);

impl Handler for Saying {
    fn on_shutdown(&mut self) {
        say("on_shutdown");
    }

    fn on_open(&mut self, _: Handshake) -> wireline::handler::Result<()> {
        self.0.send("open")
    }

    fn on_message(&mut self, _: Message) -> wireline::handler::Result<()> {
        Ok(())
    }
}

/// The other process. In this one it does nothing.
#[test]
fn a_program() {
    let Ok(role) = std::env::var(ROLE) else { return };
    let settings = Settings { shutdown_on_interrupt: role != "flag off", ..Settings::default() };
    let ws = Builder::new().with_settings(settings).build(Saying).unwrap().bind("127.0.0.1:0").unwrap();
    say(&format!("listening {}", ws.local_addr().unwrap()));
    match &*role {
        "two runs" => {
            let other = WebSocket::new(Saying).unwrap().bind("127.0.0.1:0").unwrap();
            say(&format!("listening {}", other.local_addr().unwrap()));
            let other = std::thread::spawn(|| other.run().map(drop));
            ws.run().unwrap();
            other.join().unwrap().unwrap();
            say("run returned");
        }
        "goes on" => {
            let ws = ws.run().unwrap();
            say("run returned");
            // It waits on stdin, and another Ctrl-C has to end that.
            let _ = std::io::stdin().lines().next();
            drop(ws);
        }
        _ => {
            ws.run().unwrap();
            say("run returned");
        }
    }
}

fn open(program: &mut Program) -> Raw {
    let address = program.told("listening ").expect("it listens").parse().unwrap();
    let mut peer = Raw::open(address);
    assert_eq!(peer.frame(), Some(text("open")), "it runs");
    peer
}

#[test]
fn sigint_shuts_a_run_down_s3_10_and_4_sigint_flag() {
    let mut program = Program::start("one run");
    let mut peer = open(&mut program);
    program.interrupt();
    assert_eq!(peer.frame(), Some(close(1001, "Shutting down.")), "4: SIGINT flag");
    peer.send([close(1001, "")]);
    drop(peer);
    assert!(program.told("on_shutdown").is_some() && program.told("run returned").is_some());
    assert_eq!(program.signal(), None, "it ends by itself");
}

#[test]
fn sigint_shuts_down_every_run_s3_10() {
    let mut program = Program::start("two runs");
    let mut peers = [open(&mut program), open(&mut program)];
    program.interrupt();
    for peer in &mut peers {
        assert_eq!(peer.frame(), Some(close(1001, "Shutting down.")));
        peer.send([close(1001, "")]);
    }
    drop(peers);
    assert!(program.told("run returned").is_some());
    assert_eq!(program.signal(), None);
}

#[test]
fn a_second_sigint_ends_the_process_s3_10() {
    let mut program = Program::start("one run");
    let mut peer = open(&mut program);
    program.interrupt();
    assert_eq!(peer.frame(), Some(close(1001, "Shutting down.")));
    // The peer does not answer, and the shutdown waits for it.
    program.interrupt();
    assert_eq!(program.signal(), Some(SIGINT));
}

#[test]
fn sigint_behind_the_last_run_ends_the_process_s3_10() {
    let mut program = Program::start("goes on");
    let mut peer = open(&mut program);
    program.interrupt();
    assert_eq!(peer.frame(), Some(close(1001, "Shutting down.")));
    peer.send([close(1001, "")]);
    drop(peer);
    assert!(program.told("run returned").is_some());
    program.interrupt();
    assert_eq!(program.signal(), Some(SIGINT));
}

#[test]
fn without_the_flag_sigint_does_as_it_always_did_s3_10() {
    let mut program = Program::start("flag off");
    let peer = open(&mut program);
    program.interrupt();
    assert_eq!(program.signal(), Some(SIGINT));
    drop(peer);
}

/// RLIMIT_NOFILE and not `max_connections` is what is full.
#[test]
fn accepting_goes_on_when_there_are_files_again_s3_10() {
    let mut program = Program::with_files("one run", 32);
    let address = program.told("listening ").expect("it listens").parse().unwrap();
    // The system accepts them all; the program cannot.
    let mut waiting: Vec<Raw> = (0..60).map(|_| Raw::dial(address)).collect();
    let mut last = waiting.pop().unwrap();
    last.write(REQUEST);
    drop(waiting);
    assert!(last.head().starts_with("HTTP/1.1 101 "));
    program.interrupt();
    drop(last);
    assert!(program.told("run returned").is_some());
    assert_eq!(program.signal(), None);
}
