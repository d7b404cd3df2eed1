//! The parked keys of one subscription, as its role sees and changes them.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::header::{NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, NATS_EXPECTED_STREAM};
use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};
use thiserror::Error;
use tokio::sync::watch;

use super::follow::Follower;
use super::keys::{Keys, ParkedKey, Waiting};
use super::record::{Note, ParkedEvent, Record, What};
use super::{all_of, subject};
use crate::clock;
use crate::connection::Connection;
use crate::subscription::DurableLimits;
use crate::topology::PARKED_STREAM;

/// How often one record is decided on anew, because another process wrote in between or because
/// an answer got lost.
const TRIES: u32 = 5;

/// How often at least a process that tries says so before it would be taken for dead.
const SAID_WITHIN_SILENCE: u32 = 4;

/// Stream PARKED could not be read or written. Nothing was acknowledged because of it.
#[derive(Debug, Error)]
pub enum ParkingError {
    /// It could not be read.
    #[error("what is parked of {of} can't be read")]
    Read {
        /// The subscription or subject.
        of: String,
        /// What the client says.
        #[source]
        source: async_nats::Error,
    },
    /// It could not be written, or is not known to be.
    #[error("{subject} could not be written")]
    Write {
        /// The subject.
        subject: String,
        /// What the client says.
        #[source]
        source: async_nats::Error,
    },
    /// A record that must be there is not.
    #[error("{subject} has no event at {sequence}")]
    Lost {
        /// The subject.
        subject: String,
        /// The place in stream PARKED.
        sequence: u64,
    },
    /// There is nothing parked under this key.
    #[error("{subscription} has nothing parked under {key}")]
    NotParked {
        /// The subscription.
        subscription: String,
        /// The key.
        key: String,
    },
}

/// Where an event is now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Parked {
    /// Set aside, now or before: acknowledge it.
    Aside,
    /// Nothing of its key holds it up (any more): handle it.
    No,
}

/// The parked keys of one subscription.
pub(crate) struct Lot {
    connection: Connection,
    subscription: String,
    /// Who tries and says nothing for this long is taken for dead.
    silence_max: Duration,
    follower: tokio::sync::Mutex<Follower>,
    /// Where PARKED ended when it was last read up to there.
    end: AtomicU64,
    keys: Mutex<Keys>,
    /// Keys that this process is about to claim.
    claiming: watch::Sender<HashSet<String>>,
}

/// What waits of one key, as far as it was read for one more try of all of it.
#[derive(Default)]
pub(crate) struct Reading {
    follower: Option<Follower>,
    /// Not handed out yet, by their places in PARKED: about a batch of the follower's.
    pub(crate) events: HashMap<u64, ParkedEvent>,
}

impl Lot {
    pub(crate) fn new(connection: &Connection, subscription: &str) -> Self {
        let follower = Follower::new(connection, all_of(subscription), 0);
        Self {
            connection: connection.clone(),
            subscription: subscription.to_owned(),
            silence_max: DurableLimits::default().silence_max,
            follower: tokio::sync::Mutex::new(follower),
            end: AtomicU64::new(0),
            keys: Mutex::default(),
            claiming: watch::Sender::default(),
        }
    }

    /// Takes others that try for dead after another silence.
    pub(crate) fn with_silence_max(self, silence_max: Duration) -> Self {
        Self {
            silence_max,
            ..self
        }
    }

    /// Reads everything that is there now.
    pub(crate) async fn catch_up(&self) -> Result<(), ParkingError> {
        let mut follower = self.follower.lock().await;
        let read = follower.catch_up(&mut |record| self.apply(record)).await;
        self.count();
        read.map_err(|source| self.unread(source))
    }

