//! The byte stream under a connection that wireline opened itself.

use std::{
    fmt,
    io::{self, IoSlice},
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll},
};

use socket2::SockRef;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
};

/// A TCP stream, with or without TLS, or a Unix socket.
///
/// ```no_run
/// # async fn example() -> wireline::Result<()> {
/// let ws = wireline::connect("wss://example.com").await?;
/// println!("{} {:?}", ws.get_ref().peer_addr()?, ws.get_ref().security());
/// # Ok(())
/// # }
/// ```
pub struct Transport(Kind);

enum Kind {
    Tcp(TcpStream),
    /// Boxed, so that the other two need no tag beside them: 8 bytes of every connection.
    #[cfg(unix)]
    Unix(Box<tokio::net::UnixStream>),
    /// Boxed: a TLS session takes a kilobyte and more, which plain connections must not pay for.
    Tls(Box<dyn Tls>),
}

/// A TLS session over TCP.
pub(crate) trait Tls: AsyncRead + AsyncWrite + Send + Sync + Unpin {
    fn tcp(&self) -> &TcpStream;
}

/// Whether a transport is encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "encrypted or not")]
pub enum Security {
    /// Plain TCP, or a Unix socket.
    Plain,
    /// TLS.
    Tls,
}

impl Transport {
    pub(crate) const fn tcp(stream: TcpStream) -> Self {
        Self(Kind::Tcp(stream))
    }

    #[cfg_attr(not(feature = "tls-no-provider"), expect(dead_code, reason = "there is no TLS without the feature"))]
    pub(crate) fn tls(stream: impl Tls + 'static) -> Self {
        Self(Kind::Tls(Box::new(stream)))
    }

    #[cfg(unix)]
    pub(crate) fn unix(stream: tokio::net::UnixStream) -> Self {
        Self(Kind::Unix(Box::new(stream)))
    }

    fn socket(&self) -> io::Result<&TcpStream> {
        match &self.0 {
            Kind::Tcp(stream) => Ok(stream),
            #[cfg(unix)]
            Kind::Unix(_) => Err(io::Error::new(io::ErrorKind::Unsupported, "a Unix socket has no IP address")),
            Kind::Tls(stream) => Ok(stream.tcp()),
        }
    }

    /// What is written from now on waits for the end of the stream, which follows at once, to share a segment with it
    /// where the system can do that.
    pub(crate) fn hold_for_end(&self) {
        #[cfg(any(target_os = "linux", target_os = "android"))]
        if let Ok(socket) = self.socket() {
            // Where it fails, it takes two.
            let _ = SockRef::from(socket).set_tcp_cork(true);
        }
    }

    /// Whether this is TLS.
    #[must_use]
    pub const fn security(&self) -> Security {
        match &self.0 {
            Kind::Tcp(_) => Security::Plain,
            #[cfg(unix)]
            Kind::Unix(_) => Security::Plain,
            Kind::Tls(_) => Security::Tls,
        }
    }

    /// The peer's address; behind a proxy, the proxy's.
    ///
    /// # Errors
    ///
    /// The operating system's, for instance once the peer is gone; `Unsupported` for a Unix socket.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.socket()?.peer_addr()
    }

    /// Our own address.
    ///
    /// # Errors
    ///
    /// The operating system's; `Unsupported` for a Unix socket.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket()?.local_addr()
    }
}

/// `TCP_NODELAY` on every stream that a listener accepts, with as few system calls as it takes.
///
/// On Linux a stream has it from its listener, if that had it when the stream was made: so have, from the first on that is
/// seen with it, all those behind it in the listener's queue.
#[derive(Debug)]
pub(crate) struct Nodelay {
    inherited: bool,
}

const INHERITED: bool = cfg!(target_os = "linux");

impl Nodelay {
    pub(crate) fn of(listener: &TcpListener) -> Self {
        if INHERITED {
            // Where it fails, each stream has its own.
            let _ = SockRef::from(listener).set_tcp_nodelay(true);
        }
        Self { inherited: false }
    }

    /// Sees to one that was accepted. An error means that its peer is gone, as reading will tell.
    pub(crate) fn set_on(&mut self, stream: &TcpStream) {
        if !self.inherited {
            self.inherited = INHERITED && stream.nodelay().unwrap_or(false);
            let _ = stream.set_nodelay(true);
        }
    }
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transport").field("security", &self.security()).field("socket", &self.socket().ok()).finish()
    }
}

impl AsyncRead for Transport {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().0 {
            Kind::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            #[cfg(unix)]
            Kind::Unix(stream) => Pin::new(stream).poll_read(cx, buf),
            Kind::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Transport {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().0 {
            Kind::Tcp(stream) => Pin::new(stream).poll_write(cx, buf),
            #[cfg(unix)]
            Kind::Unix(stream) => Pin::new(stream).poll_write(cx, buf),
            Kind::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().0 {
            Kind::Tcp(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            #[cfg(unix)]
            Kind::Unix(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Kind::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match &self.0 {
            Kind::Tcp(stream) => stream.is_write_vectored(),
            #[cfg(unix)]
            Kind::Unix(stream) => stream.is_write_vectored(),
            Kind::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().0 {
            Kind::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            #[cfg(unix)]
            Kind::Unix(stream) => Pin::new(stream).poll_flush(cx),
            Kind::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().0 {
            Kind::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            #[cfg(unix)]
            Kind::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
            Kind::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn all_that_is_accepted_has_nodelay_also_what_was_there_before() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let before = TcpStream::connect(address).await.unwrap();
        let mut nodelay = Nodelay::of(&listener);
        let mut kept = vec![before];
        for _ in 0..4 {
            kept.push(TcpStream::connect(address).await.unwrap());
            let (accepted, _) = listener.accept().await.unwrap();
            nodelay.set_on(&accepted);
            assert!(accepted.nodelay().unwrap());
        }
        assert_eq!(nodelay.inherited, INHERITED);
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn what_is_held_for_the_end_arrives_with_it() {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};

        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut peer = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let mut transport = Transport::tcp(listener.accept().await.unwrap().0);
        transport.hold_for_end();
        assert!(SockRef::from(transport.socket().unwrap()).tcp_cork().unwrap());
        transport.write_all(b"last").await.unwrap();
        transport.shutdown().await.unwrap();
        let mut read = Vec::new();
        peer.read_to_end(&mut read).await.unwrap();
        assert_eq!(read, b"last");
    }
}
