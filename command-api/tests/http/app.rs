//! The API under test, with verbs.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, HeaderValue, Request, StatusCode};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use command_api::{
    Api, Config, Deps, Elsewhere, Here, Letters, Local, Personal, PersonalError, Questions,
    Webhook, WebhookSecrets, hosts,
};
use edge::auth::{KeySet, Principal, Signer};
use edge::consistency::CONSISTENCY_TOKEN;
use edge::openapi::Document;
use kernel::{Sealed, UserId};
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use serde_json::{Value, json};
use streams::Streams;
use streams::bus::{Bus, BusError, Hosts};
use streams::inbox::{InboxError, LetterId, Put};
use streams::keys::DigestKey;
use tower::ServiceExt;
use uuid::Uuid;

/// The streams that a write of this API may touch.
pub(crate) const STREAMS: [&str; 4] = ["USER", "PRODUCT", "INVENTORY", "ORDER"];

pub(crate) struct App {
    pub(crate) api: Api,
    pub(crate) streams: Streams,
    pub(crate) letters: Arc<MemoryLetters>,
    personal: Arc<MemoryKeys>,
    router: Router,
    signer: Signer,
    /// What was done last. Apart, clients tell what they have seen: in memory nobody else does.
    seen: Mutex<Option<HeaderValue>>,
    _keys: tempfile::TempDir,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Value,
}

/// One request in the making.
pub(crate) struct Call<'a> {
    app: &'a App,
    path: String,
    headers: Vec<(&'static str, String)>,
}

/// Somebody with a token.
#[derive(Debug, Clone)]
pub(crate) struct Person {
    pub(crate) id: UserId,
    pub(crate) token: String,
}

/// What webhooks are signed with: this one and the one before.
pub(crate) const WEBHOOK_SECRETS: &str = "whsec_new,whsec_old";

/// Letters in memory.
#[derive(Default)]
pub(crate) struct MemoryLetters {
    stored: Mutex<HashMap<LetterId, Bytes>>,
    /// Nothing can be stored.
    pub(crate) broken: AtomicBool,
}

impl MemoryLetters {
    pub(crate) fn all(&self) -> HashMap<LetterId, Bytes> {
        self.stored.lock().unwrap().clone()
    }
}

#[async_trait]
impl Letters for MemoryLetters {
    async fn put(&self, letter: &LetterId, body: Bytes) -> Result<Put, InboxError> {
        if self.broken.load(Ordering::SeqCst) {
            let source = "the server is gone".into();
            return Err(InboxError::Unavailable { source });
        }
        match self.stored.lock().unwrap().insert(letter.clone(), body) {
            None => Ok(Put::Stored),
            Some(_) => Ok(Put::Duplicate),
        }
    }
}

/// Keys in memory: the same kind of sealing as the real ones, one key for everybody.
struct MemoryKeys {
    key: LessSafeKey,
    count: Mutex<u64>,
}

impl MemoryKeys {
    fn new() -> Self {
        let key = UnboundKey::new(&CHACHA20_POLY1305, &[7; 32]).unwrap();
        Self {
            key: LessSafeKey::new(key),
            count: Mutex::new(0),
        }
    }
}

#[async_trait]
impl Personal for MemoryKeys {
    async fn seal(
        &self,
        person: UserId,
        purpose: &str,
        text: &str,
    ) -> Result<Sealed, PersonalError> {
        let count = {
            let mut count = self.count.lock().unwrap();
            *count += 1;
            *count
        };
        let mut nonce = [0; 12];
        nonce[..8].copy_from_slice(&count.to_be_bytes());
        let mut sealed = text.as_bytes().to_vec();
        let about = Aad::from(format!("{person}/{purpose}"));
        let key = Nonce::assume_unique_for_key(nonce);
        self.key
            .seal_in_place_append_tag(key, about, &mut sealed)
            .unwrap();
        let whole = [nonce.to_vec(), sealed].concat();
        Ok(Sealed::new(person, &URL_SAFE_NO_PAD.encode(whole)))
    }

    async fn open(&self, sealed: &Sealed, purpose: &str) -> Result<Option<String>, PersonalError> {
        let person = sealed.person().unwrap();
        let whole = URL_SAFE_NO_PAD
            .decode(sealed.ciphertext().unwrap())
            .unwrap();
        let (nonce, text) = whole.split_at(12);
        let nonce = Nonce::try_assume_unique_for_key(nonce).unwrap();
        let about = Aad::from(format!("{person}/{purpose}"));
        let mut text = text.to_vec();
        let opened = self.key.open_in_place(nonce, about, &mut text);
        let opened = opened.map_err(|_| PersonalError::Broken("another purpose".into()))?;
        Ok(Some(String::from_utf8(opened.to_vec()).unwrap()))
    }
}

/// What all processes have in common.
struct World {
    streams: Streams,
    questions: Arc<dyn Questions>,
    letters: Arc<MemoryLetters>,
    personal: Arc<MemoryKeys>,
    token_keys: KeySet,
    digest_key: DigestKey,
    folder: tempfile::TempDir,
}

