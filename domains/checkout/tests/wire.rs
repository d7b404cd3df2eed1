//! What the checkout has ever written stays readable.

#![allow(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test: what can't be is a finding, and ends it"
)]

mod kit;

use std::path::Path;

use checkout::returning::ReturnStep;
use checkout::settling::Wish;
use checkout::stepwise::{self, Heard, Plan, Stepwise, StepwiseEvent, Table};
use checkout::{
    Cause, Checkout, CheckoutEvent, CheckoutFact, Outcome, Refunding, RefundingEvent, Returning,
    ReturningEvent, Stage, Step,
};
use kernel::{RefundId, ReturnId, golden};
use serde::{Deserialize, Serialize};
use serde_json::json;
use strum::VariantNames;
use uuid::{Uuid, uuid};

/// The return, and the refund that pays it back.
const BACK: Uuid = uuid!("0198c1d2-9c6d-8e53-9b7f-4d8eafb0213c");

fn examples() -> Vec<CheckoutEvent> {
    [by_itself(), by_hand(), in_other_shapes()].concat()
}

/// With what may be left out, or without.
fn in_other_shapes() -> Vec<CheckoutEvent> {
    vec![
        CheckoutEvent::UndoSucceeded {
            step: Step::AuthorizePayment,
            moot: true,
        },
        CheckoutEvent::CheckoutUndone {
            step: kit::reserve("TEE"),
            moot: true,
        },
        CheckoutEvent::CheckoutEnded {
            outcome: Outcome::Canceled {
                reason: "changed my mind".parse().unwrap(),
            },
            step: Some(kit::reserve("TEE")),
            moot: true,
        },
        CheckoutEvent::StepSkipped {
            step: Step::CapturePayment,
            by: "operator:ada".to_owned(),
            reason: "paid back by bank transfer".parse().unwrap(),
            stage: Stage::Undoing,
            outcome: None,
        },
    ]
}

fn by_hand() -> Vec<CheckoutEvent> {
    vec![
        CheckoutEvent::CheckoutResumed {
            by: "operator:ada".to_owned(),
        },
        CheckoutEvent::StepSkipped {
            step: kit::commit("TEE"),
            by: "operator:ada".to_owned(),
            reason: "counted and booked by hand".parse().unwrap(),
            stage: Stage::Ended,
            outcome: Some(Outcome::Canceled {
                reason: "changed my mind".parse().unwrap(),
            }),
        },
        CheckoutEvent::CheckoutResolved {
            by: "operator:ada".to_owned(),
            reason: "settled on the phone".parse().unwrap(),
        },
    ]
}

fn by_itself() -> Vec<CheckoutEvent> {
    vec![
        CheckoutEvent::CheckoutStarted {
            order_id: kit::order_id(),
            user_id: kit::user_id(),
            items: vec![kit::item("MUG", 2), kit::item("TEE", 1)],
            total: kit::total(),
            payment_method: "pm_card_visa".parse().unwrap(),
            started_at: kit::at(0),
            reserved_until: kit::at(1_800),
            deadline: kit::at(900),
            revision: 1,
        },
        CheckoutEvent::StepSucceeded {
            step: kit::reserve("MUG"),
        },
        CheckoutEvent::StepRefused {
            step: Step::AuthorizePayment,
            code: "card_declined".to_owned(),
            message: "the issuer declined the payment".to_owned(),
        },
        CheckoutEvent::StepTimedOut {
            step: Step::AuthorizePayment,
        },
        CheckoutEvent::UndoStarted {
            cause: Cause::OrderCanceled {
                reason: "changed my mind".parse().unwrap(),
            },
        },
        CheckoutEvent::UndoSucceeded {
            step: Step::CapturePayment,
            moot: false,
        },
        CheckoutEvent::UndoFailed {
            step: Step::CapturePayment,
            attempt: 1,
            message: "charge_disputed".to_owned(),
            retry_at: kit::at(5),
        },
        CheckoutEvent::CheckoutCompleted {},
        CheckoutEvent::ShippingStarted {
            tracking: "1Z999".parse().unwrap(),
        },
        CheckoutEvent::CheckoutUndone {
            step: kit::commit("TEE"),
            moot: false,
        },
        CheckoutEvent::CheckoutSuspended {
            step: Step::CapturePayment,
            attempt: 9,
            why: "charge_disputed".to_owned(),
        },
        CheckoutEvent::CheckoutEnded {
            outcome: Outcome::Rejected {
                reason: "card_declined".parse().unwrap(),
            },
            step: None,
            moot: false,
        },
    ]
}

