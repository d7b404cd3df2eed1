//! Versions as entity tags (RFC 9110 §8.8.3, §13.1): `ETag: "<version>"`; `ETag: "<version>-<form>"` of what
//! is shown in another form at the same version.

use axum::extract::FromRequestParts;
use axum::http::header::{ETAG, IF_MATCH, IF_NONE_MATCH};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue};

use crate::Problem;

/// Most tags in one condition.
pub(crate) const TAGS_MAX: usize = 16;

/// `ETag: "<version>"`.
pub fn header(version: u64) -> (HeaderName, HeaderValue) {
    header_in(version, "")
}

/// The same of what is shown in the form `form` (`-public`).
pub fn header_in(version: u64, form: &'static str) -> (HeaderName, HeaderValue) {
    // Digits and a word in quotes are always a header value; the fallback only spares an unwrap.
    let value = HeaderValue::try_from(format!("\"{version}{form}\""));
    (ETAG, value.unwrap_or(HeaderValue::from_static("")))
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Tags {
    Any,
    /// The tag's text, and whether it is weak.
    These(Vec<(String, bool)>),
}

/// `If-Match`: do it only to this version.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct IfMatch(Option<Tags>);

impl IfMatch {
    /// No header: every version will do.
    pub fn is_absent(&self) -> bool {
        self.0.is_none()
    }

    /// The versions that will do; `None` = whichever there is.
    pub fn versions(&self) -> Option<Vec<u64>> {
        match &self.0 {
            None | Some(Tags::Any) => None,
            Some(Tags::These(tags)) => Some(tags.iter().filter_map(version_of).collect()),
        }
    }

    /// Checks the version that there is, 0 = there is nothing.
    ///
    /// # Errors
    /// 412.
    pub fn check(&self, version: u64) -> Result<(), Problem> {
        let holds = match &self.0 {
            None => true,
            Some(Tags::Any) => version > 0,
            Some(Tags::These(tags)) => tags.iter().filter_map(version_of).any(|it| it == version),
        };
        if holds {
            Ok(())
        } else {
            Err(Problem::stale(version))
        }
    }
}

/// `If-None-Match`: answer only if it is another version.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct IfNoneMatch(Option<Tags>);

impl IfNoneMatch {
    /// Whether the client has this version already, in the form `form` ([`header_in`]): answer 304. Weak
    /// comparison.
    pub fn has(&self, version: u64, form: &str) -> bool {
        match &self.0 {
            None => false,
            Some(Tags::Any) => version > 0,
            Some(Tags::These(tags)) => {
                let own = format!("{version}{form}");
                tags.iter().any(|(tag, _)| *tag == own)
            }
        }
    }
}

fn parse(headers: &HeaderMap, name: &HeaderName) -> Result<Option<Tags>, Problem> {
    let mut tags = Vec::new();
    for value in headers.get_all(name) {
        let text = value.to_str().unwrap_or("?").trim();
        if text == "*" {
            return Ok(Some(Tags::Any));
        }
        for part in text.split(',') {
            tags.push(tag(part.trim()).ok_or_else(|| {
                Problem::malformed(format!(
                    "the header {name} must be * or tags in quotes, as in \"3\""
                ))
            })?);
        }
    }
    if tags.len() > TAGS_MAX {
        let detail = format!("the header {name} names more than {TAGS_MAX} tags");
        return Err(Problem::malformed(detail));
    }
    Ok((!tags.is_empty()).then_some(Tags::These(tags)))
}

/// Strong comparison: a weak tag never matches. In whatever form somebody has read it, the version is the one that
/// they mean.
fn version_of((tag, weak): &(String, bool)) -> Option<u64> {
    let read = tag
        .split_once('-')
        .map_or(&**tag, |(version, _form)| version);
    let version: u64 = read.parse().ok()?;
    (!weak && read == version.to_string()).then_some(version)
}

fn tag(part: &str) -> Option<(String, bool)> {
    let (weak, quoted) = part
        .strip_prefix("W/")
        .map_or((false, part), |rest| (true, rest));
    let inner = quoted.strip_prefix('"')?.strip_suffix('"')?;
    (!inner.contains('"')).then(|| (inner.to_owned(), weak))
}

impl<S: Send + Sync> FromRequestParts<S> for IfMatch {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Self::Rejection> {
        parse(&parts.headers, &IF_MATCH).map(Self)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for IfNoneMatch {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Self::Rejection> {
        parse(&parts.headers, &IF_NONE_MATCH).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tags(value: &str) -> Result<Option<Tags>, Problem> {
        let mut headers = HeaderMap::new();
        headers.insert(IF_MATCH, value.parse().unwrap());
        parse(&headers, &IF_MATCH)
    }

    #[test]
    fn only_the_version_named_matches() {
        let condition = IfMatch(tags("\"2\", \"3\"").unwrap());
        assert!(condition.check(3).is_ok());
        assert_eq!(condition.check(4).unwrap_err().status.as_u16(), 412);
        assert!(IfMatch::default().check(0).is_ok());
        assert_eq!(condition.versions(), Some(vec![2, 3]));
        assert_eq!(IfMatch(tags("*").unwrap()).versions(), None);
        for none in ["W/\"3\"", "\"03\"", "\"x\""] {
            let none = IfMatch(tags(none).unwrap());
            assert!(none.check(3).is_err());
            assert_eq!(none.versions(), Some(vec![]));
        }
        assert!(IfMatch(tags("*").unwrap()).check(1).is_ok());
        assert!(IfMatch(tags("*").unwrap()).check(0).is_err());
        assert!(IfNoneMatch(tags("W/\"3\"").unwrap()).has(3, ""));
    }

    #[test]
    fn another_form_is_another_answer_of_the_same_version() {
        let (_, tag) = header_in(3, "-public");
        let public = tags(tag.to_str().unwrap()).unwrap();
        assert!(IfMatch(public.clone()).check(3).is_ok());
        assert!(IfMatch(public.clone()).check(4).is_err());
        let known = IfNoneMatch(public);
        assert!(known.has(3, "-public") && !known.has(3, ""));
        assert!(!IfNoneMatch(tags("\"3\"").unwrap()).has(3, "-public"));
    }

    #[test]
    fn what_is_no_tag_is_malformed() {
        for bad in ["3", "\"3", "\"3\",", "\"a\"b\""] {
            assert_eq!(tags(bad).unwrap_err().status.as_u16(), 400, "{bad}");
        }
    }
}
