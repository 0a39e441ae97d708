//! Unix sockets, and sockets that the process was started with.

use std::{
    env, fs,
    os::{fd::OwnedFd, unix::fs::FileTypeExt},
    path::PathBuf,
    process::{self, Stdio},
};

use tokio::{
    net::{UnixListener, UnixStream},
    process::Command,
};
use wireline::{
    Server,
    server::{ProxyProtocol, TrustedProxies},
};

use super::{V1, bound, dial, serve, told};

/// A path below Cargo's target directory for one test; what is there is removed with the value.
struct Path(PathBuf);

impl Path {
    fn new(name: &str) -> Self {
        // Short: the path of a Unix socket has 107 bytes at most.
        Self(env::temp_dir().join(format!("wireline-{}-{name}.sock", process::id())))
    }
}

impl Drop for Path {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

#[tokio::test]
async fn unix_socket_is_served_and_its_proxy_believed_if_trusted() {
    let path = Path::new("served");
    for (trusted, expected) in [
        (TrustedProxies::default().unix_peer(), "/ - 203.0.113.7 https - XForwarded"),
        (TrustedProxies::new(["127.0.0.1"]).expect("an address"), "/ - - - - Socket"),
    ] {
        // The second one replaces the socket that the first one left behind.
        let server = Server::bind_unix(&path.0).await.expect("a socket").trusted_proxies(trusted);
        assert!(server.local_addr().is_err(), "there is no IP address");
        let mut serving = serve(server);
        let stream = UnixStream::connect(&path.0).await.expect("it listens");
        let headers = [("X-Forwarded-For", "203.0.113.7"), ("X-Forwarded-Proto", "https")];
        assert_eq!(told(stream, b"", "/", &headers).await, expected);
        // Awaited, so that the listener is closed.
        serving.0.shutdown().await;
    }
}

#[tokio::test]
async fn unix_socket_in_use_and_other_files_are_left_alone() {
    let path = Path::new("in-use");
    let listening = UnixListener::bind(&path.0).expect("a socket");
    assert!(Server::bind_unix(&path.0).await.is_err(), "in use");
    assert!(fs::metadata(&path.0).expect("it is still there").file_type().is_socket());
    drop(listening);
    assert!(Server::bind_unix(&path.0).await.is_ok(), "left behind");

    let file = Path::new("file");
    fs::write(&file.0, "kept").expect("a file");
    assert!(Server::bind_unix(&file.0).await.is_err(), "no socket");
    assert_eq!(fs::read_to_string(&file.0).expect("it is still there"), "kept");
}

#[tokio::test]
async fn unix_socket_beside_tcp_with_the_proxy_protocol_from_the_socket_alone() {
    let path = Path::new("beside");
    let (server, address) = bound().await;
    let server = server
        .listener(UnixListener::bind(&path.0).expect("a socket"))
        .trusted_proxies(TrustedProxies::default().unix_peer())
        .proxy_protocol(ProxyProtocol::Trusted);
    let _serving = serve(server);
    let stream = UnixStream::connect(&path.0).await.expect("it listens");
    assert_eq!(told(stream, V1, "/", &[]).await, "/ - 203.0.113.7 - - ProxyProtocol");
    assert_eq!(told(dial(address).await, b"", "/", &[]).await, "/ - 127.0.0.1 - - Socket");
}

#[tokio::test]
async fn unix_transport_has_no_ip_address() {
    let path = Path::new("transport");
    let server = Server::bind_unix(&path.0).await.expect("a socket");
    let serve = server.serve(|mut ws, _| async move {
        let kind = ws.get_ref().peer_addr().map_err(|error| error.kind());
        ws.send(format!("{kind:?} {:?}", ws.get_ref().security())).await?;
        Ok(())
    });
    let stream = UnixStream::connect(&path.0).await.expect("it listens");
    tokio::select! {
        ended = serve => panic!("{ended:?}"),
        told = told(stream, b"", "/", &[]) => assert_eq!(told, "Err(Unsupported) Plain"),
    }
}

/// The child's part, and nothing without the parent's variable.
#[tokio::test]
async fn inherited_listeners_are_served_by_the_child() {
    if env::var_os("WIRELINE_INHERITS").is_none() {
        return;
    }
    let server = Server::inherited().expect("sockets").expect("at least one");
    // Once, so that there is nothing a second time.
    assert!(Server::inherited().expect("no error").is_none());
    let _serving = serve(server);
    tokio::io::copy(&mut tokio::io::stdin(), &mut tokio::io::sink()).await.expect("it ends with the parent");
}

#[tokio::test]
async fn listener_that_a_process_was_started_with_is_served() {
    let path = Path::new("inherited");
    let tcp = std::net::TcpListener::bind("[::1]:0").expect("a free port");
    let address = tcp.local_addr().expect("its address");
    let unix = std::os::unix::net::UnixListener::bind(&path.0).expect("a socket");
    // The shell gives the child the two as descriptors 3 and 4, by the protocol of systemd.
    let script =
        "exec 3<&1 4<&2 1>/dev/null 2>/dev/null; LISTEN_FDS=2 LISTEN_PID=$$ exec \"$0\" --exact \"$1\" --nocapture";
    let mut child = Command::new("sh")
        .args(["-c", script])
        .arg(env::current_exe().expect("this test"))
        .arg("proxied::unix::inherited_listeners_are_served_by_the_child")
        .env("WIRELINE_INHERITS", "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::from(OwnedFd::from(tcp)))
        .stderr(Stdio::from(OwnedFd::from(unix)))
        .kill_on_drop(true)
        .spawn()
        .expect("a shell");
    assert_eq!(told(dial(address).await, b"", "/", &[]).await, "/ - ::1 - - Socket");
    let stream = UnixStream::connect(&path.0).await.expect("it listens");
    assert_eq!(told(stream, b"", "/", &[]).await, "/ - - - - Socket");
    drop(child.stdin.take());
    assert!(child.wait().await.expect("it ends").success());
}
