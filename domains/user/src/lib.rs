//! The user context: its commands, events, refusals and aggregates.
