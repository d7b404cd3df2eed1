//! The payment simulator: an HTTP server that speaks Stripe's PaymentIntents and Refunds calls, keeps a
//! ledger, sends signed webhooks, and fails on order.
//!
//! ```text
//!  POST /v1/… ─► call ─► keys: first, again or in use? ─► faults before ─► decide ─► journal (fsync) ─┐
//!                                                                                                     │
//!  answer ◄── faults after ◄──────────────────────────────────────────────────────────────────────────┤
//!  webhook ◄─ faults ◄────────────────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! What was answered, and what a webhook told, survives kill -9. A call that has arrived runs to its end even
//! when the client hangs up. Shapes and words are those of <https://docs.stripe.com/api>; a parameter that
//! the simulator doesn't have is refused, not ignored. There is no TLS, hence loopback only.

mod authenticate;
mod call;
mod command;
pub(crate) mod connection;
mod control;
mod decide;
mod faults;
mod form;
mod intent;
pub(crate) mod journal;
mod keys;
mod ledger;
mod method;
mod page;
mod read;
mod refund;
mod refusal;
mod routes;
pub(crate) mod tasks;
mod webhook;

use std::path::PathBuf;
use std::sync::Arc;
use thiserror::Error;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

pub use journal::Error as JournalError;
pub use webhook::Webhook;

/// What the payment simulator listens on, where it keeps its ledger, and whom it tells.
/// Not `Debug`: it holds secrets.
pub struct Options {
    /// Takes calls.
    pub http: TcpListener,
    /// The folder of the ledger; made if it isn't there.
    pub data: PathBuf,
    /// The key that every call must carry as `Authorization: Bearer`.
    pub secret_key: String,
    /// Where browsers find its pages, `http://…`; without it, where it listens.
    pub pages: Option<String>,
    /// Where events are sent; without it there are none.
    pub webhook: Option<Webhook>,
}

/// Why the payment simulator can't run.
#[derive(Debug, Error)]
pub enum Error {
    /// The ledger can't be read or kept.
    #[error("the payment simulator cannot keep its ledger")]
    Ledger(#[from] JournalError),
    /// The webhook can't be used.
    #[error("the webhook cannot be used: {0}")]
    Webhook(String),
    /// The HTTP side failed.
    #[error("the payment simulator cannot serve HTTP")]
    Http(#[source] std::io::Error),
}

/// Runs the payment simulator until `shutdown`, or until it can't keep its promises any more.
///
/// # Errors
/// When the ledger can't be read, or a change can't be stored.
pub async fn run(options: Options, shutdown: CancellationToken) -> Result<(), Error> {
    let with_events = options.webhook.is_some();
    let ledger = Arc::new(ledger::Ledger::open(&options.data, with_events)?);
    let faults = Arc::new(faults::Faults::default());
    let tasks = tasks::Tasks::default();
    let events = match &options.webhook {
        Some(webhook) => Some(webhook::Sender::start(webhook, &faults, &ledger, &tasks)?),
        None => None,
    };
    let pages = match options.pages {
        Some(pages) => pages.trim_end_matches('/').to_owned(),
        None => format!("http://{}", options.http.local_addr().map_err(Error::Http)?),
    };
    let calls = call::Calls::new((&ledger, &faults), events, &tasks, pages);
    let routes = routes::routes(calls, options.secret_key);
    let ended = tokio::select! {
        served = connection::serve(options.http, routes, shutdown) => served.map_err(Error::Http),
        error = ledger.failed() => Err(error.into()),
    };
    tasks.stop().await;
    ended
}

/// Lower-case hexadecimal digits.
fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String can't fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
