//! The log in memory: the same contract as JetStream, for tests and examples.
//!
//! It keeps what it would have put on the wire, so events go through the same headers and bytes.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_nats::HeaderMap;
use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use kernel::Position;

use crate::envelope::{self, RecordedEvent, write};
use crate::log::{
    AppendError, Appended, BoxError, Last, Log, NewEvent, Page, ReadError, StreamState,
};
use crate::resolve::{self, Budget, Next, Reply, Wire};

/// Tries must not slow tests down.
const BUDGET: Budget = Budget {
    unknown: Duration::from_millis(200),
    unavailable: Duration::from_millis(50),
    pause_min: Duration::from_millis(1),
    pause_max: Duration::from_millis(10),
};

/// What goes wrong with one try to append.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The events never arrive, and nobody says so.
    LoseAppend,
    /// The events are appended, and the acknowledgement is lost.
    LoseAcknowledgement,
    /// The events wait, and are appended right before the next try; nobody says so.
    DelayAppend,
    /// The log says that it takes nothing now.
    Refuse,
}

/// Which check a log makes first when both would fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FirstCheck {
    /// The expected position: as one JetStream server does.
    #[default]
    Expectation,
    /// The message id: as three replicas do.
    MessageId,
}

/// Streams of events in memory.
#[derive(Debug, Default)]
pub struct MemoryLog {
    streams: Mutex<HashMap<String, Stream>>,
    snapshots: Mutex<HashMap<String, Bytes>>,
    faults: Mutex<VecDeque<Fault>>,
    delayed: Mutex<Vec<Vec<NewEvent>>>,
    first_check: FirstCheck,
}

#[derive(Debug, Clone)]
struct Stream {
    created: DateTime<Utc>,
    messages: Vec<Message>,
    by_subject: HashMap<String, Vec<u64>>,
    ids: HashSet<String>,
}

#[derive(Debug, Clone)]
struct Message {
    subject: String,
    recorded_at: DateTime<Utc>,
    headers: HeaderMap,
    data: Bytes,
}

impl MemoryLog {
    /// An empty log that checks in this order.
    pub fn new(first_check: FirstCheck) -> Self {
        Self {
            first_check,
            ..Self::default()
        }
    }

    /// The next tries to append go wrong in this way, one after another.
    pub fn fail_next(&self, faults: impl IntoIterator<Item = Fault>) {
        lock(&self.faults).extend(faults);
    }

    /// Puts any message onto a subject, as somebody could by hand. Expects nothing.
    pub fn insert_foreign(&self, stream: &str, subject: &str, headers: HeaderMap, data: Bytes) {
        let mut streams = lock(&self.streams);
        let stream = streams.entry(stream.to_owned()).or_default();
        stream.push(subject.to_owned(), headers, data);
    }

    /// The events as they are now.
    #[must_use]
    pub fn backup(&self) -> Self {
        Self {
            streams: Mutex::new(lock(&self.streams).clone()),
            ..Self::new(self.first_check)
        }
    }

    /// From here on it has the events of `backup`, and nothing else.
    pub fn restore(&self, backup: &Self) {
        let restored = lock(&backup.streams).clone();
        *lock(&self.streams) = restored;
    }

    fn store(&self, events: &[NewEvent]) -> Reply {
        let mut written = Vec::with_capacity(events.len());
        for new in events {
            match write(&new.event) {
                Ok(headers) => written.push(headers),
                Err(error) => return Reply::Unwritable(error),
            }
        }
        let Some(first) = events.first() else {
            return Reply::Refused("nothing to append".into());
        };
        let mut streams = lock(&self.streams);
        let stream = streams
            .entry(first.event.position.stream.clone())
            .or_default();
        if let Some(refusal) = stream.check(events, self.first_check) {
            return refusal;
        }
        for (new, headers) in events.iter().zip(written) {
            stream.ids.insert(new.event.id.to_string());
            stream.push(new.event.subject.clone(), headers, new.event.data.clone());
        }
        Reply::Acknowledged {
            last: stream.messages.len() as u64,
            duplicate: false,
        }
    }
}

impl Default for Stream {
    fn default() -> Self {
        Self {
            created: Utc::now(),
            messages: Vec::new(),
            by_subject: HashMap::new(),
            ids: HashSet::new(),
        }
    }
}

impl Stream {
    fn last(&self, subject: &str) -> u64 {
        let sequences = self.by_subject.get(subject);
        sequences.and_then(|s| s.last().copied()).unwrap_or(0)
    }

    fn push(&mut self, subject: String, headers: HeaderMap, data: Bytes) {
        self.messages.push(Message {
            subject: subject.clone(),
            recorded_at: Utc::now(),
            headers,
            data,
        });
        let sequence = self.messages.len() as u64;
        self.by_subject.entry(subject).or_default().push(sequence);
    }

    /// Why `events` can't be stored. Known ids of one message are acknowledged, of several not.
    fn check(&self, events: &[NewEvent], first: FirstCheck) -> Option<Reply> {
        let known = events
            .iter()
            .any(|new| self.ids.contains(&new.event.id.to_string()))
            .then(|| match events {
                [_] => Reply::Acknowledged {
                    last: self.messages.len() as u64,
                    duplicate: true,
                },
                _ => Reply::KnownId,
            });
        let moved = events
            .iter()
            .any(|new| self.last(&new.event.subject) != new.expected)
            .then_some(Reply::WrongPosition);
        // In a batch the id is checked first everywhere.
        match first {
            FirstCheck::Expectation if events.len() == 1 => moved.or(known),
            FirstCheck::Expectation | FirstCheck::MessageId => known.or(moved),
        }
    }

