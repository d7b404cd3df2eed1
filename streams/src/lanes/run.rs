//! The loop: take deliveries in, run handlers, acknowledge, try again.

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::held::{Held, Item};
use super::{HandleError, Handler};
use crate::subscription::{Delivery, DurableSubscription, Payload, SubscriptionError, pause};
use crate::topology::{ACK_WAIT, MAX_ACK_PENDING};

/// Pause before the second try of a delivery, doubled each time.
const RETRY_FIRST: Duration = Duration::from_millis(100);
/// Longest pause between tries, and the pause after a permanent error.
const RETRY_MAX: Duration = Duration::from_mins(1);
/// Tries that are only warned about; from then on each failure is an error in the log.
const WARNED_TRIES_MAX: u32 = 5;
/// How often the server hears that a held delivery is still being worked on.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(ACK_WAIT.as_secs() / 3);
/// Tries to get one acknowledgement confirmed; after that it comes again, which does no harm.
const ACK_TRIES: u32 = 3;
/// At shutdown, running handlers have this long to finish.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(10);
/// Most deliveries held: the server stops at the same number. Taking deliveries in never waits
/// for a handler before that, because pulling is what keeps the pin.
const HELD_MAX: u64 = MAX_ACK_PENDING.unsigned_abs();

impl<T: Payload> Item for Delivery<T> {
    fn sequence(&self) -> u64 {
        self.position.sequence
    }

    fn key(&self) -> &str {
        self.event.lane_key()
    }
}

/// Runs `handler` over the deliveries of `subscription` until `shutdown`: at most `lanes` at once,
/// one after another and in order for each key.
///
/// A delivery is acknowledged only after `Ok`. On an error or a panic it is tried again in place,
/// after 100 ms, then twice as long each time up to a minute; its key waits, the others go on, and
/// every failure is logged with its position and counted (`streams_handler_failures_total`). A
/// message that can't be read stays unacknowledged, is logged and counted as well.
///
/// At shutdown the running handlers finish (at most 10 s), the pin is given back, and what is not
/// acknowledged goes to the next worker, oldest first.
///
/// # Errors
/// None of today's: whatever goes wrong is waited for. The type is there for policies that stop.
pub async fn run_lanes<T, H>(
    mut subscription: DurableSubscription<T>,
    lanes: usize,
    handler: Arc<H>,
    shutdown: CancellationToken,
) -> Result<(), SubscriptionError>
where
    T: Payload,
    H: Handler<T>,
{
    let mut lanes = Lanes {
        name: subscription.name().to_owned(),
        width: lanes.max(1),
        handler,
        held: Held::new(),
        failures: HashMap::new(),
        running: JoinSet::new(),
    };
    let mut progress = tokio::time::interval(PROGRESS_INTERVAL);
    progress.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        lanes.start_what_may_run();
        let due = lanes.held.next_due();
        tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            Some(outcome) = lanes.running.join_next() => lanes.finish(outcome),
            () = at(due) => {}
            _ = progress.tick() => lanes.report_progress().await,
            next = subscription.next(), if lanes.held.count() < HELD_MAX => match next {
                Ok(delivery) => lanes.held.push(delivery),
                Err(error) => tracing::error!(
                    durable = lanes.name, position = %error.position(), error = &error as &dyn std::error::Error,
                    "a message can't be read; it stays and is tried again"
                ),
            },
        }
    }
    lanes.drain().await;
    subscription.release().await;
    Ok(())
}

async fn at(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}

/// How a handler's run ended.
type Outcome<T> = (Arc<Delivery<T>>, Result<(), HandleError>);

struct Lanes<T: Payload, H> {
    name: String,
    /// Handlers at once.
    width: usize,
    handler: Arc<H>,
    held: Held<Delivery<T>>,
    /// Failures in a row of a key's head, by its sequence.
    failures: HashMap<u64, u32>,
    running: JoinSet<Outcome<T>>,
}

