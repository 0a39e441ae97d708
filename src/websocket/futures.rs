//! The futures of `next` and `feed`, the loop that most programs are. Their usual case becomes a part of the application's
//! own code (`inline(always)`), where a small message stays in registers: moving it through memory takes as long as all
//! else that happens to it.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::io::{AsyncRead, AsyncWrite};

use crate::{Message, Result, websocket::inner::Inner};

/// The next message.
pub(super) struct Next<'a, S>(pub(super) &'a mut Inner<S>);

impl<S: AsyncRead + AsyncWrite + Unpin> Future for Next<'_, S> {
    type Output = Option<Result<Message>>;

    #[inline(always)]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.get_mut().0.poll_message(cx)
    }
}

/// Queues a message.
pub(super) struct Feed<'a, S> {
    pub(super) inner: &'a mut Inner<S>,
    pub(super) message: Option<Message>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Future for Feed<'_, S> {
    type Output = Result<()>;

    #[inline(always)]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { inner, message } = self.get_mut();
        inner.poll_feed(cx, message)
    }
}
