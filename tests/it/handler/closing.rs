//! The closing handshake: what every Close frame comes to, and every other end.

use std::time::Duration;

use wireline::{
    Role,
    handler::{CloseCode, ErrorKind, Settings},
    proto::{Frame, Opcode},
};

use super::rig::{Conn, Spec, bare_close, error};
use crate::scripted::{Op, ROLES, block_on, close, encode, now, ping, seconds, settle, text};

/// How a Close frame that was received is answered.
enum Reply {
    /// With this code, and no reason.
    Code(u16),
    /// With 1002, and a reason that says why.
    Error,
    /// Without payload.
    Bare,
}

/// The label, what arrives, the callbacks behind `on_open` up to the peer's end, and the reply.
type Row = (String, Vec<u8>, Vec<String>, Reply);

/// A Close frame with any payload, as it arrives at this role.
fn raw_close(role: Role, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x88];
    let mask = if role == Role::Server { 0x80 } else { 0 };
    match u8::try_from(payload.len()) {
        Ok(len @ ..=125) => bytes.push(mask | len),
        _ => bytes.extend([&[mask | 126][..], &u16::try_from(payload.len()).unwrap().to_be_bytes()].concat()),
    }
    if role == Role::Server {
        bytes.extend([0; 4]);
    }
    bytes.extend(payload);
    bytes
}

fn rows(role: Role) -> Vec<Row> {
    let lines = |lines: &[&str]| lines.iter().map(|line| (*line).to_owned()).collect::<Vec<_>>();
    let with = |code: u16, reason: &[u8]| raw_close(role, &[&code.to_be_bytes()[..], reason].concat());
    let mut rows = Vec::new();
    let valid = (1000..=1003).chain(1007..=1014).chain([3000, 3001, 3999, 4000, 4999]);
    for code in valid {
        let named = CloseCode::from(code);
        let told = lines(&[&format!("on_close {named:?} why")]);
        rows.push((format!("3.6: {code}"), with(code, b"why"), told, Reply::Code(code)));
        let told = lines(&[&format!("on_close {named:?}")]);
        rows.push((format!("3.6: {code} without a reason"), with(code, b""), told.clone(), Reply::Code(code)));
        rows.push((format!("3.6: {code}, reason not UTF-8"), with(code, b"\xff"), told, Reply::Code(1007)));
    }
    rows.push(("3.6: no payload".into(), raw_close(role, b""), lines(&["on_close Status"]), Reply::Bare));
    for code in [1005, 1006, 1015] {
        let told = lines(&[&format!("on_close {:?} why", CloseCode::from(code)), "on_error Protocol"]);
        rows.push((format!("3.6: {code}"), with(code, b"why"), told, Reply::Error));
    }
    let broken = lines(&["on_error Protocol", "on_close Abnormal"]);
    for code in [0, 1, 999, 1004, 1016, 1100, 2000, 2999, 5000, 9999, 65535] {
        rows.push((format!("3.6: {code}, and 4: Close 0, 1016-2999"), with(code, b""), broken.clone(), Reply::Error));
    }
    rows.push(("3.6: 1 byte".into(), raw_close(role, &[3]), broken, Reply::Error));
    for len in [126, 200, 70] {
        let payload = vec![b'x'; if len == 70 { 1000 } else { len }];
        let told = lines(&["on_close Protocol Received close frame with payload length exceeding 125."]);
        rows.push((format!("3.6: payload of {}", payload.len()), raw_close(role, &payload), told, Reply::Error));
    }
    rows
}

#[test]
fn every_close_has_its_callbacks_and_its_reply_s3_6_and_4_close_codes() {
    block_on(async {
        for role in ROLES {
            for (case, bytes, callbacks, reply) in rows(role) {
                let conn = Spec::new().attach(role).await;
                conn.arrive_bytes(&bytes).await;
                let sent = conn.frames();
                assert!(sent.len() == 1 && sent[0].opcode == Opcode::Close, "{case}, {role:?}: {sent:?}");
                let payload = &sent[0].payload[..];
                match reply {
                    Reply::Code(code) => assert_eq!(payload, code.to_be_bytes(), "{case}, {role:?}"),
                    Reply::Error => assert!(payload.starts_with(&[3, 234]), "{case}, {role:?}: {sent:?}"),
                    Reply::Bare => assert_eq!(payload, b"", "{case}, {role:?}"),
                }
                let lines = conn.ended().await;
                assert_eq!(lines[1..], callbacks, "{case}, {role:?}");
            }
        }
    });
}

