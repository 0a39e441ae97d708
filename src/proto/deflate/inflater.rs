//! Inflating what is received (RFC 7692 section 7.2.2), in steps of bounded work.
//!
//! ```text
//!  payload                                  TAIL          PROBE
//!  blocks … │ final block │ blocks … 00  +  00 00 ff ff + 01 00 00 ff ff
//!           ╰ the decoder ends here, and starts again     ╰ a last, empty block: it ends the decoder exactly where the
//!             with the last 32 KiB as its window            payload was complete, and nothing else does
//! ```
//!
//! The decoder of zlib-rs does not give its window away, and forgets it behind a final block, where RFC 7692 keeps it. So
//! what messages may refer to is kept here, as large as agreed and no larger, and each decoder is given it anew; in return
//! no connection owns a decoder between messages. A message that refers to more than is kept is invalid; within one
//! message a repetition may lie 32 KiB back, whatever window was agreed.

use std::fmt;

use zlib_rs::{Inflate, InflateFlush, Status};

use super::{
    End, Progress,
    history::{History, newest},
    params::{Context, Direction, MAX_BITS},
    pool::{Pool, SCRATCH, Scratch},
};
use crate::proto::{Excess, Fault, Violation};

/// RFC 7692 §7.2.2: what the sender cut off.
const TAIL: &[u8] = &[0x00, 0x00, 0xff, 0xff];

/// An empty final block.
const PROBE: &[u8] = &[0x01, 0x00, 0x00, 0xff, 0xff];

/// How far back a repetition can lie.
const WINDOW: usize = 1 << MAX_BITS;

/// Final blocks in one message. Nobody needs more than one, and each costs as much as its window.
const MAX_FINAL_BLOCKS: u64 = 256;

/// The most input that one step looks at, because blocks may be many and put out nothing.
const INPUT: usize = 64 * 1024;

/// Decoders kept per thread: one for the message at hand, and some for messages that arrive in pieces.
const POOLED: usize = 8;

thread_local! {
    static POOL: Pool<Box<Decoder>> = const { Pool::new() };
}

/// Inflates the messages of one connection.
pub(crate) struct Inflater {
    direction: Direction,
    /// Of the message that is arriving.
    decoder: Option<Box<Decoder>>,
    /// From the first compressed message on, where messages refer to earlier ones.
    history: Option<Box<History>>,
}

struct Decoder {
    inflate: Inflate,
    stage: Stage,
    /// Whether anything was read since the beginning, or since the last final block.
    inside: bool,
    /// Bytes put out for this message by earlier steps.
    produced: u64,
    final_blocks: u64,
}

/// What is being read. `Tail` has so many bytes behind it.
#[derive(Clone, Copy, Debug)]
enum Stage {
    Payload,
    Tail(usize),
    Probe,
}

/// What one step put out.
#[derive(Debug)]
pub(crate) struct Inflated {
    scratch: Scratch,
    len: usize,
    progress: Progress,
}

impl Inflated {
    /// At most 64 KiB of the message.
    pub(crate) fn output(&self) -> &[u8] {
        self.scratch.get(..self.len).unwrap_or_default()
    }

    pub(crate) const fn progress(&self) -> Progress {
        self.progress
    }
}

impl Inflater {
    pub(crate) const fn new(direction: Direction) -> Self {
        Self { direction, decoder: None, history: None }
    }

    /// Inflates some of the unmasked `payload`, and leaves there what it did not come to.
    ///
    /// `so_far` is all that earlier steps put out for this message, and `max_message` how long the message may become:
    /// inflating stops one byte beyond. After an error this must not be called again.
    pub(crate) fn step(
        &mut self,
        payload: &mut &[u8],
        end: End,
        so_far: &[u8],
        max_message: Option<u64>,
    ) -> Result<Inflated, Fault> {
        let mut decoder = match self.decoder.take() {
            Some(decoder) => decoder,
            None => Decoder::take(self.history.as_deref())?,
        };
        let mut scratch = Scratch::take();
        let left = max_message.map_or(u64::MAX, |limit| limit.saturating_sub(decoder.produced));
        let room = usize::try_from(left.saturating_add(1)).unwrap_or(SCRATCH).min(SCRATCH);
        let output = scratch.get_mut(..room).unwrap_or_default();
        let past = Past { history: self.history.as_deref(), so_far };
        let (len, result) = decoder.fill(payload, end, output, past);
        decoder.produced += len as u64;
        // Before any other error, so that what lies behind the limit does not matter.
        if let Some(limit) = max_message.filter(|limit| decoder.produced > *limit) {
            return Err(Excess::Message { limit }.into());
        }
        let progress = result?;
        let inflated = Inflated { scratch, len, progress };
        if progress == Progress::Finished {
            decoder.give_back();
            if self.direction.context == Context::Kept {
                let history = self.history.get_or_insert_default();
                history.append([so_far, inflated.output()], 1 << self.direction.window_bits);
            }
        } else {
            self.decoder = Some(decoder);
        }
        Ok(inflated)
    }
}

