//! Compressing what is sent (RFC 7692 section 7.2.1).
//!
//! A message is compressed as a whole when it is accepted for sending, in one call that cannot be interrupted: so what the
//! compressor remembers is what the peer will have seen, whatever becomes of the future that sends it.

use std::fmt;

use bytes::{Bytes, BytesMut};
use zlib_rs::{Deflate, DeflateConfig as Settings, DeflateFlush};

use super::{
    Compression, DeflateConfig,
    params::{Context, Direction, MAX_BITS, MIN_BITS},
    pool::{Pool, Scratch},
};

/// RFC 7692 §7.2.1: how a flush ends, which does not travel.
const FLUSHED: [u8; 4] = [0x00, 0x00, 0xff, 0xff];

/// RFC 7692 §7.2.3.6: an empty message is an empty block without the end of its flush.
const EMPTY: &[u8] = &[0x00];

/// zlib counts in 32 bits: what is longer is handed over in pieces.
const PIECE: usize = 1 << 30;

/// Compressors kept per thread. Peers that ask for a small window have one of their own.
const POOLED: usize = 4;

thread_local! {
    static POOL: Pool<Box<Compressor>> = const { Pool::new() };
}

/// Compresses the messages of one connection.
pub(crate) struct Deflater {
    direction: Direction,
    /// From the first compressed message on, where messages refer to earlier ones.
    kept: Option<Box<Compressor>>,
}

struct Compressor {
    shape: Shape,
    deflate: Deflate,
}

/// What sets compressors apart; those that are alike can stand in for one another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Shape {
    level: u8,
    memory_level: u8,
    window_bits: u8,
}

impl Deflater {
    pub(crate) const fn new(direction: Direction) -> Self {
        Self { direction, kept: None }
    }

    /// The bits of the window, if no message depends on those before it.
    pub(crate) fn window_without_context(&self) -> Option<u8> {
        (self.direction.context == Context::Fresh).then_some(self.direction.window_bits)
    }

    /// The payload to send with RSV1 instead of `payload`, or `None`, if the message goes out as it is.
    ///
    /// With `Some` the message must be sent: later ones may refer to it.
    pub(crate) fn compress(
        &mut self,
        payload: &[u8],
        compression: Compression,
        config: &DeflateConfig,
    ) -> Option<Bytes> {
        let wanted = match compression {
            Compression::ByLength => payload.len() >= config.threshold.max(1),
            Compression::Always => true,
            Compression::Never => false,
        };
        // A client that was told to use 256 bytes, which this compressor cannot do, sends everything uncompressed.
        if !wanted || self.direction.window_bits < MIN_BITS {
            return None;
        }
        if payload.is_empty() {
            return Some(Bytes::from_static(EMPTY));
        }
        let mut compressor = self.kept.take().unwrap_or_else(|| Compressor::take(Shape::new(self.direction, config)));
        let compressed = compressor.compress(payload)?;
        match self.direction.context {
            Context::Kept => {
                self.kept = Some(compressor);
                Some(compressed)
            }
            Context::Fresh => {
                compressor.give_back();
                let worth_it = compression == Compression::Always || compressed.len() < payload.len();
                worth_it.then_some(compressed)
            }
        }
    }
}

impl fmt::Debug for Deflater {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Deflater").field("direction", &self.direction).finish_non_exhaustive()
    }
}

impl Shape {
    /// The ranges are those in which making a compressor does not panic.
    fn new(direction: Direction, config: &DeflateConfig) -> Self {
        Self {
            level: config.level.clamp(1, 9),
            memory_level: config.memory_level.clamp(1, 9),
            window_bits: direction.window_bits.clamp(MIN_BITS, MAX_BITS),
        }
    }
}

impl Compressor {
    /// One without any context, of the pool if there is one.
    fn take(shape: Shape) -> Box<Self> {
        let idle = POOL.try_with(|pool| pool.take(|idle| idle.shape == shape)).ok().flatten();
        if let Some(mut compressor) = idle {
            // Here and not when it is given back, because this brings into the cache what is needed next.
            compressor.deflate.reset();
            return compressor;
        }
        let settings = Settings {
            level: shape.level.into(),
            mem_level: shape.memory_level.into(),
            window_bits: -i32::from(shape.window_bits),
            ..Settings::default()
        };
        Box::new(Self { shape, deflate: Deflate::new_with_config(settings) })
    }

