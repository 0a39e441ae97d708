//! Several servers on one port, each on a thread and a runtime of its own.

use std::{net::SocketAddr, thread};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    runtime::{Builder, Runtime},
    sync::oneshot,
};
use wireline::{Error, Server};

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().expect("a runtime")
}

/// So many that a fair coin shows both sides: all but twice in 2^64.
const CONNECTIONS: usize = 64;

#[test]
fn connections_are_spread_over_the_threads_of_one_port() {
    let (mut address, mut servers) = (SocketAddr::from(([127, 0, 0, 1], 0)), Vec::new());
    for number in 0..2_u8 {
        let runtime = runtime();
        let server = runtime.block_on(Server::bind_reuse_port(address)).expect("the port is shared");
        address = server.local_addr().expect("its address");
        let (stop, stopped) = oneshot::channel::<()>();
        let serve = server.serve(move |mut ws, _| async move {
            ws.send(vec![number]).await?;
            Ok(())
        });
        let serving = thread::spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    served = serve => panic!("{served:?}"),
                    _ = stopped => {}
                }
            });
        });
        servers.push((stop, serving));
    }

    let mut served = [0; 2];
    runtime().block_on(async {
        for _ in 0..CONNECTIONS {
            let mut ws = wireline::connect(format!("ws://{address}")).await.expect("open");
            let by = ws.next().await.expect("a message").expect("no error");
            served[usize::from(by.as_bytes()[0])] += 1;
        }
    });
    for (stop, serving) in servers {
        stop.send(()).expect("it serves");
        serving.join().expect("no panic");
    }
    assert_eq!(served.iter().sum::<usize>(), CONNECTIONS);
    assert!(served.iter().all(|connections| *connections > 0), "{served:?}");
}

#[tokio::test]
async fn a_port_is_shared_with_those_only_who_share_it() {
    let alone = Server::bind("127.0.0.1:0").await.expect("a free port");
    let taken = Server::bind_reuse_port(alone.local_addr().expect("its address")).await;
    assert!(matches!(taken, Err(Error::Network(error)) if error.kind() == std::io::ErrorKind::AddrInUse));

    let shared = Server::bind_reuse_port("127.0.0.1:0").await.expect("a free port");
    let address = shared.local_addr().expect("its address");
    let taken = Server::bind(address).await;
    assert!(matches!(taken, Err(Error::Network(error)) if error.kind() == std::io::ErrorKind::AddrInUse));

    // A port that closes a connection first can be listened on again at once.
    let client = TcpStream::connect(address);
    let serve = shared.serve(|_, _| async { Ok(()) });
    tokio::select! {
        served = serve => panic!("{served:?}"),
        () = async {
            let mut stream = client.await.expect("it listens");
            stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.expect("sent");
            let _ = stream.read_to_end(&mut Vec::new()).await;
        } => {}
    }
    assert_eq!(Server::bind_reuse_port(address).await.expect("free again").local_addr().expect("it"), address);
}
