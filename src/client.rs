//! A typed client of the shop with verbs, for the demo, the benchmarks and the tests.

use std::time::Duration;

use futures::future::BoxFuture;
use reqwest::{ClientBuilder, Method, RequestBuilder, StatusCode, Url};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use thiserror::Error;
use uuid::Uuid;

/// Longest wait for one answer; longer than any `Prefer: wait`.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(40);

/// How long a response may stay open.
const OPEN_TIMEOUT: Duration = Duration::from_mins(20);

/// Longest wait for an import: a bound against hanging, not on its length.
const IMPORT_TIMEOUT: Duration = Duration::from_hours(24);

/// How long between two looks at a read model.
const POLL_INTERVAL: Duration = Duration::from_millis(25);

/// An answer that was not the one hoped for, or none.
#[derive(Debug, Error)]
pub enum ClientError {
    /// No answer.
    #[error("{method} {path}: no answer")]
    Unreachable {
        /// What was called.
        method: Method,
        /// Which path.
        path: String,
        /// Why.
        #[source]
        source: reqwest::Error,
    },
    /// A problem+json, or something that isn't what was asked for.
    #[error("{method} {path} answered {status}: {body}")]
    Unexpected {
        /// What was called.
        method: Method,
        /// Which path.
        path: String,
        /// The status.
        status: StatusCode,
        /// The body.
        body: Value,
    },
    /// A state did not come in time.
    #[error("{what} did not come within {} s; the last look showed {last}", waited.as_secs())]
    TooLate {
        /// What was waited for.
        what: String,
        /// How long.
        waited: Duration,
        /// What was there instead.
        last: Value,
    },
}

/// An answer, whatever its status.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: reqwest::header::HeaderMap,
    /// The body; `null` when it is empty.
    pub body: Value,
    method: Method,
    path: String,
}

impl Answer {
    /// A header's text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The answer itself if its status is a success.
    ///
    /// # Errors
    /// Any other status, with the body.
    pub fn success(self) -> Result<Self, ClientError> {
        if self.status.is_success() {
            Ok(self)
        } else {
            Err(self.unexpected())
        }
    }

    /// The body as `T`, if the status is a success.
    ///
    /// # Errors
    /// Any other status, or a body that isn't a `T`.
    pub fn json<T: DeserializeOwned>(self) -> Result<T, ClientError> {
        let answer = self.success()?;
        serde_json::from_value(answer.body.clone()).map_err(|_| answer.unexpected())
    }

    /// The text at a JSON pointer of the body, empty when there is none.
    pub fn text(&self, pointer: &str) -> &str {
        self.body
            .pointer(pointer)
            .and_then(Value::as_str)
            .unwrap_or_default()
    }

    fn unexpected(self) -> ClientError {
        ClientError::Unexpected {
            method: self.method,
            path: self.path,
            status: self.status,
            body: self.body,
        }
    }
}

/// One line of an order to be placed.
#[derive(Debug, Clone)]
pub struct CartLine {
    /// Which product.
    pub sku: String,
    /// How many.
    pub quantity: u32,
}

/// A client for the server at `url`: one on this machine is not asked through the environment's proxy, which
/// couldn't reach it.
pub(crate) fn towards(url: &str) -> ClientBuilder {
    let url = Url::parse(url);
    let here = url.is_ok_and(|url| url.host_str().is_some_and(edge::is_here));
    let http = reqwest::Client::builder();
    if here { http.no_proxy() } else { http }
}

/// The shop behind one entry, as seen by one caller.
#[derive(Debug, Clone)]
pub struct Shop {
    http: reqwest::Client,
    entry: String,
    token: Option<String>,
}

impl Shop {
    /// The shop at `entry` (`http://127.0.0.1:8080`), without a token.
    ///
    /// # Errors
    /// The HTTP client can't be made.
    pub fn new(entry: &str) -> Result<Self, reqwest::Error> {
        Self::over(towards(entry), entry)
    }

