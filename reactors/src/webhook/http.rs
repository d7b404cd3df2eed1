//! One attempt: a POST with a time limit that follows nobody elsewhere and gets nowhere inside.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use edge::Targets;
use edge::targets::TargetError;
use notification::webhook::Outcome;
use reqwest::StatusCode;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use reqwest::redirect::Policy;
use streams::{BoxError, chain, clock};
use thiserror::Error;

/// As whom it calls.
const USER_AGENT: &str = "Millrace-Webhooks/1";

/// Longest wait for a connection; the time limit of an attempt counts as well.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How much of an answer is read, in bytes; the rest is left unread.
const ANSWER_BYTES_MAX: usize = 1_024;

/// How much of an answer is recorded, in characters.
const EXCERPT_LENGTH_MAX: usize = 200;

/// Most addresses of one name that are looked at.
const ADDRESSES_MAX: usize = 16;

/// Webhooks can't be sent.
#[derive(Debug, Error)]
#[error("the webhooks' HTTP client can't be made")]
pub struct HttpError(#[from] reqwest::Error);

/// What is sent.
pub(super) struct Post<'a> {
    /// The `webhook-id`.
    pub(super) id: &'a str,
    /// The `webhook-timestamp`, in seconds.
    pub(super) timestamp: i64,
    /// The `webhook-signature`.
    pub(super) signature: &'a str,
    /// The body, as it was signed.
    pub(super) body: Vec<u8>,
}

/// What came back.
pub(super) struct Answer {
    /// How the attempt ended.
    pub(super) outcome: Outcome,
    /// How long the endpoint wants to be left alone.
    pub(super) retry_after: Option<Duration>,
}

/// Sends webhooks.
pub(crate) struct Http {
    client: reqwest::Client,
    targets: Targets,
}

impl Http {
    /// To these targets, each within `limit`.
    ///
    /// # Errors
    /// The HTTP client can't be made.
    pub(crate) fn new(targets: &Targets, limit: Duration) -> Result<Self, HttpError> {
        let client = reqwest::Client::builder()
            .user_agent(USER_AGENT)
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(limit)
            .redirect(Policy::none())
            // A proxy would connect to where this process must not.
            .no_proxy()
            .dns_resolver(Arc::new(Guarded(targets.clone())))
            .build()?;
        Ok(Self {
            client,
            targets: targets.clone(),
        })
    }

    /// One attempt. Whatever goes wrong is its outcome.
    pub(super) async fn post(&self, url: &str, post: Post<'_>) -> Answer {
        match self.try_to(url, post).await {
            Ok(answer) => answer,
            Err(error) => Answer {
                outcome: Outcome::Unanswered {
                    error: excerpt(&chain(error.as_ref())),
                },
                retry_after: None,
            },
        }
    }

    async fn try_to(&self, url: &str, post: Post<'_>) -> Result<Answer, BoxError> {
        // An address in the URL is not resolved, so it is looked at here.
        let url = self.targets.check(url)?;
        let sent = self
            .client
            .post(url)
            .headers(headers(&post)?)
            .body(post.body);
        // Its URL stands with the endpoint, and may hold a secret.
        let mut answer = sent.send().await.map_err(reqwest::Error::without_url)?;
        let status = answer.status();
        let retry_after = retry_after(status, answer.headers(), clock::now());
        let excerpt = begins(&mut answer).await;
        let accepted = status.is_success();
        let status = status.as_u16();
        let outcome = if accepted {
            Outcome::Accepted { status, excerpt }
        } else {
            Outcome::Rejected { status, excerpt }
        };
        Ok(Answer {
            outcome,
            retry_after,
        })
    }
}

fn headers(post: &Post<'_>) -> Result<HeaderMap, BoxError> {
    let mut headers = HeaderMap::new();
    let json = HeaderValue::from_static("application/json");
    headers.insert(CONTENT_TYPE, json);
    for (name, value) in [
        ("webhook-id", post.id),
        ("webhook-timestamp", &post.timestamp.to_string()),
        ("webhook-signature", post.signature),
    ] {
        headers.insert(HeaderName::from_static(name), HeaderValue::from_str(value)?);
    }
    Ok(headers)
}

