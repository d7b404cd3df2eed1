//! The references: as plain as they can be, and written to be fast.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::stream::{Config, DiscardPolicy, RetentionPolicy, StorageType};
use async_nats::jetstream::{self, Context};
use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use bytes::Bytes;

/// The references' stream.
const STREAM: &str = "BENCH";

/// As large as an order_placed event, headers included.
const PAYLOAD_BYTES: usize = 300;

/// Makes the stream that the references publish to, configured like an event stream.
pub(crate) async fn prepare(jetstream: &Context) -> anyhow::Result<()> {
    let config = Config {
        name: STREAM.to_owned(),
        subjects: vec!["bench.>".to_owned()],
        storage: StorageType::File,
        retention: RetentionPolicy::Limits,
        discard: DiscardPolicy::New,
        ..Config::default()
    };
    jetstream.get_or_create_stream(config).await?;
    Ok(())
}

/// Publishes to subjects of its own, each with the expectation that it is new.
#[derive(Clone)]
pub(crate) struct Publisher {
    jetstream: Context,
    run: u128,
    next: Arc<AtomicU64>,
    payload: Bytes,
}

impl Publisher {
    pub(crate) fn new(jetstream: Context) -> Self {
        Self {
            jetstream,
            run: uuid::Uuid::new_v4().as_u128(),
            next: Arc::new(AtomicU64::new(0)),
            payload: Bytes::from(vec![b'x'; PAYLOAD_BYTES]),
        }
    }

    /// One publish, acknowledged.
    pub(crate) async fn publish(&self) -> anyhow::Result<()> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let message = PublishMessage::build()
            .payload(self.payload.clone())
            .message_id(format!("{:x}-{number}", self.run))
            .expected_last_subject_sequence(0);
        let subject = format!("bench.{:x}.{number}", self.run);
        self.jetstream.send_publish(subject, message).await?.await?;
        Ok(())
    }
}

/// A minimal axum server whose one handler does one such publish.
pub(crate) async fn serve(jetstream: jetstream::Context) -> anyhow::Result<SocketAddr> {
    let router = Router::new()
        .route("/", post(handle))
        .with_state(Publisher::new(jetstream));
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move { axum::serve(listener, router).await });
    Ok(address)
}

async fn handle(State(publisher): State<Publisher>, body: Body) -> StatusCode {
    // The body is read, as every handler must, and not looked at.
    let read = axum::body::to_bytes(body, 1024 * 1024).await;
    match (read, publisher.publish().await) {
        (Ok(_), Ok(())) => StatusCode::CREATED,
        _ => StatusCode::SERVICE_UNAVAILABLE,
    }
}
