//! The payment context: its commands, events, refusals and aggregates.
