//! How a server takes a connection back that it lent to the application.
//!
//! An application nearly always lets go of its connection while the server polls it, so a place per thread is enough to
//! hand it back: lending costs an idle connection nothing.

use std::{cell::RefCell, future::poll_fn, marker::PhantomData, thread::LocalKey};

use tokio::{
    io::{AsyncRead, AsyncWrite},
    runtime::Handle,
};
use tracing::Instrument;

use crate::{
    Transport, WebSocket, logging,
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
pub(crate) struct Lease<S>(usize, PhantomData<fn() -> S>);

/// What this thread is polling for a lender, and what came back meanwhile.
#[derive(Debug)]
pub(crate) struct Counter<S> {
    lent: Option<usize>,
    returned: Option<Box<Inner<S>>>,
}

impl<S> Counter<S> {
    pub(crate) const fn new() -> Self {
        Self { lent: None, returned: None }
    }
}

/// A transport whose connections a server lends out; each has a counter of its own on every thread.
pub(crate) trait Lendable: AsyncRead + AsyncWrite + Send + Sized + Unpin + 'static {
    fn counter() -> &'static LocalKey<RefCell<Counter<Self>>>;
}

impl Lendable for Transport {
    fn counter() -> &'static LocalKey<RefCell<Counter<Self>>> {
        thread_local! {
            static COUNTER: RefCell<Counter<Transport>> = const { RefCell::new(Counter::new()) };
        }
        &COUNTER
    }
}

/// Lends a connection.
pub(crate) fn lend<S: Lendable>(ws: &mut WebSocket<S>) -> Lease<S> {
    ws.inner.give_back = Some(give_back);
    Lease(address(ws.inner.peek()), PhantomData)
}

impl<S: Lendable> Lease<S> {
    /// Polls the application. If it lets go of the connection meanwhile, here it is.
    pub(crate) fn watch<T>(&self, poll: impl FnOnce() -> T) -> (T, Option<Box<Inner<S>>>) {
        let outer = S::counter().replace(Counter { lent: Some(self.0), returned: None });
        let polled = poll();
        (polled, S::counter().replace(outer).returned)
    }
}

fn give_back<S: Lendable>(inner: Box<Inner<S>>) {
    let watched = S::counter().try_with(|counter| counter.borrow().lent == Some(address(&inner)));
    if watched.unwrap_or(false) {
        S::counter().with_borrow_mut(|counter| counter.returned = Some(inner));
    } else if let Ok(runtime) = Handle::try_current() {
        // The application gave it to another task, which is done with it.
        runtime.spawn(close(inner, CloseCode::NORMAL).in_current_span());
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
    logging::closed(inner.ending());
}
