//! Arms the timers of open checkouts again, from their states: at start, and now and then.
//!
//! A timer is armed after the saga's event is appended. A process that dies in between is made
//! good by the delivery that comes again; what stream TIMERS itself loses is not, and nobody would
//! wake that checkout. So every worker follows CHECKOUT, remembers which checkouts are under way,
//! and sets the timer of each that has a deadline and no timer.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use checkout::CheckoutEvent;
use kernel::OrderId;
use streams::subscription::{OrderedSubscription, SubscriptionError};
use streams::{Connection, RecordedEvent};
use tokio::time::{Instant, interval_at};
use tokio_util::sync::CancellationToken;

use crate::intake::Sagas;

/// The stream of the checkouts.
const STREAM: &str = "CHECKOUT";

/// How often all open checkouts are looked at, after the first time.
const INTERVAL: Duration = Duration::from_mins(10);

/// Pause after something that can't be read.
const UNREADABLE_PAUSE: Duration = Duration::from_secs(1);

/// Most open checkouts that are remembered, 16 bytes each and a little; the rest of them relies on
/// timers that are never lost.
const OPEN_MAX: usize = 200_000;

/// Follows the checkouts until `shutdown`.
pub(crate) async fn run(connection: Connection, sagas: Arc<Sagas>, shutdown: CancellationToken) {
    let sweep = async {
        let mut sweep = Sweep {
            events: connection.ordered(STREAM, 0),
            open: HashSet::new(),
        };
        sweep.read_all().await;
        tracing::info!(open = sweep.open.len(), "looks at every open checkout");
        sweep.arm_all(&sagas).await;
        let mut every = interval_at(Instant::now() + INTERVAL, INTERVAL);
        loop {
            tokio::select! {
                _ = every.tick() => sweep.arm_all(&sagas).await,
                event = sweep.events.next() => sweep.note(event).await,
            }
        }
    };
    tokio::select! {
        () = shutdown.cancelled() => {}
        () = sweep => {}
    }
}

struct Sweep {
    events: OrderedSubscription,
    open: HashSet<OrderId>,
}

impl Sweep {
    /// Everything that is there when this begins.
    async fn read_all(&mut self) {
        while let Err(error) = self.events.start().await {
            report(&error);
            tokio::time::sleep(UNREADABLE_PAUSE).await;
        }
        while !self.events.caught_up() {
            let event = self.events.next().await;
            self.note(event).await;
        }
    }

    async fn note(&mut self, event: Result<RecordedEvent, SubscriptionError>) {
        match event {
            Ok(event) => self.take_in(&event),
            Err(error) => {
                // That checkout is left to its own facts; the others go on.
                report(&error);
                tokio::time::sleep(UNREADABLE_PAUSE).await;
            }
        }
    }

    fn take_in(&mut self, event: &RecordedEvent) {
        if event.kind.is_some() {
            // Returns and refunds set no timers.
            return;
        }
        let Ok(order_id) = event.aggregate_id.as_str().parse() else {
            return;
        };
        if is_over(event) {
            self.open.remove(&order_id);
        } else if self.open.len() < OPEN_MAX {
            self.open.insert(order_id);
        }
    }

    async fn arm_all(&self, sagas: &Sagas) {
        for order_id in &self.open {
            if let Err(error) = sagas.checkout.arm_again(*order_id).await {
                let error: &dyn std::error::Error = error.source.as_ref();
                tracing::warn!(order = %order_id, error, "its timer is looked at again later");
            }
        }
    }
}

/// Does the checkout wait for facts only, from here on?
fn is_over(event: &RecordedEvent) -> bool {
    match event.decode::<checkout::Checkout>() {
        Ok(event) => matches!(
            event,
            CheckoutEvent::CheckoutCompleted {} | CheckoutEvent::CheckoutEnded { .. }
        ),
        Err(_) => false,
    }
}

fn report(error: &SubscriptionError) {
    let error = error as &dyn std::error::Error;
    tracing::error!(error, "a checkout's event can't be read");
}
