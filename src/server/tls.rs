//! TLS and mutual TLS, with certificates that may change while we run.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use thiserror::Error;
use tokio_rustls::TlsAcceptor;

/// How often the files are looked at. A kubelet replaces mounted Secrets within a minute or so.
const INTERVAL: Duration = Duration::from_secs(10);

/// The files of one listener.
#[derive(Clone, Debug)]
pub struct TlsFiles {
    /// The certificate and what leads from it to its issuer, as PEM.
    pub certificate: PathBuf,
    /// Its private key, as PEM.
    pub key: PathBuf,
    /// Who issues the certificates of clients; with it only clients that have one are served.
    pub client_ca: Option<PathBuf>,
}

/// Why the files cannot be used.
#[derive(Debug, Error)]
pub enum TlsError {
    /// One of them is missing or is no PEM of its kind. What it holds is not quoted: it may be a key.
    #[error("{0}: cannot be read as PEM ({1})")]
    File(PathBuf, String),
    /// They do not fit together.
    #[error("{0} and {1} do not make a TLS server: {2}")]
    Config(PathBuf, PathBuf, rustls::Error),
    /// No issuer of client certificates.
    #[error("{0}: holds no certificate that can issue client certificates ({1})")]
    ClientCa(PathBuf, String),
}

/// TLS for one listener; a clone shares the certificates.
#[derive(Clone)]
pub struct Tls(Arc<ArcSwap<ServerConfig>>);

impl Tls {
    /// Reads the files, and reads them again when they change; while they cannot be used, the ones before go on.
    pub fn load(files: TlsFiles) -> Result<Self, TlsError> {
        let mut seen = contents(&files);
        let tls = Self(Arc::new(ArcSwap::from_pointee(config(&files)?)));
        let shared = tls.clone();
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(INTERVAL).await;
                let now = contents(&files);
                if now == seen {
                    continue;
                }
                seen = now;
                match config(&files) {
                    Ok(config) => {
                        shared.0.store(Arc::new(config));
                        tracing::info!(certificate = %files.certificate.display(), "TLS: new certificates");
                    }
                    Err(error) => {
                        tracing::error!(%error, "TLS: the changed files cannot be used; the ones before go on");
                    }
                }
            }
        });
        Ok(tls)
    }

    /// With the certificates of this moment.
    pub fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(self.0.load_full())
    }
}

fn contents(files: &TlsFiles) -> Vec<Option<[u8; 32]>> {
    let all = [Some(&files.certificate), Some(&files.key), files.client_ca.as_ref()];
    // A hash, so that the private key does not stay in memory once more.
    all.into_iter().flatten().map(|file| Some(*blake3::hash(&std::fs::read(file).ok()?).as_bytes())).collect()
}

fn config(files: &TlsFiles) -> Result<ServerConfig, TlsError> {
    let chain = certificates(&files.certificate)?;
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(|error| unreadable(&files.key, &error))?;
    let provider = Arc::new(ring::default_provider());
    let unfit = |error| TlsError::Config(files.certificate.clone(), files.key.clone(), error);
    let builder =
        ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions().map_err(unfit)?;
    let builder = match &files.client_ca {
        None => builder.with_no_client_auth(),
        Some(file) => {
            let no_ca = |error: &dyn std::fmt::Display| TlsError::ClientCa(file.clone(), error.to_string());
            let mut roots = rustls::RootCertStore::empty();
            for certificate in certificates(file)? {
                roots.add(certificate).map_err(|error| no_ca(&error))?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
            builder.with_client_cert_verifier(verifier.map_err(|error| no_ca(&error))?)
        }
    };
    let mut config = builder.with_single_cert(chain, key).map_err(unfit)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let all: Result<Vec<_>, pem::Error> = CertificateDer::pem_file_iter(file).and_then(Iterator::collect);
    match all {
        Ok(all) if all.is_empty() => Err(TlsError::File(file.to_owned(), "it holds no certificate".to_owned())),
        Ok(all) => Ok(all),
        Err(error) => Err(unreadable(file, &error)),
    }
}

fn unreadable(file: &Path, error: &pem::Error) -> TlsError {
    let why = match error {
        pem::Error::Io(error) => error.to_string(),
        pem::Error::NoItemsFound => "it holds no such item".to_owned(),
        _ => "it is damaged".to_owned(),
    };
    TlsError::File(file.to_owned(), why)
}
