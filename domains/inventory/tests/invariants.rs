//! Whatever is asked, in whatever order: no unit is sold twice, and the counts are those of the
//! holds.

#![allow(clippy::unwrap_used, reason = "a scenario that can not go on fails")]

use chrono::{DateTime, TimeDelta, Utc};
use inventory::{InventoryCommand, InventoryEvent, Stage, Stock, StockItem};
use kernel::{Decider, OrderId, ReservationId, ReturnId};
use proptest::prelude::*;
use uuid::Uuid;

fn minute(minutes: i64) -> DateTime<Utc> {
    let noon: DateTime<Utc> = "2026-03-01T12:00:00Z".parse().unwrap();
    noon + TimeDelta::minutes(minutes)
}

fn reservations() -> impl Strategy<Value = ReservationId> {
    (0_u128..12, 1_u32..3).prop_map(|(order, attempt)| ReservationId {
        order_id: OrderId(Uuid::from_u128(order)),
        attempt,
    })
}

/// Clocks that mostly go forward would hide what a skewed one does: any time within three hours.
fn times() -> impl Strategy<Value = DateTime<Utc>> {
    (0_i64..180).prop_map(minute)
}

fn commands() -> impl Strategy<Value = InventoryCommand> {
    let reason = || "because".parse().unwrap();
    prop_oneof![
        1 => Just(InventoryCommand::CreateStockItem {}),
        2 => (0_u32..30).prop_map(|quantity| InventoryCommand::ReceiveStock { quantity }),
        2 => (-30_i64..30).prop_map(move |delta| InventoryCommand::AdjustStock { delta, reason: reason() }),
        8 => (reservations(), 0_u32..12, times(), times()).prop_map(|(reservation, quantity, expires_at, at)| {
            InventoryCommand::ReserveStock { reservation, quantity, expires_at, at }
        }),
        5 => (reservations(), times())
            .prop_map(|(reservation, at)| InventoryCommand::CommitReservation { reservation, at }),
        3 => (reservations(), times(), times()).prop_map(move |(reservation, expires_at, at)| {
            InventoryCommand::ReleaseReservation { reservation, reason: reason(), expires_at, at }
        }),
        2 => (reservations(), times())
            .prop_map(|(reservation, at)| InventoryCommand::ExpireReservation { reservation, at }),
        3 => (reservations(), times())
            .prop_map(|(reservation, at)| InventoryCommand::ShipReservation { reservation, at }),
        2 => (0_u128..12, 0_u32..12, times(), times()).prop_map(|(id, quantity, expires_at, at)| {
            InventoryCommand::RestockReturn { return_id: ReturnId(Uuid::from_u128(id)), quantity, expires_at, at }
        }),
        1 => (0_u32..30).prop_map(|threshold| InventoryCommand::SetLowStockThreshold { threshold }),
    ]
}

/// The units of all holds in one stage.
fn units(item: &StockItem, stage: Stage) -> u64 {
    let holds = item.kept().into_iter().flat_map(|kept| kept.holds.iter());
    let wanted = holds.filter(|(_, hold)| hold.stage == stage);
    wanted.map(|(_, hold)| u64::from(hold.quantity)).sum()
}

fn holds_true(item: &StockItem, stock: Stock) -> Result<(), TestCaseError> {
    let set_aside = stock.reserved + stock.committed;
    prop_assert!(set_aside <= stock.on_hand, "sold twice: {stock:?}");
    prop_assert_eq!(stock.available(), stock.on_hand - set_aside);
    prop_assert_eq!(stock.reserved, units(item, Stage::Reserved));
    prop_assert_eq!(stock.committed, units(item, Stage::Committed));
    prop_assert_eq!(item.stock().unwrap_or_default(), stock);
    Ok(())
}

/// Received + adjusted + restocked − shipped: what an event alone says about the units in the house.
fn moved(event: &InventoryEvent) -> i64 {
    match event {
        InventoryEvent::StockReceived { quantity, .. }
        | InventoryEvent::ReturnRestocked { quantity, .. } => i64::from(*quantity),
        InventoryEvent::StockAdjusted { delta, .. } => *delta,
        InventoryEvent::StockShipped { quantity, .. } => -i64::from(*quantity),
        InventoryEvent::StockItemCreated {}
        | InventoryEvent::StockReserved { .. }
        | InventoryEvent::ReservationCommitted { .. }
        | InventoryEvent::ReservationReleased { .. }
        | InventoryEvent::ReservationExpired { .. }
        | InventoryEvent::LowStockThresholdSet { .. } => 0,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn available_is_never_negative_and_the_counts_are_those_of_the_holds(
        commands in proptest::collection::vec(commands(), 1..120),
    ) {
        let mut item = StockItem::default();
        item.evolve(&InventoryEvent::StockItemCreated {});
        let mut on_hand = 0;
        for command in commands {
            // A refusal is an answer as good as any here; that there is one is what is shown.
            let Ok(events) = item.decide(&command) else { continue };
            let Some(last) = events.last().map(InventoryEvent::stock) else { continue };
            for event in &events {
                item.evolve(event);
                on_hand += moved(event);
            }
            prop_assert_eq!(i64::try_from(last.on_hand).unwrap(), on_hand);
            holds_true(&item, last)?;
            prop_assert!(!matches!(item.decide(&command), Ok(again) if repeats(&command, &again)));
        }
    }

    #[test]
    fn a_snapshot_is_the_state(commands in proptest::collection::vec(commands(), 1..60)) {
        let mut item = StockItem::default();
        item.evolve(&InventoryEvent::StockItemCreated {});
        for command in commands {
            for event in item.decide(&command).unwrap_or_default() {
                item.evolve(&event);
            }
        }
        let json = serde_json::to_string(&item).unwrap();
        prop_assert_eq!(serde_json::from_str::<StockItem>(&json).unwrap(), item);
    }
}

/// A command about a reservation, a return or the threshold, asked again at once, must not do it again.
fn repeats(command: &InventoryCommand, again: &[InventoryEvent]) -> bool {
    match command {
        InventoryCommand::CreateStockItem {}
        | InventoryCommand::ReceiveStock { .. }
        | InventoryCommand::AdjustStock { .. } => false,
        InventoryCommand::ReserveStock { .. }
        | InventoryCommand::CommitReservation { .. }
        | InventoryCommand::ReleaseReservation { .. }
        | InventoryCommand::ExpireReservation { .. }
        | InventoryCommand::ShipReservation { .. }
        | InventoryCommand::RestockReturn { .. }
        | InventoryCommand::SetLowStockThreshold { .. } => !again.is_empty(),
    }
}
