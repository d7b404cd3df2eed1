//! What is due when: JetStream's scheduled messages (ADR-51) in a stream of their own.
//!
//! ```text
//!   set ──► timer.sched.<saga>.<id>  ──(due)──►  timer.due.<saga>.<id>  ──► durable <saga>-timers
//! ```
//!
//! A timer survives the server's death and fires late if the server was down. It is a hint: whoever
//! gets it decides by its own state, and may get it more than once.

use async_nats::HeaderMap;
use async_nats::header;
use async_nats::jetstream::Context;
use async_nats::jetstream::context::{PublishError, PublishErrorKind};
use async_nats::jetstream::stream::LastRawMessageErrorKind;
use bytes::Bytes;
use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use futures::future::BoxFuture;
use kernel::AggregateId;
use thiserror::Error;

use crate::clock;
use crate::connection::Connection;
use crate::envelope::{DecodeCause, DecodeError, TRACEPARENT};
use crate::subscription::{
    DurableLimits, DurableSubscription, Payload, RawMessage, SubscribeError,
};
use crate::topology::{DurableSpec, TIMERS_STREAM};

/// First tokens of a schedule's subject.
const SCHEDULED: &str = "timer.sched";
/// First tokens of a fired timer's subject.
const DUE: &str = "timer.due";
/// Which subject the expectation is about; async-nats has no name for it.
const EXPECTED_SUBJECT_HEADER: &str = "Nats-Expected-Last-Subject-Sequence-Subject";
/// When it is to ring, RFC 3339: the fired message keeps it.
const DUE_HEADER: &str = "Millrace-Due";
/// Since when that is waited for which it rings for, RFC 3339: the fired message keeps it too.
const SINCE_HEADER: &str = "Millrace-Since";
/// How long a fired timer is kept.
const DUE_KEPT: &str = "720h";
/// How long the note of a cancellation is kept.
const CANCEL_KEPT: &str = "60s";
/// No schedule lies further ahead. A timer that is due later rings before, and says so: who is rung sets it again.
/// The stream asks for nothing like that: it keeps a schedule until it rings.
const AHEAD_MAX: TimeDelta = TimeDelta::days(29);
/// Tries to get one timer confirmed. Setting twice is setting once.
const SET_TRIES: u32 = 3;

/// One saga has one timer per aggregate: its next deadline.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TimerId {
    /// The saga (`checkout`): a subject token.
    pub saga: String,
    /// Whose deadline.
    pub id: AggregateId,
}

/// A timer that has fired.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DueTimer {
    /// Which.
    pub id: TimerId,
    /// When it was to ring; it may have rung later. Of one that is set far ahead not yet when it is due.
    pub due: DateTime<Utc>,
    /// Since when that is waited for, if who set it said so.
    pub since: Option<DateTime<Utc>>,
    /// The trace (W3C) that set it.
    pub traceparent: Option<String>,
}

/// Whether a cancellation came in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Canceled {
    /// It won't fire.
    InTime,
    /// It has fired, or was never set.
    NotPending,
}

/// A timer is not known to be set or canceled.
#[derive(Debug, Error)]
pub enum TimerError {
    /// The saga's name can't stand in a subject.
    #[error("{saga:?} is no name for a saga in a subject")]
    Name {
        /// What was given.
        saga: String,
    },
    /// The server did not confirm.
    #[error("timer {subject} is not known to be set")]
    Unavailable {
        /// Which.
        subject: String,
        /// What the client says.
        #[source]
        source: async_nats::Error,
    },
}

/// The due timers of one saga.
pub type TimerSubscription = DurableSubscription<DueTimer>;

/// Sets and cancels timers. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Timers {
    connection: Connection,
}

impl Timers {
    /// Over this connection.
    pub fn new(connection: &Connection) -> Self {
        Self {
            connection: connection.clone(),
        }
    }

