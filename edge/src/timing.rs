//! How long requests take, by method, route and status.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use axum::http::{Method, StatusCode};
use metrics::Histogram;

/// What a method is called that is none of HTTP's own: clients make up as many as they like, and a
/// metric's label must be bounded.
const METHOD_OTHER: &str = "other";

/// Method and status.
type Kind = (&'static str, u16);

/// The histograms of one server. To look one up in the recorder costs each request some
/// microseconds, so they are kept. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Timing(Arc<RwLock<HashMap<String, HashMap<Kind, Histogram>>>>);

impl Timing {
    /// A request to `route` was answered. `route` is the pattern and not the path: there are as many
    /// as the server has.
    pub(crate) fn record(&self, method: &Method, route: &str, status: StatusCode, took: Duration) {
        let kind = (name_of(method), status.as_u16());
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(histogram) = known.get(route).and_then(|kinds| kinds.get(&kind)) {
            return histogram.record(took);
        }
        drop(known);
        let histogram = register(kind, route);
        histogram.record(took);
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let kinds = known.entry(route.to_owned()).or_default();
        kinds.insert(kind, histogram);
    }
}

fn register((method, status): Kind, route: &str) -> Histogram {
    let labels = [
        ("method", method.to_owned()),
        ("route", route.to_owned()),
        ("status", status.to_string()),
    ];
    metrics::histogram!("http_request_seconds", &labels)
}

fn name_of(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => METHOD_OTHER,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods_that_clients_make_up_are_one() {
        let timing = Timing::default();
        for method in ["GET", "GOT", "GIT"] {
            let method = Method::from_bytes(method.as_bytes()).unwrap();
            timing.record(&method, "/v1/ok", StatusCode::OK, Duration::ZERO);
        }
        let known = timing.0.read().unwrap();
        let mut kinds: Vec<_> = known["/v1/ok"].keys().copied().collect();
        kinds.sort_unstable();
        assert_eq!(kinds, [("GET", 200), (METHOD_OTHER, 200)]);
    }
}
