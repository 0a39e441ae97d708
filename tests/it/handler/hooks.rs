//! The frame hooks: what they see, what their answers do, and what is judged before and behind them.

use wireline::{
    Role,
    handler::{CloseCode, Frame, OpCode, Settings},
    proto::{self, Mask, Opcode, Rsv},
};

use super::rig::{Spec, bare_close, continuation, part};
use crate::scripted::{ROLES, block_on, close, ping, pong, settle, text};

#[test]
fn on_frame_sees_every_fragment_and_control_frame_unmasked_s3_3() {
    block_on(async {
        for role in ROLES {
            let conn = Spec::new().attach(role).await;
            conn.arrive([part(text("a")), ping("p"), part(continuation("b")), pong("q"), continuation("c")]).await;
            conn.arrive([close(1000, "bye")]).await;
            let expected = [
                "on_frame TEXT+ a",
                "on_frame PING p",
                "on_frame CONTINUE+ b",
                "on_frame PONG q",
                "on_frame CONTINUE c",
                "on_frame CLOSE 1000 bye",
            ];
            // The rig's hook also asserts that none is masked.
            assert_eq!(conn.log.only("on_frame"), expected, "3.3, {role:?}");
            assert_eq!(conn.log.callbacks(), ["on_open", "on_message abc", "on_close Normal bye"], "{role:?}");
            conn.ended().await;
        }
    });
}

fn replace(mut frame: Frame) -> wireline::handler::Result<Option<Frame>> {
    match frame.opcode() {
        OpCode::Text => frame.payload_mut().make_ascii_uppercase(),
        OpCode::Ping => frame.payload_mut().push(b'!'),
        OpCode::Close => frame = Frame::close(CloseCode::Away, "changed"),
        OpCode::Binary => {
            frame.set_opcode(OpCode::Text);
        }
        _ => {}
    }
    Ok(Some(frame))
}

#[test]
fn what_on_frame_returns_is_used_s3_3() {
    type Row = (proto::Frame, &'static [&'static str], Vec<proto::Frame>);
    let rows: [Row; 4] = [
        (text("hi"), &["on_message HI"], vec![]),
        (proto::Frame::new(Opcode::Binary, "as text"), &["on_message as text"], vec![]),
        (ping("p"), &[], vec![pong("p!")]),
        (close(1000, "bye"), &["on_close Away changed"], vec![close(1001, "")]),
    ];
    block_on(async {
        for role in ROLES {
            for (frame, callbacks, answers) in &rows {
                let conn = Spec::new().on_frame(replace).attach(role).await;
                conn.arrive([frame.clone()]).await;
                assert_eq!(conn.log.callbacks()[1..], **callbacks, "{role:?}, {frame:?}");
                assert_eq!(conn.frames(), *answers, "{role:?}, {frame:?}");
            }
        }
    });
}

#[test]
fn a_frame_that_on_frame_swallows_has_no_effect_s3_3_and_8_4() {
    let frames = [text("a"), part(text("b")), continuation("c"), ping("p"), pong("q"), close(1000, "bye")];
    block_on(async {
        for role in ROLES {
            let conn = Spec::new().on_frame(|_| Ok(None)).attach(role).await;
            conn.arrive(frames.clone()).await;
            assert_eq!(conn.log.callbacks(), ["on_open"], "{role:?}: no message, no pong, no on_close, no reply");
            assert_eq!(conn.frames(), [], "{role:?}");
            conn.ws().send("still open").unwrap();
            conn.hang_up().await;
            assert_eq!(conn.frames(), [text("still open")], "{role:?}");
            assert_eq!(conn.ended().await, ["on_open", "on_close Abnormal"], "a later FIN, {role:?}");
        }
    });
}

