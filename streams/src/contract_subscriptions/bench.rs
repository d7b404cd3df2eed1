//! A stream and durables of a test's own.

use std::time::Duration;

use async_nats::jetstream::consumer::{PriorityPolicy, PullConsumer, pull};
use async_nats::jetstream::stream::Config;
use bytes::Bytes;
use chrono::Utc;
use kernel::{AggregateId, Position};
use uuid::Uuid;

use crate::connection::Connection;
use crate::envelope::{self, RecordedEvent};
use crate::subscription::{DurableLimits, DurableSubscription};
use crate::topology::{Acks, DurableSpec, OnFailure, StreamSpec, Topology};

/// How long anything may take before the test gives up: slow machines, not slow code.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// How soon a standby takes over in these tests; in production the topology says.
pub(super) const PIN_TIMEOUT: Duration = Duration::from_secs(2);

/// Copies of each stream where several servers form a cluster.
const REPLICAS: usize = 3;

/// Makes the infrastructure's streams as the topology declares them; needed by the tests of
/// timers, keys and parking, once per server or cluster.
pub async fn prepare(connection: &Connection) {
    for stream in Topology::new(&[], &[]).streams {
        let config = stream.config(replicas(connection));
        let js = connection.jetstream();
        at_last("made", async || {
            js.create_or_update_stream(config.clone()).await
        })
        .await;
    }
}

fn replicas(connection: &Connection) -> usize {
    let in_cluster = connection.client().server_info().cluster.is_some();
    if in_cluster { REPLICAS } else { 1 }
}

/// An event stream under a name of its own.
pub(crate) struct Bench {
    pub(crate) connection: Connection,
    pub(crate) context: String,
    pub(crate) stream: String,
}

impl Bench {
    pub(super) async fn new(connection: &Connection) -> Self {
        Self::with(connection, |_| {}).await
    }

    /// With a configuration that differs from an event stream's.
    pub(super) async fn with(connection: &Connection, change: impl FnOnce(&mut Config)) -> Self {
        // Stream names in positions hold letters only.
        let letter = |byte: &u8| char::from(b'a' + byte % 26);
        let random: String = Uuid::new_v4().as_bytes().iter().map(letter).collect();
        let context = format!("contract_{random}");
        let spec = StreamSpec::events(&context);
        let mut config = spec.config(replicas(connection));
        change(&mut config);
        let js = connection.jetstream();
        at_last("made", async || js.create_stream(&config).await).await;
        Self {
            connection: connection.clone(),
            context,
            stream: spec.name,
        }
    }

    /// Appends `count` events to the flow `key`; the body counts from `first`.
    pub(crate) async fn append(&self, key: &str, first: u64, count: u64) {
        for number in first..first + count {
            self.append_one(key, number).await;
        }
    }

    pub(super) async fn append_one(&self, key: &str, number: u64) {
        let id: AggregateId = key.parse().unwrap();
        let command_id = Uuid::new_v4();
        let event = RecordedEvent {
            position: Position::new(self.stream.as_str(), 0),
            subject: format!("event.{}.{key}", self.context),
            context: self.context.clone(),
            kind: None,
            aggregate_id: id,
            id: command_id,
            event_type: "counted".to_owned(),
            schema_version: 1,
            version: number,
            time: Utc::now(),
            recorded_at: Utc::now(),
            command_id,
            correlation_id: Some(key.to_owned()),
            causation_id: None,
            request_digest: None,
            actor: "system".to_owned(),
            traceparent: None,
            data: Bytes::from(format!("{{\"number\":{number}}}")),
        };
        let headers = envelope::write(&event).unwrap();
        let js = self.connection.jetstream();
        // Its message id keeps it single.
        at_last("appended", async || {
            let subject = event.subject.clone();
            let sent = js.publish_with_headers(subject, headers.clone(), event.data.clone());
            sent.await?.await
        })
        .await;
    }

