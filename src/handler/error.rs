use std::{borrow::Cow, error::Error as StdError, fmt, io, str::Utf8Error};

use crate::{
    Error as CoreError,
    handler::util::{QueueError, SslError},
    proto::{Violation, handshake::HandshakeError},
};

/// A result whose error is [`struct@Error`].
pub type Result<T> = std::result::Result<T, Error>;

/// What went wrong, as a kind and in words.
///
/// ```
/// use wireline::handler::{Error, ErrorKind};
/// let error = Error::new(ErrorKind::Internal, "no such room");
/// assert_eq!(error.to_string(), "Internal Application Error: no such room");
/// ```
pub struct Error {
    /// What the connection does about it.
    pub kind: ErrorKind,
    /// More about it; may be empty.
    pub details: Cow<'static, str>,
}

/// What kind of error it is, which decides what becomes of the connection.
#[derive(Debug)]
#[expect(clippy::exhaustive_enums, reason = "programs match on every kind of ws-rs's")]
pub enum ErrorKind {
    /// A fault of the application itself: close code 1011.
    Internal,
    /// A limit was exceeded: close code 1009.
    Capacity,
    /// The peer broke a rule of the protocol: close code 1002.
    Protocol,
    /// Text that is not UTF-8: close code 1007.
    Encoding(Utf8Error),
    /// The transport failed.
    Io(io::Error),
    /// A head that is not HTTP.
    Http(httparse::Error),
    /// A command that could not be queued.
    Queue(QueueError),
    /// TLS failed.
    Ssl(SslError),
    /// An error of the application's own.
    Custom(Box<dyn StdError + Send + Sync>),
}

impl Error {
    /// An error of this kind, with details.
    pub fn new<I: Into<Cow<'static, str>>>(kind: ErrorKind, details: I) -> Self {
        Self { kind, details: details.into() }
    }

    /// The error as a boxed standard one; of `Custom` the application's own.
    #[must_use]
    pub fn into_box(self) -> Box<dyn StdError> {
        match self.kind {
            ErrorKind::Custom(error) => error,
            _ => Box::new(self),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.details {
            "" => write!(f, "WS Error <{:?}>", self.kind),
            details => write!(f, "WS Error <{:?}>: {details}", self.kind),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            ErrorKind::Internal => f.write_str("Internal Application Error"),
            ErrorKind::Capacity => f.write_str("WebSocket at Capacity"),
            ErrorKind::Protocol => f.write_str("WebSocket Protocol Error"),
            ErrorKind::Http(_) => f.write_str("Unable to parse HTTP"),
            ErrorKind::Queue(_) => f.write_str("Unable to send signal on event loop"),
            ErrorKind::Encoding(error) => error.fmt(f),
            ErrorKind::Io(error) => error.fmt(f),
            ErrorKind::Ssl(error) => error.fmt(f),
            ErrorKind::Custom(error) => error.fmt(f),
        }?;
        match &*self.details {
            "" => Ok(()),
            details => write!(f, ": {details}"),
        }
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match &self.kind {
            ErrorKind::Internal | ErrorKind::Capacity | ErrorKind::Protocol => None,
            ErrorKind::Encoding(error) => Some(error),
            ErrorKind::Io(error) => Some(error),
            ErrorKind::Http(error) => Some(error),
            ErrorKind::Queue(error) => Some(error),
            ErrorKind::Ssl(error) => Some(error),
            ErrorKind::Custom(error) => Some(&**error),
        }
    }
}

impl From<Utf8Error> for Error {
    fn from(error: Utf8Error) -> Self {
        Self::new(ErrorKind::Encoding(error), "")
    }
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        match SslError::within(error) {
            Ok(error) => Self::new(ErrorKind::Ssl(error), ""),
            Err(error) => Self::new(ErrorKind::Io(error), ""),
        }
    }
}

impl From<httparse::Error> for Error {
    fn from(error: httparse::Error) -> Self {
        // httparse's way of saying that there are more header lines than it has room for.
        let details = match error {
            httparse::Error::TooManyHeaders => "Too many headers in request or response.",
            _ => "",
        };
        Self::new(ErrorKind::Http(error), details)
    }
}

impl From<QueueError> for Error {
    fn from(error: QueueError) -> Self {
        Self::new(ErrorKind::Queue(error), "")
    }
}

#[cfg(feature = "tls-no-provider")]
impl From<rustls::Error> for Error {
    fn from(error: rustls::Error) -> Self {
        Self::new(ErrorKind::Ssl(SslError::from(error)), "")
    }
}

impl<B: StdError + Send + Sync + 'static> From<Box<B>> for Error {
    fn from(error: Box<B>) -> Self {
        Self::new(ErrorKind::Custom(error), "")
    }
}

impl From<CoreError> for Error {
    fn from(error: CoreError) -> Self {
        let details = error.to_string();
        match error {
            CoreError::Peer(Violation::InvalidUtf8 | Violation::InvalidCloseReason) => {
                Self::new(ErrorKind::Encoding(not_utf8()), details)
            }
            CoreError::Limit(_) => Self::new(ErrorKind::Capacity, details),
            CoreError::Network(error) => error.into(),
            CoreError::Timeout(awaited) => {
                Self::new(ErrorKind::Io(io::ErrorKind::TimedOut.into()), awaited.to_string())
            }
            CoreError::Handshake(error) => match *error {
                HandshakeError::HeadTooLarge | HandshakeError::TooManyHeaders => {
                    Self::new(ErrorKind::Capacity, error.to_string())
                }
                other => Self::new(ErrorKind::Protocol, other.to_string()),
            },
            CoreError::Caller(_) => Self::new(ErrorKind::Internal, details),
            CoreError::Peer(_) => Self::new(ErrorKind::Protocol, details),
        }
    }
}

/// What the standard library says of bytes that no text begins with; whoever found them keeps no position.
pub(crate) fn not_utf8() -> Utf8Error {
    match std::str::from_utf8(&NOT_UTF8) {
        Err(error) => error,
        Ok(_) => unreachable!("0xff begins no character"),
    }
}

// Behind a static, so that the compiler does not judge it at compile time.
static NOT_UTF8: [u8; 1] = [0xff];
