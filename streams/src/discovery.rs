//! Which role listens where: each replica that serves HTTP is a NATS micro service (ADR-32) without
//! endpoints, whose metadata says its address. `nats micro ls` lists them. Replicas that share a limit count
//! each other so, also where nobody can be told an address.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Duration;

use async_nats::service::ServiceExt;
use futures::StreamExt;
use serde::Deserialize;
use thiserror::Error;
use tokio_util::sync::CancellationToken;

use crate::connection::Connection;
use crate::log::BoxError;

/// The key of the metadata under which the address stands.
const ADDRESS: &str = "address";

/// The key of the contexts that it serves, with commas between them; missing = all of them.
const CONTEXTS: &str = "contexts";

/// How long answers are waited for. A replica that is slower is found the next time.
const ANSWER_WINDOW: Duration = Duration::from_millis(300);

/// Looks in a row in which a replica that was found before may be missed: under load it answers too late.
pub const MISSED_LOOKS_MAX: usize = 5;

/// Most replicas of one role that are taken notice of.
const REPLICAS_MAX: usize = 64;

/// Replicas could not be announced or asked for.
#[derive(Debug, Error)]
#[error("the replicas of {role} can't be {what}")]
pub struct DiscoveryError {
    role: String,
    what: &'static str,
    #[source]
    source: BoxError,
}

fn failed<E: Into<BoxError>>(role: &str, what: &'static str) -> impl FnOnce(E) -> DiscoveryError {
    let role = role.to_owned();
    move |source| DiscoveryError {
        role,
        what,
        source: source.into(),
    }
}

/// A replica, as it says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replica {
    /// Where it can be reached; `None` = it can't say.
    pub address: Option<String>,
    /// Which contexts it serves; none named = all.
    pub contexts: Vec<String>,
}

/// How many there are that share something: at once more, and fewer only once several looks in a row have
/// said so, for each that is missed has the others hand out too much.
#[derive(Debug, Default)]
pub struct Headcount(VecDeque<usize>);

impl Headcount {
    /// So many were found in this look; a look that failed is none. Answers with how many there are.
    pub fn found(&mut self, count: usize) -> usize {
        self.0.truncate(MISSED_LOOKS_MAX);
        self.0.push_front(count);
        self.0.iter().copied().max().unwrap_or(count)
    }
}

#[derive(Deserialize)]
struct Info {
    /// Of this replica alone.
    id: String,
    #[serde(default)]
    metadata: HashMap<String, String>,
}

impl Connection {
    /// Announces that there is a replica of `role`, that it can be reached at `address`
    /// (`http(s)://host:port`), if it knows where, and serves `contexts` (none named = all), until `shutdown`.
    ///
    /// # Errors
    /// `role` is no name for a service, or the connection is closed.
    pub async fn announce(
        &self,
        role: &str,
        address: Option<&str>,
        contexts: &[String],
        shutdown: CancellationToken,
    ) -> Result<(), DiscoveryError> {
        let address = address.map(|address| (ADDRESS.to_owned(), address.to_owned()));
        let mut metadata: HashMap<_, _> = address.into_iter().collect();
        if !contexts.is_empty() {
            metadata.insert(CONTEXTS.to_owned(), contexts.join(","));
        }
        let service = self
            .client()
            .service_builder()
            .description(format!("a replica of {role}"))
            .metadata(metadata)
            .start(service_name(role), env!("CARGO_PKG_VERSION"))
            .await
            .map_err(failed(role, "announced"))?;
        shutdown.cancelled().await;
        service.stop().await.map_err(failed(role, "withdrawn"))
    }

    /// The replicas of `role` that answer now, at most 64, by what tells each from all others: several may
    /// say the same address, as those behind one load balancer do.
    ///
    /// # Errors
    /// The connection is closed, or the server didn't take the question.
    pub async fn replicas(&self, role: &str) -> Result<BTreeMap<String, Replica>, DiscoveryError> {
        let client = self.client();
        let inbox = client.new_inbox();
        let answers = client.subscribe(inbox.clone()).await;
        let mut answers = answers.map_err(failed(role, "asked for"))?;
        let question = format!("$SRV.INFO.{}", service_name(role));
        client
            .publish_with_reply(question, inbox, "".into())
            .await
            .map_err(failed(role, "asked for"))?;
        let mut found = BTreeMap::new();
        let collecting = async {
            while let Some(answer) = answers.next().await {
                // With a status there is no answer: nobody is there.
                if answer.status.is_some() || found.len() >= REPLICAS_MAX {
                    break;
                }
                let info: Option<Info> = serde_json::from_slice(&answer.payload).ok();
                found.extend(info.map(replica));
            }
        };
        // Its end is the usual end: nobody knows how many there are.
        let _elapsed = tokio::time::timeout(ANSWER_WINDOW, collecting).await;
        Ok(found)
    }
}

fn replica(info: Info) -> (String, Replica) {
    let Info { id, mut metadata } = info;
    let contexts = metadata.remove(CONTEXTS).unwrap_or_default();
    let contexts = contexts.split(',').filter(|name| !name.is_empty());
    let contexts = contexts.map(str::to_owned).collect();
    let address = metadata.remove(ADDRESS);
    (id, Replica { address, contexts })
}

fn service_name(role: &str) -> String {
    format!("millrace-{role}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_missed_now_and_then_is_counted_all_the_same() {
        let mut count = Headcount::default();
        assert_eq!([1, 3].map(|found| count.found(found)), [1, 3]);
        for missed in [2; MISSED_LOOKS_MAX] {
            assert_eq!(count.found(missed), 3);
        }
        assert_eq!(count.found(2), 2);
        assert_eq!(count.found(4), 4);
    }
}
