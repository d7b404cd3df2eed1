//! The payment simulator over real HTTP, held against Stripe's published behaviour.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that meets the unexpected fails there"
)]

mod faults;
mod idempotency;
mod intents;
mod refunds;
mod restart;
mod shop;
mod webhooks;

use devstack::payments::{self, Options, Webhook};
use reqwest::{Client, RequestBuilder, Response};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

const SECRET_KEY: &str = "sk_test_key";

/// A running simulator.
struct Provider {
    http: String,
    client: Client,
    shutdown: CancellationToken,
    running: JoinHandle<Result<(), payments::Error>>,
}

/// Status and JSON body of an answer.
type Answer = (u16, Value);

impl Provider {
    async fn start(data: &Path) -> Self {
        Self::start_with(data, None).await
    }

    async fn start_with(data: &Path, webhook: Option<Webhook>) -> Self {
        // The second test of the process finds the provider already there.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", http.local_addr().unwrap());
        let shutdown = CancellationToken::new();
        let options = Options {
            http,
            data: data.to_path_buf(),
            secret_key: SECRET_KEY.to_owned(),
            pages: None,
            webhook,
        };
        Self {
            http: base,
            client: Client::new(),
            running: tokio::spawn(payments::run(options, shutdown.clone())),
            shutdown,
        }
    }

    async fn stop(self) {
        self.shutdown.cancel();
        self.running.await.unwrap().unwrap();
    }

    fn request(&self, path: &str, form: &[(&str, &str)]) -> RequestBuilder {
        let url = format!("{}{path}", self.http);
        self.client.post(url).bearer_auth(SECRET_KEY).form(form)
    }

    async fn post(&self, path: &str, form: &[(&str, &str)]) -> Answer {
        parts(self.request(path, form).send().await.unwrap()).await
    }

    async fn get(&self, path: &str) -> Answer {
        let url = format!("{}{path}", self.http);
        let sent = self.client.get(url).bearer_auth(SECRET_KEY).send().await;
        parts(sent.unwrap()).await
    }

    /// An intent of 20.00 EUR with manual capture; answers its id.
    async fn create(&self, order: &str) -> String {
        let form = [
            ("amount", "2000"),
            ("currency", "eur"),
            ("capture_method", "manual"),
            ("payment_method_types[]", "card"),
            ("metadata[order_id]", order),
        ];
        let (status, intent) = self.post("/v1/payment_intents", &form).await;
        assert_eq!(status, 200, "{intent}");
        intent["id"].as_str().unwrap().to_owned()
    }

    async fn act(&self, id: &str, action: &str, form: &[(&str, &str)]) -> Answer {
        self.post(&format!("/v1/payment_intents/{id}/{action}"), form)
            .await
    }

    async fn confirm(&self, id: &str, method: &str) -> Answer {
        self.act(id, "confirm", &[("payment_method", method)]).await
    }

    async fn captured(&self, order: &str) -> String {
        let id = self.create(order).await;
        assert_eq!(self.confirm(&id, "pm_card_visa").await.0, 200);
        assert_eq!(self.act(&id, "capture", &[]).await.0, 200);
        id
    }

    async fn retrieve(&self, id: &str) -> Value {
        let (status, intent) = self.get(&format!("/v1/payment_intents/{id}")).await;
        assert_eq!(status, 200, "{intent}");
        intent
    }

    async fn ledger(&self) -> Vec<Value> {
        let sent = self.client.get(format!("{}/ledger", self.http)).send();
        sent.await.unwrap().json().await.unwrap()
    }

    async fn fault(&self, fault: Value) -> u16 {
        let url = format!("{}/faults", self.http);
        let answer = self.client.post(url).json(&fault).send().await.unwrap();
        answer.status().as_u16()
    }

    async fn complete_action(&self, id: &str, succeed: bool) -> Answer {
        let url = format!("{}/test/payment_intents/{id}/complete_action", self.http);
        let body = json!({ "succeed": succeed });
        parts(self.client.post(url).json(&body).send().await.unwrap()).await
    }
}

async fn parts(response: Response) -> Answer {
    let status = response.status().as_u16();
    (status, response.json().await.unwrap())
}

fn assert_error((status, body): &Answer, expected: u16, kind: &str, code: &str) {
    assert_eq!(*status, expected, "{body}");
    assert_eq!(body["error"]["type"], kind, "{body}");
    assert_eq!(body["error"]["code"], code, "{body}");
    assert!(body["error"]["message"].is_string(), "{body}");
}

fn assert_unexpected_state(answer: &Answer, status: &str) {
    let code = "payment_intent_unexpected_state";
    assert_error(answer, 400, "invalid_request_error", code);
    assert_eq!(answer.1["error"]["payment_intent"]["status"], status);
}

/// The data folder as a crash at this moment would leave it.
fn as_after_a_crash(data: &Path, into: &Path) -> PathBuf {
    let copy = into.join("crashed");
    std::fs::create_dir_all(&copy).unwrap();
    for entry in std::fs::read_dir(data).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, copy.join(path.file_name().unwrap())).unwrap();
    }
    copy
}
