use bytes::{BufMut, Bytes, BytesMut};

use crate::proto::{Header, Mask, Opcode, Rsv};

/// A header without its length, which the payload gives.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Part {
    pub(crate) fin: bool,
    pub(crate) rsv: Rsv,
    pub(crate) opcode: Opcode,
    pub(crate) mask: Option<Mask>,
}

/// Where encoded frames go.
pub(crate) trait Output {
    /// Takes these bytes by copying them.
    fn put(&mut self, bytes: &[u8]);

    /// Takes a payload that may go out as it is, copied or by reference.
    fn put_payload(&mut self, payload: Bytes);

    /// A frame is complete.
    fn end_frame(&mut self);

    /// Takes a header, which is the first `len` of these bytes, and a payload by copying both: a whole frame.
    #[inline]
    fn put_copied(&mut self, (header, len): ([u8; Header::MAX_LEN], usize), payload: &[u8]) {
        self.put(header.get(..len).unwrap_or_default());
        self.put(payload);
        self.end_frame();
    }

    /// Takes a header, which is the first `len` of these bytes, and a payload that may go out as it is: a whole frame.
    #[inline]
    fn put_frame(&mut self, (header, len): ([u8; Header::MAX_LEN], usize), payload: Bytes) {
        self.put(header.get(..len).unwrap_or_default());
        self.put_payload(payload);
        self.end_frame();
    }
}

impl Output for BytesMut {
    fn put(&mut self, bytes: &[u8]) {
        self.put_slice(bytes);
    }

    fn put_payload(&mut self, payload: Bytes) {
        self.put_slice(&payload);
    }

    fn end_frame(&mut self) {}
}

/// Writes one frame.
#[inline]
pub(crate) fn encode(part: Part, payload: Bytes, out: &mut impl Output) {
    let payload_len = payload.len() as u64;
    let header = Header { fin: part.fin, rsv: part.rsv, opcode: part.opcode, mask: part.mask, payload_len };
    match part.mask {
        None => out.put_frame(header.bytes(), payload),
        Some(mask) => put_masked(&header, &payload, mask, out),
    }
}

/// Writes one frame whose payload is the caller's and is copied.
#[inline]
pub(crate) fn encode_copied(part: Part, payload: &[u8], out: &mut impl Output) {
    let payload_len = payload.len() as u64;
    let header = Header { fin: part.fin, rsv: part.rsv, opcode: part.opcode, mask: part.mask, payload_len };
    match part.mask {
        None => out.put_copied(header.bytes(), payload),
        Some(mask) => put_masked(&header, payload, mask, out),
    }
}

/// Masks block by block on the stack: the caller's payload may be shared and stays as it is.
#[inline(never)]
fn put_masked(header: &Header, payload: &[u8], mask: Mask, out: &mut impl Output) {
    let (bytes, len) = header.bytes();
    out.put(bytes.get(..len).unwrap_or_default());
    let mut block = [0; MASKED_BLOCK];
    for piece in payload.chunks(MASKED_BLOCK) {
        if let Some(block) = block.get_mut(..piece.len()) {
            block.copy_from_slice(piece);
            mask.apply(block, 0);
            out.put(block);
        }
    }
    out.end_frame();
}

/// A multiple of four, so that every block begins with the key's first byte.
const MASKED_BLOCK: usize = 1024;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokio_util::codec::{Decoder, Encoder};

    use super::*;
    use crate::proto::{Frame, FrameCodec};

    proptest! {
        #[test]
        fn frames_survive_encoding_at_every_size(len in 0usize..70_000, key: [u8; 4], binary: bool, fin: bool) {
            let payload: Vec<u8> = (0..len).map(|at| u8::try_from(at % 251).unwrap()).collect();
            let opcode = if binary { Opcode::Binary } else { Opcode::Continuation };
            let frame = Frame { fin, rsv: Rsv::NONE, opcode, payload: payload.into() };
            let mut wire = BytesMut::new();
            FrameCodec::client(move || Mask::new(key)).encode(frame.clone(), &mut wire).unwrap();
            let decoded = FrameCodec::server().decode(&mut wire).unwrap();
            prop_assert_eq!(decoded, Some(frame));
            prop_assert!(wire.is_empty());
        }
    }
}
