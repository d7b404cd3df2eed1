//! One view at work: its place, its rows in memory, and how a batch becomes a commit.

use std::any::Any;
use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use chrono::{DateTime, Utc};
use streams::{RecordedEvent, chain};
use tokio::time::Instant;

use super::error::Stop;
use super::store::{Commit, Mark, Store, TableStatements};
use crate::fold::{Fold, FoldError, StoredRow};
use crate::view::ViewSpec;

/// How often rows are loaded for one batch: those that its events name, and those that these lead to.
const LOADS_MAX: usize = 2;

/// One view at work.
///
/// Where it stands is written with the rows that change. After a batch that changes none it is written a little later,
/// together with what comes until then: an update and a notice less each time. Whoever begins from what is written
/// takes the same events in once more, and they change nothing again.
pub(super) struct LiveView {
    pub(super) spec: &'static ViewSpec,
    pub(super) mark: Mark,
    /// Where the database says that it stands.
    written: Mark,
    /// Since when it stands elsewhere.
    unwritten_since: Option<Instant>,
    wait: Wait,
    table: TableStatements,
    fold: Box<dyn Fold>,
}

/// How long the position of a view waits to be written while none of its rows changes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wait {
    /// At most so long.
    pub(super) time: Duration,
    /// And so many events.
    pub(super) events: u64,
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

impl Outcome {
    /// What came before the event that it can't take in is in, if there is one.
    fn after(stop: Option<Stop>) -> Self {
        stop.map_or(Self::Went, Self::Stopped)
    }
}

/// Why nothing of a batch was taken in.
enum Untaken {
    /// Postgres is away, or refuses.
    Database(tokio_postgres::Error),
    /// The view's own code panicked, and said this.
    Panicked(String),
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
    pub(super) fn new(
        spec: &'static ViewSpec,
        table: TableStatements,
        (mark, wait): (Mark, Wait),
    ) -> Self {
        Self {
            spec,
            mark,
            written: mark,
            unwritten_since: None,
            wait,
            table,
            fold: spec.fold(),
        }
    }

    /// Takes a batch in: prove, load, fold, commit. What Postgres can't keep in a row, or the view's code
    /// panics at, stops this view alone.
    pub(super) async fn take(
        &mut self,
        store: &Store,
        stream_created_at: DateTime<Utc>,
        events: &[RecordedEvent],
    ) -> Result<Outcome, tokio_postgres::Error> {
        let refused = match self.take_all(store, stream_created_at, events).await {
            Ok(outcome) => return Ok(outcome),
            Err(untaken) => untaken.for_good()?,
        };
        tracing::warn!(view = self.spec.name, error = %refused, "a batch is refused: its events one by one");
        // What is in memory is as of the whole batch, or half of an event.
        self.fold = self.spec.fold();
        for event in events {
            let one = std::slice::from_ref(event);
            match self.take_all(store, stream_created_at, one).await {
                Ok(Outcome::Went) => {}
                Ok(ended) => return Ok(ended),
                Err(untaken) => {
                    let position = event.position.sequence;
                    let cause = untaken.for_good()?;
                    return Ok(Outcome::Stopped(Stop { position, cause }));
                }
            }
        }
        Ok(Outcome::Went)
    }

    async fn take_all(
        &mut self,
        store: &Store,
        stream_created_at: DateTime<Utc>,
        events: &[RecordedEvent],
    ) -> Result<Outcome, Untaken> {
        if let Some(stop) = self.disproof(events) {
            return Ok(Outcome::Stopped(stop));
        }
        let behind = self.mark.position;
        let skipped = events.partition_point(|event| event.position.sequence <= behind);
        let fresh = events.get(skipped..).unwrap_or_default();
        if fresh.is_empty() {
            self.stand(store, events).await?;
            return Ok(Outcome::Went);
        }
        let unreadable = self.load(store, fresh).await?;
        let folded = fold_in(self.fold.as_mut(), unreadable, fresh)?;
        let Some(last) = folded.last else {
            return Ok(Outcome::after(folded.stop));
        };
        let new = Mark {
            position: last.position.sequence,
            event_id: Some(last.id),
            stream_created_at: Some(stream_created_at),
            table: self.mark.table,
            stopped: false,
        };
        if folded.rows.is_empty() && folded.stop.is_none() && self.may_wait(&new) {
            self.mark = new;
            self.unwritten_since.get_or_insert_with(Instant::now);
            return Ok(Outcome::Went);
        }
        match self.write(store, new, &folded.rows).await? {
            Commit::FenceLost => return Ok(Outcome::FenceLost),
            Commit::Done => {}
        }
        self.fold.settle();
        Ok(Outcome::after(folded.stop))
    }

