use std::sync::Arc;

use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::{
    ServerConfig,
    crypto::aws_lc_rs,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use wireline_peers::Failure;

use crate::serve::{self, Done};

/// One task for each connection, over TLS.
pub(crate) async fn serve<F>(
    address: &str,
    connection: impl Fn(TlsStream<TcpStream>) -> F + Clone + Send + 'static,
) -> Done
where
    F: Future<Output = Done> + Send + 'static,
{
    let acceptor = TlsAcceptor::from(config()?);
    serve::serve(address, move |stream| {
        let (acceptor, connection) = (acceptor.clone(), connection.clone());
        async move {
            let stream = acceptor.accept(stream).await?;
            connection(stream).await
        }
    })
    .await
}

/// TLS as a server speaks it by default, with a certificate of its own.
pub(crate) fn config() -> Result<Arc<ServerConfig>, Failure> {
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(["localhost".to_owned()])?;
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(signing_key.serialize_der()));
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key)?;
    Ok(Arc::new(config))
}
