//! What a basket must be before it is an order, told as sentences.

#![allow(clippy::unwrap_used, reason = "a scenario that can not go on fails")]

mod words;

use kernel::{Decider, Money, Sku};
use order::{LINES_MAX, Line, OrderRefusal, QUANTITY_MAX};
use words::{
    ANN, after, at_canceled, at_delivered, eur, follows, is_refused, line, place, placed, two_lines,
};

#[test]
fn a_customer_buys_at_the_prices_of_the_moment() {
    follows(vec![], place(two_lines()), vec![placed()]);
    let order = after(&[placed()]);
    assert_eq!(order.owner(), Some(ANN));
    assert_eq!(order.total(), Some(eur(2_500)));
}

#[test]
fn an_order_is_placed_once() {
    for history in [vec![placed()], at_canceled(), at_delivered()] {
        is_refused(
            history,
            place(two_lines()),
            OrderRefusal::OrderAlreadyExists,
        );
    }
}

#[test]
fn an_order_has_one_to_a_hundred_lines() {
    let lines = |count: u32| -> Vec<Line> {
        (0..count)
            .map(|n| line(&format!("sku-{n}"), 1, eur(1)))
            .collect()
    };
    is_refused(vec![], place(vec![]), OrderRefusal::NoLines);
    is_refused(
        vec![],
        place(lines(LINES_MAX + 1)),
        OrderRefusal::TooManyLines { max: LINES_MAX },
    );
    let most = after(&[]).decide(&place(lines(LINES_MAX)));
    assert_eq!(most.map(|events| events.len()), Ok(1));
}

#[test]
fn a_line_has_one_to_ten_thousand_units() {
    for quantity in [0, QUANTITY_MAX + 1, u32::MAX] {
        let lines = vec![line("desk", 1, eur(1)), line("lamp", quantity, eur(1))];
        is_refused(
            vec![],
            place(lines),
            OrderRefusal::QuantityOutOfRange {
                line: 1,
                max: QUANTITY_MAX,
            },
        );
    }
    let most = after(&[]).decide(&place(vec![line("desk", QUANTITY_MAX, eur(1))]));
    assert_eq!(most.map(|events| events.len()), Ok(1));
}

#[test]
fn a_product_stands_in_one_line() {
    let lines = vec![
        line("desk", 1, eur(1)),
        line("lamp", 1, eur(1)),
        line("desk", 2, eur(1)),
    ];
    let sku: Sku = "desk".parse().unwrap();
    is_refused(
        vec![],
        place(lines),
        OrderRefusal::DuplicateSku { line: 2, sku },
    );
}

#[test]
fn an_order_has_one_currency() {
    let dollars = Money::new(1, "USD".parse().unwrap());
    let lines = vec![line("desk", 1, eur(1)), line("lamp", 1, dollars)];
    is_refused(
        vec![],
        place(lines),
        OrderRefusal::MixedCurrencies { line: 1 },
    );
}

#[test]
fn nothing_is_given_away() {
    for price in [eur(0), eur(-5)] {
        let lines = vec![line("desk", 1, eur(1)), line("lamp", 1, price)];
        is_refused(
            vec![],
            place(lines),
            OrderRefusal::PriceNotPositive { line: 1 },
        );
    }
}

#[test]
fn a_total_that_can_not_be_counted_is_refused() {
    let one_line = vec![line("desk", 2, eur(i64::MAX))];
    let two = vec![
        line("desk", 1, eur(i64::MAX)),
        line("lamp", 1, eur(i64::MAX)),
    ];
    for lines in [one_line, two] {
        is_refused(vec![], place(lines), OrderRefusal::TotalOverflow);
    }
}

#[test]
fn rules_are_checked_in_their_order() {
    let dollars = Money::new(-1, "USD".parse().unwrap());
    let lines = vec![line("desk", 1, eur(1)), line("desk", 0, dollars)];
    is_refused(
        vec![],
        place(lines),
        OrderRefusal::QuantityOutOfRange {
            line: 1,
            max: QUANTITY_MAX,
        },
    );
}