impl fmt::Debug for Inflater {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inflater").field("direction", &self.direction).finish_non_exhaustive()
    }
}

/// What repetitions may refer to, beside what this step puts out.
#[derive(Clone, Copy)]
struct Past<'a> {
    history: Option<&'a History>,
    so_far: &'a [u8],
}

impl Decoder {
    /// One that knows `history`, of the pool if there is one.
    fn take(history: Option<&History>) -> Result<Box<Self>, Violation> {
        let mut decoder = match POOL.try_with(|pool| pool.take(|_| true)).ok().flatten() {
            Some(decoder) => decoder,
            None => Box::new(Self::new()),
        };
        decoder.stage = Stage::Payload;
        decoder.produced = 0;
        decoder.final_blocks = 0;
        decoder.restart(Past { history, so_far: &[] }, &[])?;
        Ok(decoder)
    }

    fn new() -> Self {
        let inflate = Inflate::new(false, MAX_BITS);
        Self { inflate, stage: Stage::Payload, inside: false, produced: 0, final_blocks: 0 }
    }

    fn give_back(self: Box<Self>) {
        // Without a pool, at the end of the thread, it is dropped.
        let _ = POOL.try_with(|pool| pool.give(self, POOLED));
    }

    /// Begins anew, with a window of what came before.
    fn restart(&mut self, past: Past<'_>, output: &[u8]) -> Result<(), Violation> {
        self.inside = false;
        self.inflate.reset(false);
        let (older, old) = past.history.map_or((&[][..], &[][..]), History::parts);
        for part in newest([older, old, past.so_far, output], WINDOW) {
            self.inflate.set_dictionary(part).map_err(|_| Violation::InvalidDeflate)?;
        }
        Ok(())
    }

    /// How much was put into `output`, and what comes next.
    fn fill(
        &mut self,
        payload: &mut &[u8],
        end: End,
        output: &mut [u8],
        past: Past<'_>,
    ) -> (usize, Result<Progress, Fault>) {
        let mut len = 0;
        let mut budget = INPUT;
        loop {
            let source = match self.stage {
                Stage::Payload => payload.get(..budget).unwrap_or(payload),
                Stage::Tail(read) => TAIL.get(read..).unwrap_or_default(),
                Stage::Probe => PROBE,
            };
            let (read, written, status) = self.decode(source, output.get_mut(len..).unwrap_or_default());
            len += written;
            let Ok(status) = status else { return (len, Err(Violation::InvalidDeflate.into())) };
            match &mut self.stage {
                Stage::Payload => {
                    *payload = payload.get(read..).unwrap_or_default();
                    budget -= read;
                    self.inside |= read > 0;
                }
                Stage::Tail(so_far) => *so_far += read,
                // Output of the probe: it was taken for something else.
                Stage::Probe if written > 0 => return (len, Err(Violation::InvalidDeflate.into())),
                Stage::Probe => {}
            }
            let next = if status == Status::StreamEnd {
                self.ended(read == source.len(), past, output.get(..len).unwrap_or_default())
            } else if len == output.len() {
                Ok(Some(Progress::Again))
            } else {
                self.used_up(budget, payload.is_empty(), end)
            };
            match next {
                Ok(None) => {}
                Ok(Some(progress)) => return (len, Ok(progress)),
                Err(fault) => return (len, Err(fault)),
            }
        }
    }

    /// Bytes read, bytes written, and what zlib said.
    fn decode(&mut self, source: &[u8], output: &mut [u8]) -> (usize, usize, Result<Status, zlib_rs::InflateError>) {
        let (read, written) = (self.inflate.total_in(), self.inflate.total_out());
        let status = self.inflate.decompress(source, output, InflateFlush::NoFlush);
        let difference = |now: u64, before: u64| usize::try_from(now - before).unwrap_or(usize::MAX);
        (difference(self.inflate.total_in(), read), difference(self.inflate.total_out(), written), status)
    }
}

