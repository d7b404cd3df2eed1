//! The document as a whole.

use std::collections::BTreeSet;

use axum::http::{Method, StatusCode};
use serde_json::{Map, Value, json};
use thiserror::Error;

use super::{About, Call, Schemas};
use crate::Problem;
use crate::problem::{MEDIA_TYPE, Wire};

/// What holds for every call.
const CONVENTIONS: &str = "\
Commands are POSTed, read models are read with GET; bodies are JSON in UTF-8, names are snake_case, \
times are RFC 3339 in UTC, amounts are in minor units. Unknown fields and parameters are refused.

- **Errors** are `application/problem+json` (RFC 9457): `code` is what a program decides by, `type` \
leads to a page that explains it, `errors` points at fields, `retryable` says whether the same \
request may succeed later, `trace_id` finds it in the log.
- **`Idempotency-Key`** on a POST makes sending it again safe: after a success the same key and body \
are answered as the first time, with `Idempotency-Replayed: true`; another body is refused. \
Each of the calls that create orders, returns, refunds and imports needs one. What was created is remembered \
for good, of what was changed the last 1,000 commands: behind them the same key does it again. A call that \
found nothing to change is not remembered.
- **`ETag`** is the version of what was changed or read; sent back as `If-Match` a command is done only \
to that version, as `If-None-Match` a read is answered 304 when nothing has changed.
- **`Consistency-Token`** of a write, sent along with a read, has the read wait for that write.
- **`Prefer: wait=n`** waits up to n seconds (at most 30) for an order's outcome, for the end of what a \
cancellation, received goods or a refund set going, or for a view.
- **Limits**: a body of 1 MiB, a head of 16 KiB and 100 fields (431 beyond), 30 seconds. A request \
that is too much at that moment is answered 503 at once, with `Retry-After`.";

/// Where a document tells of two types, or of two answers, under one name: the second would hide the
/// first. The document's test finds it.
const NAMED_TWICE: &str = "x-named-twice";

/// An OpenAPI 3.1 document.
#[derive(Debug, Clone, PartialEq)]
pub struct Document(Value);

/// An answer that the document doesn't know.
#[derive(Debug, Error)]
#[error("{method} {path} answered {answer}, which its description does not know")]
pub struct Unlike {
    method: String,
    path: String,
    answer: String,
}

/// A document in the making.
pub(super) struct Draft {
    document: Value,
    schemas: Schemas,
    /// What many calls answer, by name.
    answers: Map<String, Value>,
    /// What any call may be answered with by who stands before it.
    before: Vec<Problem>,
}

impl Document {
    pub(super) fn begin(before: &[Problem]) -> Draft {
        let mut schemas = Schemas::default();
        schemas.told::<Wire<'static>>();
        let document = json!({
            "openapi": "3.1.0",
            "info": {
                "title": "Millrace",
                "version": env!("CARGO_PKG_VERSION"),
                "description": CONVENTIONS,
                "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
            },
            "servers": [{ "url": "/" }],
            "paths": {},
            "components": {
                "securitySchemes": { "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "bearerFormat": "JWT",
                    "description": "An access token of POST /v1/sessions: EdDSA, 15 minutes. \
                                    Its keys are at /.well-known/jwks.json. What stands beside it at a call is \
                                    the scope that a token which has a `scope` must have for it.",
                } },
            },
        });
        Draft {
            document,
            schemas,
            answers: Map::new(),
            before: before.to_vec(),
        }
    }

    /// The document as JSON.
    pub fn json(&self) -> &Value {
        &self.0
    }

    /// The paths of all its calls.
    pub fn paths(&self) -> BTreeSet<String> {
        let paths = self.0["paths"].as_object().into_iter().flatten();
        paths.map(|(path, _)| path.clone()).collect()
    }

    /// The document as it is committed: one member a line, in order.
    pub fn text(&self) -> String {
        // A Value can always be written.
        let mut text = serde_json::to_string_pretty(&self.0).unwrap_or_default();
        text.push('\n');
        text
    }

    /// Both, as one. What is the same in both stands in it once.
    #[must_use]
    pub fn with(mut self, other: &Self) -> Self {
        let mut twice = named_twice(&self.0)
            .chain(named_twice(&other.0))
            .collect::<Vec<_>>();
        twice.extend(differing(&self.0, &other.0));
        if !twice.is_empty() {
            self.0[NAMED_TWICE] = json!(twice);
        }
        unite(&mut self.0["paths"], &other.0["paths"]);
        unite(&mut self.0["components"], &other.0["components"]);
        self
    }

    /// Does the call know such an answer? `path` is a request's, `code` a problem's. What is no call
    /// of the document is not asked about.
    ///
    /// # Errors
    /// It doesn't.
    pub fn must_know(
        &self,
        (method, path): (&str, &str),
        status: StatusCode,
        code: Option<&str>,
    ) -> Result<(), Unlike> {
        let Some(call) = self.call(method, path) else {
            return Ok(());
        };
        let mut answer = &call["responses"][status.as_str()];
        if let Some(place) = answer["$ref"].as_str() {
            let pointer = place.trim_start_matches('#');
            answer = self.0.pointer(pointer).unwrap_or(&Value::Null);
        }
        let schema = &answer["content"][MEDIA_TYPE]["schema"];
        let codes = schema["allOf"][1]["properties"]["code"]["enum"].as_array();
        let known = match code {
            None => answer.is_object(),
            Some(code) => codes.is_some_and(|all| all.iter().any(|it| it == code)),
        };
        if known {
            return Ok(());
        }
        Err(Unlike {
            method: method.to_owned(),
            path: path.to_owned(),
            answer: format!("{} {}", status.as_u16(), code.unwrap_or_default()),
        })
    }

    /// The call that takes requests to `path`: of several the one with the fewest names in it.
    fn call(&self, method: &str, path: &str) -> Option<&Value> {
        let paths = self.0["paths"].as_object()?.iter();
        let fitting = paths.filter(|(route, _)| fits(route, path));
        let (_, calls) = fitting.min_by_key(|(route, _)| route.matches('{').count())?;
        calls.get(method)
    }
}

