//! TLS with a certificate from files, which is read anew without a restart.
//!
//! ```text
//! cargo run --release --example tls_server -- [ADDR [CERT KEY]]
//! ```
//!
//! ADDR defaults to 127.0.0.1:9443. CERT and KEY are PEM files; the server's own certificate is the first in CERT, and those
//! that lead to a known authority follow. After `kill -HUP` new connections get what the files hold then, and open ones go on.
//! Without files a certificate for `localhost` is made, which clients trust only if told to.

use std::{
    error::Error,
    path::PathBuf,
    sync::{Arc, PoisonError, RwLock},
};

use rustls::{
    ServerConfig,
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use wireline::Server;

struct Files {
    certificates: PathBuf,
    key: PathBuf,
}

impl Files {
    /// Fails if the key is not that of the certificate, too.
    fn read(&self, provider: &CryptoProvider) -> Result<CertifiedKey, Box<dyn Error>> {
        let certificates = CertificateDer::pem_file_iter(&self.certificates)?.collect::<Result<Vec<_>, _>>()?;
        let key = PrivateKeyDer::from_pem_file(&self.key)?;
        Ok(CertifiedKey::from_der(certificates, key, provider)?)
    }
}

fn self_signed(provider: &CryptoProvider) -> Result<CertifiedKey, Box<dyn Error>> {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
    let key = made.signing_key.serialize_der().try_into()?;
    Ok(CertifiedKey::from_der(vec![made.cert.der().clone()], key, provider)?)
}

/// The certificate of the connections to come.
#[derive(Debug)]
struct Current(RwLock<Arc<CertifiedKey>>);

impl ResolvesServerCert for Current {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner)))
    }
}

impl Current {
    fn replace(&self, certificate: CertifiedKey) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(certificate);
    }
}

/// Reads the files at each SIGHUP, as whatever renews certificates can send it.
#[cfg(unix)]
async fn renew(current: &Current, files: &Files, provider: &CryptoProvider) -> Result<(), Box<dyn Error>> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut hangups = signal(SignalKind::hangup())?;
    while hangups.recv().await.is_some() {
        match files.read(provider) {
            Ok(certificate) => {
                current.replace(certificate);
                println!("the certificate was read anew");
            }
            Err(error) => eprintln!("the certificate stays as it was: {error}"),
        }
    }
    Ok(())
}

#[cfg(not(unix))]
async fn renew(current: &Current, files: &Files, provider: &CryptoProvider) -> Result<(), Box<dyn Error>> {
    loop {
        tokio::time::sleep(std::time::Duration::from_secs(3600)).await;
        current.replace(files.read(provider)?);
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let address = arguments.next().unwrap_or_else(|| "127.0.0.1:9443".into());
    let files = match (arguments.next(), arguments.next()) {
        (Some(certificates), Some(key)) => Some(Files { certificates: certificates.into(), key: key.into() }),
        (None, _) => None,
        (Some(_), None) => return Err("KEY is missing".into()),
    };

    let provider = Arc::new(aws_lc_rs::default_provider());
    let certificate = files.as_ref().map_or_else(|| self_signed(&provider), |files| files.read(&provider))?;
    let current = Arc::new(Current(RwLock::new(Arc::new(certificate))));
    let mut tls = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_cert_resolver(current.clone());
    // WebSockets begin with HTTP/1.1; a client that offers HTTP/2 as well is to choose this.
    tls.alpn_protocols = vec![b"http/1.1".to_vec()];

    // TCP_NODELAY is set on every connection.
    let server = Server::bind(&address).await?.tls(Arc::new(tls));
    println!("listening on wss://{}", server.local_addr()?);
    let serving = server.serve(|mut ws, _request| async move {
        while let Some(message) = ws.next().await {
            ws.feed(message?).await?;
        }
        Ok(())
    });
    match &files {
        None => serving.await?,
        Some(files) => tokio::select! {
            served = serving => served?,
            renewed = renew(&current, files, &provider) => renewed?,
        },
    }
    Ok(())
}
