//! Outgoing webhooks: who is told of which events at which URL, and how each telling went.
//!
//! ```text
//!   endpoint  Unregistered ──RegisterWebhookEndpoint──► Enabled ◄──Enable── Disabled
//!                                                         │  └──Disable, 410, too long in vain──► ▲
//!                                                         └──Remove──► Removed (from Disabled too)
//!   delivery  Unrequested ──RequestWebhookDelivery──► Pending ──accepted──► Delivered
//!                                      ▲ Redeliver      │ └──last try, given up──► Failed
//!                                      └────────────────┴── not accepted: again at `due_at`
//! ```
//!
//! A delivery's id follows from its endpoint and the event, so a replay asks for nothing twice. What
//! is told is not repeated here: a delivery names the event's position, and the event is read there.
//!
//! ```text
//!   interest   Interest                           which events an endpoint wants to hear of
//!   command    EndpointCommand, DeliveryCommand   what can be asked
//!   event      EndpointEvent, DeliveryEvent       what has happened, as it stands on the wire
//!   refusal    EndpointRefusal, DeliveryRefusal   why not
//!   endpoint   WebhookEndpoint: decide, evolve
//!   delivery   WebhookDelivery: decide, evolve
//! ```

mod command;
mod delivery;
mod endpoint;
mod event;
mod interest;
mod refusal;

pub use command::{DeliveryCommand, EndpointCommand};
pub use delivery::{Pending, Request, WebhookDelivery, delivery_id};
pub use endpoint::{EARLIER_MAX, Earlier, Endpoint, WebhookEndpoint};
pub use event::{
    Attempt, DeliveryEvent, DisabledBecause, EndpointEvent, EventRef, Outcome, Subscription,
};
pub use interest::{INTEREST_LENGTH_MAX, INTERESTS_MAX, Interest, InterestError};
pub use refusal::{DeliveryRefusal, EndpointRefusal};
