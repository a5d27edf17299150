//! Certificates for servers and clients, from authorities of the test's own.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

/// Issues certificates.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub pem: String,
}

/// A certificate and its key, as PEM.
pub struct Pair {
    pub certificate: String,
    pub key: String,
}

impl Pair {
    pub fn der(&self) -> CertificateDer<'static> {
        CertificateDer::from_pem_slice(self.certificate.as_bytes()).unwrap()
    }
}

impl Authority {
    pub fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// Good for servers on the loopback and for clients.
    pub fn issue(&self) -> Pair {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        Pair { certificate: params.signed_by(&key, &self.issuer).unwrap().pem(), key: key.serialize_pem() }
    }

    /// A client that trusts this authority, shows this certificate and offers these protocols.
    pub fn client(&self, pair: Option<&Pair>, protocols: &[&str]) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.pem.as_bytes()).unwrap()).unwrap();
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let builder = builder.with_safe_default_protocol_versions().unwrap().with_root_certificates(roots);
        let mut config = match pair {
            None => builder.with_no_client_auth(),
            Some(pair) => {
                let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).unwrap();
                builder.with_client_auth_cert(vec![pair.der()], key).unwrap()
            }
        };
        config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        Arc::new(config)
    }
}

/// The three files of a verifier.
pub struct Files {
    dir: tempfile::TempDir,
}

impl Files {
    pub fn new(server: &Pair) -> Self {
        let files = Self { dir: tempfile::tempdir().unwrap() };
        files.put(server);
        files
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// In place of the file before, in one step, as a kubelet does.
    pub fn write(&self, name: &str, text: &str) -> String {
        let path = self.path(name);
        let fresh = path.with_extension("fresh");
        std::fs::write(&fresh, text).unwrap();
        std::fs::rename(&fresh, &path).unwrap();
        path.display().to_string()
    }

    /// A certificate and its key in place of those before.
    pub fn put(&self, server: &Pair) {
        self.write("tls.crt", &server.certificate);
        self.write("tls.key", &server.key);
    }

    /// The flags for certificate and key.
    pub fn flags(&self) -> [String; 2] {
        let flag = |flag: &str, name: &str| format!("{flag}={}", self.path(name).display());
        [flag("--tls-cert", "tls.crt"), flag("--tls-key", "tls.key")]
    }

    /// Those, and the one for clients' certificates.
    pub fn mutual_flags(&self, authority: &Authority) -> [String; 3] {
        let [certificate, key] = self.flags();
        [certificate, key, format!("--tls-client-ca={}", self.write("ca.crt", &authority.pem))]
    }
}

/// Holds that a text has no line of these secrets.
pub fn assert_quotes_nothing(text: &str, secret: &str, of: &Path) {
    for line in secret.lines().filter(|line| line.len() > 16 && !line.starts_with("-----")) {
        assert!(!text.contains(line), "{} is quoted in: {text}", of.display());
    }
}
