//! The reconciliation, every day: a mismatch stands on the payment's record until it is none any more, and in
//! the log. What is no payment's of ours has no record, and is counted each time.

use std::collections::HashSet;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use payment::{Payment, PaymentCommand};
use streams::lanes::{HandleError, Handler};
use streams::subscription::Delivery;
use streams::timers::{DueTimer, TimerError, TimerId, Timers};
use streams::{Connection, Streams, clock};

use crate::ReconcileConfig;
use crate::provider::Provider;
use crate::reconcile::{Mismatched, Reconciler};
use crate::recorder::{Cause, Record, RecordError, Recorded, Recorder};

/// As what this reactor acts.
const ACTOR: &str = "reactor:reconciliation";

/// Whose timer it is, and its one id.
const TIMERS: &str = "reconciliation";

/// As [`TIMERS`].
const TIMER: &str = "daily";

/// Compares when its timer rings.
pub(crate) struct Daily {
    pub(crate) connection: Connection,
    pub(crate) streams: Streams,
    pub(crate) recorder: Recorder,
    pub(crate) provider: Provider,
    pub(crate) config: ReconcileConfig,
}

impl Daily {
    /// Sets the timer, if it is not set: at the very first start, and when stream TIMERS lost it.
    ///
    /// # Errors
    /// The server did not confirm it.
    pub(crate) async fn arm(&self) -> Result<(), TimerError> {
        let timers = Timers::new(&self.connection);
        let Some(timer) = timer() else {
            return Ok(());
        };
        if timers.is_pending(&timer).await? {
            return Ok(());
        }
        timers.set(&timer, clock::now() + self.config.every()).await
    }

    /// Compares, and records what differs or is equal again.
    async fn reconcile(&self, due: DateTime<Utc>) -> Result<(), HandleError> {
        let reconciler = Reconciler {
            connection: &self.connection,
            streams: &self.streams,
            provider: &self.provider,
            progress: &|_| {},
        };
        let since = clock::now() - self.config.window();
        let report = reconciler.run(since).await;
        let report = report.map_err(HandleError::retryable)?;
        for found in &report.mismatches {
            tracing::error!(
                intent = found.intent_id,
                payment = found.payment_id.as_ref().map(tracing::field::display),
                differences = ?found.differences,
                "the payment provider's record differs from ours: see `millrace reconcile`"
            );
        }
        let mut unknown = 0;
        let mut told = HashSet::new();
        for found in &report.mismatches {
            // One stands on a payment's record, and another of the same payment once that one is none any more.
            // Else they would take each other's place every day.
            if found
                .payment_id
                .as_ref()
                .is_some_and(|id| told.contains(id))
            {
                continue;
            }
            if self.record(found, due).await? {
                told.extend(found.payment_id.clone());
            } else {
                unknown += 1;
            }
        }
        for found in &report.settled {
            self.record(found, due).await?;
        }
        if unknown > 0 {
            // Not a gauge: whoever compares next may be another process, and would leave it standing.
            metrics::counter!("payment_intents_unknown_total").increment(unknown);
        }
        tracing::info!(
            intents = report.intents,
            payments = report.payments,
            mismatches = report.mismatches.len(),
            "held the payments against the provider's list"
        );
        Ok(())
    }

    /// On the payment's record; false = the intent is no payment's of ours.
    async fn record(&self, found: &Mismatched, due: DateTime<Utc>) -> Result<bool, HandleError> {
        let Some(id) = &found.payment_id else {
            return Ok(false);
        };
        let command = PaymentCommand::ReconcilePayment {
            seen: found.provider.clone(),
        };
        let record = Record {
            id,
            command: &command,
            label: &format!("reconciled/{}/{}", due.timestamp_millis(), found.intent_id),
            cause: &Cause {
                correlation_id: found.order_id.map(|order_id| order_id.to_string()),
                ..Cause::default()
            },
            actor: ACTOR,
        };
        match self.recorder.record::<Payment>(record).await {
            Ok(Recorded::At(_)) => Ok(true),
            // It names one that was never requested.
            Ok(Recorded::Refused(code)) => {
                tracing::info!(payment = %id, code, "a mismatch has no payment to stand on");
                Ok(false)
            }
            // The payment can't be read: the others are to be told of all the same.
            Err(
                error @ RecordError::Failed {
                    retryable: false, ..
                },
            ) => {
                let error = &error as &dyn std::error::Error;
                tracing::error!(payment = %id, error, "a mismatch can't be put on the payment's record");
                Ok(true)
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// `None` can't be: the id is a token.
fn timer() -> Option<TimerId> {
    Some(TimerId {
        saga: TIMERS.to_owned(),
        id: TIMER.parse().ok()?,
    })
}

#[async_trait]
impl Handler<DueTimer> for Daily {
    async fn handle(&self, delivery: &Delivery<DueTimer>) -> Result<(), HandleError> {
        self.reconcile(delivery.event.due).await?;
        let timers = Timers::new(&self.connection);
        let next = clock::now() + self.config.every();
        let set = timers.set(&delivery.event.id, next).await;
        set.map_err(HandleError::retryable)
    }
}