impl World {
    fn new(streams: Streams, questions: Arc<dyn Questions>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self {
            streams,
            questions,
            letters: Arc::default(),
            personal: Arc::new(MemoryKeys::new()),
            token_keys: KeySet::create_if_missing(&folder.path().join("jwt")).unwrap(),
            digest_key: DigestKey::parse(&"A".repeat(43)).unwrap(),
            folder,
        }
    }

    /// A process that hosts `contexts`.
    fn process(&self, contexts: &[String], elsewhere: Arc<dyn Elsewhere>) -> (Api, Router) {
        let config = Config {
            contexts: contexts.to_owned(),
            ..Config::default()
        };
        let api = Api::new(Deps {
            streams: self.streams.clone(),
            personal: self.personal.clone(),
            questions: self.questions.clone(),
            token_keys: self.token_keys.clone(),
            digest_key: self.digest_key.clone(),
            webhook: Webhook {
                letters: self.letters.clone(),
                secrets: WebhookSecrets::parse(WEBHOOK_SECRETS).unwrap(),
                tolerance: Duration::from_mins(5),
            },
            elsewhere,
            proxies: Vec::new(),
            targets: config.targets.clone(),
            endpoints_max: config.webhook_endpoints_max,
            waits_max: config.limits.waits_max(),
        })
        .unwrap();
        let router = edge::guarded(command_api::router(api.clone(), &config), &config.limits);
        (api, router)
    }
}

/// The buses of the other processes, by what they host.
struct Network(HashMap<String, Bus>);

#[async_trait]
impl Elsewhere for Network {
    async fn carry(&self, context: &str, call: Value, within: Duration) -> Result<Value, BusError> {
        self.0[context].carry(context, call, within).await
    }
}

impl App {
    pub(crate) fn new() -> Self {
        let streams = Streams::in_memory();
        let questions = Arc::new(Local(streams.clone()));
        Self::asking(streams, questions)
    }

    /// Over this store, with somebody else to ask. Everything is hosted by one process, or each
    /// context by one of its own: the calls come in at one that hosts orders alone.
    pub(crate) fn asking(streams: Streams, questions: Arc<dyn Questions>) -> Self {
        let world = World::new(streams, questions);
        let (api, router) = if crate::APART {
            let others = domains::NAMES.iter().filter(|name| **name != "order");
            let others = others.map(|name| {
                let here = Here::default();
                let contexts = [(*name).to_owned()];
                let hosts = hosts(&contexts, &world.streams, &world.digest_key, &here);
                // Nothing that comes over the bus is carried on.
                let (_, router) =
                    world.process(&contexts, Arc::new(Bus::within(&Hosts::default())));
                here.answer_with(router);
                ((*name).to_owned(), Bus::within(&hosts))
            });
            world.process(&["order".to_owned()], Arc::new(Network(others.collect())))
        } else {
            let all = Config::default().contexts;
            world.process(&all, Arc::new(Bus::within(&Hosts::default())))
        };
        Self {
            api,
            router,
            streams: world.streams,
            letters: world.letters,
            personal: world.personal,
            signer: Signer::new(&world.token_keys, chrono::Utc::now),
            seen: Mutex::default(),
            _keys: world.folder,
        }
    }

    /// How much was sealed so far.
    pub(crate) fn sealed(&self) -> u64 {
        *self.personal.count.lock().unwrap()
    }

    pub(crate) fn person(&self, id: UserId, roles: &[&str]) -> Person {
        let roles = roles.iter().map(|role| (*role).to_owned()).collect();
        let token = self
            .signer
            .sign(&Principal {
                user_id: id,
                roles,
                scopes: None,
            })
            .unwrap();
        Person {
            id,
            token: token.access_token,
        }
    }

    pub(crate) fn operator(&self) -> Person {
        self.person(UserId(Uuid::from_u128(1)), &["customer", "operator"])
    }

    /// Somebody who registered over HTTP.
    pub(crate) async fn customer(&self, email: &str) -> Person {
        let body = json!({"email": email, "name": "Ann", "password": "correct horse"});
        let answer = self.post("/v1/users").send(&body).await.must(201);
        self.person(
            answer.body["id"].as_str().unwrap().parse().unwrap(),
            &["customer"],
        )
    }

    /// A product on sale, for so many euro cents.
    pub(crate) async fn product(&self, sku: &str, cents: i64) {
        self.product_in(sku, cents, "EUR").await;
    }

    pub(crate) async fn product_in(&self, sku: &str, amount: i64, currency: &str) {
        let operator = self.operator();
        let product = product(sku, amount, currency);
        self.post("/v1/products")
            .by(&operator)
            .send(&product)
            .await
            .must(201);
        let publish = format!("/v1/products/{sku}/publish");
        self.post(&publish)
            .by(&operator)
            .send(&json!({}))
            .await
            .must(200);
    }

    /// What comes of an order that `buyer` places under `key`.
    pub(crate) async fn place(&self, buyer: &Person, key: &str, order: &Value) -> Answer {
        self.post("/v1/orders").by(buyer).key(key).send(order).await
    }