    fn message(&self, sequence: u64) -> Option<&Message> {
        let index = usize::try_from(sequence).ok()?.checked_sub(1)?;
        self.messages.get(index)
    }

    fn event(&self, position: Position) -> Option<Result<RecordedEvent, ReadError>> {
        let message = self.message(position.sequence)?;
        let read = RecordedEvent::read(
            position,
            message.recorded_at,
            &message.subject,
            Some(&message.headers),
            message.data.clone(),
        );
        Some(read.map_err(ReadError::from))
    }
}

impl Wire for MemoryLog {
    async fn publish(&self, events: &[NewEvent]) -> Reply {
        for late in std::mem::take(&mut *lock(&self.delayed)) {
            // Nobody waits for its answer any more.
            let _ = self.store(&late);
        }
        let fault = lock(&self.faults).pop_front();
        match fault {
            None => self.store(events),
            Some(Fault::LoseAppend) => Reply::Unknown("the append was lost".into()),
            Some(Fault::LoseAcknowledgement) => {
                // The answer is what gets lost.
                let _ = self.store(events);
                Reply::Unknown("the acknowledgement was lost".into())
            }
            Some(Fault::DelayAppend) => {
                lock(&self.delayed).push(events.to_vec());
                Reply::Unknown("the append is late".into())
            }
            Some(Fault::Refuse) => Reply::Refused("the log is told to refuse".into()),
        }
    }

    async fn next(&self, new: &NewEvent) -> Result<Option<Next>, BoxError> {
        let streams = lock(&self.streams);
        let Some(stream) = streams.get(&new.event.position.stream) else {
            return Ok(None);
        };
        let sequences = stream.by_subject.get(&new.event.subject);
        let sequence = sequences.and_then(|s| s.iter().copied().find(|s| *s > new.expected));
        Ok(sequence.map(|sequence| {
            let position = Position::new(new.event.position.stream.clone(), sequence);
            let id = stream.event(position).and_then(Result::ok).map(|e| e.id);
            Next { sequence, id }
        }))
    }
}

#[async_trait]
impl Log for MemoryLog {
    async fn append(&self, events: &[NewEvent]) -> Result<Appended, AppendError> {
        resolve::append(self, events, &BUDGET).await
    }

    async fn read(
        &self,
        stream: &str,
        subject: &str,
        after: u64,
        max: usize,
    ) -> Result<Page, ReadError> {
        let streams = lock(&self.streams);
        let Some((messages, sequences)) = streams
            .get(stream)
            .and_then(|s| Some((s, s.by_subject.get(subject)?)))
        else {
            return Ok(Page::default());
        };
        let from = sequences.partition_point(|sequence| *sequence <= after);
        let wanted = sequences.get(from..).unwrap_or_default();
        let events: Result<Vec<_>, _> = wanted
            .iter()
            .take(max)
            .filter_map(|sequence| messages.event(Position::new(stream, *sequence)))
            .collect();
        Ok(Page {
            events: events?,
            more: wanted.len() > max,
        })
    }

    async fn last_event(
        &self,
        stream: &str,
        subject: &str,
    ) -> Result<Option<RecordedEvent>, ReadError> {
        let streams = lock(&self.streams);
        let found = streams.get(stream).and_then(|s| {
            let sequence = s.by_subject.get(subject)?.last()?;
            s.event(Position::new(stream, *sequence))
        });
        found.transpose()
    }

    async fn last(&self, stream: &str, subject: &str) -> Result<Last, ReadError> {
        let streams = lock(&self.streams);
        let Some(stream) = streams.get(stream) else {
            return Ok(Last::default());
        };
        let sequence = stream.last(subject);
        let message = stream.message(sequence);
        let id = message.and_then(|message| envelope::id(&message.headers));
        Ok(Last {
            sequence,
            id: id.unwrap_or_default(),
        })
    }

    async fn event_at(&self, position: &Position) -> Result<Option<RecordedEvent>, ReadError> {
        let streams = lock(&self.streams);
        streams
            .get(&position.stream)
            .and_then(|s| s.event(position.clone()))
            .transpose()
    }

    async fn snapshot(&self, subject: &str) -> Result<Option<Bytes>, BoxError> {
        Ok(lock(&self.snapshots).get(subject).cloned())
    }

    async fn keep_snapshot(&self, subject: &str, bytes: Bytes) -> Result<(), BoxError> {
        lock(&self.snapshots).insert(subject.to_owned(), bytes);
        Ok(())
    }

    async fn state(&self, stream: &str) -> Result<StreamState, ReadError> {
        let streams = lock(&self.streams);
        let Some(found) = streams.get(stream) else {
            return Err(ReadError::Unavailable(format!("no stream {stream}").into()));
        };
        let last = found.messages.len() as u64;
        Ok(StreamState {
            created: found.created,
            first: last.min(1),
            last,
        })
    }
}

/// A panic while the lock was held leaves whole messages behind, so going on is sound.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
