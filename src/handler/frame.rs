//! One frame, in the hands of a handler: shared bytes until someone wants to change them.

mod codec;

use std::{fmt, mem, sync::OnceLock};

use bytes::Bytes;

use crate::{
    CloseFrame,
    handler::{CloseCode, OpCode},
    proto::{Mask, Rsv, connection::Payload},
    websocket::random,
};

/// A frame (RFC 6455 section 5.2), as [`Handler::on_frame`](crate::handler::Handler::on_frame) and
/// [`on_send_frame`](crate::handler::Handler::on_send_frame) get and return it.
///
/// Inside, a received payload and that of a message are shared: to pass the frame on, or to clone it, copies nothing. Only
/// [`payload`](Self::payload), [`payload_mut`](Self::payload_mut) and [`into_data`](Self::into_data) make a vector of it.
///
/// ```
/// use wireline::handler::{Frame, OpCode};
/// let mut frame = Frame::message(b"hello".to_vec(), OpCode::Text, true);
/// assert_eq!(frame.payload(), b"hello");
/// frame.payload_mut().make_ascii_uppercase();
/// frame.set_rsv1(true);
///
/// let mut wire = Vec::new();
/// frame.format(&mut wire)?;
/// assert_eq!(wire, b"\xc1\x05HELLO");
/// # Ok::<(), wireline::handler::Error>(())
/// ```
pub struct Frame {
    body: Body,
    /// What `payload` lends out. Boxed, because hardly any handler asks for it, and every frame would be the larger.
    #[expect(clippy::box_collection, reason = "16 bytes in place of 32 in every frame")]
    view: OnceLock<Box<Vec<u8>>>,
    mask: Option<[u8; 4]>,
    bits: Bits,
    opcode: OpCode,
}

#[derive(Clone)]
enum Body {
    Wire(Payload),
    /// Since `payload_mut`; then there is no `view`.
    Own(Vec<u8>),
}

/// The upper half of a frame's first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bits {
    pub(crate) fin: bool,
    pub(crate) rsv: Rsv,
}

impl Frame {
    /// A data frame with this payload and opcode, and whether it ends its message. Not masked, no reserved bit set.
    #[must_use]
    pub fn message(data: Vec<u8>, code: OpCode, finished: bool) -> Self {
        Self { body: Body::Own(data), bits: Bits { fin: finished, rsv: Rsv::NONE }, opcode: code, ..Self::default() }
    }

    /// A Ping with this payload, of which at most 125 bytes may be sent.
    #[must_use]
    pub fn ping(data: Vec<u8>) -> Self {
        Self::message(data, OpCode::Ping, true)
    }

    /// A Pong with this payload, of which at most 125 bytes may be sent.
    #[must_use]
    pub fn pong(data: Vec<u8>) -> Self {
        Self::message(data, OpCode::Pong, true)
    }

    /// A Close frame. The reason is cut to 123 bytes, at the end of a character (RFC 6455 section 5.5). `Empty`, `Status`
    /// and any other code that may not travel give a Close frame without a payload.
    ///
    /// ```
    /// use wireline::handler::{CloseCode, Frame};
    /// assert_eq!(Frame::close(CloseCode::Away, "bye").payload(), b"\x03\xe9bye");
    /// assert_eq!(Frame::close(CloseCode::Empty, "bye").payload(), b"");
    /// ```
    #[must_use]
    pub fn close(code: CloseCode, reason: &str) -> Self {
        let Some(code) = code.on_wire() else { return Self::default() };
        let reason = &reason[..reason.floor_char_boundary(CloseFrame::MAX_REASON)];
        Self::message([&code.get().to_be_bytes(), reason.as_bytes()].concat(), OpCode::Close, true)
    }

    /// A frame as the adapter has it.
    pub(crate) fn wire(bits: Bits, opcode: OpCode, payload: Payload) -> Self {
        Self { body: Body::Wire(payload), view: OnceLock::new(), mask: None, bits, opcode }
    }

    /// Bytes of the whole frame on the wire: header, masking-key if one is set, payload.
    #[must_use]
    pub fn len(&self) -> usize {
        let mask = if self.is_masked() { 4 } else { 0 };
        unmasked_len(self.bytes().len()) + mask
    }

