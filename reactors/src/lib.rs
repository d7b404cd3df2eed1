//! Events to the outside: the payment provider, the mail server, webhooks.
//!
//! ```text
//!   PAYMENT ──────► payment  ──HTTP──► provider      the intent is an event, the outcome a command
//!   INBOX ────────► inbox    ──HTTP──► provider      it told something: ask it, record what is new
//!   every day ────► daily    ──HTTP──► provider      our payments against its list
//!   NOTIFICATION ─► mailer   ──SMTP──► mail server   a bounce suppresses its address; put off, it has a timer
//!   USER ─────────► welcome  ──bus───► notification
//!   USER ─────────► eraser   ──bus───► user           destroys the key, keeps the receipt
//!   USER, ORDER, CHECKOUT ─► departures ─bus─► user   erased once nothing of them is under way
//!   every stream ─► webhook  ──HTTP──► endpoints      who wants to hear of it is told
//! ```
//!
//! Every reactor works the same way: a delivery says which aggregate to look at, the aggregate's
//! own state says what is due, the outcome goes back as a command over the bus, and the delivery
//! is acknowledged last. So a repeated delivery does nothing twice, and a crash loses nothing.

mod config;
mod daily;
mod departures;
mod eraser;
mod failure;
mod inbox;
mod listing;
mod mailer;
mod notice;
mod outcome;
mod payment;
mod provider;
mod put_off;
mod reconcile;
mod recorder;
mod rejection;
mod scan;
mod smtp;
mod template;
mod under_way;
mod waiting;
mod webhook;
mod welcome;

use std::sync::Arc;

use futures::future::BoxFuture;
use streams::bus::Bus;
use streams::inbox::Letter;
use streams::keys::Keys;
use streams::lanes::{Handler, Stopped, run_lanes};
use streams::subscription::{DurableLimits, DurableSubscription, Payload};
use streams::timers::{DueTimer, TimerError, Timers};
use streams::topology::{Acks, DurableSpec, OnFailure, Retired};
use streams::{Connection, RecordedEvent, Settings, Streams};
use thiserror::Error;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub use config::{
    Config, ERASURE_GRACE_MS, LOCAL_RETURN_URL, MAIL_PAUSE_MAX_MS, MAIL_TIMEOUT_MS,
    PAYMENT_TIMEOUT_MS, ProviderConfig, RECONCILE_DAYS, RECONCILE_DAYS_MAX, ReconcileConfig,
    SmtpConfig, SmtpTls, WebhookConfig,
};
pub use failure::ProviderError;
pub use listing::Refund;
pub use provider::{FAILURES_MAX, Intent, IntentStatus, LEFT_ALONE, Provider};
pub use reconcile::{Mismatched, Progress, ReconcileError, Reconciler, Reconciliation};
pub use template::{Mail, Reader, TemplateError, Templates};

/// Tries of one mail, where it is, before it is parked: about a day, for the pause between two grows to a
/// minute. A mail server that is down for hours delays every mail and parks none.
const MAIL_ATTEMPTS_MAX: u32 = 1_450;

/// Of mails, those that wait at their timer too.
const MAILS: OnFailure = OnFailure::Park {
    after_attempts: Some(MAIL_ATTEMPTS_MAX),
};

/// Reads PAYMENT for the payment reactor.
pub const PAYMENT_DURABLE: DurableSpec = DurableSpec {
    name: "payment-reactor",
    stream: "PAYMENT",
    kind: None,
    acks: Acks::Each,
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
    kind: None,
    acks: Acks::Each,
    on_failure: MAILS,
};

/// Reads USER for the welcome mail.
pub const WELCOME_DURABLE: DurableSpec = DurableSpec {
    name: "welcome",
    stream: "USER",
    kind: None,
    acks: Acks::Each,
    // It only asks the notification context: whatever fails there passes.
    on_failure: OnFailure::Park {
        after_attempts: None,
    },
};

/// Reads USER for the eraser.
pub const ERASER_DURABLE: DurableSpec = DurableSpec {
    name: "eraser",
    stream: "USER",
    kind: None,
    acks: Acks::Each,
    // Whoever asked to be erased must be: what may pass is tried for ever.
    on_failure: OnFailure::Park {
        after_attempts: None,
    },
};

/// People who are erased at the same time. Most of them wait for their look through the log, their keys
/// gone already.
const ERASER_LANES: usize = 64;

/// Reads INBOX for the one who works it.
pub const INBOX_DURABLE: DurableSpec = DurableSpec {
    name: "inbox",
    stream: "INBOX",
    kind: None,
    acks: Acks::Each,
    on_failure: NEVER_ASIDE,
};

/// Wakes waiting letters.
pub const INBOX_TIMER_DURABLE: DurableSpec = DurableSpec {
    name: "inbox-timers",
    stream: "TIMERS",
    kind: None,
    acks: Acks::Each,
    on_failure: NEVER_ASIDE,
};