impl Decoder {
    /// zlib reached the end of a final block.
    fn ended(&mut self, source_used_up: bool, past: Past<'_>, output: &[u8]) -> Result<Option<Progress>, Fault> {
        match self.stage {
            // RFC 7692 §7.2.3.4: more may follow.
            Stage::Payload => {
                self.final_blocks += 1;
                if self.final_blocks > MAX_FINAL_BLOCKS {
                    return Err(Excess::FinalBlocks { limit: MAX_FINAL_BLOCKS }.into());
                }
                self.restart(past, output)?;
                Ok(None)
            }
            Stage::Tail(_) | Stage::Probe if source_used_up => Ok(Some(Progress::Finished)),
            Stage::Tail(_) | Stage::Probe => Err(Violation::InvalidDeflate.into()),
        }
    }

    /// zlib has taken all it was offered, and there is room for more output.
    fn used_up(&mut self, budget: usize, payload_empty: bool, end: End) -> Result<Option<Progress>, Fault> {
        self.stage = match (self.stage, end) {
            (Stage::Payload, _) if budget == 0 && !payload_empty => return Ok(Some(Progress::Again)),
            (Stage::Payload, End::More) => return Ok(Some(Progress::NeedInput)),
            // A payload without a single byte is not what RFC 7692 §7.2.3.6 asks for, but some send it for an empty
            // message; and some leave out what should follow a final block. Nothing is missing then.
            (Stage::Payload, End::Last) if !self.inside => return Ok(Some(Progress::Finished)),
            (Stage::Payload, End::Last) => Stage::Tail(0),
            (Stage::Tail(_), _) => Stage::Probe,
            (Stage::Probe, _) => return Err(Violation::InvalidDeflate.into()),
        };
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::proto::deflate::{Compression, DeflateConfig, Deflater};

    const INVALID: Fault = Fault::Violation(Violation::InvalidDeflate);
    const MIB: u64 = 1024 * 1024;

    const fn inflater(window_bits: u8, context: Context) -> Inflater {
        Inflater::new(Direction { window_bits, context })
    }

    /// One message, whose payload arrives in these pieces.
    struct Message {
        so_far: Vec<u8>,
        steps: usize,
    }

    impl Message {
        fn receive<'a>(
            inflater: &mut Inflater,
            pieces: impl IntoIterator<Item = &'a [u8]>,
            limit: Option<u64>,
        ) -> (Self, Result<(), Fault>) {
            let mut message = Self { so_far: Vec::new(), steps: 0 };
            let mut pieces = pieces.into_iter().peekable();
            while let Some(mut piece) = pieces.next() {
                let end = if pieces.peek().is_some() { End::More } else { End::Last };
                loop {
                    message.steps += 1;
                    let step = match inflater.step(&mut piece, end, &message.so_far, limit) {
                        Ok(step) => step,
                        Err(fault) => return (message, Err(fault)),
                    };
                    assert!(step.output().len() <= 64 * 1024);
                    message.so_far.extend_from_slice(step.output());
                    match (step.progress(), end) {
                        (Progress::Again, _) => {}
                        (Progress::NeedInput, End::More) | (Progress::Finished, End::Last) => break,
                        (progress, end) => panic!("{progress:?} at {end:?}"),
                    }
                }
                assert!(piece.is_empty());
            }
            (message, Ok(()))
        }
    }

    fn inflate(inflater: &mut Inflater, payload: &[u8]) -> Result<Vec<u8>, Fault> {
        let (message, result) = Message::receive(inflater, [payload], Some(MIB));
        result.map(|()| message.so_far)
    }

    /// DEFLATE with the fixed codes, written bit by bit.
    #[derive(Default)]
    struct Bits {
        bytes: Vec<u8>,
        used: u32,
    }

    impl Bits {
        /// A block of these repetitions, behind `text` as literals.
        fn block(text: &str, repetitions: usize, distance: Distance) -> Vec<u8> {
            let mut bits = Self::default();
            bits.put(0b010, 3);
            for byte in text.bytes() {
                bits.put_reversed(0x30 + u32::from(byte), 8);
            }
            for _ in 0..repetitions {
                // 258 bytes.
                bits.put_reversed(0b1100_0101, 8);
                bits.put_reversed(distance.code, 5);
                bits.put(distance.extra, distance.extra_bits);
            }
            bits.put(0, 7);
            bits.put(0, 3);
            bits.bytes
        }

