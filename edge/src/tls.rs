//! TLS: for who listens and who asks, a certificate and its key, and whom they believe. All from files.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use rustls::crypto::ring;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::{VerifierBuilderError, WebPkiClientVerifier};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use thiserror::Error;
use tokio_rustls::TlsAcceptor;

/// HTTP/2, by its name in the handshake (RFC 7301).
pub(crate) const H2: &[u8] = b"h2";

/// What a listener shows of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args)]
pub struct TlsArgs {
    /// File with the certificate that is shown to clients (PEM, its own first); without it HTTP is plain.
    #[arg(long, env = "MILLRACE_TLS_CERT", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,
    /// File with the certificate's private key (PEM).
    #[arg(long, env = "MILLRACE_TLS_KEY", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,
    /// File with the certificates (PEM) of those who vouch for clients; with it, nobody is talked to who
    /// shows no certificate of theirs, probes included.
    #[arg(long, env = "MILLRACE_TLS_CLIENTS_CA", requires = "tls_cert")]
    pub tls_clients_ca: Option<PathBuf>,
}

/// The files (PEM) with the certificate that is shown, its own first, and its private key.
pub type Shown<'a> = (&'a Path, &'a Path);

/// Nothing can be shown, or nobody believed.
#[derive(Debug, Error)]
pub enum TlsError {
    /// A file can't be read, or is no PEM.
    #[error("{} can't be read", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: pem::Error,
    },
    /// The two do not belong together, or a certificate is none.
    #[error("the certificates or the key can't be used")]
    Unusable(#[from] rustls::Error),
    /// Nobody can vouch for clients.
    #[error("the certificates of those who vouch for clients can't be used")]
    Clients(#[source] VerifierBuilderError),
    /// There is no certificate in it.
    #[error("{} holds no certificate that can vouch for anybody", path.display())]
    Nobody {
        /// The file.
        path: PathBuf,
    },
    /// No certificate can have that name.
    #[error("{0:?} is no name of a server")]
    Name(String),
}

impl TlsArgs {
    /// Who shakes hands; `None` = HTTP is plain.
    ///
    /// # Errors
    /// A file can't be read, or the two do not belong together.
    pub fn acceptor(&self) -> Result<Option<TlsAcceptor>, TlsError> {
        let (Some(certificate), Some(key)) = (&self.tls_cert, &self.tls_key) else {
            return Ok(None);
        };
        let (chain, key) = read((certificate, key))?;
        let provider = Arc::new(ring::default_provider());
        let config = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()?;
        let config = match &self.tls_clients_ca {
            None => config.with_no_client_auth(),
            Some(ca) => {
                let roots = Arc::new(believed(ca)?);
                let clients = WebPkiClientVerifier::builder_with_provider(roots, provider);
                config.with_client_cert_verifier(clients.build().map_err(TlsError::Clients)?)
            }
        };
        let mut config = config.with_single_cert(chain, key)?;
        config.alpn_protocols = vec![H2.to_vec(), b"http/1.1".to_vec()];
        Ok(Some(TlsAcceptor::from(Arc::new(config))))
    }
}

/// What a client believes: those whose certificates are in `ca`, and nobody else; `None` = nobody at all.
/// `shown` is for a server that demands a certificate.
///
/// # Errors
/// A file can't be read, `ca` holds no certificate, or what is `shown` does not belong together.
pub fn trusting(ca: Option<&Path>, shown: Option<Shown<'_>>) -> Result<ClientConfig, TlsError> {
    let roots = ca
        .map(believed)
        .transpose()?
        .unwrap_or_else(RootCertStore::empty);
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots);
    let Some(shown) = shown else {
        return Ok(config.with_no_client_auth());
    };
    let (chain, key) = read(shown)?;
    Ok(config.with_client_auth_cert(chain, key)?)
}

/// Those whose certificates are in a file.
fn believed(ca: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(ca).map_err(failed(ca))? {
        roots.add(certificate.map_err(failed(ca))?)?;
    }
    if roots.is_empty() {
        return Err(TlsError::Nobody {
            path: ca.to_owned(),
        });
    }
    Ok(roots)
}

/// A certificate with those above it, and its key.
fn read(
    (certificate, key): Shown<'_>,
) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), TlsError> {
    let chain = CertificateDer::pem_file_iter(certificate).map_err(failed(certificate))?;
    let chain = chain
        .collect::<Result<_, _>>()
        .map_err(failed(certificate))?;
    let key = PrivateKeyDer::from_pem_file(key).map_err(failed(key))?;
    Ok((chain, key))
}

/// The name that a server's certificate must have.
///
/// # Errors
/// It is none.
pub fn server_name(name: &str) -> Result<ServerName<'static>, TlsError> {
    let owned = || name.to_owned();
    ServerName::try_from(owned()).map_err(|_| TlsError::Name(owned()))
}

fn failed(path: &Path) -> impl Fn(pem::Error) -> TlsError {
    move |source| TlsError::Read {
        path: path.to_owned(),
        source,
    }
}
