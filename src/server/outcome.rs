use std::{any::Any, sync::Arc};

use crate::{
    logging::{ConnectionSpan, Log},
    metrics::{self, Failed},
    proto::CloseCode,
    server::BoxError,
    websocket::now,
};

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
