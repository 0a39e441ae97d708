//! Frames from and to bytes, for programs that do it themselves. The adapter does it with the core's
//! [`codec`](crate::proto::codec).

use std::io::{Cursor, Write};

use crate::{
    Error as CoreError,
    handler::{CloseCode, Error, Frame, OpCode, Result, frame::Bits},
    proto::{Excess, Header, Mask, Opcode, Rsv, Violation, codec::decoder::length},
};

impl Frame {
    /// Reads one frame from the cursor's position on. `None` as long as it is incomplete; then, and after an error, the
    /// position is what it was. A masked payload stays masked until `remove_mask`.
    ///
    /// A Close frame whose payload is longer than 125 bytes comes as one with code 1002 that says so.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Capacity`](crate::handler::ErrorKind::Capacity) if the payload is longer than `max_payload_length`
    /// bytes, [`ErrorKind::Protocol`](crate::handler::ErrorKind::Protocol) for a reserved opcode, a Ping or Pong of more
    /// than 125 bytes, and a length that is out of range or not written in the fewest bytes (RFC 6455 sections 5.2 and 5.5).
    ///
    /// ```
    /// use std::io::Cursor;
    /// use wireline::handler::Frame;
    /// let mut cursor = Cursor::new(b"\x81\x05hel".to_vec());
    /// assert!(Frame::parse(&mut cursor, 1024)?.is_none());
    /// cursor.get_mut().extend(b"lo");
    /// assert!(Frame::parse(&mut cursor, 1024)?.is_some_and(|frame| frame.payload() == b"hello"));
    /// # Ok::<(), wireline::handler::Error>(())
    /// ```
    pub fn parse(cursor: &mut Cursor<Vec<u8>>, max_payload_length: u64) -> Result<Option<Self>> {
        let start = usize::try_from(cursor.position()).unwrap_or(usize::MAX);
        let input = cursor.get_ref().get(start..).unwrap_or_default();
        let Some((frame, len)) = read(input, max_payload_length)? else { return Ok(None) };
        cursor.set_position(cursor.position() + len as u64);
        Ok(Some(frame))
    }

    /// Writes the frame. A masking-key that is set is applied to the payload, and is no longer set afterwards.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Io`](crate::handler::ErrorKind::Io) if the writer fails.
    pub fn format<W: Write>(&mut self, w: &mut W) -> Result<()> {
        let header = Header {
            fin: self.bits.fin,
            rsv: self.bits.rsv,
            opcode: self.opcode.known().unwrap_or(Opcode::Close),
            mask: self.mask.map(Mask::new),
            payload_len: self.bytes().len() as u64,
        };
        let mut head = Vec::with_capacity(Header::MAX_LEN);
        header.encode(&mut head);
        w.write_all(&head)?;
        // Masking and unmasking are the same.
        self.remove_mask();
        Ok(w.write_all(self.bytes())?)
    }
}

/// The frame at the beginning of `input`, and its length. Each rule is judged as soon as its byte is there.
fn read(input: &[u8], max_payload_length: u64) -> Result<Option<(Frame, usize)>> {
    let Some((&first, rest)) = input.split_first() else { return Ok(None) };
    let opcode = OpCode::from(first & 0x0f);
    // RFC 6455 §5.2: an unknown opcode fails the connection.
    if opcode == OpCode::Bad {
        return Err(broken(Violation::ReservedOpcode(first & 0x0f)));
    }
    let Some((&second, rest)) = rest.split_first() else { return Ok(None) };
    let short = second & 0x7f;
    // RFC 6455 §5.5: control frames have at most 125 bytes of payload.
    if short > 125 && matches!(opcode, OpCode::Ping | OpCode::Pong) {
        return Err(broken(Violation::ControlTooLong));
    }
    let Some((announced, rest)) = length(short, rest).map_err(broken)? else { return Ok(None) };
    if announced > max_payload_length {
        return Err(CoreError::Limit(Excess::Frame { announced, limit: max_payload_length }).into());
    }
    let (mask, rest) = match rest.split_first_chunk::<4>() {
        _ if second & 0x80 == 0 => (None, rest),
        Some((key, rest)) => (Some(*key), rest),
        None => return Ok(None),
    };
    let Some(payload) = usize::try_from(announced).ok().and_then(|len| rest.get(..len)) else { return Ok(None) };
    let len = input.len() - rest.len() + payload.len();
    if short > 125 && opcode == OpCode::Close {
        return Ok(Some((Frame::close(CloseCode::Protocol, CLOSE_TOO_LONG), len)));
    }
    let bits = Bits { fin: first & 0x80 != 0, rsv: Rsv::of(first) };
    Ok(Some((Frame { mask, bits, ..Frame::message(payload.to_vec(), opcode, true) }, len)))
}