/// What breaks these rules never reaches the hook.
#[test]
fn opcode_control_payload_fragment_size_and_masking_are_checked_before_the_hook_s3_3() {
    let strict = Settings { masking_strict: true, ..Settings::default() };
    let small = Settings { max_fragment_size: 10, ..Settings::default() };
    let unbuffered = Settings { in_buffer_grow: false, in_buffer_capacity: 10, ..Settings::default() };
    type Row = (&'static str, Role, Settings, &'static [u8], &'static str, u16);
    let rows: &[Row] = &[
        ("opcode 3", Role::Client, strict, b"\x83\x01x", "Protocol", 1002),
        ("opcode 11", Role::Server, strict, b"\x8b\x80\0\0\0\0", "Protocol", 1002),
        ("ping of 126", Role::Client, strict, b"\x89\x7e\x00\x7e", "Protocol", 1002),
        ("pong of 126", Role::Server, strict, b"\x8a\xfe\x00\x7e\0\0\0\0", "Protocol", 1002),
        ("frame of 11", Role::Client, small, b"\x82\x0b", "Capacity", 1009),
        ("frame of 11", Role::Server, small, b"\x02\x8b\0\0\0\0", "Capacity", 1009),
        ("in_buffer_grow off", Role::Client, unbuffered, b"\x82\x0b", "Capacity", 1009),
        ("unmasked client", Role::Server, strict, b"\x81\x01x", "Protocol", 1002),
        ("masked server", Role::Client, strict, b"\x81\x81\0\0\0\0x", "Protocol", 1002),
    ];
    block_on(async {
        for (case, role, settings, bytes, kind, code) in rows {
            let conn = Spec::new().settings(*settings).attach(*role).await;
            conn.arrive_bytes(bytes).await;
            assert_eq!(conn.log.only("on_frame"), Vec::<String>::new(), "{case}");
            assert_eq!(conn.log.callbacks(), ["on_open", &format!("on_error {kind}")], "{case}");
            let sent = conn.frames();
            assert!(sent.len() == 1 && sent[0].payload.starts_with(&code.to_be_bytes()), "{case}: {sent:?}");
            let expected = ["on_open".to_owned(), format!("on_error {kind}"), "on_close Abnormal".into()];
            assert_eq!(conn.ended().await, expected, "{case}");
        }
    });
}

#[test]
fn both_ways_of_masking_are_accepted_unless_strict_s2_2() {
    block_on(async {
        for role in ROLES {
            let conn = Spec::new().attach(role).await;
            conn.arrive_bytes(b"\x81\x01a\x81\x81\x01\x01\x01\x01c").await;
            assert_eq!(conn.log.callbacks(), ["on_open", "on_message a", "on_message b"], "{role:?}");
        }
    });
}

/// The hook may repair a frame, or break it.
#[test]
fn everything_else_is_checked_on_the_frame_that_the_hook_returns_s3_3() {
    type Hook = fn(Frame) -> wireline::handler::Result<Option<Frame>>;
    let final_now: Hook = |mut frame| {
        frame.set_final(true);
        Ok(Some(frame))
    };
    let unfinished: Hook = |mut frame| {
        frame.set_final(false);
        Ok(Some(frame))
    };
    let as_text: Hook = |mut frame| {
        frame.set_opcode(OpCode::Text);
        Ok(Some(frame))
    };
    let as_continuation: Hook = |mut frame| {
        frame.set_opcode(OpCode::Continue);
        Ok(Some(frame))
    };
    let longer: Hook = |mut frame| {
        frame.payload_mut().resize(101, b'x');
        Ok(Some(frame))
    };
    let bad: Hook = |mut frame| {
        frame.set_opcode(OpCode::Bad);
        Ok(Some(frame))
    };
    let same: Hook = |frame| Ok(Some(frame));
    let not_text = proto::Frame::new(Opcode::Binary, &b"\xff"[..]);
    type Row = (&'static str, Hook, Vec<proto::Frame>, &'static str);
    let rows: Vec<Row> = vec![
        ("a fragmented ping", same, vec![part(ping("p"))], "on_error Protocol"),
        ("a fragmented pong", same, vec![part(pong("p"))], "on_error Protocol"),
        ("a fragmented close", same, vec![part(close(1000, ""))], "on_error Protocol"),
        ("a fragment made final", final_now, vec![part(text("one"))], "on_message one"),
        ("a ping that is made a fragment", unfinished, vec![ping("p")], "on_error Protocol"),
        ("a message inside a message", same, vec![part(text("a")), text("b")], "on_error Protocol"),
        ("a fragment without a beginning", same, vec![continuation("a")], "on_error Protocol"),
        ("a message that is made a continuation", as_continuation, vec![text("a")], "on_error Protocol"),
        ("bytes that are made text", as_text, vec![not_text], "on_error Encoding"),
        ("a message that is made too long", longer, vec![text("a")], "on_error Capacity"),
        ("an opcode that is made Bad", bad, vec![text("a")], "on_error Protocol"),
    ];
    let settings = Settings { max_message_size: 100, ..Settings::default() };
    block_on(async {
        for role in ROLES {
            for (case, hook, frames, expected) in &rows {
                let conn = Spec::new().settings(settings).on_frame(*hook).attach(role).await;
                let bytes: Vec<u8> = frames.iter().flat_map(|frame| raw(role, frame)).collect();
                conn.arrive_bytes(bytes).await;
                assert_eq!(conn.log.only("on_frame").len(), frames.len(), "{case}, {role:?}: the hook saw each");
                assert_eq!(conn.log.callbacks()[1..], [*expected], "{case}, {role:?}");
            }
        }
    });
}

#[test]
fn reserved_bits_are_checked_by_the_default_hooks_only_s3_3() {
    block_on(async {
        for role in ROLES {
            for rsv in [Rsv::RSV1, Rsv::RSV2, Rsv::RSV3] {
                let mut frame = text("hi");
                frame.rsv = rsv;
                let bytes = raw(role, &frame);
                let conn = Spec::new().attach(role).await;
                conn.arrive_bytes(&bytes).await;
                assert_eq!(conn.log.callbacks(), ["on_open", "on_error Protocol"], "{rsv:?}, {role:?}");
                // Overriding without delegating accepts them.
                let conn = Spec::new().on_frame(|frame| Ok(Some(frame))).attach(role).await;
                conn.arrive_bytes(&bytes).await;
                assert_eq!(conn.log.callbacks(), ["on_open", "on_message hi"], "{rsv:?}, {role:?}");
            }
        }
    });
}

/// A short frame by hand, because no codec writes what is not allowed.
fn raw(role: Role, frame: &proto::Frame) -> Vec<u8> {
    let rsv = [(Rsv::RSV1, 0x40), (Rsv::RSV2, 0x20), (Rsv::RSV3, 0x10)];
    let bits: u8 = rsv.iter().filter(|(rsv, _)| frame.rsv == *rsv).map(|(_, bit)| bit).sum();
    let first = if frame.fin { 0x80 } else { 0 } | bits | frame.opcode.bits();
    let length = u8::try_from(frame.payload.len()).unwrap();
    let mut payload = frame.payload.to_vec();
    match role {
        Role::Client => [&[first, length][..], &payload].concat(),
        Role::Server => {
            let mask = [1, 2, 3, 4];
            Mask::new(mask).apply(&mut payload, 0);
            [&[first, 0x80 | length][..], &mask, &payload].concat()
        }
    }
}

#[test]
fn on_send_frame_sees_each_message_once_before_fragmentation_and_masking_s3_3() {
    let settings = Settings { fragment_size: 4, ..Settings::default() };
    let spec = Spec::new().settings(settings);
    block_on(async {
        for role in ROLES {
            let conn = spec.fresh().attach(role).await;
            conn.ws().send("0123456789").unwrap();
            conn.ws().broadcast("broadcast").unwrap();
            conn.ws().ping(b"longer than four".to_vec()).unwrap();
            conn.ws().pong(vec![]).unwrap();
            conn.arrive([ping("automatic")]).await;
            conn.ws().close_with_reason(CloseCode::Normal, "bye").unwrap();
            settle().await;
            // The rig's hook also asserts that none is masked.
            let expected = [
                "on_send_frame TEXT 0123456789",
                "on_send_frame TEXT broadcast",
                "on_send_frame PING longer than four",
                "on_send_frame PONG",
                "on_send_frame PONG automatic",
                "on_send_frame CLOSE 1000 bye",
            ];
            let sent = conn.log.only("on_send_frame");
            assert_eq!(sorted(&sent), sorted(&expected), "3.3, {role:?}");
            let data: Vec<_> = conn.frames().into_iter().filter(|frame| !frame.opcode.is_control()).collect();
            let fragments = [
                part(text("0123")),
                part(continuation("4567")),
                continuation("89"),
                part(text("broa")),
                part(continuation("dcas")),
                continuation("t"),
            ];
            assert_eq!(data, fragments, "{role:?}");
        }
    });
}

fn sorted<T: AsRef<str>>(lines: &[T]) -> Vec<&str> {
    let mut lines: Vec<&str> = lines.iter().map(AsRef::as_ref).collect();
    lines.sort_unstable();
    lines
}

/// Our own, the answer to the peer's, and that of an error.
#[test]
fn every_close_passes_on_send_frame_s3_3() {
    let rows: &[(proto::Frame, &str)] = &[
        (close(1000, "bye"), "on_send_frame CLOSE 1000"),
        (bare_close(), "on_send_frame CLOSE"),
        (continuation("x"), "on_send_frame CLOSE 1002 "),
    ];
    block_on(async {
        for role in ROLES {
            for (frame, expected) in rows {
                let conn = Spec::new().attach(role).await;
                conn.arrive([frame.clone()]).await;
                let sent = conn.log.only("on_send_frame");
                assert!(sent.len() == 1 && sent[0].starts_with(expected), "{role:?}, {frame:?}: {sent:?}");
            }
        }
    });
}

#[test]
fn a_frame_that_on_send_frame_drops_is_not_sent_s3_3_and_8_4() {
    block_on(async {
        for role in ROLES {
            let conn = Spec::new().on_send_frame(|_| Ok(None)).attach(role).await;
            conn.ws().send("x").unwrap();
            conn.ws().broadcast("x").unwrap();
            conn.ws().ping(vec![]).unwrap();
            conn.arrive([ping("p")]).await;
            assert_eq!(conn.log.only("on_send_frame").len(), 4, "{role:?}");
            assert_eq!(conn.frames(), [], "{role:?}");
            // A suppressed Close counts as sent: no other follows.
            conn.ws().close(CloseCode::Normal).unwrap();
            conn.ws().close(CloseCode::Away).unwrap();
            conn.ws().send("behind our close").unwrap();
            settle().await;
            assert_eq!(conn.log.only("on_send_frame").len(), 5, "{role:?}");
            conn.arrive([text("still delivered"), close(1001, "theirs")]).await;
            assert_eq!(conn.frames(), [], "{role:?}: the reply was sent before, so to say");
            let expected = ["on_open", "on_message still delivered", "on_close Away theirs"];
            assert_eq!(conn.ended().await, expected, "{role:?}");
        }
    });
}

#[test]
fn a_suppressed_close_ends_by_the_close_timeout_too_s3_3() {
    block_on(async {
        let mut conn = Spec::new().on_send_frame(|_| Ok(None)).attach(Role::Server).await;
        conn.ws().close(CloseCode::Normal).unwrap();
        // Nothing ever arrives.
        conn.join().await.unwrap().unwrap();
        assert_eq!(conn.log.callbacks(), ["on_open", "on_close Abnormal"]);
    });
}

#[test]
fn a_control_frame_returned_too_long_or_not_final_is_an_error_and_not_sent_s3_3() {
    type Hook = fn(Frame) -> wireline::handler::Result<Option<Frame>>;
    let longer: Hook = |mut frame| {
        if frame.opcode() != OpCode::Close {
            frame.payload_mut().resize(126, 0);
        }
        Ok(Some(frame))
    };
    let unfinished: Hook = |mut frame| {
        if frame.opcode() != OpCode::Close {
            frame.set_final(false);
        }
        Ok(Some(frame))
    };
    block_on(async {
        for role in ROLES {
            for (case, hook) in [("longer", longer), ("not final", unfinished)] {
                for (what, automatic) in [("ping", false), ("automatic pong", true)] {
                    let conn = Spec::new().on_send_frame(hook).attach(role).await;
                    match automatic {
                        true => conn.arrive([ping("p")]).await,
                        false => conn.ws().ping(vec![]).unwrap(),
                    }
                    settle().await;
                    assert_eq!(conn.log.callbacks(), ["on_open", "on_error Protocol"], "{case} {what}, {role:?}");
                    let sent = conn.frames();
                    assert!(
                        matches!(&*sent, [only] if only.opcode == Opcode::Close && only.payload.starts_with(&[3, 234])),
                        "{case} {what}, {role:?}: {sent:?}"
                    );
                }
            }
        }
    });
}

#[test]
fn what_on_send_frame_returns_is_sent_s3_3_and_3_7() {
    block_on(async {
        for role in ROLES {
            let spec = Spec::new().on_send_frame(|mut frame| {
                if frame.opcode() == OpCode::Text {
                    frame.payload_mut().make_ascii_uppercase();
                    frame.set_opcode(OpCode::Binary);
                }
                Ok(Some(frame))
            });
            let conn = spec.attach(role).await;
            conn.ws().send("hi").unwrap();
            conn.ws().broadcast("all").unwrap();
            settle().await;
            let expected = [proto::Frame::new(Opcode::Binary, "HI"), proto::Frame::new(Opcode::Binary, "ALL")];
            assert_eq!(conn.frames(), expected, "{role:?}");
        }
    });
}
