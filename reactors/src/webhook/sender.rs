//! Deliveries in, attempts out: each when it is due, recorded, and tried again at its timer.

use std::time::{Duration, Instant};

use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};
use kernel::{AggregateId, Decider, Reason, TextError, WebhookEndpointId};
use notification::webhook::{
    Attempt, DeliveryCommand, DisabledBecause, Endpoint, EndpointCommand, Outcome, Pending,
    WebhookDelivery, WebhookEndpoint,
};
use rand::Rng;
use serde::Deserialize;
use serde_json::json;
use streams::lanes::{HandleError, Handler};
use streams::subscription::Delivery;
use streams::timers::{DueTimer, TimerId, Timers};
use streams::{Loaded, RecordedEvent, Streams, clock};

use super::http::{Answer, Post};
use super::pace::Pace;
use super::signature::sign;
use super::{ACTOR, Http, TIMERS, message};
use crate::WebhookConfig;
use crate::recorder::{Cause, Record, Recorder};

/// Longest wait for the secrets.
const QUESTION_TIMEOUT: Duration = Duration::from_secs(5);

/// What an endpoint answers that is not there any more (RFC 9110 §15.5.11).
const GONE: u16 = 410;

/// How much longer a pause may be than the schedule says, in percent: what failed at the same time is
/// not tried again at the same time.
const JITTER_PERCENT_MAX: u32 = 20;

/// What part of the places those endpoints may take that are slow to answer, as a divisor.
const SLOW_SHARE: usize = 2;

/// Why nothing is told to an endpoint that is disabled or was removed.
const NOT_TOLD: &str = "the webhook endpoint is disabled";

/// Why an event is not told that the log does not hold.
const NOT_THERE: &str = "the event is not in the log";

/// What the sender is made of.
pub(crate) struct Parts {
    pub(crate) streams: Streams,
    pub(crate) recorder: Recorder,
    pub(crate) timers: Timers,
    pub(crate) http: Http,
    pub(crate) config: WebhookConfig,
}

/// Sends what is due.
pub(crate) struct Sender {
    parts: Parts,
    pace: Pace,
}

/// What an endpoint's webhooks are signed with.
#[derive(Deserialize)]
struct Secrets {
    secrets: Vec<String>,
}

/// An attempt, and how long the endpoint wants to be left alone.
struct Tried {
    attempt: Attempt,
    retry_after: Option<Duration>,
}

/// What is to be sent, and to whom.
struct Due<'a> {
    id: &'a AggregateId,
    pending: &'a Pending,
    /// How many events the delivery has.
    version: u64,
}

impl Due<'_> {
    fn endpoint_id(&self) -> WebhookEndpointId {
        self.pending.request.endpoint_id
    }
}

impl Sender {
    pub(crate) fn new(parts: Parts) -> Self {
        Self {
            pace: Pace::new(
                parts.config.webhook_at_once,
                parts.config.webhook_lanes / SLOW_SHARE,
            ),
            parts,
        }
    }

    /// Does what the delivery's own state says: nothing, wait, give up, or try.
    async fn look_at(
        &self,
        id: &AggregateId,
        loaded: Loaded<WebhookDelivery>,
    ) -> Result<(), HandleError> {
        let Some(pending) = loaded.state.pending() else {
            return Ok(());
        };
        let now = clock::now();
        if let Some(due) = pending.due_at.filter(|due| *due > now) {
            return self.wake(id, due).await;
        }
        let endpoint_id = pending.request.endpoint_id;
        let (streams, aggregate) = (&self.parts.streams, endpoint_id.into());
        let endpoint = streams.load_current::<WebhookEndpoint>(&aggregate);
        let endpoint = endpoint.await?.state;
        let due = Due {
            id,
            pending,
            version: loaded.version,
        };
        let Some(told) = endpoint.enabled() else {
            return self.abandon(&due, NOT_TOLD).await;
        };
        let _turn = match self.pace.turn(endpoint_id) {
            Ok(turn) => turn,
            Err(wait) => {
                let wait = TimeDelta::from_std(wait).unwrap_or_default();
                return self.wake(id, now + wait).await;
            }
        };
        let Some(tried) = self.attempt(&due, told).await? else {
            return self.abandon(&due, NOT_THERE).await;
        };
        // What another URL answers than the endpoint's of now says nothing about it.
        let now = self.parts.streams.load_current(&aggregate).await?.state;
        let moved = has_moved(told, &now);
        if !moved {
            self.judge(&due, &tried.attempt, &now).await?;
        }
        self.record(&due, tried, moved).await
    }

    async fn wake(&self, id: &AggregateId, at: DateTime<Utc>) -> Result<(), HandleError> {
        let set = self.parts.timers.set(&timer(id), at).await;
        set.map_err(HandleError::retryable)
    }

