//! What people do about parked keys: look, and ask for another try.

use std::fmt;
use std::sync::Arc;

use async_nats::HeaderMap;
use async_nats::header::NATS_EXPECTED_STREAM;
use tokio::sync::Mutex;

use super::follow::Follower;
use super::keys::{Keys, ParkedKey};
use super::lot::ParkingError;
use super::record::{Note, Record};
use super::{ASKED, EVERYTHING, subject};
use crate::connection::Connection;
use crate::topology::PARKED_STREAM;

/// What a person wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wish {
    /// Handle it again, and then the later ones.
    Retry {
        /// Why, for the record.
        reason: Option<String>,
    },
    /// Leave the first event out, for good, and handle the later ones.
    Skip {
        /// Why, for the record.
        reason: String,
    },
}

/// Every parked key, of every subscription, for who looks again and again: nothing is ever deleted from PARKED, so
/// each look reads what came since the last one. Clones are one.
#[derive(Clone)]
pub struct Overview(Arc<Mutex<Known>>);

/// What was read.
struct Known {
    follower: Follower,
    keys: Keys,
}

impl fmt::Debug for Overview {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Overview").finish_non_exhaustive()
    }
}

impl Overview {
    /// Reads nothing before the first look.
    pub fn new(connection: &Connection) -> Self {
        let follower = Follower::new(connection, EVERYTHING.to_owned(), 0);
        let keys = Keys::default();
        Self(Arc::new(Mutex::new(Known { follower, keys })))
    }

    /// What is parked: (subscription, key, what is known), sorted. Cancel-safe: what was read stays.
    ///
    /// # Errors
    /// Stream PARKED can't be read to its end.
    pub async fn look(&self) -> Result<Vec<(String, String, ParkedKey)>, ParkingError> {
        let mut known = self.0.lock().await;
        let Known { follower, keys } = &mut *known;
        let read = follower.poll(&mut |record| keys.apply(record)).await;
        read.map_err(|source| ParkingError::Read {
            of: EVERYTHING.to_owned(),
            source,
        })?;
        let parked = keys.parked().map(|(subscription, key, state)| {
            (subscription.to_owned(), key.to_owned(), state.clone())
        });
        let mut parked: Vec<_> = parked.collect();
        parked.sort_by(|a, b| (&a.0, &a.1).cmp(&(&b.0, &b.1)));
        Ok(parked)
    }
}

/// The same, for who looks once.
///
/// # Errors
/// As [`Overview::look`].
pub async fn parked(
    connection: &Connection,
) -> Result<Vec<(String, String, ParkedKey)>, ParkingError> {
    Overview::new(connection).look().await
}

/// Everything that happened to one key, oldest first; empty when it never was parked.
///
/// # Errors
/// Stream PARKED can't be read to its end.
pub async fn history(
    connection: &Connection,
    subscription: &str,
    key: &str,
) -> Result<Vec<Record>, ParkingError> {
    let subject = subject(subscription, key);
    let mut records = Vec::new();
    for filter in [subject.clone(), format!("{subject}.{ASKED}")] {
        let mut follower = Follower::new(connection, filter, 0);
        let read = follower.catch_up(&mut |record| records.push(record)).await;
        read.map_err(|source| ParkingError::Read {
            of: subject.clone(),
            source,
        })?;
    }
    records.sort_by_key(|record| record.sequence);
    Ok(records)
}

/// Records what `by` wants; the running role notices within a second or two. Gives the record's
/// place: how it ended follows in [`history`].
///
/// # Errors
/// Nothing is parked under that key, or PARKED can't be read or written.
pub async fn ask(
    connection: &Connection,
    subscription: &str,
    key: &str,
    by: &str,
    wish: Wish,
) -> Result<u64, ParkingError> {
    let mut keys = Keys::default();
    for record in history(connection, subscription, key).await? {
        keys.apply(record);
    }
    let state = keys.get(subscription, key).filter(|state| state.parked);
    let not_parked = || ParkingError::NotParked {
        subscription: subscription.to_owned(),
        key: key.to_owned(),
    };
    let first = state.ok_or_else(not_parked)?.waiting.front();
    let by = by.to_owned();
    let note = match (wish, first) {
        (Wish::Retry { reason }, _) => Note::Retry { by, reason },
        (Wish::Skip { reason }, Some(first)) => Note::Skip {
            by,
            reason,
            position: first.position.clone(),
        },
        (Wish::Skip { .. }, None) => return Err(not_parked()),
    };
    let subject = format!("{}.{ASKED}", subject(subscription, key));
    publish(connection, &subject, &note)
        .await
        .map_err(|source| ParkingError::Write { subject, source })
}

async fn publish(
    connection: &Connection,
    subject: &str,
    note: &Note,
) -> Result<u64, async_nats::Error> {
    let mut headers = HeaderMap::new();
    headers.insert(NATS_EXPECTED_STREAM, PARKED_STREAM);
    let body = serde_json::to_vec(note)?.into();
    let jetstream = connection.jetstream();
    let sent = jetstream.publish_with_headers(subject.to_owned(), headers, body);
    Ok(sent.await?.await?.sequence)
}
