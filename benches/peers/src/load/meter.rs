//! The warm-up and the window in which is measured.

use std::{
    hint,
    time::{Duration, Instant},
};

use mio::{Events, Poll};
use nix::time::ClockId;
use wireline_peers::{Failure, Sample};

use crate::{histogram::Histogram, subject::Subject};

/// How long nothing at all may happen.
pub(crate) const STALLED: Duration = Duration::from_secs(5);

/// Between two looks at the poll while nothing happens: two or three messages of a server that writes one at a time.
const PAUSE: Duration = Duration::from_micros(10);

#[derive(Debug)]
pub(crate) struct Meter<'a> {
    subject: &'a Subject,
    warm: Instant,
    window: Duration,
    begun: Option<Mark>,
    messages: u64,
    latencies: Histogram,
    /// CPU time that waiting has cost so far.
    idle: Duration,
    ended: Option<Mark>,
}

#[derive(Clone, Copy, Debug)]
struct Mark {
    at: Instant,
    cpu: Duration,
    /// CPU time of the load generator, without what it spent on waiting.
    own: Duration,
}

impl<'a> Meter<'a> {
    pub(crate) fn new(subject: &'a Subject, warm_up: Duration, window: Duration) -> Self {
        Self {
            subject,
            warm: Instant::now() + warm_up,
            window,
            begun: None,
            messages: 0,
            latencies: Histogram::new(),
            idle: Duration::ZERO,
            ended: None,
        }
    }

    /// Waits for events without sleeping: to wake a load generator that sleeps would be a cost of the server's writes, and
    /// the larger the less there is to do.
    pub(crate) fn wait(&mut self, poll: &mut Poll, events: &mut Events) -> Result<(), Failure> {
        poll.poll(events, Some(Duration::ZERO))?;
        if !events.is_empty() {
            return Ok(());
        }
        let (spent, since) = (own_cpu()?, Instant::now());
        let mut now = since;
        while events.is_empty() {
            if now - since > STALLED {
                return Err("nothing comes any more".into());
            }
            // Looking more often would contend with the server for the poll's lock.
            let next = now + PAUSE;
            while now < next {
                hint::spin_loop();
                now = Instant::now();
            }
            poll.poll(events, Some(Duration::ZERO))?;
        }
        self.idle += own_cpu()? - spent;
        Ok(())
    }

    /// Counts what was done by now, and says whether to go on.
    pub(crate) fn count(&mut self, now: Instant, messages: u64, since: Option<Instant>) -> Result<bool, Failure> {
        self.messages += messages;
        if let Some(since) = since {
            self.latencies.add(now.duration_since(since).as_nanos() as u64);
        }
        match self.begun {
            None if now >= self.warm => {
                self.messages = 0;
                self.latencies.clear();
                self.begun = Some(self.mark()?);
            }
            Some(begun) if now >= begun.at + self.window => {
                self.ended = Some(self.mark()?);
                return Ok(false);
            }
            _ => {}
        }
        Ok(true)
    }

    fn mark(&self) -> Result<Mark, Failure> {
        Ok(Mark { at: Instant::now(), cpu: self.subject.cpu()?, own: own_cpu()? - self.idle })
    }

    pub(crate) fn sample(&self) -> Result<Sample, Failure> {
        let (Some(begun), Some(ended)) = (self.begun, self.ended) else { return Err("the window did not end".into()) };
        if self.messages == 0 {
            return Err("not one message in the whole window".into());
        }
        let messages = self.messages as f64;
        let each = |from: Duration, to: Duration| (to - from).as_secs_f64() * 1e6 / messages;
        Ok(Sample {
            cpu: each(begun.cpu, ended.cpu),
            load_cpu: each(begun.own, ended.own),
            rate: messages / (ended.at - begun.at).as_secs_f64(),
            p50: self.latencies.percentile(0.50),
            p99: self.latencies.percentile(0.99),
            resident: self.subject.resident()?,
            ..Sample::default()
        })
    }
}

fn own_cpu() -> Result<Duration, Failure> {
    Ok(ClockId::CLOCK_THREAD_CPUTIME_ID.now()?.into())
}
