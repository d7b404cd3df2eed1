//! The order context: what was bought, by whom, at which price, and what became of it.
//!
//! ```text
//!   Unplaced ──PlaceOrder──► Placed ──ConfirmOrder──► Confirmed ──ShipOrder──► Shipped ──DeliverOrder──► Delivered
//!                              │ └──RejectOrder──► Rejected │
//!                              └───────CancelOrder──────────┴──► Canceled
//!
//!   of a delivered order, each return:
//!            ──RequestReturn──► Requested ──ApproveReturn──► Approved ──ReceiveReturn──► Received
//!                                  └─────────RefuseReturn───────┴──► Refused
//! ```
//!
//! The customer places, cancels and sends back; the checkout saga confirms or rejects; an operator
//! ships and delivers, and says what comes back. How far the order has come, where its money is and
//! which of its goods come back are three statuses, each on its own. Prices are those of the moment of placing: nothing in here asks for a price again.
//!
//! ```text
//!   command    OrderCommand              what can be asked
//!   event      OrderEvent, Line          what has happened, as it stands on the wire
//!   refusal    OrderRefusal              why not
//!   placing    what a basket must be     the rules of PlaceOrder, in their order
//!   purchase   Purchase                  what was bought, and where its money is
//!   returns    Returns                   which of its units come back
//!   status     OrderStatus, …            where it stands, in three words
//!   aggregate  Order: decide, evolve     read this first
//! ```

mod aggregate;
mod command;
mod event;
mod placing;
mod purchase;
mod refusal;
mod returns;
mod status;

pub use aggregate::Order;
pub use command::OrderCommand;
pub use event::{Line, OrderEvent, ReturnLine};
pub use placing::{LINES_MAX, QUANTITY_MAX};
pub use purchase::Purchase;
pub use refusal::OrderRefusal;
pub use returns::{RETURNS_MAX, Return, Returns};
pub use status::{OrderStatus, PaymentStatus, ReturnStage, ReturnStatus};
