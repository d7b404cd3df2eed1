//! Who is asking. It is the first thing that a handler takes: who may not ask is told so whatever else
//! is wrong with the request.

use axum::extract::FromRequestParts;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use axum::response::Response;
use edge::openapi::{Call, Part};
use edge::{Principal, Problem};

use crate::{Api, answer};

/// Somebody who may make a call.
pub(crate) trait Asker:
    FromRequestParts<Api, Rejection = Problem> + Part + Send + 'static
{
    /// Who that is.
    fn caller(self) -> Caller;
}

/// Anybody. A token that is sent must be good, though.
#[derive(Debug, Clone)]
pub(crate) struct Caller(pub(crate) Option<Principal>);

/// Somebody with a token.
pub(crate) struct Known(pub(crate) Caller);

/// An operator.
pub(crate) struct Operator(Caller);

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

impl FromRequestParts<Api> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Self::Rejection> {
        if !parts.headers.contains_key(AUTHORIZATION) {
            return Ok(Self(None));
        }
        let principal = Principal::from_request_parts(parts, api).await?;
        Ok(Self(Some(principal)))
    }
}

impl FromRequestParts<Api> for Known {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Self::Rejection> {
        let principal = Principal::from_request_parts(parts, api).await?;
        Ok(Self(Caller(Some(principal))))
    }
}

impl FromRequestParts<Api> for Operator {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Self::Rejection> {
        let principal = Principal::from_request_parts(parts, api).await?;
        principal.require_operator()?;
        Ok(Self(Caller(Some(principal))))
    }
}

impl Asker for Caller {
    fn caller(self) -> Caller {
        self
    }
}

impl Asker for Known {
    fn caller(self) -> Caller {
        self.0
    }
}

impl Asker for Operator {
    fn caller(self) -> Caller {
        self.0
    }
}

impl Part for Caller {
    fn describe(call: &mut Call<'_>) {
        call.takes_token();
        call.problem(Principal::token_invalid(""));
    }
}

impl Part for Known {
    fn describe(call: &mut Call<'_>) {
        Principal::describe(call);
    }
}

impl Part for Operator {
    fn describe(call: &mut Call<'_>) {
        Principal::describe(call);
        call.problem(Problem::forbidden(""));
    }
}