/// Rings for the reconciliation.
pub const RECONCILIATION_TIMER_DURABLE: DurableSpec = DurableSpec {
    name: "reconciliation-timers",
    stream: "TIMERS",
    kind: None,
    acks: Acks::Each,
    on_failure: NEVER_ASIDE,
};

/// A letter may hold personal data and stream PARKED forgets nothing; what can't be matched waits
/// where it is. And a reconciliation is tried until the provider answers.
const NEVER_ASIDE: OnFailure = OnFailure::Retry;

/// The durables that `millrace provision` makes for this role.
pub const DURABLES: [DurableSpec; 18] = {
    let [
        user,
        product,
        inventory,
        order,
        payment,
        notification,
        checkout,
    ] = webhook::MATCHERS;
    [
        PAYMENT_DURABLE,
        payment::TIMER_DURABLE,
        MAILER_DURABLE,
        put_off::TIMER_DURABLE,
        WELCOME_DURABLE,
        ERASER_DURABLE,
        INBOX_DURABLE,
        INBOX_TIMER_DURABLE,
        RECONCILIATION_TIMER_DURABLE,
        user,
        product,
        inventory,
        order,
        payment,
        notification,
        checkout,
        webhook::SENDER_DURABLE,
        webhook::TIMER_DURABLE,
    ]
};

/// Durables of earlier versions of this role, which `millrace provision` takes away.
pub const RETIRED: [Retired; 8] = webhook::RETIRED;

/// What it has not read, as readiness tells it, until it is bound to all its streams.
const BEGUN: &str = "its streams";