    fn give_back(self: Box<Self>) {
        // Without a pool, at the end of the thread, it is dropped.
        let _ = POOL.try_with(|pool| pool.give(self, POOLED));
    }

    /// `None` if zlib refuses, which it does not; this compressor must not be used again then.
    fn compress(&mut self, payload: &[u8]) -> Option<Bytes> {
        let mut scratch = Scratch::take();
        // What came before the present content of the scratch buffer.
        let mut before = BytesMut::new();
        let mut rest = payload;
        loop {
            let (piece, flush) = match rest.split_at_checked(PIECE) {
                Some((piece, behind)) if !behind.is_empty() => (piece, DeflateFlush::NoFlush),
                _ => (rest, DeflateFlush::SyncFlush),
            };
            let (read, written) = (self.deflate.total_in(), self.deflate.total_out());
            self.deflate.compress(piece, &mut scratch, flush).ok()?;
            let read = usize::try_from(self.deflate.total_in() - read).ok()?;
            let written = usize::try_from(self.deflate.total_out() - written).ok()?;
            if (read, written) == (0, 0) && !rest.is_empty() {
                return None;
            }
            rest = rest.get(read..)?;
            let output = scratch.get(..written)?;
            if rest.is_empty() && written < scratch.len() {
                return finish(before, output);
            }
            before.extend_from_slice(output);
        }
    }
}

