use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::proto::{
    Awaited, Timings,
    connection::{Connection, State},
};

/// What time it is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    /// A Ping was queued; flush it.
    Ping,
    /// The peer is too late with this.
    Late(Awaited),
}

/// The four timers of a connection as instants, of which the earliest is the one that a driver arms.
///
/// | timer | set by | stopped by |
/// |---|---|---|
/// | ping  | every read that found bytes | closing |
/// | pong  | a keepalive Ping | any bytes from the peer, closing |
/// | write | the transport refusing bytes | the transport accepting one |
/// | close | our Close frame, or failing | the end |
#[derive(Debug)]
pub(super) struct Timers {
    heard: Instant,
    pinged: Option<Instant>,
    blocked: Option<Instant>,
    closing: Option<Instant>,
    stopped: Stopped,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stopped {
    No,
    Yes,
}

impl Timers {
    pub(super) const fn new(now: Instant) -> Self {
        Self { heard: now, pinged: None, blocked: None, closing: None, stopped: Stopped::No }
    }

    pub(super) fn closing(&mut self, now: Instant) {
        self.pinged = None;
        self.closing.get_or_insert(now);
    }

    pub(super) const fn stop(&mut self) {
        self.stopped = Stopped::Yes;
    }

    fn earliest(&self, state: State, timings: &Timings) -> Option<(Instant, Timer)> {
        if self.stopped == Stopped::Yes {
            return None;
        }
        let keepalive = match (state, timings.ping_after, self.pinged) {
            (State::Open, Some(_), Some(pinged)) => Some((after(pinged, timings.pong_within), Timer::Pong)),
            (State::Open, Some(ping_after), None) => Some((after(self.heard, ping_after), Timer::Ping)),
            _ => None,
        };
        [self.earliest_for_writing(timings), keepalive].into_iter().flatten().min_by_key(|(at, _)| *at)
    }

    fn earliest_for_writing(&self, timings: &Timings) -> Option<(Instant, Timer)> {
        let write = self.blocked.map(|since| (after(since, timings.write), Timer::Write));
        let close = self.closing.map(|since| (after(since, timings.close), Timer::Close));
        [close, write].into_iter().flatten().min_by_key(|(at, _)| *at)
    }
}

#[derive(Clone, Copy, Debug)]
enum Timer {
    Ping,
    Pong,
    Write,
    Close,
}

/// A deadline too far away to be represented is as good as a year.
fn after(since: Instant, duration: Duration) -> Instant {
    since.checked_add(duration).unwrap_or_else(|| since + Duration::from_secs(365 * 24 * 3600))
}

impl Connection {
    /// Bytes arrived.
    pub(crate) const fn heard(&mut self, now: Instant) {
        self.timers.heard = now;
        self.timers.pinged = None;
    }

    /// The transport refuses bytes since `now`, or accepts them again.
    pub(crate) fn write_blocked(&mut self, since: Option<Instant>) {
        self.timers.blocked = since.map(|now| self.timers.blocked.unwrap_or(now));
    }

    /// When [`Connection::handle_timeout`] must be called next.
    pub(crate) fn deadline(&self, timings: &Timings) -> Option<Instant> {
        self.timers.earliest(self.state, timings).map(|(at, _)| at)
    }

    /// The same for someone who only writes, and therefore cannot tell whether the peer is silent.
    pub(crate) fn write_deadline(&self, timings: &Timings) -> Option<Instant> {
        self.timers.earliest_for_writing(timings).map(|(at, _)| at)
    }

    /// Says what is due at `now`; harmless to call early. A keepalive Ping is queued here.
    pub(crate) fn handle_timeout(&mut self, now: Instant, timings: &Timings) -> Option<Due> {
        let (_, timer) = self.timers.earliest(self.state, timings).filter(|(at, _)| *at <= now)?;
        Some(self.due(timer, now))
    }

    /// The same for someone who only writes.
    pub(crate) fn handle_write_timeout(&mut self, now: Instant, timings: &Timings) -> Option<Due> {
        let (_, timer) = self.timers.earliest_for_writing(timings).filter(|(at, _)| *at <= now)?;
        Some(self.due(timer, now))
    }

    fn due(&mut self, timer: Timer, now: Instant) -> Due {
        match timer {
            Timer::Ping => {
                self.timers.pinged = Some(now);
                // A Ping of the application that still waits asks the same question.
                let _ = self.ping(Bytes::new());
                Due::Ping
            }
            Timer::Pong => Due::Late(Awaited::Pong),
            Timer::Write => Due::Late(Awaited::Write),
            Timer::Close => Due::Late(Awaited::Close),
        }
    }
}
