//! A batch on each connection, and the next as soon as all of it came back.
//!
//! All replies are the same, so that bytes are counted and not frames: the first reply is taken apart and checked, and
//! what comes later must repeat it, which is compared on a sample.

use std::{io, net::SocketAddr, time::Instant};

use mio::{Events, Poll};
use wireline_peers::{Failure, Sample};

use crate::{
    job::{Job, Speech},
    meter::Meter,
    socket::Socket,
    subject::Subject,
};

/// One read in so many is compared. Odd, so that it does not fall into step with anything.
const SAMPLED: u64 = 61;

pub(crate) fn run(job: &Job, subject: &Subject, address: SocketAddr) -> Result<Sample, Failure> {
    let mut reply = Vec::new();
    let mut links = Vec::with_capacity(job.workload.connections);
    for _ in 0..job.workload.connections {
        let (socket, bytes) = job.open_and_echo(address)?;
        if !links.is_empty() && job.speech == Speech::WebSocket && bytes != reply {
            return Err("two connections answer differently".into());
        }
        reply = bytes;
        links.push(Link { socket, sent: 0, received: 0, since: Instant::now() });
    }
    let mut meter = Meter::new(subject, job.warm_up, job.window);
    Echoing { job, reads: 0, expected: reply.len() * job.workload.in_flight, reply: &reply }.run(links, &mut meter)?;
    Ok(Sample { reply: Some(reply.len() as u64), ..meter.sample()? })
}

struct Link {
    socket: Socket,
    /// Bytes of the batch that were sent, and of its replies that were received.
    sent: usize,
    received: usize,
    since: Instant,
}

struct Echoing<'a> {
    job: &'a Job,
    reads: u64,
    /// Bytes of a batch's replies.
    expected: usize,
    reply: &'a [u8],
}

impl Echoing<'_> {
    fn run(&mut self, mut links: Vec<Link>, meter: &mut Meter<'_>) -> Result<(), Failure> {
        let mut poll = Poll::new()?;
        let mut events = Events::with_capacity(1024);
        let mut scratch = vec![0; 256 * 1024];
        for (at, link) in links.iter_mut().enumerate() {
            link.socket.register(poll.registry(), at)?;
            self.send(link)?;
        }
        loop {
            meter.wait(&mut poll, &mut events)?;
            for event in &events {
                let link = &mut links[event.token().0];
                self.send(link)?;
                while self.receive(link, &mut scratch)? {
                    let now = Instant::now();
                    if !meter.count(now, self.job.workload.in_flight as u64, Some(link.since))? {
                        return Ok(());
                    }
                    link.sent = 0;
                    link.received = 0;
                    link.since = now;
                    self.send(link)?;
                    if link.socket.short_read_is_last() {
                        // The replies to what was just sent are an event of their own.
                        break;
                    }
                }
            }
        }
    }

    /// Sends what is left of the batch, as far as the socket takes it.
    fn send(&self, link: &mut Link) -> Result<(), Failure> {
        let batch = &self.job.requests.batch;
        while link.sent < batch.len() {
            match link.socket.write(&batch[link.sent..]) {
                Ok(sent) => link.sent += sent,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(link.socket.flush()?)
    }

    /// Whether all replies of the batch are here.
    fn receive(&mut self, link: &mut Link, scratch: &mut [u8]) -> Result<bool, Failure> {
        loop {
            let read = match link.socket.read(scratch) {
                Ok(0) => return Err("the server hung up".into()),
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error.into()),
            };
            self.reads += 1;
            if self.reads.is_multiple_of(SAMPLED) && self.job.speech == Speech::WebSocket {
                self.compare(link.received, &scratch[..read])?;
            }
            link.received += read;
            if link.received >= self.expected {
                let exact = link.received == self.expected;
                return if exact { Ok(true) } else { Err("more came back than was sent".into()) };
            }
            if read < scratch.len() && link.socket.short_read_is_last() {
                return Ok(false);
            }
        }
    }

    /// Whether these bytes, so far into the replies of a batch, repeat the first reply.
    fn compare(&self, from: usize, mut bytes: &[u8]) -> Result<(), Failure> {
        let mut at = from % self.reply.len();
        while !bytes.is_empty() {
            let length = bytes.len().min(self.reply.len() - at);
            let (part, rest) = bytes.split_at(length);
            if part != &self.reply[at..at + length] {
                return Err("a reply is not what was sent, or not what the first one was".into());
            }
            bytes = rest;
            at = 0;
        }
        Ok(())
    }
}
