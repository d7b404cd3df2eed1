//! The return saga: goods that came back are put on the shelf, and their money goes back.
//!
//! ```text
//!   ReturnReceived ──► Running ──every line restocked, money refunded──► Ended
//!                         │ ▲                                              │
//!              a "no"     ▼ │ done all the same         the bank sends the money back
//!                      Suspended: a person sees to it ◄────────────────────┘
//! ```
//!
//! The steps don't wait for each other, and nothing of them is undone: the goods are here, whatever
//! becomes of the rest. A step that its context refuses is left to a person; the others go on. The
//! order and the customer hear of the money from the refund's own saga ([`crate::refunding`]); of what
//! a person has paid by hand, from this one.
//!
//! ```text
//!   steps      RETURN_STEPS       the saga on one page: read this first
//!   fact       ReturningFact      what it takes in
//!   event      ReturningEvent     what it remembers, as it stands on the wire
//!   aggregate  Returning          react, pending, evolve
//! ```

mod aggregate;
mod event;
pub mod fact;
mod steps;

pub use aggregate::{Progress, RESTOCK_PATIENCE, Returning, ReturningBy};
pub use event::{ReturnAsk, ReturnStep, ReturningEvent};
pub use fact::ReturningFact;
pub(crate) use steps::RUNNING;
pub use steps::{RETURN_STEPS, ReturnRow};
