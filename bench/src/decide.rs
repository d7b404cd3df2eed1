//! `decide`: how many decisions a core takes in a second, without any I/O.

use std::hint::black_box;
use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use hdrhistogram::Histogram;
use inventory::{InventoryCommand, StockItem};
use kernel::{Decider, Money, OrderId, ReservationId, Sealed, UserId};
use order::{Line, Order, OrderCommand};
use payment::{Payment, PaymentCommand};
use uuid::Uuid;

use crate::Args;
use crate::load::Run;
use crate::report::Row;
use crate::shop::progress;
use crate::usage;

/// Decisions between two looks at the clock.
const BATCH: u64 = 100;

/// Lines of the order that is placed.
const LINES: u32 = 3;

/// Holds that are open on the SKU that is reserved from.
const OPEN_HOLDS: u128 = 1_000;

pub(crate) fn run(args: &Args) -> anyhow::Result<Vec<Row>> {
    let duration = Duration::from_secs(args.seconds);
    let bar = progress("decide", 3 * args.rounds);
    let mut rows = Vec::new();
    let mut row = |what: &str, decide: &dyn Fn()| {
        let runs: anyhow::Result<Vec<Run>> = (0..args.rounds)
            .map(|_| {
                let run = repeated(duration, decide);
                bar.inc(1);
                run
            })
            .collect();
        rows.push(Row::new("decide", what, 1, &runs?));
        anyhow::Ok(())
    };
    let (order, place) = (Order::default(), place()?);
    row("place an order of 3 lines", &|| one(&order, &place))?;
    let (stock, reserve) = (stock()?, reserve(OPEN_HOLDS + 1, Utc::now()));
    row("reserve, 1,000 holds open", &|| one(&stock, &reserve))?;
    let (payment, authorize) = authorize()?;
    row("record an authorization", &|| one(&payment, &authorize))?;
    bar.finish_and_clear();
    Ok(rows)
}

/// One decision and what follows from it, on a state that stays as it is.
fn one<A: Decider>(state: &A, command: &A::Command) {
    // A refusal would show as an absurd rate: what is measured here is checked by the domain's tests.
    if let Ok(events) = black_box(state).decide(black_box(command)) {
        let mut next = state.clone();
        for event in &events {
            next.evolve(event);
        }
        black_box(next);
    }
}

fn repeated(duration: Duration, decide: &dyn Fn()) -> anyhow::Result<Run> {
    let before = usage::now();
    let started = Instant::now();
    let mut done = 0_u64;
    while started.elapsed() < duration {
        (0..BATCH).for_each(|_| decide());
        done += BATCH;
    }
    #[allow(
        clippy::cast_precision_loss,
        reason = "counts of a run are exact in 53 bits"
    )]
    let done = done as f64;
    Ok(Run {
        per_second: done / started.elapsed().as_secs_f64(),
        latency: Histogram::new(3)?,
        failures: 0,
        usages: usage::since(&before),
    })
}

fn place() -> anyhow::Result<OrderCommand> {
    let user_id = UserId(Uuid::from_u128(1));
    let lines: Result<Vec<Line>, anyhow::Error> = (0..LINES)
        .map(|number| {
            Ok(Line {
                sku: format!("SKU-{number}").parse()?,
                title: "Millstone mug".parse()?,
                quantity: 2,
                unit_price: euros(1_299)?,
            })
        })
        .collect();
    Ok(OrderCommand::PlaceOrder {
        user_id,
        lines: lines?,
        shipping_address: Sealed::new(user_id, "c2VhbGVk"),
        payment_method: "pm_card_visa".parse()?,
    })
}

/// A SKU of which much is there and much is held.
fn stock() -> anyhow::Result<StockItem> {
    let mut stock = StockItem::default();
    let now = Utc::now();
    let received = InventoryCommand::ReceiveStock {
        quantity: 1_000_000,
    };
    let holds = (1..=OPEN_HOLDS).map(|number| reserve(number, now));
    let commands = [InventoryCommand::CreateStockItem {}, received];
    for command in commands.into_iter().chain(holds) {
        take(&mut stock, &command)?;
    }
    Ok(stock)
}

pub(crate) fn reserve(number: u128, at: DateTime<Utc>) -> InventoryCommand {
    InventoryCommand::ReserveStock {
        reservation: reservation(number),
        quantity: 1,
        expires_at: at + hold(),
        at,
    }
}

/// How long the saga has stock set aside.
fn hold() -> TimeDelta {
    TimeDelta::minutes(30)
}

pub(crate) fn reservation(number: u128) -> ReservationId {
    ReservationId {
        order_id: OrderId(Uuid::from_u128(number)),
        attempt: 1,
    }
}

fn authorize() -> anyhow::Result<(Payment, PaymentCommand)> {
    let mut payment = Payment::default();
    let amount = euros(2_598)?;
    let request = PaymentCommand::RequestPayment {
        order_id: OrderId(Uuid::from_u128(1)),
        user_id: UserId(Uuid::from_u128(2)),
        amount,
        method: "pm_card_visa".parse()?,
    };
    take(&mut payment, &request)?;
    let intent_id = "pi_1".to_owned();
    take(&mut payment, &PaymentCommand::RecordIntent { intent_id })?;
    Ok((payment, PaymentCommand::RecordAuthorization { amount }))
}

fn take<A: Decider>(state: &mut A, command: &A::Command) -> anyhow::Result<()> {
    for event in state.decide(command)? {
        state.evolve(&event);
    }
    Ok(())
}

fn euros(cents: i64) -> anyhow::Result<Money> {
    Ok(Money::new(cents, "EUR".parse()?))
}
