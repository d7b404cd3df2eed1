//! What happens now, as server-sent events: one order for who bought it, everything for operators.
//!
//! Each event's `id:` is its position. Who comes back with it as `Last-Event-ID` goes on right behind
//! it: nothing is left out and nothing comes twice. A stream that the server ends says why in an event
//! `end`, and may be opened again at once.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::extract::{FromRequestParts, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use edge::openapi::{Call, Calls, Part, about};
use edge::{Held, Id, Problem};
use futures::stream;
use kernel::{AggregateId, OrderId, UserId};
use projections::{Replay, ViewSpec};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde_json::json;
use streams::feed::{FeedEnd, Follower, Poke};
use streams::{LoadError, Moment, RecordedEvent, Walk, subject};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use crate::asked::{NoParams, Params};
use crate::caller::Caller;
use crate::failure::{internal, nothing, of_feed, of_load, parameter};
use crate::resource::Resource;
use crate::resources::ORDERS;
use crate::{Api, history, past};

/// Why a stream ends whose token has expired, or whose owner was suspended or lost a role.
const WITHDRAWN: &str = "token_invalid";

/// How long a client that lost its stream should wait, in milliseconds.
const RETRY: Duration = Duration::from_millis(500);

pub(crate) fn calls() -> Calls<Api> {
    Calls::default()
        .get(
            "/v1/orders/{id}/live",
            about("Follow an order")
                .more("Each event with the order as it is after it. For who bought and for operators.")
                .with(|call| {
                    let schema = call.asked::<OrderId>();
                    call.path_is(0, &schema);
                })
                .with(live),
            order,
        )
        .get(
            "/v1/events",
            about("Follow a context")
                .more("Everything that happens in it. For operators.")
                .refuses([Problem::forbidden("")])
                .with(live),
            everything,
        )
}

/// How a live stream answers, or doesn't begin.
fn live(call: &mut Call<'_>) {
    let events = "Server-sent events: the `id` of each is its position, its `event` the type. A stream \
                  that the server ends says why in an event `end`.";
    call.answer_with_events(StatusCode::OK, events);
    call.problem(Problem::unavailable("unavailable", ""));
}

/// The position behind which a client wants to go on.
struct LastEventId(Option<String>);

impl FromRequestParts<Api> for LastEventId {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &Api) -> Result<Self, Self::Rejection> {
        let Some(value) = parts.headers.get("last-event-id") else {
            return Ok(Self(None));
        };
        let text = value.to_str().map(str::to_owned);
        let text = text.map_err(|_| Problem::malformed("the header Last-Event-ID is not ASCII"))?;
        Ok(Self(Some(text).filter(|text| !text.is_empty())))
    }
}

impl Part for LastEventId {
    fn describe(call: &mut Call<'_>) {
        let description = "The `id` of the last event that you know: it goes on right behind that.";
        let schema = json!({ "type": "string", "pattern": "^(([A-Z]{1,32}:)?[0-9]{1,20})?$" });
        call.header("Last-Event-ID", false, description, &schema);
        call.problem(Problem::malformed(""));
    }
}

/// Behind what a stream is to begin.
#[derive(Debug, PartialEq, Eq)]
struct Behind {
    /// What says so.
    name: &'static str,
    text: String,
}

impl Behind {
    /// The header, or else the parameter; an empty one says nothing.
    fn said(last: LastEventId, after: Option<String>) -> Option<Self> {
        let named = |name| move |text| Self { name, text };
        let after = after.filter(|text| !text.is_empty()).map(named("after"));
        last.0.map(named("Last-Event-ID")).or(after)
    }
}

/// The event behind which `view`'s stream is to begin, if that is said.
async fn behind(api: &Api, view: &ViewSpec, said: Option<Behind>) -> Result<Option<u64>, Problem> {
    match said {
        Some(Behind { name, text }) => past::position(api, view, name, &text).await.map(Some),
        None => Ok(None),
    }
}

/// Where the events of a stream to a client come from.
trait Source: Send + 'static {
    /// The next one, whenever it comes; or why there is none any more.
    fn next(&mut self) -> impl Future<Output = Result<Event, &'static str>> + Send;
}

