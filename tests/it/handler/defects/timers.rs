//! What takes too long, and whose timeouts ring.

use std::time::Duration;

use wireline::{
    Role,
    handler::{Attach, CloseCode, Sender, Settings, util::Token},
    proto::Opcode,
};

use super::stage::{
    Call, Log, REQUEST, RESPONSE, Recorded, Scene, Wire, build, connect, farewell, listen, listener, listens, masked,
    recording, unmasked,
};
use crate::support::{
    peer::{After, Peer},
    row::{self, elapsed},
    script::{Delivery, Keys, Script},
};

const SHORT: Duration = Duration::from_millis(50);

#[tokio::test]
async fn d9_an_idle_client_and_half_a_request_end_by_their_timeout() {
    let log = Log::new();
    let settings = Settings { max_connections: 1, handshake_timeout: SHORT, ..Settings::default() };
    let server = listen(settings, recording(log.clone(), listens));
    // Each has the only place, which the one before has given up.
    for (id, bytes) in (0..).zip(["", "G", &REQUEST[..REQUEST.len() - 1]]) {
        let mut client = Wire::to(server.address).await;
        client.send(bytes).await;
        assert_eq!(client.rest().await, b"", "{bytes:?}");
        log.until(id, "lost").await;
        assert_eq!(log.of(id), ["error Io(TimedOut)", "lost"], "{bytes:?}");
    }
    server.shut_down().await;
}

#[tokio::test]
async fn d9_a_silent_server_and_half_a_response_end_by_their_timeout() {
    for bytes in ["", "H", &RESPONSE[..RESPONSE.len() - 1]] {
        let (listener, address) = listener().await;
        let log = Log::new();
        let settings = Settings { handshake_timeout: Duration::from_millis(200), ..Settings::default() };
        let (_, run) = connect(settings, address, recording(log.clone(), listens));
        let mut server = Wire::from(&listener).await;
        server.send(bytes).await;
        run.returns().await.expect("no error");
        assert_eq!(log.of(0), ["error Io(TimedOut)", "lost"], "{bytes:?}");
    }
}

/// Closes as soon as it can.
fn closes(out: &Sender, call: Call<'_>) -> wireline::handler::Result<()> {
    if let Call::Open = call { out.close(CloseCode::Normal) } else { Ok(()) }
}

#[tokio::test]
async fn d9_an_unanswered_close_gives_its_place_up_by_its_timeout() {
    let log = Log::new();
    let settings = Settings { max_connections: 1, close_timeout: SHORT, ..Settings::default() };
    let server = listen(settings, recording(log.clone(), closes));
    for id in 0..3 {
        let mut client = Wire::open(server.address).await;
        assert_eq!(client.rest().await, unmasked(0x88, farewell(1000, "")));
        log.until(id, "lost").await;
        assert_eq!(log.of(id), ["open", "close 1006", "lost"]);
    }
    server.shut_down().await;
}

#[test]
fn d9_the_close_timeout_is_kept_to_the_instant() {
    const SECOND: Duration = Duration::from_secs(1);
    let rows = [
        // what the peer sends, the timeout, and what the handler is told at its end
        ("", None, "close 1006"),
        ("", Some(3 * SECOND), "close 1006"),
        ("81 01 61 ; 89 00", Some(3 * SECOND), "close 1006"),
        // Both Close frames were sent, but the peer does not end its side.
        ("88 02 03 e8", Some(3 * SECOND), "close 1000"),
    ];
    for role in [Role::Server, Role::Client] {
        for (frames, close_timeout, last) in rows {
            let default = Settings::default();
            let settings = Settings { close_timeout: close_timeout.unwrap_or(default.close_timeout), ..default };
            let scene = Scene { after: After::Silence, settings, ..Scene::new(role, Script::frames(frames)) };
            let (outcome, took) = row::runtime().block_on(elapsed(scene.run(closes)));
            assert_eq!(outcome.told.last().map(String::as_str), Some(last), "{frames:?} as {role:?}");
            assert_eq!(took, close_timeout.unwrap_or(10 * SECOND), "{frames:?} as {role:?}");
        }
    }
}

