//! The opening handshake over a stream. What was read ahead of it stays with the connection.

use std::{future::Future, io, pin::pin, sync::Arc, time::Duration};

use bytes::{Buf, Bytes, BytesMut};
use futures_util::{FutureExt, TryFutureExt};
use http::{HeaderValue, Request, Response, StatusCode, header};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::{
    Config, Error, Result, WebSocket,
    proto::{
        Awaited, Misuse, Role,
        deflate::Agreed,
        handshake::{
            AwaitRequest, AwaitResponse, ClientRequest, HandshakeError, Opening, Refusal, accept_deflate,
            encode_response, judge_deflate,
        },
    },
    websocket::{
        entry::{Entry, while_serving},
        inner::Inner,
        random, track,
    },
};

/// Room made for each read of a head: most requests fit into one.
pub(crate) const HEAD_READ: usize = 1024;

/// Room made for a head of our own. Most need less; but for a piece of this size glibc first merges the small ones that are
/// free, and what an idle connection keeps then fits into them: 62 bytes of each.
pub(crate) const HEAD_WRITTEN: usize = 1280;

/// Why a request is not accepted.
#[derive(Debug)]
pub(crate) enum Turned {
    /// The peer is told why.
    Refused(Refusal),
    /// Our own application asked for something impossible; the peer is told no more than that.
    Misused(Misuse),
    /// It asks for no WebSocket, and this is the answer.
    Answered(Box<Response<Bytes>>),
}

impl From<Refusal> for Turned {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<Misuse> for Turned {
    fn from(misuse: Misuse) -> Self {
        Self::Misused(misuse)
    }
}

/// What a judge comes to: at once, or when it has waited for the application.
#[derive(Debug)]
pub(crate) enum Judging<J> {
    Done(Judgement),
    Waits(J),
}

/// The request, given back, and the response that opens a connection.
type Judgement = Result<(Box<Request<()>>, Opening), Turned>;

/// Accepts a connection, or refuses it and waits until the peer can have read why. The judge gives the request back.
///
/// The deadline is for the handshake alone; `None` where the caller has set one already. With an entry, a request that is not
/// complete when the server begins to end is refused.
pub(crate) async fn accept<S, J>(
    mut stream: S,
    config: Arc<Config>,
    deadline: Option<Duration>,
    entry: Option<Arc<Entry>>,
    judge: impl FnOnce(Box<Request<()>>) -> Judging<J>,
) -> Result<(WebSocket<S>, Box<Request<()>>)>
where
    S: AsyncRead + AsyncWrite + Unpin,
    J: Future<Output = Judgement> + Unpin,
{
    let judged = {
        let mut responding = pin!(respond(&mut stream, &config, entry.as_deref(), judge));
        match deadline {
            Some(deadline) => within(deadline, responding.as_mut()).await?,
            None => responding.await?,
        }
    };
    match judged {
        Ok((request, answer)) => {
            let mut ws = WebSocket::new(answer.open(stream, Role::Server, config));
            track(&mut ws, entry);
            Ok((ws, request))
        }
        // Boxed: a request that is long in coming does not pay for it.
        Err(turned) => Err(Box::pin(turn_away(stream, &config, turned)).await),
    }
}

/// Answers a request that opens nothing, and waits until the peer can have read it.
async fn turn_away<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S, config: &Config, turned: Turned) -> Error {
    let (answer, error) = match turned {
        Turned::Refused(refusal) => (refusal.clone().into_response(), HandshakeError::Refused(refusal).into()),
        Turned::Misused(misuse) => (Refusal::new(StatusCode::INTERNAL_SERVER_ERROR).into_response(), misuse.into()),
        Turned::Answered(answer) => {
            let error = HandshakeError::Answered(answer.status()).into();
            (*answer, error)
        }
    };
    let (head, body) = answer.into_parts();
    let mut out = BytesMut::with_capacity(HEAD_WRITTEN);
    encode_response(&Response::from_parts(head, ()), &[], &mut out);
    // A body may be large, and is shared.
    let sending = answer_and_end(&mut stream, config, out.chain(body)).map_err(Error::from);
    // Whether the peer took it does not change what is reported.
    let _ = within(config.timings.close, sending).await;
    error
}

