use crate::handler::{CloseCode, Error, ErrorKind};

/// What becomes of an open connection after an error.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Remedy {
    Close(CloseCode),
    /// The transport is of no use any more.
    Cut,
    Nothing,
}

impl Remedy {
    pub(crate) const fn of(error: &Error) -> Self {
        match error.kind {
            ErrorKind::Internal => Self::Close(CloseCode::Error),
            ErrorKind::Capacity => Self::Close(CloseCode::Size),
            ErrorKind::Protocol => Self::Close(CloseCode::Protocol),
            ErrorKind::Encoding(_) => Self::Close(CloseCode::Invalid),
            ErrorKind::Io(_) | ErrorKind::Ssl(_) | ErrorKind::Http(_) => Self::Cut,
            ErrorKind::Custom(_) | ErrorKind::Queue(_) => Self::Nothing,
        }
    }
}
