//! How a server takes a connection back that it lent to the application.
//!
//! An application nearly always lets go of its connection while the server polls it, so a place per thread is enough to
//! hand it back: lending costs an idle connection nothing.

use std::{cell::RefCell, future::poll_fn};

use tokio::{
    io::{AsyncRead, AsyncWrite},
    runtime::Handle,
};

use crate::{
    Transport, WebSocket,
    proto::{CloseCode, CloseFrame},
    websocket::{inner::Inner, wakers::Side},
};

/// A connection in the application's hands. If it was lent, dropping it returns it.
#[derive(Debug)]
pub(super) struct Leased<S> {
    /// Taken only by dropping.
    inner: Option<Box<Inner<S>>>,
    give_back: Option<fn(Box<Inner<S>>)>,
}

impl<S> Leased<S> {
    pub(super) const fn new(inner: Box<Inner<S>>) -> Self {
        Self { inner: Some(inner), give_back: None }
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
        if let Some((inner, give_back)) = self.inner.take().zip(self.give_back) {
            give_back(inner);
        }
    }
}

/// The lender's end: the address of the connection, which is its own for as long as it lives.
#[derive(Debug)]
pub(crate) struct Lease(usize);

/// What this thread is polling for a lender, and what came back meanwhile.
#[derive(Debug, Default)]
struct Counter {
    lent: Option<usize>,
    returned: Option<Box<Inner<Transport>>>,
}

thread_local! {
    static COUNTER: RefCell<Counter> = const { RefCell::new(Counter { lent: None, returned: None }) };
}

/// Lends a connection.
pub(crate) fn lend(ws: &mut WebSocket<Transport>) -> Lease {
    ws.inner.give_back = Some(give_back);
    Lease(address(ws.inner.peek()))
}

impl Lease {
    /// Polls the application. If it lets go of the connection meanwhile, here it is.
    pub(crate) fn watch<T>(&self, poll: impl FnOnce() -> T) -> (T, Option<Box<Inner<Transport>>>) {
        let outer = COUNTER.take();
        COUNTER.set(Counter { lent: Some(self.0), returned: None });
        let polled = poll();
        (polled, COUNTER.replace(outer).returned)
    }
}

fn give_back(inner: Box<Inner<Transport>>) {
    let watched = COUNTER.try_with(|counter| counter.borrow().lent == Some(address(&inner)));
    if watched.unwrap_or(false) {
        COUNTER.with_borrow_mut(|counter| counter.returned = Some(inner));
    } else if let Ok(runtime) = Handle::try_current() {
        // The application gave it to another task, which is done with it.
        runtime.spawn(close(inner, CloseCode::NORMAL));
    }
}

fn address<S>(inner: &Inner<S>) -> usize {
    std::ptr::from_ref(inner).addr()
}

/// Sends what is queued, closes, and waits for the end.
pub(crate) async fn close<S: AsyncRead + AsyncWrite + Unpin>(mut inner: Box<Inner<S>>, code: CloseCode) {
    inner.start_close(Some(CloseFrame::bare(code)));
    // How it ended is for the application, which has let go of it.
    let _ = poll_fn(|cx| inner.poll_closed(cx, Side::Reader)).await;
}
