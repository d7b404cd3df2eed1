//! The payment provider: Stripe's `PaymentIntents` over HTTP.
//!
//! An intent is created unconfirmed, its id is recorded, and only then is it confirmed: so
//! confirm, capture and cancel are idempotent by the intent's own state, and after a time-out the
//! state is retrieved, never assumed. Only create and refund need the provider's idempotency key.
//!
//! A provider that is away is left alone: nobody is asked but now and then, whatever waits for an answer.

use std::collections::BTreeMap;
use std::time::Duration;

use edge::is_here;
use kernel::{Money, OrderId, RefundId};
use reqwest::{Method, StatusCode, Url};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tower::ServiceExt;
use tower_resilience_circuitbreaker::{
    CircuitBreaker, CircuitBreakerError, CircuitBreakerLayer, CircuitState, FnClassifier,
};

use crate::ProviderConfig;
use crate::config::ORDER_ID;
use crate::failure::{ProviderError, failure, unavailable};
use crate::listing::Refund;

/// The version of Stripe's API that this client speaks, whatever the account's own is: of those it knows,
/// the one whose shapes and demands the payment simulator has too, so that tests are about what is sent.
const API_VERSION: &str = "2025-09-30.clover";

/// Which form of the create call this is: raise it with each change of the form. Under one key the provider
/// takes one form, and refuses what an older version has asked and this one asks again. An intent that is
/// made twice so nobody confirms: no money moves. (Of a refund that would be money: its form stays.)
const CREATE_FORM: u32 = 2;

/// Longest wait for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// Calls in a row that come to nothing before the provider is left alone. Those of one order make as many in
/// a minute or two, if no other order is served in between.
pub const FAILURES_MAX: usize = 10;

/// How long it is left alone. Then one call looks whether it is back, and the next one that long after.
pub const LEFT_ALONE: Duration = Duration::from_secs(5);

/// What comes back from it, if anything.
type Answered = Result<reqwest::Response, reqwest::Error>;

/// Its calls, as long as it answers.
type Calls = CircuitBreaker<reqwest::Client, FnClassifier<fn(&Answered) -> bool>>;

/// Where an intent stands, in the provider's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IntentStatus {
    /// The last method was declined, or none is attached.
    RequiresPaymentMethod,
    /// Created, nothing asked of the issuer yet.
    RequiresConfirmation,
    /// The customer must act.
    RequiresAction,
    /// The provider is still working on it.
    Processing,
    /// Authorized: the amount is held.
    RequiresCapture,
    /// Captured.
    Succeeded,
    /// Let go.
    Canceled,
}

/// The provider's record of one payment.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Intent {
    /// The provider's id (`pi_…`).
    pub id: String,
    /// Where it stands.
    pub status: IntentStatus,
    /// Asked for, in minor units.
    pub amount: i64,
    /// In lower case, as the provider writes it.
    pub currency: String,
    /// Captured, in minor units.
    #[serde(default)]
    pub amount_received: i64,
    /// Why the last try failed.
    #[serde(default)]
    pub last_payment_error: Option<LastError>,
    /// What the customer must do.
    #[serde(default)]
    pub next_action: Option<serde_json::Value>,
    /// What we gave it along: `payment_id` and `order_id`.
    #[serde(default)]
    pub metadata: BTreeMap<String, String>,
}

impl Intent {
    /// What was asked for, and is held once it is authorized.
    ///
    /// # Errors
    /// The provider names a currency that the shop doesn't know.
    pub fn asked(&self) -> Result<Money, ProviderError> {
        self.money(self.amount)
    }

    /// What was captured.
    ///
    /// # Errors
    /// As [`Intent::asked`].
    pub fn received(&self) -> Result<Money, ProviderError> {
        self.money(self.amount_received)
    }

