//! TLS for who listens: a certificate and its key, from files.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use thiserror::Error;
use tokio_rustls::TlsAcceptor;

/// HTTP/2, by its name in the handshake (RFC 7301).
pub(crate) const H2: &[u8] = b"h2";

/// What a listener shows of itself.
#[derive(Debug, Clone, Default, Args)]
pub struct TlsArgs {
    /// File with the certificate that is shown to clients (PEM, its own first); without it HTTP is plain.
    #[arg(long, env = "MILLRACE_TLS_CERT", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,
    /// File with the certificate's private key (PEM).
    #[arg(long, env = "MILLRACE_TLS_KEY", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,
}

/// Nothing can be shown.
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
    /// The two do not belong together.
    #[error("the certificate and its key can't be used")]
    Unusable(#[from] rustls::Error),
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

fn failed(path: &Path) -> impl Fn(pem::Error) -> TlsError {
    move |source| TlsError::Read {
        path: path.to_owned(),
        source,
    }
}