        fn put(&mut self, value: u32, count: u32) {
            for bit in 0..count {
                if self.used.is_multiple_of(8) {
                    self.bytes.push(0);
                }
                *self.bytes.last_mut().unwrap() |= u8::from(value >> bit & 1 == 1) << (self.used % 8);
                self.used += 1;
            }
        }

        /// A code, its most significant bit first.
        fn put_reversed(&mut self, code: u32, count: u32) {
            self.put(code.reverse_bits() >> (32 - count), count);
        }
    }

    #[derive(Clone, Copy)]
    struct Distance {
        code: u32,
        extra: u32,
        extra_bits: u32,
    }

    const ONE: Distance = Distance { code: 0, extra: 0, extra_bits: 0 };
    const SIX_HUNDRED: Distance = Distance { code: 18, extra: 600 - 513, extra_bits: 8 };

    const D1: &[u8] = &[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];
    const D2: &[u8] = &[0xf2, 0x00, 0x11, 0x00, 0x00];
    const D3: &[u8] = &[0x00, 0x05, 0x00, 0xfa, 0xff, 0x48, 0x65, 0x6c, 0x6c, 0x6f, 0x00];
    const D4: &[u8] = &[0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00];
    const D6: &[u8] = &[0xf2, 0x48, 0x05, 0x00, 0x00, 0x00, 0xff, 0xff, 0xca, 0xc9, 0xc9, 0x07, 0x00];

    #[test]
    fn d1_to_d12_messages() {
        use Context::{Fresh, Kept};
        const HELLO: Result<&str, Fault> = Ok("Hello");
        // id, whether the context is kept, payloads and what each comes to
        type Row<'a> = (&'a str, Context, &'a [(&'a [u8], Result<&'a str, Fault>)]);
        let rows: &[Row<'_>] = &[
            ("D1", Fresh, &[(D1, HELLO), (D1, HELLO)]),
            ("D2", Kept, &[(D1, HELLO), (D2, HELLO), (D2, HELLO)]),
            ("D3", Fresh, &[(D3, HELLO)]),
            ("D3", Kept, &[(D3, HELLO), (D2, HELLO)]),
            ("D4", Fresh, &[(D4, HELLO), (D1, HELLO)]),
            ("D5", Kept, &[(D4, HELLO), (D2, HELLO), (D4, HELLO), (D2, HELLO)]),
            ("D5 within a message", Fresh, &[(&[&D4[..7], D2].concat(), Ok("HelloHello"))]),
            ("D6", Fresh, &[(D6, HELLO)]),
            ("D6", Kept, &[(D6, HELLO), (D2, HELLO)]),
            ("D8", Kept, &[(&[0x00], Ok("")), (D1, HELLO), (&[0x00], Ok("")), (D2, HELLO)]),
            // The choice: an empty payload is an empty message, and harms no other.
            ("D9", Fresh, &[(&[], Ok("")), (D1, HELLO)]),
            ("D9", Kept, &[(&[], Ok("")), (D1, HELLO), (&[], Ok("")), (D2, HELLO)]),
            ("D10", Fresh, &[(D1, HELLO), (D2, Err(INVALID))]),
            ("D10 final block", Fresh, &[(D4, HELLO), (D2, Err(INVALID))]),
            ("D11", Fresh, &[(D2, Err(INVALID))]),
            ("D11", Kept, &[(D2, Err(INVALID))]),
            ("D12", Fresh, &[(&[0x06], Err(INVALID))]),
            ("D12", Fresh, &[(&[0x07], Err(INVALID))]),
            ("D12", Kept, &[(D1, HELLO), (&[0x06], Err(INVALID))]),
            // A final block without what RFC 7692 §7.2.3.4 puts behind it; and one that the tail completes.
            ("7.2.3.4", Kept, &[(&D4[..7], HELLO), (D2, HELLO)]),
            ("7.2.3.4", Kept, &[(&[0x01], Ok("")), (D1, HELLO)]),
            // Not complete: the tail would be taken for something else, with harm to the next message.
            ("7.2.2", Kept, &[(&D3[..7], Err(INVALID))]),
            ("7.2.2", Kept, &[(&D3[..3], Err(INVALID))]),
            ("7.2.2", Kept, &[(&D1[..6], Err(INVALID))]),
            ("7.2.2", Kept, &[(&D1[..3], Err(INVALID))]),
            ("7.2.2", Kept, &[(&[0x04], Err(INVALID))]),
        ];
        for (id, context, messages) in rows {
            let longest = messages.iter().map(|(payload, _)| payload.len()).max().unwrap_or_default();
            // D7: cut at every offset, once and into single bytes, with empty pieces.
            for cut in 0..=longest + 1 {
                let mut inflater = inflater(15, *context);
                for (payload, expected) in *messages {
                    let pieces: Vec<&[u8]> = match payload.split_at_checked(cut) {
                        Some((one, other)) => vec![one, other],
                        None if cut == longest + 1 => payload.chunks(1).chain([&[][..]]).collect(),
                        None => vec![payload],
                    };
                    let (message, result) = Message::receive(&mut inflater, pieces, Some(MIB));
                    let found = result.map(|()| String::from_utf8(message.so_far).unwrap());
                    assert_eq!(found.as_deref(), expected.as_deref(), "{id} {context:?}: {payload:x?} cut at {cut}");
                }
                assert_eq!(inflater.history.is_some(), *context == Kept && messages[0].1.is_ok(), "{id}");
            }
        }
    }