    /// One attempt; `None` = there is nothing to tell.
    async fn attempt(&self, due: &Due<'_>, told: &Endpoint) -> Result<Option<Tried>, HandleError> {
        let Some(body) = self.body(due).await? else {
            return Ok(None);
        };
        let id = due.pending.request.event.event_id.to_string();
        let secrets = self.secrets(due.endpoint_id()).await?;
        let (at, begun) = (clock::now(), Instant::now());
        let timestamp = at.timestamp();
        let signature = sign(&secrets, &id, timestamp, &body).map_err(HandleError::permanent)?;
        let url = told.subscription.url.as_str();
        let post = Post {
            id: &id,
            timestamp,
            signature: &signature,
            body,
        };
        let Answer {
            outcome,
            retry_after,
        } = self.parts.http.post(url, post).await;
        let duration_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        let attempt = Attempt {
            number: due.pending.attempts.saturating_add(1),
            at,
            duration_ms,
            outcome,
        };
        Ok(Some(Tried {
            attempt,
            retry_after,
        }))
    }

    /// What is told: the event, read from the log, or that nothing has happened.
    async fn body(&self, due: &Due<'_>) -> Result<Option<Vec<u8>>, HandleError> {
        let about = &due.pending.request.event;
        let Some(position) = &about.position else {
            let test = message::test(about, due.endpoint_id());
            return test.map(Some).map_err(HandleError::permanent);
        };
        let event = self.parts.streams.event_at(position).await?;
        let Some(event) = event.filter(|event| event.id == about.event_id) else {
            return Ok(None);
        };
        let body = message::telling(about, &event);
        body.map(Some).map_err(HandleError::permanent)
    }

    async fn secrets(&self, endpoint_id: WebhookEndpointId) -> Result<Vec<String>, HandleError> {
        let asked = json!({ "endpoint_id": endpoint_id });
        let bus = self.parts.recorder.bus();
        let answer = bus.question("notification", "webhook-secrets", &asked, QUESTION_TIMEOUT);
        let answer = answer.await.map_err(HandleError::retryable)?;
        let answer: Secrets = serde_json::from_value(answer).map_err(HandleError::permanent)?;
        Ok(answer.secrets)
    }

    /// What the attempt says about the endpoint, if that is news to it as it is `now`: the call may have taken
    /// long, and others may have come through meanwhile.
    async fn judge(
        &self,
        due: &Due<'_>,
        attempt: &Attempt,
        now: &WebhookEndpoint,
    ) -> Result<(), HandleError> {
        let (command, verdict) = verdict(attempt, self.parts.config.webhook_patience_s);
        let id = due.endpoint_id().into();
        if now.decide(&command).is_ok_and(|news| news.is_empty()) {
            return Ok(());
        }
        // A refusal means that it was removed meanwhile.
        self.parts
            .recorder
            .record::<WebhookEndpoint>(Record {
                id: &id,
                command: &command,
                // An attempt that was not recorded is made again, and may end otherwise.
                label: &format!("{}/{}/{verdict}", due.id, attempt.number),
                cause: &Cause::default(),
                actor: ACTOR,
            })
            .await?;
        Ok(())
    }

    /// Where the endpoint has `moved` meanwhile, it is tried again there, also after the last try.
    async fn record(&self, due: &Due<'_>, tried: Tried, moved: bool) -> Result<(), HandleError> {
        let Tried {
            attempt,
            retry_after,
        } = tried;
        let next = || self.next(due.pending, retry_after, moved);
        let (outcome, next_at) = match &attempt.outcome {
            Outcome::Accepted { .. } => ("accepted", None),
            Outcome::Rejected { status: GONE, .. } if !moved => ("rejected", None),
            Outcome::Rejected { .. } => ("rejected", next()),
            Outcome::Unanswered { .. } => ("unanswered", next()),
        };
        metrics::counter!("webhook_attempts_total", "outcome" => outcome).increment(1);
        tracing::info!(delivery = %due.id, endpoint = %due.endpoint_id(), attempt = attempt.number, outcome, "a webhook was sent");
        let label = format!("attempt/{}", attempt.number);
        let command = DeliveryCommand::RecordWebhookAttempt { attempt, next_at };
        self.tell(due.id, &command, &label).await
    }

    async fn abandon(&self, due: &Due<'_>, why: &str) -> Result<(), HandleError> {
        let reason: Result<Reason, TextError> = why.parse();
        let command = DeliveryCommand::AbandonWebhookDelivery {
            reason: reason.map_err(HandleError::permanent)?,
        };
        // It may have been given up before, and asked for again since.
        let label = format!("abandoned/{}", due.version);
        self.tell(due.id, &command, &label).await
    }

