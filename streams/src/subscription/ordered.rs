//! Every event of a stream, or every one that matches, from a position on: once, in order, whatever
//! the server does.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_nats::connection::State;
use async_nats::jetstream::consumer::pull::{self, MessagesErrorKind};
use async_nats::jetstream::{self, Context};
use chrono::{DateTime, Utc};
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt};
use kernel::Position;
use tokio::time::Instant;

use super::delivery::{raw, read_event};
use super::opening::{Begin, Opened, open};
use super::{Backoff, SubscriptionError};
use crate::connection::Connection;
use crate::envelope::RecordedEvent;

/// Missing heartbeats in a row (each noticed after twice the interval) before it is rebuilt.
const MISSED_HEARTBEATS_MAX: u32 = 2;
/// How often to look whether the connection was made anew (the consumer may be gone then).
const RECONNECT_CHECK: Duration = Duration::from_millis(500);
/// Pause after the first failed attempt to start, doubled each time.
const RETRY_FIRST: Duration = Duration::from_millis(100);
/// Longest pause between attempts.
const RETRY_MAX: Duration = Duration::from_secs(5);
/// Longest that a batch is waited for; who would wait longer waits so long.
const LINGER_MAX: Duration = Duration::from_hours(24);

/// A stream's events from a position on.
///
/// It stands on an ephemeral pull consumer of its own under a new name per start. Whatever
/// goes wrong (server away, consumer forgotten, a delivery lost on the way), it starts a new one
/// behind the last event that it has read; what comes twice is dropped.
pub struct OrderedSubscription {
    jetstream: Context,
    stream: String,
    /// Which subjects; `None` = all of the stream.
    filter: Option<String>,
    /// From which time on, while nothing was read.
    since: Option<DateTime<Utc>>,
    /// The last sequence that was read.
    read: u64,
    /// Of the last message within the present consumer: a gap here is a lost delivery.
    consumer_sequence: u64,
    live: Option<Live>,
    /// It outlives a canceled future too.
    opening: Option<Opening>,
    /// Events behind `read`, as the server said last: the node that is read from, which may be behind the
    /// stream's leader.
    pending: Option<u64>,
    /// The last sequence that is to be read, as the leader said when the present consumer was made.
    end: u64,
    missed_heartbeats: u32,
    backoff: Backoff,
    current: Arc<AtomicBool>,
    /// Read, but not handed out yet: a batch in the making outlives a canceled future.
    waiting: VecDeque<Result<RecordedEvent, SubscriptionError>>,
}

struct Live {
    messages: pull::Stream,
    /// How often the client had connected when this began.
    connects: u64,
}

/// A consumer in the making.
struct Opening {
    connects: u64,
    /// Never locked: it is what makes a reader one that threads may share.
    opened: Mutex<BoxFuture<'static, Result<Opened, async_nats::Error>>>,
}

impl Connection {
    /// The events of `stream` behind position `after` (0 = all of them). Nothing is asked of the
    /// server before the first read.
    pub fn ordered(&self, stream: &str, after: u64) -> OrderedSubscription {
        OrderedSubscription::new(self.jetstream(), stream, after)
    }

    /// The same, of the subjects that match `filter` alone. A missing event is noticed as a missing
    /// delivery only: what lies between two that match is not told.
    pub fn ordered_matching(
        &self,
        stream: &str,
        filter: impl Into<String>,
        after: u64,
    ) -> OrderedSubscription {
        let mut ordered = self.ordered(stream, after);
        ordered.filter = Some(filter.into());
        ordered
    }

    /// The same, from what the server stored at `since` or later.
    pub fn ordered_since(
        &self,
        stream: &str,
        filter: impl Into<String>,
        since: DateTime<Utc>,
    ) -> OrderedSubscription {
        let mut ordered = self.ordered_matching(stream, filter, 0);
        ordered.since = Some(since);
        ordered
    }

    /// The same, of all of the stream. Where it begins can't be told before, and what was deleted since is
    /// no gap.
    pub fn ordered_all_since(&self, stream: &str, since: DateTime<Utc>) -> OrderedSubscription {
        let mut ordered = self.ordered(stream, 0);
        ordered.since = Some(since);
        ordered
    }
}

impl OrderedSubscription {
    fn new(jetstream: &Context, stream: &str, after: u64) -> Self {
        Self {
            jetstream: jetstream.clone(),
            stream: stream.to_owned(),
            filter: None,
            since: None,
            read: after,
            consumer_sequence: 0,
            live: None,
            opening: None,
            pending: None,
            end: 0,
            missed_heartbeats: 0,
            current: Arc::default(),
            backoff: Backoff::new(RETRY_FIRST, RETRY_MAX),
            waiting: VecDeque::new(),
        }
    }

