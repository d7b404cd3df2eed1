//! What every bounded context shares.
//!
//! ```text
//!   money      Money, Currency             integers in minor units, checked arithmetic
//!   id         UserId, OrderId, … Sku      what a subject token may hold
//!   text       Reason, Title, …            bounded text, parsed once
//!   sealed     Sealed                      personal data, readable only with its person's key
//!   purpose    USER_EMAIL, …               what it is sealed for
//!   decider    Decider, Refusal, Upcaster  the contract of an aggregate: decide and evolve
//!   position   Position, ConsistencyToken  where in a stream
//!   wire       decode                      the body of an event, brought forward
//!   schema     JsonSchema of these values  what they look like in the API's document
//!   golden     check, no_other_files       test kit: what was written stays readable
//! ```
//!
//! Nothing here does I/O (but for that test kit), reads a clock or draws a random number.

mod decider;
pub mod golden;
mod id;
mod money;
mod position;
pub mod purpose;
pub mod schema;
mod sealed;
mod text;
pub mod wire;

pub use decider::{Decider, Fact, Refusal, bridge};
pub use id::{
    AddressId, AggregateId, EmailClaimId, IdError, ImportId, NotificationId, OrderId, PaymentId,
    RefundId, ReservationId, ReturnId, Sku, UserId, WebhookDeliveryId, WebhookEndpointId,
};
pub use money::{CURRENCIES, Currency, Money, MoneyError};
pub use position::{ConsistencyToken, Position, PositionError};
pub use sealed::{Sealed, SealedError};
pub use text::{Description, PaymentMethod, Reason, TextError, Title, Tracking, WebhookUrl};
/// For [`fact!`] and [`aggregate!`].
#[doc(hidden)]
pub use {
    cqrs_es::{Aggregate, DomainEvent, event_sink::EventSink},
    serde_json,
};

/// Given, when, then: the scenarios of every aggregate read alike.
///
/// It is cqrs-es's own kit, named here so that a context needs one import.
pub use cqrs_es::test::TestFramework;
