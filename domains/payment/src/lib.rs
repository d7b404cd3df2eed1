//! The payment context: what becomes of the money of one order.
//!
//! ```text
//!   Unrequested ──RequestPayment──► Requested ⇄ ActionRequired
//!        │                             │   └──► Declined / Failed
//!        │                             ▼
//!        │                         Authorized ──CapturePayment──► Capturing ──RecordCapture──► Captured ⟲ refunds
//!        │                             │                             └──RecordFailure──► Failed
//!        │                             ▼ VoidPayment (also from Requested, ActionRequired)
//!        └──VoidPayment──► Voided ◄─ Voiding
//! ```
//!
//! Nothing in here calls the provider. A `…Requested` event is an intent with its idempotency key;
//! [`Payment::due`] says what the payment reactor must do next, and what came of it returns as a
//! `Record…` command. What has really happened to money is recorded, however late it comes: an
//! authorization after the void makes the void due again.
//!
//! ```text
//!   id           payment_id, keys                what follows from the order
//!   command      PaymentCommand                  what can be asked
//!   event        PaymentEvent                    what has happened, as it stands on the wire
//!   refusal      PaymentRefusal                  why not
//!   aggregate    Payment: decide, evolve         read this first
//!   charge       Charge, Refund                  amounts, and what the provider calls them
//!   asking       request, capture, void, refund  what the shop wants
//!   recording    what the provider said          what the world did
//!   hearing      Claim                           what the provider tells unasked
//!   reconciling  Difference                      our record held against the provider's
//!   stages       how it moves                    the steps of evolve
//!   due          Payment::due, ProviderAction    what the reactor must do
//! ```

mod aggregate;
mod asking;
mod charge;
mod command;
mod due;
mod event;
mod hearing;
mod id;
mod reconciling;
mod recording;
mod refusal;
mod stages;

pub use aggregate::{Payment, PaymentStatus};
pub use asking::REFUNDS_MAX;
pub use charge::{Charge, Refund, RefundStage};
pub use command::PaymentCommand;
pub use due::ProviderAction;
pub use event::PaymentEvent;
pub use hearing::{Claim, IgnoredBecause};
pub use id::payment_id;
pub use reconciling::{Difference, Mismatch, ProviderRecord};
pub use refusal::PaymentRefusal;
