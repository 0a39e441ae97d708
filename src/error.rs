//! What can go wrong, grouped by who is to blame, and the close code that each of it sends.

use std::{fmt, io};

use crate::proto::{Awaited, CloseCode, Excess, Fault, Misuse, Violation, handshake::HandshakeError};

/// A result whose error is [`enum@Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, by who is to blame.
///
/// A connection that closes normally is not an error: its stream ends, and [`WebSocket::ending`](crate::WebSocket::ending) says how.
///
/// ```
/// use wireline::{CloseCode, Error, proto::Violation};
/// let error = Error::Peer(Violation::Unmasked);
/// assert_eq!(error.close_code(), Some(CloseCode::PROTOCOL_ERROR));
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// The peer broke a rule of RFC 6455 on the open connection.
    Peer(Violation),
    /// The peer went beyond one of our limits.
    Limit(Excess),
    /// The opening handshake failed.
    Handshake(Box<HandshakeError>),
    /// The caller asked for something that cannot be done. Nothing was sent.
    Caller(Misuse),
    /// The transport failed, or ended without a Close frame.
    Network(io::Error),
    /// Something did not happen in time.
    Timeout(Awaited),
}

impl Error {
    /// The close code that this error sends to the peer, where one can be sent.
    #[must_use]
    pub const fn close_code(&self) -> Option<CloseCode> {
        match self {
            Self::Peer(violation) => Some(violation.close_code()),
            Self::Limit(excess) => Some(Fault::Excess(*excess).close_code()),
            Self::Timeout(Awaited::Pong) => Some(CloseCode::INTERNAL_ERROR),
            Self::Handshake(_) | Self::Caller(_) | Self::Network(_) | Self::Timeout(_) => None,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Peer(violation) => write!(f, "the peer broke a rule: {violation}"),
            Self::Limit(excess) => write!(f, "the peer exceeded a limit: {excess}"),
            Self::Handshake(_) => f.write_str("the opening handshake failed"),
            Self::Caller(misuse) => misuse.fmt(f),
            Self::Network(_) => f.write_str("the connection was lost"),
            Self::Timeout(awaited) => write!(f, "timed out waiting for {awaited}"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Handshake(error) => Some(error),
            Self::Network(error) => Some(error),
            Self::Peer(_) | Self::Limit(_) | Self::Caller(_) | Self::Timeout(_) => None,
        }
    }
}

impl From<Fault> for Error {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Violation(violation) => Self::Peer(violation),
            Fault::Excess(excess) => Self::Limit(excess),
        }
    }
}

impl From<Misuse> for Error {
    fn from(misuse: Misuse) -> Self {
        Self::Caller(misuse)
    }
}

impl From<HandshakeError> for Error {
    fn from(error: HandshakeError) -> Self {
        Self::Handshake(Box::new(error))
    }
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        Self::Network(error)
    }
}
