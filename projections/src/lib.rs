//! Read models: events in, rows out.
