//! Load, decide, append: what runs above every log.
//!
//! ```text
//!   execute            one aggregate, one command
//!   conditional        the same, decided only on the version that it was made for
//!   together           several aggregates of one context, one batch
//!   held               an aggregate in memory: state, version, position, recent command ids
//!   cache              the bounded set of them
//!   queue              commands of one aggregate wait for each other
//!   recent             which commands were done lately, 16 bytes each
//!   record             what was decided, as it will stand in the log
//!   resume             from a snapshot on, up to now or to a moment
//!   walk               the events of one aggregate, page by page
//!   repetition         a command that was done before, answered from the log
//!   event_store        the same as a cqrs-es EventStore
//! ```

mod cache;
mod conditional;
mod error;
mod event_store;
mod execute;
mod held;
mod load;
mod queue;
mod recent;
mod record;
mod repetition;
mod resume;
mod settings;
mod together;
mod walk;

/// An aggregate could not be loaded.
pub use crate::log::ReadError as LoadError;
pub use conditional::ExecuteAtError;
pub use error::ExecuteError;
pub use event_store::{Store, StoreContext};
pub use execute::{Executed, Outcome};
pub use load::Loaded;
pub use resume::Moment;
pub use settings::Settings;
pub use together::{ExecutedTogether, Step, StepDone, TogetherRefusal, step};
pub use walk::{Kind, Walk};

use std::sync::Arc;

use chrono::{DateTime, Utc};
use kernel::{Decider, Position};

use crate::envelope::RecordedEvent;
use crate::log::{AppendError, Appended, Log, NewEvent, StreamState};
use crate::memory::MemoryLog;
use crate::snapshot::Keeper;

/// The event store. Cheap to clone; clones share cache and queues.
#[derive(Clone)]
pub struct Streams {
    inner: Arc<Inner>,
    /// Until when whoever asks waits; `None` = as long as it takes.
    until: Option<DateTime<Utc>>,
}

struct Inner {
    log: Arc<dyn Log>,
    settings: Settings,
    cache: cache::Cache,
    queues: queue::Queues,
    keeper: Keeper,
}

impl Streams {
    /// An event store above `log`.
    pub fn new(log: Arc<dyn Log>, settings: Settings) -> Self {
        let settings = settings.bounded();
        let cache = cache::Cache::new(settings.cache_capacity);
        Self {
            inner: Arc::new(Inner {
                keeper: Keeper::new(Arc::clone(&log)),
                log,
                settings,
                cache,
                queues: queue::Queues::default(),
            }),
            until: None,
        }
    }

    /// The same store for who waits until then: a command whose turn comes later is not begun.
    pub(crate) fn until(&self, until: Option<DateTime<Utc>>) -> Self {
        Self {
            until,
            ..self.clone()
        }
    }

    /// An event store in memory that keeps the same contract: for tests and examples.
    pub fn in_memory() -> Self {
        Self::new(Arc::new(MemoryLog::default()), Settings::default())
    }

    /// This store as cqrs-es knows event stores.
    pub fn store<A: Decider>(&self) -> Store<A> {
        Store::new(self.clone())
    }

    /// Another store on the same log, with a cache of its own.
    pub(crate) fn with_settings(&self, settings: Settings) -> Self {
        Self::new(Arc::clone(&self.inner.log), settings)
    }

    /// What it stores into.
    pub(crate) fn log(&self) -> &dyn Log {
        self.inner.log.as_ref()
    }

    async fn append(&self, events: &[NewEvent]) -> Result<Appended, AppendError> {
        let appended = self.inner.log.append(events).await;
        appended.inspect_err(|error| {
            let stream = events.first().map_or("", |new| &new.event.position.stream);
            error::count(error, stream);
        })
    }

    /// What stream there is, as its leader says.
    ///
    /// # Errors
    /// The log can't be reached.
    pub async fn stream_state(&self, stream: &str) -> Result<StreamState, LoadError> {
        self.inner.log.state(stream).await
    }

    /// Sequence of the last event of `stream` whose subject matches `subject` (`*` = any token), as
    /// its leader says; 0 = none.
    ///
    /// # Errors
    /// The log can't be reached.
    pub async fn last_matching(&self, stream: &str, subject: &str) -> Result<u64, LoadError> {
        Ok(self.inner.log.last(stream, subject).await?.sequence)
    }

    /// The event at `position`, as the stream's leader knows it: the proof that a position is one
    /// of this log.
    ///
    /// # Errors
    /// The log can't be reached, or holds something that can't be read.
    pub async fn event_at(&self, position: &Position) -> Result<Option<RecordedEvent>, LoadError> {
        self.inner.log.event_at(position).await
    }
}

impl std::fmt::Debug for Streams {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Streams")
            .field("settings", &self.inner.settings)
            .finish_non_exhaustive()
    }
}
