//! Reading the PROXY protocol from the beginning of a stream.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt};

use crate::{
    Error, Result,
    proto::{
        forwarded::{Endpoint, Evidence, Peer, TrustedProxies},
        proxy::{ProxyHeader, ProxyProgress},
    },
};

/// Which connections begin with a header of the PROXY protocol. Both versions are read. One that names no client (`UNKNOWN`,
/// `UNSPEC`, a Unix socket) leaves it unknown, without an address and trusted by nobody.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProxyProtocol {
    /// None: a header is refused, like anything else that is not HTTP. The default.
    #[default]
    Off,
    /// Those from a trusted proxy, each of them; others have none. See [`Server::trusted_proxies`](super::Server::trusted_proxies).
    Trusted,
    /// All. **Whoever can connect is believed**, so only proxies may be able to.
    Required,
}

impl ProxyProtocol {
    /// Whether a connection from `endpoint` begins with a header.
    pub(super) fn is_expected(self, endpoint: Endpoint, trusted: &TrustedProxies) -> bool {
        match self {
            Self::Off => false,
            Self::Trusted => trusted.trusts(endpoint),
            Self::Required => true,
        }
    }

    /// Who a connection comes from: what its header says, where it must have one, else `endpoint`.
    pub(super) async fn announced<S>(
        self,
        stream: &mut S,
        endpoint: Endpoint,
        trusted: &TrustedProxies,
    ) -> Result<(Endpoint, Evidence)>
    where
        S: AsyncRead + Unpin,
    {
        if !self.is_expected(endpoint, trusted) {
            return Ok((endpoint, Evidence::Socket));
        }
        Ok(match read(stream).await? {
            ProxyHeader::Local => (endpoint, Evidence::Socket),
            // Somebody's, whom the proxy does not name. It is not the proxy, whose word would be taken for who it is.
            header => (header.source().map_or(Endpoint::Unknown, Endpoint::Ip), Evidence::ProxyProtocol),
        })
    }
}

/// Takes the header and not a byte more from the stream: what follows may be TLS.
async fn read<S: AsyncRead + Unpin>(stream: &mut S) -> Result<ProxyHeader> {
    let mut input = Vec::new();
    loop {
        let progress = ProxyHeader::parse(&input);
        match progress.map_err(|error| Error::Network(io::Error::new(io::ErrorKind::InvalidData, error)))? {
            ProxyProgress::Complete(header, _) => return Ok(header),
            ProxyProgress::Missing(missing) => {
                let have = input.len();
                input.resize(have + missing, 0);
                stream.read_exact(input.get_mut(have..).unwrap_or_default()).await?;
            }
        }
    }
}

/// What a request's headers add to what is known of its connection.
pub(super) fn peer<T>(
    request: &http::Request<T>,
    endpoint: Endpoint,
    evidence: Evidence,
    trusted: &TrustedProxies,
) -> Peer {
    let mut peer = trusted.peer(request, endpoint);
    if peer.evidence == Evidence::Socket {
        peer.evidence = evidence;
    }
    peer
}
