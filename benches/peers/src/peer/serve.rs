use std::{net::SocketAddr, sync::Once};

use tokio::net::{TcpListener, TcpStream};
use wireline_peers::Failure;

/// What a connection, or a program, comes to.
pub(crate) type Done = Result<(), Failure>;

/// Says where it listens, as the load generator expects it.
pub(crate) fn announce(address: SocketAddr) {
    println!("listening on ws://{address}");
}

/// One task for each connection.
pub(crate) async fn serve<F>(address: &str, connection: impl Fn(TcpStream) -> F) -> Done
where
    F: Future<Output = Done> + Send + 'static,
{
    static FIRST: Once = Once::new();
    let listener = TcpListener::bind(address).await?;
    announce(listener.local_addr()?);
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let connection = connection(stream);
        tokio::spawn(async move {
            if let Err(failure) = connection.await {
                // All of them end in a reset. If the first says something else, that is the reason of a failed run.
                FIRST.call_once(|| eprintln!("{failure}"));
            }
        });
    }
}
