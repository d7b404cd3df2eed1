//! The order context: its commands, events, refusals and aggregates.
