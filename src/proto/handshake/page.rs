//! Requests that ask for no WebSocket: plain HTTP beside WebSockets, one request a connection.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Version, header};

use super::{
    Refusal,
    judge::{check_body, check_host},
    lines::Lines,
};

/// The methods of a page.
const ALLOWED: &str = "GET, HEAD, OPTIONS";

/// Whether a request asks for a WebSocket, be it badly: `Upgrade` names what begins with `websocket`, or there is a header
/// that begins with `Sec-WebSocket-`, which is what a proxy leaves that does not pass on `Upgrade`.
pub(crate) fn asks_for_websocket(headers: &HeaderMap) -> bool {
    const NAME: &[u8] = b"websocket";
    let mut protocols = headers.get_all(header::UPGRADE).iter().flat_map(|line| line.as_bytes().split(|b| *b == b','));
    protocols.any(|name| name.trim_ascii().get(..NAME.len()).is_some_and(|name| name.eq_ignore_ascii_case(NAME)))
        || headers.keys().any(|name| name.as_str().starts_with("sec-websocket-"))
}

/// Whether a request may be answered with a page: a GET, HEAD or OPTIONS request of HTTP/1.0 or HTTP/1.1 without a body.
pub(crate) fn judge_page<T>(request: &Request<T>) -> Result<(), Refusal> {
    let refused = check_page(request);
    // RFC 9110 §9.3.2: an answer to HEAD has no body.
    if *request.method() == Method::HEAD { refused.map_err(|refusal| refusal.body("")) } else { refused }
}

fn check_page<T>(request: &Request<T>) -> Result<(), Refusal> {
    let headers = request.headers();
    let path = request.uri().path();
    match *request.method() {
        Method::OPTIONS if path == "*" => {}
        Method::GET | Method::HEAD | Method::OPTIONS if path.starts_with('/') => {}
        Method::GET | Method::HEAD | Method::OPTIONS => {
            return Err(Refusal::bad_request("the request-target has no path (RFC 9112 section 3.2)"));
        }
        _ => return Err(Refusal::page_method_not_allowed(HeaderValue::from_static(ALLOWED))),
    }
    let lines = Lines::of(headers);
    check_body(&lines).map_err(|_| Refusal::content_too_large())?;
    // RFC 9112 §3.2: HTTP/1.0 may leave it out.
    if request.version() == Version::HTTP_10 && lines.host.is_absent() {
        return Ok(());
    }
    check_host(&lines)
}

/// The answer to OPTIONS (RFC 9110 section 9.3.7), by which some load balancers look whether a server is there.
pub(crate) fn options() -> Response<Bytes> {
    Refusal::new(StatusCode::NO_CONTENT).header(header::ALLOW, HeaderValue::from_static(ALLOWED)).into_response()
}

