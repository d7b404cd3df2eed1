//! One command on one aggregate, and the answer to it.

use std::time::Duration;

use axum::Json;
use axum::http::header::{CACHE_CONTROL, LOCATION};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use kernel::{AggregateId, Decider, Position};
use schemars::JsonSchema;
use serde::Serialize;
use streams::{CommandMeta, Executed, Outcome};

use crate::api::Api;
use crate::call::Call;
use crate::error::{self, Placed};

use edge::openapi::{self, Answer};
use edge::{Prefer, Problem, consistency, etag, idempotency};

impl Api {
    /// Has `command` decided and its events appended. A condition of the call (`If-Match`) is part
    /// of the decision: who changes the thing first makes it stale. A request that was done before
    /// is answered again, whatever the version is by now.
    ///
    /// # Errors
    /// The refusal or the failure, as the client is to see it. Nothing was appended, unless the
    /// problem is `outcome_unknown`.
    pub(crate) async fn write<A: Decider>(
        &self,
        call: &Call,
        id: &AggregateId,
        command: A::Command,
        meta: &CommandMeta,
    ) -> Result<Executed<A>, Problem>
    where
        A::Error: Placed,
    {
        if call.if_match.is_absent() {
            let executed = self.streams.execute::<A>(id, command, meta).await;
            return executed.map_err(error::of_execute);
        }
        let matches = |version| call.if_match.check(version).is_ok();
        self.streams
            .execute_if::<A>(id, matches, command, meta)
            .await
            .map_err(error::of_conditional)
    }

    /// What the request did before. What is refused now may have been done under the same key when nothing stood
    /// against it.
    ///
    /// # Errors
    /// `refused`, if it did nothing; the key was used for another request; the log can't be read.
    pub(crate) async fn repeated<A: Decider>(
        &self,
        id: &AggregateId,
        meta: &CommandMeta,
        refused: Problem,
    ) -> Result<Executed<A>, Problem>
    where
        A::Error: Placed,
    {
        let done = self.streams.repeated::<A>(id, meta).await;
        done.map_err(error::of_execute)?.ok_or(refused)
    }
}

/// What a successful write says about itself.
pub(crate) struct Written {
    pub(crate) version: u64,
    pub(crate) position: Position,
    pub(crate) replayed: bool,
}

impl<A> From<&Executed<A>> for Written {
    fn from(executed: &Executed<A>) -> Self {
        Self {
            version: executed.version,
            position: executed.position.clone(),
            replayed: executed.outcome == Outcome::Replayed,
        }
    }
}

impl Written {
    /// Something was made: 201 with `Location`.
    pub(crate) fn made<B>(self, location: String, body: B) -> Made<B> {
        let done = self.done(body);
        Made { done, location }
    }

    /// Something was changed: 200 with its id and version.
    pub(crate) fn acted(self, id: &impl ToString) -> Done<Acted> {
        let body = Acted::new(id, self.version);
        self.done(body)
    }

    /// 200 with `body`.
    pub(crate) fn done<B>(self, body: B) -> Done<B> {
        Done {
            written: self,
            body,
        }
    }
}

/// The answer to a write: 200, and the headers of a write.
pub(crate) struct Done<B> {
    pub(crate) written: Written,
    pub(crate) body: B,
}

impl<B: Serialize> IntoResponse for Done<B> {
    fn into_response(self) -> Response {
        let headers = [
            etag::header(self.written.version),
            consistency::header(&self.written.position),
        ];
        let mut response = (headers, Json(self.body)).into_response();
        if self.written.replayed {
            let (name, value) = idempotency::replayed();
            response.headers_mut().insert(name, value);
        }
        response
    }
}

impl<B: JsonSchema> Answer for Done<B> {
    fn describe(call: &mut openapi::Call<'_>) {
        call.answer::<B>(StatusCode::OK, "Done");
        headers(call, StatusCode::OK);
    }
}

/// The answer to a creation: 201, `Location`, and the headers of a write.
pub(crate) struct Made<B> {
    pub(crate) done: Done<B>,
    pub(crate) location: String,
}

impl<B: Serialize> IntoResponse for Made<B> {
    fn into_response(self) -> Response {
        let mut response = (StatusCode::CREATED, self.done).into_response();
        // Paths of ours are ASCII; one that is not would only lose its header.
        if let Ok(location) = HeaderValue::try_from(self.location) {
            response.headers_mut().insert(LOCATION, location);
        }
        response
    }
}

impl<B: JsonSchema> Answer for Made<B> {
    fn describe(call: &mut openapi::Call<'_>) {
        let status = StatusCode::CREATED;
        call.answer::<B>(status, "Made");
        call.tells(status, "Location", true, "Where it can be read.");
        headers(call, status);
    }
}

/// An answer, and how long an outcome was waited for before it.
pub(crate) struct Waited<A> {
    pub(crate) answer: A,
    pub(crate) waited: Option<Duration>,
}

impl<A: IntoResponse> IntoResponse for Waited<A> {
    fn into_response(self) -> Response {
        let mut response = self.answer.into_response();
        let applied = self.waited.map(Prefer::applied_wait);
        response.headers_mut().extend(applied);
        response
    }
}

impl<A: Answer> Answer for Waited<A> {
    fn describe(call: &mut openapi::Call<'_>) {
        A::describe(call);
        let applied = "wait=n: the outcome was waited for.";
        for status in [StatusCode::OK, StatusCode::CREATED] {
            call.tells(status, "Preference-Applied", false, applied);
        }
    }
}

/// An answer that holds a token: nobody on the way keeps a copy of it.
pub(crate) struct NotStored<A>(pub(crate) A);

impl<A: IntoResponse> IntoResponse for NotStored<A> {
    fn into_response(self) -> Response {
        ([(CACHE_CONTROL, "no-store")], self.0).into_response()
    }
}

impl<A: Answer> Answer for NotStored<A> {
    fn describe(call: &mut openapi::Call<'_>) {
        A::describe(call);
    }
}

/// What every write says of itself.
fn headers(call: &mut openapi::Call<'_>, status: StatusCode) {
    call.tells(status, "ETag", true, "The version that it has now.");
    let token = "Where its event stands: a read that sends it along waits for it.";
    call.tells(status, "Consistency-Token", true, token);
    let replayed = "`true`: it was done before, under the same Idempotency-Key.";
    call.tells(status, "Idempotency-Replayed", false, replayed);
}

/// What was changed.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Acted {
    /// Its id.
    id: String,
    /// How many events it has now.
    version: u64,
}

impl Acted {
    pub(crate) fn new(id: &impl ToString, version: u64) -> Self {
        Self {
            id: id.to_string(),
            version,
        }
    }
}

/// What was made.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Created {
    /// Its id.
    pub(crate) id: String,
}

impl Created {
    pub(crate) fn new(id: &impl ToString) -> Self {
        Self { id: id.to_string() }
    }
}
