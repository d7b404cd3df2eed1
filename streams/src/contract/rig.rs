//! How a log is opened once more, and how a stranger writes into it.

use std::sync::Arc;

use async_nats::HeaderMap;
use async_trait::async_trait;
use bytes::Bytes;

use crate::memory::{FirstCheck, MemoryLog};
use crate::topology::{Topology, provision};
use crate::{ConnectOptions, Connection, Settings, Streams};

use super::CONTEXT;

/// One log that several processes work on.
#[async_trait]
pub trait Rig: Send + Sync {
    /// A store with caches of its own, as another process would have.
    async fn process(&self) -> Streams;

    /// Puts a message on a subject of stream `ACCOUNT`, as somebody could by hand.
    async fn put_by_hand(&self, subject: &str, headers: HeaderMap, data: Bytes);
}

/// The log in memory.
#[derive(Debug, Default)]
pub struct InMemory(Arc<MemoryLog>);

impl InMemory {
    /// A log that checks in this order.
    pub fn new(first_check: FirstCheck) -> Self {
        Self(Arc::new(MemoryLog::new(first_check)))
    }
}

#[async_trait]
impl Rig for InMemory {
    async fn process(&self) -> Streams {
        Streams::new(self.0.clone(), Settings::default())
    }

    async fn put_by_hand(&self, subject: &str, headers: HeaderMap, data: Bytes) {
        let stream = crate::subject::stream_name(CONTEXT);
        self.0.insert_foreign(&stream, subject, headers, data);
    }
}

/// A NATS server that lets `options.user` do everything.
#[derive(Debug)]
pub struct OnServer {
    options: ConnectOptions,
    by_hand: Connection,
    replicas: usize,
}

impl OnServer {
    /// Creates stream `ACCOUNT` on the server, if it isn't there.
    pub async fn open(options: ConnectOptions, replicas: usize) -> Self {
        let by_hand = Connection::open(&options).await.unwrap();
        let topology = Topology::new(&[CONTEXT], &[]).only(&["ACCOUNT", "SNAPSHOTS"]);
        provision(&by_hand, &topology, replicas).await.unwrap();
        Self {
            options,
            by_hand,
            replicas,
        }
    }

    /// What needs a server: no room, lost answers, the start-up check.
    pub async fn all(&self) {
        super::full::all(&self.by_hand).await;
        super::guard::all(&self.by_hand, self.replicas).await;
        super::lossy::all(&self.options).await;
    }
}

#[async_trait]
impl Rig for OnServer {
    async fn process(&self) -> Streams {
        let connection = Connection::open(&self.options).await.unwrap();
        connection.streams(Settings::default())
    }

    async fn put_by_hand(&self, subject: &str, headers: HeaderMap, data: Bytes) {
        let jetstream = self.by_hand.jetstream();
        let published = jetstream.publish_with_headers(subject.to_owned(), headers, data);
        published.await.unwrap().await.unwrap();
    }
}
