//! What every call needs, and the page of all routes.

use std::ops::Deref;
use std::sync::Arc;

use axum::Router;
use axum::extract::{FromRef, Request, State};
use edge::Problem;
use edge::auth::{KeySet, Signer, Verifier, jwks};
use edge::idempotency::canonical_json;
use edge::openapi::{self, Calls, Document};
use edge::{Client, Network, Targets, Trace};
use kernel::{AggregateId, Decider};
use serde::Serialize;
use streams::keys::DigestKey;
use streams::{CommandMeta, RecordedEvent, Streams, clock};
use tokio::sync::Semaphore;

use crate::config::Config;
use crate::elsewhere::{Elsewhere, carry};
use crate::error::of_load;
use crate::importing::IMPORTS_AT_ONCE_MAX;
use crate::outcomes::{Acting, End, Ending, Outcomes};
use crate::owned::Owned;
use crate::password::Passwords;
use crate::personal::Personal;
use crate::problems::PAGES;
use crate::questions::{Cached, Questions};
use crate::sagas::Over;
use crate::throttle::Throttle;
use crate::webhook::Webhook;
use crate::{
    account, checkout, endpoint, importing, inventory, mailbox, notification, order, payment,
    product, session, user, webhook,
};

/// What the API stands on. Made by the composition root (or a test), passed down.
pub struct Deps {
    /// The event store.
    pub streams: Streams,
    /// The keys of people.
    pub personal: Arc<dyn Personal>,
    /// What other contexts know.
    pub questions: Arc<dyn Questions>,
    /// The keys of tokens.
    pub token_keys: KeySet,
    /// What digests are keyed with.
    pub digest_key: DigestKey,
    /// The payment provider's webhooks.
    pub webhook: Webhook,
    /// Who does calls of contexts that are not hosted here.
    pub elsewhere: Arc<dyn Elsewhere>,
    /// Whom to believe for whom they ask (`X-Forwarded-For`).
    pub proxies: Vec<Network>,
    /// Where webhooks may go.
    pub targets: Targets,
    /// How many webhook endpoints a customer may have.
    pub endpoints_max: usize,
    /// How many requests may wait at once for how an order ends.
    pub waits_max: usize,
}

/// The state of every route. Cheap to clone.
#[derive(Clone)]
pub struct Api(Arc<Parts>);

/// What an [`Api`] holds, for the routes of this crate.
pub struct Parts {
    pub(crate) streams: Streams,
    pub(crate) personal: Arc<dyn Personal>,
    pub(crate) questions: Cached,
    pub(crate) signer: Signer,
    pub(crate) verifier: Verifier,
    pub(crate) token_keys: KeySet,
    pub(crate) digest: DigestKey,
    pub(crate) passwords: Passwords,
    pub(crate) throttle: Throttle,
    pub(crate) outcomes: Outcomes<Ending>,
    pub(crate) actions: Outcomes<Acting>,
    pub(crate) sagas: Outcomes<Over>,
    pub(crate) webhook: Webhook,
    pub(crate) elsewhere: Arc<dyn Elsewhere>,
    pub(crate) proxies: Vec<Network>,
    pub(crate) targets: Targets,
    pub(crate) endpoints_max: usize,
    pub(crate) owned: Owned,
    /// One for each import that may run.
    pub(crate) imports: Arc<Semaphore>,
}

impl Api {
    /// Puts the parts together.
    ///
    /// # Errors
    /// The password hashing can't be set up.
    pub fn new(deps: Deps) -> Result<Self, crate::Error> {
        Ok(Self(Arc::new(Parts {
            streams: deps.streams,
            personal: deps.personal,
            questions: Cached::new(deps.questions),
            signer: Signer::new(&deps.token_keys, clock::now),
            verifier: Verifier::new(&deps.token_keys, clock::now),
            token_keys: deps.token_keys,
            digest: deps.digest_key,
            passwords: Passwords::new().map_err(crate::Error::passwords)?,
            throttle: Throttle::new(),
            outcomes: Outcomes::new(deps.waits_max),
            actions: Outcomes::new(deps.waits_max),
            sagas: Outcomes::new(deps.waits_max),
            webhook: deps.webhook,
            elsewhere: deps.elsewhere,
            proxies: deps.proxies,
            targets: deps.targets,
            endpoints_max: deps.endpoints_max,
            owned: Owned::default(),
            imports: Arc::new(Semaphore::new(IMPORTS_AT_ONCE_MAX)),
        })))
    }