    /// Class D of the advisories, CVE-2016-10544 and others: what is inflated stops one byte beyond the limit.
    #[test]
    fn d13_d14_d15_bombs() {
        let bomb = Bits::block("0", 40_000, ONE);
        let len = 1 + 40_000 * 258;
        let garbage = [&bomb[..bomb.len() - 2], &[0xff; 1000]].concat();
        type Row<'a> = (&'a str, &'a [u8], Option<u64>, Option<u64>);
        let rows: [Row<'_>; 8] = [
            ("D13", &bomb, Some(MIB), Some(MIB)),
            ("D13", &bomb, Some(0), Some(0)),
            ("D13", &bomb, Some(1), Some(1)),
            ("D13 one byte beyond", &bomb, Some(len - 1), Some(len - 1)),
            ("D13 at the limit", &bomb, Some(len), None),
            ("no limit", &bomb, None, None),
            ("D15 CVE-2026-85024", &garbage, Some(MIB), Some(MIB)),
            ("D15 CVE-2026-85024 right behind", &garbage, Some(len - 1), Some(len - 1)),
        ];
        for (id, payload, limit, exceeded) in rows {
            for size in [payload.len(), 100, 1] {
                let mut inflater = inflater(15, Context::Fresh);
                let (message, result) = Message::receive(&mut inflater, payload.chunks(size), limit);
                let expected = exceeded.map_or(Ok(()), |limit| Err(Excess::Message { limit }.into()));
                assert_eq!(result, expected, "{id} in {size}");
                let at_most = limit.unwrap_or(len).min(len);
                assert!(message.so_far.len() as u64 <= at_most, "{id} in {size}: {}", message.so_far.len());
                let pieces = payload.len().div_ceil(size);
                assert!(message.steps <= pieces + message.so_far.len() / SCRATCH + 2, "{id}: {} steps", message.steps);
            }
        }
    }

    #[test]
    fn d16_final_blocks_are_counted() {
        for (count, expected) in [
            (256, Ok(())),
            (257, Err(Excess::FinalBlocks { limit: 256 }.into())),
            (500_000, Err(Excess::FinalBlocks { limit: 256 }.into())),
        ] {
            let payload = [0x03, 0x00].repeat(count);
            for size in [payload.len(), 3] {
                let mut inflater = inflater(15, Context::Fresh);
                let (message, result) = Message::receive(&mut inflater, payload.chunks(size), Some(MIB));
                assert_eq!((result, message.so_far.len()), (expected, 0), "D16 CVE-2026-128131, {count} in {size}");
            }
        }
    }

    #[test]
    fn d17_empty_blocks_are_an_empty_message_of_linear_work() {
        let payload = [&[0x00, 0x00, 0x00, 0xff, 0xff].repeat(100_000)[..], &[0x00]].concat();
        let mut inflater = inflater(15, Context::Kept);
        let (message, result) = Message::receive(&mut inflater, [&payload[..]], Some(MIB));
        assert_eq!((result, message.so_far.len()), (Ok(()), 0), "D17");
        assert!(message.steps <= payload.len() / INPUT + 1, "D17: {} steps", message.steps);
        assert_eq!(inflate(&mut inflater, D1), Ok(b"Hello".to_vec()));
    }