#[test]
fn on_close_is_abnormal_when_the_connection_ends_without_a_close_s3_6() {
    block_on(async {
        for role in ROLES {
            let conn = Spec::new().attach(role).await;
            conn.arrive([text("x")]).await;
            assert_eq!(conn.ended().await, ["on_open", "on_message x", "on_close Abnormal"], "FIN, {role:?}");

            let conn = Spec::new().attach(role).await;
            conn.control.fail_reads(std::io::ErrorKind::ConnectionReset);
            let lines = conn.ended().await;
            // Behind the FIN that `ended` sends, the failure is gone: it came before.
            assert_eq!(lines.last().map(String::as_str), Some("on_close Abnormal"), "RST, {role:?}");

            let mut conn = Spec::new().attach(role).await;
            conn.ws().close(CloseCode::Normal).unwrap();
            let start = now();
            conn.join().await.unwrap().unwrap();
            assert_eq!(seconds(start), 10.0, "close_timeout, {role:?}");
            assert_eq!(conn.log.callbacks(), ["on_open", "on_close Abnormal"], "close_timeout, {role:?}");
        }
    });
}

#[test]
fn close_timeout_is_what_the_settings_say_and_zero_is_none_4_timeouts() {
    block_on(async {
        for role in ROLES {
            let settings = Settings { close_timeout: Duration::from_secs(3), ..Settings::default() };
            let mut conn = Spec::new().settings(settings).attach(role).await;
            conn.ws().close(CloseCode::Normal).unwrap();
            let start = now();
            conn.join().await.unwrap().unwrap();
            assert_eq!(seconds(start), 3.0, "{role:?}");

            let settings = Settings { close_timeout: Duration::ZERO, ..Settings::default() };
            let mut conn = Spec::new().settings(settings).attach(role).await;
            conn.ws().close(CloseCode::Normal).unwrap();
            settle().await;
            tokio::time::advance(Duration::from_secs(3600)).await;
            settle().await;
            assert!(!conn.is_over(), "{role:?}");
            conn.ended().await;
        }
    });
}

fn order_of_ends(conn: &Conn) -> Vec<Op> {
    let mut ends = conn.control.log();
    ends.retain(|op| matches!(op, Op::End | Op::Shutdown));
    ends.dedup();
    ends
}

#[test]
fn after_both_closes_the_server_ends_tcp_and_the_client_waits_for_it_s3_6() {
    block_on(async {
        for role in ROLES {
            for ours_first in [false, true] {
                let case = format!("{role:?}, ours first: {ours_first}");
                let mut conn = Spec::new().attach(role).await;
                if ours_first {
                    conn.ws().close(CloseCode::Normal).unwrap();
                    settle().await;
                }
                conn.arrive([close(1000, "")]).await;
                assert_eq!(conn.frames(), [close(1000, "")], "{case}");
                let ended = if role == Role::Server { vec![Op::Shutdown] } else { vec![] };
                assert_eq!(order_of_ends(&conn), ended, "{case}");
                assert!(!conn.is_over(), "{case}: the peer's end is awaited");
                conn.hang_up().await;
                assert!(conn.is_over(), "{case}");
                let order = if role == Role::Server { [Op::Shutdown, Op::End] } else { [Op::End, Op::Shutdown] };
                assert_eq!(order_of_ends(&conn), order, "{case}");

                // Within close_timeout.
                let mut conn = Spec::new().attach(role).await;
                let start = now();
                conn.arrive([close(1000, "")]).await;
                conn.join().await.unwrap().unwrap();
                assert_eq!(seconds(start), 10.0, "{case}");
                assert_eq!(conn.log.callbacks(), ["on_open", "on_close Normal"], "{case}: once");
            }
        }
    });
}

