//! What went wrong, as ws-rs sorts it: by what becomes of the connection.

use std::{borrow::Cow, error::Error as StdError, fmt, io, slice, str::Utf8Error};

use crate::{
    Error as CoreError,
    handler::util::{QueueError, SslError},
    proto::{Misuse, Violation, handshake::HandshakeError},
    websocket::copy,
};

/// A result whose error is [`struct@Error`]: what every callback returns.
///
/// ```
/// use wireline::handler::{Message, Result};
/// fn first_word(message: &Message) -> Result<&str> {
///     Ok(message.as_text()?.split(' ').next().unwrap_or_default())
/// }
/// assert_eq!(first_word(&Message::from("one two"))?, "one");
/// # Ok::<(), wireline::handler::Error>(())
/// ```
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, as a kind and in words.
///
/// Callbacks return it, and [`Handler::on_error`](crate::handler::Handler::on_error) is told of it. With `?` it comes of
/// errors of I/O, UTF-8, HTTP and TLS; boxed, any error of the application's own becomes one.
///
/// ```
/// use wireline::handler::{Error, ErrorKind, Result};
/// let error = Error::new(ErrorKind::Internal, "no such room");
/// assert_eq!(error.to_string(), "Internal Application Error: no such room");
///
/// fn parse(number: &str) -> Result<u32> {
///     Ok(number.parse().map_err(Box::new)?)
/// }
/// assert!(matches!(parse("x").unwrap_err().kind, ErrorKind::Custom(_)));
/// ```
pub struct Error {
    /// What the connection does about it.
    pub kind: ErrorKind,
    /// More about it; may be empty.
    pub details: Cow<'static, str>,
}

/// What kind of error it is, which decides what becomes of the connection.
///
/// What is said of close codes holds for an open connection, and while the `panic_on_*` of
/// [`Settings`](crate::handler::Settings) for the kind is false.
///
/// ```
/// use wireline::handler::{Error, ErrorKind};
/// let error = Error::from(std::str::from_utf8(b"\xff").map(drop).unwrap_err());
/// let says = match error.kind {
///     ErrorKind::Encoding(cause) => format!("text up to byte {}", cause.valid_up_to()),
///     other => format!("{other:?}"),
/// };
/// assert_eq!(says, "text up to byte 0");
/// ```
#[derive(Debug)]
#[expect(clippy::exhaustive_enums, reason = "programs match on every kind of ws-rs's")]
pub enum ErrorKind {
    /// A fault of the application itself: close code 1011.
    Internal,
    /// A limit was exceeded: close code 1009.
    Capacity,
    /// The peer broke a rule of the protocol: close code 1002.
    Protocol,
    /// Text that is not UTF-8: close code 1007. Where the text came from the peer the position is not known, and given as 0.
    Encoding(Utf8Error),
    /// The transport failed: the connection is cut. So are deadlines that passed, as `TimedOut`, and hang-ups within the
    /// opening handshake, as `UnexpectedEof`.
    Io(io::Error),
    /// A head that is not HTTP: the connection is cut.
    Http(httparse::Error),
    /// A command that could not be queued: the connection goes on.
    Queue(QueueError),
    /// TLS failed: the connection is cut.
    Ssl(SslError),
    /// An error of the application's own: the connection goes on.
    Custom(Box<dyn StdError + Send + Sync>),
}

