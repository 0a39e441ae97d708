//! Every way in which a connection ends, and what is told of it.

use std::io;

use wireline::{
    Cause, CloseCode, CloseRecord, Error, Initiator, Message, Role, WebSocket,
    proto::{Excess, Fault, Frame, Misuse, Opcode, Violation},
};

use crate::{
    scripted::{ROLES, block_on, close, close_frame, encode, frames, open, polled, quiet, text},
    support::suite::{Ran, Suite},
};

/// What the peer does, in this order.
#[derive(Clone, Copy, Debug)]
enum Peer {
    Closes(u16, &'static str),
    ClosesBare,
    Sends(&'static str),
    SendsBytes(&'static [u8]),
    Ends,
    Resets,
}

/// What `next` yields last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Final {
    None,
    Lost(io::ErrorKind),
    Violation(Violation),
    Excess(Excess),
}

impl Final {
    pub(super) fn of(item: Option<Result<Message, Error>>) -> Self {
        match item {
            None => Self::None,
            Some(Err(Error::Network(error))) => Self::Lost(error.kind()),
            Some(Err(Error::Peer(violation))) => Self::Violation(violation),
            Some(Err(Error::Limit(excess))) => Self::Excess(excess),
            Some(item) => panic!("{item:?}"),
        }
    }
}

struct Row {
    name: &'static str,
    ids: &'static [&'static str],
    /// Our Close frame, before the peer does anything.
    ours: Option<(u16, &'static str)>,
    peer: &'static [Peer],
    last: Final,
    sent: Option<(u16, &'static str)>,
    received: Option<(u16, &'static str)>,
    initiator: Initiator,
    cause: Cause,
    code: u16,
    reason: &'static str,
}

const RESERVED_BIT: Fault = Fault::Violation(Violation::ReservedBit);
const OVER_THE_LIMIT: &str = "eleven byte eleven byte eleven byte eleven byte eleven byte eleven byte eleven byte eleven byte \
    eleven byte eleven byte eleven byte";
const TOO_BIG: Excess = Excess::Message { limit: 100 };

/// A payload-less Close frame in the `sent` and `received` columns.
const BARE: Option<(u16, &str)> = Some((0, ""));

const ROWS: &[Row] = &[
    Row {
        name: "we close and the peer answers",
        ids: &["F-12", "F-19"],
        ours: Some((1000, "done")),
        peer: &[Peer::Closes(1000, ""), Peer::Ends],
        last: Final::None,
        sent: Some((1000, "done")),
        received: Some((1000, "")),
        initiator: Initiator::Local,
        cause: Cause::Clean,
        code: 1000,
        reason: "",
    },
    Row {
        name: "the peer closes and we answer with its code",
        ids: &["F-13", "F-19"],
        ours: None,
        peer: &[Peer::Closes(1001, "lunch"), Peer::Ends],
        last: Final::None,
        sent: Some((1001, "")),
        received: Some((1001, "lunch")),
        initiator: Initiator::Peer,
        cause: Cause::Clean,
        code: 1001,
        reason: "lunch",
    },
    Row {
        name: "the peer closes without a code (K6)",
        ids: &["F-19"],
        ours: None,
        peer: &[Peer::ClosesBare, Peer::Ends],
        last: Final::None,
        sent: BARE,
        received: BARE,
        initiator: Initiator::Peer,
        cause: Cause::Clean,
        code: 1005,
        reason: "",
    },
    Row {
        name: "both close at once: the peer's code is reported (4.18)",
        ids: &["F-19"],
        ours: Some((1000, "mine")),
        peer: &[Peer::Closes(4000, "theirs"), Peer::Ends],
        last: Final::None,
        sent: Some((1000, "mine")),
        received: Some((4000, "theirs")),
        initiator: Initiator::Local,
        cause: Cause::Clean,
        code: 4000,
        reason: "theirs",
    },
    Row {
        name: "messages that come after our Close are delivered",
        ids: &[],
        ours: Some((1000, "")),
        peer: &[Peer::Sends("late"), Peer::Closes(1000, ""), Peer::Ends],
        last: Final::None,
        sent: Some((1000, "")),
        received: Some((1000, "")),
        initiator: Initiator::Local,
        cause: Cause::Clean,
        code: 1000,
        reason: "",
    },
    Row {
        name: "what comes after the peer's Close is dropped (K10)",
        ids: &[],
        ours: None,
        peer: &[
            Peer::Closes(1000, ""),
            Peer::Sends("never"),
            Peer::Closes(4000, ""),
            Peer::SendsBytes(&[0xff; 300]),
            Peer::Ends,
        ],
        last: Final::None,
        sent: Some((1000, "")),
        received: Some((1000, "")),
        initiator: Initiator::Peer,
        cause: Cause::Clean,
        code: 1000,
        reason: "",
    },
    Row {
        name: "the peer closes and resets",
        ids: &[],
        ours: None,
        peer: &[Peer::Closes(1001, "bye"), Peer::Resets],
        last: Final::None,
        sent: Some((1001, "")),
        received: Some((1001, "bye")),
        initiator: Initiator::Peer,
        cause: Cause::Clean,
        code: 1001,
        reason: "bye",
    },
    Row {
        name: "FIN without Close (4.17)",
        ids: &["F-19"],
        ours: None,
        peer: &[Peer::Sends("one"), Peer::Ends],
        last: Final::Lost(io::ErrorKind::UnexpectedEof),
        sent: None,
        received: None,
        initiator: Initiator::Peer,
        cause: Cause::Lost,
        code: 1006,
        reason: "",
    },
    Row {
        name: "FIN in the middle of a frame",
        ids: &[],
        ours: None,
        peer: &[Peer::SendsBytes(&[0x82]), Peer::Ends],
        last: Final::Lost(io::ErrorKind::UnexpectedEof),
        sent: None,
        received: None,
        initiator: Initiator::Peer,
        cause: Cause::Lost,
        code: 1006,
        reason: "",
    },
    Row {
        name: "RST in the middle of a frame (4.16)",
        ids: &["F-19"],
        ours: None,
        peer: &[Peer::Sends("one"), Peer::SendsBytes(&[0x82]), Peer::Resets],
        last: Final::Lost(io::ErrorKind::ConnectionReset),
        sent: None,
        received: None,
        initiator: Initiator::Peer,
        cause: Cause::Lost,
        code: 1006,
        reason: "",
    },
    Row {
        name: "FIN in answer to our Close",
        ids: &["F-19"],
        ours: Some((1000, "")),
        peer: &[Peer::Ends],
        last: Final::Lost(io::ErrorKind::UnexpectedEof),
        sent: Some((1000, "")),
        received: None,
        initiator: Initiator::Local,
        cause: Cause::Lost,
        code: 1006,
        reason: "",
    },
    Row {
        name: "RST in answer to our Close",
        ids: &[],
        ours: Some((1000, "")),
        peer: &[Peer::Resets],
        last: Final::Lost(io::ErrorKind::ConnectionReset),
        sent: Some((1000, "")),
        received: None,
        initiator: Initiator::Local,
        cause: Cause::Lost,
        code: 1006,
        reason: "",
    },
    Row {
        name: "a broken rule, and nothing behind it is read",
        ids: &["F-20"],
        ours: None,
        peer: &[Peer::SendsBytes(&[0xf1, 0x80]), Peer::Sends("never"), Peer::Closes(1000, ""), Peer::Ends],
        last: Final::Violation(Violation::ReservedBit),
        sent: Some((1002, "")),
        received: None,
        initiator: Initiator::Local,
        cause: Cause::Fault(RESERVED_BIT),
        code: 1006,
        reason: "",
    },
    Row {
        name: "a broken rule after our Close: there is no second Close",
        ids: &["F-12"],
        ours: Some((1001, "")),
        peer: &[Peer::SendsBytes(&[0xf1, 0x80]), Peer::Ends],
        last: Final::Violation(Violation::ReservedBit),
        sent: Some((1001, "")),
        received: None,
        initiator: Initiator::Local,
        cause: Cause::Fault(RESERVED_BIT),
        code: 1006,
        reason: "",
    },
    Row {
        name: "an exceeded limit",
        ids: &[],
        ours: None,
        peer: &[Peer::Sends(OVER_THE_LIMIT), Peer::Ends],
        last: Final::Excess(TOO_BIG),
        sent: Some((1009, "")),
        received: None,
        initiator: Initiator::Local,
        cause: Cause::Fault(Fault::Excess(TOO_BIG)),
        code: 1006,
        reason: "",
    },
];

pub(crate) static ENDINGS: Suite = Suite::new(endings);

#[test]
fn every_ending_is_told_by_its_initiator_cause_code_and_reason() {
    ENDINGS.ids();
}

fn endings(ran: &mut Ran) {
    for row in ROWS {
        for role in ROLES {
            block_on(ending(row, role));
        }
        row.ids.iter().for_each(|id| ran.id(id));
    }
}

async fn ending(row: &Row, role: Role) {
    let case = format!("{role:?}: {}", row.name);
    let mut config = quiet();
    config.limits.max_message = Some(100);
    let (mut ws, control) = open(role, config);
    ws.feed("fed").await.unwrap();
    if let Some((code, reason)) = row.ours {
        let closed = polled(1, ws.close(CloseCode::try_from(code).unwrap(), reason)).await;
        assert!(closed.is_none(), "{case}: the peer has not answered");
        assert!(matches!(ws.send("x").await, Err(Error::Caller(Misuse::Closed))), "{case}");
        assert!(matches!(ws.ping("x").await, Err(Error::Caller(Misuse::Closed))), "{case}");
    }
    let mut delivered = Vec::new();
    let mut gone = false;
    for step in row.peer {
        match *step {
            Peer::Closes(code, reason) => {
                control.arrive(encode(role, [close(code, reason)]));
                gone = true;
            }
            Peer::ClosesBare => {
                control.arrive(encode(role, [Frame::new(Opcode::Close, "")]));
                gone = true;
            }
            Peer::Sends(message) => {
                control.arrive(encode(role, [text(message)]));
                if !gone && message.len() <= 100 {
                    delivered.push(Message::from(message));
                }
            }
            Peer::SendsBytes(bytes) => {
                control.arrive(bytes);
                gone |= bytes[0] == 0xf1;
            }
            Peer::Ends => control.end(),
            Peer::Resets => control.fail_reads(io::ErrorKind::ConnectionReset),
        }
    }
    for message in delivered {
        assert_eq!(ws.next().await.transpose().unwrap(), Some(message), "{case}");
    }
    assert_eq!(ws.ending(), None, "{case}: it has not ended");
    assert_eq!(Final::of(ws.next().await), row.last, "{case}");
    let ending = ws.ending().unwrap_or_else(|| panic!("{case}: it has ended"));
    assert_eq!(*ending.sent(), record(row.sent), "{case}");
    assert_eq!(*ending.received(), record(row.received), "{case}");
    assert_eq!(ending.initiator(), row.initiator, "{case}");
    assert_eq!(ending.cause(), row.cause, "{case}");
    assert_eq!((ending.code(), ending.reason()), (row.code, row.reason), "{case}");
    over_for_ever(&mut ws, &case).await;
    let mut wire = vec![text("fed")];
    wire.extend(
        row.sent.map(|sent| if Some(sent) == BARE { Frame::new(Opcode::Close, "") } else { close(sent.0, sent.1) }),
    );
    assert_eq!(frames(role, &control.output()), wire, "{case}: on the wire");
}

fn record(frame: Option<(u16, &str)>) -> CloseRecord {
    match frame {
        None => CloseRecord::None,
        Some((0, _)) => CloseRecord::Empty,
        Some((code, reason)) => CloseRecord::Frame(close_frame(code, reason)),
    }
}

/// After the end every call comes back at once, and nothing is written.
pub(super) async fn over_for_ever<S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin>(
    ws: &mut WebSocket<S>,
    case: &str,
) {
    let ending = ws.ending().cloned();
    for _ in 0..3 {
        assert!(polled(1, ws.next()).await.expect("at once").is_none(), "{case}");
        assert!(polled(1, ws.next_event()).await.expect("at once").is_none(), "{case}");
        assert!(polled(1, ws.send("x")).await.expect("at once").is_err(), "{case}");
        assert!(polled(1, ws.feed("x")).await.expect("at once").is_err(), "{case}");
        assert!(polled(1, ws.ping("x")).await.expect("at once").is_err(), "{case}");
        assert!(polled(1, ws.close(CloseCode::NORMAL, "")).await.expect("at once").is_ok(), "{case}");
        let _ = polled(1, ws.flush()).await.expect("at once");
    }
    assert_eq!(ws.ending(), ending.as_ref(), "{case}");
}
