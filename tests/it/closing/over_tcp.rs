//! Endings over TCP, where unread input, resets and half-closed sockets are real.

use std::io;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use wireline::{
    Config, Role, WebSocket,
    proto::{Frame, Opcode},
};

use super::endings::{Final, over_for_ever};
use crate::{
    scripted::{ROLES, close, decode, encode, frames, polled, text},
    support::suite::Suite,
};

/// A connection over real TCP, and the raw other end.
async fn tcp(role: Role, config: Config) -> (WebSocket<TcpStream>, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (here, there) = tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
    (WebSocket::after_handshake(here.unwrap(), role, config).unwrap(), there.unwrap().0)
}

pub(crate) static FLOOD: Suite = Suite::new(|ran| {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for role in ROLES {
        for run in 0..25 {
            runtime.block_on(async {
                let (mut ws, peer) = tcp(role, Config::default()).await;
                let (mut from, mut to) = peer.into_split();
                let flood = async {
                    to.write_all(&encode(role, [close(1000, "")])).await.unwrap();
                    // It may be cut off in its middle.
                    let _ = to.write_all(&vec![0x5a; 10_000_000]).await;
                };
                let read = async {
                    let mut wire = Vec::new();
                    // The end may be a reset, because there is more than we drain.
                    let _ = from.read_to_end(&mut wire).await;
                    wire
                };
                let serve = async {
                    assert!(ws.next().await.is_none(), "K12, {role:?}");
                    drop(ws);
                };
                let ((), wire, ()) = tokio::join!(flood, read, serve);
                assert_eq!(decode(role, &wire), (vec![close(1000, "")], 0), "K12, {role:?}, run {run}");
            });
        }
    }
    ran.id("K12");
});

/// Fault 4.19: unread input does not turn our end into a reset that destroys our Close frame.
#[test]
fn our_close_is_readable_under_a_flood() {
    FLOOD.ids();
}

#[tokio::test]
async fn a_reset_over_tcp_is_an_error_of_its_kind() {
    for role in ROLES {
        let (mut ws, mut peer) = tcp(role, Config::default()).await;
        let message = encode(role, [text("cut in its middle")]);
        peer.write_all(&message[..message.len() / 2]).await.unwrap();
        // Half a frame has arrived when the reset does.
        assert!(polled(1, ws.next()).await.is_none(), "4.16, {role:?}");
        peer.set_zero_linger().unwrap();
        drop(peer);
        assert_eq!(Final::of(ws.next().await), Final::Lost(io::ErrorKind::ConnectionReset), "4.16, {role:?}");
        assert_eq!(ws.ending().unwrap().code(), 1006, "4.16, {role:?}");
        over_for_ever(&mut ws, "4.16").await;
    }
}

#[tokio::test]
async fn a_close_before_a_reset_over_tcp_is_reported() {
    for role in ROLES {
        let (mut ws, mut peer) = tcp(role, Config::default()).await;
        ws.send("unread by the peer").await.unwrap();
        peer.write_all(&encode(role, [close(1001, "leaving")])).await.unwrap();
        peer.set_zero_linger().unwrap();
        drop(peer);
        let last = ws.next().await;
        assert!(last.is_none(), "4.18, {role:?}: {last:?}");
        assert_eq!((ws.ending().unwrap().code(), ws.ending().unwrap().reason()), (1001, "leaving"), "4.18, {role:?}");
    }
}

#[tokio::test]
async fn a_half_closed_peer_over_tcp_gets_a_megabyte_that_was_queued() {
    for role in ROLES {
        let (mut ws, mut peer) = tcp(role, Config::default()).await;
        let large = vec![7; 1_000_000];
        ws.feed(large.clone()).await.unwrap();
        peer.shutdown().await.unwrap();
        let mut wire = Vec::new();
        let (last, read) = tokio::join!(ws.next(), peer.read_to_end(&mut wire));
        read.unwrap();
        assert_eq!(Final::of(last), Final::Lost(io::ErrorKind::UnexpectedEof), "4.17, {role:?}");
        assert_eq!(frames(role, &wire), [Frame::new(Opcode::Binary, large)], "4.17, {role:?}");
    }
}
