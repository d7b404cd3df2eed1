//! The ids in a path.

use std::str::FromStr;

use axum::extract::{FromRequestParts, Path};
use axum::http::request::Parts;

use crate::Problem;

/// The one id of a path, parsed. What can't be an id names nothing: 404, and nothing is looked up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Id<T>(pub T);

impl<S, T> FromRequestParts<S> for Id<T>
where
    S: Send + Sync,
    T: FromStr,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Self::Rejection> {
        let Path(text) = Path::<String>::from_request_parts(parts, state)
            .await
            .map_err(nothing)?;
        text.parse().map(Self).map_err(nothing)
    }
}

/// The two ids of a path, of a thing and of a part of it, parsed likewise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ids<T, U>(pub T, pub U);

impl<S, T, U> FromRequestParts<S> for Ids<T, U>
where
    S: Send + Sync,
    T: FromStr,
    U: FromStr,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Self::Rejection> {
        let Path((first, second)) = Path::<(String, String)>::from_request_parts(parts, state)
            .await
            .map_err(nothing)?;
        Ok(Self(
            first.parse().map_err(nothing)?,
            second.parse().map_err(nothing)?,
        ))
    }
}

fn nothing<E>(_: E) -> Problem {
    Problem::not_found("there is nothing under this id")
}
