//! Letters that wait: each has a timer, and none is forgotten.

use std::time::Duration;

use chrono::TimeDelta;
use kernel::AggregateId;
use streams::inbox::{Inbox, InboxError, Letter};
use streams::timers::{TimerError, TimerId, Timers};
use streams::{Connection, clock};
use thiserror::Error;
use tokio_util::sync::CancellationToken;

use crate::inbox::SOURCE;

/// Whose timers wake waiting letters.
const TIMERS: &str = "inbox";

/// The first pause of a letter that must wait: what it belongs to is usually about to be recorded.
const PAUSE_FIRST: TimeDelta = TimeDelta::seconds(1);

/// The longest pause: whoever mends something sees the effect within the hour.
const PAUSE_MAX: TimeDelta = TimeDelta::hours(1);

/// How often the letters are counted.
const COUNT_INTERVAL: Duration = Duration::from_secs(15);

/// How often the timers of all letters are looked at, after the first time.
const ARM_INTERVAL: Duration = Duration::from_mins(10);

/// How often what is left on disk of removed letters is thrown away.
const SCRUB_INTERVAL: Duration = Duration::from_mins(10);

/// Wakes letters, and counts them.
pub(crate) struct Waiting {
    inbox: Inbox,
    timers: Timers,
}

impl Waiting {
    pub(crate) fn new(connection: &Connection) -> Self {
        Self {
            inbox: Inbox::new(connection),
            timers: Timers::new(connection),
        }
    }

    /// It has waited as long as it will wait again: each pause is twice the one before.
    ///
    /// # Errors
    /// The timer is not known to be set.
    pub(crate) async fn wake_later(&self, letter: &Letter) -> Result<(), TimerError> {
        let now = clock::now();
        let waited = now - letter.received_at;
        let due = now + waited.clamp(PAUSE_FIRST, PAUSE_MAX);
        self.timers.set(&timer(&letter.id.id), due).await
    }

    /// Counts the letters, sets the timers of those that have none, and has the worked ones off the
    /// disk: at once, and now and then, until `shutdown`.
    pub(crate) async fn tend(&self, shutdown: CancellationToken) {
        let mut counted = tokio::time::interval(COUNT_INTERVAL);
        let mut armed = tokio::time::interval(ARM_INTERVAL);
        let mut scrubbed = tokio::time::interval(SCRUB_INTERVAL);
        let tending = async {
            loop {
                tokio::select! {
                    _ = counted.tick() => self.count().await,
                    _ = armed.tick() => self.arm_all().await,
                    _ = scrubbed.tick() => self.scrub().await,
                }
            }
        };
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = tending => {}
        }
    }

    async fn count(&self) {
        match self.inbox.backlog().await {
            #[expect(clippy::cast_precision_loss, reason = "a gauge is a float")]
            Ok((letters, oldest)) => {
                let waited =
                    oldest.map_or(0, |oldest| (clock::now() - oldest).num_seconds().max(0));
                metrics::gauge!("inbox_letters").set(letters as f64);
                metrics::gauge!("inbox_oldest_letter_s").set(waited as f64);
            }
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::debug!(error, "the letters are counted again later");
            }
        }
    }

    async fn scrub(&self) {
        if let Err(error) = self.inbox.scrub().await {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(error, "removed letters are thrown away later");
        }
    }

    async fn arm_all(&self) {
        if let Err(error) = self.arm_again().await {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(error, "the letters' timers are looked at again later");
        }
    }

    /// Sets the timer of every letter that has none: what stream TIMERS lost, and what a process
    /// left between a letter and its timer.
    async fn arm_again(&self) -> Result<(), ArmError> {
        let due = clock::now() + PAUSE_FIRST;
        for letter in self.inbox.waiting().await? {
            let timer = timer(&letter.id);
            if letter.source == SOURCE && !self.timers.is_pending(&timer).await? {
                self.timers.set(&timer, due).await?;
            }
        }
        Ok(())
    }
}

/// Waiting letters may not be woken.
#[derive(Debug, Error)]
enum ArmError {
    /// They can't be listed.
    #[error("the letters can't be listed")]
    Inbox(#[from] InboxError),
    /// A timer is not known to be set.
    #[error("a letter's timer is not set")]
    Timer(#[from] TimerError),
}

fn timer(letter: &AggregateId) -> TimerId {
    TimerId {
        saga: TIMERS.to_owned(),
        id: letter.clone(),
    }
}
