//! Settings at their extremes: an `Err` from whoever takes them, or a connection that works or ends with an `Err`. Never
//! a panic, never a wait without end.

use std::time::Duration;

use tokio::{io::duplex, time::timeout};
use wireline::{Client, Config, Error, Server, proto::Misuse, server::Acceptor};

use super::wire::{paused, runtime};

/// Sets one setting to a number.
type Set = fn(&mut Config, u64);

const SETTINGS: &[(&str, Set)] = &[
    ("max_head", |config, value| config.limits.max_head = size(value)),
    ("max_headers", |config, value| config.limits.max_headers = size(value)),
    ("max_request_line", |config, value| config.limits.max_request_line = size(value)),
    ("max_message", |config, value| config.limits.max_message = Some(value)),
    ("max_frame", |config, value| config.limits.max_frame = Some(value)),
    ("max_fragments", |config, value| config.limits.max_fragments = Some(value)),
    ("high_water", |config, value| config.limits.high_water = size(value)),
    ("max_queue", |config, value| config.limits.max_queue = size(value)),
    ("high_water and max_queue", |config, value| {
        config.limits.high_water = size(value);
        config.limits.max_queue = size(value);
    }),
    ("max_drain", |config, value| config.limits.max_drain = u32::try_from(value).unwrap_or(u32::MAX)),
    ("fragment_size", |config, value| config.fragment_size = Some(size(value))),
    ("handshake", |config, value| config.timings.handshake = time(value)),
    ("ping_after", |config, value| config.timings.ping_after = Some(time(value))),
    ("pong_within", |config, value| config.timings.pong_within = time(value)),
    ("write", |config, value| config.timings.write = time(value)),
    ("close", |config, value| config.timings.close = time(value)),
];

fn size(value: u64) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}

fn time(value: u64) -> Duration {
    if value == u64::MAX { Duration::MAX } else { Duration::from_nanos(value) }
}

#[test]
fn settings_at_their_extremes_are_errors_or_work() {
    let runtime = paused();
    let _entered = runtime.enter();
    for (name, set) in SETTINGS {
        for value in [0, 1, u64::MAX - 1, u64::MAX] {
            let mut config = Config::default();
            set(&mut config, value);
            let taken = [
                Acceptor::new().config(config.clone()).map(drop),
                Client::new("ws://example.com/").and_then(|client| client.config(config.clone())).map(drop),
                wireline::WebSocket::after_handshake(duplex(1).0, wireline::Role::Client, config.clone()).map(drop),
            ];
            let errors = taken.iter().filter(|taken| matches!(taken, Err(Error::Caller(Misuse::InvalidConfig(_)))));
            match errors.count() {
                0 => assert!(taken.iter().all(Result::is_ok), "4.25: {name} = {value}: {taken:?}"),
                errors => assert_eq!(errors, 3, "4.25: {name} = {value}: {taken:?}"),
            }
            if config.validate().is_ok() {
                let worked = runtime.block_on(timeout(Duration::from_secs(3600), talk(&config)));
                assert!(worked.is_ok(), "4.25: {name} = {value}: it never ends");
            }
        }
    }
}

/// A handshake, a message each way and the closing handshake, or an `Err` anywhere.
async fn talk(config: &Config) {
    let (near, far) = duplex(1024);
    let (server, client) = (
        Acceptor::new().config(config.clone()).expect("valid"),
        Client::new("ws://example.com/").and_then(|client| client.config(config.clone())).expect("valid"),
    );
    let server = async {
        let (mut ws, _) = server.accept(near).await?;
        while let Some(message) = ws.next().await {
            ws.feed(message?).await?;
        }
        Ok::<_, Error>(())
    };
    let client = async {
        let (mut ws, _) = client.connect_over(far).await?;
        ws.send("hello").await?;
        ws.next().await.transpose()?;
        ws.close(wireline::CloseCode::NORMAL, "").await
    };
    let _ = tokio::join!(server, client);
}

#[test]
fn settings_that_work_are_no_errors() {
    let runtime = paused();
    for set in [|_: &mut Config| {}, |config: &mut Config| config.timings.ping_after = None] {
        let mut config = Config::default();
        set(&mut config);
        assert!(config.validate().is_ok(), "4.25");
        runtime.block_on(talk(&config));
    }
    // The numbers of a server.
    runtime.block_on(async {
        for value in [0, 1, usize::MAX] {
            let server = Server::bind("127.0.0.1:0").await.expect("a port");
            let _ = server.max_handshakes(value).max_connections(value);
        }
    });
    // A server takes the same settings.
    let mut config = Config::default();
    config.limits.max_head = 0;
    let refused = self::runtime().block_on(async { Server::bind("127.0.0.1:0").await?.config(config).map(drop) });
    assert!(matches!(refused, Err(Error::Caller(Misuse::InvalidConfig(_)))), "4.25: {refused:?}");
}
