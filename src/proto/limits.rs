/// What a peer may cost us. All limits are inclusive and on by default.
///
/// Each limit is checked on a frame's header, before its payload is waited for, in 64-bit arithmetic, and over the whole
/// message; nothing is ever allocated because a header declared it.
///
/// A peer that goes beyond a limit of messages or frames is sent a Close frame with 1009, and the connection ends with
/// [`Error::Limit`](crate::Error::Limit). A request beyond a limit of heads is refused with the status that the field
/// names; a response beyond one fails the handshake with
/// [`HandshakeError::HeadTooLarge`](crate::proto::handshake::HandshakeError::HeadTooLarge) or
/// [`TooManyHeaders`](crate::proto::handshake::HandshakeError::TooManyHeaders).
///
/// ```
/// let mut config = wireline::Config::default();
/// config.limits.max_message = Some(1024 * 1024);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Bytes of an HTTP head (request or response), all lines together. Default 16 KiB: twice what browsers send with
    /// large cookies. A server refuses more with 431.
    pub max_head: usize,
    /// Header lines in a head. Default 64. A server refuses more with 431; none is ever dropped silently.
    pub max_headers: usize,
    /// Bytes of the request line. Default 8 KiB, the minimum RFC 9112 section 3 recommends. A server refuses more with 414.
    pub max_request_line: usize,
    /// Bytes of one message, over all of its fragments. Default 16 MiB. `None` removes the limit: then a peer decides how
    /// much memory a message takes, and only what it really sends is ever allocated.
    pub max_message: Option<u64>,
    /// Payload bytes of one frame. Default `None`: a frame may be as large as a message.
    pub max_frame: Option<u64>,
    /// Continuation frames of one message, empty ones included, because each costs work whatever its length.
    /// Default `None`: a 256th of `max_message`, at least 1,024, and 65,536 where `max_message` is `None`.
    pub max_fragments: Option<u64>,
    /// Bytes that may wait in the queue of outgoing frames before `feed` and `send` wait for room. Default 64 KiB.
    pub high_water: usize,
    /// Bytes that may wait in that queue at the very most; a message beyond is refused with
    /// [`Misuse::QueueFull`](crate::proto::Misuse::QueueFull). Only a caller of the `Sink` who does not wait for `poll_ready`
    /// gets there. Default 16 MiB. One message may exceed it alone, so that a limit on the queue is no limit on what can
    /// be sent.
    pub max_queue: usize,
    /// Bytes read and dropped after the closing handshake or a failure, so that unread input does not turn the end of
    /// the connection into a reset that destroys our Close frame. Default 1 MiB; beyond, the transport is let go.
    pub max_drain: u32,
}

impl Limits {
    /// The limit on continuation frames that is in force.
    ///
    /// ```
    /// assert_eq!(wireline::Limits::default().fragments(), 65_536);
    /// ```
    #[must_use]
    pub const fn fragments(&self) -> u64 {
        match (self.max_fragments, self.max_message) {
            (Some(fragments), _) => fragments,
            (None, Some(message)) if message / 256 < 1024 => 1024,
            (None, Some(message)) => message / 256,
            (None, None) => 65_536,
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_head: 16 * 1024,
            max_headers: 64,
            max_request_line: 8 * 1024,
            max_message: Some(16 * 1024 * 1024),
            max_frame: None,
            max_fragments: None,
            high_water: 64 * 1024,
            max_queue: 16 * 1024 * 1024,
            max_drain: 1024 * 1024,
        }
    }
}
