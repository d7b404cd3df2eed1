//! What is refused before anybody else sees it: whatever two readers could understand differently.

use axum::http::header::{AUTHORIZATION, CONTENT_LENGTH, HOST, TRANSFER_ENCODING};
use axum::http::request::Parts;
use axum::http::uri::Authority;
use axum::http::{Method, StatusCode, Version};
use edge::Problem;

use crate::problems;

/// Longest path with its query, in bytes.
const URI_BYTES_MAX: usize = 4096;

/// Escapes that would change what a path means: `.`, `/`, `\` and NUL, and `%` itself, behind which
/// another of them may hide.
const ESCAPES: [&str; 5] = ["%2e", "%2f", "%5c", "%00", "%25"];

/// What the services behind tell of themselves, and not to clients.
const METRICS: &str = "/metrics";

/// The host names that are ours.
#[derive(Debug, Clone)]
pub(crate) struct Hosts(Vec<String>);

impl Hosts {
    pub(crate) fn new(names: &[String]) -> Self {
        Self(names.iter().map(|name| name.to_ascii_lowercase()).collect())
    }

    fn has(&self, name: &str) -> bool {
        let name = name.to_ascii_lowercase();
        self.0.iter().any(|known| known == "*" || *known == name)
    }
}

/// Checks the head of a request.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn check(parts: &Parts, hosts: &Hosts) -> Result<(), Problem> {
    if [Method::TRACE, Method::CONNECT].contains(&parts.method) {
        return Err(Problem::of_status(StatusCode::METHOD_NOT_ALLOWED));
    }
    let target = parts
        .uri
        .path_and_query()
        .map_or("", |whole| whole.as_str());
    if target.len() > URI_BYTES_MAX {
        let detail = format!("path and query are longer than {URI_BYTES_MAX} bytes");
        return Err(problems::too_long(detail));
    }
    if !is_plain(parts.uri.path()) {
        let detail = "the path has empty segments, dots, backslashes or escapes of those";
        return Err(problems::ambiguous(detail));
    }
    if parts.uri.path() == METRICS {
        return Err(Problem::of_status(StatusCode::NOT_FOUND));
    }
    once(parts)?;
    known(parts, hosts)
}

/// One path, one meaning.
fn is_plain(path: &str) -> bool {
    let lower = path.to_ascii_lowercase();
    let Some(inner) = lower.strip_prefix('/') else {
        return false;
    };
    // One slash at the end hides nothing: there is nothing at such a path.
    let inner = inner.strip_suffix('/').unwrap_or(inner);
    let plain = |segment: &str| !segment.is_empty() && segment != "." && segment != "..";
    let hidden = lower.contains('\\') || ESCAPES.iter().any(|escape| lower.contains(escape));
    !hidden && (lower == "/" || inner.split('/').all(plain))
}

/// One length, one host, one token: of two, each reader may take another.
fn once(parts: &Parts) -> Result<(), Problem> {
    let headers = &parts.headers;
    if headers.contains_key(CONTENT_LENGTH) && headers.contains_key(TRANSFER_ENCODING) {
        let detail = "Content-Length and Transfer-Encoding exclude each other";
        return Err(Problem::malformed(detail));
    }
    for name in [CONTENT_LENGTH, HOST, AUTHORIZATION] {
        if headers.get_all(&name).iter().count() > 1 {
            return Err(Problem::malformed(format!(
                "the header {name} stands there twice"
            )));
        }
    }
    Ok(())
}

