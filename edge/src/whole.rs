//! A body of bounded size, all of it, in bounded time.

use std::error::Error;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{Extensions, StatusCode};
use http_body_util::LengthLimitError;

use crate::limits::{BODY_BYTES_MAX, BODY_TIME_MAX_S};
use crate::{Limits, Problem};

/// What a body may take; [`crate::guarded`] puts it into each request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BodyBounds {
    pub(crate) bytes: usize,
    time: Duration,
}

impl Default for BodyBounds {
    fn default() -> Self {
        Self {
            bytes: BODY_BYTES_MAX,
            time: Duration::from_secs(BODY_TIME_MAX_S),
        }
    }
}

impl From<&Limits> for BodyBounds {
    fn from(limits: &Limits) -> Self {
        Self {
            bytes: limits.body_bytes_max,
            time: Duration::from_secs(limits.body_time_max_s),
        }
    }
}

impl BodyBounds {
    pub(crate) fn of(extensions: &Extensions) -> Self {
        extensions.get().copied().unwrap_or_default()
    }
}

/// All of a body. A request that is waited for has a place among those that are worked on, so it is not
/// waited for as long as work may take.
///
/// # Errors
/// - it takes longer than [`Limits::body_time_max_s`] → 408 `body_timeout`
/// - more than `bytes_max`, or than [`Limits::body_bytes_max`] → 413
/// - the client went away, or what came is none → 400
pub async fn whole(
    extensions: &Extensions,
    body: Body,
    bytes_max: usize,
) -> Result<Bytes, Problem> {
    let bounds = BodyBounds::of(extensions);
    let bytes_max = bytes_max.min(bounds.bytes);
    let read = axum::body::to_bytes(body, bytes_max);
    let read = tokio::time::timeout(bounds.time, read).await;
    let read = read.map_err(|_elapsed| Problem::body_timeout(bounds.time))?;
    read.map_err(|error| {
        if error
            .source()
            .is_some_and(<dyn Error>::is::<LengthLimitError>)
        {
            too_large(bytes_max)
        } else {
            Problem::malformed("the body broke off")
        }
    })
}

pub(crate) fn too_large(limit: usize) -> Problem {
    let detail = format!("the body must not be larger than {limit} bytes");
    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", detail)
}
