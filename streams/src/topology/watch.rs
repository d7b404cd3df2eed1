//! Whether the streams and durables are still as declared: somebody may change one under a running shop.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use futures::{StreamExt, stream};
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use super::check::{self, durable, durable_differences, name_of_durable, stream_differences};
use super::error::Difference;
use super::spec::Topology;
use crate::connection::Connection;
use crate::log::{BoxError, chain};

/// How often they are looked at, whether or not the server has said that there was a change.
const LOOK_INTERVAL: Duration = Duration::from_secs(30);

/// Where the server says that a stream was made, changed or taken away.
const CHANGES: &str = "$JS.EVENT.ADVISORY.STREAM.*.*";

/// The streams that nothing is appended to, because they could lose it, and why. Cheap to clone; clones are
/// one.
#[derive(Debug, Clone, Default)]
pub struct Withheld(Arc<RwLock<BTreeMap<String, String>>>);

impl Withheld {
    /// Is every stream appended to?
    ///
    /// # Errors
    /// Which are not, and which fields are to be set right.
    pub fn check(&self) -> Result<(), String> {
        let withheld = self.0.read().unwrap_or_else(PoisonError::into_inner);
        if withheld.is_empty() {
            return Ok(());
        }
        let causes: Vec<&str> = withheld.values().map(String::as_str).collect();
        Err(causes.join("; "))
    }

    /// Is `stream` appended to?
    ///
    /// # Errors
    /// Why it isn't.
    pub(crate) fn allows(&self, stream: &str) -> Result<(), BoxError> {
        let withheld = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let cause = withheld.get(stream).cloned();
        cause.map_or(Ok(()), |cause| Err(cause.into()))
    }

    fn set(&self, stream: &str, cause: Option<String>) {
        let gauge = metrics::gauge!("streams_withheld", "stream" => stream.to_owned());
        gauge.set(if cause.is_some() { 1.0 } else { 0.0 });
        let mut withheld = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if withheld.get(stream) == cause.as_ref() {
            return;
        }
        if let Some(cause) = cause {
            tracing::error!(stream, cause, "nothing is appended until it is set right");
            withheld.insert(stream.to_owned(), cause);
        } else {
            tracing::info!(stream, "it is as declared again, and appended to");
            withheld.remove(stream);
        }
    }
}

/// Looks at every stream and durable of `topology` again and again, at the streams also when the server says that one
/// was changed. Of one that can't be looked at, what was known stays.
pub(crate) async fn follow(connection: Connection, topology: Topology) {
    let mut differing = BTreeMap::new();
    let mut looks = interval_at(Instant::now() + LOOK_INTERVAL, LOOK_INTERVAL);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // Whoever may not hear of it sees it at the next look.
    let changes = connection.client().subscribe(CHANGES).await;
    let mut changes = stream::iter(changes.ok()).flatten();
    loop {
        tokio::select! {
            _ = looks.tick() => {
                look_at_streams(&connection, &topology).await;
                look_at_durables(&connection, &topology, &mut differing).await;
            }
            Some(_change) = changes.next() => look_at_streams(&connection, &topology).await,
        }
    }
}

async fn look_at_streams(connection: &Connection, topology: &Topology) {
    for spec in &topology.streams {
        let cause = match check::stream(connection, spec).await {
            Ok(Some(actual)) => joined(&stream_differences(spec, &actual)),
            Ok(None) => Some(format!("stream {} is missing", spec.name)),
            Err(error) => {
                let error = chain(&error);
                tracing::debug!(error, "a stream is looked at again later");
                continue;
            }
        };
        connection.withheld().set(&spec.name, cause);
    }
}

/// Nothing is withheld for a durable: what it does not give out waits in its stream.
async fn look_at_durables(
    connection: &Connection,
    topology: &Topology,
    differing: &mut BTreeMap<&'static str, String>,
) {
    for spec in &topology.durables {
        let cause = match durable(connection, spec).await {
            Ok(Some(actual)) => joined(&durable_differences(spec, &actual)),
            Ok(None) => Some(format!("{} is missing", name_of_durable(spec))),
            Err(error) => {
                let error = chain(&error);
                tracing::debug!(error, "a durable is looked at again later");
                continue;
            }
        };
        let durable = spec.name;
        let gauge = metrics::gauge!("streams_durable_differs", "durable" => durable);
        gauge.set(if cause.is_some() { 1.0 } else { 0.0 });
        if differing.get(durable) == cause.as_ref() {
            continue;
        }
        if let Some(cause) = cause {
            tracing::error!(
                durable,
                cause,
                "its worker may get nothing until it is set right"
            );
            differing.insert(durable, cause);
        } else {
            tracing::info!(durable, "it is as declared again");
            differing.remove(durable);
        }
    }
}

fn joined(differences: &[Difference]) -> Option<String> {
    let differences: Vec<_> = differences.iter().map(ToString::to_string).collect();
    (!differences.is_empty()).then(|| differences.join("; "))
}
