//! The one configuration of the reactor role.

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use chrono::TimeDelta;
use clap::{Args, ValueEnum};
use edge::{Targets, is_here};
use url::Url;
use uuid::Uuid;

/// [`Config::erasure_grace_ms`] unless somebody says otherwise.
pub const ERASURE_GRACE_MS: u64 = 60_000;

/// [`ProviderConfig::timeout_ms`] unless somebody says otherwise.
pub const PAYMENT_TIMEOUT_MS: u64 = 10_000;

/// [`SmtpConfig::mail_timeout_ms`] unless somebody says otherwise.
pub const MAIL_TIMEOUT_MS: u64 = 60_000;

/// [`SmtpConfig::mail_pause_max_ms`] unless somebody says otherwise.
pub const MAIL_PAUSE_MAX_MS: u64 = 600_000;

/// How far back our payments are held against the provider's list, in days: most refunds come within a month.
/// (Disputes, which may come later, are no part of what is compared.)
pub const RECONCILE_DAYS: u32 = 30;

/// The most that may be said: ten years, longer than anybody keeps payments.
pub const RECONCILE_DAYS_MAX: u32 = 3_653;

/// [`ProviderConfig::return_url`] of a stack on a laptop: the one page that it has. A shop has one of its own.
pub const LOCAL_RETURN_URL: &str = "http://127.0.0.1:8080/reference";

/// What stands in [`ProviderConfig::return_url`] for the order's id.
pub(crate) const ORDER_ID: &str = "{order_id}";

/// [`SmtpConfig::mails_per_second`] unless somebody says otherwise: more than a shop has at its busiest,
/// fewer than a relay takes for a flood.
const MAILS_PER_SECOND: NonZeroU32 = NonZeroU32::new(50).unwrap();

/// Pauses after each attempt of a webhook in vain, in milliseconds: what Standard Webhooks suggests, over
/// three days in all.
const WEBHOOK_RETRY_MS: [u64; 9] = [
    5_000, 300_000, 1_800_000, 7_200_000, 18_000_000, 36_000_000, 50_400_000, 72_000_000,
    86_400_000,
];

/// Settings of `millrace reactor`; each is a flag and an environment variable.
#[derive(Debug, Clone, Args)]
pub struct Config {
    /// How many payments, and how many mails, are worked on at the same time.
    #[arg(
        long = "reactor-lanes",
        env = "MILLRACE_REACTOR_LANES",
        default_value_t = 32
    )]
    pub lanes: usize,
    /// How long after somebody asked to be erased an order of theirs may still arrive, in
    /// milliseconds: longer than any answer about where they stand is believed, and any request takes.
    #[arg(
        long = "erasure-grace-ms",
        env = "MILLRACE_ERASURE_GRACE_MS",
        default_value_t = ERASURE_GRACE_MS
    )]
    pub erasure_grace_ms: u64,
    /// The payment provider.
    #[command(flatten)]
    pub provider: ProviderConfig,
    /// The mail server.
    #[command(flatten)]
    pub smtp: SmtpConfig,
    /// The reconciliation.
    #[command(flatten)]
    pub reconcile: ReconcileConfig,
    /// Outgoing webhooks.
    #[command(flatten)]
    pub webhooks: WebhookConfig,
}

impl Config {
    /// [`Config::erasure_grace_ms`] as a time span; the longest, if it is longer still.
    pub fn erasure_grace(&self) -> TimeDelta {
        let grace = Duration::from_millis(self.erasure_grace_ms);
        TimeDelta::from_std(grace).unwrap_or(TimeDelta::MAX)
    }
}

/// Where the payment provider is and how it is spoken to.
#[derive(Debug, Clone, Args)]
pub struct ProviderConfig {
    /// Base URL of the provider: Stripe's API or the payment simulator.
    #[arg(
        long = "payments",
        env = "MILLRACE_PAYMENTS",
        default_value = "http://127.0.0.1:8090"
    )]
    pub url: String,
    /// The provider's secret key.
    #[arg(
        long = "payment-secret-key",
        env = "MILLRACE_PAYMENT_SECRET_KEY",
        hide_env_values = true,
        default_value = ""
    )]
    pub secret_key: String,
    /// The shop's page to which customers come back from their bank, where they confirm that it is they who
    /// pay; `{order_id}` in it becomes the order's id. Production has to name one of https.
    #[arg(
        long = "payment-return-url",
        env = "MILLRACE_PAYMENT_RETURN_URL",
        default_value = LOCAL_RETURN_URL,
        value_parser = page
    )]
    pub return_url: String,
    /// Longest wait for one answer of the provider, in milliseconds.
    #[arg(
        long = "payment-timeout-ms",
        env = "MILLRACE_PAYMENT_TIMEOUT_MS",
        default_value_t = PAYMENT_TIMEOUT_MS
    )]
    pub timeout_ms: u64,
}

