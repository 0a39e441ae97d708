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

/// Whether the timer of a connection went off since it was last asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WentOff {
    Meanwhile,
    NotYet,
}

/// The four timers of a connection as instants, of which the earliest is the one that a driver arms.
///
/// | timer | set by | stopped by |
/// |---|---|---|
/// | ping  | every read that found bytes, at the next look at the clock | closing |
/// | pong  | a keepalive Ping | any bytes from the peer, closing |
/// | write | the transport refusing bytes | the transport accepting one |
/// | close | our Close frame, or failing | the end |
#[derive(Debug)]
pub(super) struct Timers {
    heard: Instant,
    blocked: Option<Instant>,
    stage: Stage,
}

/// Ping, pong and close exclude each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Listening,
    /// Bytes have arrived since the clock was looked at, which is not done for each read.
    Heard(Heard),
    Pinged(Instant),
    Closing(Instant),
    Over,
}

/// When bytes have arrived, for as long as the clock does not say it better.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Heard {
    /// Since the application asked; of callbacks, which ask for nothing, at any time.
    Now,
    /// Before that: it may have taken its time since.
    Before,
}

impl Timers {
    pub(super) const fn new(now: Instant) -> Self {
        Self { heard: now, blocked: None, stage: Stage::Listening }
    }

    pub(super) const fn closing(&mut self, now: Instant) {
        if let Stage::Listening | Stage::Heard(_) | Stage::Pinged(_) = self.stage {
            self.stage = Stage::Closing(now);
        }
    }

    pub(super) const fn stop(&mut self) {
        self.stage = Stage::Over;
        self.blocked = None;
    }

    /// Asked for before each wait, and mostly for the instant alone.
    #[inline(always)]
    fn earliest(&self, state: State, timings: &Timings) -> Option<(Instant, Timer)> {
        let peer = match (self.stage, timings.ping_after) {
            (Stage::Closing(since), _) => Some((after(since, timings.close), Timer::Close)),
            (Stage::Pinged(since), _) => Some((after(since, timings.pong_within), Timer::Pong)),
            (Stage::Listening | Stage::Heard(_), Some(silence)) if state == State::Open => {
                Some((after(self.heard, silence), Timer::Ping))
            }
            (Stage::Listening | Stage::Heard(_) | Stage::Over, _) => None,
        };
        earlier(peer, self.write(timings))
    }

    /// Without what only a reader can answer for: whether the peer is silent.
    fn earliest_for_writing(&self, timings: &Timings) -> Option<(Instant, Timer)> {
        let close = match self.stage {
            Stage::Closing(since) => Some((after(since, timings.close), Timer::Close)),
            Stage::Listening | Stage::Heard(_) | Stage::Pinged(_) | Stage::Over => None,
        };
        earlier(close, self.write(timings))
    }

    #[inline]
    fn write(&self, timings: &Timings) -> Option<(Instant, Timer)> {
        self.blocked.map(|since| (after(since, timings.write), Timer::Write))
    }
}

#[inline]
fn earlier(one: Option<(Instant, Timer)>, other: Option<(Instant, Timer)>) -> Option<(Instant, Timer)> {
    match (one, other) {
        (Some(one), Some(other)) => Some(if other.0 < one.0 { other } else { one }),
        (one, other) => one.or(other),
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
#[inline]
pub(crate) fn after(since: Instant, duration: Duration) -> Instant {
    since.checked_add(duration).unwrap_or_else(|| since + Duration::from_secs(365 * 24 * 3600))
}

impl<R> Connection<R> {
    /// Bytes arrived. When, is noted by whoever looks at the clock next.
    pub(crate) const fn heard(&mut self) {
        if let Stage::Listening | Stage::Heard(_) | Stage::Pinged(_) = self.timers.stage {
            self.timers.stage = Stage::Heard(Heard::Now);
        }
    }

    /// The application asks again.
    #[inline]
    pub(crate) const fn asked(&mut self) {
        if let Stage::Heard(Heard::Now) = self.timers.stage {
            self.timers.stage = Stage::Heard(Heard::Before);
        }
    }

    /// Whether bytes have arrived since it was noted when.
    pub(crate) const fn has_heard(&self) -> bool {
        matches!(self.timers.stage, Stage::Heard(_))
    }

    /// Notes when bytes arrived: about `now`. Where the application had its turn since, and the timer went off meanwhile,
    /// nobody knows; then they count for nothing, because a Ping too many does no harm.
    pub(crate) const fn note_heard(&mut self, now: Instant, timer: WentOff) {
        if let Stage::Heard(heard) = self.timers.stage {
            self.timers.stage = Stage::Listening;
            if let (Heard::Now, _) | (_, WentOff::NotYet) = (heard, timer) {
                self.timers.heard = now;
            }
        }
    }

    /// Notes that bytes arrived just now, whatever the connection is waiting for.
    pub(crate) const fn heard_now(&mut self, now: Instant) {
        self.heard();
        self.timers.heard = now;
    }

    /// When bytes arrived last, as far as it was noted.
    pub(crate) const fn heard_at(&self) -> Instant {
        self.timers.heard
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

    /// When the closing handshake is cut, once it has begun.
    pub(crate) fn close_deadline(&self, timings: &Timings) -> Option<Instant> {
        match self.timers.stage {
            Stage::Closing(since) => Some(after(since, timings.close)),
            Stage::Listening | Stage::Heard(_) | Stage::Pinged(_) | Stage::Over => None,
        }
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
                self.timers.stage = Stage::Pinged(now);
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
