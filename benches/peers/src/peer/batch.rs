//! What an expert writes around a `Stream` and `Sink` of messages: everything that has arrived is answered, then flushed
//! once, before waiting.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    task::{Context, Poll, ready},
};

use futures_util::{Sink, SinkExt, Stream, StreamExt, poll};

/// Sends back what `reply` makes of each item.
pub(crate) async fn echo<S, M, E>(mut ws: S, mut reply: impl FnMut(S::Item) -> Result<Option<M>, E>) -> Result<(), E>
where
    S: Stream + Sink<M, Error = E> + Unpin,
{
    let mut waiting = None;
    poll_fn(|cx| {
        loop {
            if waiting.is_some() {
                ready!(ws.poll_ready_unpin(cx))?;
                if let Some(message) = waiting.take() {
                    ws.start_send_unpin(message)?;
                }
            }
            match ws.poll_next_unpin(cx) {
                Poll::Ready(Some(item)) => waiting = reply(item)?,
                Poll::Ready(None) => return Poll::Ready(Ok(())),
                Poll::Pending => {
                    let _ = ws.poll_flush_unpin(cx)?;
                    return Poll::Pending;
                }
            }
        }
    })
    .await
}

/// Sends what comes by `deliveries`, and gives what `message` makes of each item to `publish`.
pub(crate) async fn broadcast<S, M, E>(
    mut ws: S,
    mut message: impl FnMut(S::Item) -> Result<Option<M>, E>,
    mut deliveries: impl FnMut(&mut Context<'_>) -> Poll<Option<M>>,
    mut publish: impl FnMut(M),
) -> Result<(), E>
where
    S: Stream + Sink<M, Error = E> + Unpin,
{
    poll_fn(|cx| {
        loop {
            // While the socket takes no more, what is to be delivered waits, and is bounded, where it is.
            while ws.poll_ready_unpin(cx)?.is_ready()
                && let Poll::Ready(Some(message)) = deliveries(cx)
            {
                ws.start_send_unpin(message)?;
            }
            match ws.poll_next_unpin(cx) {
                Poll::Ready(Some(item)) => message(item)?.into_iter().for_each(&mut publish),
                Poll::Ready(None) => return Poll::Ready(Ok(())),
                Poll::Pending => {
                    let _ = ws.poll_flush_unpin(cx)?;
                    return Poll::Pending;
                }
            }
        }
    })
    .await
}

/// For libraries that read and write with async functions only: flushes once there is nothing left to be read at once.
/// The read is not cancelled, so that it need not be cancel-safe.
pub(crate) async fn or_flush<T, E>(
    next: impl Future<Output = T>,
    flush: impl Future<Output = Result<(), E>>,
) -> Result<T, E> {
    let mut next = pin!(next);
    if let Poll::Ready(item) = poll!(next.as_mut()) {
        return Ok(item);
    }
    flush.await?;
    Ok(next.await)
}
