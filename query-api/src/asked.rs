//! What every read may say besides its path.

use std::time::Duration;

use axum::extract::{FromRequestParts, Query};
use axum::http::request::Parts;
use edge::openapi::{self, Call};
use edge::prefer::WAIT_MAX_S;
use edge::{ConsistencyHeader, IfNoneMatch, Prefer, Problem};
use kernel::{ConsistencyToken, Position};
use projections::ViewSpec;
use projections::read::{Filter, Found, Page, Part, ReadError, Row};
use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use crate::Api;
use crate::failure::{behind, of_read, parameter};

/// Longest wait for an event before it is looked whether its stream has it. A view is hardly ever
/// further behind, so hardly a read asks that.
const UNPROVEN_WAIT_MAX: Duration = Duration::from_millis(250);

/// How new an answer must be, and how it is to be given.
#[derive(Debug, Clone, Default)]
pub(crate) struct Asked {
    pub(crate) token: ConsistencyToken,
    pub(crate) prefer: Prefer,
    pub(crate) known: IfNoneMatch,
    /// An event that the view must have taken in besides.
    floor: u64,
}

impl FromRequestParts<Api> for Asked {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Self::Rejection> {
        let token = ConsistencyHeader::from_request_parts(parts, api).await?.0;
        Ok(Self {
            token,
            prefer: Prefer::parse(&parts.headers),
            known: IfNoneMatch::from_request_parts(parts, api).await?,
            floor: 0,
        })
    }
}

impl openapi::Part for Asked {
    fn describe(call: &mut Call<'_>) {
        ConsistencyHeader::describe(call);
        let description = format!(
            "wait=n: wait up to n seconds, at most {WAIT_MAX_S}, for what the Consistency-Token names; \
             handling=lenient: take what is older then. What isn't understood is ignored."
        );
        call.header("Prefer", false, &description, &json!({ "type": "string" }));
        call.problem(behind("", 0));
        call.problem(Problem::unavailable("unavailable", ""));
    }
}

/// How fresh an answer is: what its headers say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Freshness {
    /// How far the view had come, as `STREAM:position`.
    pub(crate) position: String,
    /// The view had not come as far as was asked for, and the client takes that.
    pub(crate) stale: bool,
    /// The positions of the token that say nothing about this view.
    pub(crate) ignored: Option<String>,
    /// The preferences that were honored.
    pub(crate) applied: Option<String>,
}

impl Freshness {
    /// Of what follows from the log up to `position`.
    pub(crate) fn of(position: &Position) -> Self {
        Self {
            position: position.to_string(),
            stale: false,
            ignored: None,
            applied: None,
        }
    }
}

impl Asked {
    /// The row with this id from a snapshot that is new enough.
    pub(crate) async fn get(
        &self,
        api: &Api,
        view: &'static ViewSpec,
        id: &str,
    ) -> Result<(Found, Freshness), Problem> {
        let read = |at| api.reader.get_at(view, id, at);
        self.read(api, view, read, |found| found.position).await
    }

    /// A page of rows from a snapshot that is new enough.
    pub(crate) async fn list(
        &self,
        api: &Api,
        view: &'static ViewSpec,
        filters: &[Filter],
        part: Part<'_>,
    ) -> Result<(Page, Freshness), Problem> {
        let read = |at| api.reader.list_at(view, filters, part, at);
        self.read(api, view, read, |page| page.position).await
    }

