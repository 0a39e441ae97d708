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
pub(crate) fn encode(part: Part, payload: Bytes, out: &mut impl Output) {
    let payload_len = payload.len() as u64;
    let header = Header { fin: part.fin, rsv: part.rsv, opcode: part.opcode, mask: part.mask, payload_len };
    let mut bytes = [0; Header::MAX_LEN];
    let mut free = &mut bytes[..];
    header.encode(&mut free);
    let unused = free.len();
    if let Some(header) = bytes.get(..Header::MAX_LEN - unused) {
        out.put(header);
    }
    match part.mask {
        Some(mask) => put_masked(&payload, mask, out),
        None => out.put_payload(payload),
    }
    out.end_frame();
}

/// Masks block by block on the stack: the caller's payload may be shared and stays as it is.
fn put_masked(payload: &[u8], mask: Mask, out: &mut impl Output) {
    let mut block = [0; MASKED_BLOCK];
    for piece in payload.chunks(MASKED_BLOCK) {
        if let Some(block) = block.get_mut(..piece.len()) {
            block.copy_from_slice(piece);
            mask.apply(block, 0);
            out.put(block);
        }
    }
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
