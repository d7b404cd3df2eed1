//! The events that there are begin it, and are what its plans wait for.

use std::collections::BTreeSet;
use std::fs;

use ::order::OrderEvent;
use inventory::InventoryEvent;
use kernel::{IdError, OrderId, Sku};
use payment::PaymentEvent;
use serde::de::DeserializeOwned;
use serde_json::{Value, from_slice, from_value, json};
use uuid::Uuid;

use super::ensure;
use crate::stepwise::{Heard, Plan, Table};

/// Beside these, an event of each kind is told, as its context keeps it in its `wire` folder.
pub(super) fn is_heard<T: Table>(more: &[Heard<'_>]) -> Result<(), String> {
    let order_id = OrderId(Uuid::nil());
    let sku: Sku = "MUG".parse().map_err(|error: IdError| error.to_string())?;
    let orders: Vec<OrderEvent> = events("order")?;
    let moves: Vec<InventoryEvent> = events("inventory")?;
    let payments: Vec<PaymentEvent> = events("payment")?;
    let mut all = more.to_vec();
    all.extend(orders.iter().map(|event| Heard::Order(order_id, event)));
    all.extend(moves.iter().map(|event| Heard::Inventory(&sku, event)));
    all.extend(payments.iter().map(|event| Heard::Payment(order_id, event)));
    begins::<T>(&all)?;
    let mut told: BTreeSet<_> = all.iter().filter_map(T::fact).collect();
    told.extend(all.iter().map(|heard| heard.name().to_owned()));
    T::plans().iter().try_for_each(|plan| names(plan, &told))
}

fn begins<T: Table>(all: &[Heard<'_>]) -> Result<(), String> {
    let mut begin = all.iter().filter(|heard| T::begins(heard).is_some());
    let deaf = begin.clone().find(|heard| T::fact(heard).is_none());
    ensure(deaf.is_none(), || {
        let name = deaf.map(Heard::name);
        format!("{name:?} begins it, and is no fact of its own")
    })?;
    ensure(begin.next().is_some(), || {
        "none of these events begins it".to_owned()
    })
}

/// A fact is called as its event is, with a dash and more behind that, or as the table calls one of these.
fn names<T>(plan: &Plan<T>, told: &BTreeSet<String>) -> Result<(), String> {
    let of_steps = plan.steps.iter().flat_map(|step| {
        let undo = step.undo.and_then(|(_, done)| done.fact());
        [step.done.fact(), undo].into_iter().flatten()
    });
    for fact in plan.undone_by.iter().copied().chain(of_steps) {
        let name = fact.split('-').next().unwrap_or(fact);
        ensure(told.contains(fact) || told.contains(name), || {
            format!("no event is called {fact}")
        })?;
    }
    Ok(())
}

/// Those that can be read as they are now.
fn events<E: DeserializeOwned>(context: &str) -> Result<Vec<E>, String> {
    let folder = format!("{}/../{context}/wire", env!("CARGO_MANIFEST_DIR"));
    let failed = |error: std::io::Error| format!("{folder}: {error}");
    let mut events = Vec::new();
    for file in fs::read_dir(&folder).map_err(failed)? {
        let file = file.map_err(failed)?;
        let (name, wire) = (file.file_name(), fs::read(file.path()).map_err(failed)?);
        let name = name.to_string_lossy();
        let (name, data) = (name.split('.').next(), from_slice::<Value>(&wire));
        let event = data.ok().map(|data| json!({ "type": name, "data": data }));
        events.extend(event.and_then(|event| from_value(event).ok()));
    }
    Ok(events)
}