    /// May it stand there without having written it? What is written of a stop goes with the next position.
    fn may_wait(&self, new: &Mark) -> bool {
        let since = self.unwritten_since;
        let is_young =
            since.map_or_else(Duration::default, |since| since.elapsed()) < self.wait.time;
        let is_near = new.position.saturating_sub(self.written.position) <= self.wait.events;
        is_young && is_near && !self.written.stopped
    }

    async fn write(
        &mut self,
        store: &Store,
        new: Mark,
        rows: &[StoredRow],
    ) -> Result<Commit, tokio_postgres::Error> {
        let done = store
            .commit(&self.table, (&self.written, &new), rows)
            .await?;
        if done == Commit::Done {
            (self.mark, self.written) = (new, new);
            self.unwritten_since = None;
        }
        Ok(done)
    }

    /// When its position must be written; `None` = it is.
    pub(super) fn due(&self) -> Option<Instant> {
        Some(self.unwritten_since? + self.wait.time)
    }

    /// Writes its position, if it is not.
    pub(super) async fn write_position(
        &mut self,
        store: &Store,
    ) -> Result<Commit, tokio_postgres::Error> {
        if self.unwritten_since.is_none() {
            return Ok(Commit::Done);
        }
        self.write(store, self.mark, &[]).await
    }

    /// The position that the database has of it.
    pub(super) fn written(&self) -> u64 {
        self.written.position
    }

    /// Whatever has stopped the view is over once its own event is found where it was, also while nothing new
    /// comes, with which that would be written down.
    async fn stand(
        &mut self,
        store: &Store,
        events: &[RecordedEvent],
    ) -> Result<(), tokio_postgres::Error> {
        if self.mark.stopped && self.own(events).is_some() {
            store
                .take_back_failure(self.spec.name, self.written.position)
                .await?;
            (self.mark.stopped, self.written.stopped) = (false, false);
        }
        Ok(())
    }

    /// The event at our position.
    fn own<'a>(&self, events: &'a [RecordedEvent]) -> Option<&'a RecordedEvent> {
        let position = self.mark.position;
        events.iter().find(|e| e.position.sequence == position)
    }

    /// Is the event at our position another one than it was?
    fn disproof(&self, events: &[RecordedEvent]) -> Option<Stop> {
        let stream = self.spec.stream();
        let position = self.mark.position;
        let there = self.own(events)?;
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
    ) -> Result<Option<FoldError>, Untaken> {
        let mut asking: Vec<&RecordedEvent> = events.iter().collect();
        for _ in 0..LOADS_MAX {
            let missing = missing_of(self.fold.as_ref(), &mut asking)?;
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
}

impl Untaken {
    /// Why trying again never helps.
    ///
    /// # Errors
    /// It may help.
    fn for_good(self) -> Result<String, tokio_postgres::Error> {
        match self {
            Self::Database(error) if is_about_data(&error) => {
                Ok(format!("Postgres can't keep the row: {}", chain(&error)))
            }
            Self::Database(error) => Err(error),
            Self::Panicked(said) => Ok(format!("the view's code panicked: {said}")),
        }
    }
}

impl From<tokio_postgres::Error> for Untaken {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Database(error)
    }
}

/// The rows that the events need and that aren't in memory. Whoever has all that it needs is asked no more: it is
/// led nowhere by what others load.
fn missing_of(
    fold: &dyn Fold,
    asking: &mut Vec<&RecordedEvent>,
) -> Result<BTreeSet<String>, Untaken> {
    caught(|| {
        let mut missing = BTreeSet::new();
        asking.retain(|event| {
            let ids = fold.missing(event);
            let more = !ids.is_empty();
            missing.extend(ids);
            more
        });
        missing
    })
}