    /// The same, over a client that is made ready for its server.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn over(http: ClientBuilder, entry: &str) -> Result<Self, reqwest::Error> {
        // A test or benchmark has no main of ours to do it; whoever was first, one is installed.
        let _ = rustls::crypto::ring::default_provider().install_default();
        Ok(Self {
            http: http.timeout(REQUEST_TIMEOUT).build()?,
            entry: entry.trim_end_matches('/').to_owned(),
            token: None,
        })
    }

    /// The same shop, seen by the bearer of `token`.
    #[must_use]
    pub fn with_token(&self, token: &str) -> Self {
        Self {
            token: Some(token.to_owned()),
            ..self.clone()
        }
    }

    /// The bearer's token.
    pub fn token(&self) -> Option<&str> {
        self.token.as_deref()
    }

    /// Calls `path` with `headers` and, if there is one, a JSON body.
    ///
    /// # Errors
    /// No answer came.
    pub fn call<'a>(
        &'a self,
        method: Method,
        path: &'a str,
        headers: &'a [(&'a str, &'a str)],
        body: Option<&'a Value>,
    ) -> BoxFuture<'a, Result<Answer, ClientError>> {
        Box::pin(async move {
            let mut request = self.request(&method, path);
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            if let Some(body) = body {
                request = request.json(body);
            }
            answer(request, method, path).await
        })
    }

    fn request(&self, method: &Method, path: &str) -> RequestBuilder {
        let url = format!("{}{path}", self.entry);
        let request = self.http.request(method.clone(), url);
        match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    /// POSTs products, one a line, under `key`, however long that takes.
    ///
    /// # Errors
    /// No answer came.
    pub fn import<'a>(
        &'a self,
        key: &'a str,
        lines: impl Into<reqwest::Body>,
    ) -> BoxFuture<'a, Result<Answer, ClientError>> {
        let lines = lines.into();
        Box::pin(async move {
            let path = "/v1/products/import";
            let request = self
                .request(&Method::POST, path)
                .header("Idempotency-Key", key)
                .header("Content-Type", "application/x-ndjson")
                .timeout(IMPORT_TIMEOUT)
                .body(lines);
            answer(request, Method::POST, path).await
        })
    }

    /// POSTs under a fresh Idempotency-Key.
    ///
    /// # Errors
    /// No answer came.
    pub async fn post(&self, path: &str, body: &Value) -> Result<Answer, ClientError> {
        let key = Uuid::new_v4().to_string();
        self.post_with_key(path, &key, body).await
    }

    /// POSTs under `key`.
    ///
    /// # Errors
    /// No answer came.
    pub async fn post_with_key(
        &self,
        path: &str,
        key: &str,
        body: &Value,
    ) -> Result<Answer, ClientError> {
        let headers = [("Idempotency-Key", key)];
        self.call(Method::POST, path, &headers, Some(body)).await
    }

    /// GETs.
    ///
    /// # Errors
    /// No answer came.
    pub async fn get(&self, path: &str) -> Result<Answer, ClientError> {
        self.call(Method::GET, path, &[], None).await
    }

    /// GETs, and answers the response itself: for a body that is no JSON, or never ends.
    ///
    /// # Errors
    /// No answer came.
    pub async fn open(
        &self,
        path: &str,
        headers: &[(&str, &str)],
    ) -> Result<reqwest::Response, reqwest::Error> {
        let mut request = self.request(&Method::GET, path).timeout(OPEN_TIMEOUT);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.send().await
    }

    /// GETs once the read model has seen what `token` names.
    ///
    /// # Errors
    /// No answer came.
    pub async fn get_after(&self, path: &str, token: &str) -> Result<Answer, ClientError> {
        let headers = [("Consistency-Token", token)];
        self.call(Method::GET, path, &headers, None).await
    }

    /// Opens an account and answers the user's id.
    ///
    /// # Errors
    /// It was refused, or no answer came.
    pub async fn register(
        &self,
        email: &str,
        name: &str,
        password: &str,
    ) -> Result<String, ClientError> {
        let body = json!({ "email": email, "name": name, "password": password });
        let answer = self.post("/v1/users", &body).await?.success()?;
        Ok(answer.text("/id").to_owned())
    }

    /// Signs in: the shop as seen by that person.
    ///
    /// # Errors
    /// It was refused, or no answer came.
    pub async fn sign_in(&self, email: &str, password: &str) -> Result<Self, ClientError> {
        let body = json!({ "email": email, "password": password });
        let answer = self.post("/v1/sessions", &body).await?.success()?;
        Ok(self.with_token(answer.text("/access_token")))
    }

    /// Creates and publishes a product, begins to keep stock of it and receives `quantity`.
    ///
    /// # Errors
    /// Something was refused, or no answer came.
    pub async fn stock_product(
        &self,
        sku: &str,
        title: &str,
        cents: i64,
        quantity: u32,
    ) -> Result<(), ClientError> {
        let product = json!({
            "sku": sku,
            "title": title,
            "description": format!("{title}, as good as they come."),
            "category": "Mill shop",
            "price": { "amount": cents, "currency": "EUR" },
        });
        self.post("/v1/products", &product).await?.success()?;
        let publish = format!("/v1/products/{sku}/publish");
        self.post(&publish, &json!({})).await?.success()?;
        let item = json!({ "sku": sku });
        self.post("/v1/inventory", &item).await?.success()?;
        if quantity > 0 {
            let receive = format!("/v1/inventory/{sku}/receive");
            let body = json!({ "quantity": quantity });
            self.post(&receive, &body).await?.success()?;
        }
        Ok(())
    }

    /// Places an order under `key`.
    ///
    /// # Errors
    /// No answer came.
    pub async fn place_order(
        &self,
        key: &str,
        lines: &[CartLine],
        payment_method: &str,
    ) -> Result<Answer, ClientError> {
        self.post_with_key("/v1/orders", key, &cart(lines, payment_method))
            .await
    }

    /// GETs `path` again and again until `wanted` holds.
    ///
    /// # Errors
    /// It did not hold within `patience`; the last answer is in the error.
    pub async fn wait_for(
        &self,
        what: &str,
        path: &str,
        patience: Duration,
        wanted: impl Fn(&Value) -> bool,
    ) -> Result<Answer, ClientError> {
        let started = tokio::time::Instant::now();
        loop {
            let last = match self.get(path).await {
                Ok(answer) if answer.status.is_success() && wanted(&answer.body) => {
                    return Ok(answer);
                }
                Ok(answer) => answer.body,
                Err(error) => Value::String(error.to_string()),
            };
            if started.elapsed() > patience {
                return Err(ClientError::TooLate {
                    what: what.to_owned(),
                    waited: patience,
                    last,
                });
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }
}

/// Sends `request` and reads what comes back.
async fn answer(
    request: RequestBuilder,
    method: Method,
    path: &str,
) -> Result<Answer, ClientError> {
    let unreachable = |source| ClientError::Unreachable {
        method: method.clone(),
        path: path.to_owned(),
        source,
    };
    let answer = request.send().await.map_err(unreachable)?;
    let (status, headers) = (answer.status(), answer.headers().clone());
    let bytes = answer.bytes().await.map_err(unreachable)?;
    // A body that isn't JSON is shown as text: it is somebody's error page.
    let body = serde_json::from_slice(&bytes).unwrap_or_else(|_| {
        if bytes.is_empty() {
            Value::Null
        } else {
            Value::String(String::from_utf8_lossy(&bytes).into_owned())
        }
    });
    Ok(Answer {
        status,
        headers,
        body,
        method,
        path: path.to_owned(),
    })
}

/// The body of `POST /v1/orders`.
pub fn cart(lines: &[CartLine], payment_method: &str) -> Value {
    let lines: Vec<Value> = lines
        .iter()
        .map(|line| json!({ "sku": line.sku, "quantity": line.quantity }))
        .collect();
    json!({
        "lines": lines,
        "shipping_address": {
            "name": "Ada Lovelace",
            "line1": "12 St James's Square",
            "city": "London",
            "postal_code": "SW1Y 4JH",
            "country": "GB",
        },
        "payment_method": payment_method,
    })
}
