//! How a hold on stock ends, and how long that is remembered, told as sentences.

#![allow(clippy::unwrap_used, reason = "a scenario that can not go on fails")]

mod words;

use chrono::TimeDelta;
use inventory::{
    End, FINISHED_KEPT_SECONDS, InventoryCommand, InventoryEvent, InventoryRefusal, Stage,
};
use kernel::Decider;
use words::{
    after, commit, expire, expired, follows, id, is_refused, minute, release, released, reserve,
    ship, stock, ten_and, why,
};

#[test]
fn a_release_after_the_reserve_could_still_come_needs_no_tombstone() {
    follows(ten_and(&[]), release(1, 30), vec![]);
}

#[test]
fn a_hold_that_lapsed_can_not_be_made_firm() {
    let refusal = InventoryRefusal::ReservationExpired;
    is_refused(ten_and(&[reserve(1, 3, 0)]), commit(1, 30), refusal.clone());
    is_refused(
        ten_and(&[reserve(1, 3, 0), expire(1, 30)]),
        commit(1, 29),
        refusal,
    );
}

#[test]
fn what_was_released_can_not_be_made_firm() {
    for history in [
        ten_and(&[reserve(1, 3, 0), release(1, 1)]),
        ten_and(&[release(1, 1)]),
    ] {
        is_refused(history, commit(1, 2), InventoryRefusal::ReservationClosed);
    }
}

#[test]
fn an_unknown_hold_is_neither_made_firm_nor_shipped() {
    let reservation = id(1);
    for command in [commit(1, 0), ship(1, 0)] {
        is_refused(
            ten_and(&[]),
            command,
            InventoryRefusal::ReservationUnknown { reservation },
        );
    }
}

#[test]
fn units_are_given_back_once_whether_reserved_or_committed() {
    let back = released(1, 3, 2, stock(10, 0, 0));
    for history in [
        ten_and(&[reserve(1, 3, 0)]),
        ten_and(&[reserve(1, 3, 0), commit(1, 1)]),
    ] {
        follows(history, release(1, 2), vec![back.clone()]);
    }
    let given_back = ten_and(&[reserve(1, 3, 0), release(1, 1)]);
    follows(given_back, release(1, 2), vec![]);
    let lapsed = ten_and(&[reserve(1, 3, 0), expire(1, 30)]);
    follows(lapsed, release(1, 31), vec![]);
}

#[test]
fn what_was_shipped_is_not_given_back() {
    is_refused(
        ten_and(&[reserve(1, 3, 0), commit(1, 1), ship(1, 2)]),
        release(1, 3),
        InventoryRefusal::ReservationShipped,
    );
}

#[test]
fn a_hold_expires_once_and_not_before_its_time() {
    let held = ten_and(&[reserve(1, 3, 0)]);
    follows(
        held.clone(),
        expire(1, 30),
        vec![expired(1, 3, 30, stock(10, 0, 0))],
    );
    is_refused(held, expire(1, 29), InventoryRefusal::ReservationNotLapsed);
    for nothing_held in [
        ten_and(&[]),
        ten_and(&[release(1, 1)]),
        ten_and(&[reserve(1, 3, 0), expire(1, 30)]),
    ] {
        follows(nothing_held, expire(1, 31), vec![]);
    }
}

#[test]
fn a_firm_hold_does_not_expire() {
    is_refused(
        ten_and(&[reserve(1, 3, 0), commit(1, 1)]),
        expire(1, 31),
        InventoryRefusal::ReservationCommitted,
    );
}

#[test]
fn firm_units_leave_the_house_once() {
    let shipped = InventoryEvent::StockShipped {
        reservation: id(1),
        quantity: 3,
        at: minute(2),
        stock: stock(7, 0, 0),
    };
    follows(
        ten_and(&[reserve(1, 3, 0), commit(1, 1)]),
        ship(1, 2),
        vec![shipped],
    );
    follows(
        ten_and(&[reserve(1, 3, 0), commit(1, 1), ship(1, 2)]),
        ship(1, 3),
        vec![],
    );
}

