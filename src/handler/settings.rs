//! The settings of ws-rs, and what they mean to the core.

use std::time::Duration;

use crate::{Config, Limits, Role, Timings, handler::ErrorKind, proto::codec::decoder::Masking};

/// The settings of a [`WebSocket`](crate::handler::WebSocket) and of each of its connections: ws-rs's fields, and five of
/// our own at the end, which bound what ws-rs left unbounded.
///
/// ```
/// use wireline::handler::Settings;
/// let settings = Settings { max_connections: 1_000, tcp_nodelay: true, ..Settings::default() };
/// assert_eq!(settings.max_message_size, 16 * 1024 * 1024);
/// ```
#[derive(Clone, Copy, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "ws-rs's own fields")]
#[expect(clippy::exhaustive_structs, reason = "programs write literals of it, as they did for ws-rs")]
pub struct Settings {
    /// Connections at the same time, clients, servers and those in their opening handshake together. Default 100. A TCP
    /// connection accepted beyond is answered with status 503; one to be made fails with
    /// [`ErrorKind::Capacity`](crate::handler::ErrorKind::Capacity).
    pub max_connections: usize,
    /// Commands that may wait, for each of `max_connections`: `max_connections * queue_size` together. Default 5. Beyond, a
    /// call in a Tokio context, which every callback is, fails with
    /// [`ErrorKind::Queue`](crate::handler::ErrorKind::Queue), and any other thread waits for room.
    pub queue_size: usize,
    /// Whether to panic when a connection cannot be accepted or made. Default false: it is logged, and a handler of the
    /// connection learns of it.
    pub panic_on_new_connection: bool,
    /// Whether to panic once a shutdown has been carried out. Default false.
    pub panic_on_shutdown: bool,
    /// Non-final fragments of one message that are held before there is need to grow. Default 10. Without effect while
    /// `fragments_grow` is true.
    pub fragments_capacity: usize,
    /// Whether a message may have more non-final fragments than `fragments_capacity`. Default true. If false, one more is
    /// [`ErrorKind::Capacity`](crate::handler::ErrorKind::Capacity).
    pub fragments_grow: bool,
    /// Bytes of payload of one outgoing data frame; longer payloads are cut into fragments (RFC 6455 section 5.4). Default
    /// 65,535. 0 counts as 1.
    pub fragment_size: usize,
    /// Bytes of payload of one incoming data frame. Default `usize::MAX`, which leaves the limit to `max_message_size`. More
    /// is [`ErrorKind::Capacity`](crate::handler::ErrorKind::Capacity), judged on the frame's header.
    pub max_fragment_size: usize,
    /// Bytes of an incoming frame that are accepted while `in_buffer_grow` is false. Default 2,048. While it is true this
    /// has no effect: read buffers are pooled.
    pub in_buffer_capacity: usize,
    /// Whether an incoming data frame may have a payload of more than `in_buffer_capacity` bytes. Default true. If false, a
    /// larger one is [`ErrorKind::Capacity`](crate::handler::ErrorKind::Capacity), judged on the frame's header.
    pub in_buffer_grow: bool,
    /// Bytes that may wait to be sent while `out_buffer_grow` is false. Default 2,048. While it is true this has no effect.
    pub out_buffer_capacity: usize,
    /// Whether more than `out_buffer_capacity` bytes may wait to be sent. Default true. If false, a data frame that does not
    /// fit beside what waits is [`ErrorKind::Capacity`](crate::handler::ErrorKind::Capacity); control frames always fit.
    pub out_buffer_grow: bool,
    /// Whether an [`ErrorKind::Internal`](crate::handler::ErrorKind::Internal) that a callback returns on an open
    /// connection panics, and a panic of a callback, a factory's too, unwinds out of `run`. Default false, unlike ws-rs: such
    /// an error, or a panic, closes its own connection with code 1011, and the others go on.
    pub panic_on_internal: bool,
    /// Whether an [`ErrorKind::Capacity`](crate::handler::ErrorKind::Capacity) on an open connection panics. Default false:
    /// close code 1009.
    pub panic_on_capacity: bool,
    /// Whether an [`ErrorKind::Protocol`](crate::handler::ErrorKind::Protocol) on an open connection panics. Default false:
    /// close code 1002.
    pub panic_on_protocol: bool,
    /// Whether an [`ErrorKind::Encoding`](crate::handler::ErrorKind::Encoding) on an open connection panics. Default false:
    /// close code 1007.
    pub panic_on_encoding: bool,
    /// Whether an [`ErrorKind::Queue`](crate::handler::ErrorKind::Queue) on an open connection panics. Default false: the
    /// connection goes on.
    pub panic_on_queue: bool,
    /// Whether an [`ErrorKind::Io`](crate::handler::ErrorKind::Io) or [`Ssl`](crate::handler::ErrorKind::Ssl) on an open
    /// connection panics. Default false: the connection is cut.
    pub panic_on_io: bool,
    /// Without effect, because timeouts do not fail. Default false.
    pub panic_on_timeout: bool,
    /// Whether SIGINT shuts a blocking run down, in order. Default true. Without effect where there is a runtime of the
    /// program's own.
    pub shutdown_on_interrupt: bool,
    /// Whether every frame of a client must be masked and none of a server (RFC 6455 section 5.1). Default false: both are
    /// accepted. If true, others are [`ErrorKind::Protocol`](crate::handler::ErrorKind::Protocol).
    pub masking_strict: bool,
    /// Whether a client checks that `Sec-WebSocket-Accept` answers its key (RFC 6455 section 4.1). Default false: a wrong
    /// one, or none, is accepted.
    pub key_strict: bool,
    /// Whether a server refuses requests with a method other than GET (RFC 6455 section 4.1), with status 400. Default
    /// false.
    pub method_strict: bool,
    /// Whether accepted connections begin with a TLS handshake. Default false. Needs a configuration, or a handler that
    /// overrides [`upgrade_ssl_server`](crate::handler::Handler::upgrade_ssl_server).
    pub encrypt_server: bool,
    /// Whether TCP sends small segments at once (`TCP_NODELAY`), on connections made and accepted. Default false.
    pub tcp_nodelay: bool,
    /// Bytes of one incoming message, over all of its fragments and after inflating. Default 16 MiB. More is
    /// [`ErrorKind::Capacity`](crate::handler::ErrorKind::Capacity). 0 lets only empty messages in; with `usize::MAX` the
    /// peer decides how much memory a message takes.
    pub max_message_size: usize,
    /// Bytes that may wait to be sent; while there are as many, a further data frame is
    /// [`ErrorKind::Capacity`](crate::handler::ErrorKind::Capacity) and the connection ends. Default 16 MiB. 0 counts as 1.
    /// One message may exceed it alone, so that it is no limit on what can be sent; so may 64 Pings or Pongs.
    pub max_out_buffer: usize,
    /// How long a connection may take from the accept, or the call that makes it, until it is open, TLS included. Default
    /// 10 s. `Duration::ZERO` is no limit: then silent peers hold their places for ever.
    pub handshake_timeout: Duration,
    /// How long the peer may take after our Close frame, and with it how long a shutdown may take. Default 10 s.
    /// `Duration::ZERO` is no limit: then a peer that never answers keeps its connection, and a shutdown, for ever.
    pub close_timeout: Duration,
    /// Silence after which a connection is closed with code 1001, counted from when there was nothing more to read. Default
    /// `Duration::ZERO`, which is none.
    pub idle_timeout: Duration,
}