    /// The command of a request with `body`: the same key with another body is another request.
    pub(crate) fn digested<T: Serialize>(&self, meta: CommandMeta, body: &T) -> CommandMeta {
        match canonical_json(body) {
            Some(json) => meta.with_request_digest(self.digest.digest(json.as_bytes())),
            None => meta,
        }
    }

    /// An aggregate, for what never changes of it: a cached one will do; one that this process has not
    /// seen yet is asked of the leader.
    ///
    /// # Errors
    /// The log can't be read, as the client is to see it.
    pub(crate) async fn seen<A: Decider>(&self, id: &AggregateId) -> Result<Arc<A>, Problem> {
        let mut loaded = self.streams.load::<A>(id).await;
        if matches!(&loaded, Ok(known) if known.version == 0) {
            loaded = self.streams.load_current::<A>(id).await;
        }
        Ok(loaded.map_err(of_load)?.state)
    }

    /// What checks the tokens of every call: whoever hears that some were withdrawn tells it.
    pub fn verifier(&self) -> &Verifier {
        &self.0.verifier
    }

    /// An event of ORDER or PAYMENT: tells who waits for how an order ends, or must act before.
    pub fn hear(&self, event: &RecordedEvent) {
        match event.position.stream.as_str() {
            Ending::STREAM => self.outcomes.hear(event),
            Acting::STREAM => self.actions.hear(event),
            _ => {}
        }
    }
}

impl Deref for Api {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}

impl FromRef<Api> for Verifier {
    fn from_ref(api: &Api) -> Self {
        api.verifier.clone()
    }
}

impl FromRef<Api> for KeySet {
    fn from_ref(api: &Api) -> Self {
        api.token_keys.clone()
    }
}

/// The calls of each context.
fn calls() -> [(&'static str, Calls<Api>); 6] {
    let user = user::calls()
        .merge(account::calls())
        .merge(mailbox::calls())
        .merge(session::calls());
    [
        ("user", user),
        ("product", product::calls()),
        ("inventory", inventory::calls()),
        ("order", order::calls()),
        ("payment", payment::calls().merge(webhook::calls())),
        (
            "notification",
            notification::calls().merge(endpoint::calls()),
        ),
    ]
}

/// What the API says about itself: the calls of every context, wherever it is hosted.
pub fn document(before: &[Problem]) -> Document {
    let all = calls().into_iter();
    let all = all.fold(checkout::calls(), |all, (_, calls)| all.merge(calls));
    let all = all.merge(importing::calls()).merge(jwks());
    all.document(before)
}

/// Every route, without the guard around them. What `config` doesn't host is carried to who does.
pub fn router(api: Api, config: &Config) -> Router {
    let mut routes = checkout::calls().into_router();
    for (context, calls) in calls() {
        routes = routes.merge(if config.hosts(context) {
            calls.into_router()
        } else {
            calls.all_by(&move |state: State<Api>,
                                trace: Trace,
                                client: Client,
                                request: Request| {
                carry(context, state, (trace, client), request)
            })
        });
    }
    // A body of any length can't be carried.
    let imports = importing::calls();
    routes = routes.merge(if config.hosts("product") {
        imports.into_router()
    } else {
        imports.all_by(&|| async { importing::not_here() })
    });
    routes
        .merge(jwks().into_router())
        .merge(edge::problem::pages(&[PAGES]))
        .merge(openapi::routes(&document(&[])))
        .with_state(api)
}
