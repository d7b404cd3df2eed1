//! Takes durables of an earlier version away, once another goes on where they were.

use async_nats::jetstream::consumer;
use async_nats::jetstream::response::Response;
use async_nats::jetstream::stream::Stream;

use super::error::TopologyError;
use super::spec::Retired;
use crate::connection::Connection;
use crate::log::BoxError;

/// JetStream's number for "consumer not found".
const NOT_FOUND: u64 = 10014;

/// The successor begins behind what the old one has acknowledged; then the old one goes, unless a
/// process of the earlier version still reads it. Doing it twice is harmless: nothing is ever skipped
/// that the old one has not acknowledged.
pub(super) async fn retire(connection: &Connection, old: &Retired) -> Result<(), TopologyError> {
    let retired = try_to(connection, old).await;
    retired.map_err(|source| TopologyError::Failed {
        what: format!("durable {} on {}, which is no more,", old.name, old.stream),
        source,
    })
}

async fn try_to(connection: &Connection, old: &Retired) -> Result<(), BoxError> {
    let Some(before) = info(connection, old.stream, old.name).await? else {
        return Ok(());
    };
    let stream = connection.jetstream().get_stream_no_info(old.stream);
    let stream = stream.await?;
    hand_over(connection, &stream, (old.stream, old.successor), &before).await?;
    let (durable, successor) = (old.name, old.successor);
    if before.num_waiting > 0 {
        tracing::warn!(
            durable,
            successor,
            "an earlier version still reads it: provision once more when none runs"
        );
        return Ok(());
    }
    stream.delete_consumer(old.name).await?;
    tracing::info!(
        durable,
        successor,
        "a durable that is no more was taken away"
    );
    Ok(())
}

async fn hand_over(
    connection: &Connection,
    stream: &Stream<()>,
    (of, successor): (&str, &str),
    before: &consumer::Info,
) -> Result<(), BoxError> {
    let done = before.ack_floor.stream_sequence;
    let after = info(connection, of, successor).await?;
    let begun = after.map_or(0, |after| after.ack_floor.stream_sequence);
    if begun < done {
        stream.reset_consumer(successor, Some(done + 1)).await?;
    }
    Ok(())
}

/// The durable as the server has it, if it does.
pub(super) async fn info(
    connection: &Connection,
    stream: &str,
    durable: &str,
) -> Result<Option<consumer::Info>, BoxError> {
    let request = format!("CONSUMER.INFO.{stream}.{durable}");
    let empty = serde_json::json!({});
    match connection.jetstream().request(request, &empty).await? {
        Response::Ok(info) => Ok(Some(info)),
        Response::Err { error } if error.error_code().0 == NOT_FOUND => Ok(None),
        Response::Err { error } => Err(error.into()),
    }
}
