use std::{
    future::poll_fn,
    io,
    task::{Context, Poll},
};

use tokio::net::{TcpListener, TcpStream};

use crate::{
    Result,
    proto::forwarded::Endpoint,
    server::Server,
    transport::{Nodelay, Transport},
    websocket::Forerunner,
};

/// A socket that a [`Server`](super::Server) accepts connections from: TCP, or a Unix socket.
#[derive(Debug)]
pub struct Listener(Kind);

#[derive(Debug)]
enum Kind {
    Tcp(TcpListener, Nodelay),
    #[cfg(unix)]
    Unix(tokio::net::UnixListener),
}

/// A stream that has just been accepted.
#[derive(Debug)]
pub(super) enum Arrival {
    Tcp(TcpStream),
    /// Whatever else there is needs no further handshake of its own.
    Ready(Transport),
}

impl From<TcpListener> for Listener {
    fn from(listener: TcpListener) -> Self {
        let nodelay = Nodelay::of(&listener);
        Self(Kind::Tcp(listener, nodelay))
    }
}

#[cfg(unix)]
impl From<tokio::net::UnixListener> for Listener {
    fn from(listener: tokio::net::UnixListener) -> Self {
        Self(Kind::Unix(listener))
    }
}

/// Fails where there is no Tokio runtime, or with the operating system's error.
impl TryFrom<std::net::TcpListener> for Listener {
    type Error = io::Error;

    fn try_from(listener: std::net::TcpListener) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        Ok(TcpListener::from_std(listener)?.into())
    }
}

/// Fails with the operating system's error.
#[cfg(unix)]
impl TryFrom<std::os::unix::net::UnixListener> for Listener {
    type Error = io::Error;

    fn try_from(listener: std::os::unix::net::UnixListener) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        Ok(tokio::net::UnixListener::from_std(listener)?.into())
    }
}

impl Listener {
    pub(super) const fn tcp(&self) -> Option<&TcpListener> {
        match &self.0 {
            Kind::Tcp(listener, _) => Some(listener),
            #[cfg(unix)]
            Kind::Unix(_) => None,
        }
    }

    /// Listens on a Unix socket, in place of one that a process left behind when it ended.
    #[cfg(unix)]
    pub(super) async fn bind_unix(path: &std::path::Path) -> io::Result<Self> {
        use tokio::net::{UnixListener, UnixStream};
        match UnixListener::bind(path) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                // Only a socket that nobody listens on refuses; a file that is no socket does too, and is not ours to remove.
                let refused =
                    UnixStream::connect(path).await.is_err_and(|e| e.kind() == io::ErrorKind::ConnectionRefused);
                if !refused || !is_socket(path) {
                    return Err(error);
                }
                std::fs::remove_file(path)?;
                Ok(UnixListener::bind(path)?.into())
            }
            bound => Ok(bound?.into()),
        }
    }

    /// The sockets that the process was started with, by the protocol of systemd's `LISTEN_FDS`.
    #[cfg(unix)]
    pub(super) fn inherited() -> io::Result<Vec<Self>> {
        let mut sockets = listenfd::ListenFd::from_env();
        (0..sockets.len())
            .map(|at| match sockets.take_unix_listener(at) {
                Ok(Some(listener)) => listener.try_into(),
                // It is none of those, and stays where it is.
                _ => match sockets.take_tcp_listener(at)? {
                    Some(listener) => listener.try_into(),
                    None => Err(io::Error::from(io::ErrorKind::NotFound)),
                },
            })
            .collect()
    }

    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<(Arrival, Endpoint)>> {
        match &mut self.0 {
            Kind::Tcp(listener, nodelay) => {
                let accepted = listener.poll_accept(cx);
                accepted.map_ok(|(stream, address)| {
                    nodelay.set_on(&stream);
                    (Arrival::Tcp(stream), Endpoint::Ip(address))
                })
            }
            #[cfg(unix)]
            Kind::Unix(listener) => {
                let accepted = listener.poll_accept(cx);
                accepted.map_ok(|(stream, _)| (Arrival::Ready(Transport::unix(stream)), Endpoint::Unix))
            }
        }
    }
}

#[cfg(all(unix, not(any(target_os = "solaris", target_os = "illumos", target_os = "cygwin"))))]
impl Server {
    /// Listens on a TCP address together with other servers that do so by this method, in this process or in others of the
    /// same user (`SO_REUSEPORT`): one server for each core, for instance, as [`per_core`](super::per_core) shows.
    ///
    /// Linux spreads new connections over them by a hash of both addresses; some other systems give all to one of them. Port
    /// 0 takes a free one: the first server has port 0, and the others that of its [`local_addr`](Self::local_addr).
    ///
    /// # Errors
    ///
    /// [`Error::Network`](crate::Error::Network) with the operating system's error, for instance because somebody listens there who does not share.
    ///
    /// # Cancel safety
    ///
    /// Cancel-safe: dropping the future closes the socket, if there is one already.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> wireline::Result<()> {
    /// use wireline::Server;
    /// let first = Server::bind_reuse_port("127.0.0.1:0").await?;
    /// let second = Server::bind_reuse_port(first.local_addr()?).await?;
    /// assert_eq!(second.local_addr()?, first.local_addr()?);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn bind_reuse_port(address: impl tokio::net::ToSocketAddrs) -> Result<Self> {
        let mut failed = io::Error::new(io::ErrorKind::InvalidInput, "there is no address to listen on");
        for address in tokio::net::lookup_host(address).await? {
            match listen_reuse_port(address) {
                Ok(listener) => return Ok(Self::from_listener(listener)),
                Err(error) => failed = error,
            }
        }
        Err(failed.into())
    }
}

#[cfg(all(unix, not(any(target_os = "solaris", target_os = "illumos", target_os = "cygwin"))))]
fn listen_reuse_port(address: std::net::SocketAddr) -> io::Result<TcpListener> {
    use tokio::net::TcpSocket;
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // This and the length of the queue as in `TcpListener::bind`: connections of the server before may still be closing.
    socket.set_reuseaddr(true)?;
    socket.set_reuseport(true)?;
    socket.bind(address)?;
    socket.listen(1024)
}

#[cfg(unix)]
fn is_socket(path: &std::path::Path) -> bool {
    use std::os::unix::fs::FileTypeExt as _;
    std::fs::symlink_metadata(path).is_ok_and(|metadata| metadata.file_type().is_socket())
}

/// Accepts from whichever has a connection, each in its turn.
pub(super) async fn accept(listeners: &mut [Listener], ahead: &mut Forerunner) -> io::Result<(Arrival, Endpoint)> {
    poll_fn(|cx| {
        for at in 0..listeners.len() {
            if let Poll::Ready(accepted) =
                listeners.get_mut(at).map_or(Poll::Pending, |listener| listener.poll_accept(cx))
            {
                // Those behind it come first the next time, so that none is left waiting.
                listeners.rotate_left(at + 1);
                ahead.run(cx);
                return Poll::Ready(accepted);
            }
        }
        Poll::Pending
    })
    .await
}