#[test]
fn a_shipment_asked_for_again_days_after_the_hold_lapsed_is_already_true() {
    let days = 3 * 24 * 60;
    let shipped = ten_and(&[reserve(1, 3, 0), commit(1, 1), ship(1, days)]);
    follows(shipped, ship(1, days + 1), vec![]);
}

#[test]
fn only_firm_units_leave_the_house() {
    is_refused(
        ten_and(&[reserve(1, 3, 0)]),
        ship(1, 1),
        InventoryRefusal::ReservationNotCommitted,
    );
    for history in [
        ten_and(&[reserve(1, 3, 0), release(1, 1)]),
        ten_and(&[reserve(1, 3, 0), expire(1, 30)]),
        ten_and(&[release(1, 1)]),
    ] {
        is_refused(history, ship(1, 2), InventoryRefusal::ReservationClosed);
    }
}

#[test]
fn lapsed_holds_give_way_to_who_needs_their_units() {
    let later = InventoryCommand::ReserveStock {
        reservation: id(9),
        quantity: 5,
        expires_at: minute(90),
        at: minute(40),
    };
    let granted = InventoryEvent::StockReserved {
        reservation: id(9),
        quantity: 5,
        expires_at: minute(90),
        at: minute(40),
        stock: stock(10, 9, 0),
    };
    let full = ten_and(&[reserve(1, 4, 0), reserve(2, 6, 0)]);
    let gave_way = vec![expired(2, 6, 40, stock(10, 4, 0)), granted];
    follows(full.clone(), later.clone(), gave_way.clone());

    let used_up = [full, gave_way].concat();
    is_refused(used_up, commit(2, 29), InventoryRefusal::ReservationExpired);

    let firm = ten_and(&[reserve(1, 4, 0), reserve(2, 6, 0), commit(2, 1)]);
    is_refused(
        firm,
        later,
        InventoryRefusal::OutOfStock {
            requested: 5,
            available: 4,
        },
    );
}

#[test]
fn what_is_finished_is_forgotten_when_nothing_late_can_name_it() {
    // Orders whose holds share a shard: what is written there sweeps it.
    let [buried, released, firm, lapsed, new] = [1, 2, 3, 4, 5].map(|n| n * 256);
    let mut commands = vec![release(buried, 0)];
    commands.extend([released, firm, lapsed].map(|order| reserve(order, 1, 0)));
    commands.extend([release(released, 1), commit(firm, 1), expire(lapsed, 30)]);
    let item = after(&ten_and(&commands));
    assert_eq!(item.hold(&id(buried)), None);
    assert_eq!(item.hold(&id(released)), None);
    assert_eq!(
        item.hold(&id(lapsed)).map(|hold| hold.stage),
        Some(Stage::Finished(End::Expired)),
        "what has just finished is remembered for a while"
    );
    commands.push(InventoryCommand::ReserveStock {
        reservation: id(new),
        quantity: 1,
        expires_at: minute(90),
        at: minute(30 + FINISHED_KEPT_SECONDS / 60),
    });
    let item = after(&ten_and(&commands));
    let left: Vec<_> = item.kept().unwrap().holds.iter().collect();
    let left: Vec<_> = left.into_iter().map(|(id, _)| *id).collect();
    assert_eq!(left, [id(firm), id(new)], "the firm hold and the new one");
}

#[test]
fn a_hot_sku_stays_small_over_many_orders() {
    let mut item = after(&ten_and(&[]));
    for order in 0..10_000 {
        // One order every six seconds, each held for 30 minutes: 300 are open at a time.
        let at = minute(0) + TimeDelta::seconds(6 * i64::try_from(order).unwrap());
        let expires_at = at + TimeDelta::minutes(30);
        let reservation = id(order);
        let reserve = InventoryCommand::ReserveStock {
            reservation,
            quantity: 1,
            expires_at,
            at,
        };
        let release = InventoryCommand::ReleaseReservation {
            reservation,
            reason: why(),
            expires_at,
            at,
        };
        for command in [reserve, release] {
            for event in item.decide(&command).unwrap() {
                item.evolve(&event);
            }
        }
        assert!(item.kept().unwrap().holds.len() <= 300 + 256);
    }
}
