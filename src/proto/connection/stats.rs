use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::proto::{Opcode, connection::Connection};

/// What has passed over a connection since it was opened, and how it is doing: [`WebSocket::stats`](crate::WebSocket::stats).
///
/// ```
/// # use wireline::{Config, Role, WebSocket};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> wireline::Result<()> {
/// let (here, there) = tokio::io::duplex(1024);
/// let mut client = WebSocket::after_handshake(here, Role::Client, Config::default())?;
/// let mut server = WebSocket::after_handshake(there, Role::Server, Config::default())?;
/// client.send("hello").await?;
/// server.next().await.transpose()?;
/// let stats = server.stats();
/// assert_eq!((stats.messages_received, stats.bytes_received), (1, 11)); // header 2, mask 4, payload 5
/// assert_eq!(stats.round_trip, None);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Whole messages that arrived.
    pub messages_received: u64,
    /// Messages that were queued; whether all of them have gone out, [`queued`](Self::queued) tells.
    pub messages_sent: u64,
    /// Bytes read from the transport behind the opening handshake: headers, control frames and what was dropped included.
    pub bytes_received: u64,
    /// Bytes that the transport took, headers and control frames included.
    pub bytes_sent: u64,
    /// Ping frames that arrived.
    pub pings_received: u64,
    /// Ping frames of keepalive and of [`WebSocket::ping`](crate::WebSocket::ping) that were written.
    pub pings_sent: u64,
    /// Pong frames that arrived, asked for or not.
    pub pongs_received: u64,
    /// Pong frames that were written. Of several Pings that wait to be answered, the latest is (RFC 6455 section 5.5.3).
    pub pongs_sent: u64,
    /// From writing a Ping to reading its Pong, by the payload: of the latest one that was answered. A Pong is not read before
    /// the application asks for the next message, and a peer that sends Pongs of its own accord can make this shorter.
    pub round_trip: Option<Duration>,
    /// Bytes of encoded messages that wait for the transport.
    pub queued: usize,
    /// Compressed messages that arrived (RFC 7692).
    pub compressed_received: Compressed,
    /// Messages that were compressed and queued; those that went out as they were are not counted.
    pub compressed_sent: Compressed,
}

/// How much compression came to, in one direction.
///
/// ```
/// # fn example(ws: &wireline::WebSocket<tokio::net::TcpStream>) {
/// if let Some(ratio) = ws.stats().compressed_sent.ratio() {
///     println!("{ratio:.1} to 1");
/// }
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Compressed {
    /// Bytes of the messages.
    pub payload: u64,
    /// Bytes that they were in their frames, without headers.
    pub wire: u64,
}

impl Compressed {
    /// How many bytes of messages went into a byte of frames: 4.0 is four to one. `None` before there were any.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a ratio needs no more than 53 bits")]
    pub fn ratio(&self) -> Option<f64> {
        (self.wire > 0).then(|| self.payload as f64 / self.wire as f64)
    }

    pub(super) const fn add(&mut self, payload: u64, wire: u64) {
        self.payload += payload;
        self.wire += wire;
    }
}

/// What has passed in whole messages and in control frames. Many connections never see one of the latter.
#[derive(Debug, Default)]
pub(super) struct Passed {
    messages_received: u64,
    messages_sent: u64,
    pub(super) compressed_sent: Compressed,
    controls: Option<Box<Controls>>,
}

#[derive(Debug, Default)]
struct Controls {
    pings_received: u64,
    pings_sent: u64,
    pongs_received: u64,
    pongs_sent: u64,
    /// The Pings that are not answered yet, the oldest first, and when they were written.
    under_way: Vec<(Bytes, Instant)>,
    round_trip: Option<Duration>,
}

/// Pings that wait for their Pongs at once. Beyond, the oldest is given up.
const UNDER_WAY: usize = 16;

impl Controls {
    fn ping_sent(&mut self, payload: Bytes, now: Instant) {
        self.pings_sent += 1;
        if self.under_way.len() >= UNDER_WAY {
            self.under_way.remove(0);
        }
        self.under_way.push((payload, now));
    }