#[test]
fn while_our_close_is_under_way_messages_are_delivered_and_pings_not_answered_s3_6() {
    let spec = Spec::new().react(|ws, line| match line {
        "on_message 1" => {
            ws.send("ignored")?;
            ws.ping(b"ignored".to_vec())?;
            ws.broadcast("ignored")?;
            ws.close(CloseCode::Away)?;
            ws.close_with_reason(CloseCode::Protocol, "ignored")
        }
        _ => Ok(()),
    });
    block_on(async {
        for role in ROLES {
            let conn = spec.fresh().attach(role).await;
            conn.ws().close_with_reason(CloseCode::Normal, "ours").unwrap();
            settle().await;
            conn.arrive([text("1"), ping("p"), text("2"), close(1001, "theirs"), text("behind")]).await;
            assert_eq!(conn.frames(), [close(1000, "ours")], "{role:?}");
            let expected = ["on_open", "on_message 1", "on_message 2", "on_close Away theirs"];
            assert_eq!(conn.ended().await, expected, "{role:?}");
        }
    });
}

#[test]
fn codes_that_may_not_travel_go_out_as_a_close_without_payload_s3_6_and_4_close_codes() {
    let bare = [
        CloseCode::Empty,
        CloseCode::Status,
        CloseCode::Abnormal,
        CloseCode::from(1015),
        CloseCode::Other(0),
        CloseCode::Other(999),
        CloseCode::Other(1004),
        CloseCode::Other(1016),
        CloseCode::Other(2999),
        CloseCode::Other(5000),
    ];
    let coded = [
        CloseCode::Normal,
        CloseCode::Away,
        CloseCode::Restart,
        CloseCode::Again,
        CloseCode::Other(1014),
        CloseCode::Other(3000),
        CloseCode::Other(4999),
    ];
    block_on(async {
        for role in ROLES {
            for code in bare {
                let conn = Spec::new().attach(role).await;
                conn.ws().close_with_reason(code, "dropped too").unwrap();
                settle().await;
                assert_eq!(conn.frames(), [bare_close()], "{code:?}, {role:?}");
                conn.arrive([bare_close()]).await;
                assert_eq!(conn.ended().await, ["on_open", "on_close Status"], "{code:?}, {role:?}");
            }
            for code in coded {
                let conn = Spec::new().attach(role).await;
                conn.ws().close_with_reason(code, "why").unwrap();
                settle().await;
                assert_eq!(conn.frames(), [close(code.into(), "why")], "4: Close 1012-1014: {code:?}, {role:?}");
            }
        }
    });
}

#[test]
fn a_long_reason_is_cut_at_a_character_4_close_reason() {
    block_on(async {
        let conn = Spec::new().attach(Role::Server).await;
        conn.ws().close_with_reason(CloseCode::Normal, "日".repeat(50)).unwrap();
        settle().await;
        assert_eq!(conn.frames(), [close(1000, &"日".repeat(41))]);
    });
}

#[test]
fn after_an_error_close_no_data_reaches_the_handler_but_the_peers_close_counts_s3_6() {
    let spec = Spec::new().react(|ws, line| match line {
        "on_message bad" => {
            ws.send("dropped")?;
            Err(error(ErrorKind::Internal))
        }
        _ => Ok(()),
    });
    block_on(async {
        for role in ROLES {
            let conn = spec.fresh().attach(role).await;
            conn.arrive([text("bad"), text("not delivered"), ping("p"), close(4000, "theirs"), text("behind")]).await;
            assert_eq!(conn.frames(), [close(1011, "Internal Application Error: because")], "{role:?}");
            let expected = ["on_open", "on_message bad", "on_error Internal", "on_close Other(4000) theirs"];
            assert_eq!(conn.ended().await, expected, "{role:?}");
        }
    });
}

