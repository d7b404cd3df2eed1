//! Signed events to the shop, as Stripe sends them (<https://docs.stripe.com/webhooks>).
//!
//! Events of one intent leave in their order through one of a few lanes. One that isn't taken is tried again
//! beside the lane with growing pauses, a bounded number of times; what is unsent at a crash is sent again.

use super::Error;
use super::faults::{Effect, Fault, Faults};
use super::intent::Intent;
use super::ledger::Ledger;
use super::tasks::Tasks;
use chrono::Utc;
use ring::hmac;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

/// Lanes, and so first attempts at once.
const LANES: usize = 8;
/// Events that wait in a lane; behind them they wait for the next start.
const LANE_LENGTH: usize = 10_000;
/// How long the shop may take to answer one attempt.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// Attempts in all: with the pauses between them about six minutes.
const MAX_ATTEMPTS: u32 = 14;
/// The pause after the first attempt; it doubles each time.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_mins(1);
/// The API version in every event.
const API_VERSION: &str = "2025-09-30.clover";
/// A secret that nobody shares, for forged copies.
const FORGER: &str = "whsec_of_a_forger";

/// Where events go and with what they are signed. Not `Debug`: it holds a secret.
#[derive(Clone)]
pub struct Webhook {
    /// The shop's endpoint, `http://…`: shop and simulator share a machine.
    pub url: String,
    /// The signing secret, `whsec_…`.
    pub secret: String,
}

/// What an event tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::Display)]
pub(super) enum EventKind {
    #[strum(serialize = "payment_intent.amount_capturable_updated")]
    AmountCapturableUpdated,
    #[strum(serialize = "payment_intent.succeeded")]
    Succeeded,
    #[strum(serialize = "payment_intent.payment_failed")]
    PaymentFailed,
    #[strum(serialize = "payment_intent.canceled")]
    Canceled,
    #[strum(serialize = "payment_intent.requires_action")]
    RequiresAction,
    #[strum(serialize = "charge.refunded")]
    ChargeRefunded,
}

/// An event as it is sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Event {
    pub(super) id: String,
    intent: String,
    /// The intent's metadata, by which faults choose.
    metadata: BTreeMap<String, String>,
    /// The exact bytes that are signed.
    body: String,
}

impl Event {
    /// An event about an intent, carrying `object`.
    pub(super) fn new(
        id: String,
        kind: EventKind,
        intent: &Intent,
        object: &Value,
        now: i64,
    ) -> Self {
        let body = json!({
            "id": id,
            "object": "event",
            "api_version": API_VERSION,
            "created": now,
            "data": { "object": object },
            "livemode": false,
            "pending_webhooks": 1,
            "type": kind.to_string(),
        });
        Self {
            id,
            intent: intent.id.clone(),
            metadata: intent.metadata.clone(),
            body: body.to_string(),
        }
    }
}

/// The way out for events.
#[derive(Debug, Clone)]
pub(super) struct Sender {
    lanes: Arc<[mpsc::Sender<Event>]>,
}

impl Sender {
    /// Starts the lanes and sends what an earlier process left unsent.
    ///
    /// # Errors
    /// When the URL isn't `http://…`.
    pub(super) fn start(
        webhook: &Webhook,
        faults: &Arc<Faults>,
        ledger: &Arc<Ledger>,
        tasks: &Tasks,
    ) -> Result<Self, Error> {
        let delivery = Delivery {
            client: client()?,
            url: http_url(&webhook.url)?,
            key: key(&webhook.secret),
            forger: key(FORGER),
            ledger: Arc::clone(ledger),
            tasks: tasks.clone(),
        };
        let lane = |_| {
            let (sender, events) = mpsc::channel(LANE_LENGTH);
            let lane = Lane {
                delivery: delivery.clone(),
                faults: Arc::clone(faults),
                held: BTreeMap::new(),
            };
            tasks.spawn(lane.run(events));
            sender
        };
        let sender = Self {
            lanes: (0..LANES).map(lane).collect(),
        };
        let unsent: Vec<Event> = ledger.peek(|books| books.pending.values().cloned().collect());
        for event in unsent {
            sender.send(event);
        }
        Ok(sender)
    }

    /// Puts an event, whose change is on the disk, into its lane.
    pub(super) fn send(&self, event: Event) {
        let hash = BuildHasherDefault::<DefaultHasher>::default().hash_one(&event.intent);
        let lane = usize::try_from(hash % LANES as u64)
            .ok()
            .and_then(|lane| self.lanes.get(lane));
        if let Some(Err(full)) = lane.map(|lane| lane.try_send(event)) {
            tracing::warn!(%full, "an event waits for the next start of the simulator");
        }
    }
}

