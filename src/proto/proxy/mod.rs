//! The PROXY protocol, versions 1 and 2: who a connection comes from, in front of its first byte.
//!
//! A proxy that passes on bytes and not requests cannot add a header of HTTP. It writes this in front, once:
//!
//! ```text
//! 1:  PROXY TCP4 203.0.113.7 198.51.100.1 51234 443\r\n
//! 2:  0d 0a 0d 0a 00 0d 0a 51 55 49 54 0a | 21 | 11 | 00 0c | 4 + 4 bytes of addresses, 2 + 2 of ports | TLVs
//!     signature                             |    |    length of what follows
//!                                           |    address family and protocol: 11 TCP over IPv4, 21 over IPv6, 31 Unix
//!                                           version 2, command: 20 LOCAL, 21 PROXY
//! ```
//!
//! Nothing in it says that it is true: whoever can connect can write it. So it is read only where the listener or the
//! sender's address says that a proxy writes it.

mod v1;
mod v2;

use std::{fmt, net::SocketAddr};

/// The longest header of version 1, with its line end.
pub const MAX_V1: usize = 107;

/// The most bytes of a header of version 2 behind its first 16, TLVs included. The protocol allows 65,535; addresses need 216
/// at most, and no proxy is known to send more than some hundred bytes of TLVs.
pub const MAX_V2: usize = 4096;

/// No header of either version is shorter.
const SHORTEST: usize = v1::SHORTEST;

/// What a proxy says about a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProxyHeader {
    /// The proxy's own connection, for a health check: `LOCAL`. Its addresses are the socket's.
    Local,
    /// It does not say from where: `UNKNOWN`, `UNSPEC`, or a protocol that is none of streams.
    Unspecified,
    /// From one address to another, over TCP.
    Tcp {
        /// The client's.
        source: SocketAddr,
        /// The one that the client connected to.
        destination: SocketAddr,
    },
    /// Over a Unix socket. Paths are as they were sent, without the zeros behind them; often empty.
    Unix {
        /// The client's.
        source: Vec<u8>,
        /// The one that the client connected to.
        destination: Vec<u8>,
    },
}

/// How far a header has come.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "there or not")]
pub enum ProxyProgress {
    /// At least so many bytes are missing. Reading exactly so many never takes one that stands behind the header.
    Missing(usize),
    /// The header, and the bytes it takes.
    Complete(ProxyHeader, usize),
}

/// A header that does not keep to the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ProxyError {
    /// It begins like neither version.
    NoHeader,
    /// A line of version 1 that is not what the protocol says.
    MalformedLine,
    /// A line of version 1 that is longer than [`MAX_V1`].
    LineTooLong,
    /// A version that is not 2 behind the signature of version 2.
    UnknownVersion,
    /// A command that is neither LOCAL nor PROXY.
    UnknownCommand,
    /// An address family or a protocol that does not exist.
    UnknownFamily,
    /// It is too short for its addresses.
    TooShort,
    /// It is longer than [`MAX_V2`].
    TooLong,
}

impl fmt::Display for ProxyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoHeader => "there is no header of the PROXY protocol",
            Self::MalformedLine => "the line of the PROXY protocol is malformed",
            Self::LineTooLong => "the line of the PROXY protocol is longer than 107 bytes",
            Self::UnknownVersion => "the version of the PROXY protocol is unknown",
            Self::UnknownCommand => "the command of the PROXY protocol is unknown",
            Self::UnknownFamily => "the address family or protocol of the PROXY protocol is unknown",
            Self::TooShort => "the header of the PROXY protocol is too short for its addresses",
            Self::TooLong => "the header of the PROXY protocol is longer than 4,096 bytes",
        })
    }
}

impl std::error::Error for ProxyError {}

impl ProxyHeader {
    /// Reads a header from the beginning of a stream, of which `input` is what has come so far.
    ///
    /// # Errors
    ///
    /// [`ProxyError`], as soon as a byte is there that breaks the rule. Drop the connection: there is nothing to answer.
    ///
    /// ```
    /// use wireline::proto::proxy::{ProxyHeader, ProxyProgress};
    /// let ProxyProgress::Missing(missing) = ProxyHeader::parse(b"PROXY TCP4 203.0.")? else { panic!() };
    /// assert!(missing > 0);
    /// let input = b"PROXY TCP4 203.0.113.7 198.51.100.1 51234 443\r\nGET /";
    /// let ProxyProgress::Complete(header, length) = ProxyHeader::parse(input)? else { panic!() };
    /// assert_eq!((header.source(), &input[length..]), (Some(([203, 0, 113, 7], 51234).into()), &b"GET /"[..]));
    /// # Ok::<_, wireline::proto::proxy::ProxyError>(())
    /// ```
    pub fn parse(input: &[u8]) -> Result<ProxyProgress, ProxyError> {
        if is_begun(input, v2::SIGNATURE) {
            v2::parse(input)
        } else if is_begun(input, v1::SIGNATURE) {
            v1::parse(input)
        } else {
            Err(ProxyError::NoHeader)
        }
    }

