//! Faults 4.1 and 4.2: clients that send a byte now and then, or nothing, with TLS and without. Each is cut at one deadline
//! for everything, none costs much, and honest clients get in all the while.

use std::{io, net::SocketAddr, sync::mpsc, thread, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::oneshot,
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval},
};
use wireline::{Config, Server};

use super::{listening::soon, wire::runtime};
use crate::support::alloc::Meter;

/// Slow clients at a time; each has a descriptor at both ends.
const SLOW: usize = 100;

const DEADLINE: Duration = Duration::from_millis(500);

/// Between two bytes: much less than the deadline, so that no deadline for a single read would ever pass.
const PAUSE: Duration = Duration::from_millis(20);

#[expect(clippy::disallowed_methods, reason = "the clock of a test")]
fn now() -> Instant {
    Instant::now()
}

/// A server that echoes, on a thread of its own, whose heap is counted.
struct Served {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    thread: thread::JoinHandle<i64>,
}

impl Served {
    fn start(with: impl FnOnce(Server) -> Server + Send + 'static) -> Self {
        let (bound, address) = mpsc::channel();
        let (stop, stopped) = oneshot::channel();
        let thread = thread::spawn(move || {
            runtime().block_on(async {
                let mut config = Config::default();
                config.timings.handshake = DEADLINE;
                let server = with(Server::bind("127.0.0.1:0").await.expect("a port")).config(config).expect("valid");
                bound.send(server.local_addr().expect("its address")).expect("the test waits");
                let meter = Meter::start();
                let serve = server.serve(|mut ws, _| async move {
                    while let Some(message) = ws.next().await {
                        ws.feed(message?).await?;
                    }
                    Ok(())
                });
                tokio::select! {
                    served = serve => panic!("{served:?}"),
                    _ = stopped => {}
                }
                meter.peak()
            })
        });
        Self { address: address.recv().expect("it listens"), stop, thread }
    }

    /// The most heap that it ever held.
    fn stop(self) -> i64 {
        self.stop.send(()).expect("it serves");
        self.thread.join().expect("no panic")
    }
}

/// What a slow client sends: at once, and then byte by byte for ever.
#[derive(Clone, Copy, Debug)]
enum Slow {
    Nothing,
    Bytes { first: &'static [u8], then: u8 },
}

/// Returns what it was sent until it was cut, and after which time.
async fn slow(address: SocketAddr, how: Slow) -> (Vec<u8>, Duration) {
    let begin = now();
    let (mut from, mut to) = TcpStream::connect(address).await.expect("a connection").into_split();
    let trickle = async {
        let Slow::Bytes { first, then } = how else { return Ok(()) };
        let mut pause = interval(PAUSE);
        // Bytes are never made up for: a busy machine makes it slower only.
        pause.set_missed_tick_behavior(MissedTickBehavior::Delay);
        for &byte in first {
            pause.tick().await;
            to.write_all(&[byte]).await?;
        }
        loop {
            pause.tick().await;
            to.write_all(&[then]).await?;
        }
    };
    let mut sent = Vec::new();
    let cut = async {
        let _ = from.read_to_end(&mut sent).await;
    };
    let trickle = async {
        let ended: io::Result<()> = trickle.await;
        // Whoever sends nothing waits to be cut.
        if ended.is_ok() {
            std::future::pending::<()>().await;
        }
    };
    tokio::select! { () = trickle => {} () = cut => {} }
    (sent, begin.elapsed())
}

/// Slow clients alone, whose cost is the server's.
fn cost(served: Served, how: Slow) -> i64 {
    soon(async {
        let mut slow: JoinSet<_> = (0..SLOW).map(|_| slow(served.address, how)).collect();
        while let Some(cut) = slow.join_next().await {
            let (sent, after) = cut.expect("no panic");
            assert!(!sent.starts_with(b"HTTP/1.1 101"), "{how:?}: {}", sent.escape_ascii());
            assert!(after >= DEADLINE, "{how:?}: cut after {after:?}");
        }
    });
    served.stop() / i64::try_from(SLOW).expect("not so many")
}

/// Honest clients get in, one after the other, until the last slow one is cut.
async fn beside(address: SocketAddr, how: Slow, honest: impl AsyncFn()) {
    let mut slow: JoinSet<_> = (0..SLOW).map(|_| slow(address, how)).collect();
    loop {
        honest().await;
        while let Some(cut) = slow.try_join_next() {
            cut.expect("no panic");
        }
        if slow.is_empty() {
            return;
        }
    }
}

const HEAD: Slow = Slow::Bytes { first: b"GET / HTTP/1.1\r\nX: ", then: b'a' };

#[test]
fn slow_heads_are_cut_at_one_deadline_and_cost_little() {
    for how in [Slow::Nothing, HEAD] {
        let each = cost(Served::start(|server| server), how);
        assert!(each <= 4096, "4.1: {each} bytes of heap for {how:?}");
    }
}

#[test]
fn honest_clients_get_in_beside_slow_heads() {
    let served = Served::start(|server| server);
    let url = format!("ws://{}", served.address);
    soon(beside(served.address, HEAD, async || {
        let mut ws = wireline::connect(&*url).await.expect("4.1: open");
        super::listening::echoes(&mut ws).await;
    }));
    served.stop();
}

#[cfg(feature = "tls")]
mod tls {
    use wireline::Client;

    use super::{super::tls::Authority, *};

    /// A ClientHello of 512 bytes, and one of its versions.
    const HELLO: Slow = Slow::Bytes { first: b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", then: 0 };

    #[test]
    fn slow_tls_is_cut_at_one_deadline_and_costs_little() {
        let authority = Authority::new("an authority of one test");
        for how in [Slow::Nothing, HELLO] {
            let config = authority.localhost();
            let each = cost(Served::start(|server| server.tls(config)), how);
            // rustls itself has 6 KiB for a handshake, and doubles its 4 KiB of input once.
            assert!(each <= 16 * 1024, "4.2: {each} bytes of heap for {how:?}");
        }
    }

    #[test]
    fn honest_clients_get_in_beside_slow_tls() {
        let authority = Authority::new("an authority of one test");
        let config = authority.localhost();
        let served = Served::start(|server| server.tls(config));
        let url = format!("wss://localhost:{}", served.address.port());
        let client = Client::new(url).expect("a URL").root_certificates([authority.root()]);
        soon(beside(served.address, HELLO, async || {
            let (mut ws, _) = client.connect().await.expect("4.2: open");
            super::super::listening::echoes(&mut ws).await;
        }));
        served.stop();
    }
}