    /// Sets the timer, in place of the one that was set before. Due in the past = fires at once. Due in more
    /// than 29 days = rings then, and has to be set again.
    ///
    /// # Errors
    /// The server did not confirm it; setting it again is safe.
    pub fn set<'a>(
        &'a self,
        timer: &'a TimerId,
        due: DateTime<Utc>,
    ) -> BoxFuture<'a, Result<(), TimerError>> {
        self.set_with(timer, due, None)
    }

    /// As [`Timers::set`], and whoever is rung is told since when that is waited for: a timer that is set again
    /// and again is not forgetful then.
    ///
    /// # Errors
    /// As [`Timers::set`].
    pub fn set_since<'a>(
        &'a self,
        timer: &'a TimerId,
        due: DateTime<Utc>,
        since: DateTime<Utc>,
    ) -> BoxFuture<'a, Result<(), TimerError>> {
        self.set_with(timer, due, Some((SINCE_HEADER, rfc3339(since))))
    }

    /// As [`Timers::set`], for whatever follows to belong to the trace of what set it.
    ///
    /// # Errors
    /// As [`Timers::set`].
    pub fn set_in_trace<'a>(
        &'a self,
        timer: &'a TimerId,
        due: DateTime<Utc>,
        traceparent: Option<&'a str>,
    ) -> BoxFuture<'a, Result<(), TimerError>> {
        let told = traceparent.map(|traceparent| (TRACEPARENT, traceparent.to_owned()));
        self.set_with(timer, due, told)
    }

    fn set_with<'a>(
        &'a self,
        timer: &'a TimerId,
        due: DateTime<Utc>,
        told: Option<(&'static str, String)>,
    ) -> BoxFuture<'a, Result<(), TimerError>> {
        Box::pin(async move {
            let subject = timer.scheduled()?;
            if let Err(source) = self.connection.withheld().allows(TIMERS_STREAM) {
                return Err(TimerError::Unavailable { subject, source });
            }
            let mut headers = schedule(timer, due, clock::now());
            if let Some((name, value)) = told {
                headers.insert(name, value.as_str());
            }
            let mut tries = 1;
            loop {
                match publish(self.connection.jetstream(), &subject, headers.clone()).await {
                    Ok(()) => return Ok(()),
                    Err(source) if tries >= SET_TRIES => {
                        let source = source.into();
                        return Err(TimerError::Unavailable { subject, source });
                    }
                    Err(error) => {
                        tracing::debug!(subject, error = %error, "timer set again");
                        tries += 1;
                    }
                }
            }
        })
    }

    /// Takes the timer back, and says whether that was in time: exact, because the server takes
    /// the cancellation only while the very schedule that was seen is still pending.
    ///
    /// # Errors
    /// The server did not answer.
    pub fn cancel<'a>(&'a self, timer: &'a TimerId) -> BoxFuture<'a, Result<Canceled, TimerError>> {
        Box::pin(async move {
            let subject = timer.scheduled()?;
            let unavailable = |source: async_nats::Error| TimerError::Unavailable {
                subject: subject.clone(),
                source,
            };
            let Some(pending) = self.pending(&subject).await? else {
                return Ok(Canceled::NotPending);
            };
            let headers = cancellation(&subject, pending);
            let jetstream = self.connection.jetstream();
            match publish(jetstream, &format!("{subject}.cancel"), headers).await {
                Ok(()) => Ok(Canceled::InTime),
                Err(error) if error.kind() == PublishErrorKind::WrongLastSequence => {
                    Ok(Canceled::NotPending)
                }
                Err(error) => Err(unavailable(error.into())),
            }
        })
    }

    /// Is the timer set, and has not fired?
    ///
    /// # Errors
    /// The server did not answer.
    pub fn is_pending<'a>(&'a self, timer: &'a TimerId) -> BoxFuture<'a, Result<bool, TimerError>> {
        Box::pin(async move {
            let subject = timer.scheduled()?;
            Ok(self.pending(&subject).await?.is_some())
        })
    }

    /// Where the schedule stands, if it is pending. The stream's leader is asked: a replica may not
    /// know yet what was set.
    async fn pending(&self, subject: &str) -> Result<Option<u64>, TimerError> {
        let unavailable = |source: async_nats::Error| TimerError::Unavailable {
            subject: subject.to_owned(),
            source,
        };
        let jetstream = self.connection.jetstream();
        let stream = jetstream.get_stream_no_info(TIMERS_STREAM).await;
        let stream = stream.map_err(|e| unavailable(e.into()))?;
        match stream.get_last_raw_message_by_subject(subject).await {
            Ok(pending) => Ok(Some(pending.sequence)),
            Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => Ok(None),
            Err(error) => Err(unavailable(error.into())),
        }
    }

    /// Binds the durable of a saga's timers (`<saga>-timers`), which `provision` made.
    ///
    /// # Errors
    /// As [`Connection::durable`].
    pub fn subscribe<'a>(
        &'a self,
        spec: &'a DurableSpec,
        limits: DurableLimits,
    ) -> BoxFuture<'a, Result<TimerSubscription, SubscribeError>> {
        Box::pin(async move { DurableSubscription::bind(&self.connection, spec, limits).await })
    }
}

impl TimerId {
    /// The subject of its schedule.
    fn scheduled(&self) -> Result<String, TimerError> {
        match self.saga.parse::<AggregateId>() {
            Ok(saga) => Ok(format!("{SCHEDULED}.{saga}.{}", self.id)),
            Err(_) => Err(TimerError::Name {
                saga: self.saga.clone(),
            }),
        }
    }

    /// The timer that fired on `subject`.
    fn fired(subject: &str) -> Option<Self> {
        let rest = subject.strip_prefix(DUE)?.strip_prefix('.')?;
        let (saga, id) = rest.split_once('.')?;
        Some(Self {
            saga: saga.to_owned(),
            id: id.parse().ok()?,
        })
    }
}

