use crate::proto::{
    Opcode, Violation,
    codec::decoder::{Masking, Sequence, decode_fragment},
    connection::receive::Room,
    message::assembler::Assembler,
};

/// Fragments of one plain message that are here as a whole, one behind the other.
///
/// ```text
/// input   | header | payload | header | payload | what comes next
///         |<---------------- end -------------->|
/// ```
///
/// Taking them at once comes to the same as one by one, because neither a control frame nor a broken rule stands between
/// them; but the message's buffer grows once, to the very length if the message ends here, and text is judged once.
#[derive(Debug)]
pub(super) struct Fragments {
    /// The first one's.
    pub(super) opcode: Opcode,
    /// Whether the last one ends its message.
    pub(super) fin: bool,
    pub(super) count: u16,
    /// Bytes of payload.
    payload_len: usize,
    /// Bytes of input.
    pub(super) end: usize,
}

/// So many frames are taken at once: a poll goes beyond its budget by fewer than these.
const MOST: u16 = 32;

impl Fragments {
    /// Those that `input` begins with, as far as there is room for them; `first` is where in a message they begin. What
    /// comes behind them has to be looked at by itself.
    pub(super) fn here(input: &[u8], masking: Masking, first: Sequence, mut room: Room<'_>) -> Option<Self> {
        let mut run = Self { opcode: Opcode::Continuation, fin: false, count: 0, payload_len: 0, end: 0 };
        let mut expected = first;
        while let Some((header, fin)) = decode_fragment(input.get(run.end..)?, masking) {
            let payload_len = header.end - header.len;
            if sequence(header.opcode) != expected || room.take(payload_len as u64).is_err() {
                break;
            }
            if expected == Sequence::First {
                (run.opcode, expected) = (header.opcode, Sequence::Continuation);
            }
            run.count += 1;
            run.payload_len += payload_len;
            run.end += header.end;
            run.fin = fin;
            if fin || run.count == MOST {
                break;
            }
        }
        (run.count > 0).then_some(run)
    }

    /// Unmasks their payloads in the same `input` and appends them, to be judged when the message is finished, or else here.
    pub(super) fn append(&self, mut input: &[u8], masking: Masking, body: &mut Assembler) -> Result<(), Violation> {
        body.continued(u64::from(self.count) - u64::from(self.opcode != Opcode::Continuation));
        if self.fin {
            body.make_last_room(self.payload_len);
        } else {
            body.make_room(self.payload_len);
        }
        for _ in 0..self.count {
            let Some((header, _)) = decode_fragment(input, masking) else { break };
            let Some((frame, rest)) = input.split_at_checked(header.end) else { break };
            body.append_masked(frame.get(header.len..).unwrap_or_default(), header.mask);
            input = rest;
        }
        if self.fin { Ok(()) } else { body.validate() }
    }
}

