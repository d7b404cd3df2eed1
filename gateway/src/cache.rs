//! Answers that everybody may see, kept as long as HTTP allows (RFC 9111) and the catalogue has not
//! changed, and fetched once however many ask at the same time.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use axum::body::{Body, Bytes};
use axum::http::header::{DATE, ETAG, IF_NONE_MATCH};
use axum::http::request::Parts;
use axum::http::response;
use axum::http::{HeaderName, HeaderValue, Method, Response, StatusCode};
use edge::consistency::{CONSISTENCY_TOKEN, PROJECTION_POSITION};
use edge::{Principal, Problem};
use futures::FutureExt;
use futures::future::{BoxFuture, Shared};
use http_body_util::{BodyExt, Limited};
use http_cache_semantics::{BeforeRequest, CacheOptions, CachePolicy};
use moka::sync::Cache as Kept;
use tokio::sync::Semaphore;

use crate::problems::lost;

/// Largest answer that is kept, in bytes, and that those who ask at once share.
const ANSWER_BYTES_MAX: usize = 2 * 1024 * 1024;

/// Longest time for one fetch. Whoever asks meanwhile shares it, so one replica that hangs would
/// otherwise hold up everybody, for as long as its connection stands.
const FETCH_TIME_MAX: Duration = Duration::from_secs(5);

/// Most fetches at once. They outlive whoever began them, so no bound on requests is one on them.
const FETCHES_MAX: usize = 64;

/// What an entry takes besides its body, roughly, in bytes.
const ENTRY_BYTES: usize = 1024;

/// The only path whose answers everybody may see, and what is below it.
const CATALOGUE: &str = "/v1/products";

/// The stream that changes them.
pub(crate) const STREAM: &str = "PRODUCT";

/// Said of every answer that could have come from here (RFC 9211).
const CACHE: HeaderName = HeaderName::from_static("cache-status");

/// How an answer was come by.
#[derive(Debug, Clone, Copy)]
enum How {
    /// It was kept.
    Hit,
    /// It was fetched for this request.
    Fetched,
    /// It was fetched for another one that had asked just before.
    Shared,
}

impl How {
    fn status(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::Hit => "millrace; hit",
            Self::Fetched => "millrace; fwd=miss",
            Self::Shared => "millrace; fwd=miss; collapsed",
        })
    }

    /// As the metrics call it.
    fn label(self) -> &'static str {
        match self {
            Self::Hit => "hit",
            Self::Fetched => "miss",
            Self::Shared => "shared",
        }
    }
}

/// An answer as it came.
#[derive(Debug)]
pub(crate) struct Answer {
    parts: response::Parts,
    body: Bytes,
    /// How it may be used again, and how new it is; `None` = not at all.
    policy: Option<(CachePolicy, u64)>,
}

/// Why there is none to share.
#[derive(Debug, Clone)]
pub(crate) enum Missing {
    /// The service is not there.
    Failed(Problem),
    /// It is too large: each has to fetch it alone.
    TooLarge,
    /// Too much is fetched already: each has to fetch it alone.
    TooMany,
}

/// A fetch that others may join until it ends, however it ends.
struct Running {
    cache: Arc<Cache>,
    key: String,
}

impl Drop for Running {
    fn drop(&mut self) {
        let fetching = &self.cache.fetching;
        let mut all = fetching.lock().unwrap_or_else(PoisonError::into_inner);
        all.remove(&self.key);
    }
}

type Fetch = Shared<BoxFuture<'static, Result<Arc<Answer>, Missing>>>;

/// The cache.
pub(crate) struct Cache {
    kept: Kept<String, Arc<Answer>>,
    fetching: Mutex<HashMap<String, Fetch>>,
    /// How new an answer must be: the last position at which the catalogue has changed.
    newest: AtomicU64,
    /// What the subscription says that hears the changes; `None` = there is none.
    heard: RwLock<Option<Arc<AtomicBool>>>,
    fetches: Arc<Semaphore>,
    enabled: bool,
}

