//! What every read may say besides its path.

use std::time::Duration;

use axum::extract::{FromRequestParts, Query};
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use axum::response::Response;
use edge::auth::Verifier;
use edge::{ConsistencyHeader, IfNoneMatch, Prefer, Principal, Problem};
use kernel::{ConsistencyToken, Position};
use projections::ViewSpec;
use projections::read::{Filter, Found, Page, Part, Row};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::failure::{behind, of_read, parameter};
use crate::{Api, answer};

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
        let wait = self.wait(api);
        let sequence = self.sequence(view);
        let found = api.reader.get_at(view, id, (sequence, wait)).await;
        let found = found.map_err(|error| of_read(&error))?;
        let freshness = self.freshness(view, found.position, sequence)?;
        Ok((found, freshness))
    }

    /// A page of rows from a snapshot that is new enough.
    pub(crate) async fn list(
        &self,
        api: &Api,
        view: &'static ViewSpec,
        filters: &[Filter],
        part: Part<'_>,
    ) -> Result<(Page, Freshness), Problem> {
        let wait = self.wait(api);
        let sequence = self.sequence(view);
        let listed = api
            .reader
            .list_at(view, filters, part, (sequence, wait))
            .await;
        let listed = listed.map_err(|error| of_read(&error))?;
        let freshness = self.freshness(view, listed.position, sequence)?;
        Ok((listed, freshness))
    }

    /// The rows that belong to these keys, from a snapshot that is new enough.
    pub(crate) async fn belonging(
        &self,
        api: &Api,
        view: &'static ViewSpec,
        of: (&'static str, &[String]),
        each: usize,
    ) -> Result<Vec<(String, Row)>, Problem> {
        let wait = self.wait(api);
        let sequence = self.sequence(view);
        let new_enough = (sequence, wait);
        let found = api.reader.belonging_at(view, of, each, new_enough).await;
        let found = found.map_err(|error| of_read(&error))?;
        self.freshness(view, found.position, sequence)?;
        Ok(found.rows)
    }

    /// The same asked of a view that must have taken in event `sequence` of its stream besides.
    pub(crate) fn at_least(&self, view: &ViewSpec, sequence: u64) -> Self {
        let mut asked = self.clone();
        asked.floor = sequence.max(self.sequence(view));
        // What is not there yet must not be missing in a list of the past.
        asked.prefer.lenient = false;
        asked
    }

    fn wait(&self, api: &Api) -> Duration {
        self.prefer.wait.unwrap_or(api.read_wait())
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

/// No parameters at all.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NoParams {}

/// Who is asking, where nobody has to say so. A token that is sent must be good, though.
#[derive(Debug, Clone)]
pub(crate) struct Caller(pub(crate) Option<Principal>);

impl Caller {
    /// Who it is, where somebody must say so: 401.
    pub(crate) fn principal(&self) -> Result<&Principal, Problem> {
        self.0.as_ref().ok_or_else(Principal::token_required)
    }

    pub(crate) fn is_operator(&self) -> bool {
        self.0.as_ref().is_some_and(Principal::is_operator)
    }

    /// The answer, marked as everybody's when nobody in particular has asked.
    pub(crate) fn share(&self, answer: Response) -> Response {
        if self.0.is_none() {
            answer::shared(answer)
        } else {
            answer
        }
    }
}

impl<S> FromRequestParts<S> for Caller
where
    S: Send + Sync,
    Verifier: axum::extract::FromRef<S>,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Self::Rejection> {
        if !parts.headers.contains_key(AUTHORIZATION) {
            return Ok(Self(None));
        }
        Principal::from_request_parts(parts, state)
            .await
            .map(|principal| Self(Some(principal)))
    }
}

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
