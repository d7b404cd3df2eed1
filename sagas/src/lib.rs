//! Runs the sagas: durable, idempotent, with timers.
