//! Keeps the read models of one context up to date with its stream.
//!
//! ```text
//!   session   what a projector holds while all is well: rows in memory, a connection, a place in the stream
//!   behind    the views that are far behind the others of their context, or whose table somebody holds, each in
//!             a session of its own
//!   live      one view of it: how a batch becomes a commit
//!   store     the statements: position first, then rows, then the notification, one transaction
//!   error     what can go wrong, and whether waiting helps
//!   run       several contexts in one process
//!   standing  what each of them waits for
//! ```
//!
//! A read model's position in its stream stands in the same database as its rows and moves in the
//! same transaction, by compare-and-set. So of two projectors only one gets anywhere, and a crash
//! between any two statements repeats nothing and loses nothing.
//!
//! The position row also holds the id of the event at that position. Every session begins by
//! reading that event again: if it is another one, or gone, the log was restored or lost, and
//! going on would mix two histories.

mod behind;
mod config;
mod error;
mod live;
mod run;
mod session;
mod standing;
mod store;

use std::collections::BTreeMap;

use futures::future::BoxFuture;
use streams::Connection;

pub(crate) use config::Scope;
pub use config::{BATCH_MAX, Config, STANDBY_MS, Settings};
pub use error::{ProjectorError, Stop};
pub use run::run;
pub use standing::Standing;
pub(crate) use store::STATEMENT_TIMEOUT_MS;

use crate::login::Login;
use crate::view::ViewSpec;
use session::{Session, Taken};

/// The projector of one context.
pub struct Projector {
    context: &'static str,
    log: Connection,
    database: Login,
    settings: Settings,
    scope: Scope,
    /// Those that it moves.
    views: Vec<&'static ViewSpec>,
    /// None after anything went wrong, and at first.
    session: Option<Session>,
    /// The views that have stopped, and why. They stay stopped until the process starts anew.
    stopped: BTreeMap<&'static str, Stop>,
    standing: Standing,
}

/// What one step did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stepped {
    /// How many events were taken in, by whichever views.
    pub events: usize,
    /// Somebody else moves the views: this projector stands by.
    pub standing_by: bool,
    /// All that was to be taken in is: never of a projector that is told to go on without end.
    pub ended: bool,
}

impl Projector {
    /// A projector of `context`, reading `log`, writing to `database`. Nothing happens yet.
    ///
    /// # Errors
    /// There is no such context.
    pub fn new(
        context: &str,
        log: Connection,
        database: Login,
        settings: Settings,
    ) -> Result<Self, ProjectorError> {
        let views = crate::views_of(context);
        let Some(first) = views.first() else {
            return Err(ProjectorError::UnknownContext {
                context: context.to_owned(),
                known: crate::contexts().join(", "),
            });
        };
        Ok(Self {
            context: first.context,
            log,
            database,
            settings,
            scope: Scope::LIVE,
            views,
            session: None,
            stopped: BTreeMap::new(),
            standing: Standing::default(),
        })
    }

    /// A projector of one view alone.
    pub(crate) fn of_view(
        view: &'static ViewSpec,
        log: Connection,
        database: &Login,
        (settings, scope): (Settings, Scope),
    ) -> Self {
        Self {
            context: view.context,
            log,
            database: database.clone(),
            settings,
            scope,
            views: vec![view],
            session: None,
            stopped: BTreeMap::new(),
            standing: Standing::default(),
        }
    }

    /// The same, which tells `standing` what it waits for.
    #[must_use]
    pub fn watched(self, standing: &Standing) -> Self {
        standing.waits(self.context, "it has not begun".to_owned());
        let standing = standing.clone();
        Self { standing, ..self }
    }

    /// The context.
    pub fn context(&self) -> &'static str {
        self.context
    }

    /// The views that have stopped, and why.
    pub fn stopped(&self) -> &BTreeMap<&'static str, Stop> {
        &self.stopped
    }

    /// Waits for events and takes in one batch of them: rows and position are committed when it
    /// returns. Dropped in the middle, it has either committed or changed nothing; a new projector
    /// (not this one) goes on from there.
    ///
    /// # Errors
    /// [`ProjectorError::is_final`] tells whether another step may help. The views that have
    /// stopped on their own are no error as long as others go on.
    pub fn step(&mut self) -> BoxFuture<'_, Result<Stepped, ProjectorError>> {
        Box::pin(self.take_in())
    }

    async fn take_in(&mut self) -> Result<Stepped, ProjectorError> {
        let mut session = match self.session.take() {
            Some(session) => session,
            None => self.open().await?,
        };
        let taken = session.take_batch().await?;
        let mut stepped = Stepped::default();
        match taken {
            Taken::Events { events, stopped } => {
                stepped.events = events;
                for (view, stop) in stopped {
                    session.record(view, &stop).await?;
                    self.stop(view, stop);
                }
                self.go_on(session)?;
                stepped.ended = self.session.as_ref().is_some_and(Session::has_ended);
            }
            Taken::StoppedBehind(view, stop) => {
                self.stopped.insert(view.name, stop);
                self.go_on(session)?;
            }
            Taken::FenceLost => stepped.standing_by = true,
            // The next session looks again at what the log holds.
            Taken::Reopen => {}
        }
        Ok(stepped)
    }

    /// Keeps a session for the next step, as long as anybody is left in it: without, those behind begin one.
    fn go_on(&mut self, session: Session) -> Result<(), ProjectorError> {
        if self.running().is_empty() {
            return Err(self.all_stopped());
        }
        self.session = Some(session).filter(|session| !session.is_empty());
        Ok(())
    }

    /// The views that still run.
    fn running(&self) -> Vec<&'static ViewSpec> {
        let views = self.views.iter().copied();
        views
            .filter(|view| !self.stopped.contains_key(view.name))
            .collect()
    }

    fn stop(&mut self, view: &'static ViewSpec, stop: Stop) {
        metrics::counter!("millrace_projector_stopped_total", "view" => view.name).increment(1);
        tracing::error!(
            view = view.name,
            position = stop.position,
            cause = stop.cause,
            "read model has stopped"
        );
        self.stopped.insert(view.name, stop);
    }

    fn all_stopped(&self) -> ProjectorError {
        let (view, stop) = match self.stopped.first_key_value() {
            Some((view, stop)) => (*view, stop.clone()),
            None => (self.context, Stop::default()),
        };
        ProjectorError::Stopped { view, stop }
    }

    async fn open(&self) -> Result<Session, ProjectorError> {
        let running = self.running();
        if running.is_empty() {
            return Err(self.all_stopped());
        }
        let how = (self.settings, self.scope);
        let session = Session::open(&self.log, &self.database, running, how).await?;
        self.standing.waits_no_more(self.context);
        Ok(session)
    }
}
