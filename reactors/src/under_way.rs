//! The sagas that are under way, and whose orders they are about: until they are over, money or a mail
//! may still be on its way to somebody.
//!
//! ```text
//!   checkout  started: open ── ended, resolved: over ── something comes late: open, until it is undone
//!   return    goods here: open ── all done, or seen to by a person: over
//!   refund    money gone: open ── the order knows, or a person has seen to it: over
//!   any other begun, or a late success is undone: open ── what it says ends it: over
//! ```

use std::collections::HashMap;

use checkout::stepwise::{self, StepwiseEvent};
use checkout::{Checkout, CheckoutEvent, Refunding, RefundingEvent, Returning, ReturningEvent};
use kernel::{Decider, OrderId, UserId};
use order::Order;
use streams::subscription::{OrderedSubscription, SubscriptionError};
use streams::{Connection, LoadError, RecordedEvent, Streams};
use uuid::Uuid;

/// Where the sagas are.
pub(crate) const CHECKOUT: &str = "CHECKOUT";

/// Most sagas under way that are remembered, 200 bytes each; with more, everybody waits for as long as they
/// may at most.
const OPEN_MAX: usize = 1_000_000;

/// The sagas that are not over.
pub(crate) struct UnderWay {
    events: OrderedSubscription,
    /// Up to where CHECKOUT was read.
    read: u64,
    open: Open,
    /// There were too many, or one that can't be read: whose are open can't be told.
    overrun: bool,
}

/// By the subject of the saga's events.
type Open = HashMap<String, Saga>;

/// One that is not over.
#[derive(Debug, PartialEq, Eq)]
struct Saga {
    order_id: OrderId,
    /// Where the saga's own events don't say it, the order does.
    owner: Option<UserId>,
    /// It is over when what it does now is done.
    last: bool,
}

/// What an event says of its saga.
#[derive(Debug, PartialEq, Eq)]
enum Told {
    /// It begins, and whose it is, if that is said.
    Begins(Option<UserId>),
    /// It goes on, or is begun anew.
    GoesOn,
    /// It has one more thing to do, if it was over.
    OnceMore,
    /// It waits for a person, and when they have seen to it nothing is left to do.
    Last,
    /// One thing is done.
    Done,
    /// Nothing that counts here.
    Nothing,
    Over,
}

impl UnderWay {
    pub(crate) fn new(connection: &Connection) -> Self {
        Self {
            events: connection.ordered_matching(CHECKOUT, "event.checkout.>", 0),
            read: 0,
            open: Open::new(),
            overrun: false,
        }
    }

    pub(crate) async fn next(&mut self) -> Result<RecordedEvent, SubscriptionError> {
        let event = self.events.next().await;
        self.overrun |= matches!(event, Err(SubscriptionError::Unreadable { .. }));
        event
    }

    pub(crate) fn take_in(&mut self, event: &RecordedEvent) {
        self.read = event.position.sequence;
        let Some(told) = read(event) else {
            // Whose it is can't be told: it must not be taken for nobody's.
            self.overrun = true;
            return;
        };
        let flow = event.correlation_id.as_deref().unwrap_or_default();
        // Of no order: then it may be anybody's.
        let order_id = flow.parse().unwrap_or(OrderId(Uuid::nil()));
        note(&mut self.open, &event.subject, order_id, &told);
        self.overrun |= self.open.len() > OPEN_MAX;
        if self.overrun {
            self.open.clear();
        }
    }

    /// Asks the orders whose they are, where that is not known.
    ///
    /// # Errors
    /// An order can't be read now: nothing is known of it.
    pub(crate) async fn learn_owners(&mut self, streams: &Streams) -> Result<(), LoadError> {
        for saga in self.open.values_mut().filter(|saga| saga.owner.is_none()) {
            let order = streams.load::<Order>(&saga.order_id.into()).await?;
            saga.owner = order.state.owner();
        }
        Ok(())
    }

    /// Is nothing of this user's under way, as of `end` of CHECKOUT? What is nobody's may be theirs.
    pub(crate) fn are_over(&self, user_id: UserId, end: u64) -> bool {
        let theirs = |saga: &Saga| saga.owner.is_none_or(|owner| owner == user_id);
        self.read >= end && !self.overrun && !self.open.values().any(theirs)
    }
}

