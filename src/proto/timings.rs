use std::time::Duration;

/// How long a peer may take for what. All deadlines are on by default.
///
/// A deadline that passes ends the connection with [`Error::Timeout`](crate::Error::Timeout), which says what was
/// [`Awaited`](crate::proto::Awaited). Whoever polls the connection watches them: an application that awaits nothing of it
/// is not interrupted.
///
/// ```
/// use std::time::Duration;
/// assert_eq!(wireline::Timings::default().handshake, Duration::from_secs(10));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Timings {
    /// The whole opening handshake, TLS included, counted once from its beginning and not per read. Default 10 s.
    pub handshake: Duration,
    /// Silence after which a Ping is sent: the time in which no byte was read, counted from when there was nothing more to
    /// read. Default 20 s, below the idle timeouts of common proxies. `None` sends none; then a peer that vanished is noticed
    /// only when something is sent to it.
    pub ping_after: Option<Duration>,
    /// How long after that Ping the peer may stay silent. Default 20 s. Any byte counts, not only the Pong. Beyond, a
    /// Close frame with 1011 is tried once, and the connection is cut.
    pub pong_within: Duration,
    /// How long the transport may refuse bytes that wait to be written; each accepted byte starts it anew. Default 30 s.
    pub write: Duration,
    /// The closing handshake, from our Close frame to the end of the transport. Default 10 s. A peer that has answered
    /// and only keeps the transport open is cut without an error.
    pub close: Duration,
}

impl Default for Timings {
    fn default() -> Self {
        Self {
            handshake: Duration::from_secs(10),
            ping_after: Some(Duration::from_secs(20)),
            pong_within: Duration::from_secs(20),
            write: Duration::from_secs(30),
            close: Duration::from_secs(10),
        }
    }
}
