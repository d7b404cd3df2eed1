//! The mail sink and the payment simulator as subcommands, and as children of the stack.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use thiserror::Error;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::launch::{Launcher, Signal, Spec};
use crate::server::{Plan, Probe};
use crate::{Data, Secrets, Service, mail, payments, secrets};

/// The subcommand that runs [`MailSink`].
pub const MAIL_SINK: &str = "mail-sink";
/// The subcommand that runs [`PaymentSimulator`].
pub const PAYMENT_SIMULATOR: &str = "payment-simulator";

/// Journals are replayed before the sinks serve.
const READY_LIMIT: Duration = Duration::from_secs(30);
/// Open requests are answered first.
const STOP_LIMIT: Duration = Duration::from_secs(10);

/// Why a sink cannot run.
#[derive(Debug, Error)]
pub enum Error {
    /// It cannot listen.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The system's reason.
        #[source]
        source: std::io::Error,
    },
    /// The mail sink failed.
    #[error(transparent)]
    Mail(#[from] mail::Error),
    /// The payment simulator failed.
    #[error(transparent)]
    Payments(#[from] payments::Error),
}

/// Arguments of `mail-sink`.
#[derive(Debug, Clone, Args)]
pub struct MailSink {
    /// Where it takes mails
    #[arg(long, env = "MILLRACE_SMTP_LISTEN", default_value = "127.0.0.1:1025")]
    pub smtp: SocketAddr,
    /// Where it shows them
    #[arg(long, env = "MILLRACE_MAIL_LISTEN", default_value = "127.0.0.1:8025")]
    pub http: SocketAddr,
    /// Where it keeps them
    #[arg(
        long,
        env = "MILLRACE_MAIL_DATA",
        value_name = "FOLDER",
        default_value = ".millrace/mail"
    )]
    pub data: PathBuf,
}

impl MailSink {
    /// Serves until `shutdown`.
    ///
    /// # Errors
    /// When it cannot listen or keep its mails.
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), Error> {
        let options = mail::Options {
            smtp: listen(self.smtp).await?,
            tls: mail::Tls::None,
            login: None,
            http: listen(self.http).await?,
            data: self.data,
        };
        Ok(mail::run(options, shutdown).await?)
    }
}

/// Arguments of `payment-simulator`.
#[derive(Debug, Clone, Args)]
pub struct PaymentSimulator {
    /// Where it serves
    #[arg(
        long,
        env = "MILLRACE_PAYMENTS_LISTEN",
        default_value = "127.0.0.1:8090"
    )]
    pub http: SocketAddr,
    /// Where it keeps its ledger
    #[arg(
        long,
        env = "MILLRACE_PAYMENTS_DATA",
        value_name = "FOLDER",
        default_value = ".millrace/payments"
    )]
    pub data: PathBuf,
    /// Where it sends signed webhooks; none without it
    #[arg(
        long,
        env = "MILLRACE_PAYMENT_WEBHOOK",
        value_name = "URL",
        requires = "webhook_secret"
    )]
    pub webhook: Option<String>,
    /// Where browsers find its pages; without it, where it serves
    #[arg(long, env = "MILLRACE_PAYMENTS_PAGES", value_name = "URL")]
    pub pages: Option<String>,
    /// The key that callers present
    #[arg(long, env = secrets::PAYMENT_SECRET_KEY, hide_env_values = true)]
    pub secret_key: String,
    /// The key that signs the webhooks
    #[arg(long, env = secrets::PAYMENT_WEBHOOK_SECRET, hide_env_values = true)]
    pub webhook_secret: Option<String>,
}

impl PaymentSimulator {
    /// Serves until `shutdown`.
    ///
    /// # Errors
    /// When it cannot listen or keep its ledger.
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), Error> {
        let secret = self.webhook_secret;
        let options = payments::Options {
            http: listen(self.http).await?,
            data: self.data,
            secret_key: self.secret_key,
            pages: self.pages,
            webhook: self
                .webhook
                .zip(secret)
                .map(|(url, secret)| payments::Webhook { url, secret }),
        };
        Ok(payments::run(options, shutdown).await?)
    }
}

async fn listen(address: SocketAddr) -> Result<TcpListener, Error> {
    TcpListener::bind(address)
        .await
        .map_err(|source| Error::Listen { address, source })
}

/// How to run the mail sink as a child.
pub(crate) fn mail_plan(
    launcher: &Launcher,
    data: &Data,
    smtp: SocketAddr,
    http: SocketAddr,
) -> Plan {
    let spec = Spec::new(launcher.program())
        .args([MAIL_SINK, "--smtp", &smtp.to_string()])
        .args(["--http", &http.to_string(), "--data"])
        .args([data.join("mail")]);
    plan(Service::Mail, spec, data, vec![smtp, http])
}

/// How to run the payment simulator as a child; its keys travel in the environment, which other
/// users cannot read.
pub(crate) fn payments_plan(
    launcher: &Launcher,
    data: &Data,
    secrets: &Secrets,
    http: SocketAddr,
    webhook: Option<&str>,
) -> Plan {
    let mut spec = Spec::new(launcher.program())
        .args([PAYMENT_SIMULATOR, "--http", &http.to_string(), "--data"])
        .args([data.join("payments")]);
    if let Some(url) = webhook {
        spec = spec.args(["--webhook", url]);
    }
    for name in [secrets::PAYMENT_SECRET_KEY, secrets::PAYMENT_WEBHOOK_SECRET] {
        spec = spec.env(name, secrets.get(name).unwrap_or_default());
    }
    plan(Service::Payments, spec, data, vec![http])
}

fn plan(service: Service, mut spec: Spec, data: &Data, addresses: Vec<SocketAddr>) -> Plan {
    spec.folder = data.root().into();
    spec.log = Some(data.log(&service.to_string()));
    Plan {
        service,
        spec,
        probe: Probe::Accepts(addresses),
        stop: Signal::TERM,
        ready_limit: READY_LIMIT,
        stop_limit: STOP_LIMIT,
    }
}
