//! `/v1/webhook-endpoints`: other systems are told of events. A customer's endpoint hears of what is
//! theirs, an operator's of everything.

use axum::extract::State;
use axum::http::StatusCode;
use chrono::TimeDelta;
use domains::is_offered;
use edge::openapi::{Calls, about};
use edge::{Body, Id, Ids, Problem};
use kernel::{Reason, UserId, WebhookDeliveryId, WebhookEndpointId, WebhookUrl};
use notification::webhook::EndpointRefusal::{
    NoEventTypes, TooManyEventTypes, WebhookEndpointDiffers, WebhookEndpointDisabled,
    WebhookEndpointUnknown,
};
use notification::webhook::{
    DeliveryCommand, DeliveryRefusal, DisabledBecause, Endpoint, EndpointCommand, EndpointRefusal,
    EventRef, INTERESTS_MAX, Interest, Subscription, WebhookDelivery, WebhookEndpoint, delivery_id,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use streams::{Loaded, clock};
use user::UserRefusal::{UserErased, UserUnknown};
use uuid::Uuid;

use crate::account::must_be_there;
use crate::api::Api;
use crate::call::Call;
use crate::config::ENDPOINTS_MAX;
use crate::error::{self, refusals};
use crate::owned::NoRoom;
use crate::problems::problem;
use crate::write::{Acted, Created, Done, Made, Written};

/// What a test tells of.
const TEST: &str = "webhook.test";

/// How long the old secret signs as well unless somebody says otherwise, in seconds: a day.
const KEEP_PREVIOUS_S: u32 = 86_400;

/// Longest that it may, in seconds: a month.
const KEEP_PREVIOUS_MAX_S: u32 = 2_592_000;

/// What can be wrong with a list of event types.
const WRONG_TYPES: [EndpointRefusal; 2] = [NoEventTypes, TooManyEventTypes { max: INTERESTS_MAX }];

pub(crate) fn calls() -> Calls<Api> {
    let subscription = || {
        json!({
            "url": "https://hooks.example.com/millrace",
            "event_types": ["order.order_placed", "payment.*"], "description": "the books",
        })
    };
    let calls = Calls::default()
        .post(
            "/v1/webhook-endpoints",
            about("Have a server told of events")
                .more("Of yours; an operator's endpoint is told of everybody's. Only of what happens from now on.")
                .refuses(refusals([WebhookEndpointDiffers]))
                .refuses(refusals(WRONG_TYPES))
                .refuses(wrong_subscription())
                .refuses([too_many(ENDPOINTS_MAX)])
                .refuses(refusals([UserUnknown, UserErased]))
                .example(subscription()),
            register,
        )
        .post(
            "/v1/webhook-endpoints/{id}/details",
            about("Set where an endpoint listens, and to what")
                .refuses(refusals(WRONG_TYPES))
                .refuses(wrong_subscription())
                .refuses(refusals([WebhookEndpointUnknown]))
                .example(subscription()),
            change,
        )
        .post(
            "/v1/webhook-endpoints/{id}/rotate-secret",
            about("Give an endpoint another signing secret")
                .more("The old one signs as well for a day, or for as long as is said.")
                .refuses(refusals([WebhookEndpointUnknown]))
                .example(json!({ "keep_previous_s": 3600 })),
            rotate,
        );
    switching(calls)
}

/// The calls that switch an endpoint on and off, and have it told something.
fn switching(calls: Calls<Api>) -> Calls<Api> {
    let known = || refusals([WebhookEndpointUnknown]);
    calls
        .post(
            "/v1/webhook-endpoints/{id}/disable",
            about("Tell an endpoint nothing for now")
                .more("What happens meanwhile it is never told; what is due meanwhile is given up.")
                .refuses(known())
                .example(json!({ "reason": "moving house" })),
            disable,
        )
        .post(
            "/v1/webhook-endpoints/{id}/enable",
            about("Tell an endpoint again of what happens")
                .refuses(known())
                .example(json!({})),
            enable,
        )
        .post(
            "/v1/webhook-endpoints/{id}/remove",
            about("Tell an endpoint nothing any more")
                .refuses(known())
                .example(json!({})),
            remove,
        )
        .post(
            "/v1/webhook-endpoints/{id}/test",
            about("Send an endpoint an event in which nothing has happened")
                .more("Its type is webhook.test. The answer names the delivery that it is.")
                .refuses(known())
                .refuses(refusals([WebhookEndpointDisabled]))
                .example(json!({})),
            test,
        )
        .post(
            "/v1/webhook-endpoints/{id}/deliveries/{delivery_id}/redeliver",
            about("Tell an endpoint of an event once more")
                .more("At once and under the same webhook-id, whatever became of it.")
                .refuses(known())
                .refuses(refusals([WebhookEndpointDisabled]))
                .refuses(refusals([DeliveryRefusal::WebhookDeliveryUnknown]))
                .example(json!({})),
            redeliver,
        )
}

/// Where a server listens, and of what it wants to hear.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "WebhookEndpointDetails")]
struct Details {
    /// Where it listens: https, at a public address.
    url: WebhookUrl,
    /// Types of events: one (`order.order_placed`), all of a kind (`order.*`) or every one (`*`).
    #[schemars(length(min = 1, max = INTERESTS_MAX))]
    event_types: Vec<Interest>,
    /// What it is for.
    #[serde(default)]
    description: Option<Reason>,
}

/// How long both secrets sign.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct RotateSecret {
    /// For how many seconds the old one signs as well; a day if it is left out.
    #[serde(default)]
    #[schemars(range(max = KEEP_PREVIOUS_MAX_S))]
    keep_previous_s: Option<u32>,
}

