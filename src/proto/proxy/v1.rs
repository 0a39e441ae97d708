//! Version 1, a line of text: `PROXY TCP4 SOURCE DESTINATION PORT PORT`, or `PROXY UNKNOWN` with anything behind it.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    str,
};

use super::{MAX_V1, ProxyError, ProxyHeader, ProxyProgress};

pub(super) const SIGNATURE: &[u8] = b"PROXY ";

/// `PROXY UNKNOWN` with its line end.
pub(super) const SHORTEST: usize = 15;

pub(super) fn parse(input: &[u8]) -> Result<ProxyProgress, ProxyError> {
    let line = input.get(..MAX_V1).unwrap_or(input);
    let Some(end) = line.windows(2).position(|two| two == b"\r\n") else {
        if input.len() >= MAX_V1 {
            return Err(ProxyError::LineTooLong);
        }
        let missing = if input.last() == Some(&b'\r') { 1 } else { 2 };
        // The last byte of the longest line is the last that may be asked for.
        let missing = missing.min(MAX_V1 - input.len());
        return Ok(ProxyProgress::Missing(missing.max(SHORTEST.saturating_sub(input.len()))));
    };
    let text = line.get(SIGNATURE.len()..end).and_then(|text| str::from_utf8(text).ok());
    let header = text.and_then(header).ok_or(ProxyError::MalformedLine)?;
    Ok(ProxyProgress::Complete(header, end + 2))
}

fn header(text: &str) -> Option<ProxyHeader> {
    let mut words = text.split(' ');
    let family = words.next()?;
    if family == "UNKNOWN" {
        return Some(ProxyHeader::Unspecified);
    }
    let mut address = || -> Option<IpAddr> {
        let word = words.next()?;
        match family {
            "TCP4" => word.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
            "TCP6" => word.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
            _ => None,
        }
    };
    let (source, destination) = (address()?, address()?);
    let mut port = || words.next().and_then(port);
    let (from, to) = (port()?, port()?);
    let header =
        ProxyHeader::Tcp { source: SocketAddr::new(source, from), destination: SocketAddr::new(destination, to) };
    words.next().is_none().then_some(header)
}

/// 0 to 65535, without leading zeros.
fn port(word: &str) -> Option<u16> {
    let canonical = word == "0" || word.starts_with(|first: char| matches!(first, '1'..='9'));
    if canonical { word.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(line: &str) -> Result<ProxyHeader, ProxyError> {
        match ProxyHeader::parse(line.as_bytes())? {
            ProxyProgress::Complete(header, length) => {
                assert_eq!(length, line.len());
                Ok(header)
            }
            ProxyProgress::Missing(_) => panic!("{line:?} is incomplete"),
        }
    }

    #[test]
    fn v1_lines() {
        let tcp = |source: &str, destination: &str| ProxyHeader::Tcp {
            source: source.parse().unwrap(),
            destination: destination.parse().unwrap(),
        };
        let long = "PROXY UNKNOWN ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n";
        assert_eq!(long.len(), 107);
        let table: &[(&str, Result<ProxyHeader, ProxyError>)] = &[
            ("PROXY UNKNOWN\r\n", Ok(ProxyHeader::Unspecified)),
            (long, Ok(ProxyHeader::Unspecified)),
            ("PROXY TCP4 1.2.3.4 5.6.7.8 0 65535\r\n", Ok(tcp("1.2.3.4:0", "5.6.7.8:65535"))),
            ("PROXY TCP6 ::1 2001:db8::2 1 2\r\n", Ok(tcp("[::1]:1", "[2001:db8::2]:2"))),
        ];
        for (line, expected) in table {
            assert_eq!(&outcome(line), expected, "{line:?}");
        }
        for line in [
            "PROXY TCP4 1.2.3.4 5.6.7.8 1\r\n",
            "PROXY TCP4 1.2.3.4 5.6.7.8 1 2 3\r\n",
            "PROXY TCP4 1.2.3.4 5.6.7.8 1 2 \r\n",
            "PROXY TCP4 1.2.3.4  5.6.7.8 1 2\r\n",
            "PROXY TCP4 1.2.3.4 5.6.7.8 01 2\r\n",
            "PROXY TCP4 1.2.3.4 5.6.7.8 +1 2\r\n",
            "PROXY TCP4 1.2.3.4 5.6.7.8 1 65536\r\n",
            "PROXY TCP4 1.2.3.256 5.6.7.8 1 2\r\n",
            "PROXY TCP4 ::1 ::2 1 2\r\n",
            "PROXY TCP6 1.2.3.4 5.6.7.8 1 2\r\n",
            "PROXY UDP4 1.2.3.4 5.6.7.8 1 2\r\n",
            "PROXY tcp4 1.2.3.4 5.6.7.8 1 2\r\n",
            "PROXY UNKNOWNx\r\n",
            "PROXY           \r\n",
        ] {
            assert_eq!(outcome(line), Err(ProxyError::MalformedLine), "{line:?}");
        }
    }

    #[test]
    fn v1_line_of_107_bytes_is_read_and_of_108_refused() {
        let line = |length: usize| format!("PROXY UNKNOWN {}\r\n", "x".repeat(length - 16)).into_bytes();
        assert_eq!(ProxyHeader::parse(&line(107)), Ok(ProxyProgress::Complete(ProxyHeader::Unspecified, 107)));
        assert_eq!(ProxyHeader::parse(&line(108)), Err(ProxyError::LineTooLong));
        assert_eq!(ProxyHeader::parse(&line(108)[..106]), Ok(ProxyProgress::Missing(1)));
        assert_eq!(ProxyHeader::parse(&line(108)[..107]), Err(ProxyError::LineTooLong));
    }
}