/// RFC 7692 §7.2.1: the payload is what was put out, without the end of the flush.
fn finish(mut before: BytesMut, output: &[u8]) -> Option<Bytes> {
    if before.is_empty() {
        return output.strip_suffix(&FLUSHED).map(Bytes::copy_from_slice);
    }
    before.extend_from_slice(output);
    let len = before.strip_suffix(&FLUSHED)?.len();
    before.truncate(len);
    Some(before.freeze())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::proto::deflate::pool::SCRATCH;

    const fn direction(window_bits: u8, context: Context) -> Direction {
        Direction { window_bits, context }
    }

    /// A naive decoder with a window of exactly so many bytes, which the one of zlib-rs has not.
    struct Walker {
        window: usize,
        /// All that was put out.
        output: Vec<u8>,
        longest_distance: usize,
    }

    impl Walker {
        const fn new(window_bits: u8) -> Self {
            Self { window: 1 << window_bits, output: Vec::new(), longest_distance: 0 }
        }

        fn message(&mut self, payload: &[u8]) -> Vec<u8> {
            let start = self.output.len();
            let whole = [payload, &FLUSHED].concat();
            let mut bits = Reader { bytes: &whole, at: 0 };
            while bits.at < whole.len() * 8 {
                assert_eq!(bits.number(1), 0, "no final blocks");
                match bits.number(2) {
                    0 => self.stored(&mut bits),
                    1 => self.tokens(&mut bits, &Codes::fixed(), &Codes::new(&[5; 30])),
                    2 => {
                        let (literals, distances) = dynamic(&mut bits);
                        self.tokens(&mut bits, &literals, &distances);
                    }
                    reserved => panic!("block of type {reserved}"),
                }
            }
            self.output[start..].to_vec()
        }

        fn stored(&mut self, bits: &mut Reader<'_>) {
            bits.at = bits.at.next_multiple_of(8);
            let len = bits.number(16);
            assert_eq!(len ^ 0xffff, bits.number(16));
            for _ in 0..len {
                self.output.push(u8::try_from(bits.number(8)).unwrap());
            }
        }

        fn tokens(&mut self, bits: &mut Reader<'_>, literals: &Codes, distances: &Codes) {
            loop {
                match literals.read(bits) {
                    literal @ 0..256 => self.output.push(u8::try_from(literal).unwrap()),
                    256 => return,
                    code => {
                        let len = match code - 257 {
                            code @ 0..8 => code + 3,
                            28 => 258,
                            code => ((4 + code % 4) << (code / 4 - 1)) + 3 + bits.number(code / 4 - 1),
                        };
                        let distance = match distances.read(bits) {
                            code @ 0..4 => code + 1,
                            code => ((2 + code % 2) << (code / 2 - 1)) + 1 + bits.number(code / 2 - 1),
                        };
                        self.copy(len, distance);
                    }
                }
            }
        }

        fn copy(&mut self, len: usize, distance: usize) {
            assert!(distance <= self.window, "distance {distance} in a window of {}", self.window);
            self.longest_distance = self.longest_distance.max(distance);
            for _ in 0..len {
                let from = self.output.len().checked_sub(distance).expect("distance before the beginning");
                self.output.push(self.output[from]);
            }
        }
    }

    struct Reader<'a> {
        bytes: &'a [u8],
        at: usize,
    }

    impl Reader<'_> {
        fn number(&mut self, count: usize) -> usize {
            (0..count).map(|bit| self.bit() << bit).sum()
        }

        fn bit(&mut self) -> usize {
            let bit = self.bytes[self.at / 8] >> (self.at % 8) & 1;
            self.at += 1;
            bit.into()
        }
    }

    /// Codes as RFC 1951 section 3.2.2 builds them: for each length the first code, and the symbols in order.
    struct Codes(Vec<Vec<usize>>);

    impl Codes {
        fn new(lengths: &[usize]) -> Self {
            let with = |length| (0..lengths.len()).filter(|symbol| lengths[*symbol] == length).collect();
            Self((1..16).map(with).collect())
        }

        fn fixed() -> Self {
            let lengths = [[8; 144].as_slice(), &[9; 112], &[7; 24], &[8; 8]].concat();
            Self::new(&lengths)
        }

        fn read(&self, bits: &mut Reader<'_>) -> usize {
            let (mut code, mut first) = (0, 0);
            for symbols in &self.0 {
                code = code << 1 | bits.bit();
                first <<= 1;
                if let Some(symbol) = symbols.get(code - first) {
                    return *symbol;
                }
                first += symbols.len();
            }
            panic!("no such code")
        }
    }

    /// RFC 1951 section 3.2.7.
    fn dynamic(bits: &mut Reader<'_>) -> (Codes, Codes) {
        const ORDER: [usize; 19] = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15];
        let (literals, distances, codes) = (bits.number(5) + 257, bits.number(5) + 1, bits.number(4) + 4);
        let mut lengths = [0; 19];
        for place in &ORDER[..codes] {
            lengths[*place] = bits.number(3);
        }
        let codes = Codes::new(&lengths);
        let mut lengths: Vec<usize> = Vec::new();
        while lengths.len() < literals + distances {
            let (length, count) = match codes.read(bits) {
                16 => (*lengths.last().unwrap(), bits.number(2) + 3),
                17 => (0, bits.number(3) + 3),
                18 => (0, bits.number(7) + 11),
                length => (length, 1),
            };
            lengths.extend(vec![length; count]);
        }
        let (literals, distances) = lengths.split_at(literals);
        (Codes::new(literals), Codes::new(distances))
    }

    /// Something like JSON, with repetitions near and far.
    fn json(len: usize) -> Vec<u8> {
        let mut state = 0x2545_f491_u32;
        let mut text = String::new();
        while text.len() < len {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            text += &format!(
                "{{\"id\":{},\"name\":\"user-{}\",\"active\":{}}},",
                text.len(),
                state % 997,
                state.is_multiple_of(3)
            );
        }
        text.truncate(len);
        text.into_bytes()
    }

    fn noise(len: usize) -> Vec<u8> {
        let mut state = 88_172_645_463_325_252_u64;
        let next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()[0]
        };
        std::iter::repeat_with(next).take(len).collect()
    }

    fn config(level: u8, memory_level: u8) -> DeflateConfig {
        DeflateConfig { level, memory_level, ..DeflateConfig::default() }
    }

    #[test]
    fn d_03_payloads_of_rfc_7692() {
        for context in [Context::Fresh, Context::Kept] {
            let mut deflater = Deflater::new(direction(15, context));
            let mut compress = |text: &str| {
                deflater.compress(text.as_bytes(), Compression::Always, &config(6, 8)).map(Vec::from).unwrap()
            };
            assert_eq!(compress(""), [0x00], "D-03, 7.2.3.6");
            assert_eq!(compress("Hello"), [0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00], "D-03, 7.2.3.1");
            assert_eq!(compress(""), [0x00], "D-03, 7.2.3.6");
            let second: &[u8] = match context {
                Context::Fresh => &[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00],
                Context::Kept => &[0xf2, 0x00, 0x11, 0x00, 0x00],
            };
            assert_eq!(compress("Hello"), second, "D-05, 7.2.3.2");
        }
    }

    #[test]
    fn d19_d_04_no_distance_is_longer_than_agreed() {
        let messages = [json(700), json(3000), noise(900), json(5000), noise(100), json(40_000)];
        for bits in 9..=15 {
            for (level, memory_level) in [(1, 5), (2, 9), (3, 5), (6, 1), (6, 8), (9, 5)] {
                for context in [Context::Fresh, Context::Kept] {
                    let mut deflater = Deflater::new(direction(bits, context));
                    let mut walker = Walker::new(bits);
                    for message in &messages {
                        if context == Context::Fresh {
                            walker.output.clear();
                        }
                        let config = config(level, memory_level);
                        let payload = deflater.compress(message, Compression::Always, &config).unwrap();
                        assert!(walker.message(&payload) == *message, "{bits} bits, level {level}, {context:?}");
                    }
                    let used = walker.longest_distance * 3 > walker.window;
                    assert!(used, "D19: {} of a window of {bits} bits, level {level}", walker.longest_distance);
                }
            }
        }
    }

    /// A context is what the peer has seen: it grows with compressed messages and with nothing else.
    #[test]
    fn d20_the_context_is_what_was_sent() {
        let config = config(6, 8);
        let mut deflater = Deflater::new(direction(15, Context::Kept));
        let mut walker = Walker::new(15);
        let mut send = |deflater: &mut Deflater, text: &[u8]| {
            let payload = deflater.compress(text, Compression::Always, &config).unwrap();
            assert_eq!(walker.message(&payload), text);
            payload.len()
        };
        let first = send(&mut deflater, &json(1000));
        assert!(send(&mut deflater, &json(1000)) < first / 4, "D-06: later messages are shorter");
        assert_eq!(deflater.compress(&noise(1000), Compression::Never, &config), None, "D20");
        assert!(send(&mut deflater, &json(1000)) < first / 4, "D20");
    }

    #[test]
    fn which_messages_are_compressed() {
        use Compression::{Always, ByLength, Never};
        let threshold = DeflateConfig { threshold: 64, ..config(3, 5) };
        let zero = DeflateConfig { threshold: 0, ..config(3, 5) };
        // configuration, window, how, message, whether it is compressed
        type Row<'a> = (&'a DeflateConfig, u8, Compression, &'a [u8], bool);
        let table: &[Row<'_>] = &[
            (&threshold, 15, ByLength, &[b'a'; 64], true),
            (&threshold, 15, ByLength, &[b'a'; 63], false),
            (&threshold, 15, Always, &[b'a'; 63], true),
            (&threshold, 15, Never, &[b'a'; 64], false),
            (&threshold, 15, ByLength, &noise(1000), false),
            (&threshold, 15, Always, &noise(1000), true),
            (&threshold, 15, ByLength, b"", false),
            (&threshold, 15, Always, b"", true),
            (&zero, 15, ByLength, b"", false),
            (&zero, 15, ByLength, b"aaaaaaaaaaaaaaa", true),
            // NC-08: 256 bytes is a window that the compressor cannot have.
            (&threshold, 8, ByLength, &[b'a'; 64], false),
            (&threshold, 8, Always, &[b'a'; 64], false),
        ];
        for (row, (config, bits, compression, message, expected)) in table.iter().enumerate() {
            let mut deflater = Deflater::new(direction(*bits, Context::Fresh));
            let compressed = deflater.compress(message, *compression, config);
            assert_eq!(compressed.is_some(), *expected, "row {row}");
        }
        // Where the context is kept it has to go on, whatever the length.
        let mut deflater = Deflater::new(direction(15, Context::Kept));
        assert!(deflater.compress(&noise(1000), ByLength, &threshold).is_some());
    }

    /// Output that fills the scratch buffer, or ends its flush in the next one, is the same as in one piece. Only where it
    /// is the end of the flush that did not fit does zlib, asked for the rest, add an empty block.
    #[test]
    fn output_of_any_length_is_cut_behind_its_flush() {
        let noise = noise(70_000);
        let mut whole = vec![0; 80_000];
        let mut lengths = Vec::new();
        for (level, around) in [(1, 62_080..62_180), (6, 65_490..65_550), (6, 131_000..131_001)] {
            for len in around {
                let message: Vec<u8> = noise.iter().chain(&noise).copied().take(len).collect();
                let mut deflater = Deflater::new(direction(15, Context::Fresh));
                let payload = deflater.compress(&message, Compression::Always, &config(level, 8)).unwrap();
                whole.resize(message.len() * 2, 0);
                let mut deflate = Deflate::new(level.into(), false, 15);
                deflate.compress(&message, &mut whole, DeflateFlush::SyncFlush).unwrap();
                let written = usize::try_from(deflate.total_out()).unwrap();
                let same = payload == whole[..written - FLUSHED.len()];
                let with_empty_block = payload.strip_suffix(EMPTY) == Some(&whole[..written]);
                assert!(
                    same || with_empty_block && (SCRATCH..SCRATCH + 6).contains(&written),
                    "{len} bytes at level {level}"
                );
                lengths.push(written);
            }
        }
        let filled = (0..8).all(|beyond| lengths.contains(&(SCRATCH - 1 + beyond)));
        assert!(filled, "{lengths:?}");
    }

    #[test]
    fn compressors_of_another_shape_are_not_mixed_up() {
        let message = json(20_000);
        let compress = |bits, level| {
            let mut deflater = Deflater::new(direction(bits, Context::Fresh));
            deflater.compress(&message, Compression::Always, &config(level, 5)).unwrap()
        };
        let shapes = [(15, 6), (9, 6), (15, 1), (12, 3), (11, 3), (10, 3)];
        let first: Vec<Bytes> = shapes.iter().map(|(bits, level)| compress(*bits, *level)).collect();
        for _ in 0..3 {
            for ((bits, level), expected) in shapes.iter().zip(&first) {
                assert!(compress(*bits, *level) == *expected, "{bits} bits, level {level}");
            }
        }
        let pooled = POOL.with(|pool| (0..).take_while(|_| pool.take(|_| true).is_some()).count());
        assert_eq!(pooled, POOLED);
    }

    /// D22, CVE-2026-102560. Of zeros, because the system has them without memory until they are written.
    #[test]
    fn d22_more_than_32_bits_of_length() {
        let message = vec![0; (1 << 32) + 1];
        let mut deflater = Deflater::new(direction(15, Context::Fresh));
        let payload = deflater.compress(&message, Compression::Always, &config(1, 8)).unwrap();
        let mut inflate = zlib_rs::Inflate::new(false, 15);
        let mut output = vec![0; 1 << 20];
        let mut rest = &payload[..];
        while !rest.is_empty() {
            let before = inflate.total_in();
            inflate.decompress(rest, &mut output, zlib_rs::InflateFlush::NoFlush).unwrap();
            rest = &rest[usize::try_from(inflate.total_in() - before).unwrap()..];
        }
        inflate.decompress(&FLUSHED, &mut output, zlib_rs::InflateFlush::NoFlush).unwrap();
        assert_eq!(inflate.total_out(), message.len() as u64, "D22");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn any_messages_survive(
            messages in prop::collection::vec((0..3u8, 0..3000usize), 1..6),
            bits in 9..=15u8,
            level in 1..=9u8,
            memory_level in 1..=9u8,
            kept: bool,
        ) {
            let context = if kept { Context::Kept } else { Context::Fresh };
            let mut deflater = Deflater::new(direction(bits, context));
            let mut walker = Walker::new(bits);
            for (kind, len) in messages {
                let message = match kind {
                    0 => json(len),
                    1 => noise(len),
                    _ => vec![b'z'; len],
                };
                if !kept {
                    walker.output.clear();
                }
                let payload = deflater.compress(&message, Compression::Always, &config(level, memory_level)).unwrap();
                prop_assert!(!payload.is_empty());
                prop_assert!(walker.message(&payload) == message);
            }
        }
    }
}
