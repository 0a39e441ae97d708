//! What a scripted peer sends: frames written as the hostile-input tables write them, generated as they are read, so that
//! "until the connection ends" costs nothing.

use wireline::{Role, proto::Mask};

/// How the bytes arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Delivery {
    /// All at once: each read gets as much as it has room for.
    Whole,
    /// One byte per read, each after a wait. In scripts longer than [`LONG`]: every frame header and 16 bytes on each side
    /// of it one by one, the rest in 1,500-byte reads.
    Bytewise,
    /// A wait after this many bytes.
    SplitAt(u64),
    /// For scripts longer than [`LONG`]: a wait at one place in or near the header of every frame, another one in each
    /// frame, and in 1,500-byte reads elsewhere. Over all values below [`ZONE`] every header is split everywhere.
    Staggered(u64),
    /// This many bytes per read, each after a wait.
    Chunks(u64),
}

/// Scripts longer than this many bytes are delivered bytewise around headers only.
pub(crate) const LONG: u64 = 4096;

/// Bytes on each side of a header that are delivered like it.
const MARGIN: u64 = 16;

/// The most places near a header: a header of 14 bytes with its margins.
pub(crate) const ZONE: u64 = 14 + 2 * MARGIN;

/// Bytes of a read outside the header's zones.
const SEGMENT: u64 = 1500;

/// How frames are masked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keys {
    /// Not at all: what servers send.
    None,
    /// With 00 00 00 00, which leaves payloads as they are.
    Zero,
    /// With another key for each frame.
    Random,
}

impl Keys {
    /// The ways in which the peer of this role may mask.
    pub(crate) const fn for_role(role: Role) -> &'static [Self] {
        match role {
            Role::Client => &[Self::None],
            Role::Server => &[Self::Zero, Self::Random],
        }
    }

    fn key(self, frame: u64) -> Option<[u8; 4]> {
        match self {
            Self::None => None,
            Self::Zero => Some([0; 4]),
            // Different for each frame and the same in each run.
            Self::Random => {
                let mixed = (frame + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
                let [a, b, c, d, ..] = mixed.to_be_bytes();
                Some([a, b, c, d])
            }
        }
    }
}

/// A piece of a script.
#[derive(Clone, Debug)]
pub(crate) enum Part {
    /// A frame without masking, or the beginning of one; sent this many times.
    Frame(Vec<u8>, u64),
    /// A header without masking, and a payload of equal bytes.
    Filled(Vec<u8>, u8, u64),
    /// Frames that tell their number.
    Numbered(fn(u64) -> Vec<u8>, u64),
    /// Bytes as they are.
    Literal(Vec<u8>),
}

/// More often than any connection lives.
pub(crate) const FOREVER: u64 = u64::MAX;

impl Part {
    const fn count(&self) -> u64 {
        match self {
            Self::Frame(_, count) | Self::Numbered(_, count) => *count,
            Self::Filled(..) | Self::Literal(_) => 1,
        }
    }

    fn frame(&self, number: u64, key: Option<[u8; 4]>) -> WireFrame {
        match self {
            Self::Frame(bytes, _) => WireFrame::new(bytes, None, key),
            Self::Numbered(frame, _) => WireFrame::new(&frame(number), None, key),
            Self::Filled(header, byte, len) => WireFrame::new(header, Some((*byte, *len)), key),
            Self::Literal(bytes) => WireFrame { head: bytes.clone(), payload: Payload::Bytes(Vec::new()), key: None },
        }
    }
}

/// What a peer sends.
#[derive(Clone, Debug, Default)]
pub(crate) struct Script(Vec<Part>);

/// Bytes written as the tables write them.
pub(crate) fn hex(text: &str) -> Vec<u8> {
    text.split_whitespace().map(|byte| u8::from_str_radix(byte, 16).expect("two hexadecimal digits")).collect()
}

