//! What the server's answer to a publish means, by its number, never by its text.

use async_nats::client::{Client, Request, RequestError, RequestErrorKind};
use async_nats::{HeaderMap, Message, StatusCode};
use bytes::Bytes;
use serde::Deserialize;
use thiserror::Error;
use tokio::time::timeout;

use crate::connection::ANSWER_TIMEOUT;
use crate::resolve::Reply;

/// "wrong last sequence: n".
const WRONG_LAST_SEQUENCE: u64 = 10071;
/// "wrong last sequence", without a number: another proposal on the subject is in flight.
const WRONG_LAST_SEQUENCE_IN_FLIGHT: u64 = 10164;
/// A message id of the batch is known.
const BATCH_KNOWN_ID: u64 = 10201;
/// The server's or the cluster's room is used up.
const SERVER_FULL: u64 = 10023;
/// The account's room is used up.
const ACCOUNT_FULL: u64 = 10002;
/// The account's room on disk is used up.
const ACCOUNT_STORAGE_FULL: u64 = 10047;
/// The stream's limits are reached, or its store failed. Among replicas that may be the leader's alone, about
/// what the others have agreed on and stored.
const STORE_FAILED: u64 = 10077;
/// More publishes are queued than the stream takes.
const TOO_MANY_REQUESTS: u64 = 10167;
/// More batches are open than the stream takes.
const TOO_MANY_BATCHES: u64 = 10210;
/// The server lost the beginning of the batch, as when its leader changed.
const BATCH_INCOMPLETE: u64 = 10176;
/// More messages than a batch takes.
const BATCH_TOO_LARGE: u64 = 10199;
/// Larger than the stream's own limit.
const MESSAGE_TOO_LARGE: u64 = 10054;
/// The subject belongs to another stream than the expected one.
const OTHER_STREAM: u64 = 10060;
/// The stream takes no batches.
const BATCH_DISABLED: u64 = 10174;
/// The cluster has no leader for the stream, or no quorum.
const CLUSTER_NOT_AVAILABLE: u64 = 10008;
/// JetStream is off for this account.
const NOT_ENABLED: u64 = 10039;

#[derive(Debug, Deserialize)]
struct PublishAnswer {
    error: Option<ApiError>,
    #[serde(default)]
    seq: u64,
    #[serde(default)]
    duplicate: bool,
    /// Messages of the batch, in the answer to its commit.
    #[serde(default)]
    count: Option<usize>,
}

/// An error of JetStream's API.
#[derive(Debug, Clone, Error, Deserialize)]
#[error("{description} ({err_code})")]
pub(super) struct ApiError {
    #[serde(default)]
    pub(super) err_code: u64,
    #[serde(default)]
    description: String,
}

/// Publishes a message that is answered for `count` messages: itself, and those of its batch.
pub(crate) async fn published(
    client: &Client,
    subject: String,
    (headers, payload): (HeaderMap, Bytes),
    count: usize,
) -> Reply {
    let request = Request::new()
        .headers(headers)
        .payload(payload)
        .timeout(None);
    // The one time-out bounds the wait for room in the client's queue as well. A message that
    // did not get into it is never sent, one that did may be: both count as unknown.
    match timeout(ANSWER_TIMEOUT, client.send_request(subject, request)).await {
        Ok(answer) => reply(answer, count, || client.server_info().cluster.is_some()),
        Err(elapsed) => Reply::Unknown(elapsed.into()),
    }
}

/// What came back for a publish of `count` messages, of one server or of several (`replicas`).
fn reply(
    answer: Result<Message, RequestError>,
    count: usize,
    replicas: impl Fn() -> bool,
) -> Reply {
    match answer {
        Ok(message) => read(&message, count, replicas),
        Err(error) => match error.kind() {
            // Nobody listens on the subject: this very message went nowhere.
            RequestErrorKind::NoResponders => Reply::Busy(error.into()),
            RequestErrorKind::MaxPayloadExceeded => Reply::TooLarge,
            RequestErrorKind::InvalidSubject => Reply::Refused(error.into()),
            RequestErrorKind::TimedOut | RequestErrorKind::Other => Reply::Unknown(error.into()),
        },
    }
}

fn read(message: &Message, count: usize, replicas: impl Fn() -> bool) -> Reply {
    if message.status == Some(StatusCode::NO_RESPONDERS) {
        return Reply::Busy("nobody listens on the subject".into());
    }
    let answer: PublishAnswer = match serde_json::from_slice(&message.payload) {
        Ok(answer) => answer,
        Err(error) => return Reply::Unknown(error.into()),
    };
    if let Some(error) = answer.error {
        return classify(error, replicas);
    }
    if answer.seq == 0 || answer.count.is_some_and(|stored| stored != count) {
        return Reply::Unknown("the acknowledgement does not fit what was published".into());
    }
    Reply::Acknowledged {
        last: answer.seq,
        duplicate: answer.duplicate,
    }
}

/// An unknown number is no proof that nothing was appended, and the identical message again does
/// no harm.
fn classify(error: ApiError, replicas: impl Fn() -> bool) -> Reply {
    match error.err_code {
        WRONG_LAST_SEQUENCE => Reply::WrongPosition,
        WRONG_LAST_SEQUENCE_IN_FLIGHT => Reply::InFlight,
        BATCH_KNOWN_ID => Reply::KnownId,
        TOO_MANY_BATCHES | BATCH_INCOMPLETE | CLUSTER_NOT_AVAILABLE => Reply::Busy(error.into()),
        STORE_FAILED if replicas() => Reply::Unknown(error.into()),
        SERVER_FULL | ACCOUNT_FULL | ACCOUNT_STORAGE_FULL | STORE_FAILED | TOO_MANY_REQUESTS
        | OTHER_STREAM | BATCH_DISABLED | NOT_ENABLED => Reply::Refused(error.into()),
        BATCH_TOO_LARGE | MESSAGE_TOO_LARGE => Reply::TooLarge,
        // Among them 10158: our own message id is in flight.
        _ => Reply::Unknown(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(err_code: u64) -> Reply {
        among(false, err_code)
    }

    fn among(replicas: bool, err_code: u64) -> Reply {
        let description = String::new();
        let error = ApiError {
            err_code,
            description,
        };
        classify(error, || replicas)
    }

    #[test]
    fn a_store_that_failed_among_replicas_says_nothing_of_the_others() {
        assert!(matches!(among(true, 10077), Reply::Unknown(_)));
        assert!(matches!(among(true, 10023), Reply::Refused(_)));
    }

    #[test]
    fn numbers_tell_conflict_from_unknown_from_unavailable() {
        assert!(matches!(of(10071), Reply::WrongPosition));
        assert!(matches!(of(10164), Reply::InFlight));
        assert!(matches!(of(10201), Reply::KnownId));
        assert!(matches!(of(10158), Reply::Unknown(_)));
        for full in [10077, 10023, 10002, 10047] {
            assert!(matches!(of(full), Reply::Refused(_)), "{full}");
        }
        assert!(matches!(of(10167), Reply::Refused(_)));
        assert!(matches!(of(10176), Reply::Busy(_)));
        assert!(matches!(of(10054), Reply::TooLarge));
        assert!(matches!(of(99_999), Reply::Unknown(_)));
    }
}
