//! `/v1/system/parked` and `/v1/system/topology`: what is set aside until a person decides, and whether
//! the streams and their readers are as they are declared. For operators.

use axum::Json;
use axum::extract::State;
use chrono::{DateTime, Utc};
use edge::openapi::{Calls, about};
use edge::{Principal, Problem};
use schemars::JsonSchema;
use serde::Serialize;
use streams::parking::ParkedKey;
use streams::topology::{self, Difference, TopologyError};

use crate::Api;
use crate::asked::{NoParams, Params};
use crate::stuck::Most;

pub(crate) fn calls() -> Calls<Api> {
    Calls::default()
        .get(
            "/v1/system/parked",
            about("Read what is parked")
                .more("What the sagas and reactors can't handle. `millrace parked` has it handled again, or leaves it out.")
                .refuses([Problem::forbidden(""), log_away()]),
            parked,
        )
        .get(
            "/v1/system/topology",
            about("Compare the streams with what is declared")
                .more("Only what could lose, reorder or hold back events counts.")
                .refuses([Problem::forbidden(""), log_away()]),
            compared,
        )
}

/// What of one key of a subscription waits.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ParkedItem {
    /// `subscription/key`.
    id: String,
    /// Whose it is to handle.
    subscription: String,
    /// Whose events wait: later ones behind the first.
    key: String,
    /// How many events.
    waiting: usize,
    /// Where the first stands in its stream, as in `ORDER:1042`.
    position: Option<String>,
    /// Why it can't be handled.
    cause: Option<String>,
    /// How often it was tried.
    attempts: Option<u32>,
    /// Since when it waits.
    since: Option<DateTime<Utc>>,
    /// When somebody asked for another try, if one is due.
    asked: Option<DateTime<Utc>>,
}

impl ParkedItem {
    /// Of `key` of `subscription`.
    pub fn new(subscription: &str, key: &str, state: &ParkedKey) -> Self {
        let first = state.waiting.front();
        Self {
            id: format!("{subscription}/{key}"),
            subscription: subscription.to_owned(),
            key: key.to_owned(),
            waiting: state.waiting.len(),
            position: first.map(|first| first.position.to_string()),
            cause: first.map(|first| first.cause.clone()),
            attempts: first.map(|first| first.attempts),
            since: first.map(|first| first.since),
            asked: state.asked.map(|asked| asked.at),
        }
    }
}

/// What is parked, by subscription and key.
#[derive(Debug, Serialize, JsonSchema)]
struct ParkedItems {
    items: Vec<ParkedItem>,
    /// How many keys are parked in all.
    total: usize,
}

/// How the server's streams and durables compare with the declared ones.
#[derive(Debug, Serialize, JsonSchema)]
struct Compared {
    /// Nothing is missing or different.
    as_declared: bool,
    /// How many streams are declared.
    streams: usize,
    /// How many durable readers are.
    durables: usize,
    /// The first that isn't there: `millrace provision` makes it.
    missing: Option<String>,
    /// What could lose, reorder or hold back events.
    differences: Vec<Differs>,
}

/// A field that is otherwise than declared.
#[derive(Debug, Serialize, JsonSchema)]
struct Differs {
    /// `stream ORDER`, or `durable checkout-order on ORDER`.
    of: String,
    /// As JetStream calls it.
    field: &'static str,
    /// What is declared.
    declared: String,
    /// What the server has.
    actual: String,
}

impl From<Difference> for Differs {
    fn from(difference: Difference) -> Self {
        let Difference {
            of,
            field,
            declared,
            actual,
        } = difference;
        Self {
            of,
            field,
            declared,
            actual,
        }
    }
}

async fn parked(
    State(api): State<Api>,
    principal: Principal,
    Params(most): Params<Most>,
) -> Result<Json<ParkedItems>, Problem> {
    principal.require_operator()?;
    let limit = most.limit()?;
    let parked = api.radar.parked_keys().look().await.map_err(|error| {
        tracing::warn!(%error, "what is parked can't be read");
        log_away()
    })?;
    let items = parked.iter().take(limit);
    let items = items.map(|(subscription, key, state)| ParkedItem::new(subscription, key, state));
    Ok(Json(ParkedItems {
        items: items.collect(),
        total: parked.len(),
    }))
}

async fn compared(
    State(api): State<Api>,
    principal: Principal,
    _: Params<NoParams>,
) -> Result<Json<Compared>, Problem> {
    principal.require_operator()?;
    let (missing, differences) = match topology::check(&api.log, &api.topology).await {
        Ok(()) => (None, Vec::new()),
        Err(TopologyError::Missing { what }) => (Some(what), Vec::new()),
        Err(TopologyError::Different(differences)) => (None, differences),
        Err(error @ (TopologyError::Failed { .. } | TopologyError::Name { .. })) => {
            tracing::warn!(%error, "the streams can't be compared with what is declared");
            return Err(log_away());
        }
    };
    Ok(Json(Compared {
        as_declared: missing.is_none() && differences.is_empty(),
        streams: api.topology.streams.len(),
        durables: api.topology.durables.len(),
        missing,
        differences: differences.into_iter().map(Differs::from).collect(),
    }))
}

fn log_away() -> Problem {
    Problem::unavailable("unavailable", "the log can't be read now")
}
