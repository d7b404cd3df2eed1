//! TLS to Postgres, with rustls and ring: who vouches for the server, and what it is shown.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::ring;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
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
    #[error("{} can't be read", path.display())]
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

/// What is shown to a server that demands a certificate. Both files are PEM.
#[derive(Clone, Copy)]
pub struct Shown<'a> {
    /// The certificate, its own first.
    pub certificate: &'a Path,
    /// Its private key.
    pub key: &'a Path,
}

/// Who vouches for a server; nobody, where there is no TLS.
#[derive(Clone)]
pub(crate) struct Tls {
    ca: Option<PathBuf>,
    /// Certificate and key.
    shown: Option<(PathBuf, PathBuf)>,
    connector: MakeRustlsConnect,
}

impl Tls {
    /// Whom the certificates in `ca` name; `None` = no TLS. `shown` is for a server that demands it.
    pub(crate) fn load(ca: Option<&Path>, shown: Option<Shown<'_>>) -> Result<Self, TlsError> {
        let roots = ca.map_or_else(|| Ok(RootCertStore::empty()), roots)?;
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots);
        let config = match shown {
            Some(shown) => {
                let key = PrivateKeyDer::from_pem_file(shown.key).map_err(unreadable(shown.key))?;
                config.with_client_auth_cert(chain(shown.certificate)?, key)?
            }
            None => config.with_no_client_auth(),
        };
        let owned = |shown: Shown<'_>| (shown.certificate.to_owned(), shown.key.to_owned());
        Ok(Self {
            ca: ca.map(Path::to_owned),
            shown: shown.map(owned),
            connector: MakeRustlsConnect::new(config),
        })
    }

    /// The file.
    pub(crate) fn ca(&self) -> Option<&Path> {
        self.ca.as_deref()
    }

    /// The files with the certificate that is shown, and its key.
    pub(crate) fn shown(&self) -> Option<&(PathBuf, PathBuf)> {
        self.shown.as_ref()
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
    let mut roots = RootCertStore::empty();
    for certificate in chain(ca)? {
        let added = roots.add(certificate);
        added.map_err(|_| TlsError::Unusable { path: path() })?;
    }
    if roots.is_empty() {
        return Err(TlsError::Unusable { path: path() });
    }
    Ok(roots)
}

fn chain(file: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found = CertificateDer::pem_file_iter(file).map_err(unreadable(file))?;
    let found = found.collect::<Result<_, _>>();
    found.map_err(unreadable(file))
}

fn unreadable(file: &Path) -> impl Fn(pem::Error) -> TlsError {
    move |source| TlsError::Read {
        path: file.to_owned(),
        source,
    }
}