impl Script {
    /// Frames, separated by `;`.
    pub(crate) fn frames(table: &str) -> Self {
        let frames = table.split(';').map(hex).filter(|frame| !frame.is_empty());
        Self(frames.map(|frame| Part::Frame(frame, 1)).collect())
    }

    pub(crate) fn then(mut self, part: Part) -> Self {
        self.0.push(part);
        self
    }

    /// The index of the last part.
    pub(crate) fn last(&self) -> usize {
        self.0.len().saturating_sub(1)
    }

    pub(crate) fn part(&self, part: usize) -> &Part {
        &self.0[part]
    }

    /// How often that part is sent.
    pub(crate) fn count(&self, part: usize) -> u64 {
        self.0[part].count()
    }

    /// Frames in all.
    pub(crate) fn frame_count(&self) -> u64 {
        self.0.iter().map(Part::count).fold(0, u64::saturating_add)
    }

    /// Bytes in all; `u64::MAX` if there is no end.
    pub(crate) fn len(&self, keys: Keys) -> u64 {
        self.0.iter().fold(0, |sum, part| {
            let one = part.frame(0, keys.key(0)).len();
            sum.saturating_add(one.saturating_mul(part.count()))
        })
    }

    /// Bytes up to and including byte `byte`, counted from 1 and without masking-keys, of frame `number` of a part.
    pub(crate) fn offset(&self, part: usize, number: u64, byte: u64, keys: Keys) -> u64 {
        let before = Self(self.0[..part].to_vec()).len(keys);
        let frame = self.0[part].frame(number, keys.key(0));
        let key = if frame.key.is_some() && byte > frame.head.len() as u64 - 4 { 4 } else { 0 };
        before + number * frame.len() + byte + key
    }

    pub(crate) fn source(&self, keys: Keys, delivery: Delivery) -> Source {
        let long = self.len(keys) > LONG;
        Source {
            parts: self.0.clone(),
            keys,
            delivery,
            long,
            part: 0,
            number: 0,
            begun: 0,
            frame: None,
            at: 0,
            read: 0,
        }
    }
}

#[derive(Debug)]
struct WireFrame {
    head: Vec<u8>,
    payload: Payload,
    key: Option<[u8; 4]>,
}

#[derive(Debug)]
enum Payload {
    Bytes(Vec<u8>),
    Fill(u8, u64),
}

impl WireFrame {
    fn new(bytes: &[u8], fill: Option<(u8, u64)>, key: Option<[u8; 4]>) -> Self {
        let header_len = 2 + match bytes.get(1).map(|second| second & 0x7f) {
            Some(126) => 2,
            Some(127) => 8,
            _ => 0,
        };
        let (head, payload) = bytes.split_at(header_len.min(bytes.len()));
        let mut head = head.to_vec();
        if let (Some(_), Some(second)) = (key, head.get_mut(1)) {
            *second |= 0x80;
        }
        let key = key.filter(|_| head.len() == header_len);
        head.extend(key.into_iter().flatten());
        let payload = match fill {
            Some((byte, len)) => Payload::Fill(byte, len),
            None => Payload::Bytes(payload.to_vec()),
        };
        Self { head, payload, key }
    }

    fn len(&self) -> u64 {
        let payload = match &self.payload {
            Payload::Bytes(bytes) => bytes.len() as u64,
            Payload::Fill(_, len) => *len,
        };
        self.head.len() as u64 + payload
    }