/// What the provider takes for a page: whatever else it refuses for good, and each order is rejected.
fn page(text: &str) -> Result<String, String> {
    let order_id = Uuid::nil().to_string();
    let url = Url::parse(&text.replace(ORDER_ID, &order_id)).map_err(|error| error.to_string())?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err("it is no page of http:// or https://".to_owned());
    }
    Ok(url.to_string().replace(&order_id, ORDER_ID))
}

impl ProviderConfig {
    /// [`ProviderConfig::timeout_ms`] as a duration.
    pub fn timeout(&self) -> Duration {
        Duration::from_millis(self.timeout_ms)
    }
}

/// When and how far back our payments are held against the provider's list.
#[derive(Debug, Clone, Copy, Args)]
pub struct ReconcileConfig {
    /// How often, in seconds.
    #[arg(
        long = "reconcile-every-s",
        env = "MILLRACE_RECONCILE_EVERY_S",
        default_value_t = 86_400,
        value_parser = clap::value_parser!(u32).range(1..)
    )]
    pub every_s: u32,
    /// How many days back.
    #[arg(
        long = "reconcile-days",
        env = "MILLRACE_RECONCILE_DAYS",
        default_value_t = RECONCILE_DAYS,
        value_parser = clap::value_parser!(u32).range(1..=i64::from(RECONCILE_DAYS_MAX))
    )]
    pub days: u32,
}

impl ReconcileConfig {
    pub(crate) fn every(self) -> TimeDelta {
        TimeDelta::seconds(self.every_s.into())
    }

    pub(crate) fn window(self) -> TimeDelta {
        TimeDelta::days(self.days.into())
    }
}

/// How a connection to the mail server is encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum SmtpTls {
    /// Not at all: on the same machine, or a network that is trusted.
    None,
    /// It begins in the clear, and nothing is said before it is encrypted (RFC 3207; mostly port 587).
    Starttls,
    /// From its first byte (RFC 8314; mostly port 465).
    Implicit,
}

/// Where the mail server is and who writes.
#[derive(Debug, Clone, Args)]
pub struct SmtpConfig {
    /// The mail server, `host:port`.
    #[arg(long, env = "MILLRACE_SMTP", default_value = "127.0.0.1:1025")]
    pub smtp: String,
    /// How the connection to it is encrypted; without a word it isn't, which production allows on this
    /// machine alone.
    #[arg(long, env = "MILLRACE_SMTP_TLS", value_enum)]
    pub smtp_tls: Option<SmtpTls>,
    /// File with the certificates (PEM) of those who vouch for it; without it, whom the system trusts.
    #[arg(long, env = "MILLRACE_SMTP_CA")]
    pub smtp_ca: Option<PathBuf>,
    /// As whom the mailer signs in to it; without it, or with none, it doesn't. Over TLS alone, but for this
    /// machine.
    #[arg(long, env = "MILLRACE_SMTP_USER")]
    pub smtp_user: Option<String>,
    /// That user's password; better in the environment, or in the file that
    /// `MILLRACE_SMTP_PASSWORD_FILE` names, than on a command line.
    #[arg(
        long,
        env = "MILLRACE_SMTP_PASSWORD",
        hide_env_values = true,
        requires = "smtp_user",
        default_value = ""
    )]
    pub smtp_password: String,
    /// The sender of every mail.
    #[arg(
        long,
        env = "MILLRACE_MAIL_FROM",
        default_value = "Millrace <shop@millrace.example>"
    )]
    pub mail_from: String,
    /// Longest wait for the mail server until it has taken one mail or not, in milliseconds. A server that
    /// takes longer to look through a mail gets it again and again.
    #[arg(long, env = "MILLRACE_MAIL_TIMEOUT_MS", default_value_t = MAIL_TIMEOUT_MS)]
    pub mail_timeout_ms: u64,
    /// Most mails a second; what waits for an outage to end then goes out at this pace. A mail server that
    /// wants fewer says so.
    #[arg(long, env = "MILLRACE_MAILS_PER_SECOND", default_value_t = MAILS_PER_SECOND)]
    pub mails_per_second: NonZeroU32,
    /// Longest pause between two tries of one mail, in milliseconds; while the mail server hears nobody, a
    /// minute at most.
    #[arg(long, env = "MILLRACE_MAIL_PAUSE_MAX_MS", default_value_t = MAIL_PAUSE_MAX_MS)]
    pub mail_pause_max_ms: u64,
}

