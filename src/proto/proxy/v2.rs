//! Version 2, binary.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use super::{MAX_V2, ProxyError, ProxyHeader, ProxyProgress, SHORTEST};

pub(super) const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// Signature, version with command, family with protocol, length.
const FIXED: usize = 16;

/// The longest path of a Unix socket.
const PATH: usize = 108;

pub(super) fn parse(input: &[u8]) -> Result<ProxyProgress, ProxyError> {
    if let Some(&byte) = input.get(SIGNATURE.len()) {
        match byte {
            0x20 | 0x21 => {}
            _ if byte >> 4 == 2 => return Err(ProxyError::UnknownCommand),
            _ => return Err(ProxyError::UnknownVersion),
        }
    }
    let Some((&[.., command, family, high, low], rest)) = input.split_first_chunk::<FIXED>() else {
        // The first 15 bytes may still turn out to be a line of version 1.
        let until = if input.len() < SHORTEST { SHORTEST } else { FIXED };
        return Ok(ProxyProgress::Missing(until - input.len()));
    };
    let length = usize::from(u16::from_be_bytes([high, low]));
    if length > MAX_V2 {
        return Err(ProxyError::TooLong);
    }
    let Some(addresses) = rest.get(..length) else {
        return Ok(ProxyProgress::Missing(length - rest.len()));
    };
    let header = if command == 0x20 { ProxyHeader::Local } else { header(family, addresses)? };
    Ok(ProxyProgress::Complete(header, FIXED + length))
}

/// What stands behind the addresses are TLVs, which are skipped.
fn header(family: u8, addresses: &[u8]) -> Result<ProxyHeader, ProxyError> {
    let header = match (family >> 4, family & 0x0f) {
        (1, 1) => ipv4(addresses),
        (2, 1) => ipv6(addresses),
        (3, 1) => unix(addresses),
        // Unspecified, and datagrams, which a stream cannot have come from.
        (0..=3, 0..=2) => Some(ProxyHeader::Unspecified),
        _ => return Err(ProxyError::UnknownFamily),
    };
    header.ok_or(ProxyError::TooShort)
}

fn ipv4(bytes: &[u8]) -> Option<ProxyHeader> {
    let (source, rest) = bytes.split_first_chunk::<4>()?;
    let (destination, rest) = rest.split_first_chunk::<4>()?;
    tcp(
        |port| SocketAddr::from((Ipv4Addr::from(*source), port)),
        |port| (Ipv4Addr::from(*destination), port).into(),
        rest,
    )
}

fn ipv6(bytes: &[u8]) -> Option<ProxyHeader> {
    let (source, rest) = bytes.split_first_chunk::<16>()?;
    let (destination, rest) = rest.split_first_chunk::<16>()?;
    tcp(
        |port| SocketAddr::from((Ipv6Addr::from(*source), port)),
        |port| (Ipv6Addr::from(*destination), port).into(),
        rest,
    )
}

fn tcp(
    source: impl FnOnce(u16) -> SocketAddr,
    destination: impl FnOnce(u16) -> SocketAddr,
    ports: &[u8],
) -> Option<ProxyHeader> {
    let (&from, rest) = ports.split_first_chunk::<2>()?;
    let (&to, _) = rest.split_first_chunk::<2>()?;
    let (source, destination) = (source(u16::from_be_bytes(from)), destination(u16::from_be_bytes(to)));
    Some(ProxyHeader::Tcp { source, destination })
}

