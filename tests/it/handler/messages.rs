//! Messages from frames and frames from messages, and the limits on both.

use wireline::{
    Role,
    handler::{Frame as HandlerFrame, OpCode, Settings},
    proto::{Frame, Opcode},
};

use super::rig::{Conn, Spec, continuation, part};
use crate::{
    scripted::{ROLES, block_on, close, ping, pong, settle, text},
    support::alloc::Meter,
};

fn flat(bytes: &[&[u8]]) -> Vec<u8> {
    bytes.concat()
}

/// A header as it arrives at this role, with a masking-key of zeros where it has one; short payloads only.
fn header(role: Role, first: u8, len: usize) -> Vec<u8> {
    let mask = if role == Role::Server { 0x80 } else { 0 };
    let mut bytes = vec![first];
    match len {
        0..=125 => bytes.push(mask | u8::try_from(len).unwrap()),
        126..=65_535 => bytes.extend(flat(&[&[mask | 126], &u16::try_from(len).unwrap().to_be_bytes()])),
        _ => bytes.extend(flat(&[&[mask | 127], &(len as u64).to_be_bytes()])),
    }
    if role == Role::Server {
        bytes.extend([0; 4]);
    }
    bytes
}

fn frame(role: Role, first: u8, payload: &[u8]) -> Vec<u8> {
    flat(&[&header(role, first, payload.len()), payload])
}

#[test]
fn a_long_message_goes_out_in_fragments_with_opcode_and_reserved_bits_on_the_first_s3_7() {
    let settings = Settings { fragment_size: 3, ..Settings::default() };
    let spec = Spec::new().settings(settings).on_send_frame(|mut frame| {
        if frame.opcode() == OpCode::Binary {
            frame.set_rsv1(true).set_rsv3(true);
        }
        Ok(Some(frame))
    });
    block_on(async {
        let conn = spec.attach(Role::Server).await;
        conn.ws().send(b"01234567".to_vec()).unwrap();
        conn.ws().send("abc").unwrap();
        conn.ws().send("").unwrap();
        settle().await;
        let expected = flat(&[b"\x52\x03012", b"\x00\x03345", b"\x80\x0267", b"\x81\x03abc", b"\x81\x00"]);
        assert_eq!(conn.control.output(), expected, "3.7: out");
    });
}

#[test]
fn the_default_fragment_size_is_65_535_s2_2() {
    block_on(async {
        for role in ROLES {
            let conn = Spec::new().attach(role).await;
            for (len, fragments) in [(65_535, 1), (65_536, 2), (200_000, 4)] {
                let before = conn.frames().len();
                conn.ws().send(vec![7; len]).unwrap();
                settle().await;
                assert_eq!(conn.frames().len() - before, fragments, "{len}, {role:?}");
            }
        }
    });
}

#[test]
fn fragments_are_joined_with_control_frames_between_s3_7() {
    block_on(async {
        for role in ROLES {
            let conn = Spec::new().attach(role).await;
            conn.arrive([part(text("a")), ping("1"), part(continuation("b")), pong("2"), part(continuation(""))]).await;
            conn.arrive([continuation("c"), text("next"), part(text("")), continuation("")]).await;
            let expected = ["on_open", "on_message abc", "on_message next", "on_message"];
            assert_eq!(conn.log.callbacks(), expected, "{role:?}");
            assert_eq!(conn.frames(), [pong("1")], "3.7: a Ping is answered with its payload, {role:?}");
        }
    });
}

#[test]
fn a_pong_only_shows_in_on_frame_s3_7() {
    block_on(async {
        for role in ROLES {
            let conn = Spec::new().attach(role).await;
            conn.arrive([pong("unasked")]).await;
            assert_eq!(conn.log.all(), ["on_open", "on_frame PONG unasked"], "{role:?}");
            assert_eq!(conn.frames(), [], "{role:?}");
        }
    });
}

/// Settings, what arrives, and what it comes to.
type Row = (&'static str, Settings, Vec<(u8, usize)>, &'static str);

