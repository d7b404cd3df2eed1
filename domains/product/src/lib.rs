//! The product context: what the shop sells, at which price, and whether it is on sale.
//!
//! ```text
//!   Unknown ──CreateProduct──► Draft ──Publish──► Published ⇄ Unpublished
//!                                └────────────────┴── Discontinue ──┴──► Discontinued
//! ```
//!
//! Only a published product is sold. An order takes title and price with it when it is placed, so
//! nothing that happens here later changes a placed order.
//!
//! ```text
//!   command    ProductCommand              what can be asked
//!   event      ProductEvent                what has happened, as it stands on the wire
//!   refusal    ProductRefusal              why not
//!   aggregate  Product: decide, evolve     read this first
//! ```

mod aggregate;
mod command;
mod event;
mod refusal;

pub use aggregate::{Listing, Offer, PRICE_MAX_MINOR, Product, ProductStatus};
pub use command::ProductCommand;
pub use event::ProductEvent;
pub use refusal::ProductRefusal;