    pub(crate) fn money(&self, amount: i64) -> Result<Money, ProviderError> {
        let currency = self.currency.to_ascii_uppercase().parse();
        let currency = currency.map_err(|error: kernel::MoneyError| ProviderError::Refused {
            code: "unknown_currency".to_owned(),
            message: error.to_string(),
        })?;
        Ok(Money::new(amount, currency))
    }

    /// The page on which the customer acts, if one is named.
    pub fn action_url(&self) -> Option<String> {
        let url = self
            .next_action
            .as_ref()?
            .pointer("/redirect_to_url/url")?
            .as_str()?;
        Some(url.to_owned())
    }
}

/// Why the last try of an intent failed.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct LastError {
    /// The provider's code.
    #[serde(default)]
    pub code: Option<String>,
    /// The issuer's code.
    #[serde(default)]
    pub decline_code: Option<String>,
}

/// A client of the payment provider.
#[derive(Clone)]
pub struct Provider {
    http: reqwest::Client,
    /// Those that begin payments; of all clones together, as the others are.
    begins: Calls,
    /// All others. Where only new payments fail, what money is held or taken for goes on.
    others: Calls,
    base: String,
    secret_key: String,
    return_url: String,
}

impl Provider {
    /// A client with the time-outs of `config`.
    ///
    /// # Errors
    /// The HTTP client can't be made.
    pub fn new(config: &ProviderConfig) -> Result<Self, ProviderError> {
        let mut http = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(config.timeout());
        let url = Url::parse(&config.url);
        if url.is_ok_and(|url| url.host_str().is_some_and(is_here)) {
            // Whatever proxy the environment names, it can't reach this machine's simulator.
            http = http.no_proxy();
        }
        let http = http.build().map_err(ProviderError::Unreachable)?;
        Ok(Self {
            begins: calls(&http, "begin")?,
            others: calls(&http, "other")?,
            http,
            base: config.url.trim_end_matches('/').to_owned(),
            secret_key: config.secret_key.clone(),
            return_url: config.return_url.clone(),
        })
    }

    /// Makes an intent, unconfirmed: no money moves. Repeated under `key` it is the same intent.
    ///
    /// # Errors
    /// See [`ProviderError`].
    pub async fn create(
        &self,
        key: &str,
        amount: Money,
        metadata: &[(&str, String)],
    ) -> Result<Intent, ProviderError> {
        let mut form = vec![
            ("amount".to_owned(), amount.amount.to_string()),
            (
                "currency".to_owned(),
                amount.currency.code().to_ascii_lowercase(),
            ),
            ("capture_method".to_owned(), "manual".to_owned()),
            // Else whatever the dashboard allows, also what can't be held and captured later.
            ("payment_method_types[]".to_owned(), "card".to_owned()),
        ];
        for (name, value) in metadata {
            form.push((format!("metadata[{name}]"), value.clone()));
        }
        let key = format!("{key}-{CREATE_FORM}");
        self.post("payment_intents", Some(&key), &form).await
    }

    /// Asks the issuer to hold the amount. Where the customer must act first, the intent names a page, from
    /// which they come back to the shop's.
    ///
    /// # Errors
    /// See [`ProviderError`].
    pub async fn confirm(
        &self,
        intent_id: &str,
        method: &str,
        order_id: OrderId,
    ) -> Result<Intent, ProviderError> {
        let return_url = self.return_url.replace(ORDER_ID, &order_id.to_string());
        let form = [
            ("payment_method".to_owned(), method.to_owned()),
            ("return_url".to_owned(), return_url),
        ];
        let path = format!("payment_intents/{intent_id}/confirm");
        self.post(&path, None, &form).await
    }

    /// Takes the held amount.
    ///
    /// # Errors
    /// See [`ProviderError`].
    pub async fn capture(&self, intent_id: &str, amount: Money) -> Result<Intent, ProviderError> {
        let form = [("amount_to_capture".to_owned(), amount.amount.to_string())];
        let path = format!("payment_intents/{intent_id}/capture");
        self.post(&path, None, &form).await
    }