#[test]
fn sizes_are_limited_per_message_on_the_header_s3_7_and_4_sizes() {
    let default = Settings::default();
    let small = Settings { max_message_size: 10, ..default };
    let few = Settings { fragments_capacity: 2, fragments_grow: false, ..default };
    let growing = Settings { fragments_capacity: 2, ..default };
    let unbuffered = Settings { in_buffer_capacity: 5, in_buffer_grow: false, ..default };
    // The last header of a row that is refused comes without its payload.
    let rows: Vec<Row> = vec![
        ("at the limit", small, vec![(0x82, 10)], "on_message"),
        ("one past it", small, vec![(0x82, 11)], "on_error"),
        ("at the limit in two", small, vec![(0x02, 4), (0x80, 6)], "on_message"),
        ("one past it in two", small, vec![(0x02, 4), (0x80, 7)], "on_error"),
        ("one past it, not yet final", small, vec![(0x02, 4), (0x00, 7)], "on_error"),
        ("the greatest there is", small, vec![(0x82, usize::MAX >> 1)], "on_error"),
        ("beyond the default", default, vec![(0x82, 16 * 1024 * 1024 + 1)], "on_error"),
        ("as many fragments as may be", few, vec![(0x02, 1), (0x00, 1), (0x80, 1)], "on_message"),
        ("one fragment more", few, vec![(0x02, 1), (0x00, 1), (0x00, 1)], "on_error"),
        ("empty fragments count", few, vec![(0x02, 0), (0x00, 0), (0x00, 0)], "on_error"),
        ("fragments that may grow", growing, vec![(0x02, 1), (0x00, 1), (0x00, 1), (0x00, 1), (0x80, 1)], "on_message"),
        ("in_buffer_grow off, at the limit", unbuffered, vec![(0x82, 5)], "on_message"),
        ("in_buffer_grow off, one past it", unbuffered, vec![(0x82, 6)], "on_error"),
        ("in_buffer_capacity is a hint", Settings { in_buffer_capacity: 5, ..default }, vec![(0x82, 6)], "on_message"),
    ];
    block_on(async {
        for role in ROLES {
            for (case, settings, headers, expected) in &rows {
                let mut bytes = Vec::new();
                for (at, (first, len)) in headers.iter().enumerate() {
                    bytes.extend(header(role, *first, *len));
                    if *expected == "on_message" || at + 1 < headers.len() {
                        bytes.extend(vec![b'x'; *len]);
                    }
                }
                // The last fragment of too many is counted when it is whole.
                if case.contains("fragment") && *expected == "on_error" {
                    bytes.extend(vec![b'x'; headers.last().unwrap().1]);
                }
                let conn = Spec::new().settings(*settings).attach(role).await;
                conn.arrive_bytes(bytes).await;
                let lines = conn.log.callbacks();
                assert_eq!(lines.len(), 2, "4: sizes, {case}, {role:?}: {lines:?}");
                assert!(lines[1].starts_with(expected), "4: sizes, {case}, {role:?}: {lines:?}");
                if *expected == "on_error" {
                    assert_eq!(lines[1], "on_error Capacity", "{case}, {role:?}");
                    assert!(conn.frames()[0].payload.starts_with(&1009_u16.to_be_bytes()), "{case}, {role:?}");
                }
            }
        }
    });
}

#[test]
fn memory_grows_with_what_was_received_and_not_with_what_was_announced_s3_7() {
    let settings = Settings { max_message_size: usize::MAX, ..Settings::default() };
    block_on(async {
        for role in ROLES {
            let conn = Spec::new().settings(settings).attach(role).await;
            let meter = Meter::start();
            let mut bytes = header(role, 0x82, 1 << 40);
            bytes.extend([7; 100]);
            conn.arrive_bytes(bytes).await;
            assert!(meter.peak() < 256 * 1024, "{role:?}: {} bytes for a frame of 1 TiB", meter.peak());
            assert_eq!(conn.log.callbacks(), ["on_open"], "{role:?}");
        }
    });
}

#[test]
fn plain_text_fails_on_its_first_impossible_byte_before_on_frame_s3_7_and_4_utf_8() {
    type Make = fn(Role) -> Vec<u8>;
    let rows: [(&str, Make); 5] = [
        ("a whole frame", |role| frame(role, 0x81, b"ok\xff")),
        ("a frame whose end has not come", |role| flat(&[&header(role, 0x81, 100), b"ok\xc0"])),
        ("a fragment that has not ended", |role| flat(&[&header(role, 0x01, 100), b"ok\xff"])),
        ("a later fragment", |role| flat(&[&frame(role, 0x01, b"ok"), &header(role, 0x00, 9), b"\xed\xa0"])),
        ("a character that breaks off at the end", |role| {
            flat(&[&frame(role, 0x01, b"ok"), &frame(role, 0x80, b"\xe6\x97")])
        }),
    ];
    block_on(async {
        for role in ROLES {
            for (case, bytes) in rows {
                let conn = Spec::new().attach(role).await;
                conn.arrive_bytes(bytes(role)).await;
                let whole_before = usize::from(case.contains("later") || case.contains("breaks off"));
                assert_eq!(conn.log.only("on_frame").len(), whole_before, "3.7: {case}, {role:?}");
                assert_eq!(conn.log.callbacks(), ["on_open", "on_error Encoding"], "4: UTF-8, {case}, {role:?}");
                assert!(conn.frames()[0].payload.starts_with(&1007_u16.to_be_bytes()), "{case}, {role:?}");
            }
            // A character may be cut by fragments.
            let conn = Spec::new().attach(role).await;
            let bytes = flat(&[&frame(role, 0x01, b"\xe6"), &frame(role, 0x00, b"\x97"), &frame(role, 0x80, b"\xa5")]);
            conn.arrive_bytes(bytes).await;
            assert_eq!(conn.log.callbacks(), ["on_open", "on_message 日"], "{role:?}");
        }
    });
}