impl Error {
    /// An error of this kind, with details, which may be empty.
    pub fn new<I: Into<Cow<'static, str>>>(kind: ErrorKind, details: I) -> Self {
        Self { kind, details: details.into() }
    }

    /// The same error once more, for whoever is told of it too.
    pub(crate) fn repeat(&self) -> Self {
        let kind = match &self.kind {
            ErrorKind::Internal => ErrorKind::Internal,
            ErrorKind::Capacity => ErrorKind::Capacity,
            ErrorKind::Protocol => ErrorKind::Protocol,
            ErrorKind::Encoding(error) => ErrorKind::Encoding(*error),
            ErrorKind::Io(error) => ErrorKind::Io(copy(error)),
            ErrorKind::Http(error) => ErrorKind::Http(*error),
            ErrorKind::Queue(error) => ErrorKind::Queue(*error),
            ErrorKind::Ssl(error) => ErrorKind::Ssl(error.repeat()),
            ErrorKind::Custom(error) => ErrorKind::Custom(error.to_string().into()),
        };
        Self { kind, details: self.details.clone() }
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
        // The kind's own text does not say what is wrong.
        Self::new(ErrorKind::Http(error), error.to_string())
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

/// By meaning: a broken rule is `Protocol`, a limit `Capacity`, bad text `Encoding`, the transport `Io` or `Ssl`, a deadline
/// `Io` with `TimedOut`, what is not HTTP `Http`, and what could never be carried out `Internal`.
impl From<CoreError> for Error {
    fn from(error: CoreError) -> Self {
        let details = error.to_string();
        match error {
            CoreError::Peer(Violation::InvalidUtf8 | Violation::InvalidCloseReason) => {
                Self::new(ErrorKind::Encoding(not_utf8()), details)
            }
            CoreError::Peer(_) => Self::new(ErrorKind::Protocol, details),
            CoreError::Limit(_) => Self::new(ErrorKind::Capacity, details),
            CoreError::Network(error) => error.into(),
            CoreError::Timeout(_) => Self::new(ErrorKind::Io(io::ErrorKind::TimedOut.into()), details),
            CoreError::Handshake(error) => (*error).into(),
            CoreError::Caller(Misuse::QueueFull) => Self::new(ErrorKind::Capacity, details),
            CoreError::Caller(Misuse::ControlTooLong(_) | Misuse::InvalidFrame(_)) => {
                Self::new(ErrorKind::Protocol, details)
            }
            CoreError::Caller(_) => Self::new(ErrorKind::Internal, details),
        }
    }
}

/// By meaning, as from the crate's [`Error`](enum@crate::Error); a hang-up is `Io` with `UnexpectedEof`.
impl From<HandshakeError> for Error {
    fn from(error: HandshakeError) -> Self {
        let kind = match error {
            HandshakeError::HeadTooLarge | HandshakeError::TooManyHeaders => ErrorKind::Capacity,
            HandshakeError::NoResponse | HandshakeError::Truncated => {
                ErrorKind::Io(io::ErrorKind::UnexpectedEof.into())
            }
            // The core says in words where the head goes wrong. Of httparse's errors this is the least specific.
            HandshakeError::MalformedHead(_) => ErrorKind::Http(httparse::Error::Token),
            _ => ErrorKind::Protocol,
        };
        Self::new(kind, error.to_string())
    }
}

/// What the standard library says of bytes that no text begins with; whoever found them keeps no position.
pub(crate) fn not_utf8() -> Utf8Error {
    match std::str::from_utf8(slice::from_ref(&0xff)) {
        Err(error) => error,
        Ok(_) => unreachable!("0xff begins no character"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::{Awaited, Excess};

    /// Names the kind, so that rows can compare it.
    fn kind(error: &Error) -> String {
        match &error.kind {
            ErrorKind::Io(error) => format!("Io {:?}", error.kind()),
            ErrorKind::Encoding(_) => "Encoding".to_owned(),
            kind => format!("{kind:?}"),
        }
    }

    fn own() -> Box<fmt::Error> {
        Box::new(fmt::Error)
    }

    #[test]
    fn display_is_the_kind_then_the_details() {
        let io = || io::Error::other("the wire is cut");
        let rows = [
            (ErrorKind::Internal, "Internal Application Error".to_owned()),
            (ErrorKind::Capacity, "WebSocket at Capacity".to_owned()),
            (ErrorKind::Protocol, "WebSocket Protocol Error".to_owned()),
            (ErrorKind::Http(httparse::Error::Token), "Unable to parse HTTP".to_owned()),
            (ErrorKind::Queue(QueueError::Full), "Unable to send signal on event loop".to_owned()),
            (ErrorKind::Encoding(not_utf8()), not_utf8().to_string()),
            (ErrorKind::Io(io()), "the wire is cut".to_owned()),
            (ErrorKind::Custom(own()), fmt::Error.to_string()),
        ];
        for (kind, text) in rows {
            let debug = format!("WS Error <{kind:?}>");
            let mut error = Error::new(kind, "");
            assert_eq!((error.to_string(), format!("{error:?}")), (text.clone(), debug.clone()));
            error.details = "so it is".into();
            assert_eq!(error.to_string(), format!("{text}: so it is"));
            assert_eq!(format!("{error:?}"), format!("{debug}: so it is"));
        }
    }

    #[test]
    fn source_is_the_inner_error() {
        let rows = [
            (ErrorKind::Internal, None),
            (ErrorKind::Capacity, None),
            (ErrorKind::Protocol, None),
            (ErrorKind::Encoding(not_utf8()), Some(not_utf8().to_string())),
            (ErrorKind::Io(io::Error::other("cut")), Some("cut".to_owned())),
            (ErrorKind::Http(httparse::Error::Token), Some("invalid token".to_owned())),
            (ErrorKind::Queue(QueueError::Closed), Some(QueueError::Closed.to_string())),
            (ErrorKind::Custom(own()), Some(fmt::Error.to_string())),
        ];
        for (kind, source) in rows {
            let error = Error::new(kind, "details");
            assert_eq!(error.source().map(ToString::to_string), source, "{error:?}");
        }
    }

    #[test]
    fn into_box_unwraps_an_error_of_the_applications_own() {
        assert!(Error::from(own()).into_box().is::<fmt::Error>());
        let boxed = Error::new(ErrorKind::Internal, "why").into_box();
        assert_eq!(boxed.to_string(), "Internal Application Error: why");
    }

    #[test]
    fn what_becomes_an_error() {
        let rows = [
            (Error::from(not_utf8()), "Encoding", ""),
            (Error::from(io::Error::from(io::ErrorKind::BrokenPipe)), "Io BrokenPipe", ""),
            (Error::from(httparse::Error::Version), "Http(Version)", "invalid HTTP version"),
            (Error::from(httparse::Error::TooManyHeaders), "Http(TooManyHeaders)", "too many headers"),
            (Error::from(QueueError::Full), "Queue(Full)", ""),
            (Error::from(own()), "Custom(Error)", ""),
        ];
        for (error, expected, details) in rows {
            assert_eq!((kind(&error), &*error.details), (expected.to_owned(), details));
        }
    }

    #[test]
    fn errors_of_the_core_map_by_meaning() {
        let limit = Excess::Message { limit: 3 };
        let rows = [
            (CoreError::Peer(Violation::ReservedBit), "Protocol"),
            (CoreError::Peer(Violation::InvalidCloseCode(1005)), "Protocol"),
            (CoreError::Peer(Violation::InvalidUtf8), "Encoding"),
            (CoreError::Peer(Violation::InvalidCloseReason), "Encoding"),
            (CoreError::Limit(limit), "Capacity"),
            (CoreError::Timeout(Awaited::Handshake), "Io TimedOut"),
            (CoreError::Caller(Misuse::QueueFull), "Capacity"),
            (CoreError::Caller(Misuse::ControlTooLong(126)), "Protocol"),
            (CoreError::Caller(Misuse::InvalidFrame(Violation::FragmentedControl)), "Protocol"),
            (CoreError::Caller(Misuse::InvalidRequest("no host")), "Internal"),
            (HandshakeError::NoResponse.into(), "Io UnexpectedEof"),
            (HandshakeError::Truncated.into(), "Io UnexpectedEof"),
            (HandshakeError::HeadTooLarge.into(), "Capacity"),
            (HandshakeError::TooManyHeaders.into(), "Capacity"),
            (HandshakeError::MalformedHead("the status line is malformed").into(), "Http(Token)"),
            (HandshakeError::AcceptMismatch.into(), "Protocol"),
            (HandshakeError::MissingUpgrade.into(), "Protocol"),
        ];
        for (core, expected) in rows {
            // A failed handshake says why in its source.
            let details = core.source().map_or_else(|| core.to_string(), ToString::to_string);
            let error = Error::from(core);
            assert_eq!((kind(&error), &*error.details), (expected.to_owned(), &*details));
        }
        let lost = Error::from(CoreError::Network(io::ErrorKind::ConnectionReset.into()));
        assert_eq!((kind(&lost), &*lost.details), ("Io ConnectionReset".to_owned(), ""));
    }

    #[test]
    fn errors_cross_threads() {
        const fn crosses_threads<T: Send + Sync + 'static>() {}
        crosses_threads::<Error>();
    }

    #[cfg(feature = "tls-no-provider")]
    #[test]
    fn errors_of_tls_are_found_in_errors_of_io() {
        let expired = || rustls::Error::General("expired".to_owned());
        let wrapped = || io::Error::new(io::ErrorKind::InvalidData, expired());
        for error in [Error::from(expired()), Error::from(wrapped()), CoreError::Network(wrapped()).into()] {
            assert!(matches!(error.kind, ErrorKind::Ssl(_)), "{error:?}");
            assert_eq!(error.to_string(), expired().to_string());
            let ssl = error.source().unwrap();
            assert!(ssl.source().is_some_and(|cause| cause.downcast_ref() == Some(&expired())));
        }
    }
}
