//! How a command of this program reaches an HTTP server: whom it believes, and what it shows.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use clap::Args;
use reqwest::{Certificate, ClientBuilder, Identity, Url};

use crate::client::{Shop, towards};

/// TLS to the server that a command asks.
#[derive(Debug, Clone, Default, Args)]
pub struct HttpArgs {
    /// File with the certificates (PEM) of those who vouch for the server; without it, those do whom
    /// the system trusts.
    #[arg(long, env = "MILLRACE_HTTP_CA")]
    pub http_ca: Option<PathBuf>,
    /// The name that stands in the server's certificate, where it is reached at an address which no
    /// certificate can name.
    #[arg(long, env = "MILLRACE_HTTP_NAME")]
    pub http_name: Option<String>,
    /// File with the certificate (PEM) that is shown to the server, if it demands one.
    #[arg(long, env = "MILLRACE_HTTP_CERT", requires = "http_key")]
    pub http_cert: Option<PathBuf>,
    /// File with that certificate's private key (PEM).
    #[arg(long, env = "MILLRACE_HTTP_KEY", requires = "http_cert")]
    pub http_key: Option<PathBuf>,
}

impl HttpArgs {
    /// The shop, or a role, at `entry` (`https://host:port`).
    ///
    /// # Errors
    /// A file can't be read or used, or `entry` is no address of a server.
    pub async fn shop(&self, entry: &str) -> anyhow::Result<Shop> {
        let is_server = |url: Url| matches!(url.scheme(), "http" | "https") && url.has_host();
        ensure!(
            Url::parse(entry).is_ok_and(is_server),
            "{entry:?} is not http(s)://host:port"
        );
        let mut http = towards(entry);
        if let Some(ca) = &self.http_ca {
            let trusted = Certificate::from_pem_bundle(&read(ca)?);
            http = http.tls_certs_only(trusted.with_context(|| ca.display().to_string())?);
        }
        if let (Some(certificate), Some(key)) = (&self.http_cert, &self.http_key) {
            let both = [read(certificate)?, read(key)?].concat();
            let shown = Identity::from_pem(&both);
            http = http.identity(shown.with_context(|| certificate.display().to_string())?);
        }
        let Some(name) = &self.http_name else {
            return Ok(Shop::over(http, entry)?);
        };
        let (http, entry) = named(http, entry, name).await?;
        Ok(Shop::over(http, &entry)?)
    }
}

/// The server at `entry`, under another name.
async fn named(
    http: ClientBuilder,
    entry: &str,
    name: &str,
) -> anyhow::Result<(ClientBuilder, String)> {
    let wanted = || format!("{entry:?} is not https://host:port");
    let mut url = Url::parse(entry).with_context(wanted)?;
    let (Some(host), Some(port)) = (url.host_str(), url.port_or_known_default()) else {
        bail!(wanted());
    };
    let found = tokio::net::lookup_host(format!("{host}:{port}")).await;
    let found = found.with_context(wanted)?.next().with_context(wanted)?;
    url.set_host(Some(name)).with_context(|| name.to_owned())?;
    Ok((http.resolve(name, found), url.into()))
}

fn read(file: &Path) -> anyhow::Result<Vec<u8>> {
    std::fs::read(file).with_context(|| format!("{} can't be read", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_no_address_of_a_server_is_told_the_form() {
        let http = HttpArgs::default();
        for wrong in ["127.0.0.1:8083", "localhost:8083", "ftp://shop", "http://"] {
            let said = http.shop(wrong).await.unwrap_err().to_string();
            assert_eq!(said, format!("{wrong:?} is not http(s)://host:port"));
        }
        http.shop("http://127.0.0.1:8083").await.unwrap();
    }
}
