//! Whether the streams are still as declared: somebody may change one under a running shop.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio::time::sleep;

use super::check::{stream, stream_differences};
use super::spec::Topology;
use crate::connection::Connection;
use crate::log::{BoxError, chain};

/// How often the streams are looked at.
const LOOK_INTERVAL: Duration = Duration::from_secs(30);

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

/// Looks at every stream of `topology` again and again. Of one that can't be looked at, what was known stays.
pub(crate) async fn follow(connection: Connection, topology: Topology) {
    loop {
        sleep(LOOK_INTERVAL).await;
        for spec in &topology.streams {
            let cause = match stream(&connection, spec).await {
                Ok(Some(actual)) => {
                    let differences = stream_differences(spec, &actual);
                    let differences: Vec<_> = differences.iter().map(ToString::to_string).collect();
                    (!differences.is_empty()).then(|| differences.join("; "))
                }
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
}
