//! Events to the outside: the payment provider, the mail server.
//!
//! ```text
//!   PAYMENT ──────► payment  ──HTTP──► provider      the intent is an event, the outcome a command
//!   NOTIFICATION ─► mailer   ──SMTP──► mail server   a bounce suppresses its address
//!   USER ─────────► welcome  ──bus───► notification
//!   USER ─────────► eraser   ──bus───► user           destroys the key, keeps the receipt
//!   USER, ORDER ──► departures ─bus──► user           erased once their orders are final
//! ```
//!
//! Every reactor works the same way: a delivery says which aggregate to look at, the aggregate's
//! own state says what is due, the outcome goes back as a command over the bus, and the delivery
//! is acknowledged last. So a repeated delivery does nothing twice, and a crash loses nothing.

mod config;
mod departures;
mod eraser;
mod mailer;
mod payment;
mod provider;
mod recorder;
mod rejection;
mod scan;
mod template;
mod welcome;

use std::sync::Arc;
use std::time::Duration;

use streams::bus::Bus;
use streams::keys::Keys;
use streams::subscription::DurableLimits;
use streams::topology::{DurableSpec, OnFailure};
use streams::{Connection, Settings};
use thiserror::Error;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub use config::{Config, ERASURE_GRACE_MS, ProviderConfig, SmtpConfig};
pub use provider::{Intent, IntentStatus, Provider, ProviderError};
pub use template::{Mail, Reader, TemplateError, Templates};

/// Tries of one mail before it is parked: about a day, for the pause between two grows to a
/// minute. A mail server that is down for hours delays every mail and parks none; an address
/// that is put off for longer no longer stands in the way.
const MAIL_ATTEMPTS_MAX: u32 = 1_450;

/// Reads PAYMENT for the payment reactor.
pub const PAYMENT_DURABLE: DurableSpec = DurableSpec {
    name: "payment-reactor",
    stream: "PAYMENT",
    // Money: what may pass is tried for ever, and seen in the log; parked is what can't be handled
    // as it is.
    on_failure: OnFailure::Park {
        after_attempts: None,
    },
};

/// Reads NOTIFICATION for the mailer.
pub const MAILER_DURABLE: DurableSpec = DurableSpec {
    name: "mailer",
    stream: "NOTIFICATION",
    on_failure: OnFailure::Park {
        after_attempts: Some(MAIL_ATTEMPTS_MAX),
    },
};

/// Reads USER for the welcome mail.
pub const WELCOME_DURABLE: DurableSpec = DurableSpec {
    name: "welcome",
    stream: "USER",
    // It only asks the notification context: whatever fails there passes.
    on_failure: OnFailure::Park {
        after_attempts: None,
    },
};

/// Reads USER for the eraser.
pub const ERASER_DURABLE: DurableSpec = DurableSpec {
    name: "eraser",
    stream: "USER",
    // Whoever asked to be erased must be: what may pass is tried for ever.
    on_failure: OnFailure::Park {
        after_attempts: None,
    },
};

/// People who are erased at the same time: each is a look through the whole log.
const ERASER_LANES: usize = 2;

/// The durables that `millrace provision` makes for this role.
pub const DURABLES: [DurableSpec; 4] = [
    PAYMENT_DURABLE,
    MAILER_DURABLE,
    WELCOME_DURABLE,
    ERASER_DURABLE,
];

/// Why the role ended.
#[derive(Debug, Error)]
pub enum Error {
    /// A subscription can't go on.
    #[error("a subscription of the reactor ended")]
    Subscription(#[from] streams::lanes::Stopped),
    /// A durable is missing or not as declared.
    #[error("can't subscribe: has `millrace provision` run?")]
    Subscribe(#[from] streams::subscription::SubscribeError),
    /// The HTTP client of the provider could not be made.
    #[error("the payment provider's client can't be made")]
    Provider(#[from] ProviderError),
    /// The mail client could not be made.
    #[error("the mail client can't be made")]
    Mail(#[from] mailer::MailerError),
    /// A template does not parse.
    #[error("a mail template is wrong")]
    Template(#[from] TemplateError),
    /// A worker panicked or was aborted.
    #[error("a reactor's task ended abnormally")]
    Task(#[from] tokio::task::JoinError),
}

/// Runs every reactor until `shutdown`.
///
/// # Errors
/// A durable is missing, or a subscription can't go on.
pub async fn run(
    config: Config,
    connection: Connection,
    keys: Keys,
    shutdown: CancellationToken,
) -> Result<(), Error> {
    let streams = connection.streams(Settings::reading());
    let recorder = recorder::Recorder::new(Bus::new(&connection));
    let payment = payment::PaymentReactor::new(
        streams.clone(),
        recorder.clone(),
        Provider::new(&config.provider)?,
    );
    let mail_limits = DurableLimits {
        pause_max: Duration::from_millis(config.smtp.mail_pause_max_ms),
        ..DurableLimits::default()
    };
    let mailer = mailer::Mailer::new(streams.clone(), recorder.clone(), keys.clone(), &config)?;
    let welcome = welcome::Welcome::new(recorder.clone());
    let departures = departures::Departures::new(
        connection.clone(),
        streams.clone(),
        recorder.clone(),
        config.erasure_grace(),
    );
    let scan = scan::Scan::new(connection.clone(), streams.clone());
    let eraser = eraser::Eraser::new(streams, recorder, keys, scan);

    let limits = DurableLimits::default();
    let mut tasks = JoinSet::new();
    let payments = connection.durable(&PAYMENT_DURABLE, limits).await?;
    tasks.spawn(streams::lanes::run_lanes(
        payments,
        config.lanes,
        Arc::new(payment),
        shutdown.clone(),
    ));
    let notifications = connection.durable(&MAILER_DURABLE, mail_limits).await?;
    tasks.spawn(streams::lanes::run_lanes(
        notifications,
        config.lanes,
        Arc::new(mailer),
        shutdown.clone(),
    ));
    let users = connection.durable(&WELCOME_DURABLE, limits).await?;
    tasks.spawn(streams::lanes::run_lanes(
        users,
        config.lanes,
        Arc::new(welcome),
        shutdown.clone(),
    ));
    let users = connection.durable(&ERASER_DURABLE, limits).await?;
    tasks.spawn(streams::lanes::run_lanes(
        users,
        ERASER_LANES,
        Arc::new(eraser),
        shutdown.clone(),
    ));
    tasks.spawn(async move {
        departures.run(shutdown).await;
        Ok(())
    });
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    Ok(())
}
