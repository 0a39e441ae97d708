//! How often a message asks for memory once a connection is under way.

#[path = "../../benches/wire/batches.rs"]
mod batches;

use std::{cell::Cell, rc::Rc};

use batches::Batches;
use wireline::{
    Config, Role, WebSocket,
    handler::{Attach, Message, Sender},
    proto::{Frame, Opcode},
};

use crate::{
    scripted::{block_on, encode},
    support::alloc::Meter,
};

/// Batches before the count starts, and batches that are counted.
const WARM_UP: usize = 20;
const COUNTED: usize = 100;

fn peer(message: &Frame, in_flight: usize) -> Batches {
    Batches::new(encode(Role::Server, vec![message.clone(); in_flight]), WARM_UP + COUNTED)
}

/// Counts from the first message behind the warm-up to the last message.
#[derive(Clone, Default)]
struct Count(Rc<Cell<(usize, Option<Meter>, u64)>>);

impl Count {
    fn message(&self, in_flight: usize) {
        let (seen, meter, _) = self.0.get();
        let meter = meter.or_else(|| (seen == WARM_UP * in_flight).then(Meter::start));
        self.0.set((seen + 1, meter, meter.map_or(0, Meter::calls)));
    }

    /// How often memory was asked for, from the first counted message up to the last.
    fn calls(&self, in_flight: usize) -> usize {
        let (seen, _, calls) = self.0.get();
        assert_eq!(seen, (WARM_UP + COUNTED) * in_flight, "every message has arrived");
        usize::try_from(calls).unwrap()
    }
}

fn by_stream(message: &Frame, in_flight: usize) -> usize {
    let (peer, count) = (peer(message, in_flight), Count::default());
    block_on(async {
        let mut ws = WebSocket::after_handshake(peer, Role::Server, Config::default()).unwrap();
        while let Some(Ok(message)) = ws.next().await {
            count.message(in_flight);
            ws.feed(message).await.unwrap();
        }
    });
    count.calls(in_flight)
}

fn by_handler(message: &Frame, in_flight: usize) -> usize {
    let (peer, count) = (peer(message, in_flight), Count::default());
    let counted = count.clone();
    block_on(async {
        let echo = |out: Sender| {
            move |message: Message| {
                counted.message(in_flight);
                out.send(message)
            }
        };
        drop(Attach::server().run(peer, echo).await.unwrap());
    });
    count.calls(in_flight)
}

/// A message that is copied out of the read buffer asks for memory once, for its payload; sending it back does not. A
/// handler's has the memory of the answer to the last one.
#[test]
fn a_small_echo_allocates_its_payload_and_nothing_else() {
    for (len, pipelined) in [(20, 64), (1024, 16)] {
        for (opcode, in_flight) in
            [(Opcode::Binary, 1), (Opcode::Text, 1), (Opcode::Binary, pipelined), (Opcode::Text, pipelined)]
        {
            let case = format!("{opcode:?}, {len} bytes, {in_flight} in flight");
            let message = Frame::new(opcode, vec![b'x'; len]);
            let messages = COUNTED * in_flight - 1;
            let calls = by_stream(&message, in_flight);
            assert!(calls <= messages, "{case}: {calls} for {messages} messages");
            let calls = by_handler(&message, in_flight);
            assert_eq!(calls, 0, "{case}, handler: for {messages} messages");
        }
    }
}

/// A long message is collected in memory of its own or is a view of the read buffer, which then has to be replaced, and is
/// sent by reference: two or three blocks, and one for each doubling while it arrives.
#[test]
fn a_long_echo_allocates_a_few_blocks() {
    for (len, most) in [(16 * 1024, 3), (32 * 1024, 3), (256 * 1024, 7)] {
        let message = Frame::new(Opcode::Binary, vec![b'x'; len]);
        for calls in [by_stream(&message, 1), by_handler(&message, 1)] {
            assert!(calls <= most * COUNTED, "{len} bytes: {calls} for {COUNTED} messages");
        }
    }
}