    /// The client's address, where the header has one.
    #[must_use]
    pub const fn source(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp { source, .. } => Some(*source),
            _ => None,
        }
    }
}

/// Whether `input` begins with the signature, or is the beginning of it.
fn is_begun(input: &[u8], signature: &[u8]) -> bool {
    input.iter().zip(signature).all(|(byte, expected)| byte == expected)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Reads as a stream does: exactly as many bytes as are missing, until there are no more.
    fn read(input: &[u8]) -> Result<Option<(ProxyHeader, usize)>, ProxyError> {
        let mut have = 0;
        loop {
            match ProxyHeader::parse(&input[..have])? {
                ProxyProgress::Complete(header, length) => return Ok(Some((header, length))),
                ProxyProgress::Missing(missing) => {
                    assert!(missing > 0);
                    have += missing;
                    if have > input.len() {
                        return Ok(None);
                    }
                }
            }
        }
    }

    fn headers() -> Vec<Vec<u8>> {
        let v2 = |command: u8, family: u8, rest: &[u8]| {
            let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
            [v2::SIGNATURE, &[command, family], &length, rest].concat()
        };
        vec![
            b"PROXY UNKNOWN\r\n".to_vec(),
            b"PROXY TCP4 203.0.113.7 198.51.100.1 51234 443\r\n".to_vec(),
            b"PROXY TCP6 2001:db8::1 ::1 51234 443\r\n".to_vec(),
            v2(0x20, 0x00, &[]),
            v2(0x21, 0x11, &[203, 0, 113, 7, 198, 51, 100, 1, 200, 34, 1, 187]),
            v2(0x21, 0x21, &[1; 36 + 40]),
            v2(0x21, 0x31, &[b'/'; 216]),
        ]
    }

    #[test]
    fn proxy_headers_are_read_to_their_last_byte_and_no_further_however_cut() {
        for header in headers() {
            let whole = read(&header).unwrap().expect("a whole header");
            assert_eq!(whole.1, header.len());
            let followed = [&header[..], b"GET / HTTP/1.1\r\n"].concat();
            assert_eq!(read(&followed).as_ref(), Ok(&Some(whole.clone())));
            for cut in 0..header.len() {
                match ProxyHeader::parse(&header[..cut]) {
                    Ok(ProxyProgress::Missing(missing)) => {
                        assert!((1..=header.len() - cut).contains(&missing), "cut at {cut} of {header:?}");
                    }
                    other => panic!("cut at {cut} of {header:?}: {other:?}"),
                }
            }
        }
    }

    #[test]
    fn what_is_no_proxy_header_is_an_error_at_its_first_wrong_byte() {
        for input in ["G", "GET / HTTP/1.1", "PROXX", "proxy", "\r\n\r\n\0\r\nQUIX", "\r\nG", "\x16\x03"] {
            assert_eq!(ProxyHeader::parse(input.as_bytes()), Err(ProxyError::NoHeader), "{input:?}");
            let before = &input.as_bytes()[..input.len().min(1) - 1];
            assert_eq!(ProxyHeader::parse(before), Ok(ProxyProgress::Missing(SHORTEST)));
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic_and_alike_however_cut(
            which in 0_usize..7, at in 0_usize..60, byte in any::<u8>(), more in prop::collection::vec(any::<u8>(), 0..40),
        ) {
            let mut input = headers().swap_remove(which);
            input.extend(more);
            let at = at.min(input.len() - 1);
            input[at] = byte;
            let whole = ProxyHeader::parse(&input);
            match read(&input) {
                Ok(Some((header, length))) => prop_assert_eq!(whole, Ok(ProxyProgress::Complete(header, length))),
                Ok(None) => prop_assert!(matches!(whole, Ok(ProxyProgress::Missing(_)))),
                Err(error) => prop_assert_eq!(whole, Err(error)),
            }
        }

        #[test]
        fn garbage_is_read_without_panic(input in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = ProxyHeader::parse(&input);
            let _ = ProxyHeader::parse(&[v1::SIGNATURE, &input].concat());
            let _ = ProxyHeader::parse(&[v2::SIGNATURE, &input].concat());
        }
    }
}
