//! TLS: for who listens, a certificate and its key; for who asks, whom it believes. All from files.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use rustls::crypto::ring;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
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
}

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
    /// There is no certificate in it.
    #[error("{} holds no certificate that can vouch for a server", path.display())]
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
        let chain = CertificateDer::pem_file_iter(certificate).map_err(failed(certificate))?;
        let chain = chain
            .collect::<Result<Vec<_>, _>>()
            .map_err(failed(certificate))?;
        let key = PrivateKeyDer::from_pem_file(key).map_err(failed(key))?;
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(chain, key)?;
        config.alpn_protocols = vec![H2.to_vec(), b"http/1.1".to_vec()];
        Ok(Some(TlsAcceptor::from(Arc::new(config))))
    }
}

/// What a client believes: those whose certificates are in `ca`, and nobody else; `None` = nobody at all.
///
/// # Errors
/// The file can't be read, or holds no certificate.
pub fn trusting(ca: Option<&Path>) -> Result<ClientConfig, TlsError> {
    let mut roots = RootCertStore::empty();
    if let Some(ca) = ca {
        for certificate in CertificateDer::pem_file_iter(ca).map_err(failed(ca))? {
            roots.add(certificate.map_err(failed(ca))?)?;
        }
        if roots.is_empty() {
            return Err(TlsError::Nobody {
                path: ca.to_owned(),
            });
        }
    }
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(config)
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