    /// Longer repetitions than agreed: taken within a message, and not into one before (RFC 7692 section 7.2.2).
    #[test]
    fn d18_distances_beyond_the_agreed_window() {
        let text = "abcdef".repeat(100);
        let one = [&Bits::block(&text, 1, SIX_HUNDRED)[..]].concat();
        let first = Bits::block(&text, 0, ONE);
        let second = Bits::block("", 1, SIX_HUNDRED);
        for (bits, expected) in [(9, Err(INVALID)), (10, Ok(258)), (15, Ok(258))] {
            let mut inflater = inflater(bits, Context::Kept);
            assert_eq!(inflate(&mut inflater, &one).map(|message| message.len()), Ok(858), "D18, {bits} bits");
            assert_eq!(inflate(&mut inflater, &first), Ok(text.clone().into_bytes()), "D18, {bits} bits");
            assert_eq!(inflate(&mut inflater, &second).map(|message| message.len()), expected, "D18, {bits} bits");
        }
    }

    #[test]
    fn idle_memory_without_messages_and_between_them() {
        assert!(size_of::<Inflater>() + size_of::<Deflater>() <= 48);
        for (context, kept) in [(Context::Fresh, false), (Context::Kept, true)] {
            let mut inflater = inflater(15, context);
            assert!(inflater.history.is_none() && inflater.decoder.is_none());
            assert!(inflate(&mut inflater, D1).is_ok());
            assert!(inflater.history.is_some() == kept && inflater.decoder.is_none());
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// What a decoder of its own gives that keeps its window by itself.
        #[test]
        fn history_is_the_window_that_a_decoder_would_have(
            words in prop::collection::vec((0..6usize, 1..6000usize), 1..20),
            bits in 9..=15u8,
            size in 1..5000usize,
        ) {
            let config = DeflateConfig::default();
            let direction = Direction { window_bits: bits, context: Context::Kept };
            let (mut deflater, mut inflater) = (Deflater::new(direction), Inflater::new(direction));
            let mut other = Inflate::new(false, 15);
            for (word, len) in words {
                let word = ["a", "hello ", "0123456789", "{\"id\": 1}", "gr\u{fc}\u{df}e", "\0\0\u{1}"][word];
                let message = word.repeat(len / word.len() + 1).into_bytes();
                let payload = deflater.compress(&message, Compression::Always, &config).unwrap();
                let (found, result) = Message::receive(&mut inflater, payload.chunks(size), None);
                prop_assert_eq!(result, Ok(()));
                prop_assert!(found.so_far == message);
                let mut output = vec![0; message.len() + 1];
                let before = other.total_out();
                let whole = [&payload, TAIL].concat();
                prop_assert!(other.decompress(&whole, &mut output, InflateFlush::SyncFlush).is_ok());
                output.truncate(usize::try_from(other.total_out() - before).unwrap());
                prop_assert!(output == message);
            }
        }

        #[test]
        fn any_bytes_are_inflated_without_panic_and_alike_however_cut(
            payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 1..4),
            size in 1..40usize,
            kept: bool,
        ) {
            let context = if kept { Context::Kept } else { Context::Fresh };
            let (mut whole, mut cut) = (inflater(15, context), inflater(15, context));
            for mut payload in payloads {
                // Not a reserved type of block at once.
                if let Some(first) = payload.first_mut() {
                    *first &= 0b1111_1101;
                }
                let expected = Message::receive(&mut whole, [&payload[..]], Some(1000));
                let pieces: Vec<&[u8]> = payload.chunks(size).chain(payload.is_empty().then_some(&[][..])).collect();
                let found = Message::receive(&mut cut, pieces, Some(1000));
                prop_assert_eq!(found.1, expected.1);
                if expected.1.is_err() {
                    break;
                }
                prop_assert_eq!(&found.0.so_far, &expected.0.so_far);
            }
        }

        /// All but the payload as a whole fails, or ends at the end of a block; and no later message suffers.
        #[test]
        fn what_was_cut_off_is_noticed(text in "[a-f]{1,300}", cut in 0..300usize) {
            let direction = Direction { window_bits: 15, context: Context::Fresh };
            let payload = Deflater::new(direction).compress(text.as_bytes(), Compression::Always, &DeflateConfig::default());
            let payload = payload.unwrap();
            let mut inflater = Inflater::new(direction);
            let end = cut.clamp(1, payload.len().max(2) - 1);
            let found = inflate(&mut inflater, &payload[..end.min(payload.len())]);
            prop_assert!(found.is_err() || end == payload.len(), "{found:?}");
            prop_assert_eq!(inflate(&mut Inflater::new(direction), &payload), Ok(text.into_bytes()));
        }
    }
}