    /// A refusal means that the delivery has moved on meanwhile.
    async fn tell(
        &self,
        id: &AggregateId,
        command: &DeliveryCommand,
        label: &str,
    ) -> Result<(), HandleError> {
        self.parts
            .recorder
            .record::<WebhookDelivery>(Record {
                id,
                command,
                label,
                cause: &Cause::default(),
                actor: ACTOR,
            })
            .await?;
        Ok(())
    }

    /// When the delivery is tried again after this try; `None` = not. Whoever asks for more time has it,
    /// within the bound.
    fn next(
        &self,
        pending: &Pending,
        retry_after: Option<Duration>,
        moved: bool,
    ) -> Option<DateTime<Utc>> {
        let config = &self.parts.config;
        let pause = pause_after(&config.webhook_retry_ms, pending.tries, moved)?;
        let asked = retry_after.unwrap_or_default();
        let pause = pause.max(asked.min(config.retry_after_max()));
        let percent = rand::rng().random_range(0..=JITTER_PERCENT_MAX);
        let pause = pause.saturating_add(pause.saturating_mul(percent) / 100);
        clock::now().checked_add_signed(TimeDelta::from_std(pause).ok()?)
    }
}

/// The pause of the schedule after so many tries; `None` = that was the last one. Where the endpoint has `moved`
/// there is another, after the last pause.
fn pause_after(schedule_ms: &[u64], tries: u32, moved: bool) -> Option<Duration> {
    let pause = schedule_ms.get(usize::try_from(tries).ok()?);
    let last = schedule_ms.last().filter(|_| moved);
    pause.or(last).copied().map(Duration::from_millis)
}

/// Has the endpoint another URL by now than the one that was asked?
fn has_moved(asked: &Endpoint, now: &WebhookEndpoint) -> bool {
    let now = now.enabled().map(|now| &now.subscription.url);
    now.is_some_and(|now| *now != asked.subscription.url)
}

/// What an attempt says about the endpoint, and the word for it.
fn verdict(attempt: &Attempt, patience_s: u64) -> (EndpointCommand, &'static str) {
    match attempt.outcome {
        Outcome::Accepted { .. } => (EndpointCommand::RecordWebhookSuccess {}, "accepted"),
        Outcome::Rejected { status: GONE, .. } => {
            let disable = EndpointCommand::DisableWebhookEndpoint {
                because: DisabledBecause::Gone,
                reason: None,
            };
            (disable, "gone")
        }
        Outcome::Rejected { .. } | Outcome::Unanswered { .. } => {
            let failure = EndpointCommand::RecordWebhookFailure {
                at: attempt.at,
                patience_s,
            };
            (failure, "failed")
        }
    }
}

/// What wakes a delivery.
pub(super) fn timer(delivery: &AggregateId) -> TimerId {
    TimerId {
        saga: TIMERS.to_owned(),
        id: delivery.clone(),
    }
}

#[async_trait]
impl Handler<RecordedEvent> for Sender {
    async fn handle(&self, delivery: &Delivery) -> Result<(), HandleError> {
        let event = &delivery.event;
        let (id, streams) = (&event.aggregate_id, &self.parts.streams);
        let loaded = streams.load_with::<WebhookDelivery>(event).await?;
        if loaded.state.pending().is_none() {
            return Ok(());
        }
        // It may have been tried since, by a worker that is gone.
        let loaded = streams.load_current::<WebhookDelivery>(id);
        self.look_at(id, loaded.await?).await
    }
}

#[async_trait]
impl Handler<DueTimer> for Sender {
    async fn handle(&self, delivery: &Delivery<DueTimer>) -> Result<(), HandleError> {
        let id = &delivery.event.id.id;
        let loaded = self.parts.streams.load_current::<WebhookDelivery>(id);
        self.look_at(id, loaded.await?).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn word(outcome: Outcome) -> &'static str {
        let attempt = Attempt {
            number: 1,
            at: DateTime::UNIX_EPOCH,
            duration_ms: 1,
            outcome,
        };
        verdict(&attempt, 60).1
    }

    #[test]
    fn an_attempt_that_is_made_again_and_ends_otherwise_is_another_command() {
        let answered = |status| Outcome::Rejected {
            status,
            excerpt: String::new(),
        };
        let accepted = word(Outcome::Accepted {
            status: 200,
            excerpt: String::new(),
        });
        let (failed, gone) = (word(answered(500)), word(answered(GONE)));
        assert!(accepted != failed && accepted != gone && failed != gone);
    }

    #[test]
    fn after_the_last_try_there_is_another_only_where_the_endpoint_has_moved() {
        let schedule = [100, 500];
        for (tries, moved, pause) in [
            (1, false, Some(500)),
            (2, false, None),
            (2, true, Some(500)),
        ] {
            let pause = pause.map(Duration::from_millis);
            assert_eq!(pause_after(&schedule, tries, moved), pause, "{tries}");
        }
    }
}