    /// Reads what came since, if anything came for anybody: where nothing does, all subscriptions of the
    /// connection share one look.
    pub(crate) async fn poll_if_news(&self) -> Result<(), ParkingError> {
        let end = self
            .connection
            .parked_end()
            .look(self.connection.jetstream());
        let end = end.await.map_err(|source| self.unread(source))?;
        if end != self.end.load(Ordering::Relaxed) {
            self.poll().await?;
            self.end.store(end, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Reads what came since.
    pub(crate) async fn poll(&self) -> Result<(), ParkingError> {
        let mut follower = self.follower.lock().await;
        let read = follower.poll(&mut |record| self.apply(record)).await;
        self.count();
        read.map_err(|source| self.unread(source))
    }

    /// Is there anything to know about an event at `sequence` before it is handled?
    pub(crate) fn concerns(&self, key: &str, sequence: u64) -> bool {
        let keys = self.keys();
        let state = keys.get(&self.subscription, key);
        state.is_some_and(|state| state.holds_up(sequence) || state.has_taken(sequence))
    }

    /// Is no key parked, as far as was read?
    pub(crate) fn is_empty(&self) -> bool {
        self.keys().parked().next().is_none()
    }

    /// Keys with another try due.
    pub(crate) fn due(&self, now: DateTime<Utc>) -> Vec<String> {
        let keys = self.keys();
        let parked = keys.parked();
        let due = parked.filter(|(_, _, state)| self.is_due(state, now));
        due.map(|(_, key, _)| key.to_owned()).collect()
    }

    /// Sets `event` aside; with `only_behind`, only when what is aside of its key holds it up.
    pub(crate) async fn park(
        &self,
        key: &str,
        event: &ParkedEvent,
        only_behind: bool,
    ) -> Result<Parked, ParkingError> {
        let parked = self.decide(key, |state| {
            if state.has_taken(event.position.sequence) {
                return Decision::Already(Parked::Aside);
            }
            if only_behind && !state.holds_up(event.position.sequence) {
                return Decision::Already(Parked::No);
            }
            Decision::Write(What::Parked(event.clone()), Parked::Aside)
        });
        let parked = parked.await?;
        self.count();
        Ok(parked)
    }

    /// From now on, until [`Self::claim`] ends, whoever asks for [`Self::no_claim_of`] this key waits.
    pub(crate) fn begins_to_claim(&self, key: &str) {
        self.claim_begun(key, true);
    }

    /// Waits while this process is about to claim `key`: what comes late would be handled beside the try.
    pub(crate) async fn no_claim_of(&self, key: &str) {
        let mut claiming = self.claiming.subscribe();
        // It can't end before this lot does.
        let _ = claiming.wait_for(|keys| !keys.contains(key)).await;
    }

    /// Begins with another try, unless another process has.
    pub(crate) async fn claim(&self, key: &str) -> Result<bool, ParkingError> {
        let claimed = self.decide(key, |state| {
            if self.is_due(state, clock::now()) {
                Decision::Write(What::Note(Note::Trying {}), true)
            } else {
                Decision::Already(false)
            }
        });
        let claimed = claimed.await;
        self.claim_begun(key, false);
        claimed
    }

    fn claim_begun(&self, key: &str, begun: bool) {
        self.claiming.send_if_modified(|keys| {
            if begun {
                keys.insert(key.to_owned())
            } else {
                keys.remove(key)
            }
        });
    }

    /// Says that this process is still at it.
    pub(crate) async fn still_tries(&self, key: &str) -> Result<(), ParkingError> {
        self.decide(key, |state| match state.trying {
            Some(_) => Decision::Write(What::Note(Note::Trying {}), ()),
            // Another, which took this one for dead, has ended it.
            None => Decision::Already(()),
        })
        .await
    }

    /// How often it is to say so.
    pub(crate) fn say_so_interval(&self) -> Duration {
        self.silence_max / SAID_WITHIN_SILENCE
    }

    fn is_due(&self, state: &ParkedKey, now: DateTime<Utc>) -> bool {
        let silence_max = TimeDelta::from_std(self.silence_max).unwrap_or(TimeDelta::MAX);
        state.is_due(now, silence_max)
    }

    /// What of the key is to be handled next; `None` = nothing, and that is recorded.
    pub(crate) async fn next(
        &self,
        key: &str,
        reading: &mut Reading,
    ) -> Result<Option<(Waiting, ParkedEvent)>, ParkingError> {
        let next = self.decide(key, |state| {
            let oldest = state.waiting.iter().map(|waiting| waiting.sequence).min();
            match state.waiting.front().cloned().zip(oldest) {
                Some(next) => Decision::Already(Some(next)),
                None if state.parked => Decision::Write(What::Note(Note::Done {}), None),
                None => Decision::Already(None),
            }
        });
        let Some((first, oldest)) = next.await? else {
            self.count();
            return Ok(None);
        };
        let event = self.read(key, first.sequence, oldest, reading).await?;
        Ok(Some((first, event)))
    }

    /// Records how the handling of the first waiting event ended.
    pub(crate) async fn ended(&self, key: &str, note: Note) -> Result<(), ParkingError> {
        self.decide(key, |_| Decision::Write(What::Note(note.clone()), ()))
            .await
    }

    /// The event at `sequence`. One reader reads what waits, which begins at `oldest`, batch by batch.
    async fn read(
        &self,
        key: &str,
        sequence: u64,
        oldest: u64,
        reading: &mut Reading,
    ) -> Result<ParkedEvent, ParkingError> {
        if let Some(event) = reading.events.remove(&sequence) {
            return Ok(event);
        }
        let subject = subject(&self.subscription, key);
        let follower = reading.follower.get_or_insert_with(|| {
            Follower::new(&self.connection, subject.clone(), oldest.saturating_sub(1))
        });
        let events = &mut reading.events;
        let mut take = |record: Record| match record.what {
            What::Parked(event) => drop(events.insert(record.sequence, event)),
            What::Note(_) => {}
        };
        let read = follower.read_up_to(sequence, &mut take).await;
        read.map_err(|source| self.unread(source))?;
        let found = reading.events.remove(&sequence);
        found.ok_or(ParkingError::Lost { subject, sequence })
    }

    /// Writes what `decide` says, on condition that nobody wrote since; else reads on and asks
    /// again.
    async fn decide<T>(
        &self,
        key: &str,
        decide: impl Fn(&ParkedKey) -> Decision<T>,
    ) -> Result<T, ParkingError> {
        let subject = subject(&self.subscription, key);
        let mut tries = 0;
        loop {
            let state = self.keys().get(&self.subscription, key).cloned();
            let state = state.unwrap_or_default();
            let (what, value) = match decide(&state) {
                Decision::Already(value) => return Ok(value),
                Decision::Write(what, value) => (what, value),
            };
            let source = match self.write(&subject, &what, state.last).await {
                Ok(sequence) => {
                    self.apply(Record {
                        sequence,
                        at: clock::now(),
                        subscription: self.subscription.clone(),
                        key: key.to_owned(),
                        what,
                    });
                    return Ok(value);
                }
                Err(source) => source,
            };
            tries += 1;
            if tries >= TRIES {
                return Err(ParkingError::Write { subject, source });
            }
            // Another process was faster, or the answer got lost: what stands there tells.
            self.poll().await?;
        }
    }

    async fn write(&self, subject: &str, what: &What, last: u64) -> Result<u64, async_nats::Error> {
        self.connection.withheld().allows(PARKED_STREAM)?;
        let (mut headers, body) = match what {
            What::Parked(event) => (event.write(), event.payload.clone()),
            What::Note(note) => (HeaderMap::new(), Bytes::from(serde_json::to_vec(note)?)),
        };
        headers.insert(NATS_EXPECTED_STREAM, PARKED_STREAM);
        headers.insert(
            NATS_EXPECTED_LAST_SUBJECT_SEQUENCE,
            last.to_string().as_str(),
        );
        let jetstream = self.connection.jetstream();
        let sent = jetstream.publish_with_headers(subject.to_owned(), headers, body);
        Ok(sent.await?.await?.sequence)
    }

    fn apply(&self, record: Record) {
        if record.subscription == self.subscription {
            self.keys().apply(record);
        }
    }

    /// For dashboards and alarms.
    #[expect(clippy::cast_precision_loss, reason = "nobody has 2^52 keys")]
    fn count(&self) {
        let count = self.keys().parked().count();
        metrics::gauge!("streams_parked_keys", "durable" => self.subscription.clone())
            .set(count as f64);
    }

    fn keys(&self) -> MutexGuard<'_, Keys> {
        // A fold doesn't panic half-way.
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn unread(&self, source: async_nats::Error) -> ParkingError {
        ParkingError::Read {
            of: self.subscription.clone(),
            source,
        }
    }
}

/// What is to be done about a key as it is.
enum Decision<T> {
    Already(T),
    Write(What, T),
}
