use http::{HeaderMap, HeaderName, HeaderValue, header};

use super::headers::{has_element, lists};

/// The header lines that a request is judged by, found in one pass: looking for each by its name costs more than going over
/// the few that there are.
#[derive(Debug, Default)]
pub(super) struct Lines<'a> {
    pub(super) host: Line<'a>,
    pub(super) upgrade: Line<'a>,
    pub(super) connection: Line<'a>,
    pub(super) version: Line<'a>,
    pub(super) key: Line<'a>,
    pub(super) subprotocols: Line<'a>,
    pub(super) extensions: Line<'a>,
    /// Whether one says that there is a body, or may be.
    pub(super) has_body: bool,
}

/// What a request has of a header.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) enum Line<'a> {
    #[default]
    Absent,
    Once(&'a HeaderValue),
    Repeated,
}

impl<'a> Lines<'a> {
    pub(super) fn of(headers: &'a HeaderMap) -> Self {
        let mut lines = Self::default();
        for (name, value) in headers {
            let line = match *name {
                header::HOST => &mut lines.host,
                header::UPGRADE => &mut lines.upgrade,
                header::CONNECTION => &mut lines.connection,
                header::SEC_WEBSOCKET_VERSION => &mut lines.version,
                header::SEC_WEBSOCKET_KEY => &mut lines.key,
                header::SEC_WEBSOCKET_PROTOCOL => &mut lines.subprotocols,
                header::SEC_WEBSOCKET_EXTENSIONS => &mut lines.extensions,
                header::CONTENT_LENGTH => {
                    lines.has_body |= value != "0";
                    continue;
                }
                header::TRANSFER_ENCODING => {
                    lines.has_body = true;
                    continue;
                }
                _ => continue,
            };
            *line = if *line == Line::Absent { Line::Once(value) } else { Line::Repeated };
        }
        lines
    }
}

impl<'a> Line<'a> {
    /// The value, where there is exactly one.
    pub(super) const fn only(self) -> Option<&'a HeaderValue> {
        match self {
            Self::Once(value) => Some(value),
            Self::Absent | Self::Repeated => None,
        }
    }

    pub(super) const fn is_absent(self) -> bool {
        matches!(self, Self::Absent)
    }

    /// Whether the list that this is, of the header `name`, has an element; case does not matter.
    pub(super) fn lists(self, headers: &HeaderMap, name: HeaderName, element: &str) -> bool {
        match self {
            Self::Absent => false,
            Self::Once(value) => has_element(value, element),
            Self::Repeated => lists(headers, name, element),
        }
    }
}