fn returning_examples() -> Vec<ReturningEvent> {
    let sku = kit::sku("MUG");
    vec![
        ReturningEvent::ReturningStarted {
            return_id: ReturnId(BACK),
            order_id: kit::order_id(),
            items: vec![kit::item("MUG", 2)],
            amount: kit::total(),
            // Where it is known it stands there; before it was, nothing did.
            user_id: None,
            started_at: kit::at(0),
            restock_until: kit::at(0) + checkout::returning::RESTOCK_PATIENCE,
            revision: 1,
        },
        ReturningEvent::ReturningStepSucceeded {
            step: ReturnStep::RestockReturn { sku },
        },
        ReturningEvent::ReturningSuspended {
            step: ReturnStep::RefundPayment,
            why: "the refund failed: charge_disputed".to_owned(),
            failed: false,
        },
        ReturningEvent::ReturningResumed {
            by: "operator:ada".to_owned(),
        },
        ReturningEvent::ReturningStepSkipped {
            step: ReturnStep::RefundPayment,
            by: "operator:ada".to_owned(),
            reason: "paid back by bank transfer".parse().unwrap(),
            last: true,
            paid: None,
        },
        ReturningEvent::ReturningResolved {
            by: "operator:ada".to_owned(),
            reason: "settled on the phone".parse().unwrap(),
        },
        ReturningEvent::ReturningEnded {
            step: ReturnStep::RefundPayment,
        },
        ReturningEvent::ReturningStarted {
            return_id: ReturnId(BACK),
            order_id: kit::order_id(),
            items: vec![kit::item("MUG", 2)],
            amount: kit::total(),
            user_id: Some(kit::user_id()),
            started_at: kit::at(0),
            restock_until: kit::at(0) + checkout::returning::RESTOCK_PATIENCE,
            revision: 2,
        },
        ReturningEvent::ReturningSuspended {
            step: ReturnStep::RefundPayment,
            why: "the refund failed: charge_disputed".to_owned(),
            failed: true,
        },
        ReturningEvent::ReturningStepSkipped {
            step: ReturnStep::RefundPayment,
            by: "operator:ada".to_owned(),
            reason: "paid back by bank transfer".parse().unwrap(),
            last: false,
            paid: Some(RefundId(BACK)),
        },
    ]
}

fn refunding_examples() -> Vec<RefundingEvent> {
    vec![
        RefundingEvent::RefundingStarted {
            refund_id: RefundId(BACK),
            order_id: kit::order_id(),
            user_id: kit::user_id(),
            amount: kit::total(),
            started_at: kit::at(0),
            revision: 1,
        },
        RefundingEvent::RefundingSuspended {
            why: "the refund failed: charge_disputed".to_owned(),
            failed: false,
        },
        RefundingEvent::RefundingResumed {
            by: "operator:ada".to_owned(),
        },
        RefundingEvent::RefundingSkipped {
            by: "operator:ada".to_owned(),
            reason: "noted on the order by hand".parse().unwrap(),
        },
        RefundingEvent::RefundingResolved {
            by: "operator:ada".to_owned(),
            reason: "settled on the phone".parse().unwrap(),
        },
        RefundingEvent::RefundingDropped {
            code: "charge_disputed".to_owned(),
        },
        RefundingEvent::RefundingEnded {},
        RefundingEvent::RefundingStarted {
            refund_id: RefundId(BACK),
            order_id: kit::order_id(),
            user_id: kit::user_id(),
            amount: kit::total(),
            started_at: kit::at(0),
            revision: 2,
        },
        RefundingEvent::RefundingSuspended {
            why: "the refund failed: charge_disputed".to_owned(),
            failed: true,
        },
    ]
}

/// Every table writes the same events.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Any;

impl Table for Any {
    const TYPE: &'static str = "checkout.any";
    const ABOUT: &'static str = "Anything.";

    fn plans() -> &'static [Plan<Self>] {
        &[]
    }

    fn begins(_: &Heard<'_>) -> Option<Self> {
        None
    }

    fn example() -> Self {
        Self
    }
}

