//! The refund saga: money went back that the checkout did not ask for (an operator did, or a return's
//! saga), so the order and the customer are told.
//!
//! ```text
//!   PaymentRefunded ──► Recording ──OrderRefunded──► Ended, and a mail
//!                           │                          │
//!                    a "no" ▼  the bank sends it back  ▼
//!                       Suspended: a person sees to it, and a mail; money that came
//!                                  back the order no longer counts as gone
//! ```
//!
//! ```text
//!   steps      REFUND_STEPS       the saga on one page: read this first
//!   fact       RefundingFact      what it takes in
//!   event      RefundingEvent     what it remembers, as it stands on the wire
//!   aggregate  Refunding          react, pending, evolve
//! ```

mod aggregate;
mod event;
pub mod fact;
mod steps;

pub use aggregate::{Refund, RefundAsk, Refunding, RefundingBy};
pub use event::RefundingEvent;
pub use fact::RefundingFact;
pub(crate) use steps::RECORDING;
pub use steps::{REFUND_STEPS, RefundRow};
