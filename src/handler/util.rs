//! Tokens, timeouts, streams and the errors of queueing and TLS.

use std::{error::Error as StdError, fmt, io};

pub use crate::handler::{timeouts::Timeout, tls::SslStream};

/// The TCP stream that the TLS hooks of [`Handler`](crate::handler::Handler) get.
pub type TcpStream = tokio::net::TcpStream;

/// Tells timeouts, or the connections of a `WebSocket`, apart.
///
/// ```
/// use wireline::handler::util::Token;
/// const PING: Token = Token(1);
/// assert!(matches!(Token::from(1), PING));
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

/// TLS failed; the source says how.
#[derive(Debug)]
pub struct SslError(io::Error);

impl SslError {
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
