//! Read models out.
