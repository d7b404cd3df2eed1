//! Goods that come back, and when stock is low, told as sentences.

#![allow(clippy::unwrap_used, reason = "a scenario that can not go on fails")]

mod words;

use inventory::{InventoryCommand, InventoryEvent, InventoryRefusal, ON_HAND_MAX};
use kernel::Decider;
use words::{
    adjust, after, commit, follows, is_refused, minute, reserve, restock, restocked, returned,
    ship, stock, ten_and, threshold,
};

/// Ten came in, three of them left the house.
fn three_sold() -> Vec<InventoryEvent> {
    ten_and(&[reserve(1, 3, 0), commit(1, 1), ship(1, 2)])
}

#[test]
fn goods_that_came_back_are_on_the_shelf_once() {
    let back = restocked(7, 2, 10, stock(9, 0, 0));
    follows(three_sold(), restock(7, 2, 10), vec![back.clone()]);
    let known = [three_sold(), vec![back]].concat();
    follows(known.clone(), restock(7, 2, 11), vec![]);
    // Also when the repeated ask comes after its time: it was done.
    follows(known, restock(7, 2, 65), vec![]);
}

#[test]
fn two_returns_of_one_order_are_two() {
    let known = [three_sold(), vec![restocked(7, 2, 10, stock(9, 0, 0))]].concat();
    let other = restocked(8, 1, 11, stock(10, 0, 0));
    follows(known, restock(8, 1, 11), vec![other]);
}

#[test]
fn a_return_is_not_restocked_with_another_quantity() {
    let known = [three_sold(), vec![restocked(7, 2, 10, stock(9, 0, 0))]].concat();
    let refusal = InventoryRefusal::RestockDiffers { restocked: 2 };
    is_refused(known, restock(7, 1, 11), refusal);
}

#[test]
fn nothing_can_not_be_restocked() {
    let refusal = InventoryRefusal::QuantityNotPositive;
    is_refused(three_sold(), restock(7, 0, 10), refusal);
}

#[test]
fn a_restock_that_comes_after_its_own_time_is_refused() {
    let refusal = InventoryRefusal::RestockExpired;
    is_refused(three_sold(), restock(7, 2, 60), refusal);
}

#[test]
fn more_than_can_be_counted_does_not_come_back() {
    let max = i64::try_from(ON_HAND_MAX).unwrap();
    let refusal = InventoryRefusal::StockTooLarge { max: ON_HAND_MAX };
    is_refused(ten_and(&[adjust(max - 10)]), restock(7, 1, 0), refusal);
}

#[test]
fn a_restocked_return_is_forgotten_once_nobody_may_ask_for_it() {
    let mut item = after(&three_sold());
    for number in 0..1_000 {
        let command = InventoryCommand::RestockReturn {
            return_id: returned(number),
            quantity: 1,
            expires_at: minute(i64::try_from(number).unwrap() + 5),
            at: minute(i64::try_from(number).unwrap()),
        };
        for event in item.decide(&command).unwrap() {
            item.evolve(&event);
        }
    }
    let kept = item.kept().unwrap();
    assert_eq!(kept.stock.on_hand, 1_007);
    assert_eq!(kept.restocks.len(), 15, "five minutes and ten to spare");
}

#[test]
fn an_operator_says_once_when_stock_is_low() {
    let set = InventoryEvent::LowStockThresholdSet {
        threshold: 5,
        stock: stock(10, 0, 0),
    };
    follows(ten_and(&[]), threshold(5), vec![set]);
    follows(ten_and(&[threshold(5)]), threshold(5), vec![]);
    follows(ten_and(&[]), threshold(0), vec![]);
}