async fn order(
    State(api): State<Api>,
    held: Held,
    Id(id): Id<String>,
    last: LastEventId,
    _: Params<NoParams>,
) -> Result<Response, Problem> {
    let resource = &ORDERS;
    let caller = Caller(Some(held.principal.clone()));
    let id = resource.may_ask(&caller, &id)?;
    let slot = api.live.slot(held)?;
    let last = behind(&api, resource.view, Behind::said(last, None)).await?;
    let kind = resource.view.kind;
    // First listen, then look: what happens in between is heard of.
    let subject = subject::subject(kind.context, kind.kind, &id);
    let poke = api.live.feeds.poke(&resource.view.stream(), &subject).await;
    let poke = poke.map_err(|error| of_feed(&error))?;
    let now = Moment::Position(u64::MAX);
    let was = resource.was(&api, &caller, &id, now).await?;
    let there = was.ok_or_else(|| nothing(resource.what))?.position.sequence;
    let walk = api.streams.walk(kind, &id, None).await;
    let one = One {
        walk: walk.map_err(|error| of_load(&error))?,
        api: api.clone(),
        resource,
        id,
        poke,
        replay: resource.view.replay(),
        read: 0,
        // Who comes for the first time is told how it stands.
        told: last.unwrap_or(there.saturating_sub(1)),
    };
    Ok(serve(&api, slot, one))
}

/// One aggregate: each event with the resource as it is after it.
struct One {
    api: Api,
    resource: &'static Resource,
    id: AggregateId,
    poke: Poke,
    walk: Walk,
    replay: Replay,
    /// The last event that was folded.
    read: u64,
    /// The last event that the client knows.
    told: u64,
}

impl Source for One {
    async fn next(&mut self) -> Result<Event, &'static str> {
        loop {
            if let Some(event) = self
                .walk
                .next()
                .await
                .map_err(|error| end_of_load(&error))?
            {
                self.replay.take(&event).map_err(broken)?;
                self.read = event.position.sequence;
                if self.read > self.told {
                    return self.show(&event).await;
                }
                continue;
            }
            self.poke.changed().await;
            let walk = self
                .api
                .streams
                .walk(self.resource.view.kind, &self.id, None);
            self.walk = walk
                .await
                .map_err(|error| end_of_load(&error))?
                .behind(self.read);
        }
    }
}

impl One {
    async fn show(&self, event: &RecordedEvent) -> Result<Event, &'static str> {
        let row = self.replay.row().map_err(broken)?.ok_or("internal_error")?;
        let body = self.resource.open_one(&self.api, row.payload).await;
        let body = body.map_err(|_problem| "unavailable")?;
        Ok(sent(event, body))
    }
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct FeedParams {
    /// Which context.
    #[schemars(schema_with = "contexts_schema")]
    context: String,
    /// The position behind which to begin, where no Last-Event-ID says so; none = with what comes.
    #[schemars(regex(pattern = "^(([A-Z]{1,32}:)?[0-9]{1,20})?$"))]
    after: Option<String>,
}

fn contexts_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "enum": projections::contexts() })
}

async fn everything(
    State(api): State<Api>,
    held: Held,
    last: LastEventId,
    Params(params): Params<FeedParams>,
) -> Result<Response, Problem> {
    held.principal.require_operator()?;
    let views = projections::views_of(&params.context);
    let view = views.first().ok_or_else(|| {
        let known = projections::contexts().join(", ");
        parameter(format!("context must be one of: {known}"))
    })?;
    let slot = api.live.slot(held)?;
    let after = behind(&api, view, Behind::said(last, params.after)).await?;
    let follower = api.live.feeds.follow(&view.stream(), after).await;
    let follower = follower.map_err(|error| of_feed(&error))?;
    Ok(serve(&api, slot, follower))
}

impl Source for Follower {
    async fn next(&mut self) -> Result<Event, &'static str> {
        let event = Self::next(self).await.map_err(|error| match error {
            FeedEnd::TooSlow => "too_slow",
            FeedEnd::LogChanged => "log_changed",
            FeedEnd::Unavailable(_) => "unavailable",
        })?;
        let entry = history::entry(&event).map_err(broken)?;
        Ok(sent(&event, serde_json::to_string(&entry).map_err(broken)?))
    }
}

fn sent(event: &RecordedEvent, body: String) -> Event {
    Event::default()
        .id(event.position.to_string())
        .event(&event.event_type)
        .data(body)
}

fn end_of_load(error: &LoadError) -> &'static str {
    // The log has the particulars.
    let _problem = of_load(error);
    "unavailable"
}

