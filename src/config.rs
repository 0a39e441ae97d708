//! Every setting of a connection, with its default and the reason for it.

use std::time::Duration;

use crate::proto::{Limits, Misuse, Timings, deflate::DeflateConfig};

/// The settings of a connection. Everything is bounded by default.
///
/// [`Client::config`](crate::Client::config), [`Acceptor::config`](crate::server::Acceptor::config),
/// [`Server::config`](crate::Server::config) and [`WebSocket::after_handshake`](crate::WebSocket::after_handshake) take
/// one.
///
/// ```
/// use std::time::Duration;
/// let mut config = wireline::Config::default();
/// config.limits.max_message = Some(64 * 1024);
/// config.timings.ping_after = Some(Duration::from_secs(5));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Config {
    /// What a peer may cost us.
    pub limits: Limits,
    /// How long a peer may take.
    pub timings: Timings,
    /// Payload bytes after which an outgoing message is cut into fragments (RFC 6455 section 5.4). Default `None`: one
    /// frame a message, because fragments cost both ends work and only intermediaries with small buffers want them.
    pub fragment_size: Option<usize>,
    /// Whether and how messages are compressed (permessage-deflate, RFC 7692). Default `None`: compression costs
    /// processor time and, where messages may refer to earlier ones, memory, and gives away lengths that depend on secrets
    /// ([`DeflateConfig`]). With it a client offers compression, and a server accepts it where it is offered; it is in
    /// force where both agree.
    pub deflate: Option<DeflateConfig>,
}

impl Config {
    /// Whether a connection can work with these settings; every way to open one checks this first.
    ///
    /// # Errors
    ///
    /// [`Misuse::InvalidConfig`] names the first setting that cannot work: a fragment size or a limit of 0 where nothing
    /// could ever be sent or received, a `max_queue` below `high_water`, a deadline of zero, or a setting of deflate out of
    /// its range.
    pub fn validate(&self) -> Result<(), Misuse> {
        let rules = [
            (self.fragment_size == Some(0), "fragment_size must be at least 1"),
            (self.limits.max_head == 0, "max_head must be at least 1"),
            (self.limits.max_headers == 0, "max_headers must be at least 1"),
            (self.limits.max_request_line == 0, "max_request_line must be at least 1"),
            (self.limits.high_water == 0, "high_water must be at least 1"),
            (self.limits.max_queue < self.limits.high_water, "max_queue must not be less than high_water"),
            (self.timings.handshake.is_zero(), "the handshake deadline must not be zero"),
            (self.timings.ping_after == Some(Duration::ZERO), "ping_after must not be zero"),
            (self.timings.pong_within.is_zero(), "pong_within must not be zero"),
            (self.timings.write.is_zero(), "the write deadline must not be zero"),
            (self.timings.close.is_zero(), "the close deadline must not be zero"),
        ];
        match rules.into_iter().find(|(broken, _)| *broken) {
            Some((_, rule)) => Err(Misuse::InvalidConfig(rule)),
            None => self.deflate.as_ref().map_or(Ok(()), DeflateConfig::validate),
        }
    }
}