impl Settings {
    /// The configuration of the core that has the same effect, and that always validates.
    ///
    /// What the adapter does by itself is off here: fragmenting, because hooks see whole messages, and keepalive.
    pub(crate) fn config(&self) -> Config {
        let max_queue = self.max_out_buffer.max(1);
        let defaults = Limits::default();
        let limits = Limits {
            max_message: Some(self.max_message_size as u64),
            max_frame: self.max_frame().map(|bytes| bytes as u64),
            high_water: defaults.high_water.min(max_queue),
            max_queue,
            ..defaults
        };
        let timings = Timings {
            handshake: deadline(self.handshake_timeout),
            close: deadline(self.close_timeout),
            ping_after: None,
            ..Timings::default()
        };
        Config { limits, timings, fragment_size: None, deflate: None }
    }

    /// Whether such an error panics on an open connection.
    pub(crate) const fn panics_on(&self, kind: &ErrorKind) -> bool {
        match kind {
            ErrorKind::Internal => self.panic_on_internal,
            ErrorKind::Capacity => self.panic_on_capacity,
            ErrorKind::Protocol => self.panic_on_protocol,
            ErrorKind::Encoding(_) => self.panic_on_encoding,
            ErrorKind::Queue(_) => self.panic_on_queue,
            ErrorKind::Io(_) | ErrorKind::Ssl(_) => self.panic_on_io,
            ErrorKind::Http(_) | ErrorKind::Custom(_) => false,
        }
    }

    /// How the frames of a peer are to be masked.
    pub(crate) const fn masking(&self, role: Role) -> Masking {
        if self.masking_strict { Masking::ByRole(role) } else { Masking::Any }
    }

