//! While nothing concerns the handler: the server keeps what comes, and the durable is moved past it.
//!
//! What is passed over was recorded before the handler was asked, and the handler says that nothing concerns it that
//! was recorded before it is asked. So several processes may do this beside each other. Where one works, the others
//! leave it to that one: it may be of another build, whose handler hears more.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::{Bulk, Floor, Handler};
use crate::subscription::{DurableSubscription, Payload};

impl<T: Payload> Bulk<T> {
    /// Where something comes and nothing is in hand.
    pub(super) fn ask_whether_it_rests(&mut self) {
        if self.floor.count() == 0 || !self.lanes.are_empty() || !self.asking.is_empty() {
            return;
        }
        let (name, handler) = (self.lanes.name.clone(), Arc::clone(&self.lanes.handler));
        self.asking
            .spawn(async move { rests(&name, &*handler).await });
    }

    /// Until the handler wakes.
    pub(super) async fn rest(
        &mut self,
        subscription: &mut DurableSubscription<T>,
        shutdown: &CancellationToken,
    ) {
        let handler = Arc::clone(&self.lanes.handler);
        tracing::debug!(durable = self.lanes.name, "nothing concerns it: it rests");
        // What is on its way to the server must not come behind a reset.
        while let Some(acked) = self.acking.join_next().await {
            if let Ok(acked) = acked {
                self.acked(acked);
            }
        }
        subscription.leave_off();
        self.sifting.abort_all();
        self.arrived.clear();
        self.floor = Floor::new();
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = handler.wakes() => {}
            () = self.pass_over(subscription, &*handler) => {}
        }
        tracing::debug!(durable = self.lanes.name, "something may concern it");
    }

    /// Passes over what comes; returns once something may concern the handler, or waits for a person.
    async fn pass_over(&self, subscription: &mut DurableSubscription<T>, handler: &dyn Handler<T>) {
        let every = subscription.limits().pass_over_every;
        while self.lanes.are_empty() {
            // First the end, then the question: it is about everything up to there.
            let end = subscription.to_pass_over().await;
            if !rests(&self.lanes.name, handler).await {
                return;
            }
            let passed = match end {
                Ok(Some(end)) => subscription.pass_over(end).await,
                Ok(None) => Ok(()),
                Err(error) => Err(error),
            };
            if let Err(error) = passed {
                tracing::debug!(durable = self.lanes.name, error, "passed over later");
            }
            tokio::time::sleep(every).await;
        }
    }
}

/// What is not known may concern it.
async fn rests<T: Payload>(name: &str, handler: &dyn Handler<T>) -> bool {
    match handler.rests().await {
        Ok(rests) => rests,
        Err(error) => {
            let error: &dyn std::error::Error = error.source.as_ref();
            tracing::debug!(durable = name, error, "whether it may rest is not known");
            false
        }
    }
}