impl Cache {
    pub(crate) fn new(bytes_max: u64) -> Self {
        let weigh = |path: &String, answer: &Arc<Answer>| {
            let bytes = path.len() + answer.body.len() + ENTRY_BYTES;
            u32::try_from(bytes).unwrap_or(u32::MAX)
        };
        Self {
            kept: Kept::builder()
                .max_capacity(bytes_max)
                .weigher(weigh)
                .build(),
            fetching: Mutex::default(),
            newest: AtomicU64::new(0),
            heard: RwLock::default(),
            fetches: Arc::new(Semaphore::new(FETCHES_MAX)),
            enabled: bytes_max > 0,
        }
    }

    /// The catalogue has changed at `position`: what is older is not used again. It is compared with
    /// the position that each answer tells, so that an answer from before the change that comes in
    /// after it is not taken for a new one.
    pub(crate) fn changed(&self, position: u64) {
        self.newest.store(position, Ordering::Release);
    }

    /// Changes are heard while `current` says so: not while the subscription starts anew, nor until it has
    /// told of all that changed meanwhile.
    pub(crate) fn hears(&self, current: Arc<AtomicBool>) {
        self.set_heard(Some(current));
    }

    /// Changes are not heard: nothing that is kept is used until they are.
    pub(crate) fn unheard(&self) {
        self.set_heard(None);
    }

    fn set_heard(&self, current: Option<Arc<AtomicBool>>) {
        *self.heard.write().unwrap_or_else(PoisonError::into_inner) = current;
    }

    fn is_heard(&self) -> bool {
        let heard = self.heard.read().unwrap_or_else(PoisonError::into_inner);
        let current = heard.as_ref();
        current.is_some_and(|current| current.load(Ordering::Acquire))
    }

    /// Is this a read that everybody is answered alike? Operators see more, a token may be good for other calls
    /// alone, and who asks for a certain freshness is answered for that.
    pub(crate) fn covers(&self, parts: &Parts, user: Option<&Principal>) -> bool {
        let path = parts.uri.path();
        let below = path.strip_prefix(CATALOGUE);
        let catalogue = below.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        let own = [
            CONSISTENCY_TOKEN,
            HeaderName::from_static(edge::prefer::PREFER),
        ];
        let plain = !own.iter().any(|name| parts.headers.contains_key(name));
        let other = |user: &Principal| user.is_operator() || user.must_be_good_for(parts).is_err();
        let alike = plain && !user.is_some_and(other);
        self.enabled && parts.method == Method::GET && catalogue && alike
    }

    /// The kept answer to this request, if it may still be used.
    pub(crate) fn kept(&self, key: &str, parts: &Parts) -> Option<Response<Body>> {
        let answer = self.kept.get(key).filter(|_| self.is_heard())?;
        let (policy, position) = answer.policy.as_ref()?;
        let newest = self.newest.load(Ordering::Acquire);
        let mut fresh = match policy.before_request(parts, SystemTime::now()) {
            BeforeRequest::Fresh(fresh) if *position >= newest => fresh,
            BeforeRequest::Fresh(_) | BeforeRequest::Stale { .. } => return None,
        };
        // The policy says now, and not as HTTP writes dates (RFC 9110 §5.6.7). The answer is as old as
        // its Age says; where it had no date the server gives it one.
        match answer.parts.headers.get(DATE) {
            Some(date) => fresh.headers.insert(DATE, date.clone()),
            None => fresh.headers.remove(DATE),
        };
        Some(answer.to(parts, fresh.headers, How::Hit))
    }

    /// The answer to this request, fetched by `fetch` unless somebody is fetching it right now.
    ///
    /// A fetch goes on when whoever began it goes away, for others wait for it.
    pub(crate) async fn fetched(
        self: &Arc<Self>,
        key: String,
        fetch: BoxFuture<'static, Result<Response<Body>, Problem>>,
    ) -> Result<(Arc<Answer>, bool), Missing> {
        let (fetching, first) = {
            let mut all = self.fetching.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(running) = all.get(&key) {
                (running.clone(), false)
            } else {
                let place = Arc::clone(&self.fetches).try_acquire_owned();
                let place = place.map_err(|_| Missing::TooMany)?;
                let running = Running {
                    cache: Arc::clone(self),
                    key: key.clone(),
                };
                let task = tokio::spawn(async move {
                    let _place = place;
                    let outcome = running.cache.fetch(&running.key, fetch);
                    let outcome = tokio::time::timeout(FETCH_TIME_MAX, outcome).await;
                    outcome.unwrap_or_else(|_elapsed| Err(Missing::Failed(lost("query-api"))))
                });
                let ended = task.map(|ended| {
                    ended.unwrap_or_else(|_panicked| Err(Missing::Failed(Problem::internal())))
                });
                let fetching = ended.boxed().shared();
                all.insert(key, fetching.clone());
                (fetching, true)
            }
        };
        fetching.await.map(|answer| (answer, first))
    }

