//! A saga as a table: its author writes what begins it, and a line for each step; everything else
//! follows from that.
//!
//! ```text
//!   begins ──► step ─► step ─► … ─► done
//!                │ a "no", too late, called off
//!                ▼
//!             undoing: newest first ──► undone
//!   suspended: an undo has failed too often, or a step can neither be done nor undone. An operator
//!   has it tried again, skips it, or has done all of it: resolved.
//! ```
//!
//! * [`Step`]s are taken in order. A step is done by a fact that is heard, or by the answer of whom it
//!   asks. It may be done before its turn, by whomever, and before the saga begins: after a crash its
//!   beginning may be taken in last. That gives the steps before it no more time.
//! * Up to the first step whose "no" suspends, everything can be undone; from there on the saga has no
//!   deadline, and nothing calls it off.
//! * Being at a step means that it may have been asked, so the undo treats it as done. Its success, should
//!   it come after that, is undone as well.
//! * A saga keeps the [`Plan`] that it began under to its end.
//!
//! ```text
//!   table   Table, Plan, Step       what an author writes
//!   heard   Heard                   what is heard, as an author sees it
//!   fact    StepwiseFact, StepAsk   what it takes in
//!   event   StepwiseEvent, Cause    what it remembers, as it stands on the wire
//!   state   Stepwise: evolve        where it is
//!   react   Stepwise: react         what follows from a fact
//!   saga    Saga, Listens           what is asked, and when it is to be woken
//!   picture pictures                what follows from the table, drawn
//!   kit     check                   the tests that any table must pass
//! ```

mod event;
mod fact;
mod heard;
pub mod kit;
mod picture;
mod react;
mod saga;
mod state;
mod table;

pub use event::{Cause, StepwiseEvent};
pub use fact::{StepAsk, StepwiseFact};
pub use heard::Heard;
pub use picture::pictures;
pub use state::Stepwise;
pub use table::{Asks, Done, Plan, Step, Table, Try};
