//! One command on one aggregate, and the answer to it.

use axum::Json;
use axum::http::header::LOCATION;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use kernel::{AggregateId, Decider, Position};
use serde::Serialize;
use streams::{CommandMeta, Executed, Outcome};

use crate::api::Api;
use crate::call::Call;
use crate::error::{self, Placed};

use edge::{Problem, consistency, etag, idempotency};

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
    /// 201 with `Location`.
    pub(crate) fn created<B: Serialize>(self, location: &str, body: B) -> Response {
        let mut response = self.answer(StatusCode::CREATED, body);
        // Paths of ours are ASCII; one that is not would only lose its header.
        if let Ok(location) = HeaderValue::try_from(location) {
            response.headers_mut().insert(LOCATION, location);
        }
        response
    }

    /// 200 with the aggregate's id and version.
    pub(crate) fn acted(self, id: &impl ToString) -> Response {
        let body = Acted {
            id: id.to_string(),
            version: self.version,
        };
        self.answer(StatusCode::OK, body)
    }

    /// `body` under the headers of a write.
    pub(crate) fn answer<B: Serialize>(self, status: StatusCode, body: B) -> Response {
        let headers = [
            etag::header(self.version),
            consistency::header(&self.position),
        ];
        let mut response = (status, headers, Json(body)).into_response();
        if self.replayed {
            let (name, value) = idempotency::replayed();
            response.headers_mut().insert(name, value);
        }
        response
    }
}

/// The body of an act's answer.
#[derive(Serialize)]
struct Acted {
    id: String,
    version: u64,
}

/// The body of a creation's answer.
#[derive(Serialize)]
pub(crate) struct Created {
    pub(crate) id: String,
}

impl Created {
    pub(crate) fn new(id: &impl ToString) -> Self {
        Self { id: id.to_string() }
    }
}
