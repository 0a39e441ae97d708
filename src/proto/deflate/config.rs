//! The settings of permessage-deflate.

use super::params::{MAX_BITS, MIN_BITS};
use crate::proto::Misuse;

/// The settings of permessage-deflate (RFC 7692), for either role.
///
/// What is sent is compressed in the way set here, within what the peers agree on in the handshake; what is received is
/// inflated in whatever way they agreed on, and bounded by [`Limits::max_message`](crate::Limits::max_message) while it
/// grows.
///
/// With these defaults no connection keeps any state between messages: compressors and inflaters belong to the thread, and
/// a connection borrows one while it works on a message.
///
/// # Secrets
///
/// The length of a compressed message tells how much of it repeats, even through TLS. Where a message, or the context it
/// shares with earlier ones, has both a secret and something that an attacker chose, the attacker can find the secret by
/// trying (RFC 7692 section 8). Send such messages with [`Compression::Never`](super::Compression::Never).
///
/// ```
/// use wireline::proto::deflate::{ContextTakeover, DeflateConfig};
/// let mut config = DeflateConfig::default();
/// config.level = 6;
/// config.server_context_takeover = ContextTakeover::Allowed;
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeflateConfig {
    /// How hard repetitions are looked for, from 1, the fastest, to 9, the shortest result. Default 5: for messages of 256 bytes
    /// to 64 KiB of text of several kinds its results were at most 1.5 percent longer than those of 6, common elsewhere, in
    /// 0.65 to 1.0 of the time. Up to 8 KiB, 2 took 0.7 to 1.0 of the time of 6, for results longer by 1 to 7 percent, and 1 a
    /// third of it, for results longer by 20 to 36 percent.
    pub level: u8,
    /// How much a compressor may collect before it writes a block, from 1 to 9: 2 to the power of this plus 6 literals and
    /// repetitions. Default 5: 8, common elsewhere, takes 98 KiB more, and no result up to 1 MiB was a percent shorter.
    pub memory_level: u8,
    /// Bytes from which on a message is compressed. Default 128: below, there is little to save, and to begin and to end
    /// costs the same as ever. [`Compression`](super::Compression) decides otherwise for one message.
    pub threshold: usize,
    /// The window of the server's compressor, as the power of two of its bytes, from 9 to 15. Default 15, the largest: a
    /// compressor of the thread costs no connection anything. Smaller ones are for [`ContextTakeover::Allowed`], where a
    /// client keeps as many bytes for each connection. A client asks its server for no more than this, and a server that
    /// cannot do that leaves the connection uncompressed.
    pub server_max_window_bits: u8,
    /// The window of the client's compressor, likewise. Default 15. A server asks its clients for no more than this,
    /// where a client lets it.
    pub client_max_window_bits: u8,
    /// Whether the server's messages may refer to its earlier ones. Default [`ContextTakeover::Refused`].
    pub server_context_takeover: ContextTakeover,
    /// Whether the client's messages may refer to its earlier ones. Default [`ContextTakeover::Refused`].
    pub client_context_takeover: ContextTakeover,
}

/// Whether messages may refer to earlier ones of the same sender (RFC 7692 section 7.1.1).
///
/// That makes short messages of one kind much shorter, and costs memory for as long as the connection lives: the sender
/// keeps its compressor, and the receiver as many bytes as the window has, at most 32 KiB, from the first compressed
/// message on. By `cargo bench --bench deflate`, with memory in KiB, and with the mean size in bytes of messages of JSON
/// records, at the default level and memory level, each without and with takeover:
///
/// | window bits | compressor | at memory level 8 | receiver | 256 B | 1,024 B | 8,192 B |
/// |---|---|---|---|---|---|---|
/// | 15 | 273 | 371 | 32 | 142, 62 | 301, 193 | 1543, 1318 |
/// | 13 | 177 | 275 | 8 | 142, 64 | 301, 201 | 1543, 1394 |
/// | 12 | 161 | 259 | 4 | 142, 66 | 301, 201 | 1532, 1397 |
/// | 11 | 153 | 251 | 2 | 142, 70 | 301, 205 | 1520, 1400 |
/// | 9 | 147 | 245 | 0.5 | 142, 90 | 308, 250 | 1716, 1640 |
///
/// Below 12 bits little is saved: the table by which repetitions are found has 128 KiB in any case.
///
/// ```
/// use wireline::proto::deflate::ContextTakeover;
/// assert_eq!(ContextTakeover::default(), ContextTakeover::Refused);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ContextTakeover {
    /// Never: each message stands for itself. A peer is told so, or asked for it.
    #[default]
    Refused,
    /// If the peer does not ask for the contrary.
    Allowed,
    /// Or else there is no compression: a server declines an offer that rules it out, and a client fails the handshake
    /// over such an answer.
    Required,
}

impl DeflateConfig {
    /// Whether a connection can work with these settings.
    pub(crate) fn validate(&self) -> Result<(), Misuse> {
        let windows = [self.server_max_window_bits, self.client_max_window_bits];
        let rules = [
            (!(1..=9).contains(&self.level), "the level of deflate must be 1 to 9"),
            (!(1..=9).contains(&self.memory_level), "the memory level of deflate must be 1 to 9"),
            (!windows.iter().all(|bits| (MIN_BITS..=MAX_BITS).contains(bits)), "max_window_bits must be 9 to 15"),
        ];
        match rules.into_iter().find(|(broken, _)| *broken) {
            Some((_, rule)) => Err(Misuse::InvalidConfig(rule)),
            None => Ok(()),
        }
    }
}

impl Default for DeflateConfig {
    fn default() -> Self {
        Self {
            level: 5,
            memory_level: 5,
            threshold: 128,
            server_max_window_bits: MAX_BITS,
            client_max_window_bits: MAX_BITS,
            server_context_takeover: ContextTakeover::default(),
            client_context_takeover: ContextTakeover::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 4.25, trap 10: what zlib-rs would panic on is refused before.
    #[test]
    fn settings_out_of_range_are_refused() {
        type Set = fn(&mut DeflateConfig, u8);
        let table: [(Set, std::ops::RangeInclusive<u8>); 4] = [
            (|config, value| config.level = value, 1..=9),
            (|config, value| config.memory_level = value, 1..=9),
            (|config, value| config.server_max_window_bits = value, 9..=15),
            (|config, value| config.client_max_window_bits = value, 9..=15),
        ];
        assert_eq!(DeflateConfig::default().validate(), Ok(()));
        for (row, (set, range)) in table.into_iter().enumerate() {
            for value in 0..=u8::MAX {
                let mut config = DeflateConfig::default();
                set(&mut config, value);
                assert_eq!(config.validate().is_ok(), range.contains(&value), "row {row}, value {value}");
            }
        }
    }
}