    /// Always false: there is a header even where there is no payload.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        false
    }

    /// Whether this frame ends its message.
    #[must_use]
    pub const fn is_final(&self) -> bool {
        self.bits.fin
    }

    /// Whether the first reserved bit is set.
    #[must_use]
    pub const fn has_rsv1(&self) -> bool {
        Rsv::RSV1.within(self.bits.rsv)
    }

    /// Whether the second reserved bit is set.
    #[must_use]
    pub const fn has_rsv2(&self) -> bool {
        Rsv::RSV2.within(self.bits.rsv)
    }

    /// Whether the third reserved bit is set.
    #[must_use]
    pub const fn has_rsv3(&self) -> bool {
        Rsv::RSV3.within(self.bits.rsv)
    }

    /// What the payload is.
    #[must_use]
    pub const fn opcode(&self) -> OpCode {
        self.opcode
    }

    /// Whether this is a control frame; see [`OpCode::is_control`].
    #[must_use]
    pub const fn is_control(&self) -> bool {
        self.opcode.is_control()
    }

    /// The payload. The first call copies it, unless the frame was made of a vector.
    #[must_use]
    pub fn payload(&self) -> &Vec<u8> {
        match &self.body {
            Body::Wire(payload) => self.view.get_or_init(|| Box::new(payload.bytes().to_vec())),
            Body::Own(payload) => payload,
        }
    }

    /// The payload, to be changed in place. The first call copies it only if something else refers to it too.
    pub fn payload_mut(&mut self) -> &mut Vec<u8> {
        if let Body::Wire(payload) = &mut self.body {
            let payload = mem::replace(payload, Payload::Bytes(Bytes::new()));
            self.body = Body::Own(owned(payload, self.view.take()));
        }
        match &mut self.body {
            Body::Own(payload) => payload,
            Body::Wire(_) => unreachable!("made the frame's own above"),
        }
    }

    /// The payload, taken over where nothing else refers to it, else copied.
    #[must_use]
    pub fn into_data(self) -> Vec<u8> {
        match self.body {
            Body::Own(payload) => payload,
            Body::Wire(payload) => owned(payload, self.view.into_inner()),
        }
    }

    /// The payload as the adapter takes it: never copied, and still text if nobody could change it. Whether a mask is set
    /// makes no difference, because masks are the wire's business.
    pub(crate) fn into_payload(self) -> Payload {
        match self.body {
            Body::Wire(payload) => payload,
            Body::Own(payload) => Payload::Bytes(payload.into()),
        }
    }

    /// Bytes of the payload.
    pub(crate) fn payload_len(&self) -> usize {
        self.bytes().len()
    }

    pub(crate) const fn bits(&self) -> Bits {
        self.bits
    }

    /// Whether the payload is still these very bytes, and not only equal ones.
    pub(crate) fn shares(&self, other: &[u8]) -> bool {
        match &self.body {
            Body::Wire(payload) => std::ptr::eq(payload.bytes(), other),
            Body::Own(_) => false,
        }
    }

    /// Bytes that a data frame takes of a queue; control frames fit in always.
    pub(crate) fn charge(&self) -> Option<usize> {
        (!self.is_control()).then(|| self.len())
    }

    /// The payload, without a copy of it to lend.
    pub(crate) fn bytes(&self) -> &[u8] {
        match &self.body {
            Body::Wire(payload) => payload.bytes(),
            Body::Own(payload) => payload,
        }
    }

    /// Says whether this frame ends its message.
    pub const fn set_final(&mut self, is_final: bool) -> &mut Self {
        self.bits.fin = is_final;
        self
    }

    /// Sets or clears the first reserved bit.
    pub const fn set_rsv1(&mut self, has_rsv1: bool) -> &mut Self {
        let rsv = self.bits.rsv;
        self.bits.rsv = if has_rsv1 { rsv.and(Rsv::RSV1) } else { rsv.without(Rsv::RSV1) };
        self
    }

    /// Sets or clears the second reserved bit.
    pub const fn set_rsv2(&mut self, has_rsv2: bool) -> &mut Self {
        let rsv = self.bits.rsv;
        self.bits.rsv = if has_rsv2 { rsv.and(Rsv::RSV2) } else { rsv.without(Rsv::RSV2) };
        self
    }

    /// Sets or clears the third reserved bit.
    pub const fn set_rsv3(&mut self, has_rsv3: bool) -> &mut Self {
        let rsv = self.bits.rsv;
        self.bits.rsv = if has_rsv3 { rsv.and(Rsv::RSV3) } else { rsv.without(Rsv::RSV3) };
        self
    }

    /// Says what the payload is.
    pub const fn set_opcode(&mut self, opcode: OpCode) -> &mut Self {
        self.opcode = opcode;
        self
    }

    /// Whether a masking-key is set.
    #[doc(hidden)]
    #[must_use]
    pub const fn is_masked(&self) -> bool {
        self.mask.is_some()
    }

    /// The masking-key that is set.
    #[doc(hidden)]
    #[must_use]
    pub const fn mask(&self) -> Option<&[u8; 4]> {
        self.mask.as_ref()
    }

    /// Sets a fresh masking-key, which [`Frame::format`] applies; until then the payload stays as it is.
    #[doc(hidden)]
    pub fn set_mask(&mut self) -> &mut Self {
        self.mask = Some(random::mask().key());
        self
    }

    /// Unmasks the payload of a frame that [`Frame::parse`] found masked.
    #[doc(hidden)]
    pub fn remove_mask(&mut self) -> &mut Self {
        if let Some(key) = self.mask.take() {
            Mask::new(key).apply(self.payload_mut(), 0);
        }
        self
    }
}

