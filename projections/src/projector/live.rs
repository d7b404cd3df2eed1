//! One view at work: its place, its rows in memory, and how a batch becomes a commit.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use streams::{RecordedEvent, chain};

use super::error::Stop;
use super::store::{Commit, Mark, Store, TableStatements};
use crate::fold::{Fold, FoldError, StoredRow};
use crate::view::ViewSpec;

/// How often rows are loaded for one batch: those that its events name, and those that these lead to.
const LOADS_MAX: usize = 2;

/// One view at work.
pub(super) struct LiveView {
    pub(super) spec: &'static ViewSpec,
    pub(super) mark: Mark,
    table: TableStatements,
    fold: Box<dyn Fold>,
}

/// What became of one view.
pub(super) enum Outcome {
    /// It has taken the batch in.
    Went,
    /// Another projector moves it.
    FenceLost,
    /// It has stopped.
    Stopped(Stop),
}

/// What a fold of a batch came to.
struct Folded<'a> {
    /// The last event that was taken in.
    last: Option<&'a RecordedEvent>,
    /// The rows that have changed.
    rows: Vec<StoredRow>,
    /// The event behind it that could not be.
    stop: Option<Stop>,
}

impl LiveView {
    /// `spec` at `mark`, with nothing in memory.
    pub(super) fn new(spec: &'static ViewSpec, table: TableStatements, mark: Mark) -> Self {
        Self {
            spec,
            mark,
            table,
            fold: spec.fold(),
        }
    }

    /// Takes a batch in: prove, load, fold, commit. What Postgres can't keep in a row stops this view alone.
    pub(super) async fn take(
        &mut self,
        store: &Store,
        stream_created_at: DateTime<Utc>,
        events: &[RecordedEvent],
    ) -> Result<Outcome, tokio_postgres::Error> {
        let refused = match self.take_all(store, stream_created_at, events).await {
            Err(error) if is_about_data(&error) => error,
            taken => return taken,
        };
        tracing::warn!(view = self.spec.name, error = %chain(&refused), "a batch is refused: its events one by one");
        // What is in memory is as of the whole batch.
        self.fold = self.spec.fold();
        for event in events {
            let one = std::slice::from_ref(event);
            match self.take_all(store, stream_created_at, one).await {
                Ok(Outcome::Went) => {}
                Err(error) if is_about_data(&error) => {
                    let position = event.position.sequence;
                    let cause = format!("Postgres can't keep the row: {}", chain(&error));
                    return Ok(Outcome::Stopped(Stop { position, cause }));
                }
                taken => return taken,
            }
        }
        Ok(Outcome::Went)
    }

    async fn take_all(
        &mut self,
        store: &Store,
        stream_created_at: DateTime<Utc>,
        events: &[RecordedEvent],
    ) -> Result<Outcome, tokio_postgres::Error> {
        if let Some(stop) = self.disproof(events) {
            return Ok(Outcome::Stopped(stop));
        }
        let behind = self.mark.position;
        let skipped = events.partition_point(|event| event.position.sequence <= behind);
        let fresh = events.get(skipped..).unwrap_or_default();
        if fresh.is_empty() {
            return Ok(Outcome::Went);
        }
        let unreadable = self.load(store, fresh).await?;
        let folded = self.fold_in(unreadable, fresh);
        let stopped = || folded.stop.map_or(Outcome::Went, Outcome::Stopped);
        let Some(last) = folded.last else {
            return Ok(stopped());
        };
        let new = Mark {
            position: last.position.sequence,
            event_id: Some(last.id),
            stream_created_at: Some(stream_created_at),
            table: self.mark.table,
        };
        let marks = (&self.mark, &new);
        match store.commit(&self.table, marks, &folded.rows).await? {
            Commit::FenceLost => return Ok(Outcome::FenceLost),
            Commit::Done => {}
        }
        self.fold.settle();
        self.mark = new;
        Ok(stopped())
    }

    /// Is the event at our position another one than it was?
    fn disproof(&self, events: &[RecordedEvent]) -> Option<Stop> {
        let stream = self.spec.stream();
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
                cause: restored(&stream, &what),
            }
        })
    }

    /// Loads the rows that the events need, and those that they lead to. Answers with the first that
    /// can't be read.
    async fn load(
        &mut self,
        store: &Store,
        events: &[RecordedEvent],
    ) -> Result<Option<FoldError>, tokio_postgres::Error> {
        let mut asking: Vec<&RecordedEvent> = events.iter().collect();
        for _ in 0..LOADS_MAX {
            // Whoever has all that it needs is led nowhere by what others load.
            let mut missing = BTreeSet::new();
            asking.retain(|event| {
                let ids = self.fold.missing(event);
                let more = !ids.is_empty();
                missing.extend(ids);
                more
            });
            if missing.is_empty() {
                break;
            }
            let missing: Vec<_> = missing.into_iter().collect();
            let rows = store.load(&self.table, &missing).await?;
            for id in &missing {
                self.fold.put_absent(id);
            }
            let unreadable = rows.iter().find_map(|row| self.fold.put(row).err());
            if unreadable.is_some() {
                return Ok(unreadable);
            }
        }
        Ok(None)
    }

    /// Folds until the first event that can't be taken in.
    fn fold_in<'a>(
        &mut self,
        mut unreadable: Option<FoldError>,
        events: &'a [RecordedEvent],
    ) -> Folded<'a> {
        let mut last = None;
        let mut stop = None;
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

/// Is it about what stands in a row, so that trying again never helps? A value that its type can't hold
/// (class 22), a constraint (23), a limit of Postgres's own (54).
fn is_about_data(error: &tokio_postgres::Error) -> bool {
    let classes = ["22", "23", "54"];
    let code = error.code().map(tokio_postgres::error::SqlState::code);
    code.is_some_and(|code| classes.iter().any(|class| code.starts_with(class)))
}

fn stop_at(event: &RecordedEvent, error: &FoldError) -> Stop {
    Stop {
        position: event.position.sequence,
        cause: chain(error),
    }
}

/// What to tell whoever finds the log changed.
pub(super) fn restored(stream: &str, what: &str) -> String {
    format!(
        "{what}: stream {stream} was restored from a backup, made anew, or lost events after the \
         read model had seen them. Nothing was changed. Either restore the stream to what it was, \
         or restore Postgres to the same moment, or empty the read model and set its position to \
         0 so that it is built anew from the log"
    )
}
