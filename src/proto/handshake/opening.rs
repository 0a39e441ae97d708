use bytes::{BufMut, BytesMut};
use http::{Extensions, HeaderMap, HeaderValue, Response, StatusCode, Version, header};

use super::{
    Key,
    head::{encode_headers, encode_line},
    headers::visible,
};

/// The response that opens a connection, before it is bytes, or [`http`]'s.
#[derive(Debug)]
pub(crate) struct Opening {
    /// What it answers in HTTP/1.1; an extended CONNECT has none.
    pub(super) key: Option<Key>,
    pub(super) subprotocol: Option<HeaderValue>,
    /// Of the application.
    pub(super) headers: HeaderMap,
    pub(super) extensions: Extensions,
}

impl Opening {
    pub(crate) const fn subprotocol(&self) -> Option<&HeaderValue> {
        self.subprotocol.as_ref()
    }

    /// What the application hands to itself.
    pub(crate) fn take_extensions(&mut self) -> Extensions {
        std::mem::take(&mut self.extensions)
    }

    /// Writes it as the answer to a request of HTTP/1.1, with the extensions that were agreed on: the same bytes as of
    /// [`into_response`](Self::into_response), without making a map of what is the same every time.
    pub(crate) fn encode(&self, agreed: Option<&HeaderValue>, out: &mut BytesMut) {
        out.put_slice(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n");
        if let Some(key) = &self.key {
            encode_line("Sec-WebSocket-Accept", &key.proof(), out);
        }
        if let Some(subprotocol) = &self.subprotocol {
            encode_line("Sec-WebSocket-Protocol", subprotocol.as_bytes(), out);
        }
        encode_headers(&self.headers, out);
        if let Some(agreed) = agreed {
            encode_line("Sec-WebSocket-Extensions", agreed.as_bytes(), out);
        }
        out.put_slice(b"\r\n");
    }

    /// The same for whoever sends it: 101 (RFC 6455 section 4.2.2), or 200 to an extended CONNECT (RFC 8441 section 5).
    pub(crate) fn into_response(self) -> Response<()> {
        let mut response = Response::new(());
        if let Some(key) = self.key {
            *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
            let headers = response.headers_mut();
            headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
            headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
            headers.insert(header::SEC_WEBSOCKET_ACCEPT, visible(key.accept()));
        } else {
            *response.version_mut() = Version::HTTP_2;
        }
        let headers = response.headers_mut();
        if let Some(subprotocol) = self.subprotocol {
            headers.insert(header::SEC_WEBSOCKET_PROTOCOL, subprotocol);
        }
        headers.extend(self.headers);
        *response.extensions_mut() = self.extensions;
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::handshake::encode_response;

    #[test]
    fn a_response_is_the_same_bytes_by_way_of_http() {
        for (subprotocol, lines, agreed) in [
            (None, &[][..], None),
            (Some("chat"), &[("server", "x"), ("set-cookie", "a=b"), ("set-cookie", "c=d"), ("x-y", "")], None),
            (None, &[("origin", "x")], Some("permessage-deflate")),
            (Some("a"), &[("host", "b")], Some("permessage-deflate; server_no_context_takeover")),
        ] {
            let value = |text: &str| HeaderValue::from_str(text).unwrap();
            let mut headers = HeaderMap::new();
            for &(name, text) in lines {
                headers.append(name, value(text));
            }
            let key = Some(Key::new(*b"the sample nonce"));
            let subprotocol = subprotocol.map(value);
            let opening = Opening { key, subprotocol, headers, extensions: Extensions::new() };
            let agreed = agreed.map(value);
            let (mut direct, mut by_http) = (BytesMut::new(), BytesMut::new());
            opening.encode(agreed.as_ref(), &mut direct);
            let mut response = opening.into_response();
            if let Some(agreed) = agreed {
                response.headers_mut().insert(header::SEC_WEBSOCKET_EXTENSIONS, agreed);
            }
            encode_response(&response, b"", &mut by_http);
            assert_eq!(direct, by_http);
        }
    }
}