    /// Lets go of the held amount.
    ///
    /// # Errors
    /// See [`ProviderError`].
    pub async fn cancel(&self, intent_id: &str) -> Result<Intent, ProviderError> {
        let path = format!("payment_intents/{intent_id}/cancel");
        self.post(&path, None, &[]).await
    }

    /// Gives money back. Repeated under `key` it is the same refund, and it carries our id.
    ///
    /// # Errors
    /// See [`ProviderError`].
    pub async fn refund(
        &self,
        key: &str,
        intent_id: &str,
        refund_id: RefundId,
        amount: Money,
    ) -> Result<Refund, ProviderError> {
        let form = [
            ("payment_intent".to_owned(), intent_id.to_owned()),
            ("amount".to_owned(), amount.amount.to_string()),
            ("metadata[refund_id]".to_owned(), refund_id.to_string()),
        ];
        self.post("refunds", Some(key), &form).await
    }

    /// How the intent stands now.
    ///
    /// # Errors
    /// See [`ProviderError`].
    pub async fn retrieve(&self, intent_id: &str) -> Result<Intent, ProviderError> {
        self.get(&format!("payment_intents/{intent_id}")).await
    }

    async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        key: Option<&str>,
        form: &[(String, String)],
    ) -> Result<T, ProviderError> {
        self.send(Method::POST, path, key, Some(form)).await
    }

    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ProviderError> {
        self.send(Method::GET, path, None, None).await
    }

    async fn send<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        key: Option<&str>,
        form: Option<&[(String, String)]>,
    ) -> Result<T, ProviderError> {
        let begins = path == "payment_intents" || path.ends_with("/confirm");
        let calls = if begins && method == Method::POST {
            &self.begins
        } else {
            &self.others
        };
        let mut request = self
            .http
            .request(method, format!("{}/v1/{path}", self.base))
            .bearer_auth(&self.secret_key)
            .header("Stripe-Version", API_VERSION);
        if let Some(key) = key {
            request = request.header("Idempotency-Key", key);
        }
        if let Some(form) = form {
            request = request.form(form);
        }
        let request = request.build().map_err(ProviderError::Unreachable)?;
        let answer = calls.clone().oneshot(request).await;
        let answer = answer.map_err(|error| match error {
            CircuitBreakerError::OpenCircuit => {
                metrics::counter!("payment_calls_left_out_total").increment(1);
                ProviderError::LeftAlone
            }
            CircuitBreakerError::Inner(error) => ProviderError::Unreachable(error),
        })?;
        let status = answer.status();
        let body = answer.bytes().await.map_err(ProviderError::Unreachable)?;
        if status.is_success() {
            return serde_json::from_slice(&body).map_err(|_| unavailable(status, &body));
        }
        if matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
            metrics::counter!("payment_keys_refused_total").increment(1);
        }
        Err(failure(status, &body))
    }
}

/// Whatever it answers itself says that it is there; that it could not (5xx) says no more than silence.
fn comes_to_nothing(answered: &Answered) -> bool {
    let answer = answered.as_ref();
    answer.map_or(true, |answer| answer.status().is_server_error())
}

fn calls(http: &reqwest::Client, which: &'static str) -> Result<Calls, ProviderError> {
    let breaker = CircuitBreakerLayer::builder()
        .failure_classifier(comes_to_nothing as fn(&Answered) -> bool)
        .consecutive_failures(FAILURES_MAX)
        .wait_duration_in_open(LEFT_ALONE)
        .permitted_calls_in_half_open(1)
        .on_state_transition(move |_, state| tell(which, state))
        .build()
        .map_err(ProviderError::Breaker)?;
    tell(which, CircuitState::Closed);
    Ok(breaker.layer_fn(http.clone()))
}