    async fn fetch(
        &self,
        key: &str,
        fetch: BoxFuture<'static, Result<Response<Body>, Problem>>,
    ) -> Result<Arc<Answer>, Missing> {
        let (parts, body) = fetch.await.map_err(Missing::Failed)?.into_parts();
        let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await;
        let body = body.map_err(|error| {
            if error.is::<http_body_util::LengthLimitError>() {
                Missing::TooLarge
            } else {
                Missing::Failed(lost("query-api"))
            }
        })?;
        let policy = policy(key, &parts);
        let answer = Arc::new(Answer {
            parts,
            body: body.to_bytes(),
            policy,
        });
        if answer.policy.is_some() {
            self.kept.insert(key.to_owned(), Arc::clone(&answer));
        }
        Ok(answer)
    }
}

/// How the answer may be used again. One that doesn't say how new it is can't be kept, for no change
/// would be known to be later.
fn policy(key: &str, parts: &response::Parts) -> Option<(CachePolicy, u64)> {
    let position = parts.headers.get(PROJECTION_POSITION)?.to_str().ok()?;
    let (stream, sequence) = position.split_once(':')?;
    let sequence = sequence.parse().ok().filter(|_| stream == STREAM)?;
    let request = axum::http::Request::get(key).body(()).ok()?;
    let answer = Response::from_parts(parts.clone(), ());
    let options = CacheOptions::default();
    let policy = CachePolicy::new_options(&request, &answer, SystemTime::now(), options);
    let usable = policy.is_storable() && !policy.time_to_live(SystemTime::now()).is_zero();
    usable.then_some((policy, sequence))
}

impl Answer {
    pub(crate) fn status(&self) -> StatusCode {
        self.parts.status
    }

    /// This answer for one who shares the fetch, or began it.
    pub(crate) fn shared(&self, parts: &Parts, first: bool) -> Response<Body> {
        let how = if first { How::Fetched } else { How::Shared };
        self.to(parts, self.parts.headers.clone(), how)
    }

    /// 304 when the client has it already.
    fn to(&self, parts: &Parts, headers: axum::http::HeaderMap, how: How) -> Response<Body> {
        let known = self.parts.status == StatusCode::OK && self.is_known(parts);
        let mut response = Response::new(Body::empty());
        *response.headers_mut() = headers;
        if known {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            response
                .headers_mut()
                .remove(axum::http::header::CONTENT_LENGTH);
        } else {
            *response.status_mut() = self.parts.status;
            *response.body_mut() = Body::from(self.body.clone());
        }
        response.headers_mut().insert(CACHE, how.status());
        metrics::counter!("gateway_cache_total", "outcome" => how.label()).increment(1);
        edge::as_it_is(response)
    }