fn note(open: &mut Open, saga: &str, order_id: OrderId, told: &Told) {
    let new = |owner, last| Saga {
        order_id,
        owner,
        last,
    };
    match told {
        Told::Begins(owner) => {
            open.insert(saga.to_owned(), new(*owner, false));
        }
        Told::GoesOn => {
            open.entry(saga.to_owned()).or_insert(new(None, false));
        }
        Told::OnceMore => {
            open.entry(saga.to_owned()).or_insert(new(None, true));
        }
        Told::Last => {
            let saga = open.entry(saga.to_owned());
            saga.or_insert(new(None, true)).last = true;
        }
        Told::Done if open.get(saga).is_none_or(|saga| !saga.last) => {}
        Told::Nothing => {}
        Told::Done | Told::Over => {
            open.remove(saga);
        }
    }
}

/// What an event says of its saga. `None` = it can't be read.
fn read(event: &RecordedEvent) -> Option<Told> {
    match event.kind.as_deref() {
        None => Some(of_checkout(&event.decode::<Checkout>().ok()?)),
        kind if kind == Returning::KIND => Some(of_return(&event.decode::<Returning>().ok()?)),
        kind if kind == Refunding::KIND => Some(of_refund(&event.decode::<Refunding>().ok()?)),
        // One that is no table of steps may have ended, or not: that is its owner's alone to wait for.
        Some(_) => Some(event.decode_as().as_ref().map_or(Told::GoesOn, of_steps)),
    }
}

fn of_checkout(event: &CheckoutEvent) -> Told {
    match event {
        _ if event.closes() => Told::Over,
        CheckoutEvent::CheckoutStarted { user_id, .. } => Told::Begins(Some(*user_id)),
        CheckoutEvent::UndoStarted { .. }
        | CheckoutEvent::UndoFailed { .. }
        | CheckoutEvent::StepSucceeded { .. }
        | CheckoutEvent::CheckoutSuspended { .. }
        | CheckoutEvent::CheckoutResumed { .. } => Told::OnceMore,
        CheckoutEvent::UndoSucceeded { .. } => Told::Done,
        CheckoutEvent::StepRefused { .. }
        | CheckoutEvent::StepTimedOut { .. }
        | CheckoutEvent::CheckoutCompleted {}
        | CheckoutEvent::ShippingStarted { .. }
        | CheckoutEvent::CheckoutUndone { .. }
        | CheckoutEvent::StepSkipped { .. }
        | CheckoutEvent::CheckoutResolved { .. }
        | CheckoutEvent::CheckoutEnded { .. } => Told::GoesOn,
    }
}

fn of_return(event: &ReturningEvent) -> Told {
    match event {
        ReturningEvent::ReturningStarted { user_id, .. } => Told::Begins(*user_id),
        ReturningEvent::ReturningStepSkipped { last: true, .. }
        | ReturningEvent::ReturningResolved { .. }
        | ReturningEvent::ReturningEnded { .. } => Told::Over,
        ReturningEvent::ReturningStepSucceeded { .. }
        | ReturningEvent::ReturningSuspended { .. }
        | ReturningEvent::ReturningResumed { .. }
        | ReturningEvent::ReturningStepSkipped { .. } => Told::GoesOn,
    }
}

fn of_refund(event: &RefundingEvent) -> Told {
    match event {
        RefundingEvent::RefundingStarted { user_id, .. } => Told::Begins(Some(*user_id)),
        RefundingEvent::RefundingSuspended { failed: true, .. } => Told::Last,
        RefundingEvent::RefundingSuspended { .. } => Told::GoesOn,
        RefundingEvent::RefundingResumed { .. } => Told::Done,
        RefundingEvent::RefundingDropped { .. }
        | RefundingEvent::RefundingSkipped { .. }
        | RefundingEvent::RefundingResolved { .. }
        | RefundingEvent::RefundingEnded {} => Told::Over,
    }
}