/// Why it is told nothing.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct DisableEndpoint {
    /// In your words.
    #[serde(default)]
    reason: Option<Reason>,
}

/// Nothing to say.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Nothing {}

impl Details {
    /// As the domain takes it, if its target may be one and there are such events for its owner.
    fn subscription(&self, api: &Api, owner: Option<UserId>) -> Result<Subscription, Problem> {
        if let Err(why) = api.targets.check(self.url.as_str()) {
            return Err(not_allowed(&why.to_string()));
        }
        let mut named = self.event_types.iter().enumerate();
        if let Some((index, unknown)) =
            named.find(|(_, interest)| !is_offered(interest, owner.is_some()))
        {
            return Err(unknown_type(index, unknown.as_str()));
        }
        Ok(Subscription {
            url: self.url.clone(),
            event_types: self.event_types.clone(),
            description: self.description.clone(),
        })
    }
}

/// What can be wrong with it besides what the domain says.
fn wrong_subscription() -> [Problem; 2] {
    [not_allowed(""), unknown_type(0, "")]
}

fn too_many(max: usize) -> Problem {
    let why = format!("you have {max} webhook endpoints, and may have no more");
    problem(StatusCode::CONFLICT, "too_many_webhook_endpoints", why)
}

fn not_allowed(why: &str) -> Problem {
    let status = StatusCode::UNPROCESSABLE_ENTITY;
    problem(status, "webhook_url_not_allowed", why).at("/url", why)
}

fn unknown_type(index: usize, name: &str) -> Problem {
    let status = StatusCode::UNPROCESSABLE_ENTITY;
    let why = format!("you can't be told of events of type {name:?}");
    problem(status, "event_type_unknown", why.clone()).at(format!("/event_types/{index}"), why)
}

async fn register(
    State(api): State<Api>,
    call: Call,
    Body(body): Body<Details>,
) -> Result<Made<Created>, Problem> {
    let key = call.key.as_ref();
    let id = key.map_or_else(Uuid::now_v7, |key| call.derive("webhook endpoint", key));
    let id = WebhookEndpointId(id);
    let principal = &call.principal;
    let user_id = (!principal.is_operator()).then_some(principal.user_id);
    if let Some(user_id) = user_id {
        must_be_there(&api, user_id).await?;
    }
    let command = EndpointCommand::RegisterWebhookEndpoint {
        user_id,
        subscription: body.subscription(&api, user_id)?,
    };
    let max = api.endpoints_max;
    let turn = api.owned.turn(user_id, id, max).await;
    let turn = turn.map_err(|NoRoom| too_many(max))?;
    let written = write(&api, &call, id, command, &body).await?;
    // What was registered before may have been removed since; if not, it is counted already, here or as
    // soon as its event is read.
    if !written.replayed {
        api.owned.add(user_id, id);
    }
    drop(turn);
    let location = format!("/v1/webhook-endpoints/{id}");
    Ok(written.made(location, Created::new(&id)))
}