    /// Bytes of payload of one incoming data frame, if they are limited.
    fn max_frame(&self) -> Option<usize> {
        let buffer = if self.in_buffer_grow { usize::MAX } else { self.in_buffer_capacity };
        Some(self.max_fragment_size.min(buffer)).filter(|bytes| *bytes != usize::MAX)
    }
}

/// Every deadline of the core is on; the longest of all is as good as none.
const fn deadline(timeout: Duration) -> Duration {
    if timeout.is_zero() { Duration::MAX } else { timeout }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            max_connections: 100,
            queue_size: 5,
            panic_on_new_connection: false,
            panic_on_shutdown: false,
            fragments_capacity: 10,
            fragments_grow: true,
            fragment_size: 65_535,
            max_fragment_size: usize::MAX,
            in_buffer_capacity: 2048,
            in_buffer_grow: true,
            out_buffer_capacity: 2048,
            out_buffer_grow: true,
            panic_on_internal: false,
            panic_on_capacity: false,
            panic_on_protocol: false,
            panic_on_encoding: false,
            panic_on_queue: false,
            panic_on_io: false,
            panic_on_timeout: false,
            shutdown_on_interrupt: true,
            masking_strict: false,
            key_strict: false,
            method_strict: false,
            encrypt_server: false,
            tcp_nodelay: false,
            max_message_size: 16 * 1024 * 1024,
            max_out_buffer: 16 * 1024 * 1024,
            handshake_timeout: Duration::from_secs(10),
            close_timeout: Duration::from_secs(10),
            idle_timeout: Duration::ZERO,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEFAULT: Duration = Duration::from_secs(10);

    #[test]
    fn the_defaults_are_those_of_the_core_without_keepalive() {
        let mut expected = Config::default();
        expected.timings.ping_after = None;
        assert_eq!(Settings::default().config(), expected);
    }

    #[test]
    fn the_limit_on_a_frame_is_the_smaller_of_two() {
        let rows = [
            (usize::MAX, true, 2048, None),
            (usize::MAX, false, 2048, Some(2048)),
            (1000, true, 2048, Some(1000)),
            (1000, false, 2048, Some(1000)),
            (4000, false, 2048, Some(2048)),
            (usize::MAX, false, usize::MAX, None),
            (0, true, 2048, Some(0)),
            (usize::MAX, false, 0, Some(0)),
        ];
        for (max_fragment_size, in_buffer_grow, in_buffer_capacity, max_frame) in rows {
            let settings = Settings { max_fragment_size, in_buffer_grow, in_buffer_capacity, ..Settings::default() };
            assert_eq!(settings.config().limits.max_frame, max_frame, "{max_fragment_size} {in_buffer_grow}");
        }
    }

    #[test]
    fn the_queue_always_has_room_below_its_high_water_mark() {
        let high_water = Limits::default().high_water;
        let rows = [
            (0, 1, 1),
            (1, 1, 1),
            (high_water - 1, high_water - 1, high_water - 1),
            (high_water + 1, high_water + 1, high_water),
            (usize::MAX, usize::MAX, high_water),
        ];
        for (max_out_buffer, max_queue, high_water) in rows {
            let limits = Settings { max_out_buffer, ..Settings::default() }.config().limits;
            assert_eq!((limits.max_queue, limits.high_water), (max_queue, high_water));
        }
    }

    #[test]
    fn a_timeout_of_zero_is_none() {
        let rows =
            [(Duration::ZERO, Duration::MAX), (Duration::from_millis(1), Duration::from_millis(1)), (DEFAULT, DEFAULT)];
        for (timeout, deadline) in rows {
            let settings = Settings { handshake_timeout: timeout, close_timeout: timeout, ..Settings::default() };
            let timings = settings.config().timings;
            assert_eq!((timings.handshake, timings.close), (deadline, deadline));
        }
    }

    #[test]
    fn every_extreme_can_work() {
        for number in [0, 1, usize::MAX] {
            for timeout in [Duration::ZERO, Duration::from_nanos(1), Duration::MAX] {
                for grow in [false, true] {
                    let settings = Settings {
                        max_connections: number,
                        queue_size: number,
                        fragments_capacity: number,
                        fragments_grow: grow,
                        fragment_size: number,
                        max_fragment_size: number,
                        in_buffer_capacity: number,
                        in_buffer_grow: grow,
                        out_buffer_capacity: number,
                        out_buffer_grow: grow,
                        max_message_size: number,
                        max_out_buffer: number,
                        handshake_timeout: timeout,
                        close_timeout: timeout,
                        idle_timeout: timeout,
                        ..Settings::default()
                    };
                    let config = settings.config();
                    assert_eq!(config.validate(), Ok(()), "{settings:?}");
                    assert_eq!(config.limits.max_message, Some(number as u64));
                }
            }
        }
    }
}
