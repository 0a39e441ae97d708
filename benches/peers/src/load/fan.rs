//! One connection sends a batch, and the next as soon as every receiver has all of it.

use std::{
    io,
    net::{SocketAddr, TcpStream},
    thread,
    time::{Duration, Instant},
};

use mio::{Events, Poll};
use wireline_peers::{Failure, Kind, Sample};

use crate::{
    frames::{Part, Walker, check_reply},
    job::{Job, read_message},
    meter::Meter,
    socket::Socket,
    subject::Subject,
};

/// One message of a receiver in so many is compared.
const SAMPLED: u64 = 4093;

pub(crate) fn run(job: &Job, subject: &Subject, address: SocketAddr) -> Result<Sample, Failure> {
    let mut sender = job.open(address)?;
    let mut receivers = Vec::with_capacity(job.workload.connections);
    for _ in 0..job.workload.connections {
        receivers.push(Receiver {
            socket: job.open(address)?,
            walker: Walker::default(),
            waits: 0,
            seen: 0,
            position: 0,
        });
    }
    let stalled = if job.workload.kind == Kind::Slow { Some(job.open(address)?) } else { None };
    // A server may enter a connection into its list a moment after the 101.
    thread::sleep(Duration::from_millis(200));

    sender.send(&job.requests.one)?;
    let mut reply = 0;
    for receiver in &mut receivers {
        let message = read_message(&mut receiver.socket)?;
        check_reply(&message, &job.requests.payload)?;
        reply = message.len();
    }
    let before = subject.resident()?;
    let mut meter = Meter::new(subject, job.warm_up, job.window);
    let mut fan = Fan { job, sender, walker: Walker::default(), sent: 0, receivers };
    let peak = fan.run(subject, &mut meter)?;
    let mut sample = Sample { reply: Some(reply as u64), ..meter.sample()? };
    if let Some(stalled) = stalled {
        sample.growth = Some((peak.max(sample.resident) as f64 - before as f64).max(0.0));
        sample.note = Some(if is_cut(stalled)? { "cut the stalled one off" } else { "kept the stalled one" }.into());
    }
    Ok(sample)
}

struct Receiver {
    socket: Socket,
    walker: Walker,
    /// Messages of the batch that have not come yet.
    waits: usize,
    seen: u64,
    /// How far into the payload of the current message.
    position: usize,
}

struct Fan<'a> {
    job: &'a Job,
    sender: Socket,
    /// A server may send the sender its own messages as well.
    walker: Walker,
    sent: usize,
    receivers: Vec<Receiver>,
}

impl Fan<'_> {
    /// The most memory that the server was seen to have.
    fn run(&mut self, subject: &Subject, meter: &mut Meter<'_>) -> Result<u64, Failure> {
        let mut poll = Poll::new()?;
        let mut events = Events::with_capacity(1024);
        let mut scratch = vec![0; 256 * 1024];
        let sender = self.receivers.len();
        for (at, receiver) in self.receivers.iter().enumerate() {
            receiver.socket.register(poll.registry(), at)?;
        }
        self.sender.register(poll.registry(), sender)?;

        let batch = self.job.workload.in_flight;
        let (mut since, mut waiting, mut peak) = (Instant::now(), self.start()?, 0);
        let mut looked = since;
        loop {
            meter.wait(&mut poll, &mut events)?;
            for event in &events {
                let at = event.token().0;
                if at == sender {
                    self.send()?;
                    drain(&mut self.sender, &mut self.walker, &mut scratch, |_| {})?;
                } else if self.receivers[at].receive(&self.job.requests.payload, &mut scratch)? {
                    waiting -= 1;
                }
                if waiting > 0 {
                    continue;
                }
                let now = Instant::now();
                if !meter.count(now, (batch * self.receivers.len()) as u64, Some(since))? {
                    return Ok(peak);
                }
                if self.job.workload.kind == Kind::Slow && now - looked > Duration::from_millis(100) {
                    peak = peak.max(subject.resident()?);
                    looked = now;
                }
                since = Instant::now();
                waiting = self.start()?;
            }
        }
    }

    /// Sends a batch, and says how many receivers wait for it.
    fn start(&mut self) -> Result<usize, Failure> {
        self.receivers.iter_mut().for_each(|receiver| receiver.waits = self.job.workload.in_flight);
        self.sent = 0;
        self.send()?;
        Ok(self.receivers.len())
    }

    fn send(&mut self) -> Result<(), Failure> {
        let batch = &self.job.requests.batch;
        while self.sent < batch.len() {
            match self.sender.write(&batch[self.sent..]) {
                Ok(sent) => self.sent += sent,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

impl Receiver {
    /// Whether the batch is complete here now.
    fn receive(&mut self, expected: &[u8], scratch: &mut [u8]) -> Result<bool, Failure> {
        let Self { socket, walker, waits, seen, position } = self;
        let waited = *waits;
        let (mut excess, mut wrong) = (false, false);
        drain(socket, walker, scratch, |part| match part {
            Part::Header(_) => {}
            Part::Payload(bytes) => {
                let from = *position;
                *position += bytes.len();
                wrong |= seen.is_multiple_of(SAMPLED) && expected.get(from..*position) != Some(bytes);
            }
            Part::End => {
                excess |= *waits == 0;
                *waits = waits.saturating_sub(1);
                *seen += 1;
                *position = 0;
            }
        })?;
        match (excess, wrong) {
            (true, _) => Err("more was delivered than was sent".into()),
            (_, true) => Err("a delivery is not what was sent".into()),
            _ => Ok(waited > 0 && *waits == 0),
        }
    }
}

/// Reads all there is, and answers Pings.
fn drain(
    socket: &mut Socket,
    walker: &mut Walker,
    scratch: &mut [u8],
    mut on: impl FnMut(Part<'_>),
) -> Result<(), Failure> {
    loop {
        let read = match socket.read(scratch) {
            Ok(0) => return Err("the server hung up".into()),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        walker.walk(&scratch[..read], &mut on)?;
        if !walker.pongs.is_empty() {
            let pongs = std::mem::take(&mut walker.pongs);
            socket.send(&pongs)?;
        }
        if read < scratch.len() && socket.short_read_is_last() {
            return Ok(());
        }
    }
}

/// Whether a connection that was never read from is at its end once all that waits for it is read.
fn is_cut(mut stalled: Socket) -> Result<bool, Failure> {
    let mut scratch = vec![0; 256 * 1024];
    if let Socket::Plain(stream) = &stalled {
        TcpStream::set_read_timeout(stream, Some(Duration::from_millis(300)))?;
    }
    let until = Instant::now() + Duration::from_secs(2);
    while Instant::now() < until {
        match stalled.read(&mut scratch) {
            Ok(0) => return Ok(true),
            Ok(_) => {}
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                return Ok(false);
            }
            Err(_) => return Ok(true),
        }
    }
    Ok(false)
}