/// The host is named, by one name, and that is ours.
fn known(parts: &Parts, hosts: &Hosts) -> Result<(), Problem> {
    let named = parts.headers.get(HOST).map(|value| {
        let text = value.to_str().unwrap_or_default();
        text.parse::<Authority>()
    });
    let malformed = || Problem::malformed("the header Host is missing or no host");
    let named = named.transpose().map_err(|_| malformed())?;
    let target = parts.uri.authority();
    let host = match (&named, target) {
        (Some(named), Some(target)) if named != target => {
            return Err(Problem::malformed("Host and the address name two hosts"));
        }
        (Some(named), _) => named,
        (None, Some(target)) if parts.version == Version::HTTP_2 => target,
        (None, _) => return Err(malformed()),
    };
    if host.as_str().contains('@') || !hosts.has(host.host()) {
        return Err(problems::unknown_host());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use axum::http::Request;

    use super::*;

    fn refusal(request: axum::http::request::Builder) -> (u16, String) {
        let (parts, ()) = request.body(()).unwrap().into_parts();
        let hosts = Hosts::new(&["shop.example".to_owned(), "[::1]".to_owned()]);
        check(&parts, &hosts).map_or_else(
            |problem| (problem.status.as_u16(), problem.code.into_owned()),
            |()| (200, String::new()),
        )
    }

    fn get(path: &str) -> axum::http::request::Builder {
        Request::get(path).header(HOST, "shop.example")
    }

    #[test]
    fn a_path_has_one_meaning() {
        for good in [
            "/",
            "/v1/products",
            "/v1/products/",
            "/v1/products/M%C3%BCG",
            "/v1/a.b?x=//..%2f",
        ] {
            assert_eq!(refusal(get(good)).0, 200, "{good}");
        }
        for bad in [
            "//",
            "//v1/orders",
            "/v1//orders",
            "/v1/orders//",
            "/v1/../metrics",
            "/./v1",
            "/v1/%2e%2E/metrics",
            "/v1/a%2Fb",
            "/v1/a%5cb",
            "/v1/%00",
            "/v1/%252e",
        ] {
            assert_eq!(refusal(get(bad)), (400, "path_refused".to_owned()), "{bad}");
        }
    }

    #[test]
    fn addresses_are_bounded_and_methods_known() {
        let long = format!("/v1/products?x={}", "a".repeat(URI_BYTES_MAX));
        assert_eq!(refusal(get(&long)).0, 414);
        assert_eq!(refusal(get("/metrics")).0, 404);
        let trace = Request::builder().method("TRACE").uri("/");
        assert_eq!(refusal(trace.header(HOST, "shop.example")).0, 405);
    }

    #[test]
    fn the_host_is_ours_and_named_once() {
        assert_eq!(
            refusal(Request::get("/").header(HOST, "SHOP.example:8080")).0,
            200
        );
        assert_eq!(refusal(Request::get("/").header(HOST, "[::1]:8080")).0, 200);
        for stranger in [
            "evil.example",
            "shop.example.evil.example",
            "x@shop.example",
            "127.0.0.1",
        ] {
            let refused = refusal(Request::get("/").header(HOST, stranger));
            assert_eq!(refused.0, 421, "{stranger}");
        }
        assert_eq!(refusal(Request::get("/")).0, 400);
        let two = get("/").header(HOST, "shop.example");
        assert_eq!(refusal(two).0, 400);
        let other = Request::get("http://evil.example/").header(HOST, "shop.example");
        assert_eq!(refusal(other).0, 400);
        let second = Request::get("http://shop.example/").version(Version::HTTP_2);
        assert_eq!(refusal(second).0, 200);
    }

    #[test]
    fn lengths_and_tokens_are_not_ambiguous() {
        let both = get("/")
            .header(CONTENT_LENGTH, "5")
            .header(TRANSFER_ENCODING, "chunked");
        assert_eq!(refusal(both).0, 400);
        let two = get("/")
            .header(CONTENT_LENGTH, "5")
            .header(CONTENT_LENGTH, "6");
        assert_eq!(refusal(two).0, 400);
        let tokens = get("/")
            .header(AUTHORIZATION, "Bearer a")
            .header(AUTHORIZATION, "Bearer b");
        assert_eq!(refusal(tokens).0, 400);
    }
}