fn of_tables() -> Vec<StepwiseEvent> {
    let named = str::to_owned;
    let begun = |ends| StepwiseEvent::SagaBegun {
        order_id: kit::order_id(),
        data: json!({ "gift": "a mug" }),
        revision: 1,
        at: kit::at(0),
        until: kit::at(5),
        ends,
    };
    let done = |step, ends| StepwiseEvent::SagaStepDone {
        step: named(step),
        at: kit::at(0),
        ends,
    };
    let undoing = |cause, steps: Vec<_>| StepwiseEvent::SagaUndoStarted {
        ends: steps.is_empty(),
        cause,
        steps,
    };
    let undone = |step, ends| StepwiseEvent::SagaStepUndone {
        step: named(step),
        ends,
    };
    let suspended = |why, late| StepwiseEvent::SagaSuspended {
        step: named("ship"),
        why: named(why),
        late,
    };
    let settled = |how, ends| StepwiseEvent::SagaSettled {
        how,
        by: named("operator:ada"),
        at: kit::at(0),
        ends,
    };
    let refused = stepwise::Cause::Refused {
        step: named("keep"),
        code: named("reservation_expired"),
        message: named("the reservation has expired"),
    };
    let called_off = stepwise::Cause::CalledOff {
        fact: named("order_canceled"),
    };
    let skip = Wish::Skip {
        step: named("ship"),
        reason: "carried over the counter".parse().unwrap(),
    };
    let resolve = Wish::Resolve {
        reason: "settled on the phone".parse().unwrap(),
    };
    vec![
        begun(false),
        begun(true),
        done("paid", false),
        done("ship", true),
        undoing(refused, vec![named("set_aside")]),
        undoing(called_off, vec![]),
        undone("keep", false),
        undone("set_aside", true),
        StepwiseEvent::SagaUndoFailed {
            step: named("set_aside"),
            attempt: 1,
            message: named("reservation_shipped: the reservation was shipped"),
            retry_at: kit::at(5),
        },
        suspended("reservation_unknown: there is no reservation", false),
        suspended("not done in its time", true),
        settled(Wish::Resume, false),
        settled(skip, true),
        settled(resolve, true),
    ]
}

#[test]
fn every_event_version_has_its_file() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("wire");
    let mut files =
        golden::check::<Checkout>(&folder, CheckoutEvent::VARIANTS, &examples()).unwrap();
    let returns = returning_examples();
    let returns = golden::check::<Returning>(&folder, ReturningEvent::VARIANTS, &returns);
    files.extend(returns.unwrap());
    let refunds = refunding_examples();
    let refunds = golden::check::<Refunding>(&folder, RefundingEvent::VARIANTS, &refunds);
    files.extend(refunds.unwrap());
    let tables = golden::check::<Stepwise<Any>>(&folder, StepwiseEvent::VARIANTS, &of_tables());
    files.extend(tables.unwrap());
    golden::no_other_files(&folder, &files).unwrap();
}

#[test]
fn every_cause_outcome_and_step_reads_as_it_is_written() {
    let step = |step| CheckoutEvent::StepSucceeded { step };
    let ended = |outcome| CheckoutEvent::CheckoutEnded {
        outcome,
        step: Some(kit::ship("MUG")),
        moot: false,
    };
    let moot = CheckoutEvent::UndoSucceeded {
        step: Step::AuthorizePayment,
        moot: true,
    };
    let undo = |cause| CheckoutEvent::UndoStarted { cause };
    let events = [
        (moot, r#"{"step":{"name":"authorize_payment"},"moot":true}"#),
        (
            step(Step::ConfirmOrder),
            r#"{"step":{"name":"confirm_order"}}"#,
        ),
        (
            step(kit::ship("MUG")),
            r#"{"step":{"name":"ship_stock","sku":"MUG"}}"#,
        ),
        (
            ended(Outcome::Shipped {}),
            r#"{"outcome":{"name":"shipped"},"step":{"name":"ship_stock","sku":"MUG"}}"#,
        ),
        (
            undo(Cause::HoldLapsed {
                sku: kit::sku("MUG"),
            }),
            r#"{"cause":{"name":"hold_lapsed","sku":"MUG"}}"#,
        ),
        (
            undo(Cause::AuthorizationLost {}),
            r#"{"cause":{"name":"authorization_lost"}}"#,
        ),
        (
            undo(Cause::LateSuccess {
                step: Step::CapturePayment,
            }),
            r#"{"cause":{"name":"late_success","step":{"name":"capture_payment"}}}"#,
        ),
    ];
    for (event, data) in events {
        let json = serde_json::to_value(&event).unwrap();
        assert_eq!(
            json["data"],
            serde_json::from_str::<serde_json::Value>(data).unwrap()
        );
        assert_eq!(
            serde_json::from_value::<CheckoutEvent>(json).unwrap(),
            event
        );
    }
}

#[test]
fn facts_travel_as_well() {
    let facts = [
        kit::placed(vec![kit::item("MUG", 1)]),
        kit::refused(kit::undo(kit::reserve("MUG")), "no"),
        kit::refunded(1),
        CheckoutFact::NothingToUndo {
            ask: kit::undo(kit::reserve("MUG")),
        },
        kit::resumed(),
        kit::skipped("capture_payment"),
        kit::resolved(),
    ];
    for fact in facts {
        let json = serde_json::to_string(&fact).unwrap();
        assert_eq!(serde_json::from_str::<CheckoutFact>(&json).unwrap(), fact);
    }
}
