//! The seam between the store and what it stores into: JetStream, or memory.
//!
//! Everything above it is shared, so what is tested in memory is what runs on JetStream.

use std::error::Error;

use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use kernel::Position;
use thiserror::Error;
use uuid::Uuid;

use crate::envelope::{DecodeError, EncodeError, RecordedEvent};

/// Whatever went wrong below.
pub type BoxError = Box<dyn Error + Send + Sync + 'static>;

/// An error with its causes, on one line.
pub fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// An event that is to be appended, and what its append expects.
#[derive(Debug, Clone)]
pub struct NewEvent {
    /// As it will stand in the log; the sequence in its position is not known yet.
    pub event: RecordedEvent,
    /// Sequence of the last event on its subject before this append; 0 = there is none. Every
    /// event of one append on one subject says the same.
    pub expected: u64,
}

/// Events are in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    /// Sequence of the last of them; the others stand right before it.
    pub last: u64,
    /// The acknowledgement was a duplicate's, or followed a try with an unknown outcome. The log
    /// then holds events with these ids, but maybe not these bytes: answer from what it holds.
    pub uncertain: bool,
}

/// Some events of one subject, in order.
#[derive(Debug, Clone, Default)]
pub struct Page {
    /// The events.
    pub events: Vec<RecordedEvent>,
    /// There are more after them.
    pub more: bool,
}

/// Which event is the last on a subject.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Last {
    /// Its sequence; 0 = there is none.
    pub sequence: u64,
    /// Its id: in another history another event may stand there. Nil = there is none, or it doesn't say.
    pub id: Uuid,
}

/// What stream there is, as its leader says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamState {
    /// When it was created: another time means another stream under the same name.
    pub created: DateTime<Utc>,
    /// Sequence of the first event; 0 = none.
    pub first: u64,
    /// Sequence of the last event; 0 = none.
    pub last: u64,
}

/// An append-only log of events with one expectation per subject.
///
/// An append is all or nothing, and it takes place only if the last event on each subject is the
/// expected one. `stream` is the stream's name.
#[async_trait]
pub trait Log: Send + Sync + 'static {
    /// Appends `events`, which are of one stream, in this order.
    ///
    /// The identical append is tried again while its outcome is unknown, so an error other than
    /// [`AppendError::Unknown`] means that nothing was appended, then or later.
    ///
    /// # Errors
    /// See [`AppendError`]. A store that can't tell says `Unknown`, never another.
    async fn append(&self, events: &[NewEvent]) -> Result<Appended, AppendError>;

    /// At most `max` (1 or more) events on `subject` after sequence `after`. A replica may answer, and be late.
    ///
    /// # Errors
    /// The log can't be reached, or one of them can't be read: then none is given. No events is no error.
    async fn read(
        &self,
        stream: &str,
        subject: &str,
        after: u64,
        max: usize,
    ) -> Result<Page, ReadError>;

    /// The last event on `subject`. A replica may answer, and be late.
    ///
    /// # Errors
    /// As [`Log::read`]. `None` = there is none.
    async fn last_event(
        &self,
        stream: &str,
        subject: &str,
    ) -> Result<Option<RecordedEvent>, ReadError>;

    /// The last event on `subject`, asked of the stream's leader.
    ///
    /// # Errors
    /// The leader can't be reached, or there is no such stream. Never that the event can't be read.
    async fn last(&self, stream: &str, subject: &str) -> Result<Last, ReadError>;

    /// The event at `position`, asked of the stream's leader.
    ///
    /// # Errors
    /// As [`Log::read`]. `None` = nothing stands there.
    async fn event_at(&self, position: &Position) -> Result<Option<RecordedEvent>, ReadError>;

    /// The snapshot at `subject`, if there is one. A replica may answer, and be late.
    ///
    /// # Errors
    /// It can't be had now; the log is read instead.
    async fn snapshot(&self, subject: &str) -> Result<Option<Bytes>, BoxError>;

    /// Puts a snapshot in the place of the one at `subject`.
    ///
    /// # Errors
    /// It could not be kept; nothing is lost but time.
    async fn keep_snapshot(&self, subject: &str, bytes: Bytes) -> Result<(), BoxError>;

    /// What stream there is, asked of its leader.
    ///
    /// # Errors
    /// The leader can't be reached, or there is no such stream.
    async fn state(&self, stream: &str) -> Result<StreamState, ReadError>;
}

/// Why events were not, or maybe not, appended.
#[derive(Debug, Error)]
pub enum AppendError {
    /// The last event on a subject is not the expected one. Nothing was appended.
    #[error("the aggregate has moved on")]
    Conflict,
    /// An event with such an id is in the log since before this append. Nothing was appended now.
    #[error("an event with this id was appended before")]
    Duplicate,
    /// The log can't be reached or takes nothing now. Nothing was appended.
    #[error("the log takes no events now")]
    Unavailable(#[source] BoxError),
    /// Nobody can say whether the events were appended, or still will be.
    #[error("it is not known whether the events were appended")]
    Unknown(#[source] BoxError),
    /// More bytes than the log takes. Nothing was appended.
    #[error("the events are too large for the log")]
    TooLarge,
    /// An event can't be put on the wire. Nothing was appended.
    #[error(transparent)]
    Unwritable(#[from] EncodeError),
}

/// Why events could not be read.
#[derive(Debug, Error)]
pub enum ReadError {
    /// The log can't be reached.
    #[error("the log can't be read now")]
    Unavailable(#[source] BoxError),
    /// The log holds something that can't be read.
    #[error(transparent)]
    Unreadable(#[from] DecodeError),
}
