//! Looks after the sagas that nothing else would move: at start, and now and then.
//!
//! A timer is armed after the saga's event is appended. A process that dies in between is made
//! good by the delivery that comes again; what stream TIMERS itself loses is not, and nobody would
//! wake that saga. So every worker follows CHECKOUT, remembers which checkouts, and which of the
//! [`crate::Others`], are under way, and sets the timer of each that has a deadline and no timer. That takes a while
//! where many are, and nothing else waits for it.
//!
//! And a saga that an operator lets go on, with or without the step that failed, has no delivery at all. Every worker sees that in
//! CHECKOUT and has it ask what is due, until it has; asking twice is harmless.

use std::sync::Arc;
use std::time::Duration;

use checkout::settling::SagaId;
use checkout::{
    Checkout, CheckoutEvent, Definitions, Refunding, RefundingEvent, Returning, ReturningEvent,
};
use kernel::Decider;
use streams::lanes::HandleError;
use streams::subscription::{OrderedSubscription, SubscriptionError};
use streams::{Connection, RecordedEvent};
use tokio::time::{self, Instant, MissedTickBehavior, interval_at};
use tokio_util::sync::CancellationToken;

use crate::arming::Arming;
use crate::intake::{Sagas, order_of};
use crate::runner::Origin;
use crate::waking::Waking;

/// The stream of the checkouts.
const STREAM: &str = "CHECKOUT";

/// How often those are tried again that an operator lets go on, and that could not ask.
const RESUMED_INTERVAL: Duration = Duration::from_secs(2);

/// Pause after something that can't be read.
const UNREADABLE_PAUSE: Duration = Duration::from_secs(1);

/// Follows the checkouts until `shutdown`, and looks at all that are open so often.
pub(crate) async fn run<D: Definitions>(
    connection: Connection,
    sagas: Arc<Sagas<D>>,
    interval: Duration,
    shutdown: CancellationToken,
) {
    let sweep = async {
        let mut sweep = Sweep::<D> {
            events: connection.ordered(STREAM, 0),
            open: Arming::default(),
            waking: Waking::default(),
            sagas: Arc::clone(&sagas),
        };
        sweep.read_all().await;
        tracing::info!(open = sweep.open.len(), "looks at every open saga");
        sweep.arm_all();
        let mut every = interval_at(Instant::now() + interval, interval);
        every.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut again = time::interval(RESUMED_INTERVAL);
        again.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let wake = |saga, origin| Arc::clone(&sagas).wake_one(saga, origin);
            sweep.waking.start(wake);
            let failed = sweep.waking.may_try_again();
            tokio::select! {
                _ = every.tick() => sweep.arm_all(),
                _ = again.tick(), if failed => sweep.waking.try_again(),
                () = sweep.waking.next() => {}
                () = sweep.open.next() => {}
                event = sweep.events.next() => sweep.note(event).await,
            }
        }
    };
    tokio::select! {
        () = shutdown.cancelled() => {}
        () = sweep => {}
    }
}

struct Sweep<D: Definitions> {
    events: OrderedSubscription,
    open: Arming<Which>,
    /// Those whose last event is that they go on. One whose last it stays is woken once at each start.
    waking: Waking<Which>,
    sagas: Arc<Sagas<D>>,
}

/// One saga.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Which {
    Shop(SagaId),
    Other(OtherId),
}

/// One of the [`crate::Others`]: its place among them, and its id.
type OtherId = (usize, String);

