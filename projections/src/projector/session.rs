//! What a projector holds while all is well. Anything odd ends the session; the next one begins
//! with what the database and the log say.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::time::Duration;

use chrono::{DateTime, Utc};
use streams::subscription::{OrderedSubscription, SubscriptionError};
use streams::{Connection, RecordedEvent};

use super::config::Settings;
use super::error::{ProjectorError, Stop, chain};
use super::store::{Commit, Mark, Store, TableStatements};
use crate::fold::{Fold, FoldError};
use crate::login::Login;
use crate::view::ViewSpec;

/// How long the log may take to show the event at our position, which it said that it has.
const PROOF_TIMEOUT: Duration = Duration::from_secs(15);

/// One view at work.
struct LiveView {
    spec: &'static ViewSpec,
    table: TableStatements,
    fold: Box<dyn Fold>,
    mark: Mark,
}

/// A place in the stream, a connection to the database, rows in memory.
pub(super) struct Session {
    log: Connection,
    /// How often the connection had been made when the session began.
    connects: u64,
    subscription: OrderedSubscription,
    stream: String,
    stream_created_at: Option<DateTime<Utc>>,
    /// The last event of the stream when the session began, or a later one that was seen.
    end: u64,
    login: Login,
    store: Store,
    views: Vec<LiveView>,
    settings: Settings,
    /// Has the event at the first view's position been seen again?
    proven: bool,
}

/// What came of one batch.
pub(super) enum Taken {
    /// So many events, and the views that have stopped at one of them.
    Events {
        /// How many events.
        events: usize,
        /// Which views have stopped, and why.
        stopped: Vec<(&'static ViewSpec, Stop)>,
    },
    /// Another projector moves one of the views.
    FenceLost,
    /// The connection to the log was made anew: what it holds must be looked at again.
    Reconnected,
}

/// What became of one view.
enum Outcome {
    Went,
    FenceLost,
    Stopped(Stop),
}

impl Session {
    /// Reads positions, looks at the stream, and takes a place in it.
    pub(super) async fn open(
        log: &Connection,
        login: &Login,
        specs: Vec<&'static ViewSpec>,
        settings: Settings,
    ) -> Result<Self, ProjectorError> {
        let database = |source| ProjectorError::Database {
            login: login.to_string(),
            source,
        };
        let store = Store::open(login, settings).await.map_err(database)?;
        let mut views = Vec::with_capacity(specs.len());
        for spec in specs {
            let mark = store.mark(spec.name).await.map_err(database)?;
            views.push(LiveView {
                spec,
                table: store.table(spec).await.map_err(database)?,
                fold: spec.fold(),
                mark: mark.ok_or(ProjectorError::NotProvisioned { view: spec.name })?,
            });
        }
        let stream = views.first().map(|v| v.spec.stream()).unwrap_or_default();
        let connects = connects(log);
        let (stream_created_at, end) = look_at(log, &stream).await?;
        let first = views.iter().map(|v| v.mark.position).min().unwrap_or(0);
        // From the event at the position, not behind it: that event is the proof.
        let subscription = log.ordered(&stream, first.saturating_sub(1));
        Ok(Self {
            log: log.clone(),
            connects,
            subscription,
            stream,
            stream_created_at,
            end,
            login: login.clone(),
            store,
            views,
            settings,
            proven: first == 0,
        })
    }

    /// Waits for a batch and takes it in, view by view.
    pub(super) async fn take_batch(&mut self) -> Result<Taken, ProjectorError> {
        let short = self.beyond_the_end();
        if !short.is_empty() {
            return Ok(Taken::Events {
                events: 0,
                stopped: short,
            });
        }
        let batch = self.next_batch().await;
        if connects(&self.log) != self.connects {
            return Ok(Taken::Reconnected);
        }
        let events = match batch {
            Ok(events) => events,
            Err(BatchError::Stop(stop)) => return Ok(self.stop_all(&stop)),
            Err(BatchError::Failed(error)) => return Err(error),
        };
        self.proven = true;
        self.end = events
            .last()
            .map_or(self.end, |last| last.position.sequence.max(self.end));
        let mut stopped = Vec::new();
        for index in 0..self.views.len() {
            match self.take(index, &events).await? {
                Outcome::Went => {}
                Outcome::FenceLost => return Ok(Taken::FenceLost),
                Outcome::Stopped(stop) => {
                    stopped.extend(self.views.get(index).map(|view| (view.spec, stop)));
                }
            }
        }
        self.report(events.len());
        Ok(Taken::Events {
            events: events.len(),
            stopped,
        })
    }

