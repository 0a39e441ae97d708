//! How a server takes a connection back that it lent to the application.
//!
//! An application nearly always lets go of its connection while the server polls it, so a place per thread is enough to
//! hand it back: lending costs an idle connection nothing.

use std::{
    cell::RefCell,
    future::poll_fn,
    marker::PhantomData,
    sync::Arc,
    task::{Context, Waker},
    thread::LocalKey,
};

use tokio::{
    io::{AsyncRead, AsyncWrite},
    runtime::Handle,
};
use tracing::Instrument;

use crate::{
    Transport, WebSocket, logging,
    proto::{Awaited, CloseCode, CloseFrame},
    websocket::{entry::Entry, inner::Inner, wakers::Side},
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

    #[inline]
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

/// The lender's end.
#[derive(Debug)]
pub(crate) struct Lease<S> {
    /// The address of the connection, which is its own for as long as it lives.
    address: usize,
    /// Not gone before the application is.
    entry: Option<Arc<Entry>>,
    transport: PhantomData<fn() -> S>,
}

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
    let inner = ws.inner.peek();
    Lease { address: address(inner), entry: inner.entry.clone(), transport: PhantomData }
}

impl<S: Lendable> Lease<S> {
    /// Polls the application. If it lets go of the connection meanwhile, here it is.
    pub(crate) fn watch<T>(&self, poll: impl FnOnce() -> T) -> (T, Option<Box<Inner<S>>>) {
        S::counter().with(|counter| {
            let outer = counter.replace(Counter { lent: Some(self.address), returned: None });
            let polled = poll();
            (polled, counter.replace(outer).returned)
        })
    }

    /// Whether the application is to end at once; its task will be woken for that.
    pub(crate) fn is_cut(&self, cx: &Context<'_>) -> bool {
        self.entry.as_ref().is_some_and(|entry| entry.watch_in_task(cx.waker()).is_cut())
    }
}

fn give_back<S: Lendable>(mut inner: Box<Inner<S>>) {
    if inner.order().is_cut() {
        return cut(&mut inner);
    }
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

/// Sends what the transport takes of what is queued, and of our Close frame, and ends at once.
fn cut<S: AsyncRead + AsyncWrite + Unpin>(inner: &mut Inner<S>) {
    let cx = &mut Context::from_waker(Waker::noop());
    if inner.heed(cx).is_ready() {
        inner.cut(Awaited::Close);
        let _ = inner.poll_end(cx);
    }
}

/// Sends what is queued, closes, and waits for the end.
pub(crate) async fn close<S: AsyncRead + AsyncWrite + Unpin>(mut inner: Box<Inner<S>>, code: CloseCode) {
    // An application that ends because its server does has done nothing that the peer would not be told of anyway.
    let code = if code == CloseCode::NORMAL { inner.order().code().unwrap_or(code) } else { code };
    inner.start_close(Some(CloseFrame::bare(code)));
    // How it ended is for the application, which has let go of it.
    let _ = poll_fn(|cx| inner.poll_closed(cx, Side::Reader)).await;
    logging::closed(inner.ending());
}
