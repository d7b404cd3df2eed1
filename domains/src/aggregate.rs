//! An aggregate without its type: what tools must know of each.

use kernel::wire::{self, WireError};
use kernel::{Decider, Fact};
use serde_json::Value;
use strum::VariantNames;

/// One type of aggregate, as tools see it.
#[derive(Debug, Clone, Copy)]
pub struct Aggregate {
    /// The context's name, or `<context>.<kind>`.
    pub name: &'static str,
    /// Its context.
    pub context: &'static str,
    /// Its kind, if it is a secondary one.
    pub kind: Option<&'static str>,
    /// The events that its code knows, in snake case.
    pub events: &'static [&'static str],
    /// Which meaning its state has ([`Decider::STATE_REVISION`]).
    pub state_revision: u32,
    reread: fn(&str, u32, &[u8]) -> Result<Reread, WireError>,
    fold: fn(&[Written<'_>]) -> Value,
}

/// An event that was read, and how it would be written today.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reread {
    /// The schema version that this code writes it under.
    pub schema_version: u32,
    /// Its data as this code writes it.
    pub data: Value,
}

/// An event as it was written: type, schema version, data.
pub type Written<'a> = (&'a str, u32, &'a [u8]);

impl Aggregate {
    /// The aggregate `A`.
    pub const fn of<A: Decider>() -> Self
    where
        A::Event: VariantNames,
    {
        Self {
            name: A::TYPE,
            context: A::CONTEXT,
            kind: A::KIND,
            events: A::Event::VARIANTS,
            state_revision: A::STATE_REVISION,
            reread: reread::<A>,
            fold: fold::<A>,
        }
    }

    /// Reads the data of an event, brought forward where it is old, and writes it again.
    ///
    /// # Errors
    /// It is none that this code knows.
    pub fn reread(
        &self,
        event_type: &str,
        schema_version: u32,
        data: &[u8],
    ) -> Result<Reread, WireError> {
        (self.reread)(event_type, schema_version, data)
    }

    /// The state after these events, as it serializes. What can't be read is left out.
    pub fn fold(&self, events: &[Written<'_>]) -> Value {
        (self.fold)(events)
    }
}

fn reread<A: Decider>(
    event_type: &str,
    schema_version: u32,
    data: &[u8],
) -> Result<Reread, WireError> {
    let event = wire::decode::<A>(event_type, schema_version, data)?;
    // An event that was read can be written: its data is what serde gives under the tag.
    let mut written = serde_json::to_value(&event).unwrap_or_default();
    Ok(Reread {
        schema_version: event.schema_version(),
        data: written.get_mut("data").map(Value::take).unwrap_or_default(),
    })
}

fn fold<A: Decider>(events: &[Written<'_>]) -> Value {
    let mut state = A::default();
    for (event_type, schema_version, data) in events {
        if let Ok(event) = wire::decode::<A>(event_type, *schema_version, data) {
            state.evolve(&event);
        }
    }
    serde_json::to_value(&state).unwrap_or_default()
}
