//! What a peer may not do, and how that and other errors are told.

use std::io;

use wireline::{
    Role,
    handler::{CloseCode, Error, ErrorKind, Handler, Request, Response, Result, Sender, Settings, util::QueueError},
    proto::Opcode,
};

use super::stage::{Call, Outcome, REQUEST, Scene, Wire, farewell, listen, listens};
use crate::support::{
    peer::After,
    script::{Part, Script, hex},
};

const ROLES: [Role; 2] = [Role::Server, Role::Client];

#[test]
fn d13_after_a_protocol_error_there_is_one_on_error_and_no_message() {
    let rows = [
        // what breaks a rule, and the code of our Close
        ("c1 01 61", 1002),
        ("91 01 61", 1002),
        ("83 01 61", 1002),
        ("8b 00", 1002),
        ("09 00", 1002),
        ("08 00", 1002),
        ("80 01 61", 1002),
        ("01 01 61 ; 81 01 62", 1002),
        ("81 7e 00 01 61", 1002),
        ("81 01 ff", 1007),
        ("01 01 61 ; 80 01 ff", 1007),
    ];
    for role in ROLES {
        for (frames, code) in rows {
            // More of the same, and what would be fine by itself.
            let script = Script::frames(&format!("{frames} ; 81 01 61 ; {frames} ; 89 00 ; 81 01 62"));
            let Outcome { told, wire, .. } = Scene::new(role, script).play(listens);
            let error = if code == 1002 { "error Protocol" } else { "error Encoding" };
            assert_eq!(told, ["open", error, "close 1006"], "{frames} as {role:?}");
            let [(Opcode::Close, payload)] = &*wire else { panic!("{frames} as {role:?}: {wire:?}") };
            assert_eq!(payload[..2], u16::to_be_bytes(code), "{frames} as {role:?}");
        }
        let mut oversized = hex("89 7e 00 7e");
        oversized.resize(4 + 126, 0x61);
        let script = Script::default().then(Part::Frame(oversized, 3)).then(Part::Frame(hex("81 01 61"), 1));
        let Outcome { told, .. } = Scene::new(role, script).play(listens);
        assert_eq!(told, ["open", "error Protocol", "close 1006"], "a long Ping as {role:?}");
    }
}

#[test]
fn d13_after_an_error_of_a_callback_there_is_no_message_but_the_close_that_answers() {
    for role in ROLES {
        let script = Script::frames("81 01 61 ; 81 01 62 ; 89 00 ; 88 02 03 f3");
        let Outcome { told, wire, .. } = Scene::new(role, script).play(|_, call| match call {
            Call::Message(_) => Err(Error::new(ErrorKind::Internal, "no")),
            _ => Ok(()),
        });
        assert_eq!(told, ["open", "message a", "error Internal", "close 1011"], "{role:?}");
        assert_eq!(wire, [(Opcode::Close, farewell(1011, "Internal Application Error: no"))], "{role:?}");
    }
}

/// An error of each kind that has an inner one or words of its own.
fn errors() -> Vec<Error> {
    let not_utf8 = String::from_utf8(vec![0xff]).expect_err("not UTF-8").utf8_error();
    let kinds = || {
        [
            ErrorKind::Internal,
            ErrorKind::Capacity,
            ErrorKind::Protocol,
            ErrorKind::Encoding(not_utf8),
            ErrorKind::Io(io::Error::other("an inner error")),
            ErrorKind::Io(io::ErrorKind::BrokenPipe.into()),
            ErrorKind::Http(httparse::Error::Token),
            ErrorKind::Queue(QueueError::Full),
            ErrorKind::Queue(QueueError::Closed),
            ErrorKind::Custom(Box::new(io::Error::other("an inner error"))),
        ]
    };
    let plain = kinds().into_iter().map(|kind| Error::new(kind, ""));
    plain.chain(kinds().into_iter().map(|kind| Error::new(kind, "details"))).collect()
}

#[test]
fn d20_errors_say_what_they_mean_on_the_wire_too() {
    for number in 0..errors().len() {
        let error = || errors().remove(number);
        let text = error().to_string();
        assert!(!text.is_empty() && !text.contains("deprecated"), "{text}");
        assert!(!format!("{:?}", error()).contains("deprecated"), "{text}");
        for role in ROLES {
            let script = Script::frames("81 01 61 ; 88 00");
            let Outcome { wire, .. } = Scene::new(role, script).play(|_, call| match call {
                Call::Message(_) => Err(error()),
                _ => Ok(()),
            });
            let code = match error().kind {
                ErrorKind::Internal => 1011,
                ErrorKind::Capacity => 1009,
                ErrorKind::Protocol => 1002,
                ErrorKind::Encoding(_) => 1007,
                ErrorKind::Custom(_) | ErrorKind::Queue(_) => {
                    assert_eq!(wire, [(Opcode::Close, vec![])], "{text}: the answer only");
                    continue;
                }
                _ => {
                    assert_eq!(wire, [], "{text}: cut");
                    continue;
                }
            };
            assert_eq!(wire, [(Opcode::Close, farewell(code, &text))], "{text}");
        }
    }
}

/// Refuses every request with an error of its own.
struct Refuses(usize);

impl Handler for Refuses {
    fn on_request(&mut self, _: &Request) -> Result<Response> {
        Err(errors().remove(self.0))
    }
}

