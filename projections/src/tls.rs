//! TLS to Postgres, with rustls and ring.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::ring;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::{self, PemObject};
use rustls::{ClientConfig, RootCertStore};
use thiserror::Error;
use tokio_postgres::tls::MakeTlsConnect;
use tokio_postgres::{Client, Config, Socket};
use tokio_postgres_rustls::MakeRustlsConnect;

/// What moves the bytes of a connection.
pub(crate) type Connection =
    tokio_postgres::Connection<Socket, <MakeRustlsConnect as MakeTlsConnect<Socket>>::Stream>;

/// Who vouches for the server can't be told.
#[derive(Debug, Error)]
pub enum TlsError {
    /// The file can't be read, or is no PEM.
    #[error("the certificates in {} can't be read", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: pem::Error,
    },
    /// One of them is none, or there is none at all.
    #[error("{} holds no certificate that can vouch for a server", path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
    },
    /// The library takes none.
    #[error("TLS can't be set up")]
    Setup(#[from] rustls::Error),
}

/// Who vouches for a server; nobody, where there is no TLS.
#[derive(Clone)]
pub(crate) struct Tls {
    ca: Option<PathBuf>,
    connector: MakeRustlsConnect,
}

impl Tls {
    /// Whom the certificates in `ca` name; `None` = no TLS.
    pub(crate) fn load(ca: Option<&Path>) -> Result<Self, TlsError> {
        let roots = ca.map_or_else(|| Ok(RootCertStore::empty()), roots)?;
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self {
            ca: ca.map(Path::to_owned),
            connector: MakeRustlsConnect::new(config),
        })
    }

    /// The file.
    pub(crate) fn ca(&self) -> Option<&Path> {
        self.ca.as_deref()
    }

    /// Connects as `config` says.
    pub(crate) async fn open(
        &self,
        config: &Config,
    ) -> Result<(Client, Connection), tokio_postgres::Error> {
        config.connect(self.connector.clone()).await
    }
}

fn roots(ca: &Path) -> Result<RootCertStore, TlsError> {
    let path = || ca.to_owned();
    let unreadable = |source| TlsError::Read {
        path: path(),
        source,
    };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(ca).map_err(unreadable)? {
        let added = roots.add(certificate.map_err(unreadable)?);
        added.map_err(|_| TlsError::Unusable { path: path() })?;
    }
    if roots.is_empty() {
        return Err(TlsError::Unusable { path: path() });
    }
    Ok(roots)
}
