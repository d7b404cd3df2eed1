//! The mail sink over real SMTP and HTTP: what it accepts, keeps, shows, and how it fails on order.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that meets the unexpected fails there"
)]

mod faults;
mod limits;
mod login;
mod mails;
mod tls;

use devstack::mail::{self, Options};
use lettre::message::MultiPart;
use lettre::transport::smtp::{self, response::Response};
use lettre::{AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor};
use serde_json::Value;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

struct Sink {
    smtp: SocketAddr,
    http: String,
    client: reqwest::Client,
    shutdown: CancellationToken,
    running: JoinHandle<Result<(), mail::Error>>,
}

impl Sink {
    async fn start(data: &Path) -> Self {
        Self::start_with(data, mail::Tls::None, None).await
    }

    async fn start_with(data: &Path, tls: mail::Tls, login: Option<mail::Login>) -> Self {
        let smtp = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let http = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let shutdown = CancellationToken::new();
        let address = smtp.local_addr().unwrap();
        let base = format!("http://{}", http.local_addr().unwrap());
        let data = data.to_path_buf();
        let options = Options {
            smtp,
            tls,
            login,
            http,
            data,
        };
        Self {
            smtp: address,
            http: base,
            client: client(),
            running: tokio::spawn(mail::run(options, shutdown.clone())),
            shutdown,
        }
    }

    async fn stop(self) {
        self.shutdown.cancel();
        self.running.await.unwrap().unwrap();
    }

    async fn send(&self, mail: Message) -> Result<Response, smtp::Error> {
        let transport = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous("127.0.0.1")
            .port(self.smtp.port())
            .timeout(Some(Duration::from_secs(5)))
            .build();
        transport.send(mail).await
    }

    async fn get(&self, path: &str) -> reqwest::Response {
        let url = format!("{}{path}", self.http);
        let answer = self.client.get(url).send().await.unwrap();
        assert!(answer.status().is_success(), "{path}: {}", answer.status());
        answer
    }

    async fn messages(&self, query: &str) -> Vec<Value> {
        let answer = self.get(&format!("/messages{query}")).await;
        answer.json().await.unwrap()
    }

    async fn order(&self, fault: Value) -> u16 {
        let url = format!("{}/faults", self.http);
        let answer = self.client.post(url).json(&fault).send().await.unwrap();
        answer.status().as_u16()
    }

    async fn delete(&self, path: &str) {
        let url = format!("{}{path}", self.http);
        let answer = self.client.delete(url).send().await.unwrap();
        assert_eq!(answer.status(), 204);
    }
}

fn client() -> reqwest::Client {
    // The second test of the process finds the provider already there.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::new()
}

fn mail(to: &str, id: &str) -> Message {
    Message::builder()
        .from("Millrace <shop@millrace.test>".parse().unwrap())
        .to(to.parse().unwrap())
        .subject("Grüße aus der Mühle")
        .message_id(Some(format!("<{id}>")))
        .multipart(MultiPart::alternative_plain_html(
            "Your order is confirmed.\n.a line with a dot".to_owned(),
            "<p>Your order is <b>confirmed</b>.</p>".to_owned(),
        ))
        .unwrap()
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
