//! Mails that the server puts off, by themselves and not all: each is tried again at its timer, ever more rarely,
//! and has failed after about a day. One whose timer is lost waits for an operator: the radar shows it.

use std::error::Error;

use chrono::{DateTime, TimeDelta, Utc};
use notification::NotificationCommand;
use streams::lanes::HandleError;
use streams::log::chain;
use streams::timers::{TimerId, Timers};
use streams::topology::{Acks, DurableSpec, OnFailure};
use streams::{RecordedEvent, clock};

use crate::SmtpConfig;

/// Whose timers these are.
const TIMERS: &str = "mailer";

/// Rings for mails that were put off. Why one is not sent now says its notification, not its timer.
pub(crate) const TIMER_DURABLE: DurableSpec = DurableSpec {
    name: "mailer-timers",
    stream: "TIMERS",
    kind: None,
    acks: Acks::Each,
    on_failure: OnFailure::Retry,
};

/// The first pause. Each is as long as the mail has waited.
const PAUSE_FIRST: TimeDelta = TimeDelta::seconds(1);

/// How long a mail may be put off, from when it was asked for.
const PATIENCE: TimeDelta = TimeDelta::days(1);

/// Why the server did not take a mail when it was offered, nor refused it for good.
pub(crate) struct PutOff(pub(crate) Box<dyn Error + Send + Sync>);

/// Sets the timers.
pub(crate) struct Later {
    timers: Timers,
    pause_max: TimeDelta,
}

impl Later {
    pub(crate) fn new(timers: Timers, config: &SmtpConfig) -> Self {
        let pause_max = TimeDelta::from_std(config.mail_pause_max()).unwrap_or(PATIENCE);
        Self { timers, pause_max }
    }

    /// Has the mail that `asked` asks for tried again at its timer; what comes back is to be recorded instead.
    ///
    /// # Errors
    /// The timer is not known to be set.
    pub(crate) async fn try_again(
        &self,
        PutOff(why): PutOff,
        asked: &RecordedEvent,
    ) -> Result<Option<NotificationCommand>, HandleError> {
        let (now, id) = (clock::now(), &asked.aggregate_id);
        let Some(due) = next_try(asked.recorded_at, now, self.pause_max) else {
            tracing::error!(notification = %id, error = &*why as &dyn Error, "a mail was put off for too long: it has failed");
            let reason = format!("put off for too long: {}", chain(&*why));
            return Ok(Some(NotificationCommand::RecordFailure { reason }));
        };
        tracing::warn!(notification = %id, error = &*why as &dyn Error, "a mail is put off; it is tried again at its timer");
        let timer = TimerId {
            saga: TIMERS.to_owned(),
            id: id.clone(),
        };
        let set = self.timers.set(&timer, due).await;
        set.map(|()| None).map_err(HandleError::retryable)
    }
}

/// When it is tried again; `None` = no more.
fn next_try(
    asked_at: DateTime<Utc>,
    now: DateTime<Utc>,
    pause_max: TimeDelta,
) -> Option<DateTime<Utc>> {
    let waited = now - asked_at;
    (waited < PATIENCE).then(|| now + waited.max(PAUSE_FIRST).min(pause_max))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mail_that_is_put_off_is_tried_ever_more_rarely_for_a_day() {
        let (asked, pause_max) = (Utc::now(), TimeDelta::minutes(10));
        let (mut now, mut tries) = (asked, 0);
        while let Some(next) = next_try(asked, now, pause_max) {
            assert!(next - now >= PAUSE_FIRST && next - now <= pause_max);
            (now, tries) = (next, tries + 1);
        }
        assert!(now - asked >= PATIENCE && now - asked <= PATIENCE + pause_max);
        // Each leaves a message in stream TIMERS for a month.
        assert!((100..200).contains(&tries), "{tries}");
    }
}