fn fits(route: &str, path: &str) -> bool {
    let (mut names, mut parts) = (route.split('/'), path.split('/'));
    loop {
        match (names.next(), parts.next()) {
            (None, None) => return true,
            (Some(name), Some(part)) if name.starts_with('{') || name == part => {}
            _ => return false,
        }
    }
}

impl Draft {
    pub(super) fn add(
        &mut self,
        (method, path): (&Method, &str),
        about: &About,
        describe: fn(&mut Call<'_>),
    ) {
        let mut call = Call::new(method, path, &mut self.schemas);
        describe(&mut call);
        about.with.iter().for_each(|says| says(&mut call));
        for refusal in &about.refusals {
            call.problem(refusal.clone());
        }
        if about.guarded {
            guarded(&mut call);
            for refusal in &self.before {
                call.problem(refusal.clone());
            }
        }
        let mut operation = call.operation(about.example.as_ref(), &mut self.answers);
        let mut say = |name: &str, value: Value| operation.insert(name.to_owned(), value);
        say("operationId", name_of(&about.summary).into());
        say("summary", about.summary.as_ref().into());
        if let Some(more) = about.more {
            say("description", more.into());
        }
        say("tags", json!([tag_of(path)]));
        let method = method.as_str().to_ascii_lowercase();
        self.document["paths"][path][method] = Value::Object(operation);
    }

    pub(super) fn end(mut self) -> Document {
        let (named, twice) = self.schemas.named();
        if !twice.is_empty() {
            self.document[NAMED_TWICE] = json!(twice);
        }
        self.document["components"]["schemas"] = Value::Object(named);
        self.document["components"]["responses"] = Value::Object(self.answers);
        Document(self.document)
    }
}

/// What stands around every handler may answer as well.
fn guarded(call: &mut Call<'_>) {
    call.problem(Problem::internal());
    call.problem(Problem::overloaded());
    call.problem(Problem::timeout());
}

/// What it is about: `/v1/orders/{id}` → `orders`, `/graphql` → `graphql`.
fn tag_of(path: &str) -> &str {
    let path = path.strip_prefix("/v1").unwrap_or(path);
    path.split('/').nth(1).unwrap_or_default()
}

/// "Cancel an order" → `cancel_an_order`.
fn name_of(summary: &str) -> String {
    let lower = summary.to_lowercase();
    let words = lower.split(|c: char| !c.is_ascii_alphanumeric());
    words
        .filter(|word| !word.is_empty())
        .collect::<Vec<_>>()
        .join("_")
}

fn named_twice(document: &Value) -> impl Iterator<Item = String> {
    let names = document[NAMED_TWICE].as_array().into_iter().flatten();
    names.filter_map(Value::as_str).map(str::to_owned)
}

/// The names that stand for something else in each of two documents.
fn differing(one: &Value, other: &Value) -> Vec<String> {
    let mut names = Vec::new();
    for kind in ["schemas", "responses"] {
        let ours = one["components"][kind].as_object().into_iter().flatten();
        let there = ours.filter_map(|(name, value)| {
            let same = other["components"][kind].get(name)?;
            (same != value).then(|| name.clone())
        });
        names.extend(there);
    }
    names
}

fn unite(into: &mut Value, from: &Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (name, value) in from {
                unite(into.entry(name.clone()).or_insert(Value::Null), value);
            }
        }
        (into @ Value::Null, from) => *into = from.clone(),
        (_, _) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::{BODY_BYTES_MAX, HEAD_BYTES_MAX, HEAD_FIELDS_MAX, REQUEST_TIME_MAX_S};

    #[test]
    fn the_limits_that_every_call_is_told_of_are_those_that_hold() {
        let (body, head) = (BODY_BYTES_MAX / 1024 / 1024, HEAD_BYTES_MAX / 1024);
        let limits = format!(
            "a body of {body} MiB, a head of {head} KiB and {HEAD_FIELDS_MAX} fields (431 beyond), \
             {REQUEST_TIME_MAX_S} seconds"
        );
        assert!(CONVENTIONS.contains(&limits), "{limits}");
    }
}