#[tokio::test]
async fn d20_errors_say_what_they_mean_in_a_refusal_too() {
    let mut number = 0;
    let server = listen(Settings::default(), move |_: Sender| {
        number += 1;
        Refuses(number - 1)
    });
    for error in errors() {
        let mut client = Wire::to(server.address).await;
        client.send(REQUEST).await;
        let answer = String::from_utf8(client.rest().await).expect("text");
        let status = match error.kind {
            ErrorKind::Io(_) => {
                assert_eq!(answer, "", "{error}");
                continue;
            }
            ErrorKind::Protocol => "400",
            _ => "500",
        };
        assert_eq!(answer.get(9..12), Some(status), "{answer}");
        assert!(answer.ends_with(&format!("\r\n\r\n{error}")) && !answer.contains("deprecated"), "{answer}");
    }
    server.shut_down().await;
}

/// What the handler is told, and the code of the answer, if it has one.
fn answered(role: Role, payload: &[u8]) -> (Vec<String>, Option<u16>) {
    let frame = match u8::try_from(payload.len()) {
        Ok(len @ 0..126) => [&[0x88, len], payload].concat(),
        _ => [&[0x88, 126], &u16::try_from(payload.len()).expect("short").to_be_bytes()[..], payload].concat(),
    };
    let script = Script::default().then(Part::Frame(frame, 1)).then(Part::Frame(hex("81 01 61"), 1));
    let Outcome { mut told, wire, .. } = Scene::new(role, script).play(listens);
    assert_eq!(told.remove(0), "open");
    let [(Opcode::Close, answer)] = &*wire else { panic!("{payload:?} as {role:?}: {wire:?}") };
    (told, answer.first_chunk().map(|code| u16::from_be_bytes(*code)))
}

#[test]
fn d21_every_close_frame_is_told_and_answered_as_it_deserves() {
    let mut rows: Vec<(Vec<u8>, Vec<String>, Option<u16>)> = vec![
        (vec![], vec!["close 1005".into()], None),
        ([&farewell(1000, "")[..], &[0xff]].concat(), vec!["close 1000".into()], Some(1007)),
        ([&farewell(4000, "bye")[..], &[0xc0]].concat(), vec!["close 4000".into()], Some(1007)),
        (vec![3], vec!["error Protocol".into(), "close 1006".into()], Some(1002)),
    ];
    for code in (1000..=1003).chain(1007..=1014).chain([3000, 3999, 4000, 4999]) {
        rows.push((farewell(code, ""), vec![format!("close {code}")], Some(code)));
        rows.push((farewell(code, "bye"), vec![format!("close {code} bye")], Some(code)));
    }
    for code in [1005, 1006, 1015] {
        rows.push((farewell(code, "bye"), vec![format!("close {code} bye"), "error Protocol".into()], Some(1002)));
    }
    for code in [0, 1, 999, 1004, 1016, 1100, 2000, 2999, 5000, 65_535] {
        rows.push((farewell(code, "bye"), vec!["error Protocol".into(), "close 1006".into()], Some(1002)));
    }
    let longest = farewell(1000, &"r".repeat(123));
    rows.push((longest.clone(), vec![format!("close 1000 {}", "r".repeat(123))], Some(1000)));
    let told = "close 1002 Received close frame with payload length exceeding 125.";
    rows.push(([&longest[..], b"r"].concat(), vec![told.into()], Some(1002)));
    for role in ROLES {
        for (payload, told, answer) in &rows {
            let context = format!("{} as {role:?}", payload.escape_ascii());
            assert_eq!(answered(role, payload), (told.clone(), *answer), "{context}");
        }
    }
}

#[test]
fn d21_a_code_that_may_not_travel_goes_out_without_payload() {
    let none = [
        CloseCode::Empty,
        CloseCode::Status,
        CloseCode::Abnormal,
        CloseCode::Tls,
        CloseCode::Other(0),
        CloseCode::Other(999),
        CloseCode::Other(1004),
        CloseCode::Other(1016),
        CloseCode::Other(2999),
        CloseCode::Other(5000),
    ];
    let travel = [CloseCode::Normal, CloseCode::Again, CloseCode::Other(1014), CloseCode::Other(4999)];
    let rows = none.map(|code| (code, vec![])).into_iter();
    for (code, payload) in rows.chain(travel.map(|code| (code, farewell(code.into(), "bye")))) {
        for role in ROLES {
            let Outcome { wire, .. } = Scene::new(role, Script::default()).play(|out, call| match call {
                Call::Open => out.close_with_reason(code, "bye"),
                _ => Ok(()),
            });
            assert_eq!(wire, [(Opcode::Close, payload.clone())], "{code:?} as {role:?}");
        }
    }
}

#[test]
fn d21_fragments_out_of_order_and_impossible_text_fail_at_once() {
    let rows = [
        // the last byte that is sent is the one that makes it wrong: nothing more ever comes
        ("00 01 61", 1002),
        ("80 00", 1002),
        ("01 01 61 ; 01 01 62", 1002),
        ("02 01 61 ; 82 01 62", 1002),
        ("81 7d ce ba ff", 1007),
        ("81 7e ff ff c0", 1007),
        ("01 02 ce ba ; 00 7d f4 90", 1007),
        ("01 01 ce ; 00 02 41 41", 1007),
        ("01 02 ed a0", 1007),
    ];
    for role in ROLES {
        for (frames, code) in rows {
            let scene = Scene { after: After::Silence, ..Scene::new(role, Script::frames(frames)) };
            let Outcome { told, wire, .. } = scene.play(listens);
            let error = if code == 1002 { "error Protocol" } else { "error Encoding" };
            assert_eq!(told, ["open", error, "close 1006"], "{frames} as {role:?}");
            let [(Opcode::Close, payload)] = &*wire else { panic!("{frames} as {role:?}: {wire:?}") };
            assert_eq!(payload[..2], u16::to_be_bytes(code), "{frames} as {role:?}");
        }
    }
}