/// Why the role ended.
#[derive(Debug, Error)]
pub enum Error {
    /// A subscription can't go on.
    #[error("a subscription of the reactor ended")]
    Subscription(#[from] Stopped),
    /// A durable is missing or not as declared.
    #[error("can't subscribe: has `millrace provision` run?")]
    Subscribe(#[from] streams::subscription::SubscribeError),
    /// The reconciliation's timer is not set.
    #[error("the reconciliation's timer is not set")]
    Timer(#[from] TimerError),
    /// The HTTP client of the provider could not be made.
    #[error("the payment provider's client can't be made")]
    Provider(#[from] ProviderError),
    /// The mail client could not be made.
    #[error("the mail client can't be made")]
    Mail(#[from] mailer::MailerError),
    /// A template does not parse.
    #[error("a mail template is wrong")]
    Template(#[from] TemplateError),
    /// The client of webhooks could not be made.
    #[error("webhooks can't be sent")]
    Webhooks(#[from] webhook::HttpError),
    /// A worker panicked or was aborted.
    #[error("a reactor's task ended abnormally")]
    Task(#[from] tokio::task::JoinError),
}

/// Runs every reactor until `shutdown`.
///
/// # Errors
/// A durable is missing, or a subscription can't go on.
pub fn run(
    config: Config,
    connection: Connection,
    keys: Keys,
    shutdown: CancellationToken,
) -> BoxFuture<'static, Result<(), Error>> {
    let begun = connection.barrier().raise(BEGUN);
    Box::pin(async move {
        let mut workers = Workers {
            streams: connection.streams(Settings::reading()),
            recorder: recorder::Recorder::new(Bus::new(&connection)),
            tasks: JoinSet::new(),
            config,
            connection,
            keys,
            shutdown,
        };
        workers.payments().await?;
        workers.mails().await?;
        workers.people().await?;
        workers.webhooks().await?;
        begun.done();
        while let Some(ended) = workers.tasks.join_next().await {
            ended??;
        }
        Ok(())
    })
}

/// What every reactor is made of, and the tasks that they run in.
struct Workers {
    config: Config,
    connection: Connection,
    streams: Streams,
    recorder: recorder::Recorder,
    keys: Keys,
    shutdown: CancellationToken,
    tasks: JoinSet<Result<(), Stopped>>,
}

impl Workers {
    /// The provider: asked, heard, and held against.
    async fn payments(&mut self) -> Result<(), Error> {
        let provider = Provider::new(&self.config.provider)?;
        let (streams, recorder) = (self.streams.clone(), self.recorder.clone());
        let timers = Timers::new(&self.connection);
        let payment = payment::PaymentReactor::new(streams, recorder, provider.clone(), timers);
        let payment = Arc::new(payment);
        let later = Arc::clone(&payment);
        let (streams, recorder) = (self.streams.clone(), self.recorder.clone());
        let letters = inbox::Letters::new(&self.connection, streams, recorder, provider.clone());
        let daily = daily::Daily {
            connection: self.connection.clone(),
            streams: self.streams.clone(),
            recorder: self.recorder.clone(),
            provider,
            config: self.config.reconcile,
        };
        daily.arm().await?;
        let letters = Arc::new(letters);
        let woken = Arc::clone(&letters);
        self.start::<RecordedEvent>(&PAYMENT_DURABLE, payment)
            .await?;
        self.start::<DueTimer>(&payment::TIMER_DURABLE, later)
            .await?;
        self.start::<Letter>(&INBOX_DURABLE, letters).await?;
        self.start::<DueTimer>(&INBOX_TIMER_DURABLE, woken).await?;
        self.start(&RECONCILIATION_TIMER_DURABLE, Arc::new(daily))
            .await?;
        let waiting = waiting::Waiting::new(&self.connection);
        let shutdown = self.shutdown.clone();
        self.tasks.spawn(async move {
            waiting.tend(shutdown).await;
            Ok(())
        });
        Ok(())
    }

    async fn mails(&mut self) -> Result<(), Error> {
        let (streams, recorder) = (self.streams.clone(), self.recorder.clone());
        let smtp = &self.config.smtp;
        let later = put_off::Later::new(Timers::new(&self.connection), smtp);
        let limits = DurableLimits {
            pause_max: smtp.mail_pause_max(),
            ..DurableLimits::default()
        };
        let (keys, lanes) = (self.keys.clone(), self.config.lanes);
        let mailer = mailer::Mailer::new(streams, (recorder, later), keys, &self.config)?;
        let mailer = Arc::new(mailer);
        let again = Arc::clone(&mailer);
        self.start_with::<RecordedEvent>(&MAILER_DURABLE, limits, lanes, mailer)
            .await?;
        self.start_with::<DueTimer>(&put_off::TIMER_DURABLE, limits, lanes, again)
            .await?;
        let welcome = welcome::Welcome::new(self.recorder.clone());
        self.start(&WELCOME_DURABLE, Arc::new(welcome)).await
    }

    /// Those who ask to be erased.
    async fn people(&mut self) -> Result<(), Error> {
        let (streams, recorder) = (self.streams.clone(), self.recorder.clone());
        let grace = self.config.erasure_grace();
        let departures =
            departures::Departures::new(self.connection.clone(), streams, recorder, grace);
        let shutdown = self.shutdown.clone();
        self.tasks.spawn(async move {
            departures.run(shutdown).await;
            Ok(())
        });
        let (streams, recorder) = (self.streams.clone(), self.recorder.clone());
        let scan = scan::Scan::new(self.connection.clone(), streams.clone());
        let eraser = eraser::Eraser::new(streams, recorder, self.keys.clone(), scan);
        let limits = DurableLimits::default();
        self.start_with(&ERASER_DURABLE, limits, ERASER_LANES, Arc::new(eraser))
            .await
    }

    /// Those who want to hear of events.
    async fn webhooks(&mut self) -> Result<(), Error> {
        let config = self.config.webhooks.clone();
        let lanes = config.webhook_lanes;
        let endpoints = Arc::new(webhook::Endpoints::new(self.streams.clone()));
        let (following, connection) = (Arc::clone(&endpoints), self.connection.clone());
        let shutdown = self.shutdown.clone();
        self.tasks.spawn(async move {
            following.follow(&connection, shutdown).await;
            Ok(())
        });
        let (streams, recorder) = (self.streams.clone(), self.recorder.clone());
        let matcher = Arc::new(webhook::Matcher::new(streams, recorder, endpoints));
        let many = DurableLimits {
            prefetch: webhook::MATCHER_PREFETCH,
            ..DurableLimits::default()
        };
        for spec in &webhook::MATCHERS {
            let (lanes, matcher) = (self.config.lanes, matcher.clone());
            self.start_with::<RecordedEvent>(spec, many, lanes, matcher)
                .await?;
        }
        let pending = webhook::Pending::new(&self.connection);
        let (every, attempt_max) = (config.sweep(), config.timeout());
        let shutdown = self.shutdown.clone();
        self.tasks.spawn(async move {
            pending.tend(every, attempt_max, shutdown).await;
            Ok(())
        });
        let sender = Arc::new(webhook::Sender::new(webhook::Parts {
            streams: self.streams.clone(),
            recorder: self.recorder.clone(),
            timers: Timers::new(&self.connection),
            http: webhook::Http::new(&config.targets, config.timeout())?,
            config,
        }));
        let (limits, woken) = (DurableLimits::default(), sender.clone());
        self.start_with::<RecordedEvent>(&webhook::SENDER_DURABLE, limits, lanes, sender)
            .await?;
        self.start_with::<DueTimer>(&webhook::TIMER_DURABLE, limits, lanes, woken)
            .await
    }

    async fn start<T: Payload>(
        &mut self,
        spec: &DurableSpec,
        handler: Arc<dyn Handler<T>>,
    ) -> Result<(), Error> {
        self.start_with(spec, DurableLimits::default(), self.config.lanes, handler)
            .await
    }

    async fn start_with<T: Payload>(
        &mut self,
        spec: &DurableSpec,
        limits: DurableLimits,
        lanes: usize,
        handler: Arc<dyn Handler<T>>,
    ) -> Result<(), Error> {
        let bound = DurableSubscription::bind(&self.connection, spec, limits);
        let deliveries = bound.await?;
        let shutdown = self.shutdown.clone();
        self.tasks
            .spawn(run_lanes(deliveries, lanes, handler, shutdown));
        Ok(())
    }
}