    /// Copies from `at` on as much as fits.
    fn copy(&self, at: u64, out: &mut [u8]) -> usize {
        let index = |at: u64| usize::try_from(at).expect("fits the memory");
        let head = self.head.len() as u64;
        if at < head {
            let from = &self.head[index(at)..];
            let len = from.len().min(out.len());
            out[..len].copy_from_slice(&from[..len]);
            return len;
        }
        let at = at - head;
        let len = match &self.payload {
            Payload::Bytes(bytes) => {
                let from = &bytes[index(at)..];
                let len = from.len().min(out.len());
                out[..len].copy_from_slice(&from[..len]);
                len
            }
            Payload::Fill(byte, total) => {
                let len = usize::try_from(total - at).unwrap_or(usize::MAX).min(out.len());
                out[..len].fill(*byte);
                len
            }
        };
        if let Some(key) = self.key.filter(|key| *key != [0; 4]) {
            Mask::new(key).apply(&mut out[..len], at);
        }
        len
    }
}

/// The bytes of a script, as they are asked for.
#[derive(Debug)]
pub(crate) struct Source {
    parts: Vec<Part>,
    keys: Keys,
    delivery: Delivery,
    long: bool,
    part: usize,
    number: u64,
    begun: u64,
    frame: Option<WireFrame>,
    at: u64,
    read: u64,
}

impl Source {
    /// More to send behind what is left.
    pub(crate) fn push(&mut self, part: Part) {
        self.parts.push(part);
    }

    /// Copies bytes until `out` is full, the script ends or a wait is due; says how many and whether one is.
    pub(crate) fn read(&mut self, out: &mut [u8]) -> (usize, Wait) {
        let mut copied = 0;
        while copied < out.len() {
            let Some(frame) = self.frame() else { break };
            let left = frame.len() - self.at;
            let room = self.until_wait();
            let free = &mut out[copied..];
            let most = usize::try_from(room.min(left)).unwrap_or(usize::MAX).min(free.len());
            let taken = self.frame.as_ref().map_or(0, |frame| frame.copy(self.at, &mut free[..most]));
            copied += taken;
            self.at += taken as u64;
            self.read += taken as u64;
            if taken as u64 == room {
                return (copied, Wait::Yes);
            }
        }
        (copied, Wait::No)
    }

    /// No read gets more bytes than this.
    pub(crate) fn at_most(&mut self) -> usize {
        if self.frame().is_none() {
            return 0;
        }
        usize::try_from(self.until_wait()).unwrap_or(usize::MAX)
    }

    /// The frame that is being sent; `None` at the end.
    fn frame(&mut self) -> Option<&WireFrame> {
        while self.frame.as_ref().is_none_or(|frame| self.at == frame.len()) {
            let part = self.parts.get(self.part)?;
            if self.number == part.count() {
                self.part += 1;
                self.number = 0;
                continue;
            }
            self.frame = Some(part.frame(self.number, self.keys.key(self.begun)));
            self.number += 1;
            self.begun += 1;
            self.at = 0;
        }
        self.frame.as_ref()
    }

    /// Bytes until the next wait; at least one.
    fn until_wait(&self) -> u64 {
        let Some(frame) = &self.frame else { return u64::MAX };
        let head_zone = (frame.head.len() as u64 + MARGIN).min(frame.len());
        let tail_zone = frame.len().saturating_sub(MARGIN).max(head_zone);
        match self.delivery {
            Delivery::Whole => u64::MAX,
            Delivery::Chunks(size) => size - self.read % size,
            Delivery::SplitAt(split) => split.checked_sub(self.read).filter(|left| *left > 0).unwrap_or(u64::MAX),
            Delivery::Bytewise if !self.long || self.at < head_zone || self.at >= tail_zone => 1,
            Delivery::Bytewise => SEGMENT.min(tail_zone - self.at),
            Delivery::Staggered(place) => {
                let zone = head_zone + (frame.len() - tail_zone);
                let place = (self.begun + place) % zone;
                let split = if place < head_zone { place } else { tail_zone + (place - head_zone) };
                let until = split.checked_sub(self.at).filter(|left| *left > 0).unwrap_or(u64::MAX);
                if frame.len() > SEGMENT { until.min(SEGMENT) } else { until }
            }
        }
    }
}

/// Whether the next read finds nothing at first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wait {
    No,
    Yes,
}