/// RSV1 marks what an extension of the handler's has transformed.
#[test]
fn transformed_text_is_judged_behind_the_hook_s3_7() {
    fn invert(mut frame: HandlerFrame) -> wireline::handler::Result<Option<HandlerFrame>> {
        frame.payload_mut().iter_mut().for_each(|byte| *byte = !*byte);
        Ok(Some(frame))
    }
    let inverted = |text: &[u8]| text.iter().map(|byte| !byte).collect::<Vec<_>>();
    block_on(async {
        for role in ROLES {
            let spec = Spec::new().on_frame(invert);
            let conn = spec.attach(role).await;
            conn.arrive_bytes(frame(role, 0xc1, &inverted(b"hello"))).await;
            conn.arrive_bytes(frame(role, 0x41, &inverted(b"in "))).await;
            conn.arrive_bytes(frame(role, 0x80, &inverted(b"two"))).await;
            assert_eq!(conn.log.callbacks(), ["on_open", "on_message hello", "on_message in two"], "{role:?}");
            conn.arrive_bytes(frame(role, 0xc1, &inverted(b"\xff"))).await;
            assert_eq!(conn.log.callbacks()[3..], ["on_error Encoding"], "{role:?}");
        }
    });
}

#[test]
fn fragments_out_of_order_are_a_protocol_error_at_once_s3_7_and_4_fragment_order() {
    let rows: Vec<(&str, Vec<Frame>)> = vec![
        ("text inside text", vec![part(text("a")), text("b")]),
        ("binary inside text", vec![part(text("a")), Frame::new(Opcode::Binary, "b")]),
        ("a fragment inside text", vec![part(text("a")), part(text("b"))]),
        ("continuation without a start", vec![continuation("a")]),
        ("a fragment without a start", vec![part(continuation("a"))]),
        ("continuation behind the end", vec![text("a"), continuation("b")]),
    ];
    block_on(async {
        for role in ROLES {
            for (case, frames) in &rows {
                let conn = Spec::new().attach(role).await;
                conn.arrive(frames.clone()).await;
                let lines = conn.log.callbacks();
                assert_eq!(lines.last().map(String::as_str), Some("on_error Protocol"), "{case}, {role:?}");
                assert!(conn.frames()[0].payload.starts_with(&1002_u16.to_be_bytes()), "{case}, {role:?}");
                // ws-rs noticed when the message was complete.
                conn.arrive([close(1002, "")]).await;
                assert_eq!(conn.log.only("on_error").len(), 1, "4: fragment order, {case}, {role:?}");
            }
        }
    });
}

/// However it is cut.
#[test]
fn a_message_arrives_alike_in_any_pieces_s3_7() {
    block_on(async {
        for role in ROLES {
            let bytes =
                flat(&[&frame(role, 0x01, "grüß".as_bytes()), &frame(role, 0x89, b"p"), &frame(role, 0x80, b"!")]);
            let conn = Spec::new().attach(role).await;
            for byte in &bytes {
                conn.arrive_bytes([*byte]).await;
            }
            assert_eq!(conn.log.callbacks(), ["on_open", "on_message grüß!"], "{role:?}");
            let large = frame(role, 0x82, &vec![0xff; 300_000]);
            for piece in large.chunks(10_007) {
                conn.arrive_bytes(piece).await;
            }
            assert_eq!(conn.log.only("on_message")[1], "on_message Binary Data<length=300000>", "{role:?}");
        }
    });
}

#[test]
fn reserved_bits_of_a_sent_frame_are_refused_by_the_default_hook_s2_5() {
    fn refused(conn: &Conn) -> bool {
        conn.log.only("on_error") == ["on_error Protocol"]
    }
    block_on(async {
        let conn = Spec::new().attach(Role::Server).await;
        conn.arrive_bytes(b"\xc1\x81\0\0\0\0x").await;
        assert!(refused(&conn));
        let mut frame = HandlerFrame::message(b"x".to_vec(), OpCode::Text, true);
        frame.set_rsv2(true);
        struct Plain;
        impl wireline::handler::Handler for Plain {}
        let hooked = wireline::handler::Handler::on_send_frame(&mut Plain, frame);
        assert_eq!(super::rig::outcome(hooked), "Protocol");
    });
}
