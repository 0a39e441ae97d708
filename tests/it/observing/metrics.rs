//! What is published through the facade of the crate `metrics`, and when.

use std::{collections::BTreeMap, time::Duration};

use metrics_util::debugging::{DebugValue, DebuggingRecorder, Snapshotter};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use wireline::{Config, Role, Server, WebSocket, connect};

use crate::scripted::{ROLES, block_on, close, encode, open, polled, pong, text};

/// `name{label=value,…}` without the part that all names share, and its value: what was added since the last snapshot.
fn values(snapshotter: &Snapshotter) -> BTreeMap<String, String> {
    let snapshot = snapshotter.snapshot().into_vec().into_iter().map(|(key, _, _, value)| {
        let key = key.key();
        let labels: Vec<String> = key.labels().map(|label| format!("{}={}", label.key(), label.value())).collect();
        let name = key.name().strip_prefix("wireline_").expect("our names");
        let value = match value {
            DebugValue::Counter(count) => count.to_string(),
            DebugValue::Gauge(value) => value.to_string(),
            DebugValue::Histogram(values) => format!("{values:?}"),
        };
        (format!("{name}{{{}}}", labels.join(",")), value)
    });
    snapshot.filter(|(_, value)| value != "0" && value != "[]").collect()
}

fn recorded<T>(run: impl FnOnce(&Snapshotter) -> T) -> T {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    metrics::with_local_recorder(&recorder, || run(&snapshotter))
}

fn expected<const N: usize>(role: Role, rows: [(&str, &str); N]) -> BTreeMap<String, String> {
    let role = if role == Role::Client { "client" } else { "server" };
    rows.iter().map(|(name, value)| (name.replace('R', role), (*value).to_owned())).collect()
}

#[test]
fn a_connection_publishes_when_its_timer_fires_and_at_its_end() {
    for role in ROLES {
        recorded(|snapshotter| {
            block_on(async {
                let (mut ws, control) = open(role, Config::default());
                assert_eq!(
                    values(snapshotter),
                    expected(role, [("connections_opened_total{role=R}", "1"), ("connections_open{role=R}", "1")])
                );
                let hello = encode(role, [text("hello")]);
                control.arrive(&hello);
                ws.next().await.unwrap().unwrap();
                ws.send("hi").await.unwrap();
                assert!(polled(1, ws.next()).await.is_none());
                assert_eq!(values(snapshotter), BTreeMap::new(), "nothing for each message");

                assert!(tokio::time::timeout(Duration::from_secs(21), ws.next()).await.is_err());
                let sent = control.output().len();
                // The Ping that the timer was for is published the next time.
                let ping = encode(role.peer(), [crate::scripted::ping("")]).len();
                let (received, sent) = (hello.len().to_string(), (sent - ping).to_string());
                let added = expected(
                    role,
                    [
                        ("messages_received_total{role=R}", "1"),
                        ("messages_sent_total{role=R}", "1"),
                        ("bytes_received_total{role=R}", &*received),
                        ("bytes_sent_total{role=R}", &*sent),
                    ],
                );
                assert_eq!(values(snapshotter), added);

                let end = encode(role, [pong(""), close(4321, "")]);
                control.arrive(&end);
                assert!(ws.next().await.is_none());
                let round_trip = format!("[{:?}]", ws.stats().round_trip.unwrap().as_secs_f64());
                let (received, sent) = (end.len().to_string(), (ping + ping + 2).to_string());
                let added = expected(
                    role,
                    [
                        ("connections_closed_total{role=R,code=4xxx,cause=clean}", "1"),
                        ("connections_open{role=R}", "-1"),
                        ("bytes_received_total{role=R}", &*received),
                        ("bytes_sent_total{role=R}", &*sent),
                        ("pings_sent_total{role=R}", "1"),
                        ("round_trip_seconds{role=R}", &*round_trip),
                    ],
                );
                assert_eq!(values(snapshotter), added);
                drop(ws);
                assert_eq!(values(snapshotter), BTreeMap::new(), "closed once");
            });
        });
    }
}

#[test]
fn every_connection_that_was_opened_is_closed() {
    recorded(|snapshotter| {
        block_on(async {
            let (here, there) = tokio::io::duplex(1024);
            let mut client = WebSocket::after_handshake(here, Role::Client, Config::default()).unwrap();
            let server = WebSocket::after_handshake(there, Role::Server, Config::default()).unwrap();
            drop(server);
            assert!(client.next().await.unwrap().is_err());
            let values = values(snapshotter);
            assert_eq!(values["connections_closed_total{role=server,code=1006,cause=dropped}"], "1");
            assert_eq!(values["connections_closed_total{role=client,code=1006,cause=lost}"], "1");
            assert!(!values.keys().any(|name| name.starts_with("connections_open{")), "{values:?}");
        });
    });
}

#[test]
fn failed_handshakes_and_applications_are_counted() {
    recorded(|snapshotter| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let server = Server::bind("127.0.0.1:0").await.unwrap();
            let address = server.local_addr().unwrap();
            let serve = server.serve(|ws, request| async move {
                let _held = ws;
                assert_ne!(request.uri().path(), "/panic");
                Err("an error".into())
            });
            let client = async {
                let mut refused = TcpStream::connect(address).await.unwrap();
                refused.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
                refused.read_to_end(&mut Vec::new()).await.unwrap();
                let mut lost = TcpStream::connect(address).await.unwrap();
                lost.write_all(b"GET /").await.unwrap();
                lost.shutdown().await.unwrap();
                lost.read_to_end(&mut Vec::new()).await.unwrap();
                for path in ["panic", "error"] {
                    let mut ws = connect(&format!("ws://{address}/{path}")).await.unwrap();
                    assert!(ws.next().await.is_none());
                    assert_eq!(ws.ending().unwrap().code(), 1011);
                }
                drop((refused, lost));
                // A handshake has failed once the peer's end is here too.
                let mut failed = BTreeMap::new();
                while failed.len() < 4 {
                    let is_failure = |(name, _): &(String, String)| name.contains("failed_total");
                    failed.extend(values(snapshotter).into_iter().filter(is_failure));
                    tokio::task::yield_now().await;
                }
                let once = [
                    "applications_failed_total{how=error}",
                    "applications_failed_total{how=panic}",
                    "handshakes_failed_total{reason=lost}",
                    "handshakes_failed_total{reason=refused}",
                ];
                assert!(failed.keys().eq(once) && failed.values().all(|times| times == "1"), "{failed:?}");
            };
            tokio::select! {
                served = serve => panic!("{served:?}"),
                () = client => {}
            }
        });
    });
}

/// The names that the documentation lists are those that are described, and published.
#[test]
fn the_documented_names_are_the_published_ones() {
    let documented = include_str!("../../../src/metrics/mod.rs");
    let rows = documented.lines().filter_map(|line| line.strip_prefix("//! | `wireline_")?.split('`').next());
    let documented: Vec<&str> = rows.collect();
    let source = include_str!("../../../src/metrics/facade.rs");
    let names = source.lines().filter(|line| line.starts_with("const ")).filter_map(|line| line.split('"').nth(1));
    let published: Vec<&str> = names.filter_map(|name| name.strip_prefix("wireline_")).collect();
    assert_eq!(documented, published);
    recorded(|_| wireline::metrics::describe());
}
