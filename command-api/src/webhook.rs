//! `POST /v1/payments/webhook`: what the payment provider tells by itself.
//!
//! Every byte is in stream INBOX before the provider hears 2xx; what it means is found out later,
//! by the reactor. So nothing that is told gets lost, and a slow shop is no reason to send it again.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use axum::Json;
use axum::body::Bytes;
use axum::extract::{FromRequest, Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use edge::Problem;
use edge::openapi::{self, Calls, Part, about};
use kernel::AggregateId;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use streams::clock;
use streams::inbox::{Inbox, InboxError, LetterId, Put};

use crate::api::Api;
use crate::error;
use crate::problems::problem;
use crate::signature::SignatureError::{self, Malformed, Stale, Wrong};
use crate::signature::WebhookSecrets;

/// Largest webhook, in bytes: the provider's are a few thousand, and a message of the stream has a
/// bound as well.
const BODY_BYTES_MAX: usize = 256 * 1024;

/// The header with the provider's signature.
const SIGNATURE: &str = "stripe-signature";

/// What letters of the payment provider are filed under.
const SOURCE: &str = "payment";

/// Where letters go: the seam between the route and stream INBOX.
#[async_trait]
pub trait Letters: Send + Sync + 'static {
    /// Stores a letter, unless it is there.
    ///
    /// # Errors
    /// It is not known to be on disk.
    async fn put(&self, letter: &LetterId, body: Bytes) -> Result<Put, InboxError>;
}

#[async_trait]
impl Letters for Inbox {
    async fn put(&self, letter: &LetterId, body: Bytes) -> Result<Put, InboxError> {
        Inbox::put(self, letter, body).await
    }
}

/// What the provider's webhooks are checked with, and where they go.
#[derive(Clone)]
pub struct Webhook {
    /// Takes them in.
    pub letters: Arc<dyn Letters>,
    /// What they may be signed with.
    pub secrets: WebhookSecrets,
    /// How old a signature may be.
    pub tolerance: Duration,
}

pub(crate) fn calls() -> Calls<Api> {
    Calls::default().post(
        "/v1/payments/webhook",
        about("Tell what happened to a payment")
            .more("For the payment provider: signed as Stripe signs. 2xx once it is on disk.")
            .refuses([Malformed, Wrong, Stale].map(refused))
            .refuses([Problem::malformed(""), error::part_down()])
            .example(json!({ "id": "evt_1", "data": { "object": { "id": "pi_1" } } })),
        take,
    )
}

/// As much of an event as its letter is named after.
#[derive(Debug, Deserialize)]
struct ProviderEvent {
    id: AggregateId,
    data: EventData,
}

#[derive(Debug, Deserialize)]
struct EventData {
    object: Value,
}

impl ProviderEvent {
    /// The intent that it is about, so that what is told of one is worked in its order; an event
    /// about something else is a matter of its own.
    fn letter(self) -> LetterId {
        let text = |name: &str| self.data.object.get(name).and_then(Value::as_str);
        let intent = match text("object") {
            Some("payment_intent") => text("id"),
            Some(_) | None => text("payment_intent"),
        };
        let key = intent.and_then(|id| id.parse().ok());
        LetterId {
            source: SOURCE.to_owned(),
            key: key.unwrap_or_else(|| self.id.clone()),
            id: self.id,
        }
    }
}

/// A webhook as it came: what is signed are its bytes.
struct Told {
    signature: Option<String>,
    body: Bytes,
}

impl<S: Send + Sync> FromRequest<S> for Told {
    type Rejection = Problem;

    async fn from_request(request: Request, _state: &S) -> Result<Self, Self::Rejection> {
        let (parts, body) = request.into_parts();
        let signature = parts.headers.get(SIGNATURE);
        let signature = signature.and_then(|value| value.to_str().ok());
        Ok(Self {
            signature: signature.map(str::to_owned),
            body: edge::whole(&parts.extensions, body, BODY_BYTES_MAX).await?,
        })
    }
}

impl Part for Told {
    fn describe(call: &mut openapi::Call<'_>) {
        let signature = json!({ "type": "string" });
        let description = "t=<time>,v1=<HMAC-SHA-256 of time and body>, as Stripe writes it.";
        call.header("Stripe-Signature", true, description, &signature);
        let body = "An event of the provider. Its fields are the provider's own.";
        call.body_as("application/json", body, &json!({ "type": "object" }));
        call.problem(Problem::of_status(StatusCode::PAYLOAD_TOO_LARGE));
        call.problem(Problem::body_timeout(Duration::ZERO));
    }
}

/// What was taken in.
#[derive(Serialize, JsonSchema)]
struct Taken {
    /// The provider's id of the event.
    #[schemars(with = "String")]
    id: AggregateId,
    /// It was there already.
    duplicate: bool,
}

impl IntoResponse for Taken {
    fn into_response(self) -> Response {
        Json(self).into_response()
    }
}

impl openapi::Answer for Taken {
    fn describe(call: &mut openapi::Call<'_>) {
        call.answer::<Self>(StatusCode::OK, "It is on disk");
    }
}

async fn take(State(api): State<Api>, Told { signature, body }: Told) -> Result<Taken, Problem> {
    let moment = (clock::now(), api.webhook.tolerance);
    let verified = api
        .webhook
        .secrets
        .verify(signature.as_deref(), &body, moment);
    verified.map_err(|error| {
        let reason = error.reason();
        metrics::counter!("webhooks_refused_total", "reason" => reason).increment(1);
        tracing::warn!(reason, "a webhook of the payment provider was refused");
        refused(error)
    })?;
    let event: ProviderEvent = serde_json::from_slice(&body)
        .map_err(|error| Problem::malformed(format!("the body is no event: {error}")))?;
    let letter = event.letter();
    let put = api.webhook.letters.put(&letter, body).await;
    let put = put.map_err(error::of_inbox)?;
    Ok(Taken {
        id: letter.id,
        duplicate: put == Put::Duplicate,
    })
}

/// Whoever can't sign learns no more than that, and nothing is stored.
fn refused(error: SignatureError) -> Problem {
    let code = match error {
        SignatureError::Malformed | SignatureError::Wrong => "webhook_signature_wrong",
        SignatureError::Stale => "webhook_signature_stale",
    };
    problem(StatusCode::BAD_REQUEST, code, error.to_string())
}