    /// The views that have seen more than the log holds.
    fn beyond_the_end(&self) -> Vec<(&'static ViewSpec, Stop)> {
        let short = self
            .views
            .iter()
            .filter(|view| view.mark.position > self.end);
        short
            .map(|view| {
                let position = view.mark.position;
                let what = format!(
                    "it ends at {}, the read model stands at {position}",
                    self.end
                );
                let cause = restored(&self.stream, &what);
                (view.spec, Stop { position, cause })
            })
            .collect()
    }

    /// Writes down that a view has stopped, and lets it go.
    pub(super) async fn record(
        &mut self,
        spec: &'static ViewSpec,
        stop: &Stop,
    ) -> Result<(), ProjectorError> {
        let view = self
            .views
            .iter()
            .position(|view| view.spec.name == spec.name);
        let Some(view) = view.map(|index| self.views.remove(index)) else {
            return Ok(());
        };
        let failure = (stop.position, stop.cause.as_str());
        self.store
            .record_failure(spec.name, view.mark.position, failure)
            .await
            .map_err(|source| self.database(source))
    }

    async fn next_batch(&mut self) -> Result<Vec<RecordedEvent>, BatchError> {
        let next = self
            .subscription
            .next_batch(self.settings.batch_max, self.settings.linger);
        let batch = if self.proven {
            next.await
        } else {
            // The stream holds the event at our position: no answer means that the server is away.
            tokio::time::timeout(PROOF_TIMEOUT, next)
                .await
                .map_err(|late| BatchError::Failed(self.log_error(late)))?
        };
        batch.map_err(|error| self.judge(error))
    }

    /// Which errors of the log stop a view, and which pass.
    fn judge(&self, error: SubscriptionError) -> BatchError {
        match error {
            SubscriptionError::Unreadable { position, source } => BatchError::Stop(Stop {
                position: position.sequence,
                cause: chain(&source),
            }),
            SubscriptionError::Gap { .. } | SubscriptionError::Ahead { .. } => {
                BatchError::Stop(Stop {
                    position: self.first_position(),
                    cause: restored(&self.stream, &chain(&error)),
                })
            }
        }
    }

    fn stop_all(&self, stop: &Stop) -> Taken {
        let stopped = self.views.iter().map(|view| (view.spec, stop.clone()));
        Taken::Events {
            events: 0,
            stopped: stopped.collect(),
        }
    }

    fn first_position(&self) -> u64 {
        let positions = self.views.iter().map(|view| view.mark.position);
        positions.min().unwrap_or(0)
    }

    /// One view takes the batch in: prove, load, fold, commit.
    async fn take(
        &mut self,
        index: usize,
        events: &[RecordedEvent],
    ) -> Result<Outcome, ProjectorError> {
        let login = self.login.to_string();
        let database = |source| ProjectorError::Database { login, source };
        let Some(view) = self.views.get_mut(index) else {
            return Ok(Outcome::Went);
        };
        if let Some(stop) = view.disproof(&self.stream, events) {
            return Ok(Outcome::Stopped(stop));
        }
        let behind = view.mark.position;
        let skipped = events.partition_point(|event| event.position.sequence <= behind);
        let fresh = events.get(skipped..).unwrap_or_default();
        if fresh.is_empty() {
            return Ok(Outcome::Went);
        }
        let missing = view.missing(fresh);
        let rows = if missing.is_empty() {
            Vec::new()
        } else {
            match self.store.load(&view.table, &missing).await {
                Ok(rows) => rows,
                Err(source) => return Err(database(source)),
            }
        };
        let folded = view.fold_in(&missing, &rows, fresh);
        let Some(last) = folded.last else {
            return Ok(folded.stop.map_or(Outcome::Went, Outcome::Stopped));
        };
        let new = Mark {
            position: last.position.sequence,
            event_id: Some(last.id),
            stream_created_at: self.stream_created_at,
        };
        let marks = (&view.mark, &new);
        let committed = self
            .store
            .commit(view.spec.name, &view.table, marks, &folded.rows)
            .await;
        match committed {
            Ok(Commit::Done) => {}
            Ok(Commit::FenceLost) => return Ok(Outcome::FenceLost),
            Err(source) => return Err(database(source)),
        }
        view.fold.settle();
        view.mark = new;
        Ok(folded.stop.map_or(Outcome::Went, Outcome::Stopped))
    }

