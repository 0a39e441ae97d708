//! `WebSocket::stats`: exact numbers, over transports in memory.

use std::time::Duration;

use tokio::io::duplex;
use wireline::{Config, Message, Role, WebSocket, server::Acceptor};

use crate::scripted::{ROLES, block_on, close, encode, open, ping, polled, pong, quiet, text};

#[test]
fn bytes_and_messages_are_counted_to_the_last_one() {
    for role in ROLES {
        block_on(async {
            let (mut ws, control) = open(role, quiet());
            let mut arrived = encode(role, [text("hello"), ping("ab"), text(""), text("x".repeat(70_000)), pong("c")]);
            arrived.extend(encode(role, [close(1000, "done")]));
            control.arrive(&arrived);
            while let Some(message) = ws.next().await {
                ws.feed(message.unwrap()).await.unwrap();
            }
            let stats = ws.stats();
            assert_eq!((stats.messages_received, stats.messages_sent), (3, 3), "{role:?}");
            assert_eq!(stats.bytes_received, arrived.len() as u64, "{role:?}");
            assert_eq!(stats.bytes_sent, control.output().len() as u64, "{role:?}");
            assert_eq!((stats.pings_received, stats.pongs_sent), (1, 1), "{role:?}");
            assert_eq!((stats.pings_sent, stats.pongs_received), (0, 1), "{role:?}");
            assert_eq!((stats.round_trip, stats.queued), (None, 0), "{role:?}");
            assert_eq!(stats.compressed_received.ratio(), None, "{role:?}");
        });
    }
}

#[test]
fn fragments_are_one_message_and_control_frames_none() {
    block_on(async {
        let mut config = quiet();
        config.fragment_size = Some(2);
        let (here, there) = duplex(1024);
        let mut sender = WebSocket::after_handshake(here, Role::Client, config).unwrap();
        let mut receiver = WebSocket::after_handshake(there, Role::Server, quiet()).unwrap();
        sender.send("hello").await.unwrap();
        sender.ping("").await.unwrap();
        assert_eq!(receiver.next().await.transpose().unwrap(), Some(Message::from("hello")));
        assert!(polled(1, receiver.next()).await.is_none());
        let (sent, received) = (sender.stats(), receiver.stats());
        // Three frames of 6 + 2, 2 and 1, and the Ping.
        assert_eq!((sent.bytes_sent, received.bytes_received), (29, 29));
        assert_eq!((sent.messages_sent, received.messages_received), (1, 1));
        assert_eq!((sent.pings_sent, received.pings_received), (1, 1));
    });
}

#[test]
fn what_was_read_ahead_counts_as_received() {
    block_on(async {
        let request = http::Request::get("/").header("host", "a").header("upgrade", "websocket");
        let request = request.header("connection", "upgrade").header("sec-websocket-version", "13");
        let request = request.header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==").body(()).unwrap();
        let (stream, _peer) = duplex(64);
        let ws = Acceptor::new().upgrade(&request).unwrap().over(stream, b"\x81\x82\0\0\0\0hi");
        assert_eq!((ws.stats().bytes_received, ws.stats().messages_received), (8, 0));
    });
}

#[test]
fn what_waits_is_queued_until_it_is_written() {
    for role in ROLES {
        block_on(async {
            let (mut ws, control) = open(role, quiet());
            control.room(10);
            ws.feed("x".repeat(100)).await.unwrap();
            let whole = match role {
                Role::Client => 106,
                Role::Server => 102,
            };
            let stats = ws.stats();
            assert_eq!((stats.messages_sent, stats.queued, stats.bytes_sent), (1, whole, 0), "{role:?}");
            assert!(polled(1, ws.flush()).await.is_none());
            assert_eq!((ws.stats().queued, ws.stats().bytes_sent), (whole - 10, 10), "{role:?}");
            control.room(1000);
            ws.flush().await.unwrap();
            assert_eq!((ws.stats().queued, ws.stats().bytes_sent), (0, whole as u64), "{role:?}");
        });
    }
}

/// The time passes while the Ping is under way and in nobody's buffer.
#[test]
fn the_round_trip_is_from_the_ping_to_its_pong() {
    for role in ROLES {
        block_on(async {
            let (mut ws, control) = open(role, Config::default());
            // Keepalive's own, after 20 s.
            assert!(tokio::time::timeout(Duration::from_secs(21), ws.next()).await.is_err());
            assert_eq!((ws.stats().pings_sent, ws.stats().round_trip), (1, None), "{role:?}");
            ws.ping("mine").await.unwrap();
            tokio::time::advance(Duration::from_millis(250)).await;
            control.arrive(encode(role, [pong("unasked")]));
            assert!(polled(1, ws.next()).await.is_none());
            assert_eq!(ws.stats().round_trip, None, "{role:?}: it answers nothing");
            control.arrive(encode(role, [pong("mine")]));
            assert!(polled(1, ws.next()).await.is_none());
            assert_eq!(ws.stats().round_trip, Some(Duration::from_millis(250)), "{role:?}");
            assert_eq!((ws.stats().pings_sent, ws.stats().pongs_received), (2, 2), "{role:?}");
        });
    }
}

#[cfg(feature = "deflate")]
#[test]
fn both_ends_know_what_compression_came_to() {
    use wireline::proto::deflate::DeflateConfig;
    block_on(async {
        let (here, there) = duplex(1024 * 1024);
        let client = wireline::Client::new("ws://example.com/").unwrap().deflate(DeflateConfig::default()).unwrap();
        let server = Acceptor::new().deflate(DeflateConfig::default()).unwrap();
        let (client, server) = tokio::join!(client.connect_over(here), server.accept(there));
        let ((mut client, _), (mut server, _)) = (client.unwrap(), server.unwrap());
        let compressible = "compressible ".repeat(1000);
        for message in ["short", &compressible, &compressible] {
            client.send(message).await.unwrap();
            assert_eq!(server.next().await.transpose().unwrap(), Some(Message::from(message)));
        }
        let (sent, received) = (client.stats().compressed_sent, server.stats().compressed_received);
        assert_eq!(sent, received);
        assert_eq!(sent.payload, 26_000, "what was too short to be compressed is not counted");
        assert!(sent.ratio().is_some_and(|ratio| ratio > 20.0), "{sent:?}");
        assert_eq!(sent.ratio(), Some(26_000.0 / sent.wire as f64));
        // Headers: 2 + 4 and 5, then 4 + 4 or less for the compressed ones.
        assert!(client.stats().bytes_sent - sent.wire - 11 <= 16, "{:?}", client.stats());
        assert_eq!(client.stats().compressed_received.ratio(), None);
    });
}
