//! What is the same for every call of somebody with a token: who, under which key, on which
//! version, in which trace.

use axum::extract::{FromRequestParts, RawPathParams};
use axum::http::request::Parts;
use edge::idempotency::derive_id;
use edge::openapi::{self, Part};
use edge::{ConsistencyHeader, IdempotencyKey, IfMatch, Principal, Problem, Trace};
use kernel::{ConsistencyToken, UserId};
use percent_encoding::percent_decode_str;
use serde::Serialize;
use streams::{CommandMeta, clock};
use uuid::Uuid;

use crate::api::Api;
use crate::error;

/// The head of a request that becomes a command.
#[derive(Clone)]
pub(crate) struct Call {
    /// Who asks.
    pub(crate) principal: Principal,
    /// What the client calls this request.
    pub(crate) key: Option<IdempotencyKey>,
    /// The version that it was made for.
    pub(crate) if_match: IfMatch,
    /// What the client has seen already.
    pub(crate) seen: ConsistencyToken,
    trace: Trace,
    /// The path with its ids: the same key on another thing is another request.
    path: String,
}

impl Call {
    /// The call's command id, time, actor and trace. With a key the id follows from it, and the
    /// digest of `body` tells whether it is the same request.
    pub(crate) fn meta<T: Serialize>(&self, api: &Api, body: &T) -> CommandMeta {
        let command_id = match &self.key {
            Some(key) => self.derive("command", key),
            None => Uuid::now_v7(),
        };
        let meta = self.command(command_id);
        if self.key.is_some() {
            api.digested(meta, body)
        } else {
            meta
        }
    }

    /// A command of this call under an id of its own.
    pub(crate) fn command(&self, command_id: Uuid) -> CommandMeta {
        CommandMeta::new(command_id, clock::now(), self.principal.actor())
            .with_traceparent(self.trace.traceparent())
    }

    /// The same for whatever version there is: the condition is kept already.
    pub(crate) fn without_condition(&self) -> Self {
        Self {
            if_match: IfMatch::default(),
            ..self.clone()
        }
    }

    /// Has the client seen something of this stream that a cache may not know yet?
    pub(crate) fn has_seen(&self, stream: &str) -> bool {
        self.seen.sequence(stream).is_some()
    }

    /// The id that follows from who asks, what and under which key: of two calls with one key it is
    /// the same.
    pub(crate) fn derive(&self, purpose: &str, key: &IdempotencyKey) -> Uuid {
        let principal = format!("user:{}", self.principal.user_id);
        derive_id(purpose, &principal, &self.path, key)
    }
}

impl FromRequestParts<Api> for Call {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Self::Rejection> {
        let principal = Principal::from_request_parts(parts, api).await?;
        let NoParams = NoParams::from_request_parts(parts, api).await?;
        let ConsistencyHeader(seen) = ConsistencyHeader::from_request_parts(parts, api).await?;
        let Ok(trace) = Trace::from_request_parts(parts, api).await;
        Ok(Self {
            principal,
            key: IdempotencyKey::parse(&parts.headers)?,
            if_match: IfMatch::from_request_parts(parts, api).await?,
            seen,
            trace,
            path: plain(parts.uri.path()),
        })
    }
}

/// No parameters: a command takes none, and what somebody means to say with one would not be done.
pub(crate) struct NoParams;

impl<S: Sync> FromRequestParts<S> for NoParams {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        match parts.uri.query() {
            None | Some("") => Ok(Self),
            Some(_) => Err(no_parameters()),
        }
    }
}

impl Part for NoParams {
    fn describe(call: &mut openapi::Call<'_>) {
        call.problem(no_parameters());
    }
}

fn no_parameters() -> Problem {
    Problem::parameter(
        "a command takes no parameters in its query: all that it says is in its body",
    )
}

/// A path without escapes: however it is written, what follows from it is the same.
fn plain(path: &str) -> String {
    percent_decode_str(path).decode_utf8_lossy().into_owned()
}

/// Who may make a call.
pub(crate) trait Caller: FromRequestParts<Api, Rejection = Problem> + Part + Send {
    /// The call that they make.
    fn call(self) -> Call;
}

impl Caller for Operators {
    fn call(self) -> Call {
        self.0
    }
}

impl Caller for Own {
    fn call(self) -> Call {
        self.call
    }
}

/// What every command wants to know, and how it may fail.
impl Part for Call {
    fn describe(call: &mut openapi::Call<'_>) {
        Principal::describe(call);
        NoParams::describe(call);
        Option::<IdempotencyKey>::describe(call);
        IfMatch::describe(call);
        ConsistencyHeader::describe(call);
        Trace::describe(call);
        for failure in error::failures() {
            call.problem(failure);
        }
    }
}

impl Part for Operators {
    fn describe(call: &mut openapi::Call<'_>) {
        Call::describe(call);
        call.problem(Problem::forbidden(""));
    }
}

impl Part for Own {
    fn describe(call: &mut openapi::Call<'_>) {
        Call::describe(call);
        call.in_path::<UserId>(0);
        call.problem(Problem::forbidden(""));
        call.problem(Problem::not_found(""));
    }
}

/// A call that only an operator may make: everybody else gets 403 before the body is looked at.
pub(crate) struct Operators(pub(crate) Call);

impl FromRequestParts<Api> for Operators {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Self::Rejection> {
        let call = Call::from_request_parts(parts, api).await?;
        call.principal.require_operator()?;
        Ok(Self(call))
    }
}

/// A call that a person makes about themselves: everybody else gets 404, and an operator 403,
/// before the body is looked at.
pub(crate) struct Own {
    pub(crate) call: Call,
    /// The `{id}` of the path, which is who calls.
    pub(crate) user_id: UserId,
}

impl FromRequestParts<Api> for Own {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Self::Rejection> {
        let call = Call::from_request_parts(parts, api).await?;
        let nothing = || Problem::not_found("there is no such user");
        let path = RawPathParams::from_request_parts(parts, api).await;
        let path = path.map_err(|_rejection| nothing())?;
        let mut ids = path.iter().filter(|(name, _)| *name == "id");
        let (_, text) = ids.next().ok_or_else(nothing)?;
        let user_id: UserId = text.parse().map_err(|_error| nothing())?;
        if call.principal.user_id == user_id {
            return Ok(Self { call, user_id });
        }
        if call.principal.is_operator() {
            return Err(Problem::forbidden("only the user may do this"));
        }
        Err(nothing())
    }
}
