//! The order context: what was bought, by whom, at which price, and what became of it.
//!
//! ```text
//!   Unplaced ──PlaceOrder──► Placed ──ConfirmOrder──► Confirmed ──ShipOrder──► Shipped ──DeliverOrder──► Delivered
//!                              │ └──RejectOrder──► Rejected │
//!                              └───────CancelOrder──────────┴──► Canceled
//! ```
//!
//! The customer places and cancels; the checkout saga confirms or rejects; an operator ships and
//! delivers. Prices are those of the moment of placing: nothing in here asks for a price again.
//!
//! ```text
//!   command    OrderCommand              what can be asked
//!   event      OrderEvent, Line          what has happened, as it stands on the wire
//!   refusal    OrderRefusal              why not
//!   placing    what a basket must be     the rules of PlaceOrder, in their order
//!   purchase   Purchase                  what was bought, and where its money is
//!   aggregate  Order: decide, evolve     read this first
//! ```

mod aggregate;
mod command;
mod event;
mod placing;
mod purchase;
mod refusal;

pub use aggregate::{Order, OrderStatus};
pub use command::OrderCommand;
pub use event::{Line, OrderEvent};
pub use placing::{LINES_MAX, QUANTITY_MAX};
pub use purchase::Purchase;
pub use refusal::OrderRefusal;
