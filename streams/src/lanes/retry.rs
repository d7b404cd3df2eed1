//! Another try of a parked key, because a person asked for it.

use std::convert::Infallible;

use super::work::{RETRY_FIRST, handle};
use super::{HandleError, Handler};
use crate::log::chain;
use crate::parking::{Lot, Note, ParkingError, Reading};
use crate::subscription::{Delivery, Payload};

/// Tries of one event before its key is left parked again.
const TRIES: u32 = 3;

/// Handles what waits of `key`, in order, until nothing does or one can't be handled. Every step is
/// recorded, and meanwhile that this process is still at it; one that dies in the middle is noticed by its silence, and
/// another goes on.
pub(super) async fn again<T: Payload>(
    durable: &str,
    lot: &Lot,
    handler: &dyn Handler<T>,
    key: &str,
) {
    match try_again::<T>(lot, handler, key).await {
        Ok(true) => tracing::info!(durable, key, "no longer parked"),
        Ok(false) => tracing::warn!(durable, key, "stays parked"),
        Err(error) => {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(durable, key, error, "a parked key is tried again later");
        }
    }
}

/// Is nothing parked any more?
async fn try_again<T: Payload>(
    lot: &Lot,
    handler: &dyn Handler<T>,
    key: &str,
) -> Result<bool, ParkingError> {
    if !lot.claim(key).await? {
        return Ok(false);
    }
    let mut reading = Reading::default();
    while let Some((first, event)) = lot.next(key, &mut reading).await? {
        let position = first.position.clone();
        let failed = match T::read(&event.message()) {
            Ok(event) => {
                let delivered = u64::from(first.attempts) + 1;
                let delivery = Delivery::parked(event, position.clone(), delivered);
                let tried = try_some_times(handler, &delivery, (lot, key)).await;
                tried?.err()
            }
            Err(error) => Some(HandleError::permanent(error)),
        };
        let note = match &failed {
            None => Note::Handled { position },
            Some(error) => Note::Failed {
                position,
                cause: chain(error.source.as_ref()),
            },
        };
        lot.ended(key, note).await?;
        if failed.is_some() {
            return Ok(false);
        }
    }
    Ok(true)
}

async fn try_some_times<T: Payload>(
    handler: &dyn Handler<T>,
    delivery: &Delivery<T>,
    (lot, key): (&Lot, &str),
) -> Result<Result<(), HandleError>, ParkingError> {
    let mut tries = 1;
    loop {
        let ended = tokio::select! {
            ended = handle(handler, delivery) => ended,
            never = say_so(lot, key) => match never {},
        };
        match ended {
            Err(error) if !error.permanent && tries < TRIES => {
                tokio::time::sleep(RETRY_FIRST * tries).await;
                tries += 1;
                // Who can't say so may be taken for dead by now.
                lot.still_tries(key).await?;
            }
            ended => return Ok(ended),
        }
    }
}

/// Says again and again that this process is still at it. One that is dropped while it says so does no harm: what is
/// recorded next finds it there.
async fn say_so(lot: &Lot, key: &str) -> Infallible {
    loop {
        tokio::time::sleep(lot.say_so_interval()).await;
        if let Err(error) = lot.still_tries(key).await {
            let error = &error as &dyn std::error::Error;
            tracing::debug!(key, error, "not said that it is still tried");
        }
    }
}
