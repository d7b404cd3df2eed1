//! What a projector holds while all is well. Anything odd ends the session; the next one begins
//! with what the database and the log say.

use std::sync::atomic::Ordering;
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures::future::join_all;
use kernel::Position;
use streams::subscription::{OrderedSubscription, SubscriptionError};
use streams::{Connection, LoadError, RecordedEvent, Streams, chain};
use tokio::time::Instant;

use super::Projector;
use super::behind::{Behind, Marked, apart};
use super::config::{Scope, Settings};
use super::error::{ProjectorError, Stop};
use super::live::{LiveView, Outcome, Wait, restored};
use super::store::{Commit, Mark, Revisions, Store, is_held};
use crate::login::{Login, OpenError};
use crate::view::ViewSpec;

/// How long the log may take to show the event at our position, which it said that it has.
const PROOF_TIMEOUT: Duration = Duration::from_secs(15);

/// How long the event at our position counts as proof that the log is still the same. A stream can
/// be deleted and restored without the connection noticing; that takes longer than this.
const PROOF_AGE_MAX: Duration = Duration::from_secs(2);

/// How often a view is looked at again that a newer version has written to: somebody may have gone back.
const OUTDATED_LOOK: Duration = Duration::from_secs(10);

/// A projector that has caught up, and that several events came to at once, rests this many times as long as
/// the batch took. What comes meanwhile goes into one transaction, so the busier the machine, the larger
/// the batches; who writes one event after another waits for nothing.
const REST_TIMES: u32 = 4;

/// Longest rest: what a reader who waits for the view may wait more.
const REST_MAX: Duration = Duration::from_millis(40);

/// A place in the stream, a connection to the database, rows in memory.
pub(super) struct Session {
    log: Connection,
    /// How often the connection had been made when the session began.
    connects: u64,
    subscription: OrderedSubscription,
    stream: String,
    stream_created_at: DateTime<Utc>,
    /// The last event of the stream when the session began, or a later one that was seen.
    end: u64,
    login: Login,
    store: Store,
    /// Those that go on together.
    views: Vec<LiveView>,
    /// Those that catch up first.
    behind: Behind,
    settings: Settings,
    /// The last event to take in.
    until: u64,
    /// For looking at the log's leader.
    streams: Streams,
    /// When the event at our position was seen last; none until the session has seen it.
    proven: Option<Instant>,
    /// When the next batch may begin.
    rests_until: Instant,
    /// When to look again at the views that were left alone because a newer version writes to them; none
    /// were = never.
    look_again: Option<Instant>,
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
    /// One of those that caught up by themselves has stopped, as is written down.
    StoppedBehind(&'static ViewSpec, Stop),
    /// Another projector moves one of the views.
    FenceLost,
    /// The connection to the log was made anew, or the log has changed, or a view has caught up, or somebody
    /// holds its table: where all stand must be looked at again.
    Reopen,
}

/// What there is to see to before the next batch.
enum Instead {
    Taken(Taken),
    /// Positions must be written.
    Positions,
}

impl Session {
    /// Reads positions, looks at the stream, and takes a place in it.
    pub(super) async fn open(
        log: &Connection,
        login: &Login,
        specs: Vec<&'static ViewSpec>,
        (settings, scope): (Settings, Scope),
    ) -> Result<Self, ProjectorError> {
        let away = |source| ProjectorError::Database {
            login: login.to_string(),
            source,
        };
        let database = |source| away(OpenError::Refused(source));
        let store = Store::open(login, (settings, scope)).await.map_err(away)?;
        let mut marked: Vec<Marked> = Vec::with_capacity(specs.len());
        let mut outdated = None;
        for spec in specs {
            let mark = store.mark(spec.name).await.map_err(database)?;
            let (mark, revisions) =
                mark.ok_or(ProjectorError::NotProvisioned { view: spec.name })?;
            if revisions.writer > spec.revision {
                let error = ProjectorError::Outdated {
                    view: spec.name,
                    theirs: revisions.writer,
                    ours: spec.revision,
                };
                tracing::warn!("{error}");
                outdated = Some(error);
                continue;
            }
            report_revision(spec, &mark, revisions);
            marked.push((spec, mark));
        }
        let look_again = outdated.as_ref().map(|_| Instant::now() + OUTDATED_LOOK);
        if let Some(error) = outdated.filter(|_| marked.is_empty()) {
            return Err(error);
        }
        let (near, mut far) = apart(marked, settings.batch_max);
        let wait = settings.position_wait(scope);
        let begun = begin(&store, near, wait).await;
        let (views, held) = begun.map_err(database)?;
        far.extend(held);
        let stream = views.first().map(|v| v.spec.stream()).unwrap_or_default();
        let connects = connects(log);
        let streams = log.streams(streams::Settings::reading());
        let state = streams.stream_state(&stream).await;
        let state = state.map_err(|source| ProjectorError::Log {
            stream: stream.clone(),
            source: source.into(),
        })?;
        let positions = || views.iter().map(|view| view.mark.position);
        let first = positions().min().unwrap_or(0);
        let until = positions().max().unwrap_or(0);
        let how = (settings, Scope { until, ..scope });
        let behind = Behind::send(far, |view| {
            Projector::of_view(view, log.clone(), login, how)
        });
        // From the event at the position, not behind it: that event is the proof.
        let subscription = log.ordered(&stream, first.saturating_sub(1));
        Ok(Self {
            log: log.clone(),
            connects,
            subscription,
            stream,
            stream_created_at: state.created,
            end: state.last,
            login: login.clone(),
            store,
            views,
            behind,
            settings,
            until: scope.until,
            streams,
            proven: (first == 0).then(Instant::now),
            rests_until: Instant::now(),
            look_again,
        })
    }