/// Folds until the first event that can't be taken in. After a panic the fold is good for nothing.
fn fold_in<'a>(
    fold: &mut dyn Fold,
    mut unreadable: Option<FoldError>,
    events: &'a [RecordedEvent],
) -> Result<Folded<'a>, Untaken> {
    caught(|| {
        let mut last = None;
        let mut stop = None;
        for event in events {
            let taken = unreadable.take().map_or_else(|| fold.apply(event), Err);
            if let Err(error) = taken {
                stop = Some(stop_at(event, &error));
                break;
            }
            last = Some(event);
        }
        match fold.changed() {
            Ok(rows) => Folded { last, rows, stop },
            Err(error) => Folded {
                last: None,
                rows: Vec::new(),
                stop: events.first().map(|event| stop_at(event, &error)),
            },
        }
    })
}

/// What `work` comes to. A panic in a view's code (an overflow, say) must not end the other views'.
fn caught<T>(work: impl FnOnce() -> T) -> Result<T, Untaken> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|panic| Untaken::Panicked(said(panic.as_ref())))
}

/// The message of a panic.
fn said(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("no message").to_owned()
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
         or restore Postgres to the same moment, or build the read model anew from the log \
         (`millrace rebuild <view> --anew --switch`); then start the projector anew"
    )
}

#[cfg(test)]
mod tests {
    use cqrs_es::{EventEnvelope, View};
    use product::{Product, ProductEvent};
    use schemars::JsonSchema;
    use serde::{Deserialize, Serialize};

    use super::*;
    use crate::table::{Rows, TableView};
    use crate::testkit::{eur, recorded};
    use crate::view::{EntityView, Sort};

    /// A view whose sum overflows at the second price.
    #[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
    struct Sum(i64);

    impl Sum {
        fn add(&mut self, event: &EventEnvelope<Product>) {
            if let Some(price) = priced(&event.payload) {
                self.0 += price;
            }
        }
    }

    fn priced(event: &ProductEvent) -> Option<i64> {
        if let ProductEvent::PriceSet { price } = event {
            return Some(price.amount);
        }
        None
    }

    impl View<Product> for Sum {
        fn update(&mut self, event: &EventEnvelope<Product>) {
            self.add(event);
        }
    }

    impl EntityView<Product> for Sum {
        const NAME: &'static str = "sum";
        const FILTERS: &'static [&'static str] = &[];
        const SORT: Sort = Sort::Id;
    }

    impl TableView for Sum {
        type Of = Product;
        const NAME: &'static str = "sum_of_all";
        const FILTERS: &'static [&'static str] = &[];
        const SORT: Sort = Sort::Id;

        fn touched(event: &EventEnvelope<Product>, _: &Rows<Self>) -> Vec<String> {
            assert!(priced(&event.payload) != Some(7), "seven");
            vec!["all".to_owned()]
        }

        fn take(event: &EventEnvelope<Product>, rows: &mut Rows<Self>) {
            rows.edit("all", Self::default).add(event);
        }
    }

    static OF_ONE: ViewSpec = ViewSpec::entity::<Product, Sum>();
    static OF_ALL: ViewSpec = ViewSpec::table::<Sum>();

    fn priced_at(version: u64, amount: i64) -> RecordedEvent {
        let price = ProductEvent::PriceSet { price: eur(amount) };
        recorded::<Product>("TEA-1", (version, version), &price)
    }

    #[test]
    fn a_panic_in_a_views_code_is_a_cause_to_stop_it() {
        let events = [priced_at(1, i64::MAX), priced_at(2, i64::MAX)];
        for spec in [&OF_ONE, &OF_ALL] {
            let mut fold = spec.fold();
            let untaken = fold_in(fold.as_mut(), None, &events).err().unwrap();
            let why = untaken.for_good().unwrap();
            assert!(
                why.contains("panicked: attempt to add with overflow"),
                "{why}"
            );
            // What stood before it is taken in by itself.
            let mut fold = spec.fold();
            let folded = fold_in(fold.as_mut(), None, &events[..1]).ok().unwrap();
            assert_eq!((folded.rows.len(), folded.stop), (1, None));
        }
        let seven = [priced_at(1, 7)];
        let untaken = missing_of(OF_ALL.fold().as_ref(), &mut seven.iter().collect())
            .err()
            .unwrap();
        assert_eq!(
            untaken.for_good().unwrap(),
            "the view's code panicked: seven"
        );
    }
}
