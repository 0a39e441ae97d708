//! How an application's end becomes the end of its connection.

use std::{
    any::Any,
    future::{Future, poll_fn},
    pin::Pin,
    sync::Arc,
    task::Poll,
};

use crate::{
    logging::{ConnectionSpan, Log},
    metrics::{self, Failed},
    proto::CloseCode,
    server::BoxError,
    websocket::{Lease, Lendable, close, now},
};

pub(super) type Boxed<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Polls an application to its end, and closes its connection by that once it has let go of it. Where the end comes by order,
/// what is left of the application is for the caller to drop.
pub(crate) fn see_through<S: Lendable>(
    lease: &Lease<S>,
    observed: &Observed,
    mut application: Pin<&mut impl Future<Output = Outcome>>,
) -> impl Future<Output = ()> {
    let mut outcome = None;
    let mut closing: Option<Boxed<()>> = None;
    poll_fn(move |cx| {
        observed.span.within(|| {
            if lease.is_cut(cx) {
                outcome.get_or_insert(CloseCode::NORMAL);
            }
            if outcome.is_none() {
                let (polled, returned) = lease.watch(|| application.as_mut().poll(cx));
                if let Poll::Ready(done) = polled {
                    outcome = Some(observed.code(done));
                }
                // An application may go on with other work after it let go of its connection.
                if let Some(connection) = returned {
                    closing = Some(Box::pin(close(connection, outcome.unwrap_or(CloseCode::NORMAL))));
                }
            }
            if closing.as_mut().is_some_and(|closing| closing.as_mut().poll(cx).is_ready()) {
                closing = None;
            }
            if outcome.is_some() && closing.is_none() { Poll::Ready(()) } else { Poll::Pending }
        })
    })
}

/// How an application ended: by itself or by a panic.
pub(super) type Outcome = Result<Result<(), BoxError>, Box<dyn Any + Send>>;

/// What is said of a connection and of its application.
pub(crate) struct Observed {
    pub(crate) span: ConnectionSpan,
    pub(crate) log: Arc<Log>,
}

impl Observed {
    /// How an application's end is told to the peer.
    pub(super) fn code(&self, outcome: Outcome) -> CloseCode {
        match outcome {
            Ok(Ok(())) => return CloseCode::NORMAL,
            Ok(Err(error)) => {
                metrics::application_failed(Failed::Error);
                self.log.application_failed(now(), &*error);
            }
            Err(panic) => {
                metrics::application_failed(Failed::Panic);
                self.log.panicked(now(), "application", panic_words(&*panic));
            }
        }
        CloseCode::INTERNAL_ERROR
    }
}

/// What a panic said.
pub(crate) fn panic_words(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}
