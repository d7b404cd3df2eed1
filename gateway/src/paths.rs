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

/// All that may be done at a path, in the order in which Allow tells it.
const METHODS: [&str; 4] = ["get", "post", "put", "delete"];

impl Paths {
    /// Those of the document. What can't be read of it is left to whoever is behind.
    pub(crate) fn new() -> Self {
        let mut router = Router::new();
        let document = serde_json::from_str(DOCUMENT);
        let Document { paths } = document.unwrap_or(Document {
            paths: BTreeMap::new(),
        });
        // `/v1/products/import` is a product's path too: what is done at that is done there.
        let hidden = |path: &str| {
            let (folder, last) = path.rsplit_once('/')?;
            let mut paths = paths.iter();
            let of_any = paths.find(|(other, _)| {
                other.rsplit_once('/').is_some_and(|(same, any)| {
                    same == folder && any.starts_with('{') && !last.starts_with('{')
                })
            });
            of_any.map(|(_, calls)| calls)
        };
        for (path, calls) in &paths {
            let hidden = hidden(path);
            let known = METHODS.into_iter().filter(|method| {
                let at = |calls: &BTreeMap<String, Value>| calls.contains_key(*method);
                at(calls) || hidden.is_some_and(at)
            });
            let mut allowed: Vec<String> = known.map(str::to_ascii_uppercase).collect();
            if allowed.iter().any(|method| method == "GET") {
                allowed.push("HEAD".to_owned());
            }
            allowed.push("OPTIONS".to_owned());
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
        // A product may be called `import`.
        assert_eq!(asked(&Method::GET, "/v1/products/import"), None);
        assert_eq!(asked(&Method::POST, "/v1/products/import"), None);
    }
}
