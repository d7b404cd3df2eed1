//! A JSON body that, when it is wrong, names the field.

use axum::extract::{FromRequest, Request};
use axum::http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode};
use serde::de::DeserializeOwned;
use serde_json::error::Category;
use serde_path_to_error::{Path, Segment};

use crate::named::Named;
use crate::whole::{BodyBounds, too_large, whole};
use crate::{FieldError, Problem};

/// A request body of type `T`. No body at all counts as `{}`, for calls that need no field.
///
/// - another content type, or a content coding → 415
/// - more than the limit ([`crate::Limits::body_bytes_max`]) → 413
/// - not there within [`crate::Limits::body_time_max_s`] → 408
/// - not JSON, or nested deeper than `serde_json` follows (128) → 400
/// - an unknown or missing field, fields by position, a wrong type, a value out of its bounds → 422
///   with its pointer
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Body<T>(pub T);

impl<S, T> FromRequest<S> for Body<T>
where
    S: Send + Sync,
    T: DeserializeOwned,
{
    type Rejection = Problem;

    async fn from_request(request: Request, _state: &S) -> Result<Self, Self::Rejection> {
        let (parts, body) = request.into_parts();
        must_be_uncoded(&parts.headers)?;
        let declared = is_json(&parts.headers);
        let limit = BodyBounds::of(&parts.extensions).bytes;
        refuse_declared_length(&parts.headers, limit)?;
        let bytes = whole(&parts.extensions, body, limit).await?;
        if bytes.is_empty() {
            return parse(b"{}").map(Self);
        }
        if !declared {
            return Err(Problem::of_status(StatusCode::UNSUPPORTED_MEDIA_TYPE));
        }
        parse(&bytes).map(Self)
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let Some(value) = headers.get(CONTENT_TYPE).and_then(|v| v.to_str().ok()) else {
        return false;
    };
    let essence = value.split(';').next().unwrap_or_default().trim();
    essence.eq_ignore_ascii_case("application/json")
}

/// A body is taken as it is, under no `Content-Encoding` but `identity` (RFC 9110 §15.5.16).
///
/// # Errors
/// 415 with what is taken.
pub fn must_be_uncoded(headers: &HeaderMap) -> Result<(), Problem> {
    let codings = headers.get_all(CONTENT_ENCODING).iter();
    let mut codings = codings.flat_map(|value| value.to_str().unwrap_or("?").split(','));
    if codings.all(|coding| coding.trim().eq_ignore_ascii_case("identity")) {
        Ok(())
    } else {
        Err(Problem::coded())
    }
}

/// Before a byte is read: what is announced as too large is too large.
fn refuse_declared_length(headers: &HeaderMap, limit: usize) -> Result<(), Problem> {
    let announced = headers
        .get(CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.parse::<usize>().ok());
    match announced {
        Some(length) if length > limit => Err(too_large(limit)),
        Some(_) | None => Ok(()),
    }
}

/// Reads `bytes` as a `T`.
///
/// # Errors
/// 400 for what is no JSON, 422 with a pointer for what is no `T`.
pub fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    must_be_object(bytes)?;
    // To keep track of where one is takes several times as long: only what is wrong is read so.
    parse_plain(bytes).or_else(|_| parse_tracked(bytes))
}

fn parse_plain<T: DeserializeOwned>(bytes: &[u8]) -> serde_json::Result<T> {
    let mut source = serde_json::Deserializer::from_slice(bytes);
    let value = T::deserialize(Named(&mut source))?;
    source.end()?;
    Ok(value)
}

fn parse_tracked<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    let mut source = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(Named(&mut source))
        .map_err(|error| refusal(error.path(), error.inner()))?;
    source.end().map_err(|error| malformed(&error))?;
    Ok(value)
}

/// [`Named`] sees to it as well; here what is nested too deep, or no JSON, is told from what is none.
fn must_be_object(bytes: &[u8]) -> Result<(), Problem> {
    let first = bytes.iter().find(|byte| !byte.is_ascii_whitespace());
    if first == Some(&b'{') {
        return Ok(());
    }
    let whole: Result<serde::de::IgnoredAny, _> = serde_json::from_slice(bytes);
    whole.map_err(|error| malformed(&error))?;
    let error = FieldError::new("", "the body must be an object");
    Err(Problem::invalid(vec![error]))
}

fn refusal(path: &Path, error: &serde_json::Error) -> Problem {
    match error.classify() {
        Category::Data => {
            let detail = without_place(&error.to_string());
            let pointer = pointer(path, &detail);
            Problem::invalid(vec![FieldError::new(pointer, detail)])
        }
        Category::Syntax | Category::Eof | Category::Io => malformed(error),
    }
}

