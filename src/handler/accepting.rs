//! A connection that was accepted, until it is open.

use std::{io, time::Instant};

use bytes::{Bytes, BytesMut};
use http::StatusCode;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{
    handler::{
        Error, ErrorKind, Handler, Handshake, Request, Response, Result,
        agent::{Agent, Raised},
        opening::{Ends, Unopened, attend},
        request::http_of,
    },
    proto::{
        Role,
        connection::{Collector, after},
        deflate::Agreed,
        handshake::{AwaitRequest, Methods, Refusal, accept_deflate, judge_upgrade},
    },
    tls::{Session, TlsAcceptor},
    transport::Transport,
    websocket::{HEAD_READ, Inner, answer_and_end, now},
};

pub(super) async fn accept<H: Handler>(
    agent: &mut Agent<H>,
    stream: TcpStream,
    ends: Ends,
    tls: Option<TlsAcceptor>,
    deadline: Instant,
) -> Result<(Inner<Transport, Collector>, Handshake), Unopened> {
    let mut stream = if agent.settings().encrypt_server || tls.is_some() {
        Box::pin(secure(agent, stream, tls, deadline)).await?
    } else {
        Transport::tcp(stream)
    };
    let mut input = BytesMut::new();
    let awaiting = AwaitRequest::new(&agent.config().limits);
    let head = match attend(agent, deadline, read_head(&mut stream, &mut input, awaiting)).await? {
        Ok(Some(Ok(head))) => head,
        Ok(Some(Err(refusal))) => return Box::pin(refuse(agent, &mut stream, refusal)).await,
        // The peer hung up: there is nobody to tell.
        Ok(None) | Err(_) => return Err(Unopened::Silently),
    };
    let (request, response, agreed) = match answer(agent, &head) {
        Ok(answered) => answered,
        Err(refused) => return Box::pin(turn_away(agent, &mut stream, refused)).await,
    };
    let mut out = Vec::new();
    if let Err(error) = response.format(&mut out) {
        return Box::pin(turn_away(agent, &mut stream, Refused::for_error(error))).await;
    }
    if response.status() != 101 {
        Box::pin(end(agent, &mut stream, &out)).await;
        return Err(Unopened::Silently);
    }
    attend(agent, deadline, async {
        stream.write_all(&out).await?;
        stream.flush().await
    })
    .await??;
    let collector = agent.collector(agent.settings().masking(Role::Server), agreed.as_ref());
    let mut inner = Inner::of_frames(stream, Role::Server, collector, agent.config().clone(), agreed, &input);
    inner.set_before_last_write(Transport::hold_for_end);
    Ok((inner, Handshake { request, response, peer_addr: Some(ends.peer), local_addr: ends.local }))
}

/// Does the TLS handshake.
async fn secure<H: Handler>(
    agent: &mut Agent<H>,
    stream: TcpStream,
    tls: Option<TlsAcceptor>,
    deadline: Instant,
) -> Result<Transport, Unopened> {
    let (stream, session) = agent.call(|handler| handler.upgrade_ssl_server(stream))?.into_parts();
    if let (Session::Server(None), None) = (&session, &tls) {
        let details = "encrypt_server needs a configuration: give one to WebSocket::with_tls, or override \
            Handler::upgrade_ssl_server";
        return Err(Error::new(ErrorKind::Protocol, details).into());
    }
    let secured = attend(agent, deadline, session.handshake(stream, tls)).await?;
    Ok(secured.map_err(Error::from)?)
}

/// The head as it was sent, or why it is refused; `None` if the peer left.
async fn read_head(
    stream: &mut Transport,
    input: &mut BytesMut,
    mut awaiting: AwaitRequest,
) -> io::Result<Option<Result<Bytes, Refusal>>> {
    loop {
        match awaiting.receive_head(input) {
            Ok(Some(head)) => return Ok(Some(Ok(head.freeze()))),
            Ok(None) => {}
            Err(refusal) => return Ok(Some(Err(refusal))),
        }
        input.reserve(HEAD_READ);
        if stream.read_buf(input).await? == 0 {
            return Ok(None);
        }
    }
}