/// A page as it is sent in answer to `method`: with its length and without what would break the framing or keep the
/// connection open; without its body for HEAD, whose length stays. An informational status becomes 500.
pub(crate) fn finish_page(page: Response<Bytes>, method: &Method) -> Response<Bytes> {
    let (parts, body) = page.into_parts();
    let headers = parts.headers.iter();
    let answer =
        headers.fold(Refusal::new(parts.status), |answer, (name, value)| answer.header(name.clone(), value.clone()));
    let answer = answer.body(body).into_response();
    if *method == Method::HEAD { answer.map(|_| Bytes::new()) } else { answer }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_names_websocket_asks_for_one_be_it_badly() {
        let table: &[(&[(&str, &str)], bool)] = &[
            (&[], false),
            (&[("upgrade", "websocket")], true),
            (&[("upgrade", "WebSocket")], true),
            (&[("upgrade", "h2c, websocket")], true),
            (&[("upgrade", "h2c"), ("upgrade", "websocket/13")], true),
            (&[("upgrade", "websockets")], true),
            (&[("sec-websocket-key", "")], true),
            (&[("Sec-WebSocket-Key1", "x")], true),
            (&[("upgrade", "h2c"), ("connection", "Upgrade, HTTP2-Settings")], false),
            (&[("upgrade", "web")], false),
            (&[("upgrade", "")], false),
            (&[("upgrade", "\u{ff}websocket")], false),
            (&[("connection", "upgrade")], false),
            (&[("origin", "http://websocket")], false),
        ];
        for (lines, asks) in table {
            let line = |(name, value): &(&str, &str)| {
                (name.parse::<header::HeaderName>().unwrap(), HeaderValue::from_bytes(value.as_bytes()).unwrap())
            };
            let mut headers = HeaderMap::new();
            for (name, value) in lines.iter().map(line) {
                headers.append(name, value);
            }
            assert_eq!(asks_for_websocket(&headers), *asks, "{lines:?}");
        }
    }

    #[test]
    fn requests_for_pages_and_their_answers() {
        let host = ("host", "example.com");
        type Row<'a> = (&'a str, &'a str, Version, &'a [(&'a str, &'a str)], Option<u16>);
        let table: &[Row<'_>] = &[
            // method, target, version, headers, the refusal if there is one
            ("GET", "/", Version::HTTP_11, &[host], None),
            ("HEAD", "/a?b", Version::HTTP_11, &[host], None),
            ("OPTIONS", "*", Version::HTTP_11, &[host], None),
            ("GET", "http://example.com/a", Version::HTTP_11, &[host], None),
            ("GET", "/", Version::HTTP_11, &[host, ("content-length", "0")], None),
            ("GET", "/", Version::HTTP_10, &[], None),
            ("OPTIONS", "/", Version::HTTP_10, &[], None),
            ("GET", "/", Version::HTTP_10, &[host], None),
            ("GET", "/", Version::HTTP_10, &[("host", "a b")], Some(400)),
            ("GET", "/", Version::HTTP_11, &[], Some(400)),
            ("GET", "/", Version::HTTP_11, &[host, host], Some(400)),
            ("GET", "*", Version::HTTP_11, &[host], Some(400)),
            ("HEAD", "example.com:80", Version::HTTP_11, &[host], Some(400)),
            ("POST", "/", Version::HTTP_11, &[host], Some(405)),
            ("POST", "/", Version::HTTP_11, &[host, ("content-length", "5")], Some(405)),
            ("CONNECT", "example.com:80", Version::HTTP_11, &[host], Some(405)),
            ("get", "/", Version::HTTP_11, &[host], Some(405)),
            ("GET", "/", Version::HTTP_11, &[host, ("content-length", "5")], Some(413)),
            ("GET", "/", Version::HTTP_11, &[host, ("content-length", "x")], Some(413)),
            ("HEAD", "/", Version::HTTP_11, &[host, ("transfer-encoding", "chunked")], Some(413)),
        ];
        for &(method, target, version, headers, status) in table {
            let request = Request::builder().method(method).uri(target).version(version);
            let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
            let judged = judge_page(&request.body(()).unwrap());
            if let Err(refusal) = &judged {
                assert_eq!(refusal.content().is_empty(), method == "HEAD", "{method} {target} {headers:?} says why");
                assert_eq!(refusal.headers().contains_key(header::ALLOW), status == Some(405), "{method}");
            }
            assert_eq!(judged.err().map(|refusal| refusal.status().as_u16()), status, "{method} {target} {headers:?}");
        }
    }

    #[test]
    fn a_page_cannot_break_the_framing() {
        let page = |status: u16| {
            let page = Response::builder().status(status).header("x", "1").header("x", "2");
            let page = page.header("content-length", "7").header("transfer-encoding", "chunked");
            page.header("connection", "keep-alive").body(Bytes::from("abc")).unwrap()
        };
        let table: &[(u16, Method, u16, Option<&str>, &str)] = &[
            (200, Method::GET, 200, Some("3"), "abc"),
            (404, Method::GET, 404, Some("3"), "abc"),
            (200, Method::HEAD, 200, Some("3"), ""),
            (204, Method::GET, 204, None, ""),
            (304, Method::GET, 304, None, ""),
            (101, Method::GET, 500, Some("3"), "abc"),
        ];
        for (status, method, sent, length, body) in table {
            let answer = finish_page(page(*status), method);
            assert_eq!((answer.status().as_u16(), &**answer.body()), (*sent, body.as_bytes()), "{status} {method}");
            let value = answer.headers().get(header::CONTENT_LENGTH).map(|value| value.to_str().unwrap());
            assert_eq!(value, *length, "{status} {method}");
            assert_eq!(answer.headers()[header::CONNECTION], "close");
            assert_eq!(answer.headers().get_all("x").iter().count(), 2);
            assert!(!answer.headers().contains_key(header::TRANSFER_ENCODING));
        }
    }
}