    /// The rows that belong to these keys, from a snapshot that is new enough.
    pub(crate) async fn belonging(
        &self,
        api: &Api,
        view: &'static ViewSpec,
        of: (&'static str, &[String]),
        each: usize,
    ) -> Result<Vec<(String, Row)>, Problem> {
        let read = |at| api.reader.belonging_at(view, of, each, at);
        let (found, _) = self.read(api, view, read, |found| found.position).await?;
        Ok(found.rows)
    }

    /// Reads from a snapshot that is new enough, and says how new it is. Nobody waits for long for an
    /// event that isn't there: that would hold a place as long as whoever made it up likes.
    async fn read<T, F>(
        &self,
        api: &Api,
        view: &'static ViewSpec,
        read: impl Fn((u64, Duration)) -> F,
        position: impl Fn(&T) -> u64,
    ) -> Result<(T, Freshness), Problem>
    where
        F: Future<Output = Result<T, ReadError>>,
    {
        let sequence = self.sequence(view);
        let wait = self.prefer.wait.unwrap_or(api.read_wait());
        let begin = wait.min(UNPROVEN_WAIT_MAX);
        let refused = |error| of_read(&error);
        let mut found = read((sequence, begin)).await.map_err(refused)?;
        let more = wait.saturating_sub(begin);
        let behind = position(&found) < sequence && !more.is_zero();
        if behind && is_there(api, view, sequence).await {
            found = read((sequence, more)).await.map_err(refused)?;
        }
        let freshness = self.freshness(view, position(&found), sequence)?;
        Ok((found, freshness))
    }

    /// The same asked of a view that must have taken in event `sequence` of its stream besides.
    pub(crate) fn at_least(&self, view: &ViewSpec, sequence: u64) -> Self {
        let mut asked = self.clone();
        asked.floor = sequence.max(self.sequence(view));
        // What is not there yet must not be missing in a list of the past.
        asked.prefer.lenient = false;
        asked
    }

    /// The event that the view must have taken in; 0 = any will do.
    fn sequence(&self, view: &ViewSpec) -> u64 {
        if self.token.positions().is_empty() {
            return self.floor;
        }
        let said = self.token.sequence(&view.stream()).unwrap_or(0);
        said.max(self.floor)
    }

    fn freshness(&self, view: &ViewSpec, position: u64, wanted: u64) -> Result<Freshness, Problem> {
        let stream = view.stream();
        let stale = position < wanted;
        let at = format!("{stream}:{position}");
        if stale && !self.prefer.lenient {
            return Err(behind(&at, wanted));
        }
        let others: Vec<String> = self
            .token
            .positions()
            .iter()
            .filter(|position| position.stream != stream)
            .map(ToString::to_string)
            .collect();
        let wait = self.prefer.wait.filter(|_| wanted > 0);
        let applied: Vec<String> = wait
            .map(|wait| format!("wait={}", wait.as_secs()))
            .into_iter()
            .chain(stale.then(|| "handling=lenient".to_owned()))
            .collect();
        Ok(Freshness {
            position: at,
            stale,
            ignored: (!others.is_empty()).then(|| others.join(",")),
            applied: (!applied.is_empty()).then(|| applied.join(", ")),
        })
    }
}

/// Does the view's stream have event `sequence`? Nobody is told that it hasn't while the log is away.
async fn is_there(api: &Api, view: &ViewSpec, sequence: u64) -> bool {
    let stream = view.stream();
    let state = api.streams.stream_state(&stream);
    match tokio::time::timeout(UNPROVEN_WAIT_MAX, state).await {
        Ok(Ok(state)) => state.last >= sequence,
        Ok(Err(_)) | Err(_) => true,
    }
}

/// The parameters of a query; one that is unknown, or said twice, is refused.
#[derive(Debug)]
pub(crate) struct Params<T>(pub(crate) T);

impl<T: DeserializeOwned> FromRequestParts<Api> for Params<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Self::Rejection> {
        let query = Query::from_request_parts(parts, api).await;
        let Query(params) = query.map_err(|refused| {
            let detail = refused.body_text();
            let detail = detail.rsplit("query string: ").next().unwrap_or_default();
            parameter(detail)
        })?;
        Ok(Self(params))
    }
}

impl<T: JsonSchema> openapi::Part for Params<T> {
    fn describe(call: &mut Call<'_>) {
        call.query::<T>();
        call.problem(parameter(""));
    }
}

/// No parameters at all.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NoParams {}

#[cfg(test)]
mod tests {
    use projections::{ORDER_SUMMARY, PAYMENT_SUMMARY};

    use super::*;

    fn asked(token: &str, prefer: Prefer) -> Asked {
        Asked {
            token: token.parse().unwrap(),
            prefer,
            known: IfNoneMatch::default(),
            floor: 0,
        }
    }

    #[test]
    fn a_view_waits_for_its_own_stream_and_names_the_others() {
        let asked = asked("ORDER:10,PAYMENT:7", Prefer::default());
        assert_eq!(asked.sequence(&ORDER_SUMMARY), 10);
        assert_eq!(asked.sequence(&PAYMENT_SUMMARY), 7);
        let fresh = asked.freshness(&ORDER_SUMMARY, 12, 10).unwrap();
        assert_eq!(fresh.position, "ORDER:12");
        assert_eq!(fresh.ignored.as_deref(), Some("PAYMENT:7"));
        assert!(!fresh.stale && fresh.applied.is_none());
    }

    #[test]
    fn a_view_that_is_behind_answers_only_who_prefers_that() {
        let strict = asked("ORDER:10", Prefer::default());
        let refused = strict.freshness(&ORDER_SUMMARY, 9, 10).unwrap_err();
        assert_eq!(refused.status.as_u16(), 503);
        assert!(refused.retry_after.is_some());
        let lenient = Prefer {
            wait: Some(Duration::from_secs(1)),
            lenient: true,
        };
        let stale = asked("ORDER:10", lenient)
            .freshness(&ORDER_SUMMARY, 9, 10)
            .unwrap();
        assert!(stale.stale);
        assert_eq!(stale.applied.as_deref(), Some("wait=1, handling=lenient"));
    }
}
