//! What the inventory context has ever written stays readable.

#![allow(clippy::unwrap_used, reason = "a scenario that can not go on fails")]

use std::path::Path;

use chrono::{DateTime, Utc};
use inventory::{InventoryEvent, Stock, StockItem};
use kernel::{OrderId, ReservationId, ReturnId, golden};
use strum::VariantNames;
use uuid::uuid;

const RESERVATION: ReservationId = ReservationId {
    order_id: OrderId(uuid!("0198c1d2-8b5c-7d42-8a6f-3c7d9eaf102b")),
    attempt: 1,
};

fn at(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

fn stock(on_hand: u64, reserved: u64, committed: u64) -> Stock {
    Stock {
        on_hand,
        reserved,
        committed,
    }
}

fn examples() -> Vec<InventoryEvent> {
    let reservation = RESERVATION;
    vec![
        InventoryEvent::StockItemCreated {},
        InventoryEvent::StockReceived {
            quantity: 10,
            stock: stock(10, 0, 0),
        },
        InventoryEvent::StockAdjusted {
            delta: -1,
            reason: "broken".parse().unwrap(),
            stock: stock(9, 0, 0),
        },
        InventoryEvent::StockReserved {
            reservation,
            quantity: 2,
            expires_at: at("2026-03-01T12:30:00Z"),
            at: at("2026-03-01T12:00:00.123456Z"),
            stock: stock(9, 2, 0),
        },
        InventoryEvent::ReservationCommitted {
            reservation,
            quantity: 2,
            stock: stock(9, 0, 2),
        },
        InventoryEvent::ReservationReleased {
            reservation,
            quantity: 2,
            reason: "order canceled".parse().unwrap(),
            expires_at: at("2026-03-01T12:30:00Z"),
            at: at("2026-03-01T12:01:00Z"),
            stock: stock(9, 0, 0),
        },
        InventoryEvent::ReservationExpired {
            reservation,
            quantity: 2,
            at: at("2026-03-01T12:31:00Z"),
            stock: stock(9, 0, 0),
        },
        InventoryEvent::StockShipped {
            reservation,
            quantity: 2,
            at: at("2026-03-02T08:00:00Z"),
            stock: stock(7, 0, 0),
        },
        InventoryEvent::ReturnRestocked {
            return_id: ReturnId(uuid!("0198c1d2-9c6d-8e53-9b7f-4d8eafb0213c")),
            quantity: 1,
            expires_at: at("2026-03-17T08:00:00Z"),
            at: at("2026-03-10T09:00:00Z"),
            stock: stock(8, 0, 0),
        },
        InventoryEvent::LowStockThresholdSet {
            threshold: 5,
            stock: stock(8, 0, 0),
        },
    ]
}

#[test]
fn every_event_version_has_its_file() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("wire");
    let files = golden::check::<StockItem>(&folder, InventoryEvent::VARIANTS, &examples()).unwrap();
    golden::no_other_files(&folder, &files).unwrap();
}
