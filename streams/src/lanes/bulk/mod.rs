//! The loop where deliveries are acknowledged in bulk: take in, sift, run what concerns the handler,
//! acknowledge what is behind everything that is done.

mod rest;

use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use tokio::task::JoinSet;
use tokio::time::{Instant, Interval};
use tokio_util::sync::CancellationToken;

use super::floor::Floor;
use super::run::{Lanes, PARKED_INTERVAL, at, every};
use super::work::{Work, wait_after};
use super::{HandleError, Handler, Stopped};
use crate::log::chain;
use crate::subscription::{
    AckError, Confirmed, Delivery, DurableSubscription, Payload, Receipt, Received,
};
use crate::topology::MAX_ACK_PENDING_IN_BULK;

/// How often what is done is acknowledged.
const ACK_INTERVAL: Duration = Duration::from_secs(1);
/// So many are out: what is done is acknowledged at once, lest the server waits for that.
const ACK_AT: u64 = MAX_ACK_PENDING_IN_BULK.unsigned_abs() / 2;

type Sifted<T> = (Vec<Delivery<T>>, Result<Vec<bool>, HandleError>);

pub(super) async fn run_in_bulk<T: Payload>(
    mut subscription: DurableSubscription<T>,
    lanes: Lanes<T>,
    shutdown: CancellationToken,
) -> Result<(), Stopped> {
    let mut bulk = Bulk::new(lanes, subscription.confirmed());
    let mut ticks = Ticks {
        acks: every(ACK_INTERVAL),
        parked: every(PARKED_INTERVAL),
    };
    // Ends with this future, however that ends.
    let _watch = bulk.lanes.watch();
    if !bulk.lanes.catch_up(&shutdown).await {
        return Ok(());
    }
    loop {
        let next = bulk.work_until(subscription.receive(), &mut ticks, &shutdown);
        match next.await {
            Ok(received) => {
                bulk.lanes.take_over(&subscription, &shutdown).await;
                bulk.take_in(received, &subscription).await;
            }
            Err(Instead::Rest) => bulk.rest(&mut subscription, &shutdown).await,
            Err(Instead::End) => break,
        }
    }
    subscription.hold_while(bulk.end()).await;
    Box::pin(subscription.release()).await;
    bulk.lanes.stopped.map_or(Ok(()), Err)
}

/// What happens now and then.
struct Ticks {
    acks: Interval,
    parked: Interval,
}

/// What there is to do where nothing is received.
enum Instead {
    /// Nothing concerns the handler.
    Rest,
    End,
}

struct Bulk<T: Payload> {
    lanes: Lanes<T>,
    floor: Floor<Receipt>,
    /// Not sifted yet. No more than the server gives out unacknowledged.
    arrived: Vec<Delivery<T>>,
    /// At most one.
    sifting: JoinSet<Sifted<T>>,
    /// Failures in a row, and when it is tried again.
    failures: u32,
    sift_at: Option<Instant>,
    /// When the first of them was.
    failing_since: Option<Instant>,
    /// At most one.
    acking: JoinSet<(u64, u64, Result<(), AckError>)>,
    /// Whether the handler rests; at most one question.
    asking: JoinSet<bool>,
    epoch: u64,
    confirmed: Arc<Confirmed>,
}

impl<T: Payload> Bulk<T> {
    fn new(lanes: Lanes<T>, confirmed: Arc<Confirmed>) -> Self {
        Self {
            lanes,
            floor: Floor::new(),
            arrived: Vec::new(),
            sifting: JoinSet::new(),
            failures: 0,
            sift_at: None,
            failing_since: None,
            acking: JoinSet::new(),
            asking: JoinSet::new(),
            epoch: 0,
            confirmed,
        }
    }