impl SmtpConfig {
    /// Is what is said to the server read by nobody on the way: encrypted, or on this machine?
    pub(crate) fn is_private(&self) -> bool {
        let encrypted = match self.smtp_tls {
            Some(SmtpTls::Starttls | SmtpTls::Implicit) => true,
            Some(SmtpTls::None) | None => false,
        };
        encrypted || is_here(self.server())
    }

    /// [`SmtpConfig::mail_pause_max_ms`] as a duration.
    pub(crate) fn mail_pause_max(&self) -> Duration {
        Duration::from_millis(self.mail_pause_max_ms)
    }

    /// As whom the mailer signs in, if as anybody.
    pub fn user(&self) -> Option<&str> {
        self.smtp_user.as_deref().filter(|user| !user.is_empty())
    }

    /// The server without its port.
    pub fn server(&self) -> &str {
        self.smtp.rsplit_once(':').map_or(&self.smtp, |(it, _)| it)
    }
}

/// Where outgoing webhooks may go, and how often each is tried.
#[derive(Debug, Clone, Args)]
pub struct WebhookConfig {
    /// Where they may go.
    #[command(flatten)]
    pub targets: Targets,
    /// Longest wait for one answer of an endpoint, in milliseconds.
    #[arg(long, env = "MILLRACE_WEBHOOK_TIMEOUT_MS", default_value_t = 15_000)]
    pub webhook_timeout_ms: u64,
    /// The pauses after each attempt in vain, in milliseconds, separated by commas; each may be a
    /// fifth longer. After the last one a webhook is given up.
    #[arg(
        long,
        env = "MILLRACE_WEBHOOK_RETRY_MS",
        value_delimiter = ',',
        default_values_t = WEBHOOK_RETRY_MS
    )]
    pub webhook_retry_ms: Vec<u64>,
    /// How long every attempt at an endpoint may be in vain before it is disabled, in seconds.
    #[arg(long, env = "MILLRACE_WEBHOOK_PATIENCE_S", default_value_t = 432_000)]
    pub webhook_patience_s: u64,
    /// Longest that an endpoint may put off the next attempt (`Retry-After` of a 429 or 503), in seconds; a
    /// pause may be a fifth longer.
    #[arg(
        long,
        env = "MILLRACE_WEBHOOK_RETRY_AFTER_MAX_S",
        default_value_t = 86_400
    )]
    pub webhook_retry_after_max_s: u64,
    /// How often those are looked for that wait for a timer which was lost, in seconds.
    #[arg(
        long,
        env = "MILLRACE_WEBHOOK_SWEEP_S",
        default_value_t = 600,
        value_parser = clap::value_parser!(u64).range(1..)
    )]
    pub webhook_sweep_s: u64,
    /// Most attempts at one endpoint at the same time.
    #[arg(long, env = "MILLRACE_WEBHOOK_AT_ONCE", default_value_t = 4)]
    pub webhook_at_once: usize,
    /// Most attempts at all endpoints at the same time.
    #[arg(long, env = "MILLRACE_WEBHOOK_LANES", default_value_t = 128)]
    pub webhook_lanes: usize,
}

impl WebhookConfig {
    /// [`WebhookConfig::webhook_timeout_ms`] as a duration.
    pub fn timeout(&self) -> Duration {
        Duration::from_millis(self.webhook_timeout_ms)
    }

    /// [`WebhookConfig::webhook_retry_after_max_s`] as a duration.
    pub fn retry_after_max(&self) -> Duration {
        Duration::from_secs(self.webhook_retry_after_max_s)
    }

    /// [`WebhookConfig::webhook_sweep_s`] as a duration.
    pub fn sweep(&self) -> Duration {
        Duration::from_secs(self.webhook_sweep_s)
    }
}
