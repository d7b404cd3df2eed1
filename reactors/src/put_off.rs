//! Mails that the server puts off, by themselves and not all: each is tried again at its timer, ever more rarely,
//! and has failed after about a day. One whose timer is lost waits for an operator: the radar shows it.

use std::error::Error;

use chrono::{DateTime, TimeDelta, Utc};
use notification::NotificationCommand;
use streams::lanes::HandleError;
use streams::log::chain;
use streams::timers::{TimerId, Timers};
use streams::topology::{Acks, DurableSpec};
use streams::{RecordedEvent, clock};

use crate::{MAILS, SmtpConfig};

/// Whose timers these are.
const TIMERS: &str = "mailer";

/// Rings for mails that were put off. Why one is not sent now says its notification, not its timer.
pub(crate) const TIMER_DURABLE: DurableSpec = DurableSpec {
    name: "mailer-timers",
    stream: "TIMERS",
    kind: None,
    acks: Acks::Each,
    on_failure: MAILS,
};

/// The first pause. Each is as long as the mail has been put off.
const PAUSE_FIRST: TimeDelta = TimeDelta::seconds(1);

/// How long a mail may be put off, from when it was offered first: one that waited for days for a server that was
/// away has not been put off yet.
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

    /// Has the mail that `asked` asks for tried again at its timer, which has told `since` when it is put off, if
    /// it rang before; what comes back is to be recorded instead.
    ///
    /// # Errors
    /// The timer is not known to be set.
    pub(crate) async fn try_again(
        &self,
        PutOff(why): PutOff,
        asked: &RecordedEvent,
        since: Option<DateTime<Utc>>,
    ) -> Result<Option<NotificationCommand>, HandleError> {
        let (now, id) = (clock::now(), &asked.aggregate_id);
        let since = put_off_since(since, asked.recorded_at, now);
        let Some(due) = next_try(since, now, self.pause_max) else {
            tracing::error!(notification = %id, error = &*why as &dyn Error, "a mail was put off for too long: it has failed");
            let reason = format!("put off for too long: {}", chain(&*why));
            return Ok(Some(NotificationCommand::RecordFailure { reason }));
        };
        tracing::warn!(notification = %id, error = &*why as &dyn Error, "a mail is put off; it is tried again at its timer");
        let timer = TimerId {
            saga: TIMERS.to_owned(),
            id: id.clone(),
        };
        let set = self.timers.set_since(&timer, due, since).await;
        set.map(|()| None).map_err(HandleError::retryable)
    }
}

/// A timer may have been set for what was asked before: an operator has it sent again, and its day begins anew.
fn put_off_since(
    told: Option<DateTime<Utc>>,
    asked_at: DateTime<Utc>,
    now: DateTime<Utc>,
) -> DateTime<Utc> {
    told.unwrap_or(now).max(asked_at)
}

/// When it is tried again; `None` = no more.
fn next_try(
    since: DateTime<Utc>,
    now: DateTime<Utc>,
    pause_max: TimeDelta,
) -> Option<DateTime<Utc>> {
    let waited = now - since;
    (waited < PATIENCE).then(|| now + waited.max(PAUSE_FIRST).min(pause_max))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mail_that_is_put_off_is_tried_ever_more_rarely_for_a_day() {
        let (asked, pause_max) = (Utc::now(), TimeDelta::minutes(10));
        // Its server was away from Friday to Monday.
        let first = asked + TimeDelta::days(3);
        let (mut now, mut told, mut tries) = (first, None, 0);
        loop {
            let since = put_off_since(told, asked, now);
            let Some(next) = next_try(since, now, pause_max) else {
                break;
            };
            assert!(next - now >= PAUSE_FIRST && next - now <= pause_max);
            (now, told, tries) = (next, Some(since), tries + 1);
        }
        assert!(now - first >= PATIENCE && now - first <= PATIENCE + pause_max);
        // Each leaves a message in stream TIMERS for a month.
        assert!((100..200).contains(&tries), "{tries}");
    }
    #[test]
    fn a_mail_that_is_asked_for_again_has_its_day_anew() {
        let now = Utc::now();
        let (long_ago, asked) = (now - TimeDelta::days(2), now - TimeDelta::seconds(5));
        assert_eq!(put_off_since(Some(long_ago), asked, now), asked);
    }
}