    /// A durable as the topology declares it, with a shorter pin.
    pub(super) async fn make_durable(&self, name: &'static str) -> DurableSpec {
        self.make(name, OnFailure::Retry).await
    }

    /// The same, with what its worker does about failures.
    pub(super) async fn make(&self, name: &'static str, on_failure: OnFailure) -> DurableSpec {
        self.make_with(name, on_failure, Acks::Each).await
    }

    /// Takes the pin away: what one reader has in its hands stays there while another reads on, as what
    /// got lost on the way does.
    pub(super) async fn unpin(&self, spec: &DurableSpec) {
        self.remake(spec, |config| {
            config.priority_policy = PriorityPolicy::None;
            config.priority_groups = Vec::new();
            config.priority_timeout = Duration::ZERO;
        })
        .await;
    }

    /// Gives the pin the time that the topology says.
    pub(super) async fn pin_as_declared(&self, spec: &DurableSpec) {
        self.remake(spec, |_| {}).await;
    }

    async fn remake(&self, spec: &DurableSpec, change: impl FnOnce(&mut pull::Config)) {
        let js = self.connection.jetstream();
        let deleted = js.delete_consumer_from_stream(spec.name, &self.stream);
        deleted.await.unwrap();
        let mut config = spec.config();
        change(&mut config);
        let made = js.create_consumer_on_stream(config, &self.stream);
        made.await.unwrap();
    }

    /// One that is acknowledged in bulk.
    pub(super) async fn make_in_bulk(&self, name: &'static str) -> DurableSpec {
        let park = OnFailure::Park {
            after_attempts: None,
        };
        self.make_with(name, park, Acks::InBulk).await
    }

    async fn make_with(
        &self,
        name: &'static str,
        on_failure: OnFailure,
        acks: Acks,
    ) -> DurableSpec {
        let spec = DurableSpec {
            name,
            stream: String::leak(self.stream.clone()),
            kind: None,
            acks,
            on_failure,
        };
        let mut config = spec.config();
        config.priority_timeout = PIN_TIMEOUT;
        let js = self.connection.jetstream();
        let make = async || {
            let made = js.create_consumer_on_stream(config.clone(), &self.stream);
            made.await
        };
        at_last("made", make).await;
        spec
    }

    pub(super) async fn bind(&self, spec: &DurableSpec) -> DurableSubscription {
        let bound = self.connection.durable(spec, DurableLimits::default());
        bound.await.unwrap()
    }

    /// How many deliveries are out, and where the acknowledgement floor is.
    pub(super) async fn durable_state(&self, spec: &DurableSpec) -> (usize, u64) {
        let js = self.connection.jetstream();
        let find = async || js.get_consumer_from_stream(spec.name, &self.stream).await;
        let consumer: PullConsumer = at_last("told", find).await;
        let info = consumer.cached_info();
        (info.num_ack_pending, info.ack_floor.stream_sequence)
    }

    /// Waits until everything up to `sequence` is acknowledged.
    pub(super) async fn acknowledged_up_to(&self, spec: &DurableSpec, sequence: u64) {
        within("acknowledged", async {
            while self.durable_state(spec).await != (0, sequence) {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        })
        .await;
    }

    pub(super) async fn remove(self) {
        // Where a cluster is too busy to say so it is gone all the same, or stays and disturbs nobody.
        let _ = self
            .connection
            .jetstream()
            .delete_stream(&self.stream)
            .await;
    }
}

/// What comes of it at last: while a cluster elects, nobody answers.
pub(super) async fn at_last<T, E>(what: &str, mut ask: impl AsyncFnMut() -> Result<T, E>) -> T {
    within(what, async {
        loop {
            if let Ok(done) = ask().await {
                return done;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await
}

/// The result, or a panic that says what did not happen.
pub(super) async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    let done = tokio::time::timeout(PATIENCE, future).await;
    done.unwrap_or_else(|_| panic!("not {what} within {PATIENCE:?}"))
}