#[test]
fn after_a_failed_parse_bytes_are_discarded_until_the_end_or_close_timeout_s3_6() {
    block_on(async {
        for role in ROLES {
            let mut bytes = vec![0x83, 0x80, 0, 0, 0, 0];
            bytes.extend(encode(role, [text("not delivered"), close(1000, "does not count")]));
            let conn = Spec::new().attach(role).await;
            conn.arrive_bytes(&bytes).await;
            conn.arrive_bytes(vec![b'x'; 30_000]).await;
            assert_eq!(conn.control.unread(), 0, "{role:?}: they are read");
            let expected = ["on_open", "on_error Protocol", "on_close Abnormal"];
            assert_eq!(conn.ended().await, expected, "{role:?}");

            let mut conn = Spec::new().attach(role).await;
            conn.arrive_bytes(&bytes).await;
            let start = now();
            conn.join().await.unwrap().unwrap();
            assert_eq!(seconds(start), 10.0, "{role:?}");
            assert_eq!(conn.log.callbacks(), expected, "{role:?}");
        }
    });
}

#[test]
fn the_idle_timeout_closes_with_1001_and_is_off_by_default_4_timeouts() {
    block_on(async {
        for role in ROLES {
            let settings = Settings { idle_timeout: Duration::from_secs(60), ..Settings::default() };
            let mut conn = Spec::new().settings(settings).attach(role).await;
            tokio::time::sleep(Duration::from_secs(50)).await;
            conn.arrive([ping("alive")]).await;
            tokio::time::sleep(Duration::from_secs(50)).await;
            assert_eq!(conn.frames().len(), 1, "{role:?}: the pong only");
            let start = now();
            conn.join().await.unwrap().unwrap();
            assert_eq!(seconds(start), 20.0, "{role:?}: ten of silence and ten of close_timeout");
            assert_eq!(conn.frames()[1..], [close(1001, "")], "{role:?}");

            let mut conn = Spec::new().attach(role).await;
            tokio::time::sleep(Duration::from_secs(365 * 24 * 3600)).await;
            assert!(!conn.is_over(), "{role:?}");
            assert_eq!(conn.frames(), [], "3.7: no automatic keepalive, {role:?}");
            conn.ended().await;
        }
    });
}

/// One that both ends begin at the same time.
#[test]
fn closes_that_cross_are_no_error_s3_6() {
    block_on(async {
        for role in ROLES {
            let conn =
                Spec::new().react(|ws, line| if line == "on_open" { ws.close(CloseCode::Normal) } else { Ok(()) });
            let conn = conn.attach(role).await;
            conn.arrive([close(1000, "theirs")]).await;
            assert_eq!(conn.frames(), [close(1000, "")], "{role:?}: not answered again");
            assert_eq!(conn.ended().await, ["on_open", "on_close Normal theirs"], "{role:?}");
        }
    });
}

/// A close in on_close comes too late, whoever asks.
#[test]
fn on_close_may_close_and_send_without_effect_s3_6() {
    let spec = Spec::new().react(|ws, line| {
        if line.starts_with("on_close") {
            ws.send("late")?;
            ws.close(CloseCode::Error)?;
        }
        Ok(())
    });
    block_on(async {
        for role in ROLES {
            let conn = spec.fresh().attach(role).await;
            conn.arrive([close(1000, "")]).await;
            assert_eq!(conn.frames(), [close(1000, "")], "{role:?}");
            conn.ended().await;
        }
    });
}

/// What the peer reads last is our Close, behind what was sent before.
#[test]
fn what_was_sent_before_the_close_goes_out_first_s3_6() {
    let spec = Spec::new().react(|ws, line| match line {
        "on_message x" => {
            for number in 0..100 {
                ws.send(number.to_string())?;
            }
            ws.close(CloseCode::Normal)
        }
        _ => Ok(()),
    });
    block_on(async {
        let conn = spec.attach(Role::Server).await;
        conn.arrive([text("x"), close(1000, "")]).await;
        let mut expected: Vec<Frame> = (0..100).map(|number| text(number.to_string())).collect();
        expected.push(close(1000, ""));
        assert_eq!(conn.frames(), expected);
        conn.ended().await;
    });
}