impl<T: Payload, H: Handler<T>> Lanes<T, H> {
    fn start_what_may_run(&mut self) {
        while self.running.len() < self.width {
            let Some(delivery) = self.held.take(Instant::now()) else {
                return;
            };
            self.running
                .spawn(handle(Arc::clone(&self.handler), delivery));
        }
    }

    fn finish(&mut self, outcome: Result<Outcome<T>, tokio::task::JoinError>) {
        let (delivery, result) = match outcome {
            Ok(outcome) => outcome,
            Err(error) => {
                // Handlers' panics are caught inside; this is an abort at the runtime's end.
                tracing::error!(durable = self.name, error = %error, "a lane ended");
                return;
            }
        };
        let sequence = delivery.position.sequence;
        match result {
            Ok(()) => {
                self.failures.remove(&sequence);
                self.held.done(delivery.key());
            }
            Err(error) => {
                let failures = self.failures.entry(sequence).or_insert(0);
                let wait = wait_after(&error, *failures);
                *failures += 1;
                report(&self.name, &delivery, &error, *failures, wait);
                self.held.pause(delivery.key(), Instant::now() + wait);
            }
        }
    }

    async fn report_progress(&self) {
        for delivery in self.held.iter() {
            if let Err(error) = delivery.progress().await {
                tracing::debug!(durable = self.name, error = %error, "progress not reported");
                return;
            }
        }
    }

    /// Lets what runs finish, bounded.
    async fn drain(&mut self) {
        let finished = async {
            while let Some(outcome) = self.running.join_next().await {
                self.finish(outcome);
            }
        }
        .map(|()| ());
        if tokio::time::timeout(SHUTDOWN_GRACE, finished)
            .await
            .is_err()
        {
            tracing::warn!(
                durable = self.name,
                "handlers still running at shutdown: their deliveries come again"
            );
        }
        self.running.abort_all();
    }
}

/// Handles and acknowledges. Nothing is acknowledged that was not handled.
async fn handle<T: Payload, H: Handler<T>>(
    handler: Arc<H>,
    delivery: Arc<Delivery<T>>,
) -> Outcome<T> {
    let run = AssertUnwindSafe(handler.handle(&delivery)).catch_unwind();
    let result = match run.await {
        Ok(result) => result,
        Err(_) => Err(HandleError::retryable("the handler panicked")),
    };
    if result.is_ok() {
        acknowledge(&delivery).await;
    }
    (delivery, result)
}

async fn acknowledge<T>(delivery: &Delivery<T>) {
    for _ in 0..ACK_TRIES {
        let Err(error) = delivery.ack().await else {
            return;
        };
        tracing::debug!(position = %delivery.position, error = %error, "acknowledgement again");
    }
    tracing::warn!(position = %delivery.position, "handled, but not known to be acknowledged: it will come again");
}

fn wait_after(error: &HandleError, failures: u32) -> Duration {
    if error.permanent {
        return RETRY_MAX;
    }
    pause(RETRY_FIRST, RETRY_MAX, failures)
}

fn report<T: Payload>(
    durable: &str,
    delivery: &Delivery<T>,
    error: &HandleError,
    failures: u32,
    wait: Duration,
) {
    metrics::counter!("streams_handler_failures_total", "durable" => durable.to_owned())
        .increment(1);
    let position = &delivery.position;
    let key = delivery.key();
    let error: &dyn std::error::Error = error.source.as_ref();
    if failures > WARNED_TRIES_MAX {
        tracing::error!(durable, %position, key, failures, ?wait, error, "a delivery can't be handled; its key waits");
    } else {
        tracing::warn!(durable, %position, key, failures, ?wait, error, "a delivery is tried again");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_permanent_error_waits_longest() {
        let permanent = HandleError::permanent("no such template");
        assert_eq!(wait_after(&permanent, 0), RETRY_MAX);
        let transient = HandleError::retryable("busy");
        assert!(wait_after(&transient, 0) <= RETRY_FIRST);
        assert!(wait_after(&transient, 99) <= RETRY_MAX);
    }
}