/// Where a fragment of this opcode belongs.
const fn sequence(opcode: Opcode) -> Sequence {
    match opcode {
        Opcode::Continuation => Sequence::Continuation,
        _ => Sequence::First,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use bytes::{BufMut, BytesMut};
    use proptest::{prelude::*, sample::Index};

    use super::*;
    use crate::proto::{
        Fault, Header, Limits, Mask, Role, Rsv,
        connection::{Connection, Event, Receive, Receiver, Step, receive::Form},
    };

    /// What came of the input, the fault at its end, and how many frames that was.
    type Outcome = (Vec<Event>, Option<Fault>, u64);

    fn receive(role: Role, pieces: &[&[u8]], limits: &Limits) -> Outcome {
        #[expect(clippy::disallowed_methods, reason = "any instant does")]
        let now = Instant::now();
        let mut connection = Connection::new(role, Receiver::new(Masking::ByRole(role)), now);
        let (mut input, mut events, mut frames) = (BytesMut::new(), Vec::new(), 0);
        for piece in pieces {
            input.extend_from_slice(piece);
            loop {
                let step = connection.receive(&mut input, limits);
                frames += u64::from(connection.take_work());
                match step {
                    Ok(Step::NeedMore) => break,
                    Ok(Step::Progress) => frames += 1,
                    Ok(Step::Item(event)) => {
                        frames += 1;
                        events.push(event);
                    }
                    Err(fault) => return (events, Some(fault), frames),
                }
            }
        }
        (events, None, frames)
    }

    fn payload() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![
            4 => "[aж€😀]{0,4}".prop_map(String::into_bytes),
            2 => Just(Vec::new()),
            1 => prop::sample::select(vec![&[0xd0][..], &[0xb6], &[0xf0, 0x9f], &[0x98, 0x80], &[0xff], &[0xf4, 0x90]])
                .prop_map(<[u8]>::to_vec),
            1 => (100_usize..300).prop_map(|len| "ж".repeat(len).into_bytes()),
        ]
    }

    /// A message, or what passes between the frames of one.
    fn message() -> impl Strategy<Value = Vec<(u8, Vec<u8>)>> {
        let text = prop::collection::vec(payload(), 1..100).prop_map(|payloads| (Opcode::Text, payloads));
        let bytes = prop::collection::vec(prop::collection::vec(any::<u8>(), 0..8), 1..50)
            .prop_map(|payloads| (Opcode::Binary, payloads));
        let ping = prop::option::of(any::<Index>());
        (prop_oneof![text, bytes], ping).prop_map(|((opcode, payloads), ping)| {
            let last = payloads.len() - 1;
            let fin = |at| if at == last { 0x80 } else { 0 };
            let opcode = |at| if at == 0 { opcode.bits() } else { 0 };
            let mut frames: Vec<_> =
                payloads.into_iter().enumerate().map(|(at, payload)| (fin(at) | opcode(at), payload)).collect();
            if let Some(ping) = ping {
                frames.insert(ping.index(last + 1), (0x89, b"now".to_vec()));
            }
            frames
        })
    }

    fn encode(frames: &[(u8, Vec<u8>)], mask: Option<Mask>) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (first, payload) in frames {
            let opcode = Opcode::from_bits(first & 0x0f).unwrap();
            let payload_len = payload.len() as u64;
            Header { fin: first & 0x80 != 0, rsv: Rsv::of(*first), opcode, mask, payload_len }.encode(&mut bytes);
            let start = bytes.len();
            bytes.put_slice(payload);
            if let Some(mask) = mask {
                mask.apply(&mut bytes[start..], 0);
            }
        }
        bytes
    }

    fn limits() -> impl Strategy<Value = Limits> {
        let some = |most| prop_oneof![3 => Just(None), 1 => (0_u64..most).prop_map(Some)];
        (some(2000), some(300), some(90)).prop_map(|(max_message, max_frame, max_fragments)| Limits {
            max_message,
            max_frame,
            max_fragments,
            ..Limits::default()
        })
    }

    proptest! {
        /// Byte by byte, every frame is taken by itself.
        #[test]
        fn any_cut_comes_to_the_same_as_single_fragments(
            messages in prop::collection::vec(message(), 1..4),
            mask in prop::option::of(any::<[u8; 4]>()),
            broken in prop::option::weighted(0.3, (any::<Index>(), any::<u8>())),
            cuts in prop::collection::vec(any::<Index>(), 0..4),
            limits in limits(),
        ) {
            let role = if mask.is_some() { Role::Server } else { Role::Client };
            let mut bytes = encode(&messages.concat(), mask.map(Mask::new));
            if let Some((at, byte)) = broken {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            let pieces: Vec<&[u8]> = cuts.windows(2).map(|cut| &bytes[cut[0]..cut[1]]).collect();
            let single: Vec<&[u8]> = bytes.chunks(1).collect();
            let (events, fault, frames) = receive(role, &single, &limits);
            let cut = receive(role, &pieces, &limits);
            prop_assert_eq!((&cut.0, &cut.1), (&events, &fault));
            prop_assert!(fault.is_some() || cut.2 == frames, "{} frames of {frames}", cut.2);
        }
    }

    #[test]
    fn a_run_ends_where_something_else_begins() {
        let fragment = |first: u8| [first, 1, b'a'];
        let run = |frames: &[u8], limits: &Limits| {
            let input: Vec<u8> = frames.iter().copied().flat_map(fragment).collect();
            let room = Room::left(limits, Form::Plain, None);
            let run = Fragments::here(&input, Masking::ByRole(Role::Client), Sequence::First, room);
            run.map(|run| (run.count, run.fin))
        };
        let default = Limits::default();
        let two = Limits { max_fragments: Some(2), max_message: Some(100), ..Limits::default() };
        let three_bytes = Limits { max_message: Some(3), ..Limits::default() };
        assert_eq!(run(&[1, 0, 0, 0x80, 1], &default), Some((4, true)));
        assert_eq!(run(&[2, 0, 0x89, 0x80], &default), Some((2, false)));
        assert_eq!(run(&[1, 0, 1, 0x80], &default), Some((2, false)));
        assert_eq!(run(&[1, 0, 0x40, 0x80], &default), Some((2, false)));
        assert_eq!(run(&[1, 0, 0, 0, 0x80], &two), Some((3, false)));
        assert_eq!(run(&[1, 0, 0, 0x80], &three_bytes), Some((3, false)));
        assert_eq!(run(&[0, 0, 0x80], &default), None);
        assert_eq!(run(&[0x81, 0x82], &default), None);
        assert_eq!(run(&[&[1][..], &[0; 100]].concat(), &default), Some((MOST, false)));
    }
}
