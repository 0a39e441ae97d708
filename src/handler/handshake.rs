use std::net::SocketAddr;

use crate::handler::{Request, Response, Result};

/// Both halves of a handshake that opened a connection, and between whom.
///
/// ```
/// use wireline::handler::{Handshake, Request, Response};
/// let request = Request::from_url(&url::Url::parse("ws://example.com/").unwrap())?;
/// let response = Response::from_request(&request)?;
/// let peer_addr = Some(([192, 0, 2, 1], 4711).into());
/// let shake = Handshake { request, response, peer_addr, local_addr: None };
/// assert_eq!(shake.remote_addr()?.as_deref(), Some("192.0.2.1"));
/// # Ok::<_, wireline::handler::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Handshake {
    /// What the client asked for.
    pub request: Request,
    /// What the server answered.
    pub response: Response,
    /// The other end of the connection, which may be a proxy; `None` where the stream has no such address.
    pub peer_addr: Option<SocketAddr>,
    /// This end of the connection; `None` where the stream has no such address.
    pub local_addr: Option<SocketAddr>,
}

impl Handshake {
    /// Of a connection that was opened elsewhere, nobody knows how: a request for `/`, and a 101, without headers.
    pub(crate) fn unknown() -> Self {
        let request = Request::from(&http::Request::new(()));
        let mut response = Response::from(&http::Response::new(()));
        response.set_status(101);
        Self { request, response, peer_addr: None, local_addr: None }
    }

    /// The client's IP address, as far as a server can know it: [`Request::client_addr`], else that of the peer without
    /// its port.
    ///
    /// The headers it may come from can be forged. A client that wants the server's address has `peer_addr`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Encoding`](crate::handler::ErrorKind::Encoding): the header is not UTF-8.
    pub fn remote_addr(&self) -> Result<Option<String>> {
        let forwarded = self.request.client_addr()?.map(str::to_owned);
        Ok(forwarded.or_else(|| self.peer_addr.map(|peer| peer.ip().to_string())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remote_addr_is_what_proxies_say_or_the_peer() {
        let table: &[(&str, Option<&str>, Option<&str>)] = &[
            ("", None, None),
            ("", Some("127.0.0.1:8888"), Some("127.0.0.1")),
            ("", Some("[2001:db8::1]:8888"), Some("2001:db8::1")),
            ("X-Forwarded-For: 192.168.1.1, 192.168.1.2\r\n", Some("127.0.0.1:8888"), Some("192.168.1.1")),
            ("Forwarded: by=192.168.1.1; for=192.0.2.43, for=unknown\r\n", None, Some("192.0.2.43")),
            ("Forwarded: by=192.168.1.1\r\n", Some("127.0.0.1:8888"), Some("127.0.0.1")),
        ];
        for &(lines, peer, expected) in table {
            let head = format!("GET / HTTP/1.1\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{lines}\r\n");
            let request = Request::parse(head.as_bytes()).unwrap().unwrap();
            let response = Response::from_request(&request).unwrap();
            let peer_addr = peer.map(|address| address.parse().unwrap());
            let shake = Handshake { request, response, peer_addr, local_addr: None };
            assert_eq!(shake.remote_addr().unwrap().as_deref(), expected, "{lines:?} {peer:?}");
        }
    }
}
