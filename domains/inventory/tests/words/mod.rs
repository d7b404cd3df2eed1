//! The vocabulary that the scenarios of this context are told in.

#![allow(
    dead_code,
    clippy::unwrap_used,
    reason = "each test binary uses a part of the vocabulary, and a scenario that can not go on fails"
)]

use chrono::{DateTime, TimeDelta, Utc};
use inventory::{InventoryCommand, InventoryEvent, InventoryRefusal, Stock, StockItem};
use kernel::{Decider, OrderId, Reason, ReservationId, ReturnId, TestFramework};
use uuid::Uuid;

/// Minutes after a fixed noon.
pub(crate) fn minute(minutes: i64) -> DateTime<Utc> {
    let noon: DateTime<Utc> = "2026-03-01T12:00:00Z".parse().unwrap();
    noon + TimeDelta::minutes(minutes)
}

/// When every hold in here lapses.
pub(crate) fn lapse() -> DateTime<Utc> {
    minute(30)
}

pub(crate) fn id(order: u128) -> ReservationId {
    ReservationId {
        order_id: OrderId(Uuid::from_u128(order)),
        attempt: 1,
    }
}

pub(crate) fn why() -> Reason {
    "card_declined".parse().unwrap()
}

pub(crate) fn stock(on_hand: u64, reserved: u64, committed: u64) -> Stock {
    Stock {
        on_hand,
        reserved,
        committed,
    }
}

pub(crate) fn reserve(order: u128, quantity: u32, now: i64) -> InventoryCommand {
    InventoryCommand::ReserveStock {
        reservation: id(order),
        quantity,
        expires_at: lapse(),
        at: minute(now),
    }
}

pub(crate) fn commit(order: u128, now: i64) -> InventoryCommand {
    InventoryCommand::CommitReservation {
        reservation: id(order),
        at: minute(now),
    }
}

pub(crate) fn release(order: u128, now: i64) -> InventoryCommand {
    InventoryCommand::ReleaseReservation {
        reservation: id(order),
        reason: why(),
        expires_at: lapse(),
        at: minute(now),
    }
}

pub(crate) fn expire(order: u128, now: i64) -> InventoryCommand {
    InventoryCommand::ExpireReservation {
        reservation: id(order),
        at: minute(now),
    }
}

pub(crate) fn ship(order: u128, now: i64) -> InventoryCommand {
    InventoryCommand::ShipReservation {
        reservation: id(order),
        at: minute(now),
    }
}

pub(crate) fn returned(number: u128) -> ReturnId {
    ReturnId(Uuid::from_u128(number))
}

/// Until when a return in here may be restocked.
pub(crate) fn too_late() -> DateTime<Utc> {
    minute(60)
}

pub(crate) fn restock(number: u128, quantity: u32, now: i64) -> InventoryCommand {
    InventoryCommand::RestockReturn {
        return_id: returned(number),
        quantity,
        expires_at: too_late(),
        at: minute(now),
    }
}

pub(crate) fn threshold(threshold: u32) -> InventoryCommand {
    InventoryCommand::SetLowStockThreshold { threshold }
}

pub(crate) fn adjust(delta: i64) -> InventoryCommand {
    InventoryCommand::AdjustStock {
        delta,
        reason: why(),
    }
}

pub(crate) fn receive(quantity: u32) -> InventoryCommand {
    InventoryCommand::ReceiveStock { quantity }
}

pub(crate) fn reserved(order: u128, quantity: u32, now: i64, stock: Stock) -> InventoryEvent {
    InventoryEvent::StockReserved {
        reservation: id(order),
        quantity,
        expires_at: lapse(),
        at: minute(now),
        stock,
    }
}

pub(crate) fn restocked(number: u128, quantity: u32, now: i64, stock: Stock) -> InventoryEvent {
    InventoryEvent::ReturnRestocked {
        return_id: returned(number),
        quantity,
        expires_at: too_late(),
        at: minute(now),
        stock,
    }
}

pub(crate) fn released(order: u128, quantity: u32, now: i64, stock: Stock) -> InventoryEvent {
    InventoryEvent::ReservationReleased {
        reservation: id(order),
        quantity,
        reason: why(),
        expires_at: lapse(),
        at: minute(now),
        stock,
    }
}

pub(crate) fn expired(order: u128, quantity: u32, now: i64, stock: Stock) -> InventoryEvent {
    InventoryEvent::ReservationExpired {
        reservation: id(order),
        quantity,
        at: minute(now),
        stock,
    }
}

/// The history that these commands made, one after another. Each must have been taken.
pub(crate) fn history(commands: &[InventoryCommand]) -> Vec<InventoryEvent> {
    let mut item = StockItem::default();
    let mut events = Vec::new();
    for command in commands {
        for event in item.decide(command).unwrap() {
            item.evolve(&event);
            events.push(event);
        }
    }
    events
}

/// Ten units in the house, and then these commands.
pub(crate) fn ten_and(commands: &[InventoryCommand]) -> Vec<InventoryEvent> {
    let mut all = vec![InventoryCommand::CreateStockItem {}, receive(10)];
    all.extend_from_slice(commands);
    history(&all)
}

pub(crate) fn after(events: &[InventoryEvent]) -> StockItem {
    let mut item = StockItem::default();
    for event in events {
        item.evolve(event);
    }
    item
}

#[track_caller]
pub(crate) fn follows(
    given: Vec<InventoryEvent>,
    when: InventoryCommand,
    then: Vec<InventoryEvent>,
) {
    TestFramework::<StockItem>::with(())
        .given(given)
        .when(when)
        .then_expect_events(then);
}

#[track_caller]
pub(crate) fn is_refused(
    given: Vec<InventoryEvent>,
    when: InventoryCommand,
    then: InventoryRefusal,
) {
    TestFramework::<StockItem>::with(())
        .given(given)
        .when(when)
        .then_expect_error(then);
}