async fn change(
    State(api): State<Api>,
    call: Call,
    Id(id): Id<WebhookEndpointId>,
    Body(body): Body<Details>,
) -> Result<Done<Acted>, Problem> {
    let owner = theirs(&api, &call, id).await?.state.owner().flatten();
    let command = EndpointCommand::ChangeWebhookEndpoint {
        subscription: body.subscription(&api, owner)?,
    };
    let written = write(&api, &call, id, command, &body).await?;
    Ok(written.acted(&id))
}

async fn rotate(
    State(api): State<Api>,
    call: Call,
    Id(id): Id<WebhookEndpointId>,
    Body(body): Body<RotateSecret>,
) -> Result<Done<Acted>, Problem> {
    let keep_s = body.keep_previous_s.unwrap_or(KEEP_PREVIOUS_S);
    if keep_s > KEEP_PREVIOUS_MAX_S {
        let why = format!("at most {KEEP_PREVIOUS_MAX_S} seconds");
        return Err(Problem::invalid(vec![edge::FieldError::new(
            "/keep_previous_s",
            why,
        )]));
    }
    let previous_until = clock::now() + TimeDelta::seconds(keep_s.into());
    let command = EndpointCommand::RotateWebhookSecret { previous_until };
    act(&api, &call, id, command, &body).await
}

async fn disable(
    State(api): State<Api>,
    call: Call,
    Id(id): Id<WebhookEndpointId>,
    Body(body): Body<DisableEndpoint>,
) -> Result<Done<Acted>, Problem> {
    let command = EndpointCommand::DisableWebhookEndpoint {
        because: DisabledBecause::Asked,
        reason: body.reason.clone(),
    };
    act(&api, &call, id, command, &body).await
}

async fn enable(
    State(api): State<Api>,
    call: Call,
    Id(id): Id<WebhookEndpointId>,
    Body(body): Body<Nothing>,
) -> Result<Done<Acted>, Problem> {
    let command = EndpointCommand::EnableWebhookEndpoint {};
    act(&api, &call, id, command, &body).await
}

async fn remove(
    State(api): State<Api>,
    call: Call,
    Id(id): Id<WebhookEndpointId>,
    Body(body): Body<Nothing>,
) -> Result<Done<Acted>, Problem> {
    let command = EndpointCommand::RemoveWebhookEndpoint {};
    let done = act(&api, &call, id, command, &body).await?;
    api.owned.remove(id);
    Ok(done)
}

async fn test(
    State(api): State<Api>,
    call: Call,
    Id(id): Id<WebhookEndpointId>,
    Body(body): Body<Nothing>,
) -> Result<Made<Created>, Problem> {
    let key = call.key.as_ref();
    let event_id = key.map_or_else(Uuid::now_v7, |key| call.derive("webhook test", key));
    let delivery_id = delivery_id(id, event_id);
    let asked = test_of(&api, &call, id, event_id).await;
    // The condition is about the endpoint; of its delivery there is no version yet.
    let made = call.without_condition();
    let written = deliver(&api, &made, (delivery_id, asked), &body).await?;
    let location = format!("/v1/webhook-endpoints/{id}/deliveries/{delivery_id}");
    Ok(written.made(location, Created::new(&delivery_id)))
}

async fn redeliver(
    State(api): State<Api>,
    call: Call,
    Ids(id, delivery_id): Ids<WebhookEndpointId, WebhookDeliveryId>,
    Body(body): Body<Nothing>,
) -> Result<Done<Acted>, Problem> {
    let asked = redelivery_of(&api, &call, id, delivery_id).await;
    let written = deliver(&api, &call, (delivery_id, asked), &body).await?;
    Ok(written.acted(&delivery_id))
}