/// The TLS side has no roots and is never used: only `http://` is taken.
fn client() -> Result<reqwest::Client, Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::Webhook(error.to_string()))?
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .timeout(ANSWER_WITHIN)
        .build()
        .map_err(|error| Error::Webhook(error.to_string()))
}

fn http_url(text: &str) -> Result<url::Url, Error> {
    let url = url::Url::parse(text).map_err(|error| Error::Webhook(error.to_string()))?;
    if url.scheme() == "http" {
        return Ok(url);
    }
    Err(Error::Webhook(format!(
        "{text} does not begin with http://"
    )))
}

fn key(secret: &str) -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes())
}

/// One lane: events in their order, but for what a fault orders.
struct Lane {
    delivery: Delivery,
    faults: Arc<Faults>,
    /// Per intent, an event that waits to be overtaken.
    held: BTreeMap<String, tokio::sync::oneshot::Sender<()>>,
}

impl Lane {
    async fn run(mut self, mut events: mpsc::Receiver<Event>) {
        while let Some(event) = events.recv().await {
            let overtaken = self.held.remove(&event.intent);
            let fault = self.faults.strike_event(&event.metadata);
            self.pass(event, fault).await;
            if let Some(held) = overtaken {
                // Its longest wait may have ended just now: then it has already gone.
                let _ = held.send(());
            }
        }
    }

    async fn pass(&mut self, event: Event, fault: Option<Fault>) {
        let delivery = self.delivery.clone();
        let Some(fault) = fault else {
            return delivery.deliver(event).await;
        };
        match fault.effect {
            Effect::Drop => delivery.finish(&event),
            Effect::Duplicate => {
                delivery.attempt(&event, &delivery.key).await;
                delivery.deliver(event).await;
            }
            Effect::Forged => {
                delivery.attempt(&event, &delivery.forger).await;
                delivery.deliver(event).await;
            }
            Effect::OutOfOrder => {
                let (overtaken, wait) = tokio::sync::oneshot::channel();
                self.held.insert(event.intent.clone(), overtaken);
                self.delivery.tasks.spawn(async move {
                    // Overtaken, waited long enough, or the lane is gone: it leaves in any case.
                    let _ = tokio::time::timeout(fault.delay(), wait).await;
                    delivery.deliver(event).await;
                });
            }
            Effect::Delay => {
                self.delivery.tasks.spawn(async move {
                    tokio::time::sleep(fault.delay()).await;
                    delivery.deliver(event).await;
                });
            }
            Effect::Timeout
            | Effect::Error400
            | Effect::Error401
            | Effect::Error500
            | Effect::Error429
            | Effect::Reset
            | Effect::ForgetKey => {
                delivery.deliver(event).await;
            }
        }
    }
}

#[derive(Clone)]
struct Delivery {
    client: reqwest::Client,
    url: url::Url,
    key: hmac::Key,
    forger: hmac::Key,
    ledger: Arc<Ledger>,
    tasks: Tasks,
}

impl Delivery {
    /// Tries once; what isn't taken is tried again beside the lane.
    async fn deliver(self, event: Event) {
        if self.attempt(&event, &self.key).await {
            self.finish(&event);
        } else {
            let tasks = self.tasks.clone();
            tasks.spawn(self.persist(event));
        }
    }

    async fn persist(self, event: Event) {
        let mut pause = FIRST_PAUSE;
        for _ in 1..MAX_ATTEMPTS {
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
            if self.attempt(&event, &self.key).await {
                return self.finish(&event);
            }
        }
        tracing::warn!(event = %event.id, "an event was given up");
        self.finish(&event);
    }

    async fn attempt(&self, event: &Event, key: &hmac::Key) -> bool {
        let sent = self
            .client
            .post(self.url.clone())
            .header("content-type", "application/json; charset=utf-8")
            .header("stripe-signature", signature(key, &event.body))
            .body(event.body.clone())
            .send()
            .await;
        match sent {
            Ok(answer) => answer.status().is_success(),
            Err(error) => {
                tracing::debug!(%error, event = %event.id, "an event was not taken");
                false
            }
        }
    }

    fn finish(&self, event: &Event) {
        if let Err(error) = self.ledger.sent(&event.id, Utc::now().timestamp()) {
            tracing::error!(%error, event = %event.id, "an event will be sent again at the next start");
        }
    }
}

/// `t=<seconds>,v1=<HMAC-SHA-256 of "<seconds>.<body>">`, made afresh for every attempt.
fn signature(key: &hmac::Key, body: &str) -> String {
    let seconds = Utc::now().timestamp();
    let tag = hmac::sign(key, format!("{seconds}.{body}").as_bytes());
    format!("t={seconds},v1={}", super::hex(tag.as_ref()))
}