    /// Weak comparison (RFC 9110 §13.1.2).
    fn is_known(&self, parts: &Parts) -> bool {
        let strong = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
        let Some(own) = self
            .parts
            .headers
            .get(ETAG)
            .and_then(|tag| tag.to_str().ok())
        else {
            return false;
        };
        let own = strong(own);
        let asked = parts.headers.get_all(IF_NONE_MATCH).iter();
        let mut asked = asked
            .filter_map(|value| value.to_str().ok())
            .flat_map(|text| text.split(','));
        asked.any(|tag| tag.trim() == "*" || strong(tag) == own)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;
    use std::time::Duration;

    use axum::http::Request;

    use super::*;

    const KEY: &str = "/v1/products/MUG";

    fn asked(headers: &[(&str, &str)]) -> Parts {
        let mut request = Request::get(KEY);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    fn answer(position: u64, cache_control: &str) -> Response<Body> {
        Response::builder()
            .header(ETAG, "\"3\"")
            .header(PROJECTION_POSITION, format!("PRODUCT:{position}"))
            .header("cache-control", cache_control)
            .body(Body::from("{}"))
            .unwrap()
    }

    const SHARED: &str = "public, max-age=0, s-maxage=10";

    fn somebody(roles: &[&str]) -> Principal {
        Principal {
            user_id: "0198b0a2-7c3d-7e4f-8a5b-6c7d8e9fa0b1".parse().unwrap(),
            roles: roles.iter().map(|role| (*role).to_owned()).collect(),
            scopes: None,
        }
    }

    async fn fetch(cache: &Arc<Cache>, answer: Response<Body>) {
        let fetch = async move { Ok(answer) }.boxed();
        cache.fetched(KEY.to_owned(), fetch).await.unwrap();
    }

    fn cache() -> Arc<Cache> {
        let cache = Arc::new(Cache::new(1 << 20));
        cache.changed(10);
        cache.hears(Arc::new(AtomicBool::new(true)));
        cache
    }

    #[tokio::test]
    async fn an_answer_is_kept_until_the_catalogue_changes() {
        let cache = cache();
        fetch(&cache, answer(10, SHARED)).await;
        let hit = cache.kept(KEY, &asked(&[])).unwrap();
        assert_eq!(
            (hit.status(), &hit.headers()[CACHE]),
            (StatusCode::OK, &HeaderValue::from_static("millrace; hit"))
        );
        assert!(hit.headers().contains_key("age"));
        assert!(!hit.headers().contains_key(DATE), "the server adds one");
        let known = cache
            .kept(KEY, &asked(&[("if-none-match", "W/\"3\"")]))
            .unwrap();
        assert_eq!(known.status(), StatusCode::NOT_MODIFIED);
        cache.changed(11);
        assert!(cache.kept(KEY, &asked(&[])).is_none());
        // The view has not seen the change yet: what it says is not for keeping.
        fetch(&cache, answer(10, SHARED)).await;
        assert!(cache.kept(KEY, &asked(&[])).is_none());
        fetch(&cache, answer(11, SHARED)).await;
        assert!(cache.kept(KEY, &asked(&[])).is_some());
        cache.unheard();
        assert!(cache.kept(KEY, &asked(&[])).is_none());
    }

    #[tokio::test]
    async fn nothing_kept_is_used_while_no_change_would_be_heard() {
        let cache = Arc::new(Cache::new(1 << 20));
        cache.changed(10);
        fetch(&cache, answer(10, SHARED)).await;
        assert!(cache.kept(KEY, &asked(&[])).is_none());
        let current = Arc::new(AtomicBool::new(true));
        cache.hears(Arc::clone(&current));
        for heard in [true, false, true] {
            current.store(heard, Ordering::Release);
            assert_eq!(cache.kept(KEY, &asked(&[])).is_some(), heard);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn fetches_that_nobody_waits_for_any_more_are_bounded() {
        let cache = cache();
        let open = Arc::new(AtomicUsize::new(0));
        let mut refused = 0;
        for number in 0..3 * FETCHES_MAX {
            let open = Arc::clone(&open);
            let hangs = async move {
                open.fetch_add(1, Ordering::Relaxed);
                std::future::pending().await
            };
            let fetched = cache.fetched(format!("{KEY}/{number}"), hangs.boxed());
            // It has begun, and whoever asked is gone.
            match tokio::time::timeout(Duration::from_millis(1), fetched).await {
                Ok(Err(Missing::TooMany)) => refused += 1,
                Ok(other) => panic!("{other:?}"),
                Err(_gone) => {}
            }
        }
        assert_eq!(open.load(Ordering::Relaxed), FETCHES_MAX);
        assert_eq!(refused, 2 * FETCHES_MAX);
    }

    #[tokio::test]
    async fn a_kept_answer_has_the_date_that_it_came_with() {
        let (cache, date) = (cache(), "Sun, 06 Nov 1994 08:49:37 GMT");
        let mut dated = answer(10, "public, s-maxage=2000000000");
        dated.headers_mut().insert(DATE, date.parse().unwrap());
        fetch(&cache, dated).await;
        let hit = cache.kept(KEY, &asked(&[])).unwrap();
        assert_eq!(hit.headers()[DATE], date);
    }

    #[tokio::test]
    async fn what_is_private_or_says_no_position_is_not_kept() {
        let cache = cache();
        for (position, control) in [
            ("PRODUCT:10", "private, no-cache"),
            ("ORDER:10", SHARED),
            ("x", SHARED),
        ] {
            let mut answer = answer(10, control);
            answer
                .headers_mut()
                .insert(PROJECTION_POSITION, position.parse().unwrap());
            fetch(&cache, answer).await;
            assert!(
                cache.kept(KEY, &asked(&[])).is_none(),
                "{position} {control}"
            );
        }
        let mut failed = answer(10, SHARED);
        *failed.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        fetch(&cache, failed).await;
        assert!(cache.kept(KEY, &asked(&[])).is_none());
    }

    #[test]
    fn operators_and_who_asks_for_freshness_are_not_covered() {
        let cache = Cache::new(1);
        let (operator, customer) = (somebody(&["operator"]), somebody(&[]));
        assert!(cache.covers(&asked(&[]), None));
        assert!(cache.covers(&asked(&[]), Some(&customer)));
        assert!(!cache.covers(&asked(&[]), Some(&operator)));
        for (scope, covered) in [("products:read", true), ("orders:read", false)] {
            let scopes = Some(vec![scope.to_owned()]);
            let roles = customer.roles.clone();
            let narrow = Principal {
                scopes,
                roles,
                ..customer
            };
            assert_eq!(cache.covers(&asked(&[]), Some(&narrow)), covered, "{scope}");
        }
        for own in [("consistency-token", "PRODUCT:1"), ("prefer", "wait=1")] {
            assert!(!cache.covers(&asked(&[own]), None), "{own:?}");
        }
        let (orders, ()) = Request::get("/v1/productsx").body(()).unwrap().into_parts();
        assert!(!cache.covers(&orders, None));
        assert!(!Cache::new(0).covers(&asked(&[]), None));
    }

    #[tokio::test]
    async fn identical_reads_are_one_also_when_the_first_goes_away() {
        let cache = cache();
        let fetches = Arc::new(AtomicUsize::new(0));
        let one = || {
            let (cache, fetches) = (Arc::clone(&cache), Arc::clone(&fetches));
            async move {
                let fetch = async move {
                    fetches.fetch_add(1, Ordering::Relaxed);
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    Ok(answer(10, "private"))
                };
                cache
                    .fetched(KEY.to_owned(), fetch.boxed())
                    .await
                    .unwrap()
                    .1
            }
        };
        let gone = tokio::time::timeout(Duration::from_millis(5), one()).await;
        assert!(gone.is_err());
        let shared = futures::future::join_all((0..10).map(|_| one())).await;
        assert!(shared.iter().all(|first| !first));
        assert_eq!(fetches.load(Ordering::Relaxed), 1);
        assert!(one().await, "and the next one is a new one");
        assert_eq!(fetches.load(Ordering::Relaxed), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_fetch_that_hangs_or_panics_is_not_shared_for_ever() {
        let cache = cache();
        let hangs = || std::future::pending().boxed();
        let panics = || async { panic!("on purpose") }.boxed();
        let status = |missing| match missing {
            Missing::Failed(problem) => problem.status.as_u16(),
            Missing::TooLarge | Missing::TooMany => 0,
        };
        for (fetch, expected) in [(hangs(), 502), (panics(), 500)] {
            let missing = cache.fetched(KEY.to_owned(), fetch).await.unwrap_err();
            assert_eq!(status(missing), expected);
            let next = async { Ok(answer(10, SHARED)) }.boxed();
            let (_, first) = cache.fetched(KEY.to_owned(), next).await.unwrap();
            assert!(first, "the next one is a new one");
        }
    }
}
