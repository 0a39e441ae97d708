use std::fmt;

use bytes::Bytes;
use http::{Response, StatusCode};

use super::{Refusal, headers::GrammarError, scanner::HeadError};
use crate::proto::deflate::AnswerError;

/// Why an opening handshake failed (RFC 6455 section 4).
///
/// All but [`Refused`](Self::Refused) and [`Answered`](Self::Answered) are a client's view of its server.
///
/// ```
/// use wireline::proto::handshake::HandshakeError;
/// let error = HandshakeError::AcceptMismatch;
/// assert_eq!(error.to_string(), "Sec-WebSocket-Accept does not answer our key (RFC 6455 section 4.1)");
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum HandshakeError {
    /// We are the server, and refused the request with this answer.
    Refused(Refusal),
    /// We are the server, and the request asked for no WebSocket: it was answered with a page of this status
    /// ([`Acceptor::pages`](crate::server::Acceptor::pages)).
    Answered(StatusCode),
    /// We are the client, and the server answered with a status other than 101. The response is what it sent, with as
    /// much of the body as arrived, at most 1 MiB. Redirects and challenges (3xx, 401) come here too: nothing is followed.
    Rejected(Box<Response<Bytes>>),
    /// The connection was closed before a single byte of an answer.
    NoResponse,
    /// The connection was closed in the middle of the response head.
    Truncated,
    /// The response head is larger than `max_head`.
    HeadTooLarge,
    /// The response head has more lines than `max_headers`.
    TooManyHeaders,
    /// The answer is not an HTTP/1.1 response head; the text says where it goes wrong.
    MalformedHead(&'static str),
    /// `Upgrade` is missing or names something other than `websocket`.
    MissingUpgrade,
    /// `Connection` is missing or lacks the token `Upgrade`.
    MissingConnection,
    /// There is no `Sec-WebSocket-Accept`.
    MissingAccept,
    /// There is more than one `Sec-WebSocket-Accept`.
    DuplicateAccept,
    /// `Sec-WebSocket-Accept` is not the one that belongs to our key.
    AcceptMismatch,
    /// `Sec-WebSocket-Extensions` does not follow its grammar.
    MalformedExtensions(GrammarError),
    /// The server accepts permessage-deflate in a way that does not answer our offer.
    Deflate(AnswerError),
    /// The server uses an extension that we did not offer.
    UnrequestedExtension(String),
    /// `Sec-WebSocket-Protocol` does not follow its grammar.
    MalformedSubprotocol(GrammarError),
    /// The server chose a subprotocol that we did not offer. Case matters.
    UnrequestedSubprotocol(String),
    /// The server chose more than one subprotocol.
    DuplicateSubprotocol,
    /// A response with status 101 announces a body.
    UnexpectedBody,
}

impl fmt::Display for HandshakeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(refusal) => refusal.fmt(f),
            Self::Answered(status) => write!(f, "no WebSocket was asked for, and the answer was {status}"),
            Self::Rejected(response) => write!(f, "the server answered {} and not 101", response.status()),
            Self::NoResponse => f.write_str("the server closed the connection without an answer"),
            Self::Truncated => f.write_str("the server closed the connection within its response head"),
            Self::HeadTooLarge => f.write_str("response head larger than max_head"),
            Self::TooManyHeaders => f.write_str("response head with more lines than max_headers"),
            Self::MalformedHead(what) => write!(f, "malformed response head: {what}"),
            Self::MissingUpgrade => f.write_str("response without `Upgrade: websocket` (RFC 6455 section 4.1)"),
            Self::MissingConnection => f.write_str("response without `Connection: Upgrade` (RFC 6455 section 4.1)"),
            Self::MissingAccept => f.write_str("response without Sec-WebSocket-Accept (RFC 6455 section 4.1)"),
            Self::DuplicateAccept => f.write_str("more than one Sec-WebSocket-Accept (RFC 6455 section 11.3.3)"),
            Self::AcceptMismatch => f.write_str("Sec-WebSocket-Accept does not answer our key (RFC 6455 section 4.1)"),
            Self::MalformedExtensions(error) => {
                write!(f, "malformed Sec-WebSocket-Extensions: {error} (RFC 6455 section 9.1)")
            }
            Self::Deflate(error) => error.fmt(f),
            Self::UnrequestedExtension(name) => {
                write!(f, "extension {name} was not offered (RFC 6455 section 4.1)")
            }
            Self::MalformedSubprotocol(error) => {
                write!(f, "malformed Sec-WebSocket-Protocol: {error} (RFC 6455 section 4.1)")
            }
            Self::UnrequestedSubprotocol(name) => {
                write!(f, "subprotocol {name} was not offered (RFC 6455 section 4.1)")
            }
            Self::DuplicateSubprotocol => f.write_str("more than one subprotocol chosen (RFC 6455 section 11.3.4)"),
            Self::UnexpectedBody => f.write_str("status 101 with a body (RFC 9110 section 6.4.1)"),
        }
    }
}

impl std::error::Error for HandshakeError {}

impl From<Refusal> for HandshakeError {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<HeadError> for HandshakeError {
    fn from(error: HeadError) -> Self {
        match error {
            HeadError::TooLarge | HeadError::StartLineTooLong => Self::HeadTooLarge,
            HeadError::TooManyHeaders => Self::TooManyHeaders,
            HeadError::Version => Self::MalformedHead("a version other than HTTP/1.1"),
            HeadError::Malformed(what) => Self::MalformedHead(what),
        }
    }
}