/// What a busy endpoint asks for (RFC 9110 §10.2.3): seconds, or a time.
fn retry_after(status: StatusCode, headers: &HeaderMap, now: DateTime<Utc>) -> Option<Duration> {
    if ![
        StatusCode::TOO_MANY_REQUESTS,
        StatusCode::SERVICE_UNAVAILABLE,
    ]
    .contains(&status)
    {
        return None;
    }
    let asked = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = asked.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let at = DateTime::parse_from_rfc2822(asked).ok()?;
    (at.to_utc() - now).to_std().ok()
}

/// How the answer's body begins. One that breaks off has begun all the same.
async fn begins(answer: &mut reqwest::Response) -> String {
    let mut bytes = Vec::new();
    while bytes.len() < ANSWER_BYTES_MAX
        && let Ok(Some(chunk)) = answer.chunk().await
    {
        bytes.extend_from_slice(&chunk);
    }
    bytes.truncate(ANSWER_BYTES_MAX);
    excerpt(&String::from_utf8_lossy(&bytes))
}

/// The beginning of a text that somebody else wrote, on one line.
fn excerpt(text: &str) -> String {
    let visible = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    let begin: String = visible.take(EXCERPT_LENGTH_MAX).collect();
    begin.trim().to_owned()
}

/// Names lead to public addresses only. What is connected to is what was looked at: a name that
/// changes in between leads nowhere else.
struct Guarded(Targets);

/// A name leads nowhere that may be reached.
#[derive(Debug, Error)]
enum Nowhere {
    #[error("the name leads nowhere")]
    Unknown,
    #[error("the name leads inside")]
    Inside(#[source] TargetError),
}

impl Resolve for Guarded {
    fn resolve(&self, name: Name) -> Resolving {
        let targets = self.0.clone();
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let allowed = reachable(&targets, found)?;
            Ok(Box::new(allowed.into_iter()) as Addrs)
        })
    }
}

/// Those of a name's addresses that may be reached.
fn reachable(
    targets: &Targets,
    found: impl Iterator<Item = SocketAddr>,
) -> Result<Vec<SocketAddr>, Nowhere> {
    let (mut allowed, mut why) = (Vec::new(), Nowhere::Unknown);
    for address in found.take(ADDRESSES_MAX) {
        match targets.may_reach(address.ip()) {
            Ok(()) => allowed.push(address),
            Err(inside) => why = Nowhere::Inside(inside),
        }
    }
    if allowed.is_empty() {
        Err(why)
    } else {
        Ok(allowed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(all: &[&str]) -> Vec<SocketAddr> {
        let all = all.iter().map(|ip| SocketAddr::new(ip.parse().unwrap(), 0));
        all.collect()
    }

    #[test]
    fn of_a_name_only_public_addresses_are_connected_to() {
        let reach = |all: &[&str]| reachable(&Targets::default(), addresses(all).into_iter());
        let both = reach(&["127.0.0.1", "1.1.1.1", "::1"]).unwrap();
        assert_eq!(both, addresses(&["1.1.1.1"]));
        let inside = reach(&["10.0.0.1"]).unwrap_err();
        assert_eq!(
            chain(&inside),
            "the name leads inside: 10.0.0.1 is not public: a private address"
        );
        assert!(matches!(reach(&[]), Err(Nowhere::Unknown)));
    }

    #[test]
    fn a_busy_endpoint_says_when_to_come_back() {
        let now = DateTime::parse_from_rfc3339("2026-01-31T12:00:00Z").unwrap();
        let asked = |status: u16, said: &'static str| {
            let headers = HeaderMap::from_iter([(RETRY_AFTER, HeaderValue::from_static(said))]);
            let status = StatusCode::from_u16(status).unwrap();
            retry_after(status, &headers, now.to_utc())
        };
        let two_minutes = Some(Duration::from_mins(2));
        assert_eq!(asked(429, "120"), two_minutes);
        assert_eq!(asked(503, "Sat, 31 Jan 2026 12:02:00 GMT"), two_minutes);
        for (status, said) in [
            (500, "120"),
            (429, "soon"),
            (429, "-1"),
            (503, "Sat, 31 Jan 2026 11:00:00 GMT"),
        ] {
            assert_eq!(asked(status, said), None, "{status} {said}");
        }
    }

    #[test]
    fn an_excerpt_is_short_and_on_one_line() {
        assert_eq!(excerpt(" a\r\nb\0 "), "a  b");
        assert_eq!(excerpt(&"x".repeat(999)).len(), EXCERPT_LENGTH_MAX);
    }
}