#[test]
fn d9_a_silent_peer_is_closed_by_the_idle_timeout_where_there_is_one() {
    for role in [Role::Server, Role::Client] {
        let settings = Settings { idle_timeout: Duration::from_secs(30), ..Settings::default() };
        let scene = Scene { settings, ..Scene::new(role, Script::frames("81 01 61")) };
        let (outcome, took) = row::runtime().block_on(elapsed(scene.run(listens)));
        assert_eq!(outcome.told, ["open", "message a", "close 1006"], "{role:?}");
        assert_eq!(outcome.wire, [(Opcode::Close, farewell(1001, ""))], "{role:?}");
        assert_eq!(took, settings.idle_timeout, "{role:?}");
    }
}

fn peer(frames: &str, after: After) -> Peer {
    Peer::new(Script::frames(frames).source(Keys::Zero, Delivery::Whole), after)
}

#[test]
fn d16_a_timeout_of_a_connection_that_is_gone_does_not_ring_at_the_next_one_in_its_place() {
    let log = Log::new();
    let group = build(Settings::default(), recording(Log::new(), listens));
    // Each rings later than the one before would have, and stays for longer.
    row::runtime().block_on(async {
        let mut tokens = Vec::new();
        for (id, (frames, ms)) in (0..).zip([("88 02 03 e8", 50), ("", 100), ("", 200)]) {
            let react = |out: &Sender, call: Call<'_>| match call {
                Call::Open => {
                    tokens.push(out.token());
                    out.timeout(ms, Token(id))
                }
                Call::Timeout(_) => out.close(CloseCode::Normal),
                _ => Ok(()),
            };
            let attach = Attach::server().group(&group.broadcaster());
            let peer = peer(frames, After::EndOnClose);
            attach.run(peer, |out| Recorded::new(out, log.clone(), react)).await.expect("it runs");
        }
        assert_eq!(tokens, [tokens[0]; 3]);
    });
    assert_eq!(log.of(0), ["open", "new timeout 0", "close 1000"]);
    assert_eq!(log.of(1), ["open", "new timeout 1", "timeout 1", "close 1006"]);
    assert_eq!(log.of(2), ["open", "new timeout 2", "timeout 2", "close 1006"]);
}

#[test]
fn d16_a_timeout_of_a_broadcaster_rings_everywhere_unless_somebody_cancels_it() {
    let log = Log::new();
    let group = build(Settings::default(), recording(Log::new(), listens));
    let sender = group.broadcaster();
    let member = || {
        let mut handles = Vec::new();
        let react = move |out: &Sender, call: Call<'_>| {
            match call {
                Call::NewTimeout(timeout) => handles.push(timeout.clone()),
                // The handle that one has is good for both.
                Call::Timeout(Token(1)) if out.connection_id() == 1 => out.cancel(handles[1].clone())?,
                Call::Timeout(Token(3)) => out.close(CloseCode::Normal)?,
                _ => {}
            }
            Ok(())
        };
        let attach = Attach::server().group(&sender);
        attach.run(peer("", After::EndOnClose), |out| Recorded::new(out, log.clone(), react))
    };
    row::runtime().block_on(async {
        let timeouts = async {
            for (ms, token) in [(50, 1), (100, 2), (200, 3)] {
                sender.timeout(ms, Token(token)).expect("queued");
            }
        };
        let (first, second, ()) = tokio::join!(member(), member(), timeouts);
        first.and(second).map(drop).expect("they run");
    });
    for id in 0..2 {
        let mut expected = vec!["open", "new timeout 1", "new timeout 2", "new timeout 3", "timeout 1", "timeout 3"];
        expected.push("close 1006");
        assert_eq!(log.of(id), expected, "{id}");
    }
}

#[tokio::test]
async fn d16_a_timeout_of_the_broadcaster_of_a_run_rings_at_those_who_are_left() {
    let log = Log::new();
    let server = listen(Settings::default(), recording(log.clone(), listens));
    let gone = Wire::open(server.address).await;
    let mut stays = Wire::open(server.address).await;
    drop(gone);
    log.until(0, "lost").await;
    server.sender.timeout(10, Token(5)).expect("queued");
    log.until(1, "timeout 5").await;
    assert_eq!(log.of(0), ["open", "close 1006", "lost"]);
    assert_eq!(log.of(1), ["open", "new timeout 5", "timeout 5"]);
    stays.send(masked(0x88, farewell(1000, ""))).await;
    drop(stays);
    server.shut_down().await;
}
