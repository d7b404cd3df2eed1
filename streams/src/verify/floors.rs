//! How far the durables have come.

use async_nats::jetstream::consumer;
use async_nats::jetstream::response::Response;
use futures::future::BoxFuture;

use super::ScanError;
use crate::connection::Connection;
use crate::topology::Topology;

/// How far a durable has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Floor {
    /// Which durable.
    pub durable: &'static str,
    /// Of which stream.
    pub stream: &'static str,
    /// Everything up to this sequence is acknowledged.
    pub acknowledged: u64,
    /// Everything up to this sequence was given out.
    pub delivered: u64,
    /// Given out and not acknowledged yet.
    pub pending: usize,
}

/// Of each durable of `topology`.
///
/// # Errors
/// One is not there, or the server can't be asked.
pub fn floors<'a>(
    connection: &'a Connection,
    topology: &'a Topology,
) -> BoxFuture<'a, Result<Vec<Floor>, ScanError>> {
    Box::pin(async move {
        let mut floors = Vec::with_capacity(topology.durables.len());
        for spec in &topology.durables {
            let request = format!("CONSUMER.INFO.{}.{}", spec.stream, spec.name);
            let empty = serde_json::json!({});
            let answer = connection.jetstream().request(request, &empty).await;
            let failed = |source| ScanError::Stream {
                stream: format!("{}, durable {}", spec.stream, spec.name),
                source,
            };
            let info: consumer::Info = match answer.map_err(|error| failed(error.into()))? {
                Response::Ok(info) => info,
                Response::Err { error } => return Err(failed(error.into())),
            };
            floors.push(Floor {
                durable: spec.name,
                stream: spec.stream,
                acknowledged: info.ack_floor.stream_sequence,
                delivered: info.delivered.stream_sequence,
                pending: info.num_ack_pending,
            });
        }
        Ok(floors)
    })
}
