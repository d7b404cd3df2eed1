//! Every step repeated is harmless, failing every step unwinds to a clean slate, and the ids of the
//! asks stay the same.

#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test: what can't be is a finding, and ends it"
)]

mod kit;

use std::collections::{BTreeMap, BTreeSet};

use checkout::{Ask, CheckoutFact, Status, Step, ask_id, refund_id, refund_id_of};
use kit::{
    Case, authorized, canceled, captured, committed, confirmed, declined, expired, failed, item,
    placed, refunded, rejected, released, reserved, rings, shipped, stock_shipped, voided,
};

/// All ways that an order of two lines goes, fact by fact.
fn stories() -> Vec<Vec<CheckoutFact>> {
    let place = placed(vec![item("MUG", 2), item("TEE", 1)]);
    let to_capture = [
        place,
        reserved("MUG"),
        reserved("TEE"),
        authorized(),
        committed("MUG"),
        committed("TEE"),
        captured(),
    ];
    let up_to = |count: usize, then: Vec<CheckoutFact>| {
        to_capture[..count]
            .iter()
            .cloned()
            .chain(then)
            .collect::<Vec<_>>()
    };
    let free = || vec![released("MUG"), released("TEE")];
    let undone = |first: Vec<CheckoutFact>| [first, free()].concat();
    vec![
        up_to(
            7,
            vec![
                confirmed(),
                shipped(),
                stock_shipped("MUG"),
                stock_shipped("TEE"),
            ],
        ),
        up_to(1, undone(vec![canceled()])),
        up_to(
            2,
            [
                undone(vec![rings(900)]),
                vec![rejected("reservation_timed_out")],
            ]
            .concat(),
        ),
        up_to(3, undone(vec![declined()])),
        up_to(3, undone(vec![failed(), canceled()])),
        up_to(3, undone(vec![rings(900), voided()])),
        up_to(3, vec![expired("TEE"), voided(), released("MUG")]),
        up_to(4, undone(vec![canceled()])),
        up_to(5, [undone(vec![canceled()]), vec![voided()]].concat()),
        up_to(6, undone(vec![canceled(), captured(), refunded(1)])),
        up_to(6, undone(vec![canceled(), voided()])),
        up_to(7, undone(vec![canceled(), refunded(1)])),
        up_to(7, undone(vec![confirmed(), canceled(), refunded(1)])),
    ]
}

#[test]
fn every_fact_twice_changes_nothing() {
    for story in stories() {
        let mut case = Case::default();
        for (index, fact) in story.iter().enumerate() {
            case = case.given([fact.clone()]);
            for seen in &story[..=index] {
                case.ignores(seen);
            }
        }
    }
}

#[test]
fn the_same_ask_has_the_same_id_whenever_it_is_sent() {
    let mut ids = BTreeMap::new();
    for story in stories() {
        let mut case = Case::default();
        for fact in story {
            case = case.given([fact]);
            for seconds in [0, 5, 5_000] {
                for due in case.state.pending(kit::at(seconds)) {
                    assert_eq!(due.ask_id, ask_id(kit::order_id(), &due.label));
                    let name = due.label.to_string();
                    assert_eq!(*ids.entry(name).or_insert(due.ask_id), due.ask_id);
                }
            }
        }
    }
    let distinct: BTreeSet<_> = ids.values().collect();
    assert_eq!(distinct.len(), ids.len(), "{ids:?}");
}

/// The walk: at each point of the flow something comes in the way, and each undo that is asked is
/// answered, whatever it is.
#[test]
fn failing_every_step_in_turn_unwinds_to_a_clean_slate() {
    let flow = stories().remove(0);
    for cut in 1..8 {
        let before = Case::default().given(flow[..cut].to_vec());
        for trouble in troubles(&before) {
            let mut case = before.clone().given([trouble.clone()]);
            let mut freed = BTreeSet::new();
            for _ in 0..10 {
                let Some(ask) = case.works().into_iter().next() else {
                    break;
                };
                freed.insert(ask.to_string());
                case = case.given([answer(&ask)]);
                if ask == Ask::RecordRefund {
                    break;
                }
            }
            assert_eq!(case.state.status(), Status::Ended, "{cut}: {trouble:?}");
            must_be_freed(cut, &freed);
        }
    }
}

fn troubles(case: &Case) -> Vec<CheckoutFact> {
    let refusals = case.works().into_iter().map(|ask| kit::refused(ask, "no"));
    refusals.chain([canceled()]).collect()
}

fn answer(ask: &Ask) -> CheckoutFact {
    match ask {
        Ask::Undo { step, .. } => match step {
            Step::ReserveStock { sku } | Step::CommitStock { sku } => released(sku.as_str()),
            Step::AuthorizePayment => voided(),
            Step::CapturePayment => refunded(1),
            Step::ConfirmOrder | Step::ShipStock { .. } => panic!("{ask} has no undo"),
        },
        Ask::RejectOrder { .. } => rejected("no"),
        Ask::RecordRefund => rings(0),
        Ask::Step { .. } | Ask::Notify { .. } => panic!("{ask} is no undo"),
    }
}

/// What was certainly done by then must have been undone.
fn must_be_freed(cut: usize, asked: &BTreeSet<String>) {
    let stock = |name: &str| {
        asked
            .iter()
            .any(|a| a.starts_with("undo-") && a.contains(name))
    };
    let money = |name: &str| asked.contains(&format!("undo-{name}/1"));
    if cut >= 3 {
        assert!(stock("MUG") && stock("TEE"), "{cut}: {asked:?}");
    }
    if (4..7).contains(&cut) {
        assert!(money("authorize_payment"), "{cut}: {asked:?}");
    }
    if cut >= 7 {
        assert!(money("capture_payment"), "{cut}: {asked:?}");
    }
}

#[test]
fn refunds_have_an_id_for_each_attempt() {
    let order = kit::order_id();
    assert_eq!(refund_id(order), refund_id_of(order, 1));
    assert_ne!(refund_id_of(order, 1), refund_id_of(order, 2));
}
