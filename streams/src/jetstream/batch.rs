//! Which headers make a publish an append: the expectation, and the atomic batch of ADR-50.

use async_nats::HeaderMap;
use async_nats::header::{
    NATS_BATCH_COMMIT, NATS_BATCH_COMMIT_FINAL, NATS_BATCH_ID, NATS_BATCH_SEQUENCE,
    NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, NATS_EXPECTED_STREAM,
};

use crate::envelope::{EncodeError, write};
use crate::log::NewEvent;

/// The headers of the one message of an append.
pub(super) fn single(new: &NewEvent) -> Result<HeaderMap, EncodeError> {
    let mut headers = write(&new.event)?;
    expect_stream(&mut headers, new);
    expect_sequence(&mut headers, new);
    Ok(headers)
}

/// The headers of each message of a batch called `id`, in order; the last one commits.
///
/// Only the first event on a subject carries the expectation: it is compared with the stream as it
/// was before the batch, and a second one on a subject that the batch has written is refused.
pub(super) fn several(events: &[NewEvent], id: &str) -> Result<Vec<HeaderMap>, EncodeError> {
    let mut expected: Vec<&str> = Vec::new();
    let mut all = Vec::with_capacity(events.len());
    for (index, new) in events.iter().enumerate() {
        let mut headers = write(&new.event)?;
        expect_stream(&mut headers, new);
        if !expected.contains(&new.event.subject.as_str()) {
            expect_sequence(&mut headers, new);
            expected.push(&new.event.subject);
        }
        headers.insert(NATS_BATCH_ID, id);
        headers.insert(NATS_BATCH_SEQUENCE, (index + 1).to_string());
        if index + 1 == events.len() {
            headers.insert(NATS_BATCH_COMMIT, NATS_BATCH_COMMIT_FINAL);
        }
        all.push(headers);
    }
    Ok(all)
}

fn expect_stream(headers: &mut HeaderMap, new: &NewEvent) {
    headers.insert(NATS_EXPECTED_STREAM, new.event.position.stream.as_str());
}

fn expect_sequence(headers: &mut HeaderMap, new: &NewEvent) {
    headers.insert(
        NATS_EXPECTED_LAST_SUBJECT_SEQUENCE,
        new.expected.to_string(),
    );
}