fn unix(bytes: &[u8]) -> Option<ProxyHeader> {
    let (source, rest) = bytes.split_first_chunk::<PATH>()?;
    let (destination, _) = rest.split_first_chunk::<PATH>()?;
    let path = |bytes: &[u8; PATH]| {
        let length = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        bytes.get(..length).unwrap_or_default().to_vec()
    };
    Some(ProxyHeader::Unix { source: path(source), destination: path(destination) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(version: u8, family: u8, length: usize, rest: &[u8]) -> Result<ProxyProgress, ProxyError> {
        let length = u16::try_from(length).unwrap().to_be_bytes();
        ProxyHeader::parse(&[SIGNATURE, &[version, family], &length, rest].concat())
    }

    /// Version with command, family with protocol, the rest, the outcome.
    type Row<'a> = (u8, u8, &'a [u8], Result<ProxyHeader, ProxyError>);

    #[test]
    fn v2_commands_families_and_lengths() {
        let ipv4 = [203, 0, 113, 7, 198, 51, 100, 1, 0xc8, 0x22, 0x01, 0xbb];
        let tcp4 = ProxyHeader::Tcp {
            source: "203.0.113.7:51234".parse().unwrap(),
            destination: "198.51.100.1:443".parse().unwrap(),
        };
        let ipv6 = [&Ipv6Addr::LOCALHOST.octets()[..], &[0x20; 16], &[0, 1, 0, 2]].concat();
        let tcp6 = ProxyHeader::Tcp {
            source: "[::1]:1".parse().unwrap(),
            destination: SocketAddr::from((Ipv6Addr::from([0x20; 16]), 2)),
        };
        let mut paths = [0; 216];
        paths[..2].copy_from_slice(b"/a");
        let unix = ProxyHeader::Unix { source: b"/a".to_vec(), destination: Vec::new() };
        let table: &[Row<'_>] = &[
            (0x21, 0x11, &ipv4, Ok(tcp4)),
            (0x21, 0x21, &ipv6, Ok(tcp6)),
            (0x21, 0x31, &paths, Ok(unix)),
            (0x21, 0x00, &[], Ok(ProxyHeader::Unspecified)),
            (0x21, 0x00, &[9; 7], Ok(ProxyHeader::Unspecified)),
            (0x21, 0x12, &ipv4, Ok(ProxyHeader::Unspecified)),
            (0x21, 0x32, &[], Ok(ProxyHeader::Unspecified)),
            (0x20, 0x11, &[], Ok(ProxyHeader::Local)),
            (0x20, 0xff, &ipv4, Ok(ProxyHeader::Local)),
            (0x21, 0x11, &ipv4[..11], Err(ProxyError::TooShort)),
            (0x21, 0x21, &ipv6[..35], Err(ProxyError::TooShort)),
            (0x21, 0x31, &paths[..215], Err(ProxyError::TooShort)),
            (0x21, 0x41, &ipv4, Err(ProxyError::UnknownFamily)),
            (0x21, 0x13, &ipv4, Err(ProxyError::UnknownFamily)),
            (0x22, 0x11, &ipv4, Err(ProxyError::UnknownCommand)),
            (0x11, 0x11, &ipv4, Err(ProxyError::UnknownVersion)),
            (0x31, 0x11, &ipv4, Err(ProxyError::UnknownVersion)),
        ];
        for (version, family, rest, expected) in table {
            let expected = expected.clone().map(|header| ProxyProgress::Complete(header, FIXED + rest.len()));
            assert_eq!(parse(*version, *family, rest.len(), rest), expected, "{version:x} {family:x} {rest:?}");
        }
        // TLVs behind the addresses.
        let with_tlvs = [&ipv4[..], &[0x20, 0, 5, 1, 0, 0, 0, 0]].concat();
        assert!(matches!(parse(0x21, 0x11, 20, &with_tlvs), Ok(ProxyProgress::Complete(ProxyHeader::Tcp { .. }, 36))));
    }

    #[test]
    fn v2_length_at_and_past_the_limit() {
        assert_eq!(parse(0x21, 0, MAX_V2, &[]), Ok(ProxyProgress::Missing(MAX_V2)));
        assert_eq!(parse(0x21, 0, MAX_V2 + 1, &[]), Err(ProxyError::TooLong));
        assert_eq!(parse(0x20, 0, 65_535, &[]), Err(ProxyError::TooLong));
    }
}