    /// As where each is acknowledged by itself.
    async fn work_until(
        &mut self,
        receiving: impl Future<Output = Received<T>>,
        ticks: &mut Ticks,
        shutdown: &CancellationToken,
    ) -> Result<Received<T>, Instead> {
        let mut receiving = pin!(receiving);
        while self.lanes.stopped.is_none() {
            self.go_on();
            let due = self.next_due();
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return Err(Instead::End),
                Some(outcome) = self.lanes.running.join_next() => {
                    let done = self.lanes.finish(outcome, |sequence| self.floor.wait_for(sequence));
                    self.done(done);
                }
                Some(outcome) = self.lanes.retries.join_next() => self.lanes.go_on_trying(outcome),
                Some(Ok(sifted)) = self.sifting.join_next() => self.sifted(sifted),
                Some(Ok(acked)) = self.acking.join_next() => self.acked(acked),
                Some(Ok(rests)) = self.asking.join_next() => {
                    if rests && self.lanes.are_empty() {
                        return Err(Instead::Rest);
                    }
                }
                () = at(due) => {}
                _ = ticks.acks.tick() => {
                    self.acknowledge();
                    self.ask_whether_it_rests();
                }
                _ = ticks.parked.tick() => {
                    self.lanes.tell_failing(self.failing_since);
                    self.lanes.try_again();
                }
                received = &mut receiving => return Ok(received),
            }
        }
        Err(Instead::End)
    }

    /// Begins with whatever may begin.
    fn go_on(&mut self) {
        self.lanes.start_what_may_run();
        if self.floor.count() >= ACK_AT {
            self.acknowledge();
        }
        let due = self.sift_at.is_none_or(|due| due <= Instant::now());
        if !due || self.arrived.is_empty() || !self.sifting.is_empty() {
            return;
        }
        let batch = std::mem::take(&mut self.arrived);
        let handler = Arc::clone(&self.lanes.handler);
        self.sifting.spawn(async move {
            let sifted = sift(&*handler, &batch).await;
            (batch, sifted)
        });
    }

    fn next_due(&self) -> Option<Instant> {
        // While some are sifted, the end of that is waited for: see `Lanes::next_due`.
        let may_sift = self.sifting.is_empty() && !self.arrived.is_empty();
        [self.lanes.next_due(), self.sift_at.filter(|_| may_sift)]
            .into_iter()
            .flatten()
            .min()
    }

    /// A delivery of what is being worked on is an old acquaintance: it only has another receipt.
    async fn take_in(&mut self, received: Received<T>, subscription: &DurableSubscription<T>) {
        self.epoch = self.confirmed.epoch();
        match received {
            Received::Readable(delivery) => {
                if self.is_new(delivery.receipt()) {
                    self.arrived.push(delivery);
                }
            }
            Received::Unreadable(delivery) => {
                if self.is_new(delivery.receipt()) {
                    let unreadable = Received::Unreadable(delivery);
                    self.lanes.take_in(unreadable, subscription).await;
                }
            }
        }
    }

    fn is_new(&mut self, receipt: Option<Receipt>) -> bool {
        let Some(receipt) = receipt else {
            return false;
        };
        let sequence = receipt.position.sequence;
        let known = self.floor.receipt(sequence);
        if known.is_some_and(|known| known.stored_at != receipt.stored_at) {
            // Whatever is done was done of another log: nothing of this one is acknowledged for that.
            self.floor = Floor::new();
            self.lanes.another(&receipt.position);
            return false;
        }
        self.floor.came(sequence, receipt, self.epoch)
    }

    fn sifted(&mut self, (mut batch, sifted): Sifted<T>) {
        let concern = match sifted {
            Ok(concern) => concern,
            Err(error) => {
                batch.append(&mut self.arrived);
                self.arrived = batch;
                return self.sift_later(&error);
            }
        };
        (self.failures, self.sift_at, self.failing_since) = (0, None, None);
        // Whoever says nothing about one is asked to handle it.
        let concern = concern.into_iter().chain(std::iter::repeat(true));
        for (delivery, concerns) in batch.into_iter().zip(concern) {
            if concerns {
                self.lanes.hold(Work::Event(delivery));
            } else {
                self.floor.done(delivery.position.sequence);
            }
        }
    }

    fn sift_later(&mut self, error: &HandleError) {
        self.failures = self.failures.saturating_add(1);
        let wait = wait_after(error.permanent, self.failures).min(self.lanes.pause_max);
        self.sift_at = Some(Instant::now() + wait);
        self.failing_since.get_or_insert_with(Instant::now);
        let (durable, waiting) = (&self.lanes.name, self.arrived.len());
        metrics::counter!("streams_handler_failures_total", "durable" => durable.clone())
            .increment(1);
        let error = chain(error.source.as_ref());
        tracing::warn!(
            durable,
            waiting,
            ?wait,
            error,
            "whom deliveries concern is not known now"
        );
    }

    fn done(&mut self, done: impl IntoIterator<Item = u64>) {
        for sequence in done {
            self.floor.done(sequence);
        }
    }

    /// Acknowledges what is done, unless that is under way.
    fn acknowledge(&mut self) {
        if !self.acking.is_empty() {
            return;
        }
        if let Some((sequence, receipt)) = self.floor.ready() {
            let epoch = self.epoch;
            self.acking
                .spawn(async move { (sequence, epoch, receipt.ack().await) });
        }
    }

    fn acked(&mut self, (sequence, epoch, acked): (u64, u64, Result<(), AckError>)) {
        match acked {
            Ok(()) => {
                if self.confirmed.up_to(sequence, epoch) {
                    self.floor.acknowledged(sequence);
                }
            }
            Err(error) => tracing::debug!(durable = self.lanes.name, %error, "acknowledged later"),
        }
    }

    /// Lets what runs finish, and acknowledges what is done.
    async fn end(&mut self) {
        let done = self.lanes.drain().await;
        self.done(done);
        self.sifting.abort_all();
        while self.acking.join_next().await.is_some() {}
        if let Some((_, receipt)) = self.floor.ready()
            && let Err(error) = receipt.ack().await
        {
            tracing::debug!(durable = self.lanes.name, %error, "it comes again");
        }
    }
}

/// A panic is a failure too.
async fn sift<T: Payload>(
    handler: &dyn Handler<T>,
    batch: &[Delivery<T>],
) -> Result<Vec<bool>, HandleError> {
    let sifted = AssertUnwindSafe(handler.sift(batch)).catch_unwind();
    match sifted.await {
        Ok(sifted) => sifted,
        Err(_) => Err(HandleError::retryable("the handler panicked")),
    }
}
