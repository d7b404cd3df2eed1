//! What every call needs, and the page of all routes.

use std::ops::Deref;
use std::sync::Arc;

use axum::Router;
use axum::extract::FromRef;
use edge::auth::{KeySet, Signer, Verifier, jwks};
use edge::idempotency::canonical_json;
use serde::Serialize;
use streams::keys::DigestKey;
use streams::{CommandMeta, Streams};
use tokio::sync::Semaphore;

use crate::config::Config;
use crate::importing::IMPORTS_AT_ONCE_MAX;
use crate::outcomes::Outcomes;
use crate::password::Passwords;
use crate::personal::Personal;
use crate::problems::PAGES;
use crate::questions::{Cached, Questions};
use crate::throttle::Throttle;
use crate::webhook::Webhook;
use crate::{
    account, checkout, inventory, mailbox, notification, order, payment, product, session, user,
    webhook,
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
    pub(crate) outcomes: Outcomes,
    pub(crate) webhook: Webhook,
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
            signer: Signer::new(&deps.token_keys),
            verifier: Verifier::new(&deps.token_keys),
            token_keys: deps.token_keys,
            digest: deps.digest_key,
            passwords: Passwords::new().map_err(crate::Error::passwords)?,
            throttle: Throttle::new(),
            outcomes: Outcomes::default(),
            webhook: deps.webhook,
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

    /// The waiters for the ends of orders: whoever follows the stream ORDER tells it.
    pub fn outcomes(&self) -> &Outcomes {
        &self.0.outcomes
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

/// Every route of the contexts that `config` hosts, without the guard around them.
pub fn router(api: Api, config: &Config) -> Router {
    let mut routes = Router::new()
        .merge(checkout::routes())
        .merge(jwks(&api.token_keys))
        .merge(edge::problem::pages(PAGES));
    if config.hosts("user") {
        routes = routes
            .merge(user::routes())
            .merge(account::routes())
            .merge(mailbox::routes())
            .merge(session::routes());
    }
    if config.hosts("product") {
        routes = routes.merge(product::routes());
    }
    if config.hosts("inventory") {
        routes = routes.merge(inventory::routes());
    }
    if config.hosts("order") {
        routes = routes.merge(order::routes());
    }
    if config.hosts("payment") {
        routes = routes.merge(payment::routes()).merge(webhook::routes());
    }
    if config.hosts("notification") {
        routes = routes.merge(notification::routes());
    }
    routes.with_state(api)
}