    /// A Pong that answers a Ping answers those before it (RFC 6455 section 5.5.3).
    fn pong_received(&mut self, payload: &[u8], heard: Instant) {
        self.pongs_received += 1;
        let asked = self.under_way.iter().position(|(asked, _)| asked == payload);
        let Some((_, sent)) = asked.and_then(|asked| self.under_way.drain(..=asked).next_back()) else { return };
        self.round_trip = Some(heard.saturating_duration_since(sent));
        if self.under_way.is_empty() {
            // An idle connection keeps no room for it.
            self.under_way = Vec::new();
        }
    }
}

impl Passed {
    fn controls(&mut self) -> &mut Controls {
        self.controls.get_or_insert_default()
    }
}

impl<R> Connection<R> {
    /// All but the transport's bytes.
    pub(crate) fn stats(&self) -> Stats {
        let mut stats = Stats {
            messages_received: self.passed.messages_received,
            messages_sent: self.passed.messages_sent,
            compressed_sent: self.passed.compressed_sent,
            ..Stats::default()
        };
        if let Some(extension) = &self.deflate {
            stats.compressed_received = extension.received;
        }
        if let Some(controls) = &self.passed.controls {
            stats.pings_received = controls.pings_received;
            stats.pings_sent = controls.pings_sent;
            stats.pongs_received = controls.pongs_received;
            stats.pongs_sent = controls.pongs_sent;
            stats.round_trip = controls.round_trip;
        }
        stats
    }

    /// A message arrived.
    #[inline]
    pub(crate) const fn message_received(&mut self) {
        self.passed.messages_received += 1;
    }

    /// A message goes out.
    #[inline]
    pub(crate) const fn message_sent(&mut self) {
        self.passed.messages_sent += 1;
    }

    /// A control frame goes out; `now` is asked only for a Ping.
    pub(crate) fn control_sent(&mut self, opcode: Opcode, payload: &Bytes, now: impl FnOnce() -> Instant) {
        match opcode {
            Opcode::Ping => self.passed.controls().ping_sent(payload.clone(), now()),
            Opcode::Pong => self.passed.controls().pongs_sent += 1,
            _ => {}
        }
    }

    /// Whether a Ping is under way, of which the round trip is measured.
    #[inline]
    pub(crate) fn awaits_pong(&self) -> bool {
        self.passed.controls.as_ref().is_some_and(|controls| !controls.under_way.is_empty())
    }

    /// A control frame arrived, with the bytes that were read last.
    pub(super) fn control_received(&mut self, opcode: Opcode, payload: &[u8]) {
        match opcode {
            Opcode::Ping => self.passed.controls().pings_received += 1,
            Opcode::Pong => {
                let heard = self.heard_at();
                self.passed.controls().pong_received(payload, heard);
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn controls() -> (Controls, Instant) {
        #[expect(clippy::disallowed_methods, reason = "any instant does")]
        let start = Instant::now();
        (Controls::default(), start)
    }

    #[test]
    fn a_pong_answers_its_ping_and_those_before() {
        let (mut controls, start) = controls();
        let at = |seconds| start + Duration::from_secs(seconds);
        for (payload, sent) in [("a", 0), ("b", 1), ("c", 3)] {
            controls.ping_sent(payload.into(), at(sent));
        }
        controls.pong_received(b"x", at(4));
        assert_eq!(controls.round_trip, None, "nobody asked");
        controls.pong_received(b"b", at(6));
        assert_eq!(controls.round_trip, Some(Duration::from_secs(5)));
        controls.pong_received(b"a", at(7));
        assert_eq!(controls.round_trip, Some(Duration::from_secs(5)), "given up by then");
        controls.pong_received(b"c", at(7));
        assert_eq!(controls.round_trip, Some(Duration::from_secs(4)));
        assert_eq!(controls.under_way.capacity(), 0);
        assert_eq!((controls.pings_sent, controls.pongs_received), (3, 4));
    }

    #[test]
    fn a_peer_that_answers_no_ping_costs_a_few_of_them() {
        let (mut controls, start) = controls();
        for number in 0..1000_u32 {
            controls.ping_sent(Bytes::copy_from_slice(&number.to_be_bytes()), start);
        }
        assert_eq!(controls.under_way.len(), UNDER_WAY);
        controls.pong_received(&983_u32.to_be_bytes(), start);
        assert_eq!(controls.round_trip, None);
        controls.pong_received(&984_u32.to_be_bytes(), start);
        assert_eq!(controls.round_trip, Some(Duration::ZERO));
    }
}