    fn report(&self, events: usize) {
        let count = u64::try_from(events).unwrap_or(u64::MAX);
        for view in &self.views {
            let name = view.spec.name;
            metrics::counter!("millrace_projector_events_total", "view" => name).increment(count);
            metrics::gauge!("millrace_projector_position", "view" => name)
                .set(precise(view.mark.position));
        }
        if let (Some(behind), Some(view)) = (self.subscription.pending(), self.views.first()) {
            metrics::gauge!("millrace_projector_lag_events", "context" => view.spec.context)
                .set(precise(behind));
        }
    }

    fn database(&self, source: tokio_postgres::Error) -> ProjectorError {
        ProjectorError::Database {
            login: self.login.to_string(),
            source,
        }
    }

    fn log_error(
        &self,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> ProjectorError {
        ProjectorError::Log {
            stream: self.stream.clone(),
            source: source.into(),
        }
    }
}

/// Why there is no batch.
enum BatchError {
    /// It never will be, for any view.
    Stop(Stop),
    /// Not now.
    Failed(ProjectorError),
}

/// What a fold of a batch came to.
struct Folded<'a> {
    /// The last event that was taken in.
    last: Option<&'a RecordedEvent>,
    /// The rows that have changed.
    rows: Vec<crate::fold::StoredRow>,
    /// The event behind it that could not be.
    stop: Option<Stop>,
}

impl LiveView {
    /// Is the event at our position another one than it was?
    fn disproof(&self, stream: &str, events: &[RecordedEvent]) -> Option<Stop> {
        let position = self.mark.position;
        let there = events.iter().find(|e| e.position.sequence == position)?;
        let expected = self.mark.event_id?;
        (there.id != expected).then(|| {
            let what = format!(
                "event {} stands at {stream}:{position}, where {expected} stood",
                there.id
            );
            Stop {
                position,
                cause: restored(stream, &what),
            }
        })
    }

    /// The ids of the rows that must be loaded.
    fn missing(&self, events: &[RecordedEvent]) -> Vec<String> {
        let missing: BTreeSet<_> = events.iter().filter_map(|e| self.fold.missing(e)).collect();
        missing.into_iter().collect()
    }

    /// Folds until the first event that can't be taken in.
    fn fold_in<'a>(
        &mut self,
        missing: &[String],
        rows: &[crate::fold::StoredRow],
        events: &'a [RecordedEvent],
    ) -> Folded<'a> {
        for id in missing {
            self.fold.put_absent(id);
        }
        let mut last = None;
        let mut stop = None;
        let mut unreadable = rows.iter().find_map(|row| self.fold.put(row).err());
        for event in events {
            let taken = unreadable
                .take()
                .map_or_else(|| self.fold.apply(event), Err);
            if let Err(error) = taken {
                stop = Some(stop_at(event, &error));
                break;
            }
            last = Some(event);
        }
        match self.fold.changed() {
            Ok(rows) => Folded { last, rows, stop },
            Err(error) => Folded {
                last: None,
                rows: Vec::new(),
                stop: events.first().map(|event| stop_at(event, &error)),
            },
        }
    }
}

fn stop_at(event: &RecordedEvent, error: &FoldError) -> Stop {
    Stop {
        position: event.position.sequence,
        cause: chain(error),
    }
}

/// What to tell whoever finds the log changed.
fn restored(stream: &str, what: &str) -> String {
    format!(
        "{what}: stream {stream} was restored from a backup, made anew, or lost events after the \
         read model had seen them. Nothing was changed. Either restore the stream to what it was, \
         or restore Postgres to the same moment, or empty the read model and set its position to \
         0 so that it is built anew from the log"
    )
}

/// How often the client has connected.
fn connects(log: &Connection) -> u64 {
    let statistics = log.client().statistics();
    statistics.connects.load(Ordering::Relaxed)
}

/// When the stream was made, and its last event.
async fn look_at(
    log: &Connection,
    stream: &str,
) -> Result<(Option<DateTime<Utc>>, u64), ProjectorError> {
    let found = log.jetstream().get_stream(stream).await;
    let handle = found.map_err(|source| ProjectorError::Log {
        stream: stream.to_owned(),
        source: source.into(),
    })?;
    let info = handle.cached_info();
    let created = info.created;
    let created = DateTime::from_timestamp(created.unix_timestamp(), created.nanosecond());
    Ok((created, info.state.last_sequence))
}

/// A gauge is a float; positions stay exact up to 2^53.
#[expect(
    clippy::cast_precision_loss,
    reason = "a metric above 2^53 events may be off by one"
)]
fn precise(number: u64) -> f64 {
    number as f64
}
