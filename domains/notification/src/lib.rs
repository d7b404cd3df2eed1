//! The notification context: its commands, events, refusals and aggregates.
