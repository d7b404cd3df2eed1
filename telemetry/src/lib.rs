//! Configuration loading, tracing and metrics.