fn malformed(error: &serde_json::Error) -> Problem {
    Problem::malformed(format!("the body is no JSON: {error}"))
}

/// The pointer says where, so " at line 1 column 9" would only repeat it.
fn without_place(message: &str) -> String {
    message
        .rsplit_once(" at line ")
        .map_or(message, |(what, _)| what)
        .to_owned()
}

/// A JSON pointer (RFC 6901). A missing field is reported at its parent, with its name only in
/// serde's message, so the name is taken from there.
fn pointer(path: &Path, detail: &str) -> String {
    let mut pointer = String::new();
    for segment in path {
        match segment {
            Segment::Seq { index } => push_key(&mut pointer, &index.to_string()),
            Segment::Map { key } => push_key(&mut pointer, key),
            Segment::Enum { variant } => push_key(&mut pointer, variant),
            Segment::Unknown => {}
        }
    }
    let missing = detail
        .strip_prefix("missing field `")
        .and_then(|rest| rest.strip_suffix('`'));
    if let Some(name) = missing {
        push_key(&mut pointer, name);
    }
    pointer
}

fn push_key(pointer: &mut String, key: &str) {
    pointer.push('/');
    pointer.push_str(&key.replace('~', "~0").replace('/', "~1"));
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only whether it parses matters here")]
    struct Order {
        lines: Vec<Line>,
        total: Option<kernel::Money>,
        speed: Option<Speed>,
        note: Option<serde_json::Value>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum Speed {
        Slow,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only whether it parses matters here")]
    struct Line {
        sku: kernel::Sku,
        quantity: u32,
    }

    fn problem(body: &str) -> (u16, String) {
        let problem = parse::<Order>(body.as_bytes()).unwrap_err();
        let pointer = problem.errors.first().map(|e| e.pointer.clone());
        (problem.status.as_u16(), pointer.unwrap_or_default())
    }

    #[test]
    fn what_is_no_json_is_malformed() {
        let deep = "[".repeat(100_000);
        for bad in ["", "{", "nonsense", "{\"lines\":[]} x", "\u{0}", &deep] {
            assert_eq!(problem(bad), (400, String::new()), "{bad:.20}");
        }
        let status = parse::<Order>(b"{\"lines\":\"\xff\"}").unwrap_err().status;
        assert_eq!(status, StatusCode::BAD_REQUEST);
    }

    #[test]
    fn what_is_wrong_is_pointed_at() {
        for (body, pointer) in [
            (
                r#"{"lines":[{"sku":"a","quantity":-1}]}"#,
                "/lines/0/quantity",
            ),
            (
                r#"{"lines":[{"sku":"a","quantity":1.5}]}"#,
                "/lines/0/quantity",
            ),
            (
                r#"{"lines":[{"sku":"a","quantity":99999999999}]}"#,
                "/lines/0/quantity",
            ),
            (
                r#"{"lines":[{"sku":"a.*.>","quantity":1}]}"#,
                "/lines/0/sku",
            ),
            (r#"{"lines":[{"sku":"a"}]}"#, "/lines/0/quantity"),
            (
                r#"{"lines":[{"sku":"a","quantity":1,"a/b":2}]}"#,
                "/lines/0/a~1b",
            ),
            (r#"{"lines":{}}"#, "/lines"),
            (r"{}", "/lines"),
            (r"[]", ""),
            (r"[[]]", ""),
            ("7", ""),
            (
                r#"{"lines":[],"total":{"amount":1,"currency":"eur"}}"#,
                "/total/currency",
            ),
        ] {
            assert_eq!(problem(body), (422, pointer.to_owned()), "{body}");
        }
    }

    #[test]
    fn fields_and_variants_are_taken_by_their_names_alone() {
        for (body, pointer) in [
            (r#"{"lines":[["a",1]]}"#, "/lines/0"),
            (r#"{"lines":[],"total":[100,"EUR"]}"#, "/total"),
            (r#"{"lines":[],"speed":{"slow":null}}"#, "/speed"),
            (r#"{"lines":[],"speed":"fast"}"#, "/speed"),
            (r#"{"lines":[],"lines":[]}"#, ""),
        ] {
            assert_eq!(problem(body), (422, pointer.to_owned()), "{body}");
        }
        let good = r#" {"lines":[{"sku":"a","quantity":1}],"total":{"amount":1,"currency":"EUR"},
            "speed":"slow","note":{"any":[1,null,{"speed":[]}]}} "#;
        let order: Order = parse(good.as_bytes()).unwrap();
        assert!(matches!(order.speed, Some(Speed::Slow)));
        assert!(order.total.is_some() && order.note.is_some());
        let none: Order = parse(br#"{"lines":[],"total":null,"speed":null}"#).unwrap();
        assert!(none.total.is_none() && none.speed.is_none());
    }
}
