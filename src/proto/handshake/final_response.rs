use bytes::{Bytes, BytesMut};
use http::{Response, StatusCode};

use super::{HandshakeError, body::Body, head::parse_response, scanner::HeadScanner};
use crate::proto::Limits;

/// Reads a server's response within the limits, without judging whether it opens the connection.
#[derive(Debug)]
pub(crate) struct ReadResponse {
    scanner: HeadScanner,
    /// A response other than 101, and what reads its body.
    rejection: Option<(FinalResponse, Body)>,
}

/// The response that follows any interim ones (RFC 9110 section 15.2).
#[derive(Clone, Debug)]
pub(crate) struct FinalResponse {
    /// The head as it was sent.
    pub(crate) head: Bytes,
    pub(crate) response: Response<()>,
    /// What follows a status other than 101, at most 1 MiB of it; what follows 101 is frames.
    pub(crate) body: Bytes,
}

impl ReadResponse {
    pub(crate) const fn new(limits: &Limits) -> Self {
        Self { scanner: HeadScanner::response(limits), rejection: None }
    }

    /// The final response, once it is in `input`; after a 101, what follows its head stays there.
    ///
    /// Interim responses are skipped; `max_head` and `max_headers` count them all together.
    pub(crate) fn receive(&mut self, input: &mut BytesMut) -> Result<Option<FinalResponse>, HandshakeError> {
        loop {
            if let Some((rejection, body)) = &mut self.rejection {
                return Ok(body.receive(input).map(|body| FinalResponse { body, ..rejection.clone() }));
            }
            // Checked at once, because a server of another protocol may never send what ends a head.
            if input.iter().zip(b"HTTP/1.").any(|(found, expected)| found != expected) {
                return Err(HandshakeError::MalformedHead("it does not begin with HTTP/1."));
            }
            let Some(length) = self.scanner.scan(input)? else {
                return Ok(None);
            };
            let head = input.split_to(length).freeze();
            let response = parse_response(&head)?;
            let (status, body) = (response.status(), Body::of(&response));
            let received = FinalResponse { head, response, body: Bytes::new() };
            if status == StatusCode::SWITCHING_PROTOCOLS {
                return Ok(Some(received));
            }
            // RFC 9110 §15.2: interim responses may come unasked, and the final one follows.
            if !status.is_informational() {
                self.rejection = Some((received, body));
            }
        }
    }

    /// What there is where the connection ended before [`receive`](Self::receive) had a result for all input: a response
    /// other than 101 with as much of its body as arrived, or else why there is none.
    pub(crate) fn eof(self) -> Result<FinalResponse, HandshakeError> {
        match self.rejection {
            Some((rejection, mut body)) => Ok(FinalResponse { body: body.take(), ..rejection }),
            None if self.scanner.is_untouched() => Err(HandshakeError::NoResponse),
            None => Err(HandshakeError::Truncated),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_final_head_is_kept_as_sent() {
        let table: &[(&str, &str, Option<&str>, &str, &str)] = &[
            // interim responses, the final head, the body if complete, what of it arrived, what stays in the input
            ("", "HTTP/1.1 101 x\r\nuPGRADE: y\r\n\r\n", Some(""), "", "abc"),
            ("HTTP/1.1 103 x\r\nA: b\r\n\r\n", "HTTP/1.1 101 x\r\n\r\n", Some(""), "", "abc"),
            ("", "HTTP/1.1 404 No\r\nX-y: \u{e9}\r\n\r\n", None, "abc", ""),
            ("HTTP/1.1 100 \r\n\r\n", "HTTP/1.1 404 No\r\nContent-Length: 2\r\n\r\n", Some("ab"), "", "c"),
        ];
        for &(interim, head, body, arrived, left) in table {
            let mut input = BytesMut::from(&*[interim, head, "abc"].concat());
            let mut reading = ReadResponse::new(&Limits::default());
            let received = reading.receive(&mut input).unwrap();
            assert_eq!(received.as_ref().map(|response| &*response.body), body.map(str::as_bytes), "{head:?}");
            assert_eq!(input, left, "{head:?}");
            let ended = reading.eof().ok();
            if received.is_none() {
                assert_eq!(ended.as_ref().map(|response| &*response.body), Some(arrived.as_bytes()), "{head:?}");
            }
            assert_eq!(received.or(ended).unwrap().head, head);
        }
    }
}
