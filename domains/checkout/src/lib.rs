//! The sagas of an order. The checkout: from an order placed to an order confirmed and shipped, or
//! undone; after it, the return ([`returning`]) and the refund ([`refunding`]), each a saga of its
//! own.
//!
//! ```text
//!   OrderPlaced
//!       ▼
//!   Reserving ─► Authorizing ─► Committing ─► Capturing ─► Confirming ─► Completed ─► Shipping ─► Ended
//!       │             │              │            │             │            │                     ▲
//!       └─────────────┴──────────────┴─────┬──────┴─────────────┴────────────┘ canceled            │
//!          refused, timed out, canceled    ▼                                                       │
//!                                       Undoing ──all undone──► Undone ──OrderRejected─────────────┤
//!                                          │                                                       │
//!                                          └──all undone, and the order was canceled───────────────┘
//!   Suspended: an undo has failed too often; the stage stays, an operator lets it go on, has
//!   done the step by hand and skips it, or has done all of it: Resolved.
//! ```
//!
//! Pure: [`Checkout::react`] takes a [`CheckoutFact`] in and answers one [`CheckoutEvent`] or none;
//! [`Checkout::pending`] says what is to be asked of which context. A runner appends the event,
//! then asks everything that is pending, and acknowledges the fact only when each ask was answered.
//!
//! * Success comes only as a fact from a stream; a business "no" only as the bus's answer
//!   ([`Due::refused`]); no answer means: the same ask again, under the same id. An ask whose
//!   refusal changes nothing (a void while the capture is under way) stays pending; within one
//!   delivery it is not sent again.
//! * A repeated fact is ignored. A fact before the order's placement is refused with
//!   [`CheckoutRefusal::CheckoutNotStarted`] and must come again: facts of one stream arrive in
//!   order, but after a crash an unacknowledged placement may come after what followed it.
//! * Being in a stage means that its asks may have been sent, so the undo treats them as done:
//!   a release or void of what never was leaves a tombstone in its context.
//! * A late success is undone by itself, whatever the stage, also after the end.
//! * At most one event for each fact: the last step's success is `CheckoutCompleted`, the last
//!   undo's is `CheckoutUndone`, or `CheckoutEnded` when the order is closed already.
//! * Mails stay pending for good: their ids follow from the order, so a repeat is harmless, and a
//!   crash before the first sending loses none.
//!
//! ```text
//!   steps      STEPS, Step                         the saga on one page: read this first
//!   definition Definition, Definitions, Shop       the tables by their revision, and who follows which
//!   picture    pictures, page                      what follows from the table, drawn
//!   fact       CheckoutFact, from_order, …         what it takes in
//!   event      CheckoutEvent, Cause, Outcome       what it remembers, as it stands on the wire
//!   aggregate  Checkout: react, a table of contents over stock, money, order, answer
//!   evolve     what the events change
//!   pending    Checkout::pending, deadline         what is to be asked, and when to be woken
//!   ask        Ask, Due                            one thing asked
//!   addressed  whom an ask goes to, and its command
//!   id         ask_id, refund_id                   what follows from what
//!   state      Stage, Status                       what is known of stock and money outside
//!   settling   SagaId, Wish                      what a person may have a saga do
//!   saga       Saga, Listens                       what a runner must know of a saga
//!   tasks      Tasks                               steps that don't wait for each other
//!   stepwise   Table, Stepwise                     any other saga, as a table
//!   returning  Returning                           goods that came back: restock, refund
//!   refunding  Refunding                           money that went back: order and customer are told
//! ```

mod addressed;
mod aggregate;
mod answer;
mod ask;
mod definition;
mod event;
mod evolve;
pub mod fact;
mod id;
mod money;
mod order;
mod pending;
pub mod picture;
pub mod refunding;
mod refusal;
pub mod returning;
mod saga;
pub mod settling;
mod state;
mod steps;
pub mod stepwise;
mod stock;
mod tasks;

pub use addressed::Addressed;
pub use aggregate::{Checkout, CheckoutBy, Started};
pub use answer::{UNDO_FAILURES_MAX, UNDO_WAIT_FIRST_SECONDS, UNDO_WAIT_MAX_SECONDS};
pub use ask::{Ask, Due};
pub use definition::{Definition, Definitions, Followed, Shop};
pub use event::{Cause, CheckoutEvent, Item, Outcome};
pub use evolve::{PAYMENT_VOIDED, RESERVATION_EXPIRED};
pub use fact::{CheckoutFact, HOLD, PATIENCE, from_inventory, from_order, from_payment};
pub use id::{
    RETURN_ATTEMPTS_MAX, ask_id, ask_id_of, refund_id, refund_id_by_hand, refund_id_of,
    refund_id_of_return, returns_of,
};
pub use refunding::{
    REFUND_STEPS, RefundRow, Refunding, RefundingBy, RefundingEvent, RefundingFact,
};
pub use refusal::{CheckoutRefusal, NoRefusal, SagaRefusal};
pub use returning::{
    RETURN_STEPS, ReturnRow, Returning, ReturningBy, ReturningEvent, ReturningFact,
};
pub use saga::{Listens, Saga};
pub use state::{Stage, Status};
pub use steps::{Each, PAYMENT_TIMED_OUT, RESERVATION_TIMED_OUT, Refused, Row, STEPS, Step};
