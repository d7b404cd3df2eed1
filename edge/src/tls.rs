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

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
    use tokio_rustls::TlsConnector;

    use super::*;

    const NAME: &str = "apis.shop.example";

    type Authority = CertifiedIssuer<'static, KeyPair>;

    /// Somebody who vouches for others, and the file that says who.
    fn authority(folder: &Path, name: &str) -> (Authority, PathBuf) {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let file = folder.join(format!("{name}.pem"));
        std::fs::write(&file, issuer.pem()).unwrap();
        (issuer, file)
    }

    /// The files with a certificate for [`NAME`], and its key.
    fn shown(authority: &Authority, folder: &Path, whose: &str) -> [PathBuf; 2] {
        let mut params = CertificateParams::new(vec![NAME.to_owned()]).unwrap();
        // Under the issuer's own name it would count as signed by itself.
        params.distinguished_name.push(DnType::CommonName, whose);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, authority).unwrap();
        let files = ["crt", "key"].map(|end| folder.join(format!("{whose}.{end}")));
        for (file, text) in files.iter().zip([certificate.pem(), key.serialize_pem()]) {
            std::fs::write(file, text).unwrap();
        }
        files
    }

    /// What the server thinks of a client.
    async fn meet(server: &TlsArgs, client: ClientConfig) -> Result<(), String> {
        let acceptor = server.acceptor().unwrap().unwrap();
        let connector = TlsConnector::from(Arc::new(client));
        let (ours, theirs) = tokio::io::duplex(64 * 1024);
        let name = server_name(NAME).unwrap();
        // Who is refused may have heard nothing of it yet.
        let (accepted, _) = tokio::join!(acceptor.accept(ours), connector.connect(name, theirs));
        accepted.map(drop).map_err(|error| error.to_string())
    }

    #[tokio::test]
    async fn who_demands_a_certificate_talks_to_nobody_else() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        let (ours, ca) = authority(folder, "ours");
        let (clients, demanded) = authority(folder, "clients");
        let [certificate, key] = shown(&ours, folder, "server");
        let mut server = TlsArgs {
            tls_cert: Some(certificate),
            tls_key: Some(key),
            tls_clients_ca: None,
        };
        let [right, foreign] = [(&clients, "right"), (&ours, "foreign")]
            .map(|(authority, whose)| shown(authority, folder, whose));
        let client = |shown: Option<&[PathBuf; 2]>| {
            let shown = shown.map(|[certificate, key]| (certificate.as_path(), key.as_path()));
            trusting(Some(&ca), shown).unwrap()
        };
        assert_eq!(meet(&server, client(None)).await, Ok(()), "it demands none");
        server.tls_clients_ca = Some(demanded.clone());
        assert_eq!(meet(&server, client(Some(&right))).await, Ok(()));
        let none = meet(&server, client(None)).await.unwrap_err();
        assert!(none.contains("no certificates"), "{none}");
        // The authority of the servers vouches for no client.
        let foreign = meet(&server, client(Some(&foreign))).await.unwrap_err();
        assert!(foreign.contains("UnknownIssuer"), "{foreign}");
        // Nor does that of the clients for a server.
        let mistaken = trusting(Some(&demanded), None).unwrap();
        server.tls_clients_ca = None;
        let mistaken = meet(&server, mistaken).await.unwrap_err();
        assert!(mistaken.contains("UnknownCA"), "{mistaken}");
    }
}
