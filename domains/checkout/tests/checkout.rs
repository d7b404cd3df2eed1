//! An order that goes well, as facts in and asks out.

mod kit;

use checkout::{Checkout, CheckoutEvent, CheckoutRefusal, Outcome, Status, Step};
use kernel::{Decider, TestFramework};
use kit::{
    Case, authorized, canceled, captured, commit, committed, confirmed, item, notify, placed,
    reserve, reserved, ship, shipped, step, stock_shipped,
};
use notification::Template;

#[test]
fn one_line_costs_six_events_of_its_own() {
    let mut case = Case::placed();
    assert_eq!(case.asks(), [step(reserve("MUG"))]);
    case.when(&reserved("MUG"));
    assert_eq!(case.asks(), [step(Step::AuthorizePayment)]);
    case.when(&authorized());
    assert_eq!(case.asks(), [step(commit("MUG"))]);
    case.when(&committed("MUG"));
    assert_eq!(case.asks(), [step(Step::CapturePayment)]);
    case.when(&captured());
    assert_eq!(case.asks(), [step(Step::ConfirmOrder)]);
    case.when(&confirmed());
    assert_eq!(case.asks(), [notify(Template::OrderConfirmed)]);
    assert_eq!(case.state.status(), Status::Completed);
    assert_eq!(
        case.story,
        [
            "checkout_started",
            "step_succeeded",
            "step_succeeded",
            "step_succeeded",
            "step_succeeded",
            "checkout_completed"
        ]
    );
}

#[test]
fn lines_are_reserved_and_committed_side_by_side() {
    let mut case = Case::placed_two();
    assert_eq!(case.asks(), [step(reserve("MUG")), step(reserve("TEE"))]);
    case.when(&reserved("TEE"));
    assert_eq!(case.asks(), [step(reserve("MUG"))]);
    case.when(&reserved("MUG"));
    case.when(&authorized());
    assert_eq!(case.asks(), [step(commit("MUG")), step(commit("TEE"))]);
    case.when(&committed("MUG"));
    assert_eq!(case.asks(), [step(commit("TEE"))]);
    case.when(&committed("TEE"));
    assert_eq!(case.asks(), [step(Step::CapturePayment)]);
}

fn completed() -> Case {
    Case::placed_two().given([
        reserved("MUG"),
        reserved("TEE"),
        authorized(),
        committed("MUG"),
        committed("TEE"),
        captured(),
        confirmed(),
    ])
}

#[test]
fn shipping_books_every_line_out_and_ends() {
    let mut case = completed();
    case.when(&shipped());
    assert_eq!(case.state.status(), Status::Shipping);
    let mails = [
        notify(Template::OrderConfirmed),
        notify(Template::OrderShipped),
    ];
    assert_eq!(case.works(), [step(ship("MUG")), step(ship("TEE"))]);
    case.when(&stock_shipped("TEE"));
    assert_eq!(case.works(), [step(ship("MUG"))]);
    let last = case.when(&stock_shipped("MUG"));
    assert_eq!(
        last,
        Some(CheckoutEvent::CheckoutEnded {
            outcome: Outcome::Shipped {},
            step: Some(ship("MUG")),
            moot: false
        })
    );
    assert_eq!(case.asks(), mails, "a mail stays due, under one id");
    case.ignores(&canceled());
}

#[test]
fn shipped_before_the_confirmation_was_heard() {
    let mut case = Case::placed().given([reserved("MUG"), authorized(), committed("MUG")]);
    case.when(&captured());
    case.when(&shipped());
    assert_eq!(case.works(), [step(ship("MUG"))]);
    case.ignores(&confirmed());
    assert!(case.asks().contains(&notify(Template::OrderConfirmed)));
}

#[test]
fn a_capture_by_hand_at_the_provider_is_taken_for_granted() {
    let mut early = Case::placed().given([reserved("MUG"), captured()]);
    assert_eq!(early.asks(), [step(commit("MUG"))]);
    early.when(&committed("MUG"));
    assert_eq!(early.asks(), [step(Step::ConfirmOrder)]);
    let mut later = Case::placed().given([reserved("MUG"), authorized(), captured()]);
    assert_eq!(later.asks(), [step(commit("MUG"))]);
    later.when(&committed("MUG"));
    assert_eq!(later.asks(), [step(Step::ConfirmOrder)]);
}

#[test]
fn a_fact_before_the_placement_must_come_again() {
    let facts = [
        reserved("MUG"),
        authorized(),
        canceled(),
        confirmed(),
        kit::rings(1),
    ];
    for fact in facts {
        TestFramework::<Checkout>::with(())
            .given_no_previous_events()
            .when(fact)
            .then_expect_error(CheckoutRefusal::CheckoutNotStarted {});
    }
}

#[test]
fn a_second_placement_is_ignored() {
    Case::placed().ignores(&placed(vec![item("MUG", 9)]));
}

#[test]
fn the_state_survives_a_snapshot() {
    let state = completed().given([shipped()]).state;
    let json = serde_json::to_string(&state).unwrap();
    let back: Checkout = serde_json::from_str(&json).unwrap();
    assert_eq!(back, state);
    assert_eq!(back.pending(kit::at(1)), state.pending(kit::at(1)));
}

#[test]
fn nothing_is_due_before_an_order() {
    let mut state = Checkout::default();
    assert!(state.pending(kit::at(0)).is_empty());
    assert_eq!(state.deadline(), None);
    assert_eq!(state.status(), Status::NotStarted);
    state.evolve(&CheckoutEvent::CheckoutCompleted {});
    assert_eq!(state, Checkout::default());
}
