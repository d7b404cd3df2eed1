//! The product context: what the shop sells, at which price, and whether it is on sale.
//!
//! ```text
//!   product  Unknown ──CreateProduct──► Draft ──Publish──► Published ⇄ Unpublished
//!                                         └────────────────┴── Discontinue ──┴──► Discontinued
//!   import   Unstarted ──StartImport──► Running ⇄ Interrupted
//!                                         └──CompleteImport──► Completed
//! ```
//!
//! Only a published product is sold. An order takes title and price with it when it is placed, so
//! nothing that happens here later changes a placed order.
//!
//! An import is the operation of sending many products at once. It holds how many lines are done
//! and what became of them; the products themselves are changed one by one.
//!
//! ```text
//!   command    ProductCommand, ImportCommand    what can be asked
//!   event      ProductEvent, ImportEvent        what has happened, as it stands on the wire
//!   refusal    ProductRefusal, ImportRefusal    why not
//!   aggregate  Product: decide, evolve          read this first
//!   import     Import: decide, evolve
//! ```

mod aggregate;
mod command;
mod event;
mod import;
mod refusal;

pub use aggregate::{Listing, Offer, PRICE_MAX_MINOR, Product, ProductStatus};
pub use command::{ImportCommand, ProductCommand};
pub use event::{ImportEvent, ProductEvent};
pub use import::{ERRORS_KEPT_MAX, Import, ImportStatus, LineError, Report, Tally};
pub use refusal::{ImportRefusal, ProductRefusal};
