//! The checkout saga: from an order placed to an order confirmed, or undone.
