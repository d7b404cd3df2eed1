//! The inventory context: its commands, events, refusals and aggregates.
