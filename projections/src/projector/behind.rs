//! The views that are far behind the foremost of their context, or whose table somebody holds. Each catches up in
//! a session of its own: one session hands every event to all of its views, so the others would wait meanwhile.

use std::future::pending;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::session::Taken;
use super::store::Mark;
use super::{Projector, ProjectorError};
use crate::view::ViewSpec;

/// So many batches behind the foremost a view is far behind: fewer are taken in sooner than it can be told.
const FAR_BATCHES: u64 = 4;

/// A view and where it stands.
pub(super) type Marked = (&'static ViewSpec, Mark);

/// Those that are on their way, and end with whoever holds this.
#[derive(Default)]
pub(super) struct Behind(JoinSet<(&'static ViewSpec, Result<(), ProjectorError>)>);

impl Behind {
    /// Sends each view on its way, with the projector that moves it alone.
    pub(super) fn send(views: Vec<Marked>, alone: impl Fn(&'static ViewSpec) -> Projector) -> Self {
        let mut sent = JoinSet::new();
        for (view, mark) in views {
            let (name, position) = (view.name, mark.position);
            tracing::info!(view = name, position, "it comes near the others by itself");
            let run = alone(view).run(CancellationToken::new());
            sent.spawn(async move { (view, run.await) });
        }
        Self(sent)
    }

    /// Waits until one has caught up, or has stopped; for ever when there is none. Cancel-safe.
    pub(super) async fn ended(&mut self) -> Taken {
        let Some(ended) = self.0.join_next().await else {
            return pending().await;
        };
        match ended {
            Ok((view, Err(ProjectorError::Stopped { stop, .. }))) => {
                Taken::StoppedBehind(view, stop)
            }
            Ok(_) => Taken::Reopen,
            Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
        }
    }
}

/// Those near the foremost, and those far behind it, where `batch_max` events are taken in at once.
pub(super) fn apart(views: Vec<Marked>, batch_max: usize) -> (Vec<Marked>, Vec<Marked>) {
    let batch = u64::try_from(batch_max.max(1)).unwrap_or(u64::MAX);
    let far = FAR_BATCHES.saturating_mul(batch);
    let foremost = views.iter().map(|(_, mark)| mark.position).max();
    let foremost = foremost.unwrap_or_default();
    let near = |(_, mark): &Marked| foremost.saturating_sub(mark.position) <= far;
    views.into_iter().partition(near)
}
