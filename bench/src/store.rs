//! The store under test: its library alone, on a server of its own.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

use chrono::Utc;
use kernel::AggregateId;
use streams::topology::{Topology, provision};
use streams::{CommandMeta, Connection, Streams};
use uuid::Uuid;

use crate::note::{CONTEXT, Note, WritePage};
use crate::reference;
use crate::server::Server;

/// Correlation ids of orders are as long.
const FLOW: &str = "0193b6f0-5b5e-7c3a-9d55-2f3a4b5c6d7e";

/// A server with the streams of the measured aggregate and of the references.
pub(crate) struct Store {
    server: Server,
}

impl Store {
    /// Starts the server, that syncs as `sync` says.
    pub(crate) async fn start(sync: &str) -> anyhow::Result<Self> {
        let server = Server::start(sync).await?;
        let connection = server.connect().await?;
        provision(&connection, &Topology::new(&[CONTEXT], &[]), 1).await?;
        reference::prepare(connection.jetstream(), 1).await?;
        Ok(Self { server })
    }

    /// One more connection.
    pub(crate) async fn connect(&self) -> anyhow::Result<Connection> {
        self.server.connect().await
    }

    /// Stops the server; the data goes with it.
    pub(crate) async fn stop(self) -> anyhow::Result<()> {
        self.server.stop().await
    }
}

/// As cheap as the message ids of the references: a command's id comes with it.
fn command_id() -> Uuid {
    static RUN: LazyLock<u128> = LazyLock::new(|| Uuid::new_v4().as_u128());
    static NEXT: AtomicU64 = AtomicU64::new(0);
    Uuid::from_u128(*RUN ^ u128::from(NEXT.fetch_add(1, Ordering::Relaxed)))
}

/// One more page, with everything that a command of the shop carries.
pub(crate) async fn command(streams: &Streams, id: &AggregateId) -> anyhow::Result<()> {
    let meta = CommandMeta::new(command_id(), Utc::now(), "user:bench")
        .with_correlation(FLOW)
        .with_request_digest("Zk9yIGEgYmVuY2htYXJrLCBhbnkgdGV4dCB3aWxsIGRv");
    streams
        .execute::<Note>(id, WritePage::usual(), &meta)
        .await?;
    Ok(())
}
