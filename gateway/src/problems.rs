//! What only the gateway refuses, explained.

use std::time::Duration;

use axum::http::StatusCode;
use edge::Problem;
use edge::openapi::Document;
use edge::problem::Page;

use crate::overview;

/// The pages of the gateway's own problems.
pub const PAGES: &[Page] = &[
    Page {
        code: "rate_limited",
        title: "Too many requests",
        cure: "Wait as long as Retry-After says. RateLimit-Policy and RateLimit tell what you may ask for and what is left.",
    },
    Page {
        code: "path_refused",
        title: "The path is ambiguous",
        cure: "Send it without empty segments, dots, backslashes and encoded slashes: two readers could understand it differently.",
    },
    Page {
        code: "uri_too_long",
        title: "The address is too long",
        cure: "Put less into the query.",
    },
    Page {
        code: "host_unknown",
        title: "Nothing here has that name",
        cure: "Call the shop by its own name. Who runs it adds names with MILLRACE_HOSTS.",
    },
    Page {
        code: "service_down",
        title: "The service behind is not there",
        cure: "Nothing was done: try again after Retry-After.",
    },
    Page {
        code: "answer_lost",
        title: "The service behind went away before it answered",
        cure: "What was asked for may have happened: send the same request again, under the same Idempotency-Key.",
    },
];

/// The calls that the gateway answers itself.
pub fn document() -> Document {
    let probes = edge::health::calls().document(&[]);
    overview::calls().document(&refusals()).with(&probes)
}

/// What the gateway may answer to any call instead of who stands behind it.
pub fn refusals() -> Vec<Problem> {
    vec![
        Problem::malformed(""),
        ambiguous(""),
        unknown_host(),
        too_long(String::new()),
        too_many("", edge::problem::RETRY_AFTER_DEFAULT),
        down(""),
        lost(""),
    ]
}

/// 400: two readers could understand the path differently.
pub(crate) fn ambiguous(detail: &str) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "path_refused", detail)
}

/// 421: the entry has other names.
pub(crate) fn unknown_host() -> Problem {
    let detail = "this entry goes by another name";
    Problem::new(StatusCode::MISDIRECTED_REQUEST, "host_unknown", detail)
}

/// 414: the path with its query.
pub(crate) fn too_long(detail: String) -> Problem {
    Problem::new(StatusCode::URI_TOO_LONG, "uri_too_long", detail)
}

/// 429: this user, address or key asked more than its share.
pub(crate) fn too_many(class: &str, after: Duration) -> Problem {
    let detail = format!("too many requests of this {class}");
    Problem::new(StatusCode::TOO_MANY_REQUESTS, "rate_limited", detail).retry(after)
}

/// 503: no replica of `role` took the request.
pub(crate) fn down(role: &str) -> Problem {
    Problem::unavailable("service_down", format!("no {role} can be reached"))
}

/// 502: a replica of `role` took the request and is gone.
pub(crate) fn lost(role: &str) -> Problem {
    let detail = format!("the {role} went away before it answered");
    Problem::new(StatusCode::BAD_GATEWAY, "answer_lost", detail)
        .retry(edge::problem::RETRY_AFTER_DEFAULT)
}