    /// Waits for a batch, and has every view take it in.
    pub(super) async fn take_batch(&mut self) -> Result<Taken, ProjectorError> {
        let short = self.beyond_the_end();
        if !short.is_empty() {
            return Ok(Taken::Events {
                events: 0,
                stopped: short,
            });
        }
        tokio::time::sleep_until(self.rests_until).await;
        let batch = loop {
            match self.batch_or_else().await {
                Ok(batch) => break batch,
                Err(Instead::Taken(taken)) => return Ok(taken),
                Err(Instead::Positions) => {
                    if let Some(ended) = self.write_positions().await? {
                        return Ok(ended);
                    }
                }
            }
        };
        if connects(&self.log) != self.connects {
            return Ok(Taken::Reopen);
        }
        let until = self.until;
        let events = match batch {
            Ok(mut events) => {
                events.truncate(events.partition_point(|event| event.position.sequence <= until));
                events
            }
            Err(BatchError::Stop(stop)) => return Ok(self.stop_all(&stop)),
            Err(BatchError::Failed(error)) => return Err(error),
        };
        if !self.still_proven().await? {
            return Ok(Taken::Reopen);
        }
        self.end = events
            .last()
            .map_or(self.end, |last| last.position.sequence.max(self.end));
        let began = Instant::now();
        let (store, created) = (&self.store, self.stream_created_at);
        // Each by itself, their statements one behind the other on the connection.
        let takes = self.views.iter_mut().map(|view| {
            let events = &events;
            async move { (view.spec, view.take(store, created, events).await) }
        });
        let mut stopped = Vec::new();
        for (view, outcome) in join_all(takes).await {
            match outcome {
                Ok(Outcome::Went) => {}
                Ok(Outcome::FenceLost) => return Ok(Taken::FenceLost),
                Ok(Outcome::Stopped(stop)) => stopped.push((view, stop)),
                Err(source) if is_held(&source) => return Ok(Taken::Reopen),
                Err(source) => return Err(self.database(source)),
            }
        }
        if events.len() > 1 && self.subscription.caught_up() {
            let rest = began.elapsed().saturating_mul(REST_TIMES).min(REST_MAX);
            self.rests_until = Instant::now() + rest;
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
            .record_failure(spec.name, view.written(), failure)
            .await
            .map_err(|source| self.database(source))
    }

    /// Writes the positions of the views that none of the events since has changed. What ends the session, if anything
    /// does.
    async fn write_positions(&mut self) -> Result<Option<Taken>, ProjectorError> {
        let store = &self.store;
        let views = self.views.iter_mut();
        let writes = views.map(|view| view.write_position(store));
        for written in join_all(writes).await {
            match written {
                Ok(Commit::Done) => {}
                Ok(Commit::FenceLost) => return Ok(Some(Taken::FenceLost)),
                Err(source) if is_held(&source) => return Ok(Some(Taken::Reopen)),
                Err(source) => return Err(self.database(source)),
            }
        }
        Ok(None)
    }

    /// The next batch, unless there is something else to see to before.
    async fn batch_or_else(&mut self) -> Result<Result<Vec<RecordedEvent>, BatchError>, Instead> {
        let look_again = self.look_again;
        let due = self.views.iter().filter_map(LiveView::due).min();
        let mut behind = std::mem::take(&mut self.behind);
        let batch = tokio::select! {
            biased;
            ended = behind.ended() => Err(Instead::Taken(ended)),
            () = at(look_again) => Err(Instead::Taken(Taken::Reopen)),
            () = at(due) => Err(Instead::Positions),
            batch = self.next_batch() => Ok(batch),
        };
        self.behind = behind;
        batch
    }

    /// Have all that go on together come to the last event that they are to take in?
    pub(super) fn has_ended(&self) -> bool {
        let ended = |view: &LiveView| view.mark.position >= self.until;
        self.views.iter().all(ended)
    }

    /// Is there nobody but those behind?
    pub(super) fn is_empty(&self) -> bool {
        self.views.is_empty()
    }

    async fn next_batch(&mut self) -> Result<Vec<RecordedEvent>, BatchError> {
        let next = self
            .subscription
            .next_batch(self.settings.batch_max.max(1), self.settings.linger);
        let batch = if self.proven.is_some() {
            next.await
        } else {
            // The stream holds the event at our position: no answer means that the server is away.
            tokio::time::timeout(PROOF_TIMEOUT, next)
                .await
                .map_err(|late| BatchError::Failed(self.log_error(late)))?
        };
        batch.map_err(|error| self.judge(error))
    }

    /// Is the event at our position still the one that it was? The first batch of a session holds
    /// that event; later the leader is asked now and then.
    async fn still_proven(&mut self) -> Result<bool, ProjectorError> {
        let fresh = |seen: Instant| seen.elapsed() < PROOF_AGE_MAX;
        if self.proven.is_some_and(fresh) {
            return Ok(true);
        }
        let first = self.proven.replace(Instant::now()).is_none();
        let latest = self.views.iter().max_by_key(|view| view.mark.position);
        let Some((position, expected)) =
            latest.and_then(|view| Some((view.mark.position, view.mark.event_id?)))
        else {
            return Ok(true);
        };
        if first {
            return Ok(true);
        }
        let position = Position::new(self.stream.as_str(), position);
        match self.streams.event_at(&position).await {
            Ok(there) => Ok(there.is_some_and(|event| event.id == expected)),
            // The next session stops at it, and says why.
            Err(LoadError::Unreadable(_)) => Ok(false),
            Err(error @ LoadError::Unavailable { .. }) => Err(self.log_error(error)),
        }
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

    fn report(&self, events: usize) {
        let count = u64::try_from(events).unwrap_or(u64::MAX);
        for view in &self.views {
            let name = view.spec.name;
            metrics::counter!("millrace_projector_events_total", "view" => name).increment(count);
            metrics::gauge!("millrace_projector_position", "view" => name)
                .set(precise(view.mark.position));
        }
        let live = self.until == Scope::LIVE.until;
        if let (Some(behind), Some(view), true) =
            (self.subscription.pending(), self.views.first(), live)
        {
            metrics::gauge!("millrace_projector_lag_events", "context" => view.spec.context)
                .set(precise(behind));
        }
    }

    fn database(&self, source: tokio_postgres::Error) -> ProjectorError {
        ProjectorError::Database {
            login: self.login.to_string(),
            source: source.into(),
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

/// Prepares for work on these. Those whose table somebody holds are answered apart, as long as there are others.
async fn begin(
    store: &Store,
    views: Vec<Marked>,
    wait: Wait,
) -> Result<(Vec<LiveView>, Vec<Marked>), tokio_postgres::Error> {
    let mut begun = Vec::with_capacity(views.len());
    let mut held = Vec::new();
    let mut refused = None;
    for (spec, mark) in views {
        match store.table(spec).await {
            Ok(table) => begun.push(LiveView::new(spec, table, (mark, wait))),
            Err(error) if is_held(&error) => {
                tracing::warn!(
                    view = spec.name,
                    "somebody holds its table: it waits by itself"
                );
                held.push((spec, mark));
                refused = Some(error);
            }
            Err(error) => return Err(error),
        }
    }
    match refused {
        Some(error) if begun.is_empty() => Err(error),
        Some(_) | None => Ok((begun, held)),
    }
}

/// Says whether rows are left that an older fold has made.
fn report_revision(spec: &ViewSpec, mark: &Mark, revisions: Revisions) {
    let (view, rows, ours) = (spec.name, revisions.rows, spec.revision);
    if spec.outdates(mark.position, rows) {
        tracing::warn!(
            view,
            rows,
            ours,
            "rows of an older revision: `millrace rebuild {view} --switch`"
        );
    }
}

/// Waits until then; `None` = for ever.
async fn at(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}

/// How often the client has connected.
fn connects(log: &Connection) -> u64 {
    let statistics = log.client().statistics();
    statistics.connects.load(Ordering::Relaxed)
}

/// A gauge is a float; positions stay exact up to 2^53.
#[expect(
    clippy::cast_precision_loss,
    reason = "a metric above 2^53 events may be off by one"
)]
fn precise(number: u64) -> f64 {
    number as f64
}
