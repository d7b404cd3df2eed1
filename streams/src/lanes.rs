//! Deliveries side by side, in order for each key.
