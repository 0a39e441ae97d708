//! How a server takes a connection back that it lent to the application.

use std::{
    future::poll_fn,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, Waker},
};

use tokio::io::{AsyncRead, AsyncWrite};

use crate::{
    WebSocket,
    proto::{CloseCode, CloseFrame},
    websocket::{inner::Inner, wakers::Side},
};

/// A connection in the application's hands. If it was lent, dropping it returns it.
#[derive(Debug)]
pub(super) struct Leased<S> {
    /// Taken only by dropping.
    inner: Option<Box<Inner<S>>>,
    lease: Option<Arc<Slot<S>>>,
}

type Slot<S> = Mutex<Returned<S>>;

#[derive(Debug)]
struct Returned<S> {
    inner: Option<Box<Inner<S>>>,
    waker: Option<Waker>,
}

impl<S> Leased<S> {
    pub(super) const fn new(inner: Box<Inner<S>>) -> Self {
        Self { inner: Some(inner), lease: None }
    }

    pub(super) fn get(&mut self) -> &mut Inner<S> {
        self.inner.as_deref_mut().expect("taken only by drop")
    }

    pub(super) fn peek(&self) -> &Inner<S> {
        self.inner.as_deref().expect("taken only by drop")
    }
}

impl<S> Drop for Leased<S> {
    fn drop(&mut self) {
        if let Some(slot) = self.lease.take() {
            let waker = {
                let mut returned = slot.lock().unwrap_or_else(PoisonError::into_inner);
                returned.inner = self.inner.take();
                returned.waker.take()
            };
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    }
}

/// The lender's end.
#[derive(Debug)]
pub(crate) struct Lease<S>(Arc<Slot<S>>);

impl<S> Lease<S> {
    /// The connection, once the application has dropped it.
    pub(crate) fn poll_returned(&self, cx: &Context<'_>) -> Poll<Box<Inner<S>>> {
        let mut returned = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match returned.inner.take() {
            Some(inner) => Poll::Ready(inner),
            None => {
                if !returned.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
                    returned.waker = Some(cx.waker().clone());
                }
                Poll::Pending
            }
        }
    }
}

/// Lends a connection: dropping it returns it to the lease.
pub(crate) fn lend<S: AsyncRead + AsyncWrite + Unpin>(ws: &mut WebSocket<S>) -> Lease<S> {
    let slot = Arc::new(Mutex::new(Returned { inner: None, waker: None }));
    ws.inner.lease = Some(Arc::clone(&slot));
    Lease(slot)
}

/// Sends what is queued, closes, and waits for the end.
pub(crate) async fn close<S: AsyncRead + AsyncWrite + Unpin>(mut inner: Box<Inner<S>>, code: CloseCode) {
    inner.start_close(Some(CloseFrame::bare(code)));
    // How it ended is for the application, which has let go of it.
    let _ = poll_fn(|cx| inner.poll_closed(cx, Side::Reader)).await;
}
