//! `/openapi.json` for programs, `/reference` for people: one page that needs nothing else.

use axum::Router;
use axum::body::Bytes;
use axum::http::HeaderName;
use axum::http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use axum::response::{Html, IntoResponse};
use axum::routing::get;
use minijinja::value::Serde;
use minijinja::{Environment, context};
use serde_json::Value;

use super::Document;

const STYLE: &str = include_str!("../../pages/style.css");
const TEMPLATE: &str = include_str!("../../pages/reference.html");

/// Nothing but what is in the page itself, and no script.
const POLICY: [(HeaderName, &str); 1] = [(
    CONTENT_SECURITY_POLICY,
    "default-src 'none'; style-src 'unsafe-inline'",
)];

/// Serves the document, and the page made from it.
pub fn routes<S: Clone + Send + Sync + 'static>(document: &Document) -> Router<S> {
    // Shared by all who ask: it is large, and some read slowly.
    let json = Bytes::from(document.json().to_string());
    let page = page(document).unwrap_or_else(|error| {
        // The template and the document are the program's own: a test renders them.
        tracing::error!(%error, "the reference can't be rendered");
        String::new()
    });
    let page = Bytes::from(page);
    Router::new()
        .route(
            "/openapi.json",
            get(
                move || async move { ([(CONTENT_TYPE, "application/json")], json).into_response() },
            ),
        )
        .route(
            "/reference",
            get(move || async move { (POLICY, Html(page)).into_response() }),
        )
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