/// What a handshake has agreed on, and what was read behind it.
#[derive(Debug)]
struct Answer {
    subprotocol: Option<String>,
    agreed: Option<Agreed>,
    read_ahead: BytesMut,
}

impl Answer {
    fn open<S: AsyncRead + AsyncWrite + Unpin>(self, stream: S, role: Role, config: Arc<Config>) -> Inner<S> {
        let mut inner = Inner::new(stream, role, config, self.agreed, &self.read_ahead);
        inner.set_subprotocol(self.subprotocol);
        inner
    }
}

async fn respond<S, J>(
    stream: &mut S,
    config: &Config,
    entry: Option<&Entry>,
    judge: impl FnOnce(Box<Request<()>>) -> Judging<J>,
) -> Result<Result<(Box<Request<()>>, Answer), Turned>>
where
    S: AsyncRead + AsyncWrite + Unpin,
    J: Future<Output = Judgement> + Unpin,
{
    let mut input = BytesMut::new();
    let request = match read_request(stream, config, entry, &mut input).await? {
        Ok(request) => request,
        Err(refusal) => return Ok(Err(refusal.into())),
    };
    let answered = match judge(request) {
        Judging::Done(judged) => answer(judged, config, input),
        Judging::Waits(judging) => answer(judging.await, config, input),
    };
    let (request, answer, out) = match answered {
        Ok(answered) => answered,
        Err(turned) => return Ok(Err(turned)),
    };
    stream.write_all(&out).await?;
    stream.flush().await?;
    Ok(Ok((request, answer)))
}

/// Reads until a request is complete, or to be refused. What is behind it stays in the input.
async fn read_request<S: AsyncRead + Unpin>(
    stream: &mut S,
    config: &Config,
    entry: Option<&Entry>,
    input: &mut BytesMut,
) -> Result<Result<Box<Request<()>>, Refusal>> {
    let mut awaiting = AwaitRequest::new(&config.limits);
    loop {
        if input.len() == input.capacity() {
            input.reserve(HEAD_READ);
        }
        let Some(read) = while_serving(entry, pin!(stream.read_buf(input))).await else {
            return Ok(Err(Refusal::going_down()));
        };
        if read? == 0 {
            let error = io::Error::new(io::ErrorKind::UnexpectedEof, "the peer left before its request was complete");
            return Err(Error::Network(error));
        }
        // Boxed from here to the application: it is passed on many times.
        match awaiting.receive_any(input) {
            Ok(Some(request)) => return Ok(Ok(Box::new(request))),
            Ok(None) => {}
            Err(refusal) => return Ok(Err(refusal)),
        }
    }
}

/// The answer to a request that was judged, also as bytes.
fn answer(
    judged: Judgement,
    config: &Config,
    read_ahead: BytesMut,
) -> Result<(Box<Request<()>>, Answer, BytesMut), Turned> {
    let (request, opening) = judged?;
    let (agreed, extensions) = accept_deflate(request.headers(), config.deflate.as_ref()).unzip();
    let mut out = BytesMut::with_capacity(HEAD_WRITTEN);
    opening.encode(extensions.as_ref(), &mut out);
    Ok((request, Answer { subprotocol: named(opening.subprotocol()), agreed, read_ahead }, out))
}

/// Adds the extensions that both sides want to the response that opens a connection.
pub(crate) fn agree(request: &Request<()>, config: &Config, response: &mut Response<()>) -> Option<Agreed> {
    let (agreed, answer) = accept_deflate(request.headers(), config.deflate.as_ref())?;
    response.headers_mut().insert(header::SEC_WEBSOCKET_EXTENSIONS, answer);
    Some(agreed)
}

