//! A certificate made for one test, as files for the gateway and as configurations for the test's own ends.
//!
//! The rule: verification is never turned off; the peer trusts exactly this certificate.

use std::{path::PathBuf, sync::Arc};

use rcgen::CertifiedKey;
use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer},
};
use tempfile::TempDir;

/// A self-signed certificate for `localhost` and `127.0.0.1`.
pub(crate) struct Certificate {
    directory: TempDir,
    der: CertificateDer<'static>,
    key: Vec<u8>,
}

impl Certificate {
    /// A new one, with its files.
    pub(crate) fn make() -> Self {
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        let CertifiedKey { cert, signing_key } =
            rcgen::generate_simple_self_signed(names).expect("the names are well-formed");
        let directory = tempfile::tempdir().expect("a directory");
        std::fs::write(directory.path().join("certificate.pem"), cert.pem()).expect("a file");
        std::fs::write(
            directory.path().join("key.pem"),
            signing_key.serialize_pem(),
        )
        .expect("a file");
        Self {
            directory,
            der: cert.der().clone(),
            key: signing_key.serialize_der(),
        }
    }

    /// The certificate as a PEM file.
    pub(crate) fn file(&self) -> PathBuf {
        self.directory.path().join("certificate.pem")
    }

    /// Its key as a PEM file.
    pub(crate) fn key_file(&self) -> PathBuf {
        self.directory.path().join("key.pem")
    }

    /// For a server that offers these protocols.
    pub(crate) fn server(&self, protocols: &[&str]) -> tokio_rustls::TlsAcceptor {
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.key.clone()));
        let mut config =
            ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
                .with_safe_default_protocol_versions()
                .expect("the provider has the versions")
                .with_no_client_auth()
                .with_single_cert(vec![self.der.clone()], key)
                .expect("the key fits");
        config.alpn_protocols = protocols
            .iter()
            .map(|name| name.as_bytes().to_vec())
            .collect();
        Arc::new(config).into()
    }

    /// For a client that offers these protocols and trusts this certificate only.
    pub(crate) fn client(&self, protocols: &[&str]) -> tokio_rustls::TlsConnector {
        let mut roots = RootCertStore::empty();
        roots.add(self.der.clone()).expect("it can be a root");
        let mut config =
            ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
                .with_safe_default_protocol_versions()
                .expect("the provider has the versions")
                .with_root_certificates(roots)
                .with_no_client_auth();
        config.alpn_protocols = protocols
            .iter()
            .map(|name| name.as_bytes().to_vec())
            .collect();
        Arc::new(config).into()
    }
}