fn broken(violation: Violation) -> Error {
    CoreError::Peer(violation).into()
}

/// The reason of the Close frame that takes the place of one whose payload is too long to be one.
const CLOSE_TOO_LONG: &str = "Received close frame with payload length exceeding 125.";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handler::ErrorKind;

    const UNLIMITED: u64 = u64::MAX;

    fn parse(bytes: &[u8], max_payload_length: u64) -> Result<Option<Frame>> {
        Frame::parse(&mut Cursor::new(bytes.to_vec()), max_payload_length)
    }

    fn format(frame: &mut Frame) -> Vec<u8> {
        let mut bytes = Vec::new();
        frame.format(&mut bytes).unwrap();
        bytes
    }

    #[test]
    fn frames_survive_every_length_form_mask_and_bit() {
        let lens = [(0, 2), (1, 2), (125, 2), (126, 4), (0xffff, 4), (0x1_0000, 10)];
        for (len, header_len) in lens {
            let payload: Vec<u8> = (0..=u8::MAX).cycle().take(len).collect();
            for case in 0..32 {
                let mut frame = Frame::message(payload.clone(), OpCode::Binary, case & 1 != 0);
                frame.set_rsv1(case & 2 != 0).set_rsv2(case & 4 != 0).set_rsv3(case & 8 != 0);
                let is_masked = case & 16 != 0;
                if is_masked {
                    frame.set_mask();
                }
                let mask = frame.mask().copied();
                let mask_len = if is_masked { 4 } else { 0 };
                let expected = header_len + mask_len + len;
                assert_eq!((frame.len(), frame.is_empty(), frame.is_masked()), (expected, false, is_masked));

                let mut bytes = format(&mut frame);
                assert_eq!((bytes.len(), frame.is_masked()), (expected, false));
                bytes.extend(b"the next frame");
                let mut cursor = Cursor::new(bytes);
                let mut read = Frame::parse(&mut cursor, len as u64).unwrap().unwrap();
                assert_eq!(cursor.position(), expected as u64);
                assert_eq!((read.mask().copied(), read.len()), (mask, expected));
                assert_eq!((read.is_final(), read.opcode()), (case & 1 != 0, OpCode::Binary));
                assert_eq!(read.bits(), frame.bits());
                assert_eq!(read.remove_mask().payload(), &payload);
                assert!(!read.is_masked());
            }
        }
    }

    #[test]
    fn section_5_7_examples() {
        let rows: [(&[u8], OpCode, bool, &[u8]); 5] = [
            (b"\x81\x05Hello", OpCode::Text, true, b"Hello"),
            (b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58", OpCode::Text, true, b"Hello"),
            (b"\x01\x03Hel", OpCode::Text, false, b"Hel"),
            (b"\x80\x02lo", OpCode::Continue, true, b"lo"),
            (b"\x89\x05Hello", OpCode::Ping, true, b"Hello"),
        ];
        for (bytes, opcode, is_final, payload) in rows {
            let mut frame = parse(bytes, UNLIMITED).unwrap().unwrap();
            assert_eq!((frame.opcode(), frame.is_final()), (opcode, is_final));
            assert_eq!(frame.remove_mask().payload(), payload);
        }
    }

    #[test]
    fn an_incomplete_frame_keeps_the_position() {
        for len in [0, 5, 126, 0x1_0000] {
            let mut frame = Frame::message(vec![7; len], OpCode::Binary, true);
            let whole = format(frame.set_mask());
            for cut in (0..whole.len()).filter(|cut| *cut < 20 || whole.len() - cut < 3) {
                let mut cursor = Cursor::new([b"abc", &whole[..cut]].concat());
                cursor.set_position(3);
                assert!(Frame::parse(&mut cursor, UNLIMITED).unwrap().is_none(), "{cut} bytes of {len}");
                assert_eq!(cursor.position(), 3);
                cursor.get_mut().extend(&whole[cut..]);
                assert_eq!(Frame::parse(&mut cursor, UNLIMITED).unwrap().unwrap().into_data().len(), len);
            }
        }
        let mut beyond = Cursor::new(vec![0x81, 0x00]);
        beyond.set_position(u64::MAX);
        assert!(Frame::parse(&mut beyond, UNLIMITED).unwrap().is_none());
    }

    #[test]
    fn what_no_payload_can_mend_fails_at_its_byte() {
        let rows: [(&[u8], &str); 7] = [
            (b"\x83", "reserved opcode 0x3"),
            (b"\x8f", "reserved opcode 0xf"),
            (b"\x89\x7e", "control frame of more than 125 bytes"),
            (b"\x8a\xff", "control frame of more than 125 bytes"),
            (b"\x82\x7e\x00\x7d", "length not written in the fewest bytes"),
            (b"\x82\x7f\0\0\0\0\0\0\xff\xff", "length not written in the fewest bytes"),
            (b"\x82\x7f\x80\0\0\0\0\0\0\0", "length with its most significant bit set"),
        ];
        for (bytes, details) in rows {
            let mut cursor = Cursor::new(bytes.to_vec());
            let error = Frame::parse(&mut cursor, UNLIMITED).unwrap_err();
            assert!(matches!(error.kind, ErrorKind::Protocol) && error.details.contains(details), "{error}");
            assert_eq!(cursor.position(), 0);
            assert!(parse(&bytes[..bytes.len() - 1], UNLIMITED).unwrap().is_none());
        }
    }

    #[test]
    fn the_limit_on_a_payload_is_inclusive_and_judged_on_the_header() {
        assert!(parse(b"\x82\x03abc", 3).unwrap().is_some());
        for header in [&b"\x82\x04"[..], b"\x82\x7e\xff\xff", b"\x82\x7f\x7f\xff\xff\xff\xff\xff\xff\xff"] {
            let error = parse(header, 3).unwrap_err();
            assert!(matches!(error.kind, ErrorKind::Capacity), "{error}");
        }
        assert!(parse(b"\x82\x7f\x7f\xff\xff\xff\xff\xff\xff\xff\x00", UNLIMITED).unwrap().is_none());
    }

    #[test]
    fn a_close_frame_that_is_too_long_becomes_one_that_says_so() {
        let wire = format(&mut Frame::message(vec![7; 126], OpCode::Close, true));
        let mut cursor = Cursor::new(wire);
        let frame = Frame::parse(&mut cursor, UNLIMITED).unwrap().unwrap();
        assert_eq!(cursor.position(), 130);
        assert_eq!(frame.payload(), b"\x03\xeaReceived close frame with payload length exceeding 125.");
        assert!(frame.is_final() && frame.opcode() == OpCode::Close && frame.len() < 127);
    }

    #[test]
    fn an_opcode_without_a_number_is_written_as_close() {
        assert_eq!(format(Frame::default().set_opcode(OpCode::Bad).set_final(false)), [0x08, 0x00]);
    }

    #[test]
    fn a_writer_that_fails_is_an_error_of_io() {
        let error = Frame::ping(vec![7]).format(&mut &mut [0; 2][..]).unwrap_err();
        assert!(matches!(error.kind, ErrorKind::Io(cause) if cause.kind() == std::io::ErrorKind::WriteZero));
    }
}