/// Sends the last bytes of a connection that does not open, and waits until the peer can have read them.
pub(crate) async fn answer_and_end<S>(stream: &mut S, config: &Config, mut answer: impl Buf) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    stream.write_all_buf(&mut answer).await?;
    stream.shutdown().await?;
    // Unread input would turn the end into a reset, which can destroy the answer before it is read.
    let mut rest = BytesMut::new();
    let mut drained = 0_u32;
    while drained <= config.limits.max_drain {
        rest.clear();
        rest.reserve(HEAD_READ);
        match stream.read_buf(&mut rest).await? {
            0 => break,
            read => drained = drained.saturating_add(u32::try_from(read).unwrap_or(u32::MAX)),
        }
    }
    Ok(())
}

/// Asks a server to open a connection, over a stream that is dialed first; both together within the handshake deadline.
pub(crate) async fn connect<S: AsyncRead + AsyncWrite + Unpin>(
    dial: impl Future<Output = Result<S>>,
    config: Arc<Config>,
    request: &ClientRequest,
) -> Result<(WebSocket<S>, Response<()>)> {
    let mut awaiting = None;
    let asked = within(config.timings.handshake, ask(dial, &config, request, &mut awaiting)).await;
    let (stream, response, answer) = match (asked, awaiting.map(AwaitResponse::eof)) {
        (Ok(Some(opened)), _) => opened,
        (Ok(None), Some(error)) => return Err(error.into()),
        (Ok(None), None) => return Err(HandshakeError::NoResponse.into()),
        // A server that has refused, but whose body does not come in time or breaks off, has refused all the same.
        (Err(Error::Timeout(_) | Error::Network(_)), Some(rejected @ HandshakeError::Rejected(_))) => {
            return Err(rejected.into());
        }
        (Err(error), _) => return Err(error),
    };
    Ok((WebSocket::new(answer.open(stream, Role::Client, config)), response))
}

/// The stream and what opened the connection; `None` if the server ended before. What was understood until then is in
/// `awaiting`, even where this future is dropped.
async fn ask<S: AsyncRead + AsyncWrite + Unpin>(
    dial: impl Future<Output = Result<S>>,
    config: &Config,
    request: &ClientRequest,
    awaiting: &mut Option<AwaitResponse>,
) -> Result<Option<(S, Response<()>, Answer)>> {
    let mut stream = dial.await?;
    let mut input = BytesMut::new();
    let mut out = BytesMut::with_capacity(HEAD_WRITTEN);
    let awaiting =
        awaiting.insert(request.start_with(random::nonce(), &config.limits, config.deflate.as_ref(), &mut out));
    stream.write_all(&out).await?;
    stream.flush().await?;
    loop {
        if let Some(response) = awaiting.receive(&mut input)? {
            let agreed = judge_deflate(response.headers(), config.deflate.as_ref())?;
            let subprotocol = named(response.headers().get(header::SEC_WEBSOCKET_PROTOCOL));
            return Ok(Some((stream, response, Answer { subprotocol, agreed, read_ahead: input })));
        }
        input.reserve(HEAD_READ);
        if stream.read_buf(&mut input).await? == 0 {
            return Ok(None);
        }
    }
}

/// The connection that a response has opened, with what was read behind the handshake.
pub(crate) fn open<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    role: Role,
    config: Arc<Config>,
    agreed: Option<Agreed>,
    read_ahead: &[u8],
    response: &Response<()>,
) -> WebSocket<S> {
    let mut inner = Inner::new(stream, role, config, agreed, read_ahead);
    inner.set_subprotocol(named(response.headers().get(header::SEC_WEBSOCKET_PROTOCOL)));
    WebSocket::new(inner)
}

fn named(subprotocol: Option<&HeaderValue>) -> Option<String> {
    subprotocol.and_then(|value| value.to_str().ok()).map(str::to_owned)
}

/// The deadline of an opening handshake, counted once from its beginning.
///
/// No `async fn`: that would have room for the handshake twice, as its argument and as what it awaits.
pub(crate) fn within<T>(
    deadline: Duration,
    handshake: impl Future<Output = Result<T>>,
) -> impl Future<Output = Result<T>> {
    let timed = tokio::time::timeout(deadline, handshake);
    timed.map(|handshake| handshake.unwrap_or(Err(Error::Timeout(Awaited::Handshake))))
}
