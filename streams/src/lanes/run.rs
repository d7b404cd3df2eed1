//! The loop: take deliveries in, run handlers, acknowledge, try again.

use std::collections::{HashMap, HashSet};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use kernel::Position;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, Interval, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::bulk::run_in_bulk;
use super::held::{Held, Item};
use super::retry::again;
use super::work::{Ended, Failing, Verdict, Work, park, report, run, verdict, wait_after};
use super::{HandleError, Handler, Stopped};
use crate::barrier::Barrier;
use crate::clock;
use crate::log::chain;
use crate::parking::Lot;
use crate::subscription::{DurableSubscription, Payload, Received, Turn};
use crate::topology::{ACK_WAIT, Acks, OnFailure};

/// How often the server hears that a held delivery is still being worked on.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(ACK_WAIT.as_secs() / 3);
/// How often to look whether a person asked for another try of what is parked.
pub(super) const PARKED_INTERVAL: Duration = Duration::from_secs(1);
/// Keys that are tried again at the same time.
const RETRIES_AT_ONCE: usize = 8;
/// At shutdown, running handlers have this long to finish.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(10);
/// Runs `handler` over the deliveries of `subscription` until `shutdown`: at most `lanes` at once,
/// one after another and in order for each key. The key of an event is its correlation id
/// ([`CommandMeta::with_correlation`](crate::CommandMeta::with_correlation)), so that a flow over several
/// aggregates stays in order; without one, its aggregate's id. That of a timer is the id whose deadline it is
/// ([`Payload::lane_key`]). What gets lost on the way, as with a connection that is cut, comes again after
/// [`ACK_WAIT`] where each is acknowledged by itself, and later ones of its key don't wait for it.
///
/// A delivery is acknowledged only after `Ok`, or once it is set aside. On an error, or on a panic, which counts as
/// one that may pass ([`HandleError::retryable`]), it is
/// tried again in place, after 100 ms, then twice as long each time up to a minute (or
/// [`DurableLimits::pause_max`](crate::subscription::DurableLimits::pause_max)); its key waits,
/// the others go on, and every failure is logged with its position and counted
/// (`streams_handler_failures_total`; `streams_failing_seconds` is how long the longest lasts). Where the durable parks, what can't be handled or read goes to
/// stream PARKED with the later ones of its key (`streams_parked_keys`), and is handled from there
/// when a person asks for it. What may pass is parked too, once half of what the server gives
/// out at once waits for it, for the others must go on: after ten tries, or after sixty (most of an hour) while
/// nothing else is handled, as in an outage. What is parked is read before the first delivery is handled, and again
/// whenever this process takes over. Where it doesn't, a message that can't be read stays
/// unacknowledged, is logged and counted.
///
/// Where the durable is acknowledged in bulk ([`Acks::InBulk`]), a delivery is handled only if it
/// concerns the handler ([`Handler::sift`]), and acknowledged with others, about once a second and at
/// shutdown, once every delivery before it is handled or set aside too. While the handler rests
/// ([`Handler::rests`]) nothing is delivered; what comes then is passed over every
/// [`DurableLimits::pass_over_every`](crate::subscription::DurableLimits::pass_over_every).
///
/// At shutdown the running handlers finish (at most 10 s), the pin is given back, and the next worker begins with the
/// oldest that is not acknowledged.
///
/// # Errors
/// The durable's policy is [`OnFailure::Stop`], and something can't be handled; or another message stands where
/// one did that is in hand, so the log was restored or made anew. Whatever else goes wrong is waited for.
pub async fn run_lanes<T: Payload>(
    subscription: DurableSubscription<T>,
    lanes: usize,
    handler: Arc<dyn Handler<T>>,
    shutdown: CancellationToken,
) -> Result<(), Stopped> {
    let lanes = Lanes::new(&subscription, lanes.max(1), handler);
    match subscription.acks() {
        Acks::Each => run_one_by_one(subscription, lanes, shutdown).await,
        Acks::InBulk => run_in_bulk(subscription, lanes, shutdown).await,
    }
}

async fn run_one_by_one<T: Payload>(
    mut subscription: DurableSubscription<T>,
    mut lanes: Lanes<T>,
    shutdown: CancellationToken,
) -> Result<(), Stopped> {
    let mut ticks = Ticks {
        progress: every(PROGRESS_INTERVAL),
        parked: every(PARKED_INTERVAL),
    };
    // Ends with this future, however that ends.
    let _watch = lanes.watch();
    if !lanes.catch_up(&shutdown).await {
        return Ok(());
    }
    while let Some(received) = lanes
        .work_until(subscription.receive(), &mut ticks, &shutdown)
        .await
    {
        lanes.take_over(&subscription, &shutdown).await;
        lanes.take_in(received, &subscription).await;
    }
    subscription.hold_while(lanes.drain()).await;
    Box::pin(subscription.release()).await;
    lanes.stopped.map_or(Ok(()), Err)
}