/// Bytes of a frame with so many of payload, and without a masking-key.
pub(crate) const fn unmasked_len(payload: usize) -> usize {
    let length = match payload {
        0..=125 => 0,
        126..=0xffff => 2,
        _ => 8,
    };
    2 + length + payload
}

/// The payload, from the copy that was lent out if there is one.
#[expect(clippy::box_collection, reason = "as in the frame")]
fn owned(payload: Payload, lent: Option<Box<Vec<u8>>>) -> Vec<u8> {
    lent.map_or_else(|| payload.into_bytes().into(), |copied| *copied)
}

/// A final Close frame without a payload.
impl Default for Frame {
    fn default() -> Self {
        Self::wire(Bits { fin: true, rsv: Rsv::NONE }, OpCode::Close, Payload::Bytes(Bytes::new()))
    }
}

impl Clone for Frame {
    fn clone(&self) -> Self {
        let Self { body, view: _, mask, bits, opcode } = self;
        // What `payload` lends out is made anew if the clone is asked for it.
        Self { body: body.clone(), view: OnceLock::new(), mask: *mask, bits: *bits, opcode: *opcode }
    }
}

impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Frame")
            .field("final", &self.is_final())
            .field("rsv1", &self.has_rsv1())
            .field("rsv2", &self.has_rsv2())
            .field("rsv3", &self.has_rsv3())
            .field("opcode", &self.opcode)
            .field("mask", &self.mask)
            .field("payload", &self.bytes())
            .finish()
    }
}