    /// Waits until the server has been reached, so that [`Self::pending`] is known even when
    /// nothing comes. Cancel-safe, may be called again.
    ///
    /// # Errors
    /// As [`Self::next`].
    pub fn start(&mut self) -> BoxFuture<'_, Result<(), SubscriptionError>> {
        Box::pin(async move {
            while self.live.is_none() {
                self.connect().await?;
            }
            Ok(())
        })
    }

    /// As [`Self::next`], but `None` once the server has been reached for the first time: so who waits until it
    /// has caught up hears of it also where nothing comes. Cancel-safe.
    ///
    /// # Errors
    /// As [`Self::next`].
    pub async fn started_or_next(&mut self) -> Result<Option<RecordedEvent>, SubscriptionError> {
        if self.pending().is_none() {
            self.start().await?;
            return Ok(None);
        }
        self.next().await.map(Some)
    }

    /// The next event; waits for it as long as it takes. Cancel-safe.
    ///
    /// # Errors
    /// The log is damaged (a gap, an end before our position) or an event can't be read. A gap and
    /// a log that is too short are reported again by the next call; behind an unreadable event the
    /// next call goes on, so a reader that must not skip it stops here.
    pub async fn next(&mut self) -> Result<RecordedEvent, SubscriptionError> {
        match self.waiting.pop_front() {
            Some(first) => first,
            None => self.receive_boxed().await,
        }
    }

    fn receive_boxed(&mut self) -> BoxFuture<'_, Result<RecordedEvent, SubscriptionError>> {
        Box::pin(self.receive())
    }

    /// Waits for one event, then takes what is there, up to `max`. While the server has said that
    /// more is on its way, waits for that too, but never longer than `linger` (and a day). Cancel-safe; never
    /// empty when `max` is above 0.
    ///
    /// # Errors
    /// As [`Self::next`]; events read before the error are handed out first.
    pub fn next_batch(
        &mut self,
        max: usize,
        linger: Duration,
    ) -> BoxFuture<'_, Result<Vec<RecordedEvent>, SubscriptionError>> {
        Box::pin(async move {
            if self.waiting.is_empty() && max > 0 {
                let first = self.receive().await;
                self.waiting.push_back(first);
            }
            let until = Instant::now() + linger.min(LINGER_MAX);
            while self.waiting.len() < max && self.waiting.back().is_some_and(Result::is_ok) {
                let Some(next) = self.receive_until(until).await else {
                    break;
                };
                self.waiting.push_back(next);
            }
            self.hand_out(max)
        })
    }

    /// Whether nothing has happened, as far as is known, that was not handed out: false from the loss of
    /// the server or of the consumer until the reader asks for more behind all that had come
    /// meanwhile. A loss that nobody tells of is noticed by a missing heartbeat.
    pub fn current(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.current)
    }

    /// How many events lie behind what was handed out, as far as the server has said.
    /// `None` until it was reached.
    pub fn pending(&self) -> Option<u64> {
        let waiting = u64::try_from(self.waiting.len()).unwrap_or(u64::MAX);
        let lacking = u64::from(self.read < self.end);
        self.pending
            .map(|behind| behind.max(lacking).saturating_add(waiting))
    }

    /// Has everything been handed out that the log held when the server spoke last, and all that the stream's
    /// leader knew of when the present consumer began?
    pub fn caught_up(&self) -> bool {
        self.pending() == Some(0)
    }

    /// The stream's name.
    pub fn stream(&self) -> &str {
        &self.stream
    }

    fn hand_out(&mut self, max: usize) -> Result<Vec<RecordedEvent>, SubscriptionError> {
        let mut batch = Vec::with_capacity(self.waiting.len().min(max));
        while batch.len() < max {
            match self.waiting.pop_front() {
                Some(Ok(event)) => batch.push(event),
                Some(Err(error)) if batch.is_empty() => return Err(error),
                Some(Err(error)) => {
                    self.waiting.push_front(Err(error));
                    break;
                }
                None => break,
            }
        }
        Ok(batch)
    }

    /// What is there now; waits up to `until` only while the server has more.
    async fn receive_until(
        &mut self,
        until: Instant,
    ) -> Option<Result<RecordedEvent, SubscriptionError>> {
        if let Some(there) = self.receive().now_or_never() {
            return Some(there);
        }
        if self.pending == Some(0) && self.read >= self.end {
            return None;
        }
        tokio::time::timeout_at(until, self.receive()).await.ok()
    }

    /// The next event from the server. Cancel-safe: the state changes only between the awaits.
    async fn receive(&mut self) -> Result<RecordedEvent, SubscriptionError> {
        loop {
            self.current.store(self.is_at_the_end(), Ordering::Release);
            let Some(live) = self.live.as_mut() else {
                self.connect().await?;
                continue;
            };
            let message = tokio::select! {
                biased;
                message = live.messages.next() => message,
                () = tokio::time::sleep(RECONNECT_CHECK) => {
                    if live.connects != connects(&self.jetstream) {
                        self.rebuild("the connection was made anew");
                    }
                    continue;
                }
            };
            match message {
                Some(Ok(message)) => {
                    if let Some(event) = self.accept(&message)? {
                        return Ok(event);
                    }
                }
                Some(Err(error)) => self.stumble(&error),
                None => self.rebuild("the consumer's messages ended"),
            }
        }
    }

    /// The reader has had everything, the server is there, and it would have told of more.
    fn is_at_the_end(&self) -> bool {
        let connected = || self.jetstream.client().connection_state() == State::Connected;
        self.caught_up() && self.live.is_some() && self.missed_heartbeats == 0 && connected()
    }

    /// Checks that this is the message that must come now, and decodes it.
    fn accept(
        &mut self,
        message: &jetstream::Message,
    ) -> Result<Option<RecordedEvent>, SubscriptionError> {
        let Some((raw, info)) = raw(message) else {
            self.rebuild("a message without delivery information");
            return Ok(None);
        };
        if info.consumer_sequence != self.consumer_sequence + 1 {
            self.rebuild("a delivery was lost");
            return Ok(None);
        }
        self.consumer_sequence += 1;
        self.missed_heartbeats = 0;
        if info.stream_sequence <= self.read {
            self.rebuild("the server went backwards");
            return Ok(None);
        }
        let is_whole = self.filter.is_none() && self.since.is_none();
        if is_whole && info.stream_sequence != self.read + 1 {
            let error = SubscriptionError::Gap {
                expected: Position::new(self.stream.as_str(), self.read + 1),
                found: info.stream_sequence,
            };
            self.rebuild("the log has a gap");
            return Err(error);
        }
        self.read = info.stream_sequence;
        self.pending = Some(info.pending);
        self.backoff.worked();
        match read_event(&raw) {
            Ok(event) => Ok(Some(event)),
            Err(source) => Err(SubscriptionError::Unreadable {
                position: raw.position,
                source: Box::new(source),
            }),
        }
    }

    fn stumble(&mut self, error: &pull::MessagesError) {
        if error.kind() == MessagesErrorKind::MissingHeartbeat {
            self.missed_heartbeats += 1;
            if self.missed_heartbeats < MISSED_HEARTBEATS_MAX {
                tracing::debug!(stream = self.stream, "missed a heartbeat");
                return;
            }
        }
        self.rebuild(&error.to_string());
    }

    /// Gives the present consumer up; the next read starts a new one behind `read`.
    fn rebuild(&mut self, why: &str) {
        metrics::counter!("streams_subscription_rebuilds_total", "stream" => self.stream.clone())
            .increment(1);
        let pause_ms = self.backoff.failed().as_millis();
        tracing::warn!(stream = self.stream, position = self.read, %pause_ms, why, "ordered subscription starts anew");
        self.live = None;
        self.current.store(false, Ordering::Release);
    }

    /// Makes a consumer behind `read`. A failure is logged and waited for, not returned. Cancel-safe: what is under
    /// way is gone on with, for each beginning is a consumer at the server.
    async fn connect(&mut self) -> Result<(), SubscriptionError> {
        if self.opening.is_none() {
            self.backoff.wait().await;
            self.opening = Some(Opening {
                connects: connects(&self.jetstream),
                opened: Mutex::new(open(self.begin()).boxed()),
            });
        }
        let Some(opening) = &mut self.opening else {
            return Ok(());
        };
        let connects = opening.connects;
        let opened = opening.opened.get_mut();
        let opened = opened.unwrap_or_else(PoisonError::into_inner).await;
        self.opening = None;
        match opened {
            Ok(Opened {
                messages,
                pending,
                ends,
            }) => {
                // Nothing pending is either "at the end" or "beyond it".
                if pending == 0 && ends.stream < self.read {
                    self.backoff.failed();
                    return Err(SubscriptionError::Ahead {
                        position: Position::new(self.stream.as_str(), self.read),
                        last: ends.stream,
                    });
                }
                self.consumer_sequence = 0;
                self.missed_heartbeats = 0;
                self.pending = Some(pending);
                self.end = ends.matching;
                self.live = Some(Live { messages, connects });
            }
            Err(error) => {
                let pause_ms = self.backoff.failed().as_millis();
                tracing::warn!(stream = self.stream, error = %error, %pause_ms, "no consumer yet");
            }
        }
        Ok(())
    }

    fn begin(&self) -> Begin {
        Begin {
            jetstream: self.jetstream.clone(),
            stream: self.stream.clone(),
            filter: self.filter.clone(),
            since: self.since,
            read: self.read,
        }
    }
}

fn connects(jetstream: &Context) -> u64 {
    let statistics = jetstream.client().statistics();
    statistics
        .connects
        .load(std::sync::atomic::Ordering::Relaxed)
}
