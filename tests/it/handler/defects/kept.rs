//! What ws-rs had fixed by its last version.

use wireline::{
    Role,
    handler::{CloseCode, Error, ErrorKind, Result, Sender, Settings},
};

use super::stage::{
    Call, Log, Outcome, REQUEST, RESPONSE, Scene, Wire, connect, echoes, farewell, listen, listener, masked, recording,
    unmasked,
};
use crate::support::{peer::After, script::Script};

/// How a handler goes about closing.
#[derive(Clone, Copy, Debug)]
enum Does {
    Nothing,
    Closes,
    ClosesTwice,
    Fails,
    ClosesAndFails,
}

impl Does {
    fn on_open(self, out: &Sender) -> Result<()> {
        let fails = || Err(Error::new(ErrorKind::Protocol, "no"));
        match self {
            Self::Nothing => Ok(()),
            Self::Closes => out.close(CloseCode::Normal),
            Self::ClosesTwice => out.close(CloseCode::Normal).and_then(|()| out.close(CloseCode::Away)),
            Self::Fails => fails(),
            Self::ClosesAndFails => out.close(CloseCode::Normal).and_then(|()| fails()),
        }
    }
}

#[test]
fn kept_on_close_is_called_once_however_a_connection_ends() {
    let scripts =
        ["", "88 02 03 e8", "88 02 03 e8 ; 88 02 03 e9", "88 00 ; 81 01 61", "88 01 03", "88 02 03 ed", "83 00"];
    for role in [Role::Server, Role::Client] {
        for does in [Does::Nothing, Does::Closes, Does::ClosesTwice, Does::Fails, Does::ClosesAndFails] {
            for frames in scripts {
                for after in [After::EndOnClose, After::End, After::Silence] {
                    if let (Does::Nothing, "", After::EndOnClose | After::Silence) = (does, frames, after) {
                        // It never ends.
                        continue;
                    }
                    let scene = Scene { after, ..Scene::new(role, Script::frames(frames)) };
                    let Outcome { told, .. } = scene.play(|out, call| match call {
                        Call::Open => does.on_open(out),
                        _ => Ok(()),
                    });
                    let closes = told.iter().filter(|what| what.starts_with("close ")).count();
                    assert_eq!(closes, 1, "{does:?}, {frames:?} and {after:?} as {role:?}: {told:?}");
                }
            }
        }
    }
}

#[tokio::test]
async fn kept_on_close_is_called_after_a_hang_up() {
    let log = Log::new();
    let server = listen(Settings::default(), recording(log.clone(), echoes));
    for id in 0..2 {
        let mut client = Wire::open(server.address).await;
        client.is_echoed("hello").await;
        if id == 1 {
            client.0.set_zero_linger().expect("an option of the socket");
        }
        drop(client);
        log.until(id, "lost").await;
    }
    assert_eq!(log.of(0), ["open", "message hello", "close 1006", "lost"]);
    assert_eq!(log.of(1), ["open", "message hello", "error Io(ConnectionReset)", "close 1006", "lost"]);
    server.shut_down().await;
}

#[tokio::test]
async fn kept_a_handshake_may_come_in_tiny_pieces() {
    let log = Log::new();
    let server = listen(Settings::default(), recording(log.clone(), echoes));
    let mut client = Wire::to(server.address).await;
    client.0.set_nodelay(true).expect("an option of the socket");
    for byte in REQUEST.bytes().chain(masked(0x81, "hello")) {
        client.send([byte]).await;
        tokio::task::yield_now().await;
    }
    client.opened().await;
    client.reads(unmasked(0x81, "hello")).await;
    drop(client);
    server.shut_down().await;
    assert_eq!(log.of(0)[..2], ["open", "message hello"]);

    let (listener, address) = listener().await;
    let log = Log::new();
    let (_, run) = connect(Settings::default(), address, recording(log.clone(), echoes));
    let mut server = Wire::from(&listener).await;
    server.0.set_nodelay(true).expect("an option of the socket");
    server.head().await;
    for byte in RESPONSE.bytes().chain(unmasked(0x81, "hello")).chain(unmasked(0x88, farewell(1000, ""))) {
        server.send([byte]).await;
        tokio::task::yield_now().await;
    }
    log.until(0, "close 1000").await;
    drop(server);
    run.returns().await.expect("no error");
    assert_eq!(log.of(0), ["open", "message hello", "close 1000", "lost"]);
}