fn of_steps(event: &StepwiseEvent) -> Told {
    match event {
        _ if event.ends() => Told::Over,
        // A success that comes late is undone also when all was over.
        StepwiseEvent::SagaBegun { .. }
        | StepwiseEvent::SagaUndoStarted {
            cause: stepwise::Cause::LateSuccess { .. },
            ..
        } => Told::GoesOn,
        // A step may be done, and it may be called off, before the saga begins, which it then may never do.
        StepwiseEvent::SagaUndoStarted { .. }
        | StepwiseEvent::SagaStepDone { .. }
        | StepwiseEvent::SagaStepUndone { .. }
        | StepwiseEvent::SagaUndoFailed { .. }
        | StepwiseEvent::SagaSuspended { .. }
        | StepwiseEvent::SagaSettled { .. } => Told::Nothing,
    }
}

#[cfg(test)]
mod tests {
    use checkout::Step;
    use checkout::stepwise::Cause;
    use chrono::DateTime;
    use kernel::Money;

    use super::*;

    const ORDER: OrderId = OrderId(Uuid::from_u128(1));
    const ANN: UserId = UserId(Uuid::from_u128(2));

    /// Is it under way behind each of these?
    fn open_behind(told: impl IntoIterator<Item = Told>) -> Vec<bool> {
        let mut open = Open::new();
        let told = told.into_iter().map(|told| {
            note(&mut open, "event.checkout.x", ORDER, &told);
            !open.is_empty()
        });
        told.collect()
    }

    fn total() -> Money {
        Money::new(2_598, "EUR".parse().unwrap())
    }

    fn started() -> CheckoutEvent {
        CheckoutEvent::CheckoutStarted {
            order_id: ORDER,
            user_id: ANN,
            items: Vec::new(),
            total: total(),
            payment_method: "pm_card_visa".parse().unwrap(),
            started_at: DateTime::UNIX_EPOCH,
            reserved_until: DateTime::UNIX_EPOCH,
            deadline: DateTime::UNIX_EPOCH,
            revision: 1,
        }
    }

    #[test]
    fn a_canceled_order_is_under_way_until_its_money_is_back() {
        let step = Step::CapturePayment;
        let reason: kernel::Reason = "changed my mind".parse().unwrap();
        let failed = CheckoutEvent::UndoFailed {
            step: step.clone(),
            attempt: 1,
            message: "charge_disputed".to_owned(),
            retry_at: DateTime::UNIX_EPOCH,
        };
        let back = CheckoutEvent::UndoSucceeded {
            step: step.clone(),
            moot: false,
        };
        let events = [
            started(),
            CheckoutEvent::CheckoutCompleted {},
            CheckoutEvent::UndoStarted {
                cause: checkout::Cause::OrderCanceled {
                    reason: reason.clone(),
                },
            },
            failed.clone(),
            back.clone(),
            CheckoutEvent::CheckoutEnded {
                outcome: checkout::Outcome::Canceled { reason },
                step: Some(step),
                moot: false,
            },
            // The bank sends it back, and it goes again.
            failed,
            back,
        ];
        let open = open_behind(events.iter().map(of_checkout));
        assert_eq!(open, [true, true, true, true, true, false, true, false]);
        assert_eq!(of_checkout(&started()), Told::Begins(Some(ANN)));
    }

    #[test]
    fn a_refund_is_under_way_until_the_order_knows_or_a_person_has_seen_to_it() {
        let suspended = |failed| RefundingEvent::RefundingSuspended {
            why: "no".to_owned(),
            failed,
        };
        let by = "operator:ada".to_owned();
        let resumed = RefundingEvent::RefundingResumed { by };
        let begun = RefundingEvent::RefundingStarted {
            refund_id: kernel::RefundId(Uuid::from_u128(3)),
            order_id: ORDER,
            user_id: ANN,
            amount: total(),
            started_at: DateTime::UNIX_EPOCH,
            revision: 1,
        };
        let told = [
            begun.clone(),
            suspended(false),
            resumed.clone(),
            RefundingEvent::RefundingEnded {},
            suspended(true),
            resumed.clone(),
        ];
        let open = open_behind(told.iter().map(of_refund));
        assert_eq!(open, [true, true, true, false, true, false]);
        let came_back = [begun, suspended(true), resumed];
        let open = open_behind(came_back.iter().map(of_refund));
        assert_eq!(open, [true, true, false]);
    }