    /// Bars somebody from the shop.
    pub(crate) async fn suspend(&self, person: &Person) {
        let suspend = format!("/v1/users/{}/suspend", person.id);
        let reason = json!({"reason": "fraud"});
        let operator = self.operator();
        self.post(&suspend)
            .by(&operator)
            .send(&reason)
            .await
            .must(200);
    }

    pub(crate) fn post(&self, path: &str) -> Call<'_> {
        Call {
            app: self,
            path: path.to_owned(),
            headers: Vec::new(),
        }
    }

    /// Every path that it takes.
    pub(crate) fn paths(&self) -> BTreeSet<String> {
        edge::openapi::paths_of(&self.router)
    }

    /// Where each stream ends: what was appended shows here.
    pub(crate) async fn ends(&self) -> HashMap<&'static str, u64> {
        let mut ends = HashMap::new();
        for stream in STREAMS {
            // A stream in memory begins with its first event.
            let state = self.streams.stream_state(stream).await;
            ends.insert(stream, state.map_or(0, |state| state.last));
        }
        ends
    }

    /// Every answer must be one that the document knows.
    pub(crate) async fn request(&self, mut request: Request<Body>) -> Answer {
        if let Some(seen) = self.seen.lock().unwrap().clone().filter(|_| crate::APART) {
            request
                .headers_mut()
                .entry(CONSISTENCY_TOKEN)
                .or_insert(seen);
        }
        let method = request.method().as_str().to_lowercase();
        let path = request.uri().path().to_owned();
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        if let Some(token) = parts.headers.get(CONSISTENCY_TOKEN) {
            *self.seen.lock().unwrap() = Some(token.clone());
        }
        let bytes = axum::body::to_bytes(body, 1 << 20).await.unwrap();
        let body = serde_json::from_slice(&bytes)
            .unwrap_or_else(|_| Value::from(String::from_utf8_lossy(&bytes).into_owned()));
        if parts.status != StatusCode::METHOD_NOT_ALLOWED {
            let code = body["code"].as_str();
            let known = DOCUMENT.must_know((&method, &path), parts.status, code);
            known.unwrap();
        }
        Answer {
            status: parts.status.as_u16(),
            headers: parts.headers,
            body,
        }
    }
}

pub(crate) static DOCUMENT: LazyLock<Document> = LazyLock::new(|| command_api::document(&[]));

pub(crate) fn product(sku: &str, amount: i64, currency: &str) -> Value {
    json!({
        "sku": sku, "title": "Tea", "description": "Green.", "category": "Drinks",
        "price": {"amount": amount, "currency": currency},
    })
}

pub(crate) fn order(lines: &[(&str, i64)]) -> Value {
    let lines: Vec<_> = lines
        .iter()
        .map(|(sku, quantity)| json!({"sku": sku, "quantity": quantity}))
        .collect();
    json!({
        "lines": lines,
        "shipping_address": {
            "name": "Ann", "line1": "Main St 1", "city": "Köln",
            "postal_code": "50667", "country": "DE",
        },
        "payment_method": "pm_card_visa",
    })
}

impl Call<'_> {
    pub(crate) fn by(self, person: &Person) -> Self {
        self.header("authorization", &format!("Bearer {}", person.token))
    }

    pub(crate) fn key(self, key: &str) -> Self {
        self.header("idempotency-key", key)
    }

    pub(crate) fn header(mut self, name: &'static str, value: &str) -> Self {
        self.headers.push((name, value.to_owned()));
        self
    }

    pub(crate) async fn send(self, body: &Value) -> Answer {
        self.header("content-type", "application/json")
            .raw(body.to_string())
            .await
    }

    pub(crate) async fn raw(self, body: impl Into<Body>) -> Answer {
        let mut request = Request::post(&self.path);
        for (name, value) in &self.headers {
            request = request.header(*name, value);
        }
        self.app.request(request.body(body.into()).unwrap()).await
    }
}

impl Answer {
    #[track_caller]
    pub(crate) fn must(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}", self.body);
        self
    }

    /// A problem with this status and code, and its first pointer.
    #[track_caller]
    pub(crate) fn refused(&self, status: u16, code: &str, pointer: &str) {
        assert_eq!(self.status, status, "{}", self.body);
        assert_eq!(self.header("content-type"), "application/problem+json");
        assert_eq!(self.body["code"], code, "{}", self.body);
        assert_eq!(self.body["type"], format!("/problems/{code}"));
        let found = self.body["errors"][0]["pointer"]
            .as_str()
            .unwrap_or_default();
        assert_eq!(found, pointer, "{}", self.body);
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }

    /// What of an answer must be the same when it is given again.
    pub(crate) fn essence(&self) -> (u16, String, String, String, Value) {
        (
            self.status,
            self.header("location").to_owned(),
            self.header("etag").to_owned(),
            self.header("consistency-token").to_owned(),
            self.body.clone(),
        )
    }

    pub(crate) fn id(&self) -> &str {
        self.body["id"].as_str().unwrap()
    }
}

/// So that a test reads "not found" where it means it.
pub(crate) const NOT_FOUND: u16 = StatusCode::NOT_FOUND.as_u16();