/// Several lines; the payload in hexadecimal, two digits a byte.
impl fmt::Display for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "\n<FRAME>")?;
        writeln!(f, "final: {}", self.is_final())?;
        writeln!(f, "reserved: {} {} {}", self.has_rsv1(), self.has_rsv2(), self.has_rsv3())?;
        writeln!(f, "opcode: {}", self.opcode)?;
        writeln!(f, "length: {}", self.len())?;
        writeln!(f, "payload length: {}", self.bytes().len())?;
        f.write_str("payload: 0x")?;
        self.bytes().iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
        writeln!(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Utf8Bytes;

    const PLAIN: Bits = Bits { fin: true, rsv: Rsv::NONE };

    fn ways(payload: &[u8]) -> [Frame; 3] {
        let bytes = Bytes::copy_from_slice(payload);
        let text = String::from_utf8(payload.to_vec()).unwrap();
        [
            Frame::message(payload.to_vec(), OpCode::Text, true),
            Frame::wire(PLAIN, OpCode::Text, Payload::Bytes(bytes)),
            Frame::wire(PLAIN, OpCode::Text, Payload::Text(text.into())),
        ]
    }

    #[test]
    fn d20_a_close_has_its_code_and_its_reason_cut_at_a_character() {
        let euros = "€".repeat(50);
        let rows = [
            (CloseCode::Normal, "", 2),
            (CloseCode::Other(4999), "bye", 5),
            (CloseCode::Other(1014), "", 2),
            (CloseCode::Away, &"x".repeat(123), 125),
            (CloseCode::Away, &"x".repeat(124), 125),
            (CloseCode::Away, &format!("x{euros}"), 2 + 1 + 120),
            (CloseCode::Empty, "bye", 0),
            (CloseCode::Status, "bye", 0),
            (CloseCode::Abnormal, "bye", 0),
            (CloseCode::Tls, "bye", 0),
            (CloseCode::Other(999), "bye", 0),
            (CloseCode::Other(5000), "bye", 0),
        ];
        for (code, reason, len) in rows {
            let frame = Frame::close(code, reason);
            assert!(frame.is_final() && frame.opcode() == OpCode::Close);
            let payload = frame.into_data();
            assert_eq!(payload.len(), len, "{code:?}");
            if let Some((number, said)) = payload.split_first_chunk() {
                assert_eq!(u16::from_be_bytes(*number), u16::from(code));
                assert!(reason.starts_with(std::str::from_utf8(said).unwrap()));
            }
        }
    }

    #[test]
    fn constructors() {
        let rows = [
            (Frame::default(), OpCode::Close, true, &b""[..]),
            (Frame::ping(b"a".to_vec()), OpCode::Ping, true, b"a"),
            (Frame::pong(b"b".to_vec()), OpCode::Pong, true, b"b"),
            (Frame::message(b"c".to_vec(), OpCode::Continue, false), OpCode::Continue, false, b"c"),
        ];
        for (mut frame, opcode, is_final, payload) in rows {
            assert_eq!((frame.opcode(), frame.is_final(), frame.is_masked()), (opcode, is_final, false));
            assert_eq!((frame.is_control(), &frame.payload()[..]), (opcode.is_control(), payload));
            assert!(!frame.has_rsv1() && !frame.has_rsv2() && !frame.has_rsv3());
            assert!(!frame.set_final(false).is_final());
            assert_eq!(frame.set_opcode(OpCode::Bad).opcode(), OpCode::Bad);
        }
    }

    #[test]
    fn each_reserved_bit_is_set_and_cleared_alone() {
        let mut frame = Frame::default();
        let bits = |frame: &Frame| [frame.has_rsv1(), frame.has_rsv2(), frame.has_rsv3()];
        assert_eq!(bits(frame.set_rsv2(true)), [false, true, false]);
        assert_eq!(bits(frame.set_rsv1(true)), [true, true, false]);
        assert_eq!(bits(frame.set_rsv3(true)), [true, true, true]);
        assert_eq!(bits(frame.set_rsv2(false)), [true, false, true]);
        assert_eq!(bits(frame.set_rsv1(false)), [false, false, true]);
        assert_eq!(bits(frame.set_rsv3(false).set_rsv3(false)), [false, false, false]);
    }

    #[test]
    fn passing_on_and_looking_keep_the_shared_bytes() {
        let bytes = Bytes::from(vec![7; 1000]);
        let frame = Frame::wire(PLAIN, OpCode::Binary, Payload::Bytes(bytes.clone()));
        assert_eq!((frame.payload().as_ptr(), frame.payload()), (frame.payload().as_ptr(), &bytes.to_vec()));
        let clone = frame.clone();
        assert!(frame.shares(&bytes) && clone.shares(&bytes));
        assert!(!frame.shares(&bytes.slice(1..)) && !frame.shares(&Bytes::from(bytes.to_vec())));
        assert_eq!(frame.into_payload().into_bytes().as_ptr(), bytes.as_ptr());

        let text = Utf8Bytes::from("text".to_owned());
        let mut frame = Frame::wire(PLAIN, OpCode::Text, Payload::Text(text.clone()));
        frame.set_final(false).set_rsv1(true).set_mask();
        assert!(frame.shares(text.as_bytes()));
        assert!(matches!(frame.into_payload(), Payload::Text(same) if same == text));
    }

    #[test]
    fn a_payload_in_someones_hands_is_the_frames_own() {
        for (case, frame) in ways(b"hello").into_iter().enumerate() {
            let seen = frame.clone();
            assert_eq!(seen.payload(), b"hello");
            for mut frame in [frame.clone(), frame, seen] {
                let shared = Bytes::copy_from_slice(b"hello");
                frame.payload_mut().push(b'!');
                assert!(!frame.shares(&shared));
                assert_eq!((frame.payload(), frame.opcode()), (&b"hello!".to_vec(), OpCode::Text), "{case}");
                assert_eq!(frame.clone().into_data(), b"hello!");
                assert!(matches!(frame.into_payload(), Payload::Bytes(bytes) if bytes == "hello!"));
            }
        }
    }

    #[test]
    fn data_is_taken_over_and_not_copied() {
        let payload = vec![7; 1000];
        let at = payload.as_ptr();
        let mut frame = Frame::wire(PLAIN, OpCode::Binary, Payload::Bytes(payload.into()));
        assert_eq!(frame.payload_mut().as_ptr(), at);
        let Payload::Bytes(bytes) = frame.into_payload() else { panic!("binary stays binary") };
        let data = Frame::wire(PLAIN, OpCode::Binary, Payload::Bytes(bytes)).into_data();
        assert_eq!(data.as_ptr(), at);
    }

    #[test]
    fn a_mask_changes_nothing_before_the_wire() {
        for mut frame in ways(b"hello") {
            frame.set_mask();
            assert_eq!((frame.payload(), frame.len()), (&b"hello".to_vec(), 11));
            assert_eq!(frame.into_payload().bytes(), b"hello");
        }
    }

    #[test]
    fn display_and_debug() {
        for mut frame in ways(b"hi\n") {
            frame.set_rsv2(true);
            let expected = "\n<FRAME>\nfinal: true\nreserved: false true false\nopcode: TEXT\nlength: 5\n\
                            payload length: 3\npayload: 0x68690a\n";
            assert_eq!(frame.to_string(), expected);
            let expected = "Frame { final: true, rsv1: false, rsv2: true, rsv3: false, opcode: Text, mask: None, \
                            payload: [104, 105, 10] }";
            assert_eq!(format!("{frame:?}"), expected);
        }
    }

    #[test]
    fn frames_are_small_and_cross_threads() {
        const fn crosses_threads<T: Send + Sync>() {}
        crosses_threads::<Frame>();
        assert!(size_of::<Frame>() <= 64, "{}", size_of::<Frame>());
    }
}