impl<D: Definitions> Sweep<D> {
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
        let Some((saga, told)) = self.read(event) else {
            return;
        };
        match (told, order_of(event)) {
            (Told::Resumed, Ok(order_id)) => {
                let origin = Origin::of(event, order_id);
                self.waking.add(saga.clone(), origin);
            }
            // Whatever else it says, somebody works on it.
            (Told::Resumed | Told::UnderWay | Told::Over, _) => {
                self.waking.remove(&saga);
            }
        }
        match (&saga, told) {
            // They have no deadline.
            (Which::Shop(SagaId::Returning(_) | SagaId::Refunding(_)), _) => {}
            (_, Told::Over) => self.open.remove(&saga),
            (_, Told::Resumed | Told::UnderWay) => self.open.add(saga),
        }
    }

    fn read(&self, event: &RecordedEvent) -> Option<(Which, Told)> {
        let mut others = self.sagas.others.iter().enumerate();
        let other = others.find_map(|(index, other)| {
            let id = event.aggregate_id.as_str().to_owned();
            Some((Which::Other((index, id)), other.told(event)?))
        });
        other.or_else(|| read(event).map(|(saga, told)| (Which::Shop(saga), told)))
    }

    /// Looks at the timer of each.
    fn arm_all(&mut self) {
        let sagas = Arc::clone(&self.sagas);
        self.open
            .start(move |saga| Arc::clone(&sagas).arm_one(saga));
    }
}

impl<D: Definitions> Sagas<D> {
    async fn wake_one(
        self: Arc<Self>,
        saga: Which,
        origin: Origin,
    ) -> (Which, Origin, Result<(), HandleError>) {
        let woken = match &saga {
            Which::Shop(saga) => self.wake(*saga, &origin).await,
            Which::Other((index, id)) => match self.others.get(*index) {
                Some(other) => other.wake(id, &origin).await,
                None => Ok(()),
            },
        };
        (saga, origin, woken)
    }

    async fn arm_one(self: Arc<Self>, saga: Which) -> Result<bool, HandleError> {
        match saga {
            Which::Shop(SagaId::Checkout(id)) => self.checkout.arm_again(id).await,
            Which::Shop(SagaId::Returning(id)) => self.returning.arm_again(id).await,
            Which::Shop(SagaId::Refunding(id)) => self.refunding.arm_again(id).await,
            Which::Other((index, id)) => match self.others.get(index) {
                Some(other) => other.arm_again(&id).await,
                None => Ok(false),
            },
        }
    }
}

/// What an event says about its saga.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Told {
    /// An operator lets it go on.
    Resumed,
    UnderWay,
    /// It waits for facts only, from here on.
    Over,
}

/// Which saga an event is about, and what it says. What can't be read leaves it under way.
fn read(event: &RecordedEvent) -> Option<(SagaId, Told)> {
    let id = event.aggregate_id.as_str();
    match event.kind.as_deref() {
        None => Some((SagaId::Checkout(id.parse().ok()?), of_checkout(event))),
        kind if kind == Returning::KIND => {
            let resumed = matches!(
                event.decode::<Returning>(),
                Ok(ReturningEvent::ReturningResumed { .. }
                    | ReturningEvent::ReturningStepSkipped { .. })
            );
            Some((SagaId::Returning(id.parse().ok()?), told_if(resumed)))
        }
        kind if kind == Refunding::KIND => {
            let resumed = matches!(
                event.decode::<Refunding>(),
                Ok(RefundingEvent::RefundingResumed { .. }
                    | RefundingEvent::RefundingSkipped { .. })
            );
            Some((SagaId::Refunding(id.parse().ok()?), told_if(resumed)))
        }
        Some(_) => None,
    }
}

fn of_checkout(event: &RecordedEvent) -> Told {
    let event = event.decode::<Checkout>();
    let is = |wanted: fn(&CheckoutEvent) -> bool| event.as_ref().is_ok_and(wanted);
    let resumed = is(|event| {
        matches!(
            event,
            CheckoutEvent::CheckoutResumed { .. }
                | CheckoutEvent::StepSkipped { .. }
                | CheckoutEvent::CheckoutResolved { .. }
        )
    });
    if resumed {
        return Told::Resumed;
    }
    let over = is(|event| event.closes() || matches!(event, CheckoutEvent::CheckoutCompleted {}));
    if over { Told::Over } else { Told::UnderWay }
}

fn told_if(resumed: bool) -> Told {
    if resumed {
        Told::Resumed
    } else {
        Told::UnderWay
    }
}

fn report(error: &SubscriptionError) {
    let error = error as &dyn std::error::Error;
    tracing::error!(error, "a checkout's event can't be read");
}
