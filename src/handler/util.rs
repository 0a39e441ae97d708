//! Tokens, timeouts, streams and the errors of queueing and TLS.

use std::{error::Error as StdError, fmt, io};

use crate::websocket::copy;

pub use crate::handler::{timeouts::Timeout, tls::SslStream};

/// The TCP stream that the TLS hooks of [`Handler`](crate::handler::Handler) get: Tokio's.
pub type TcpStream = tokio::net::TcpStream;

/// A number that tells timeouts, or the connections of a [`WebSocket`](crate::handler::WebSocket), apart.
///
/// Of timeouts the application chooses it, in [`Sender::timeout`](crate::handler::Sender::timeout). Of connections it is
/// the place they have, which is used again after their end.
///
/// ```
/// use wireline::handler::util::Token;
/// const PING: Token = Token(1);
/// assert!(matches!(Token::from(1), PING));
/// assert_eq!(usize::from(PING), 1);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(clippy::exhaustive_structs, reason = "a number")]
pub struct Token(pub usize);

impl From<usize> for Token {
    fn from(number: usize) -> Self {
        Self(number)
    }
}

impl From<Token> for usize {
    fn from(token: Token) -> Self {
        token.0
    }
}

/// Why a command could not be queued.
///
/// ```
/// use wireline::handler::{Error, ErrorKind, util::QueueError};
/// let is_full = |error: &Error| matches!(error.kind, ErrorKind::Queue(QueueError::Full));
/// assert!(is_full(&Error::from(QueueError::Full)));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "there is room or not, or nobody is left to carry it out")]
pub enum QueueError {
    /// As many commands wait as may.
    Full,
    /// The connection or its `WebSocket` is gone.
    Closed,
}

impl fmt::Display for QueueError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full => "the queue of commands is full",
            Self::Closed => "nobody is left to carry the command out",
        })
    }
}

impl StdError for QueueError {}

/// TLS failed. It says so in the words of the TLS library, whose error is its source.
///
/// There is one with every set of features, so that a program matches on the same kinds of errors with all of them.
///
/// ```
/// use wireline::handler::{Error, ErrorKind};
/// fn is_certificate_trouble(error: &Error) -> bool {
///     match &error.kind {
///         ErrorKind::Ssl(ssl) => ssl.to_string().contains("certificate"),
///         _ => false,
///     }
/// }
/// assert!(!is_certificate_trouble(&Error::new(ErrorKind::Protocol, "")));
/// ```
#[derive(Debug)]
pub struct SslError(io::Error);

impl SslError {
    pub(crate) fn repeat(&self) -> Self {
        Self(copy(&self.0))
    }

    /// The error of TLS that an I/O error wraps, else the I/O error again.
    pub(crate) fn within(error: io::Error) -> Result<Self, io::Error> {
        if is_of_tls(&error) { Ok(Self(error)) } else { Err(error) }
    }
}

#[cfg(feature = "tls-no-provider")]
fn is_of_tls(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|inner| inner.is::<rustls::Error>())
}

#[cfg(not(feature = "tls-no-provider"))]
fn is_of_tls(_: &io::Error) -> bool {
    false
}

#[cfg(feature = "tls-no-provider")]
impl From<rustls::Error> for SslError {
    fn from(error: rustls::Error) -> Self {
        Self(io::Error::other(error))
    }
}

impl fmt::Display for SslError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl StdError for SslError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self.0.get_ref() {
            Some(error) => Some(error),
            None => Some(&self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_numbers() {
        const FIRST: Token = Token(0);
        for number in [0, 1, usize::MAX] {
            let token = Token::from(number);
            assert_eq!((token, usize::from(token)), (Token(number), number));
            assert_eq!(matches!(token, FIRST), number == 0);
        }
        assert!(Token(1) < Token(2));
        assert_eq!(format!("{:?}", Token(7)), "Token(7)");
    }

    #[test]
    fn queue_errors_say_why() {
        let rows = [
            (QueueError::Full, "the queue of commands is full"),
            (QueueError::Closed, "nobody is left to carry the command out"),
        ];
        for (error, text) in rows {
            assert_eq!(error.to_string(), text);
            assert!(StdError::source(&error).is_none());
        }
    }

    #[test]
    fn other_errors_of_io_are_not_of_tls() {
        for error in [io::Error::from(io::ErrorKind::BrokenPipe), io::Error::other("certificate expired")] {
            let kind = error.kind();
            assert_eq!(SslError::within(error).unwrap_err().kind(), kind);
        }
    }

    #[cfg(feature = "tls-no-provider")]
    #[test]
    fn errors_of_tls_have_the_librarys_error_as_their_source() {
        let expired = || rustls::Error::General("expired".to_owned());
        for error in [SslError::from(expired()), SslError::within(io::Error::other(expired())).unwrap()] {
            assert_eq!(error.to_string(), expired().to_string());
            assert!(error.source().is_some_and(|cause| cause.downcast_ref() == Some(&expired())));
        }
    }
}
