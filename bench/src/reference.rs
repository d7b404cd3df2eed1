//! The references: as plain as they can be, and written to be fast.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_nats::header::{
    HeaderName, NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, NATS_EXPECTED_STREAM, NATS_MESSAGE_ID,
};
use async_nats::jetstream::Context;
use async_nats::jetstream::message::{PublishMessage, StreamMessage};
use async_nats::jetstream::stream::{Config, DiscardPolicy, RetentionPolicy, StorageType};
use async_nats::{HeaderMap, HeaderValue};
use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use bytes::Bytes;
use tokio::sync::Mutex;
use uuid::Uuid;

use crate::load::{Take, closed_loop};

/// The references' stream.
const STREAM: &str = "BENCH";

/// Pads the headers of a reference to the size of ours.
const FILLER: &str = "filler";

/// `NATS/1.0`, its line break and the empty line behind the last header.
const HEADERS_FRAME_BYTES: usize = 12;

/// Colon, space and line break of one header.
const HEADER_FRAME_BYTES: usize = 4;

/// How large a published message is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape {
    /// Bytes of its body.
    pub(crate) payload: usize,
    /// Bytes of its headers on the wire.
    pub(crate) headers: usize,
}

impl Shape {
    /// 300 bytes, and no headers but the id and the expectation.
    pub(crate) const BARE: Self = Self {
        payload: 300,
        headers: 0,
    };

    /// As large as the last message of `stream`.
    pub(crate) async fn of_last(jetstream: &Context, stream: &str) -> anyhow::Result<Self> {
        let message = last_of(jetstream, stream).await?;
        Ok(Self {
            payload: message.payload.len(),
            headers: bytes_of(&message.headers),
        })
    }
}

async fn last_of(jetstream: &Context, stream: &str) -> anyhow::Result<StreamMessage> {
    let stream = jetstream.get_stream(stream).await?;
    let last = stream.cached_info().state.last_sequence;
    Ok(stream.get_raw_message(last).await?)
}

fn bytes_of(headers: &HeaderMap) -> usize {
    let each = headers.iter().flat_map(|(name, values)| {
        let name = AsRef::<[u8]>::as_ref(name).len();
        values
            .iter()
            .map(move |value| name + value.as_str().len() + HEADER_FRAME_BYTES)
    });
    each.sum::<usize>() + HEADERS_FRAME_BYTES
}

/// Makes the stream that the references publish to, configured like an event stream, with so many copies.
pub(crate) async fn prepare(jetstream: &Context, copies: usize) -> anyhow::Result<()> {
    let config = Config {
        name: STREAM.to_owned(),
        subjects: vec!["bench.>".to_owned()],
        storage: StorageType::File,
        retention: RetentionPolicy::Limits,
        discard: DiscardPolicy::New,
        allow_direct: true,
        allow_atomic_publish: true,
        num_replicas: copies,
        ..Config::default()
    };
    jetstream.get_or_create_stream(config).await?;
    Ok(())
}

/// Publishes to subjects as random as those of aggregates, each with the expectation that it is new.
#[derive(Clone)]
pub(crate) struct Publisher {
    jetstream: Context,
    run: u128,
    next: Arc<AtomicU64>,
    payload: Bytes,
    /// Beside the id and the expectation.
    more: HeaderMap,
    chain: Option<Arc<Mutex<Chain>>>,
}

/// Messages on one subject, each of which expects the one before.
struct Chain {
    subject: String,
    last: u64,
}

impl Publisher {
    /// Messages of this shape.
    pub(crate) fn new(jetstream: &Context, shape: Shape) -> Self {
        let mut publisher = Self {
            jetstream: jetstream.clone(),
            run: Uuid::new_v4().as_u128(),
            next: Arc::new(AtomicU64::new(0)),
            payload: Bytes::from(vec![b'x'; shape.payload]),
            more: HeaderMap::new(),
            chain: None,
        };
        let own =
            bytes_of(&publisher.headers(1_000_000, 1_000_000)) + FILLER.len() + HEADER_FRAME_BYTES;
        if let Some(bytes) = shape.headers.checked_sub(own) {
            let filler = HeaderName::from_static(FILLER);
            publisher.more.insert(filler, "x".repeat(bytes));
        }
        publisher
    }

    /// Messages like the last one of `stream`, header by header: what CloudEvents in headers cost whoever writes them.
    pub(crate) async fn like_last(jetstream: &Context, stream: &str) -> anyhow::Result<Self> {
        let message = last_of(jetstream, stream).await?;
        let mut more = message.headers;
        more.insert(NATS_EXPECTED_STREAM, STREAM);
        Ok(Self {
            payload: message.payload,
            more,
            ..Self::new(jetstream, Shape::BARE)
        })
    }

    /// Messages of this shape, one after another on one subject.
    pub(crate) fn chained(jetstream: &Context, shape: Shape) -> Self {
        Self::new(jetstream, shape).in_a_chain()
    }

    /// The same, one after another on one subject.
    pub(crate) fn in_a_chain(self) -> Self {
        let chain = Chain {
            subject: new_subject(),
            last: 0,
        };
        Self {
            chain: Some(Arc::new(Mutex::new(chain))),
            ..self
        }
    }

    /// One publish, acknowledged.
    pub(crate) async fn publish(&self) -> anyhow::Result<()> {
        let Some(chain) = &self.chain else {
            return self.put(new_subject(), 0).await.map(|_| ());
        };
        let mut chain = chain.lock().await;
        chain.last = self.put(chain.subject.clone(), chain.last).await?;
        Ok(())
    }

    async fn put(&self, subject: String, expected: u64) -> anyhow::Result<u64> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let message = PublishMessage::build()
            .payload(self.payload.clone())
            .headers(self.headers(number, expected));
        let sent = self.jetstream.send_publish(subject, message).await?;
        Ok(sent.await?.sequence)
    }

    fn headers(&self, number: u64, expected: u64) -> HeaderMap {
        let mut headers = self.more.clone();
        headers.insert(NATS_MESSAGE_ID, format!("{:x}-{number}", self.run));
        headers.insert(
            NATS_EXPECTED_LAST_SUBJECT_SEQUENCE,
            HeaderValue::from(expected),
        );
        headers
    }

    /// A figure over this publisher.
    pub(crate) fn take<'a>(&self, what: &str, in_flight: usize, duration: Duration) -> Take<'a> {
        let publisher = self.clone();
        Take::new(what, move || {
            let publisher = publisher.clone();
            closed_loop(in_flight, duration, move |_, _| {
                let publisher = publisher.clone();
                async move { publisher.publish().await }
            })
        })
    }
}

/// A minimal axum server whose one handler does one such publish.
pub(crate) async fn serve(publisher: Publisher) -> anyhow::Result<SocketAddr> {
    let router = Router::new().route("/", post(handle)).with_state(publisher);
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move { axum::serve(listener, router).await });
    Ok(address)
}

fn new_subject() -> String {
    format!("bench.reference.{}", Uuid::new_v4())
}

async fn handle(State(publisher): State<Publisher>, body: Body) -> StatusCode {
    // The body is read, as every handler must, and not looked at.
    let read = axum::body::to_bytes(body, 1024 * 1024).await;
    match (read, publisher.publish().await) {
        (Ok(_), Ok(())) => StatusCode::CREATED,
        _ => StatusCode::SERVICE_UNAVAILABLE,
    }
}
