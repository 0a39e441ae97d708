//! The only place that reads a clock: tokio's, so that tests can pause it.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use tokio::{task::coop::has_budget_remaining, time::Sleep};

use crate::proto::connection::WentOff;

#[expect(clippy::disallowed_methods, reason = "the one reader of the clock")]
pub(crate) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// The one timer of a connection. It is armed for the earliest deadline it was ever given and looks again when it fires, so
/// that a deadline which only moves away costs nothing.
#[derive(Debug, Default)]
pub(crate) struct Alarm {
    sleep: Option<Pin<Box<Sleep>>>,
    /// What the timer is armed for, where it has a waker: then it need not be asked before.
    armed: Option<Instant>,
}

impl Alarm {
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>, deadline: Instant) -> Poll<()> {
        self.armed = None;
        let deadline = tokio::time::Instant::from_std(deadline);
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        if sleep.deadline() > deadline {
            sleep.as_mut().reset(deadline);
        }
        loop {
            // Without any of the task's budget tokio's timer does not look who asks: it wakes the task, to be asked again.
            let asked = has_budget_remaining();
            if sleep.as_mut().poll(cx).is_pending() {
                self.armed = asked.then(|| sleep.deadline().into_std());
                return Poll::Pending;
            }
            if sleep.deadline() >= deadline {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(deadline);
        }
    }

    /// Whether the timer wakes whom it was last polled by, later than `now` and at `deadline` at the latest: asking it
    /// would touch memory of its own, which for many connections is what costs.
    pub(crate) fn is_armed(&self, now: Instant, deadline: Instant) -> bool {
        self.armed.is_some_and(|armed| now < armed && armed <= deadline)
    }

    /// Whether the timer went off, or should have, since it was last asked.
    pub(crate) fn went_off(&self, now: Instant) -> WentOff {
        if self.armed.is_some_and(|armed| armed <= now) { WentOff::Meanwhile } else { WentOff::NotYet }
    }

    /// The timer has to learn of another waker.
    pub(crate) fn disarm(&mut self) {
        self.armed = None;
    }

    pub(crate) fn stop(&mut self) {
        *self = Self::default();
    }
}

/// A timer that fires a moment after connections have come, and means nothing.
///
/// Whenever a timer is set for before all others, the runtime wakes itself through the kernel, in case it sleeps; so would
/// each connection that opens or closes, in its turn, since its deadlines are seconds away. Behind this timer none is first.
#[derive(Debug, Default)]
pub(crate) struct Forerunner(Alarm);

impl Forerunner {
    /// A connection has come. The task that accepts them will be woken, once, for nothing.
    pub(crate) fn run(&mut self, cx: &mut Context<'_>) {
        let now = now();
        if !self.0.is_armed(now, now + MOMENT) {
            let _ = self.0.poll(cx, now + MOMENT);
        }
    }
}

/// Shorter than the deadlines of connections are by default.
const MOMENT: Duration = Duration::from_secs(1);