fn schedule(timer: &TimerId, due: DateTime<Utc>, now: DateTime<Utc>) -> HeaderMap {
    // What rings early is no proof that a later time has come: the time that it tells is this one.
    // Rounded up, for the same reason.
    let at = rfc3339(due.min(now + AHEAD_MAX) + TimeDelta::nanoseconds(999_999));
    let target = format!("{DUE}.{}.{}", timer.saga, timer.id);
    let mut headers = HeaderMap::new();
    headers.insert(header::NATS_EXPECTED_STREAM, TIMERS_STREAM);
    headers.insert(header::NATS_SCHEDULE, format!("@at {at}").as_str());
    headers.insert(header::NATS_SCHEDULE_TARGET, target.as_str());
    headers.insert(header::NATS_SCHEDULE_TTL, DUE_KEPT);
    headers.insert(DUE_HEADER, at.as_str());
    headers
}

/// Purges the schedule if it is still the message with that sequence.
fn cancellation(subject: &str, sequence: u64) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(header::NATS_EXPECTED_STREAM, TIMERS_STREAM);
    headers.insert(header::NATS_SCHEDULER, subject);
    headers.insert(header::NATS_SCHEDULE_NEXT, "purge");
    headers.insert(
        header::NATS_EXPECTED_LAST_SUBJECT_SEQUENCE,
        sequence.to_string().as_str(),
    );
    headers.insert(EXPECTED_SUBJECT_HEADER, subject);
    headers.insert(header::NATS_MESSAGE_TTL, CANCEL_KEPT);
    headers
}

async fn publish(
    jetstream: &Context,
    subject: &str,
    headers: HeaderMap,
) -> Result<(), PublishError> {
    let subject = subject.to_owned();
    let sent = jetstream.publish_with_headers(subject, headers, Bytes::new());
    sent.await?.await.map(|_| ())
}

fn rfc3339(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Millis, true)
}

impl Payload for DueTimer {
    fn read(message: &RawMessage<'_>) -> Result<Self, DecodeError> {
        let unreadable = |cause| DecodeError {
            position: message.position.clone(),
            subject: message.subject.to_owned(),
            cause,
        };
        let id = TimerId::fired(message.subject).ok_or_else(|| unreadable(DecodeCause::Subject))?;
        let header = |name: &str| message.headers.and_then(|headers| headers.get(name));
        let time = |name: &'static str| {
            let told = header(name).map(|told| DateTime::parse_from_rfc3339(told.as_str()));
            let told = told.transpose().map_err(|_| {
                unreadable(DecodeCause::BadHeader {
                    header: name,
                    wanted: "a time (RFC 3339)",
                })
            });
            told.map(|told| told.map(|told| told.with_timezone(&Utc)))
        };
        Ok(Self {
            id,
            due: time(DUE_HEADER)?
                .ok_or_else(|| unreadable(DecodeCause::MissingHeader { header: DUE_HEADER }))?,
            since: time(SINCE_HEADER)?,
            traceparent: header(TRACEPARENT).map(|told| told.as_str().to_owned()),
        })
    }

    fn lane_key(&self) -> &str {
        self.id.id.as_str()
    }

    fn lane_key_of(message: &RawMessage<'_>) -> String {
        match TimerId::fired(message.subject) {
            Some(id) => id.id.to_string(),
            None => message.subject.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use chrono::SubsecRound;

    use super::*;

    fn timer(saga: &str) -> TimerId {
        TimerId {
            saga: saga.to_owned(),
            id: "o-1".parse().unwrap(),
        }
    }

    #[test]
    fn a_fired_subject_names_its_timer() {
        assert_eq!(
            TimerId::fired("timer.due.checkout.o-1"),
            Some(timer("checkout"))
        );
        for foreign in [
            "timer.due.checkout",
            "timer.sched.checkout.o-1",
            "timer.due.a.b.c",
        ] {
            assert_eq!(TimerId::fired(foreign), None, "{foreign}");
        }
    }

    #[test]
    fn a_saga_name_that_is_no_token_is_refused() {
        for bad in ["", "a.b", "*", "a b"] {
            assert!(timer(bad).scheduled().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn what_is_due_beyond_the_streams_memory_rings_early_and_says_so() {
        let now = Utc::now().trunc_subsecs(3);
        let due = now + TimeDelta::days(90);
        let headers = schedule(&timer("checkout"), due, now);
        let at = headers.get(header::NATS_SCHEDULE).unwrap().as_str();
        assert_eq!(at, format!("@at {}", rfc3339(now + AHEAD_MAX)));
        let told = headers.get(DUE_HEADER).unwrap().as_str();
        assert_eq!(told, rfc3339(now + AHEAD_MAX), "no proof that it is due");
    }
}
