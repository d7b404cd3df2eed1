//! Who asks, and what is theirs.

use axum::extract::{FromRef, FromRequestParts};
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use kernel::UserId;
use serde::{Deserialize, Serialize};

use super::{TokenError, Verifier, scope_needed};
use crate::Problem;

/// The role that may do what customers may not.
pub const OPERATOR: &str = "operator";

/// Who asks, as the token says. An extractor: without a good token the answer is 401, with one that
/// is not good for the call 403.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Principal {
    /// The person.
    pub user_id: UserId,
    /// What they may act as, in snake case (`operator`); every person is a customer.
    pub roles: Vec<String>,
    /// What the token is good for alone (`orders:read`); `None` = for all that its roles may do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scopes: Option<Vec<String>>,
}

impl Principal {
    /// May this person do what operators do?
    pub fn is_operator(&self) -> bool {
        self.roles.iter().any(|role| role == OPERATOR)
    }

    /// As it stands in an event's `ce-actor`: `user:<id>` or `operator:<id>`.
    pub fn actor(&self) -> String {
        let role = if self.is_operator() { OPERATOR } else { "user" };
        format!("{role}:{}", self.user_id)
    }

    /// 401: nobody says who asks.
    pub fn token_required() -> Problem {
        let detail = "send a token as Authorization: Bearer <token>";
        Problem::unauthorized("token_required", detail)
    }

    /// 401: a token that is not accepted.
    pub fn token_invalid(detail: impl Into<String>) -> Problem {
        Problem::unauthorized("token_invalid", detail)
    }

    /// Who shows the token of a request, whatever it is good for.
    ///
    /// # Errors
    /// 401; 503 before it is known which tokens were withdrawn.
    pub fn of_request(parts: &Parts, verifier: &Verifier) -> Result<Self, Problem> {
        let token = bearer(parts).ok_or_else(Self::token_required)?;
        verifier.verify(token).map_err(|error| {
            if error == TokenError::NotKnownYet {
                // Of a good token too, whenever an API starts: nothing that an operator has to know.
                return Problem::unavailable("unavailable", error.to_string());
            }
            metrics::counter!("tokens_refused_total", "reason" => error.reason()).increment(1);
            tracing::info!(reason = error.reason(), "a token was refused");
            Self::token_invalid(error.to_string())
        })
    }

    /// Is the token good for this call?
    ///
    /// # Errors
    /// 403: its scope is another.
    pub fn must_be_good_for(&self, parts: &Parts) -> Result<(), Problem> {
        self.require_scope(&scope_needed(&parts.method, parts.uri.path()))
    }

    /// Is the token good for calls of this scope?
    fn require_scope(&self, scope: &str) -> Result<(), Problem> {
        let lacks = |scopes: &[String]| scopes.iter().all(|one| one != scope);
        match &self.scopes {
            Some(scopes) if lacks(scopes) => Err(Problem::insufficient_scope(scope)),
            Some(_) | None => Ok(()),
        }
    }

    /// Operators only.
    ///
    /// # Errors
    /// 403.
    pub fn require_operator(&self) -> Result<(), Problem> {
        if self.is_operator() {
            Ok(())
        } else {
            Err(Problem::forbidden("only an operator may do this"))
        }
    }

    /// The owner and operators only. `what` is named in the answer, which is the same as for a
    /// thing that doesn't exist.
    ///
    /// # Errors
    /// 404.
    pub fn require_owner_or_operator(&self, owner: UserId, what: &str) -> Result<(), Problem> {
        if self.user_id == owner || self.is_operator() {
            Ok(())
        } else {
            Err(Problem::not_found(format!("there is no such {what}")))
        }
    }
}

/// A token, as it was shown, and who showed it: what goes on for long looks at it again.
#[derive(Clone)]
pub struct Held {
    /// Who asks.
    pub principal: Principal,
    token: String,
    verifier: Verifier,
}

impl Held {
    /// Is the token still good, for the same person in the same roles?
    pub fn still_counts(&self) -> bool {
        let now = self.verifier.verify(&self.token);
        now.is_ok_and(|now| now == self.principal)
    }
}

impl<S> FromRequestParts<S> for Held
where
    S: Send + Sync,
    Verifier: FromRef<S>,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Self::Rejection> {
        let principal = Principal::from_request_parts(parts, state).await?;
        Ok(Self {
            principal,
            token: bearer(parts).unwrap_or_default().to_owned(),
            verifier: Verifier::from_ref(state),
        })
    }
}

/// The token of a request.
fn bearer(parts: &Parts) -> Option<&str> {
    let value = parts.headers.get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme
        .eq_ignore_ascii_case("bearer")
        .then_some(token.trim())
}

impl<S> FromRequestParts<S> for Principal
where
    S: Send + Sync,
    Verifier: FromRef<S>,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Self::Rejection> {
        let principal = Self::of_request(parts, &Verifier::from_ref(state))?;
        principal.must_be_good_for(parts)?;
        Ok(principal)
    }
}