/// What happens now and then.
struct Ticks {
    progress: Interval,
    parked: Interval,
}

pub(super) fn every(period: Duration) -> Interval {
    let mut ticks = tokio::time::interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

pub(super) async fn at(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}

/// Failures in a row.
struct Failures {
    times: u32,
    /// How much had been handled at the first.
    handled: u64,
    /// When that was.
    since: Instant,
}

/// How far another try of a parked key is.
pub(super) enum Retry {
    /// It is this process's to begin with.
    MayBegin(String),
    Ended(String),
}

/// What runs, waits for its next try, and is parked.
pub(super) struct Lanes<T: Payload> {
    pub(super) name: String,
    policy: OnFailure,
    /// When so much waits for one, it is in the others' way: half of what the server gives out at once.
    crowd: usize,
    /// Longest pause between two tries.
    pub(super) pause_max: Duration,
    /// Handlers at once.
    width: usize,
    pub(super) handler: Arc<dyn Handler<T>>,
    pub(super) held: Held<Work<T>>,
    /// Failures in a row of a key's head, by its sequence.
    failures: HashMap<u64, Failures>,
    /// How much was handled since this began.
    handled: u64,
    pub(super) running: JoinSet<(Arc<Work<T>>, Ended)>,
    /// Where the durable parks.
    lot: Option<Arc<Lot>>,
    barrier: Barrier,
    /// Under which pin this process works.
    pin: Option<String>,
    turn: Turn,
    /// Parked keys that are tried again now.
    pub(super) retries: JoinSet<Retry>,
    retrying: HashSet<String>,
    pub(super) stopped: Option<Stopped>,
}

impl<T: Payload> Lanes<T> {
    fn new(
        subscription: &DurableSubscription<T>,
        width: usize,
        handler: Arc<dyn Handler<T>>,
    ) -> Self {
        let name = subscription.name().to_owned();
        let policy = subscription.on_failure();
        let parks = matches!(policy, OnFailure::Park { .. });
        let limits = subscription.limits();
        let lot = parks.then(|| {
            let lot = Lot::new(subscription.connection(), &name);
            Arc::new(lot.with_silence_max(limits.silence_max))
        });
        Self {
            name,
            policy,
            crowd: usize::try_from(subscription.acks().max_pending() / 2).unwrap_or(usize::MAX),
            pause_max: limits.pause_max,
            width,
            handler,
            held: Held::new(),
            failures: HashMap::new(),
            handled: 0,
            running: JoinSet::new(),
            lot,
            barrier: subscription.connection().barrier().clone(),
            pin: None,
            turn: subscription.turn(),
            retries: JoinSet::new(),
            retrying: HashSet::new(),
            stopped: None,
        }
    }

    /// Works on what is held until something is received; `None` = it ends. What receives is polled on to its
    /// end: were it dropped whenever something else happens, a slow server's answer would never be heard.
    async fn work_until(
        &mut self,
        receiving: impl Future<Output = Received<T>>,
        ticks: &mut Ticks,
        shutdown: &CancellationToken,
    ) -> Option<Received<T>> {
        let mut receiving = pin!(receiving);
        while self.stopped.is_none() {
            self.start_what_may_run();
            let due = self.next_due();
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return None,
                Some(outcome) = self.running.join_next() => {
                    self.finish(outcome, |_| 0);
                }
                Some(outcome) = self.retries.join_next() => self.go_on_trying(outcome),
                () = at(due) => {}
                _ = ticks.progress.tick() => self.report_progress().await,
                _ = ticks.parked.tick() => {
                    self.tell_failing(None);
                    self.try_again();
                }
                // However much is held: the server stops by itself (`MAX_ACK_PENDING`), and pulling is
                // what keeps the pin.
                received = &mut receiving => return Some(received),
            }
        }
        None
    }

    /// Reads what is parked, however long that takes: handling an event whose key is parked would
    /// put it before those that wait. False at shutdown.
    pub(super) async fn catch_up(&self, shutdown: &CancellationToken) -> bool {
        let Some(lot) = &self.lot else {
            return true;
        };
        let reading = self.barrier.raise(format!("what {} has parked", self.name));
        reading.until_done(|| lot.catch_up(), shutdown).await
    }

    /// Under another pin than before others may have parked what this one does not know of.
    pub(super) async fn take_over(
        &mut self,
        subscription: &DurableSubscription<T>,
        shutdown: &CancellationToken,
    ) {
        if subscription.pin() != self.pin.as_deref() {
            self.pin = subscription.pin().map(str::to_owned);
            self.catch_up(shutdown).await;
        }
    }

    /// Reads on in the background: people's wishes, and what other processes did.
    pub(super) fn watch(&self) -> JoinSet<()> {
        let lot = self.lot.clone();
        let name = self.name.clone();
        let mut reading = JoinSet::new();
        reading.spawn(async move {
            let Some(lot) = lot else { return };
            let mut ticks = every(PARKED_INTERVAL);
            loop {
                ticks.tick().await;
                if let Err(error) = lot.poll_if_news().await {
                    let error = &error as &dyn std::error::Error;
                    tracing::debug!(durable = name, error, "what is parked is read again later");
                }
            }
        });
        reading
    }

    pub(super) async fn take_in(
        &mut self,
        received: Received<T>,
        subscription: &DurableSubscription<T>,
    ) {
        match (received, self.policy) {
            (Received::Readable(delivery), _) => self.hold(Work::Event(delivery)),
            (Received::Unreadable(delivery), OnFailure::Park { .. }) => {
                self.hold(Work::Unreadable(delivery));
            }
            (Received::Unreadable(delivery), OnFailure::Stop) => {
                self.stopped = Some(Stopped {
                    durable: self.name.clone(),
                    position: delivery.position,
                    source: Box::new(delivery.event.error),
                });
            }
            (Received::Unreadable(delivery), OnFailure::Retry) => {
                let error = subscription.leave(delivery).await;
                tracing::error!(
                    durable = self.name, position = %error.position(), error = &error as &dyn std::error::Error,
                    "a message can't be read; it stays and is tried again"
                );
            }
        }
    }

    /// Nothing is in hand, and nothing is parked.
    pub(super) fn are_empty(&self) -> bool {
        let works = self.held.iter().next().is_some() || !self.running.is_empty();
        let parked = self.lot.as_ref().is_some_and(|lot| !lot.is_empty());
        !works && !parked && self.retries.is_empty()
    }

    pub(super) fn hold(&mut self, work: Work<T>) {
        if let Some(other) = self.held.push(work) {
            self.another(other.position());
        }
    }

    /// Another message stands at the place of one that is in hand, which is of a log that is no more: its
    /// acknowledgement would be the other's. So nothing in hand goes on.
    pub(super) fn another(&mut self, position: &Position) {
        self.running.abort_all();
        self.retries.abort_all();
        self.stopped = Some(Stopped {
            durable: self.name.clone(),
            position: position.clone(),
            source: "another message stood there: was the log restored, or its stream made anew, while this worker ran? Start it again".into(),
        });
    }

    pub(super) fn start_what_may_run(&mut self) {
        while self.running.len() < self.width {
            let Some(work) = self.held.take(Instant::now()) else {
                return;
            };
            let (handler, lot) = (Arc::clone(&self.handler), self.lot.clone());
            self.running.spawn(run(handler, lot, work));
        }
    }

    /// When something held is tried again that a lane is free for. While all are taken, the end of what runs is
    /// waited for: a time that is past would be there again and again, before all that stands below it.
    pub(super) fn next_due(&self) -> Option<Instant> {
        let is_free = self.running.len() < self.width;
        self.held.next_due().filter(|_| is_free)
    }

    /// Begins with the parked keys that a person wants tried again.
    pub(super) fn try_again(&mut self) {
        let Some(lot) = &self.lot else {
            return;
        };
        for key in lot.due(clock::now()) {
            if self.retries.len() >= RETRIES_AT_ONCE {
                return;
            }
            // What is in hand, here or where the durable is worked on, may have come late, before what waits: two of
            // a key never run at once.
            if self.held.has(&key) || !self.retrying.insert(key.clone()) {
                continue;
            }
            let (turn, pin) = (self.turn.clone(), self.pin.clone());
            self.retries.spawn(async move {
                if turn.is_ours(pin.as_deref()).await {
                    Retry::MayBegin(key)
                } else {
                    Retry::Ended(key)
                }
            });
        }
    }

    pub(super) fn go_on_trying(&mut self, outcome: Result<Retry, JoinError>) {
        let (Some(key), Some(lot)) = (self.tried(outcome), &self.lot) else {
            return;
        };
        // Something of it may have come while the server was asked. What comes from now on waits for the claim.
        if self.held.has(&key) {
            return;
        }
        lot.begins_to_claim(&key);
        self.retrying.insert(key.clone());
        let (name, lot) = (self.name.clone(), Arc::clone(lot));
        let handler = Arc::clone(&self.handler);
        self.retries.spawn(async move {
            again::<T>(&name, &lot, &*handler, &key).await;
            Retry::Ended(key)
        });
    }

    /// What may begin now.
    fn tried(&mut self, outcome: Result<Retry, JoinError>) -> Option<String> {
        let (key, may_begin) = match outcome {
            Ok(Retry::MayBegin(key)) => (key, true),
            Ok(Retry::Ended(key)) => (key, false),
            Err(error) => {
                // Handlers' panics are caught inside; this is an abort at the runtime's end.
                tracing::error!(durable = self.name, error = %error, "a retry ended");
                return None;
            }
        };
        self.retrying.remove(&key);
        may_begin.then_some(key)
    }

    /// The sequence of what is done, if it is. `wait_for`: how many others can't be acknowledged before that one
    /// is.
    pub(super) fn finish(
        &mut self,
        outcome: Result<(Arc<Work<T>>, Ended), JoinError>,
        wait_for: impl Fn(u64) -> usize,
    ) -> Option<u64> {
        let (work, ended) = match outcome {
            Ok(outcome) => outcome,
            Err(error) => {
                // Handlers' panics are caught inside; this is an abort at the runtime's end.
                tracing::error!(durable = self.name, error = %error, "a lane ended");
                return None;
            }
        };
        match ended {
            Ended::Done | Ended::Aside => {
                self.handled += u64::from(matches!(ended, Ended::Done));
                self.failures.remove(&work.sequence());
                self.held.done(work.key());
                return Some(work.sequence());
            }
            Ended::Failed(error) => {
                let waiting = self.held.count(work.key()) + wait_for(work.sequence());
                self.failed(&work, error, waiting >= self.crowd);
            }
            Ended::NotParked(error) => {
                let failures = self.failed_again(&work).times;
                self.wait(&work, &error, failures, wait_after(false, failures));
            }
        }
        None
    }

    fn failed(&mut self, work: &Arc<Work<T>>, error: HandleError, in_the_way: bool) {
        let failing = Failing {
            in_the_way,
            ..self.failed_again(work)
        };
        let failures = failing.times;
        match verdict(self.policy, error.permanent, failing) {
            Verdict::Wait(wait) => self.wait(work, &error, failures, wait),
            Verdict::Park => {
                let (lot, work) = (self.lot.clone(), Arc::clone(work));
                let cause = chain(error.source.as_ref());
                self.running.spawn(async move {
                    let ended = park(lot.as_deref(), &work, &cause, failures).await;
                    (work, ended)
                });
            }
            Verdict::Stop => {
                if let Work::Event(delivery) = &**work {
                    self.stopped = Some(Stopped {
                        durable: self.name.clone(),
                        position: delivery.position.clone(),
                        source: error.source,
                    });
                }
            }
        }
    }

    fn failed_again(&mut self, work: &Work<T>) -> Failing {
        let first = Failures {
            times: 0,
            handled: self.handled,
            since: Instant::now(),
        };
        let failures = self.failures.entry(work.sequence()).or_insert(first);
        failures.times += 1;
        Failing {
            times: failures.times,
            in_the_way: false,
            alone: self.handled > failures.handled,
        }
    }

    fn wait(&mut self, work: &Work<T>, error: &HandleError, failures: u32, wait: Duration) {
        let wait = wait.min(self.pause_max);
        report(&self.name, work, error, failures, wait);
        self.held.pause(work.key(), Instant::now() + wait);
    }

    /// For alarms: for how long what has failed longest fails. `also`: since when something else does.
    pub(super) fn tell_failing(&self, also: Option<Instant>) {
        let since = self.failures.values().map(|failures| failures.since);
        let seconds = since
            .chain(also)
            .min()
            .map_or(0.0, |first| first.elapsed().as_secs_f64());
        metrics::gauge!("streams_failing_seconds", "durable" => self.name.clone()).set(seconds);
    }

    async fn report_progress(&self) {
        for work in self.held.iter() {
            if !work.progress().await {
                tracing::debug!(durable = self.name, "progress not reported");
                return;
            }
        }
    }

    /// Lets what runs finish, bounded; what is done by then.
    pub(super) async fn drain(&mut self) -> Vec<u64> {
        let mut done = Vec::new();
        let finished = async {
            while let Some(outcome) = self.running.join_next().await {
                done.extend(self.finish(outcome, |_| 0));
            }
            while let Some(outcome) = self.retries.join_next().await {
                // Whatever may begin is begun by the next.
                self.tried(outcome);
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
        self.retries.abort_all();
        done
    }
}
