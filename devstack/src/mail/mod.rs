//! The mail sink: a real SMTP server that delivers to nobody and shows everything that it accepted.
//!
//! ```text
//!  SMTP ──► smtp ──► session (mailin) ──► store (journal, fsync) ──► 250
//!               └─ faults ◄── POST /faults            │
//!                        HTTP ──► web ◄───────────────┘
//! ```
//!
//! A mail that was answered with 250 survives kill -9. Faults are orders of a running test: they live in
//! memory and end with the process. There is no delivery, hence loopback only; TLS only for a program that
//! brings the certificate, and a login only for one that says which.

mod faults;
mod page;
mod session;
mod smtp;
mod store;
mod web;

use crate::payments::connection;
use std::fmt;
use std::path::PathBuf;
use thiserror::Error;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

pub use crate::payments::journal::Error as JournalError;

/// What the mail sink listens on and where it keeps its mails.
#[derive(Debug)]
pub struct Options {
    /// Takes mails.
    pub smtp: TcpListener,
    /// Whether it does so over TLS.
    pub tls: Tls,
    /// Who may send; `None` = whoever comes.
    pub login: Option<Login>,
    /// Shows mails and takes faults.
    pub http: TcpListener,
    /// The folder of the mails; made if it isn't there.
    pub data: PathBuf,
}

/// The one who may send (RFC 4954, PLAIN or LOGIN); where TLS is begun by STARTTLS, not before that.
#[derive(Clone, PartialEq, Eq)]
pub struct Login {
    /// Their name.
    pub user: String,
    /// Their password.
    pub password: String,
}

impl fmt::Debug for Login {
    /// Never shows the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let user = &self.user;
        write!(f, "Login({user}, …)")
    }
}

/// Whether mails are taken over TLS.
#[derive(Clone, Default)]
pub enum Tls {
    /// They are not.
    #[default]
    None,
    /// A connection begins in the clear, and no mail is taken before it is encrypted (RFC 3207).
    Starttls(TlsAcceptor),
    /// From a connection's first byte.
    Implicit(TlsAcceptor),
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "None",
            Self::Starttls(_) => "Starttls(…)",
            Self::Implicit(_) => "Implicit(…)",
        })
    }
}

/// Why the mail sink can't run.
#[derive(Debug, Error)]
pub enum Error {
    /// The mails can't be read or kept.
    #[error("the mail sink cannot keep its mails")]
    Store(#[from] JournalError),
    /// The folder of the mails can't be listed or made.
    #[error("cannot use the folder {path}")]
    Folder {
        /// Which folder.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The HTTP side failed.
    #[error("the mail sink cannot serve HTTP")]
    Http(#[source] std::io::Error),
}

/// Runs the mail sink until `shutdown`, or until it can't keep its promises any more.
///
/// # Errors
/// When the stored mails can't be read, or a mail can't be stored.
pub async fn run(options: Options, shutdown: CancellationToken) -> Result<(), Error> {
    let store = store::Store::open(&options.data)?;
    let faults = faults::Faults::default();
    let routes = web::routes(store.clone(), faults.clone());
    let stop = shutdown.child_token();
    let smtp = smtp::Server {
        store: store.clone(),
        faults,
        tls: options.tls,
        login: options.login,
    };
    let http = async {
        let served = connection::serve(options.http, routes, stop.clone()).await;
        // One without the other would look healthy and be half a mail sink.
        stop.cancel();
        served.map_err(Error::Http)
    };
    let both = async { tokio::join!(http, smtp.run(options.smtp, stop.clone())) };
    tokio::select! {
        (served, ()) = both => served,
        error = store.failed() => Err(error.into()),
    }
}
