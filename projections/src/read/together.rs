//! Reads by id. One alone goes at once; those that come while others are under way go together, with
//! one statement for all of them.
//!
//! A connection works off one statement after another. So once each has one, a read waits here instead
//! of there, and what has gathered meanwhile costs Postgres and us little more than one. It is still read
//! after it was asked for.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::time::timeout;

use super::config::Settings;
use super::connection::{Connections, QUERY_TIMEOUT};
use super::error::ReadError;
use super::row::Found;
use crate::view::ViewSpec;

/// Most ids of one statement.
const TOGETHER_MAX: usize = 128;

/// How many reads of a view may have gathered; the others wait to be taken in.
const GATHERED_MAX: usize = 1_024;

/// The reads by id of one database. What has gathered ends with it.
pub(super) struct Gets {
    connections: Arc<Connections>,
    views: HashMap<&'static str, Gathering>,
}

/// The reads of one view.
struct Gathering {
    /// One place for each statement that may be under way.
    places: Arc<Semaphore>,
    asked: mpsc::Sender<Asked>,
}

struct Asked {
    id: String,
    answer: oneshot::Sender<Result<Found, ReadError>>,
}

impl Gets {
    /// Asks for a runtime.
    pub(super) fn new(
        context: &'static str,
        connections: &Arc<Connections>,
        settings: Settings,
    ) -> Self {
        let gathering = |view: &'static ViewSpec| {
            let places = Arc::new(Semaphore::new(settings.read_connections.max(1)));
            let (asked, gathered) = mpsc::channel(GATHERED_MAX);
            let connections = Arc::clone(connections);
            tokio::spawn(gather(view, connections, Arc::clone(&places), gathered));
            (view.name, Gathering { places, asked })
        };
        Self {
            connections: Arc::clone(connections),
            views: crate::views_of(context)
                .into_iter()
                .map(gathering)
                .collect(),
        }
    }

    /// The row of `view` with this id.
    pub(super) async fn get(&self, view: &'static ViewSpec, id: &str) -> Result<Found, ReadError> {
        let unknown = ReadError::NotProvisioned { view: view.name };
        let Some(gathering) = self.views.get(view.name) else {
            return Err(unknown);
        };
        if let Ok(_place) = gathering.places.try_acquire() {
            let found = self.connections.get(view, &[id]).await?;
            return found.into_iter().next().ok_or(unknown);
        }
        let (answer, found) = oneshot::channel();
        let id = id.to_owned();
        let together = async {
            gathering.asked.send(Asked { id, answer }).await.ok()?;
            found.await.ok()
        };
        let found = timeout(QUERY_TIMEOUT, together).await.ok().flatten();
        found.unwrap_or_else(|| Err(self.connections.away()))
    }
}

/// Takes what has gathered whenever there is a place for one more statement.
async fn gather(
    view: &'static ViewSpec,
    connections: Arc<Connections>,
    places: Arc<Semaphore>,
    mut gathered: mpsc::Receiver<Asked>,
) {
    while let Some(first) = gathered.recv().await {
        // They are never closed.
        let Ok(place) = Arc::clone(&places).acquire_owned().await else {
            return;
        };
        let mut asked = vec![first];
        while asked.len() < TOGETHER_MAX
            && let Ok(next) = gathered.try_recv()
        {
            asked.push(next);
        }
        tokio::spawn(answer(view, Arc::clone(&connections), asked, place));
    }
}

async fn answer(
    view: &'static ViewSpec,
    connections: Arc<Connections>,
    asked: Vec<Asked>,
    _place: OwnedSemaphorePermit,
) {
    let ids: Vec<_> = asked.iter().map(|asked| asked.id.as_str()).collect();
    let found = connections.get(view, &ids).await;
    // Who doesn't wait any more needs no answer.
    match found {
        Ok(found) => {
            for (asked, found) in asked.into_iter().zip(found) {
                let _ = asked.answer.send(Ok(found));
            }
        }
        Err(error) => {
            for asked in asked {
                let _ = asked.answer.send(Err(error.clone()));
            }
        }
    }
}