/// What a test asks of its delivery, if the endpoint may be told anything.
async fn test_of(
    api: &Api,
    call: &Call,
    id: WebhookEndpointId,
    event_id: Uuid,
) -> Result<DeliveryCommand, Problem> {
    let endpoint = theirs(api, call, id).await?;
    call.if_match.check(endpoint.version)?;
    Ok(DeliveryCommand::RequestWebhookDelivery {
        endpoint_id: id,
        user_id: enabled(&endpoint.state)?.user_id,
        event: EventRef {
            event_type: TEST.to_owned(),
            event_id,
            occurred_at: clock::now(),
            position: None,
        },
    })
}

/// What is asked of a delivery that is to be made once more, if it is one to that endpoint, which may be told.
async fn redelivery_of(
    api: &Api,
    call: &Call,
    id: WebhookEndpointId,
    delivery_id: WebhookDeliveryId,
) -> Result<DeliveryCommand, Problem> {
    enabled(&theirs(api, call, id).await?.state)?;
    let aggregate = delivery_id.into();
    let delivery = api.streams.load_current::<WebhookDelivery>(&aggregate);
    let delivery = delivery.await.map_err(error::of_load)?;
    let to = delivery.state.request().map(|request| request.endpoint_id);
    if to != Some(id) {
        return Err(error::of_refusal(&DeliveryRefusal::WebhookDeliveryUnknown));
    }
    Ok(DeliveryCommand::RedeliverWebhook {})
}

/// Does what was asked of a delivery. What can't be asked any more may have been done before under the same key.
async fn deliver<B: Serialize>(
    api: &Api,
    call: &Call,
    (id, asked): (WebhookDeliveryId, Result<DeliveryCommand, Problem>),
    body: &B,
) -> Result<Written, Problem> {
    let (aggregate, meta) = (id.into(), call.meta(api, body));
    let executed = match asked {
        Ok(command) => {
            api.write::<WebhookDelivery>(call, &aggregate, command, &meta)
                .await
        }
        Err(problem) => {
            api.repeated::<WebhookDelivery>(&aggregate, &meta, problem)
                .await
        }
    };
    Ok(Written::from(&executed?))
}

/// 404 for one that was never there, and for one that isn't theirs.
async fn theirs(
    api: &Api,
    call: &Call,
    id: WebhookEndpointId,
) -> Result<Loaded<WebhookEndpoint>, Problem> {
    let unknown = || error::of_refusal(&WebhookEndpointUnknown);
    let loaded = api
        .streams
        .load_current::<WebhookEndpoint>(&id.into())
        .await;
    let endpoint = loaded.map_err(error::of_load)?;
    let owner = endpoint.state.owner().ok_or_else(unknown)?;
    if owner == Some(call.principal.user_id) || call.principal.is_operator() {
        Ok(endpoint)
    } else {
        Err(unknown())
    }
}

/// 409 while it is told nothing.
fn enabled(endpoint: &WebhookEndpoint) -> Result<&Endpoint, Problem> {
    let known = endpoint.endpoint();
    known.ok_or_else(|| error::of_refusal(&WebhookEndpointUnknown))?;
    let enabled = endpoint.enabled();
    enabled.ok_or_else(|| error::of_refusal(&WebhookEndpointDisabled))
}

async fn act<B: Serialize>(
    api: &Api,
    call: &Call,
    id: WebhookEndpointId,
    command: EndpointCommand,
    body: &B,
) -> Result<Done<Acted>, Problem> {
    theirs(api, call, id).await?;
    Ok(write(api, call, id, command, body).await?.acted(&id))
}

async fn write<B: Serialize>(
    api: &Api,
    call: &Call,
    id: WebhookEndpointId,
    command: EndpointCommand,
    body: &B,
) -> Result<Written, Problem> {
    let meta = call.meta(api, body);
    let executed = api
        .write::<WebhookEndpoint>(call, &id.into(), command, &meta)
        .await?;
    Ok(Written::from(&executed))
}
