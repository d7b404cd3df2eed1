//! HTTP in, events out.
