use std::fmt;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, Version, header};

use super::{encode_response, scanner::HeadError};

/// A server's answer to a request that it does not upgrade (RFC 6455 section 4.2.2).
///
/// It is sent with `Content-Length` and, over HTTP/1.1, `Connection: close`, and the connection ends after it.
///
/// ```
/// use wireline::proto::handshake::Refusal;
/// use http::{HeaderValue, StatusCode, header};
/// let refusal = Refusal::new(StatusCode::UNAUTHORIZED)
///     .header(header::WWW_AUTHENTICATE, HeaderValue::from_static("Basic"))
///     .body("who are you?\n");
/// assert_eq!(refusal.status(), StatusCode::UNAUTHORIZED);
/// ```
#[derive(Clone, Debug)]
pub struct Refusal {
    /// Boxed, because it is the error of many results that are nearly always `Ok`.
    parts: Box<Parts>,
}

#[derive(Clone, Debug)]
struct Parts {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
    reason: Option<&'static str>,
    carrier: Carrier,
}

/// What carries the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Carrier {
    /// A connection of HTTP/1.1, which ends after it.
    Connection,
    /// A stream of HTTP/2, which has no headers about connections (RFC 9113 section 8.2.2).
    Stream,
}

impl Refusal {
    /// A refusal with no headers of its own and an empty body.
    ///
    /// A status below 200 would not end the exchange, and 101 would open the connection after all: 500 takes its place.
    #[must_use]
    pub fn new(status: StatusCode) -> Self {
        let status = if status.is_informational() { StatusCode::INTERNAL_SERVER_ERROR } else { status };
        Self {
            parts: Box::new(Parts {
                status,
                headers: HeaderMap::new(),
                body: Bytes::new(),
                reason: None,
                carrier: Carrier::Connection,
            }),
        }
    }

    /// Adds a header. `Connection`, `Content-Length` and `Transfer-Encoding` are set by the library and not taken.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        if ![header::CONNECTION, header::CONTENT_LENGTH, header::TRANSFER_ENCODING].contains(&name) {
            self.parts.headers.append(name, value);
        }
        self
    }

    /// Sets the body, in place of any before. Say what it is with a `Content-Type` header.
    #[must_use]
    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.parts.body = body.into();
        self
    }

    /// The status.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.parts.status
    }

    /// The headers, without those that are added when it is sent.
    #[must_use]
    pub fn headers(&self) -> &HeaderMap {
        &self.parts.headers
    }

    /// The body, as given to [`Refusal::body`].
    #[must_use]
    pub fn content(&self) -> &Bytes {
        &self.parts.body
    }

    /// The response as it is sent, for an HTTP library to send it.
    ///
    /// ```
    /// use wireline::proto::handshake::Refusal;
    /// let response = Refusal::new(http::StatusCode::NOT_FOUND).body("no such room\n").into_response();
    /// assert_eq!(response.headers()["connection"], "close");
    /// ```
    #[must_use]
    pub fn into_response(self) -> Response<Bytes> {
        let Parts { status, headers, body, carrier, .. } = *self.parts;
        // RFC 9110 §7.8: whoever sends Upgrade names it in Connection.
        let connection = if headers.contains_key(header::UPGRADE) { "close, Upgrade" } else { "close" };
        let mut response = Response::new(body);
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        if carrier == Carrier::Connection {
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static(connection));
        } else {
            *response.version_mut() = Version::HTTP_2;
            response.headers_mut().remove(header::UPGRADE);
        }
        // RFC 9110 §8.6, §15.3.5 and §15.4.5: these two have neither a body nor a length.
        if matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED) {
            return response.map(|_| Bytes::new());
        }
        let length = HeaderValue::from(response.body().len());
        response.headers_mut().insert(header::CONTENT_LENGTH, length);
        response
    }

    /// Writes the response to `out`.
    pub fn encode(self, out: &mut BytesMut) {
        let (parts, body) = self.into_response().into_parts();
        encode_response(&Response::from_parts(parts, ()), &body, out);
    }

    /// A standard refusal. The reason names the broken rule, for the log and, as a sentence, for the body.
    fn standard(status: StatusCode, reason: &'static str) -> Self {
        let mut refusal = Self::new(status)
            .header(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"))
            .body(sentence(reason));
        refusal.parts.reason = Some(reason);
        refusal
    }

    pub(crate) fn bad_request(reason: &'static str) -> Self {
        Self::standard(StatusCode::BAD_REQUEST, reason)
    }

    pub(crate) fn forbidden(reason: &'static str) -> Self {
        Self::standard(StatusCode::FORBIDDEN, reason)
    }

    pub(crate) fn method_not_allowed() -> Self {
        Self::standard(
            StatusCode::METHOD_NOT_ALLOWED,
            "the opening handshake is a GET request (RFC 6455 section 4.2.1)",
        )
        .header(header::ALLOW, HeaderValue::from_static("GET"))
    }

    /// To a request that asks for no WebSocket, where there are pages.
    pub(crate) fn page_method_not_allowed(allowed: HeaderValue) -> Self {
        Self::standard(StatusCode::METHOD_NOT_ALLOWED, "pages are requested by GET or HEAD (RFC 9110 section 15.5.6)")
            .header(header::ALLOW, allowed)
    }

    pub(crate) fn content_too_large() -> Self {
        Self::standard(
            StatusCode::PAYLOAD_TOO_LARGE,
            "a request for a page has no body here (RFC 9110 section 15.5.14)",
        )
    }

    pub(crate) fn uri_too_long() -> Self {
        Self::standard(StatusCode::URI_TOO_LONG, "the request line is longer than this server allows")
    }

    pub(crate) fn head_too_large(reason: &'static str) -> Self {
        Self::standard(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, reason)
    }

    pub(crate) fn upgrade_required(reason: &'static str) -> Self {
        // RFC 6455 §4.4: list the versions we speak. RFC 9110 §15.5.22: name the protocol to upgrade to.
        Self::standard(StatusCode::UPGRADE_REQUIRED, reason)
            .header(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"))
            .header(header::UPGRADE, HeaderValue::from_static("websocket"))
    }

    /// The same on a stream of HTTP/2, where nothing is upgraded.
    pub(crate) fn on_stream(mut self) -> Self {
        self.parts.carrier = Carrier::Stream;
        if self.parts.status == StatusCode::UPGRADE_REQUIRED {
            self.parts.status = StatusCode::BAD_REQUEST;
        }
        self
    }

    pub(crate) fn connect_only() -> Self {
        Self::standard(
            StatusCode::METHOD_NOT_ALLOWED,
            "over HTTP/2 a connection is opened by an extended CONNECT (RFC 8441 section 5)",
        )
        .header(header::ALLOW, HeaderValue::from_static("CONNECT"))
    }

    pub(crate) fn not_implemented(reason: &'static str) -> Self {
        Self::standard(StatusCode::NOT_IMPLEMENTED, reason)
    }

    /// What our own side did wrong is for the log; the peer is told no more than that.
    pub(crate) fn internal(reason: &'static str) -> Self {
        let mut refusal = Self::new(StatusCode::INTERNAL_SERVER_ERROR);
        refusal.parts.reason = Some(reason);
        refusal
    }

    pub(crate) fn unavailable(reason: &'static str) -> Self {
        Self::standard(StatusCode::SERVICE_UNAVAILABLE, reason)
    }

    pub(crate) fn going_down() -> Self {
        Self::unavailable("this server is going down")
    }

    pub(crate) fn version_not_supported() -> Self {
        Self::standard(
            StatusCode::HTTP_VERSION_NOT_SUPPORTED,
            "the opening handshake is an HTTP/1.1 request (RFC 6455 section 4.2.1)",
        )
    }
}

fn sentence(reason: &str) -> String {
    let mut text = format!("{reason}.\n");
    if let Some(first) = text.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    text
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the request was refused with {}", self.status())?;
        // A body of the caller's own may hold anything; only our sentences are fit for a log.
        self.parts.reason.map_or(Ok(()), |reason| write!(f, ": {}", reason))
    }
}

