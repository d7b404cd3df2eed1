//! Whether the streams and durables are still as declared: somebody may change one under a running shop.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use futures::future::join_all;
use futures::{StreamExt, stream};
use tokio::time::sleep;

use super::check::{self, durable, durable_differences, name_of_durable, stream_differences};
use super::error::{Difference, TopologyError};
use super::spec::{DurableSpec, StreamSpec, Topology};
use crate::connection::Connection;
use crate::log::{BoxError, chain};

/// How often they are looked at, whether or not the server has said that there was a change.
const LOOK_INTERVAL: Duration = Duration::from_secs(30);

/// A durable that nobody answers for so often in a row, while others are answered for, gives nothing out: two minutes.
const UNANSWERED_MAX: u32 = 4;

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

/// Looks at every stream and durable of `topology` at once, and again and again, at the streams also when the server
/// says that one was changed. Of one that can't be looked at, what was known stays; of a durable not for ever
/// ([`UNANSWERED_MAX`]).
pub(crate) async fn follow(connection: Connection, topology: Topology) {
    // However long durables let wait that nobody answers for, the streams are looked at in time.
    tokio::join!(
        follow_streams(&connection, &topology.streams),
        follow_durables(&connection, &topology.durables),
    );
}

async fn follow_streams(connection: &Connection, specs: &[StreamSpec]) {
    // Whoever may not hear of it sees it at the next look.
    let changes = connection.client().subscribe(CHANGES).await;
    let mut changes = stream::iter(changes.ok()).flatten();
    loop {
        join_all(specs.iter().map(|spec| look_at_stream(connection, spec))).await;
        tokio::select! {
            () = sleep(LOOK_INTERVAL) => {}
            Some(_change) = changes.next() => {}
        }
    }
}

async fn follow_durables(connection: &Connection, specs: &[DurableSpec]) {
    let mut durables = Durables::default();
    loop {
        let looks = specs.iter().map(|spec| look_at_durable(connection, spec));
        durables.learn(join_all(looks).await);
        sleep(LOOK_INTERVAL).await;
    }
}

async fn look_at_stream(connection: &Connection, spec: &StreamSpec) {
    let cause = match check::stream(connection, spec).await {
        Ok(Some(actual)) => joined(&stream_differences(spec, &actual)),
        Ok(None) => Some(format!("stream {} is missing", spec.name)),
        Err(error) => {
            let error = chain(&error);
            tracing::debug!(error, "a stream is looked at again later");
            return;
        }
    };
    connection.withheld().set(&spec.name, cause);
}

/// What differs about a durable.
type Look<'a> = (&'a DurableSpec, Result<Option<String>, TopologyError>);

async fn look_at_durable<'a>(connection: &Connection, spec: &'a DurableSpec) -> Look<'a> {
    let cause = match durable(connection, spec).await {
        Ok(Some(actual)) => Ok(joined(&durable_differences(spec, &actual))),
        Ok(None) => Ok(Some(format!("{} is missing", name_of_durable(spec)))),
        Err(error) => Err(error),
    };
    (spec, cause)
}

/// What is known of the durables. Nothing is withheld for one: what it does not give out waits in its stream.
#[derive(Default)]
struct Durables {
    differing: BTreeMap<&'static str, String>,
    /// Looks in a row that nobody answered.
    unanswered: BTreeMap<&'static str, u32>,
}

impl Durables {
    /// What a look at each of them has shown.
    fn learn(&mut self, looks: Vec<Look<'_>>) {
        // Where nobody answers for any, NATS is away, which is no durable's fault.
        let is_there = looks.iter().any(|(_, look)| look.is_ok());
        for (spec, look) in looks {
            match look {
                Ok(cause) => {
                    self.unanswered.remove(spec.name);
                    self.set(spec.name, cause);
                }
                Err(error) => {
                    let error = chain(&error);
                    tracing::debug!(error, "a durable is looked at again later");
                    if is_there {
                        self.nobody_answered(spec);
                    }
                }
            }
        }
    }

    fn nobody_answered(&mut self, spec: &DurableSpec) {
        let times = self.unanswered.entry(spec.name).or_default();
        *times = times.saturating_add(1);
        if *times >= UNANSWERED_MAX {
            let cause = format!("nobody answers for {}", name_of_durable(spec));
            self.set(spec.name, Some(cause));
        }
    }

    fn set(&mut self, durable: &'static str, cause: Option<String>) {
        let gauge = metrics::gauge!("streams_durable_differs", "durable" => durable);
        gauge.set(if cause.is_some() { 1.0 } else { 0.0 });
        if self.differing.get(durable) == cause.as_ref() {
            return;
        }
        if let Some(cause) = cause {
            tracing::error!(
                durable,
                cause,
                "its worker may get nothing until it is set right"
            );
            self.differing.insert(durable, cause);
        } else {
            tracing::info!(durable, "it is as declared again");
            self.differing.remove(durable);
        }
    }
}

fn joined(differences: &[Difference]) -> Option<String> {
    let differences: Vec<_> = differences.iter().map(ToString::to_string).collect();
    (!differences.is_empty()).then(|| differences.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::{Acks, OnFailure};

    fn spec(name: &'static str) -> DurableSpec {
        DurableSpec {
            name,
            stream: "ORDER",
            kind: None,
            acks: Acks::Each,
            on_failure: OnFailure::Retry,
        }
    }

    fn unanswered() -> Result<Option<String>, TopologyError> {
        Err(TopologyError::Failed {
            what: "durable silent on ORDER".to_owned(),
            source: "timed out".into(),
        })
    }

    #[test]
    fn a_durable_that_nobody_answers_for_while_others_are_is_told() {
        let (silent, answers) = (spec("silent"), spec("answers"));
        let mut durables = Durables::default();
        let mut look = |silent_says, other_says| {
            durables.learn(vec![(&silent, silent_says), (&answers, other_says)]);
            durables.differing.get("silent").cloned()
        };
        for _ in 0..UNANSWERED_MAX * 2 {
            assert_eq!(look(unanswered(), unanswered()), None, "NATS is away");
        }
        for _ in 1..UNANSWERED_MAX {
            assert_eq!(look(unanswered(), Ok(None)), None);
        }
        let told = look(unanswered(), Ok(None));
        assert_eq!(
            told.as_deref(),
            Some("nobody answers for durable silent on ORDER")
        );
        assert_eq!(look(Ok(None), Ok(None)), None);
        assert_eq!(look(unanswered(), Ok(None)), None, "counted anew");
    }
}
