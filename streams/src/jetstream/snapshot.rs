//! Snapshots: the last message of each subject in their own stream.

use std::time::Duration;

use async_nats::header::NATS_EXPECTED_STREAM;
use async_nats::{HeaderMap, Request};
use bytes::Bytes;
use tokio::time::timeout;

use super::JetStreamLog;
use crate::log::BoxError;
use crate::topology::SNAPSHOTS_STREAM;

/// How long a load waits for a snapshot; without one it takes longer, and is as right.
const READ_TIMEOUT: Duration = Duration::from_secs(1);

/// Status of the answer that nothing is there.
const NOT_FOUND: u16 = 404;

/// A direct get of the last message, by subject (ADR-31): permissions can name it.
pub(super) async fn read(log: &JetStreamLog, subject: &str) -> Result<Option<Bytes>, BoxError> {
    let request = Request::new()
        .payload(Bytes::new())
        .timeout(Some(READ_TIMEOUT));
    let address = format!("$JS.API.DIRECT.GET.{SNAPSHOTS_STREAM}.{subject}");
    let answer = log.client.send_request(address, request);
    let answer = timeout(READ_TIMEOUT, answer).await??;
    match answer.status.map(|status| status.as_u16()) {
        None => Ok(Some(answer.payload)),
        Some(NOT_FOUND) => Ok(None),
        Some(status) => Err(format!("direct get of a snapshot answered {status}").into()),
    }
}

/// One acknowledged publish; the stream keeps one message of each subject.
pub(super) async fn write(log: &JetStreamLog, subject: &str, bytes: Bytes) -> Result<(), BoxError> {
    let mut headers = HeaderMap::new();
    headers.insert(NATS_EXPECTED_STREAM, SNAPSHOTS_STREAM);
    let context = &log.context;
    context
        .publish_with_headers(subject.to_owned(), headers, bytes)
        .await?
        .await?;
    Ok(())
}
