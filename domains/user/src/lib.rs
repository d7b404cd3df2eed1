//! The user context: who has an account, in which role, and who holds which email address.
//!
//! ```text
//!   user    Unregistered ──RegisterUser──► Active ⇄ Suspended
//!   email   Free ──ClaimEmail──► Held ──ReleaseEmail──► Free
//! ```
//!
//! A user and the claim on its address are appended in one atomic batch, so two people never hold
//! one address. Everything personal arrives sealed: this crate never sees a name or an address.
//!
//! ```text
//!   command    UserCommand, EmailCommand      what can be asked
//!   event      UserEvent, EmailEvent          what has happened, as it stands on the wire
//!   refusal    UserRefusal, EmailRefusal      why not
//!   aggregate  User: decide, evolve           read this first
//!   email      EmailClaim: decide, evolve
//! ```

mod aggregate;
mod command;
mod email;
mod event;
mod refusal;
mod role;

pub use aggregate::{Account, User};
pub use command::{EmailCommand, UserCommand};
pub use email::EmailClaim;
pub use event::{EmailEvent, UserEvent};
pub use refusal::{EmailRefusal, UserRefusal};
pub use role::{Role, Standing};
