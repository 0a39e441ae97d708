//! A certificate for `localhost` and 127.0.0.1, made for one test, and the authority that signed it.

use std::{fs, path::PathBuf, sync::Arc};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose};
use rustls::{ClientConfig, RootCertStore, ServerConfig, crypto::aws_lc_rs, pki_types::PrivateKeyDer};

use super::directory::Directory;

pub(super) struct Certificate {
    authority: CertifiedIssuer<'static, KeyPair>,
    leaf: rcgen::Certificate,
    key: KeyPair,
    files: Directory,
}

impl Certificate {
    pub(super) fn new() -> Self {
        let mut params = CertificateParams::default();
        // With rcgen's own name for everything, the leaf would look as if it had signed itself.
        params.distinguished_name.push(DnType::CommonName, "wireline's tests");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let authority =
            CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("an authority");

        let names = ["localhost", "127.0.0.1"].map(String::from);
        let mut params = CertificateParams::new(names).expect("valid names");
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate().expect("a key");
        let leaf = params.signed_by(&key, &authority).expect("a certificate");

        let files = Directory::new();
        for (name, text) in [("ca.pem", authority.pem()), ("leaf.pem", leaf.pem()), ("key.pem", key.serialize_pem())] {
            fs::write(files.path().join(name), text).expect("a file under target");
        }
        Self { authority, leaf, key, files }
    }

    pub(super) fn client_config(&self) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(self.authority.der().clone()).expect("a root certificate");
        let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("the provider has the default versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        Arc::new(config)
    }

    pub(super) fn server_config(&self) -> Arc<ServerConfig> {
        let key = PrivateKeyDer::Pkcs8(self.key.serialize_der().into());
        let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("the provider has the default versions")
            .with_no_client_auth()
            .with_single_cert(vec![self.leaf.der().clone()], key)
            .expect("the key fits the certificate");
        Arc::new(config)
    }

    /// The authority's certificate, as PEM.
    pub(super) fn ca_file(&self) -> PathBuf {
        self.files.path().join("ca.pem")
    }

    /// The server's certificate, as PEM.
    pub(super) fn certificate_file(&self) -> PathBuf {
        self.files.path().join("leaf.pem")
    }

    /// The server's private key, as PEM.
    pub(super) fn key_file(&self) -> PathBuf {
        self.files.path().join("key.pem")
    }
}
