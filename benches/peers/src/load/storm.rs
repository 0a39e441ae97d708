//! Connect, upgrade, echo one message, close; and the same again on a new connection.

use std::{
    io::{self, Read, Write},
    net::SocketAddr,
    time::Instant,
};

use mio::{Events, Interest, Poll, Registry, Token, net::TcpStream};
use wireline_peers::{Failure, Sample};

use crate::{
    frames::{self, CLOSE, check_reply},
    job::Job,
    meter::Meter,
    socket::{Deflate, judge, request, reset_on_close},
    subject::Subject,
};

pub(crate) fn run(job: &Job, subject: &Subject, address: SocketAddr) -> Result<Sample, Failure> {
    let mut poll = Poll::new()?;
    let mut events = Events::with_capacity(1024);
    let script = Script { job, address, request: request(address, Deflate::NotOffered), close: frames::close() };
    let mut attempts = Vec::with_capacity(job.workload.connections);
    for at in 0..job.workload.connections {
        attempts.push(Attempt::start(&script, poll.registry(), at)?);
    }
    let mut meter = Meter::new(subject, job.warm_up, job.window);
    loop {
        meter.wait(&mut poll, &mut events)?;
        for event in &events {
            let at = event.token().0;
            let attempt = &mut attempts[at];
            if !attempt.advance(&script)? {
                continue;
            }
            if !meter.count(Instant::now(), 1, Some(attempt.since))? {
                return meter.sample();
            }
            // The reset of the old connection leaves no TIME_WAIT on either side.
            *attempt = Attempt::start(&script, poll.registry(), at)?;
        }
    }
}

struct Script<'a> {
    job: &'a Job,
    address: SocketAddr,
    request: Vec<u8>,
    close: Vec<u8>,
}

struct Attempt {
    stream: TcpStream,
    step: Step,
    received: Vec<u8>,
    since: Instant,
}

/// What is waited for.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Step {
    Connect,
    Upgrade,
    Echo,
    Close,
}

impl Attempt {
    fn start(script: &Script<'_>, registry: &Registry, at: usize) -> Result<Self, Failure> {
        let since = Instant::now();
        let mut stream = TcpStream::connect(script.address)?;
        reset_on_close(&stream)?;
        stream.set_nodelay(true)?;
        registry.register(&mut stream, Token(at), Interest::READABLE | Interest::WRITABLE)?;
        Ok(Self { stream, step: Step::Connect, received: Vec::with_capacity(256), since })
    }

    /// Whether the connection has been through everything.
    fn advance(&mut self, script: &Script<'_>) -> Result<bool, Failure> {
        if self.step == Step::Connect {
            if let Some(error) = self.stream.take_error()? {
                return Err(error.into());
            }
            if self.stream.peer_addr().is_err() {
                // An event of the connection that had this number before.
                return Ok(false);
            }
            self.send(&script.request, Step::Upgrade)?;
            return Ok(false);
        }
        let mut buffer = [0; 1024];
        match self.stream.read(&mut buffer) {
            Ok(0) => return Err("the server hung up without a Close frame".into()),
            Ok(read) => self.received.extend_from_slice(&buffer[..read]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
            Err(error) => return Err(error.into()),
        }
        match self.step {
            Step::Connect => {}
            Step::Upgrade if self.received.ends_with(b"\r\n\r\n") => {
                judge(&self.received)?;
                self.send(&script.job.requests.one, Step::Echo)?;
            }
            Step::Echo if self.received.len() >= script.job.workload.reply() => {
                check_reply(&self.received, &script.job.requests.payload)?;
                self.send(&script.close, Step::Close)?;
            }
            Step::Close if self.received.len() >= 2 => {
                let is_close = self.received[0] & 0x0F == CLOSE;
                return if is_close { Ok(true) } else { Err("no Close frame came back".into()) };
            }
            Step::Upgrade | Step::Echo | Step::Close => {}
        }
        Ok(false)
    }

    /// Sends a few bytes, for which a new connection always has room.
    fn send(&mut self, bytes: &[u8], next: Step) -> Result<(), Failure> {
        self.stream.write_all(bytes)?;
        self.received.clear();
        self.step = next;
        Ok(())
    }
}