fn broken(error: impl std::error::Error + 'static) -> &'static str {
    // As above.
    let _problem = internal(&error);
    "internal_error"
}

/// Sends what comes, until there is no more, the time is over, the token counts no longer, or the role ends.
fn serve(api: &Api, slot: Slot, source: impl Source) -> Response {
    let live = api.live.clone();
    let until = Instant::now() + live.time_max;
    let heartbeat = live.heartbeat;
    let begin = stream::iter([Ok::<_, Infallible>(Event::default().retry(RETRY))]);
    let events = stream::unfold(Some((source, slot)), move |state| {
        let closing = live.closing.clone();
        async move {
            let (mut source, slot) = state?;
            let next = tokio::select! {
                biased;
                () = closing.cancelled() => Err("shutdown"),
                () = tokio::time::sleep_until(until) => Err("time_is_up"),
                () = slot.is_withdrawn(heartbeat) => Err(WITHDRAWN),
                next = source.next() => next,
            };
            // What has happened since it was looked at is nobody's to see who may see no more.
            let next = next.and_then(|event| {
                let counts = slot.held.still_counts();
                counts.then_some(event).ok_or(WITHDRAWN)
            });
            Some(match next {
                Ok(event) => (Ok(event), Some((source, slot))),
                Err(code) => (Ok(end(code)), None),
            })
        }
    });
    let stream = futures::StreamExt::chain(begin, events);
    Sse::new(stream)
        .keep_alive(KeepAlive::new().interval(heartbeat))
        .into_response()
}

/// The last event: why there are no more.
fn end(code: &'static str) -> Event {
    metrics::counter!("live_ended_total", "code" => code).increment(1);
    Event::default()
        .event("end")
        .data(format!("{{\"code\":\"{code}\"}}"))
}

/// What all live streams share.
#[derive(Clone)]
pub(crate) struct Live {
    pub(crate) feeds: streams::feed::Feeds,
    slots: Arc<Semaphore>,
    /// How many each customer has open who has any.
    open: Arc<Mutex<HashMap<UserId, usize>>>,
    of_one_max: usize,
    /// The role ends.
    closing: tokio_util::sync::CancellationToken,
    time_max: Duration,
    heartbeat: Duration,
}

impl Live {
    pub(crate) fn new(
        config: &crate::Config,
        connection: &streams::Connection,
        closing: tokio_util::sync::CancellationToken,
    ) -> Self {
        let contexts = projections::contexts().into_iter();
        let streams = contexts.map(subject::stream_name);
        Self {
            feeds: streams::feed::Feeds::new(connection, streams),
            slots: Arc::new(Semaphore::new(config.live_clients_max)),
            open: Arc::default(),
            of_one_max: config.live_clients_of_one_max,
            closing,
            time_max: Duration::from_secs(config.live_time_max_s),
            heartbeat: Duration::from_secs(config.live_heartbeat_s.max(1)),
        }
    }

    fn slot(&self, held: Held) -> Result<Slot, Problem> {
        let who = &held.principal;
        let slot = Arc::clone(&self.slots).try_acquire_owned();
        let of_all = slot.map_err(|_| overloaded("too many live streams are open"))?;
        let of_one = if who.is_operator() {
            None
        } else {
            Some(self.one_more_of(who.user_id)?)
        };
        Ok(Slot {
            held,
            _of_all: of_all,
            _of_one: of_one,
        })
    }

    fn one_more_of(&self, owner: UserId) -> Result<OfOne, Problem> {
        let mut all = lock(&self.open);
        let open = all.entry(owner).or_default();
        if *open >= self.of_one_max {
            return Err(overloaded("you have too many live streams open"));
        }
        *open += 1;
        Ok(OfOne {
            owner,
            open: Arc::clone(&self.open),
        })
    }
}

fn overloaded(detail: &'static str) -> Problem {
    Problem::unavailable("overloaded", detail)
}

fn lock(open: &Mutex<HashMap<UserId, usize>>) -> MutexGuard<'_, HashMap<UserId, usize>> {
    open.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One live stream's place, among all and among its owner's.
struct Slot {
    held: Held,
    _of_all: OwnedSemaphorePermit,
    _of_one: Option<OfOne>,
}

impl Slot {
    /// Waits until its owner's token counts no longer, looking now and then.
    async fn is_withdrawn(&self, look: Duration) {
        loop {
            tokio::time::sleep(look).await;
            if !self.held.still_counts() {
                return;
            }
        }
    }
}

struct OfOne {
    owner: UserId,
    open: Arc<Mutex<HashMap<UserId, usize>>>,
}

impl Drop for OfOne {
    fn drop(&mut self) {
        if let Entry::Occupied(mut open) = lock(&self.open).entry(self.owner) {
            *open.get_mut() -= 1;
            if *open.get() == 0 {
                open.remove();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_begins_behind_what_the_header_says_or_else_the_parameter() {
        let said = |last: Option<&str>, after: Option<&str>| {
            let last = LastEventId(last.map(str::to_owned));
            Behind::said(last, after.map(str::to_owned)).map(|behind| (behind.name, behind.text))
        };
        let header = Some(("Last-Event-ID", "7".to_owned()));
        assert_eq!(said(Some("7"), None), header);
        assert_eq!(said(Some("7"), Some("3")), header);
        assert_eq!(said(None, Some("x")), Some(("after", "x".to_owned())));
        assert_eq!(said(None, Some("")), None);
        assert_eq!(said(None, None), None);
    }
}