fn tell(which: &'static str, state: CircuitState) {
    let alone = state != CircuitState::Closed;
    metrics::gauge!("payment_provider_left_alone", "calls" => which)
        .set(f64::from(u8::from(alone)));
    tracing::info!(?state, calls = which, "the payment provider's calls");
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering};

    use metrics_exporter_prometheus::PrometheusBuilder;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use uuid::Uuid;

    use super::*;
    use crate::config::LOCAL_RETURN_URL;

    /// Answers every call with a status.
    #[derive(Default)]
    struct Counter {
        status: AtomicU16,
        calls: AtomicUsize,
    }

    impl Counter {
        async fn serve(&self, listener: TcpListener) {
            loop {
                let (mut connection, _) = listener.accept().await.unwrap();
                self.calls.fetch_add(1, Ordering::Relaxed);
                let mut head = [0; 4_096];
                // A head without a body, in one piece on this machine.
                let read = connection.read(&mut head).await.unwrap();
                let head = String::from_utf8_lossy(head.get(..read).unwrap());
                // Without it the account's own version holds, which may be any.
                assert!(head.contains(&format!("stripe-version: {API_VERSION}")));
                let status = self.status.load(Ordering::Relaxed);
                let answer =
                    format!("HTTP/1.1 {status} \r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
                connection.write_all(answer.as_bytes()).await.unwrap();
            }
        }

        /// The calls that it gets of so many, with clones of one provider, and how the last one ended.
        async fn gets(&self, provider: &Provider, times: usize) -> (usize, ProviderError) {
            let before = self.calls.load(Ordering::Relaxed);
            let mut ended = None;
            for _ in 0..times {
                ended = provider.clone().retrieve("pi_1").await.err();
            }
            let got = self.calls.load(Ordering::Relaxed) - before;
            (got, ended.unwrap())
        }
    }

    async fn calls_and_answers(is_told: impl Fn(&str) -> bool) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let provider = Provider::new(&ProviderConfig {
            url: format!("http://{}", listener.local_addr().unwrap()),
            secret_key: "sk_test".to_owned(),
            return_url: LOCAL_RETURN_URL.to_owned(),
            timeout_ms: 60_000,
        });
        let (provider, counter) = (provider.unwrap(), Counter::default());
        let calls = async {
            // A "no" of its own says that it is there.
            for status in [402, 404, 429] {
                counter.status.store(status, Ordering::Relaxed);
                let (got, _) = counter.gets(&provider, FAILURES_MAX + 1).await;
                assert_eq!(got, FAILURES_MAX + 1, "{status}");
            }
            assert!(is_told(r#"payment_provider_left_alone{calls="other"} 0"#));
            counter.status.store(503, Ordering::Relaxed);
            let (got, ended) = counter.gets(&provider, FAILURES_MAX + 2).await;
            assert_eq!(got, FAILURES_MAX);
            assert!(matches!(ended, ProviderError::LeftAlone), "{ended:?}");
            assert!(ended.is_transient(), "nothing is known of the outcome");
            assert!(is_told(r#"payment_provider_left_alone{calls="other"} 1"#));
            // Of payments that begin nothing is known yet.
            assert!(is_told(r#"payment_provider_left_alone{calls="begin"} 0"#));
            let ended = provider.confirm("pi_1", "pm_1", OrderId(Uuid::nil())).await;
            let ended = ended.err().unwrap();
            assert!(!matches!(ended, ProviderError::LeftAlone), "{ended:?}");
        };
        tokio::select! {
            () = counter.serve(listener) => {}
            () = calls => {}
        }
    }

    #[test]
    fn a_provider_that_fails_again_and_again_is_left_alone_and_one_that_says_no_is_not() {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let recorder = PrometheusBuilder::new().build_recorder();
        let told = recorder.handle();
        let runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = { runtime }.enable_all().build().unwrap();
        metrics::with_local_recorder(&recorder, || {
            let is_told = |line: &str| told.render().contains(line);
            runtime.block_on(calls_and_answers(is_told));
        });
    }
}
