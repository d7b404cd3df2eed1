//! The user context: who has an account, in which role, and who holds which email address.
//!
//! ```text
//!   user     Unregistered ──RegisterUser──► Active ⇄ Suspended
//!                                             └──────────┴──RequestErasure──► Leaving
//!            Leaving ──EraseUser──► Erased
//!   email    Free ──ClaimEmail──► Held ──ReleaseEmail──► Free
//!   erasure  Unopened ──► Waiting ──► KeyDestroyed ──► Completed
//! ```
//!
//! A user and the claim on its address are appended in one atomic batch, so two people never hold
//! one address. Everything personal arrives sealed: this crate never sees a name or an address.
//! Whoever asked to be erased places no more orders; once those that there are are final, they are
//! erased, their key is destroyed, and the erasure keeps the receipt.
//!
//! ```text
//!   command    UserCommand, EmailCommand, …   what can be asked
//!   event      UserEvent, EmailEvent, …       what has happened, as it stands on the wire
//!   refusal    UserRefusal, EmailRefusal, …   why not
//!   aggregate  User: decide, evolve           read this first
//!   account    what a user has, and what they change of it
//!   email      EmailClaim: decide, evolve
//!   erasure    Erasure: decide, evolve
//! ```

mod account;
mod aggregate;
mod command;
mod email;
mod erasure;
mod event;
mod refusal;
mod role;

pub use account::{ADDRESSES_MAX, Account};
pub use aggregate::User;
pub use command::{EmailCommand, ErasureCommand, UserCommand};
pub use email::EmailClaim;
pub use erasure::{Erasure, Receipt, Scanned};
pub use event::{EmailEvent, ErasureEvent, UserEvent};
pub use refusal::{EmailRefusal, ErasureRefusal, UserRefusal};
pub use role::{Role, Standing, Topic};
