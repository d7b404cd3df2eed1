//! The shop's side of webhooks: an endpoint that checks every signature by itself and remembers what came.

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use axum::{Router, body::Bytes};
use devstack::payments::Webhook;
use ring::hmac;
use serde_json::Value;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::net::TcpListener;

pub(crate) const SECRET: &str = "whsec_shared";

/// What came to the endpoint.
#[derive(Debug, Clone)]
pub(crate) struct Delivery {
    /// Whether the signature is right and fresh.
    pub(crate) genuine: bool,
    pub(crate) event: Value,
}

/// The endpoint.
#[derive(Debug, Clone, Default)]
pub(crate) struct Shop {
    deliveries: Arc<Mutex<Vec<Delivery>>>,
    /// How many deliveries are still refused.
    refusals: Arc<AtomicUsize>,
}

impl Shop {
    /// Opens the endpoint; the first `refusals` deliveries are refused with 503.
    pub(crate) async fn open(refusals: usize) -> (Self, Webhook) {
        let shop = Self::default();
        shop.refusals.store(refusals, Ordering::SeqCst);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/webhook", listener.local_addr().unwrap());
        let routes = Router::new()
            .route("/webhook", post(receive))
            .with_state(shop.clone());
        tokio::spawn(async move { axum::serve(listener, routes).await });
        let secret = SECRET.to_owned();
        (shop, Webhook { url, secret })
    }

    /// What came so far.
    pub(crate) fn seen(&self) -> Vec<Delivery> {
        self.deliveries.lock().unwrap().clone()
    }

    /// The types of the genuine events so far.
    pub(crate) fn types(&self) -> Vec<String> {
        let genuine = self.seen().into_iter().filter(|delivery| delivery.genuine);
        genuine
            .map(|delivery| delivery.event["type"].as_str().unwrap().to_owned())
            .collect()
    }

    /// Waits until so many deliveries came.
    pub(crate) async fn received(&self, count: usize) -> Vec<Delivery> {
        let begun = Instant::now();
        while self.seen().len() < count {
            assert!(
                begun.elapsed() < Duration::from_secs(10),
                "{:?}",
                self.seen()
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        self.seen()
    }
}

async fn receive(State(shop): State<Shop>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let refused = |left: usize| left.checked_sub(1);
    let refused = shop
        .refusals
        .fetch_update(Ordering::SeqCst, Ordering::SeqCst, refused);
    if refused.is_ok() {
        return StatusCode::SERVICE_UNAVAILABLE;
    }
    let genuine = is_genuine(headers["stripe-signature"].to_str().unwrap(), &body);
    let event = serde_json::from_slice(&body).unwrap();
    let delivery = Delivery { genuine, event };
    shop.deliveries.lock().unwrap().push(delivery);
    if genuine {
        StatusCode::OK
    } else {
        StatusCode::BAD_REQUEST
    }
}

/// Stripe's published scheme: HMAC-SHA-256 over "<t>.<body>", and `t` no older than five minutes.
fn is_genuine(header: &str, body: &[u8]) -> bool {
    let (time, signature) = header.split_once(',').unwrap();
    let time = time.strip_prefix("t=").unwrap();
    let signature = signature.strip_prefix("v1=").unwrap();
    let age = chrono::Utc::now().timestamp() - time.parse::<i64>().unwrap();
    let digits: Vec<char> = signature.chars().collect();
    let bytes: Vec<u8> = digits
        .chunks(2)
        .map(|pair| u8::from_str_radix(&pair.iter().collect::<String>(), 16).unwrap())
        .collect();
    let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes());
    let signed = [time.as_bytes(), b".", body].concat();
    (0..300).contains(&age) && hmac::verify(&key, &signed, &bytes).is_ok()
}
