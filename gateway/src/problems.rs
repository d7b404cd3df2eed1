//! What only the gateway refuses, explained.

use axum::http::StatusCode;
use edge::Problem;
use edge::problem::Page;

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
