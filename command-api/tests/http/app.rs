//! The API under test, with verbs.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, Request, StatusCode};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use command_api::{
    Api, Config, Deps, Letters, Local, Personal, PersonalError, Questions, Webhook, WebhookSecrets,
};
use edge::auth::{KeySet, Principal, Signer};
use edge::openapi::Document;
use kernel::{Sealed, UserId};
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use serde_json::{Value, json};
use streams::Streams;
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
    router: Router,
    signer: Signer,
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

impl App {
    pub(crate) fn new() -> Self {
        Self::hosting(&Config::default())
    }

    pub(crate) fn hosting(config: &Config) -> Self {
        let streams = Streams::in_memory();
        let questions = Arc::new(Local(streams.clone()));
        Self::asking(config, streams, questions)
    }

    /// Over this store, with somebody else to ask.
    pub(crate) fn asking(config: &Config, streams: Streams, questions: Arc<dyn Questions>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let letters = Arc::new(MemoryLetters::default());
        let keys = KeySet::create_if_missing(&folder.path().join("jwt")).unwrap();
        let api = Api::new(Deps {
            streams: streams.clone(),
            personal: Arc::new(MemoryKeys::new()),
            questions,
            token_keys: keys.clone(),
            digest_key: DigestKey::parse(&"A".repeat(43)).unwrap(),
            webhook: Webhook {
                letters: letters.clone(),
                secrets: WebhookSecrets::parse(WEBHOOK_SECRETS).unwrap(),
                tolerance: Duration::from_mins(5),
            },
        })
        .unwrap();
        Self {
            router: edge::guarded(command_api::router(api.clone(), config), &config.limits),
            api,
            streams,
            letters,
            signer: Signer::new(&keys),
            _keys: folder,
        }
    }

    pub(crate) fn person(&self, id: UserId, roles: &[&str]) -> Person {
        let roles = roles.iter().map(|role| (*role).to_owned()).collect();
        let token = self.signer.sign(&Principal { user_id: id, roles }).unwrap();
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

    pub(crate) fn post(&self, path: &str) -> Call<'_> {
        Call {
            app: self,
            path: path.to_owned(),
            headers: Vec::new(),
        }
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
    pub(crate) async fn request(&self, request: Request<Body>) -> Answer {
        let method = request.method().as_str().to_lowercase();
        let path = request.uri().path().to_owned();
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
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

static DOCUMENT: LazyLock<Document> = LazyLock::new(command_api::document);

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