/// The request, and the handler's answer to it.
fn answer<H: Handler>(agent: &mut Agent<H>, head: &Bytes) -> Result<(Request, Response, Option<Agreed>), Refused> {
    let request = Request::parse_head(head).map_err(Refused::for_error)?;
    let mut response = agent.call(|handler| handler.on_request(&request)).map_err(Refused::for_raised)?;
    let mut agreed = None;
    if response.status() == 101 {
        let asked = judge(agent, head)?;
        if let Some((agreement, accepted)) = accept_deflate(asked.headers(), agent.compress(Role::Server)) {
            response.add_extension(&String::from_utf8_lossy(accepted.as_bytes()));
            agreed = Some(agreement);
        }
    }
    Ok((request, response, agreed))
}

/// Judges a request that the handler accepts, by RFC 6455 section 4.2.1.
fn judge<H: Handler>(agent: &Agent<H>, head: &Bytes) -> Result<http::Request<()>, Refused> {
    let methods = if agent.settings().method_strict { Methods::Get } else { Methods::Any };
    let request = http_of(head).map_err(Refused::for_error)?;
    let judged = judge_upgrade(&request, methods).map_err(|refusal| {
        let error = Error::new(ErrorKind::Protocol, refusal.to_string());
        let mut response = response(400, "Bad Request", &error.to_string());
        // RFC 6455 §4.4: whoever asks for another version is told ours; all else is an error of the request.
        if refusal.status() == 426 && request.headers().contains_key(http::header::UPGRADE) {
            response.set_status(426);
            response.set_reason("Upgrade Required");
            for (name, value) in [("Upgrade", "websocket"), ("Sec-WebSocket-Version", "13")] {
                response.headers_mut().push((name.to_owned(), value.into()));
            }
        }
        Refused { response: Some(Box::new(response)), error }
    });
    judged.map(|()| request)
}

/// A request that is not accepted: what the peer is told, if anything, and what the handler is.
#[derive(Debug)]
struct Refused {
    response: Option<Box<Response>>,
    error: Error,
}

impl Refused {
    fn for_error(error: Error) -> Self {
        Self { response: for_kind(&error.kind, &error.to_string()), error }
    }

    fn for_raised(raised: Raised) -> Self {
        Self { response: for_kind(&raised.error().kind, &raised.reason()), error: raised.into_error() }
    }
}

fn for_kind(kind: &ErrorKind, text: &str) -> Option<Box<Response>> {
    let (status, reason) = match kind {
        ErrorKind::Protocol => (400, "Bad Request"),
        ErrorKind::Io(_) | ErrorKind::Ssl(_) => return None,
        _ => (500, "Internal Server Error"),
    };
    Some(Box::new(response(status, reason, text)))
}

fn response(status: u16, reason: &str, text: &str) -> Response {
    let mut response = Response::new(status, reason, text.as_bytes().to_vec());
    for (name, value) in [("Content-Type", "text/plain; charset=utf-8"), ("Connection", "close")] {
        response.headers_mut().push((name.to_owned(), value.into()));
    }
    response
}

async fn turn_away<H: Handler, T>(
    agent: &mut Agent<H>,
    stream: &mut Transport,
    refused: Refused,
) -> Result<T, Unopened> {
    let mut out = Vec::new();
    // What it is made of was escaped by nobody: better no answer than a forged one.
    if refused.response.is_some_and(|response| response.format(&mut out).is_ok()) {
        end(agent, stream, &out).await;
    }
    Err(refused.error.into())
}

/// Refuses a head beyond the limits, as the core does, and one that is not HTTP/1 as what cannot be parsed.
async fn refuse<H: Handler, T>(agent: &mut Agent<H>, stream: &mut Transport, refusal: Refusal) -> Result<T, Unopened> {
    let malformed = match refusal.status() {
        StatusCode::BAD_REQUEST => Some(httparse::Error::Token),
        StatusCode::HTTP_VERSION_NOT_SUPPORTED => Some(httparse::Error::Version),
        _ => None,
    };
    if let Some(kind) = malformed {
        let error = Error::new(ErrorKind::Http(kind), refusal.to_string());
        return turn_away(agent, stream, Refused::for_error(error)).await;
    }
    let error = Error::new(ErrorKind::Capacity, refusal.to_string());
    let mut out = BytesMut::new();
    refusal.encode(&mut out);
    end(agent, stream, &out).await;
    Err(error.into())
}

/// Sends an answer that does not open the connection. Whether the peer takes it changes nothing.
async fn end<H: Handler>(agent: &mut Agent<H>, stream: &mut Transport, answer: &[u8]) {
    let deadline = after(now(), agent.config().timings.close);
    let config = agent.config().clone();
    let _ = attend(agent, deadline, answer_and_end(stream, &config, answer)).await;
}
