//! The product context: its commands, events, refusals and aggregates.