    #[test]
    fn a_return_is_under_way_until_all_of_it_is_done() {
        let step = checkout::returning::ReturnStep::RefundPayment;
        let skipped = |last| ReturningEvent::ReturningStepSkipped {
            step: step.clone(),
            by: "operator:ada".to_owned(),
            reason: "by hand".parse().unwrap(),
            last,
            paid: None,
        };
        let stuck = ReturningEvent::ReturningSuspended {
            step: step.clone(),
            why: "no".to_owned(),
            failed: true,
        };
        let ended = ReturningEvent::ReturningEnded { step: step.clone() };
        // The bank sends the money back after the end.
        let told = [skipped(false), ended, stuck, skipped(true)];
        let open = open_behind(told.iter().map(of_return));
        assert_eq!(open, [true, false, true, false]);
    }

    #[test]
    fn any_other_saga_is_under_way_from_its_beginning_until_it_says_that_it_ends() {
        let at = DateTime::UNIX_EPOCH;
        let begun = StepwiseEvent::SagaBegun {
            order_id: ORDER,
            data: serde_json::Value::Null,
            revision: 1,
            at,
            until: at,
            ends: false,
        };
        let done = |ends| StepwiseEvent::SagaStepDone {
            step: "ship".to_owned(),
            at,
            ends,
        };
        let undo = |ends| StepwiseEvent::SagaUndoStarted {
            cause: Cause::LateSuccess {
                step: "ship".to_owned(),
            },
            steps: Vec::new(),
            ends,
        };
        let undone = |ends| StepwiseEvent::SagaStepUndone {
            step: "ship".to_owned(),
            ends,
        };
        let suspended = StepwiseEvent::SagaSuspended {
            step: "ship".to_owned(),
            why: "no".to_owned(),
            late: false,
        };
        let called_off = StepwiseEvent::SagaUndoStarted {
            cause: Cause::CalledOff {
                fact: "order_canceled".to_owned(),
            },
            steps: vec!["ship".to_owned()],
            ends: false,
        };
        // A step that is done early may be all that is ever heard of it, also when it is called off.
        let told = [
            done(false),
            called_off.clone(),
            begun.clone(),
            called_off,
            done(false),
            suspended,
            done(true),
            undo(false),
            undone(true),
            begun,
            undo(true),
        ];
        let open = open_behind(told.iter().map(of_steps));
        let wanted = [
            false, false, true, true, true, true, false, true, false, true, false,
        ];
        assert_eq!(open, wanted);
    }

    fn recorded(kind: &str, event_type: &str, data: &serde_json::Value) -> RecordedEvent {
        RecordedEvent {
            position: kernel::Position::new(CHECKOUT, 1),
            subject: format!("event.checkout.{kind}.x"),
            context: "checkout".to_owned(),
            kind: Some(kind.to_owned()),
            aggregate_id: "x".parse().unwrap(),
            id: Uuid::nil(),
            event_type: event_type.to_owned(),
            schema_version: 1,
            version: 1,
            time: DateTime::UNIX_EPOCH,
            recorded_at: DateTime::UNIX_EPOCH,
            command_id: Uuid::nil(),
            correlation_id: None,
            causation_id: None,
            request_digest: None,
            actor: "system".to_owned(),
            traceparent: None,
            data: data.to_string().into(),
        }
    }

    #[test]
    fn a_gift_is_read_by_its_events_and_what_is_none_is_under_way() {
        let undone = serde_json::json!({ "step": "ship", "ends": true });
        let read = |kind, name| read(&recorded(kind, name, &undone));
        assert_eq!(read("gift", "saga_step_undone"), Some(Told::Over));
        assert_eq!(read("arrival", "arrival_awaited"), Some(Told::GoesOn));
        assert_eq!(read("refund", "saga_step_undone"), None);
    }
}