impl std::error::Error for Refusal {}

impl From<StatusCode> for Refusal {
    fn from(status: StatusCode) -> Self {
        Self::new(status)
    }
}

impl From<HeadError> for Refusal {
    fn from(error: HeadError) -> Self {
        match error {
            HeadError::TooLarge => Self::head_too_large("the request head is larger than this server allows"),
            HeadError::TooManyHeaders => Self::head_too_large("there are more header lines than this server allows"),
            HeadError::StartLineTooLong => Self::uri_too_long(),
            HeadError::Version => Self::version_not_supported(),
            HeadError::Malformed(what) => Self::bad_request(what),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(refusal: Refusal) -> String {
        let mut out = BytesMut::new();
        refusal.encode(&mut out);
        String::from_utf8(out.to_vec()).unwrap()
    }

    #[test]
    fn s_07_refusal_of_a_version_names_ours() {
        assert_eq!(
            encoded(Refusal::upgrade_required("no")),
            "HTTP/1.1 426 Upgrade Required\r\ncontent-type: text/plain; charset=utf-8\r\nSec-WebSocket-Version: 13\r\n\
             Upgrade: websocket\r\nConnection: close, Upgrade\r\ncontent-length: 4\r\n\r\nNo.\n"
        );
    }

    #[test]
    fn s_08_every_status_is_sent_with_length_and_close() {
        for code in [200, 301, 400, 401, 403, 404, 405, 414, 426, 431, 500, 503, 505, 599] {
            let text = encoded(Refusal::from(StatusCode::from_u16(code).unwrap()).body("abc"));
            assert!(text.starts_with(&format!("HTTP/1.1 {code} ")), "{text}");
            assert!(text.contains("\r\ncontent-length: 3\r\n") && text.ends_with("\r\n\r\nabc"), "{text}");
            assert!(text.contains("\r\nConnection: close\r\n"), "{text}");
        }
    }

    #[test]
    fn refusal_never_opens_nor_breaks_framing() {
        let length = HeaderValue::from_static("7");
        for code in [100, 101, 103] {
            let refusal = Refusal::new(StatusCode::from_u16(code).unwrap());
            assert_eq!(refusal.status(), StatusCode::INTERNAL_SERVER_ERROR);
        }
        let text = encoded(Refusal::new(StatusCode::OK).header(header::CONTENT_LENGTH, length.clone()).body("x"));
        assert_eq!(text, "HTTP/1.1 200 OK\r\nConnection: close\r\ncontent-length: 1\r\n\r\nx");
        let text = encoded(Refusal::new(StatusCode::NO_CONTENT).header(header::TRANSFER_ENCODING, length).body("x"));
        assert_eq!(text, "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n");
    }

    #[test]
    fn display_shows_our_reason_and_no_foreign_body() {
        let shown = Refusal::method_not_allowed().to_string();
        assert_eq!(
            shown,
            "the request was refused with 405 Method Not Allowed: \
             the opening handshake is a GET request (RFC 6455 section 4.2.1)"
        );
        let own = Refusal::new(StatusCode::UNAUTHORIZED).body("token abc");
        assert_eq!(own.to_string(), "the request was refused with 401 Unauthorized");
    }
}
