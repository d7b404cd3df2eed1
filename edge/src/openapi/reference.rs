//! `/openapi.json` for programs, `/reference` for people: one page that needs nothing else.

use std::io::Read;
use std::sync::{Arc, OnceLock};

use axum::Router;
use axum::body::Bytes;
use axum::http::header::{
    ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG,
    IF_NONE_MATCH, VARY,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use flate2::Compression;
use flate2::read::GzEncoder;
use minijinja::value::Serde;
use minijinja::{Environment, context};
use ring::digest::{SHA256, digest};
use serde_json::Value;

use super::Document;

const STYLE: &str = include_str!("../../pages/style.css");
const TEMPLATE: &str = include_str!("../../pages/reference.html");

/// Nothing but what is in the page itself, and no script.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'";

/// For so long nobody who has it asks for it again; then with its tag.
const KEPT: &str = "public, max-age=300";

/// Serves the document, and the page made from it.
pub fn routes<S: Clone + Send + Sync + 'static>(document: &Document) -> Router<S> {
    let json = document.json().to_string();
    let page = page(document).unwrap_or_else(|error| {
        // The template and the document are the program's own: a test renders them.
        tracing::error!(%error, "the reference can't be rendered");
        String::new()
    });
    Router::new()
        .route("/openapi.json", Large::new("application/json", json).get())
        .route(
            "/reference",
            Large::new("text/html; charset=utf-8", page).get(),
        )
}

/// Something large that is the same as long as the program runs: shared by all who ask, for some read
/// slowly, and packed once, when somebody asks for that.
struct Large {
    kind: &'static str,
    /// Weak, for it stands for both.
    tag: String,
    plain: Bytes,
    packed: OnceLock<Bytes>,
}

impl Large {
    fn new(kind: &'static str, text: String) -> Arc<Self> {
        let digest = digest(&SHA256, text.as_bytes());
        Arc::new(Self {
            kind,
            tag: format!("W/\"{}\"", URL_SAFE_NO_PAD.encode(digest)),
            plain: text.into(),
            packed: OnceLock::new(),
        })
    }

    fn get<S: Clone + Send + Sync + 'static>(self: Arc<Self>) -> MethodRouter<S> {
        get(move |headers: HeaderMap| async move { self.answer(&headers) })
    }

    fn answer(&self, asked: &HeaderMap) -> Response {
        let is_known = listed(asked, &IF_NONE_MATCH).any(|tag| tag == self.tag || tag == "*");
        let mut response = if is_known {
            StatusCode::NOT_MODIFIED.into_response()
        } else if takes_gzip(asked) {
            let packed = self.packed.get_or_init(|| gzip(&self.plain));
            ([(CONTENT_ENCODING, "gzip")], packed.clone()).into_response()
        } else {
            self.plain.clone().into_response()
        };
        let headers = response.headers_mut();
        for (name, value) in [
            (CONTENT_TYPE, self.kind),
            (CONTENT_SECURITY_POLICY, POLICY),
            (CACHE_CONTROL, KEPT),
            (VARY, "accept-encoding"),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        if let Ok(tag) = HeaderValue::from_str(&self.tag) {
            headers.insert(ETAG, tag);
        }
        response
    }
}

/// The members of a header that is a list.
fn listed<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    let values = headers.get_all(name).iter();
    let texts = values.filter_map(|value| value.to_str().ok());
    texts.flat_map(|text| text.split(',')).map(str::trim)
}

/// Is gzip named, and not refused (`q=0`, RFC 9110 §12.4.2)?
fn takes_gzip(asked: &HeaderMap) -> bool {
    listed(asked, &ACCEPT_ENCODING).any(|coding| {
        let (name, weight) = coding.split_once(';').unwrap_or((coding, ""));
        let weight = weight.trim().strip_prefix("q=").unwrap_or("1");
        name.trim().eq_ignore_ascii_case("gzip") && weight.parse().is_ok_and(|q: f32| q > 0.0)
    })
}

fn gzip(plain: &[u8]) -> Bytes {
    let mut packed = Vec::new();
    // Reading from memory can't fail.
    let _read = GzEncoder::new(plain, Compression::default()).read_to_end(&mut packed);
    packed.into()
}

/// The document as a page.
///
/// # Errors
/// The template is broken.
fn page(document: &Document) -> Result<String, minijinja::Error> {
    render(TEMPLATE, document.json())
}

/// One of our pages, in the common style. What is put in is escaped.
///
/// # Errors
/// The template is broken.
pub(crate) fn render(template: &str, data: &Value) -> Result<String, minijinja::Error> {
    let mut environment = Environment::new();
    // minijinja escapes by the name's ending.
    environment.add_template("page.html", template)?;
    let data = minijinja::Value::from(Serde(data));
    let style = STYLE;
    environment
        .get_template("page.html")?
        .render(context! { style, ..data })
}

#[cfg(test)]
mod tests {
    use flate2::read::GzDecoder;

    use super::*;

    fn asked(headers: &[(HeaderName, &'static str)]) -> HeaderMap {
        let all = headers.iter().cloned();
        all.map(|(name, value)| (name, HeaderValue::from_static(value)))
            .collect()
    }

    async fn body(response: Response) -> Bytes {
        axum::body::to_bytes(response.into_body(), usize::MAX)
            .await
            .unwrap()
    }

    #[tokio::test]
    async fn what_is_large_is_packed_once_and_not_sent_to_who_has_it() {
        let large = Large::new("application/json", "x".repeat(10_000));
        let plain = large.answer(&asked(&[]));
        let tag = plain.headers()[ETAG].clone();
        for refused in ["gzip;q=0", "br", "identity, gzip; q=0.0"] {
            let answer = large.answer(&asked(&[(ACCEPT_ENCODING, refused)]));
            assert!(
                !answer.headers().contains_key(CONTENT_ENCODING),
                "{refused}"
            );
        }
        assert_eq!(large.packed.get(), None, "nobody has asked for it");
        let mut bodies = Vec::new();
        for taken in ["gzip", "br, GZIP;q=0.5"] {
            let answer = large.answer(&asked(&[(ACCEPT_ENCODING, taken)]));
            assert_eq!(answer.headers()[CONTENT_ENCODING], "gzip");
            bodies.push(body(answer).await);
        }
        assert_eq!(bodies[0].as_ptr(), bodies[1].as_ptr(), "the same bytes");
        let mut text = String::new();
        GzDecoder::new(&bodies[0][..])
            .read_to_string(&mut text)
            .unwrap();
        assert_eq!(text, body(plain).await);
        let mut known = HeaderMap::new();
        known.insert(IF_NONE_MATCH, tag.clone());
        let unchanged = large.answer(&known);
        assert_eq!(unchanged.status(), StatusCode::NOT_MODIFIED);
        assert_eq!(unchanged.headers()[ETAG], tag);
        assert!(body(unchanged).await.is_empty());
    }
}
