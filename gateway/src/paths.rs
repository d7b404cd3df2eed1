//! Which paths there are, and what may be done at each: neither side behind knows what the other takes.

use std::collections::BTreeMap;

use axum::http::header::ALLOW;
use axum::http::{HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use edge::Problem;
use matchit::Router;
use serde::Deserialize;
use serde_json::Value;

/// The API's document, as it was committed with this program.
const DOCUMENT: &str = include_str!("../../openapi.json");

/// Of the document what matters here.
#[derive(Deserialize)]
struct Document {
    paths: BTreeMap<String, BTreeMap<String, Value>>,
}

/// The methods of each path, as the header Allow tells them.
pub(crate) struct Paths(Router<HeaderValue>);

impl Paths {
    /// Those of the document. What can't be read of it is left to whoever is behind.
    pub(crate) fn new() -> Self {
        let mut router = Router::new();
        let document = serde_json::from_str(DOCUMENT);
        let Document { paths } = document.unwrap_or(Document {
            paths: BTreeMap::new(),
        });
        for (path, calls) in paths {
            let known = [Method::GET, Method::POST, Method::PUT, Method::DELETE];
            let known = known.iter().filter(|method| {
                let name = method.as_str().to_ascii_lowercase();
                calls.contains_key(&name)
            });
            let mut allowed: Vec<&str> = known.map(Method::as_str).collect();
            if allowed.contains(&"GET") {
                allowed.push("HEAD");
            }
            allowed.push("OPTIONS");
            if let Ok(allowed) = HeaderValue::try_from(allowed.join(", ")) {
                // Two paths of one shape are none of the document's.
                let _twice = router.insert(path, allowed);
            }
        }
        Self(router)
    }

    /// The answer to what is not done at `path` at all: 405, or to OPTIONS what is. `None` = somebody behind
    /// answers.
    pub(crate) fn answer(&self, method: &Method, path: &str) -> Option<Response> {
        let allowed = self.0.at(path).ok()?.value;
        let told = [(ALLOW, allowed.clone())];
        if method == Method::OPTIONS {
            return Some((StatusCode::NO_CONTENT, told).into_response());
        }
        let names = allowed.to_str().unwrap_or_default();
        let taken = names.split(", ").any(|name| name == method.as_str());
        let refused = || Problem::of_status(StatusCode::METHOD_NOT_ALLOWED);
        (!taken).then(|| (told, refused()).into_response())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(method: &Method, path: &str) -> Option<(u16, String)> {
        let answer = Paths::new().answer(method, path)?;
        let allowed = answer.headers()[ALLOW].to_str().unwrap().to_owned();
        Some((answer.status().as_u16(), allowed))
    }

    #[test]
    fn a_path_says_what_both_sides_take_there() {
        for taken in [&Method::GET, &Method::HEAD, &Method::POST] {
            assert_eq!(asked(taken, "/v1/orders"), None);
        }
        let both = "GET, POST, HEAD, OPTIONS".to_owned();
        assert_eq!(
            asked(&Method::DELETE, "/v1/orders"),
            Some((405, both.clone()))
        );
        assert_eq!(asked(&Method::OPTIONS, "/v1/orders"), Some((204, both)));
        let writes = Some((405, "POST, OPTIONS".to_owned()));
        assert_eq!(asked(&Method::GET, "/v1/sessions"), writes);
        assert_eq!(asked(&Method::HEAD, "/v1/orders/o-1/cancel"), writes);
        let reads = Some((405, "GET, HEAD, OPTIONS".to_owned()));
        assert_eq!(asked(&Method::POST, "/v1/orders/o-1/overview"), reads);
        assert_eq!(asked(&Method::POST, "/v1/nothing"), None);
    }
}
