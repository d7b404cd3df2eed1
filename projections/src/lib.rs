//! Read models: events in, rows out, and the rows back out to readers.
//!
//! ```text
//!   stream ──► projector ──► one transaction: position, rows, notification ──► read ──► query-api
//!                 │                                                             │
//!                 └ fold: rows in memory, a batch at a time      position and row in one snapshot
//!
//!   view        what a read model is             login       which database, as which role
//!   fold        events in, rows out, no server   provision   databases, roles, migrations
//!   table       the same for rows that are no aggregates: reports
//!   projector   the worker of one context        read        get, list, wait
//!   rebuild     a view built anew beside the live one
//!   replay      one row folded again               lag         how far they are behind
//!   opened      what readers see of what is sealed
//!   stuck       the radar: everything that waits for a human or is late
//! ```
//!
//! A new read model is one file here, one migration under `migrations/<context>/` with its entry in
//! `provision/migrations.rs`, and one line in [`VIEWS`].

mod aftermath;
mod checkout;
mod fold;
mod import;
mod inventory;
pub mod lag;
mod login;
mod moment;
mod movement;
mod notification;
mod opened;
mod order;
mod payment;
mod price;
mod product;
pub mod projector;
pub mod provision;
pub mod read;
pub mod rebuild;
mod replay;
mod sales;
mod stepwise;
pub mod stuck;
mod suppression;
mod table;
mod takings;
#[cfg(test)]
mod testkit;
mod tls;
mod user;
mod view;
mod webhook;

pub use aftermath::{AftermathEntry, AftermathStage, RefundHandling, ReturnHandling};
pub use checkout::{CheckoutStage, CheckoutTimeline, Suspension, TimelineEntry};
pub use fold::FoldError;
pub use import::{ImportReport, ImportStage};
pub use inventory::StockLevel;
pub use login::{Access, Login, LoginError, OpenError};
pub use moment::Moment;
pub use movement::{Movement, StockMovement};
pub use notification::{Delivery, NotificationEntry};
pub use opened::{PostalAddress, ShippingAddress};
pub use order::{OrderSummary, ReturnEntry, SummaryStatus};
pub use payment::{PaymentStage, PaymentSummary, RefundEntry, RefundStage};
pub use price::{PriceEntry, PriceHistory};
pub use product::{CardStatus, ProductCard};
pub use projector::Projector;
pub use provision::{Passwords, provision};
pub use read::Reader;
pub use rebuild::Rebuild;
pub use replay::Replay;
pub use sales::{ProductDay, SalesReport};
pub use stepwise::{SagaProgress, SagaStage, SagaSuspension};
pub use suppression::{SuppressionEntry, SuppressionStatus};
pub use table::{Rows, TableView};
pub use takings::Takings;
pub use tls::{Shown, TlsError};
pub use user::{AccountStatus, SavedAddress, UserAccount};
pub use view::{ANY_TABLE, EntityView, Sort, ViewSpec, repository};
pub use webhook::{DeliveryStatus, EndpointStatus, WebhookDeliveryEntry, WebhookEndpointEntry};

/// Who somebody is.
pub static USER_ACCOUNT: ViewSpec = ViewSpec::entity::<::user::User, UserAccount>();
/// What is sold.
pub static PRODUCT_CARD: ViewSpec = ViewSpec::entity::<::product::Product, ProductCard>();
/// What it has cost.
pub static PRICE_HISTORY: ViewSpec = ViewSpec::entity::<::product::Product, PriceHistory>();
/// How the bulk imports go.
pub static IMPORT_REPORT: ViewSpec = ViewSpec::entity::<::product::Import, ImportReport>();
/// How much there is.
pub static STOCK_LEVEL: ViewSpec = ViewSpec::entity::<::inventory::StockItem, StockLevel>();
/// How it became that.
pub static STOCK_MOVEMENT: ViewSpec = ViewSpec::table::<StockMovement>();
/// What was bought.
pub static ORDER_SUMMARY: ViewSpec = ViewSpec::entity::<::order::Order, OrderSummary>();
/// What was sold of each product, each day.
pub static SALES_REPORT: ViewSpec = ViewSpec::table::<SalesReport>();
/// What was paid.
pub static PAYMENT_SUMMARY: ViewSpec = ViewSpec::entity::<::payment::Payment, PaymentSummary>();
/// What was taken and given back, each day.
pub static TAKINGS: ViewSpec = ViewSpec::table::<Takings>();
/// Who was told what.
pub static NOTIFICATION_ENTRY: ViewSpec =
    ViewSpec::entity::<::notification::Notification, NotificationEntry>();
/// Who is not written to any more.
pub static SUPPRESSION_ENTRY: ViewSpec =
    ViewSpec::entity::<::notification::Suppression, SuppressionEntry>();
/// Which servers are told of events.
pub static WEBHOOK_ENDPOINT_ENTRY: ViewSpec =
    ViewSpec::entity::<::notification::webhook::WebhookEndpoint, WebhookEndpointEntry>();
/// What each was told, and how that went.
pub static WEBHOOK_DELIVERY_ENTRY: ViewSpec =
    ViewSpec::entity::<::notification::webhook::WebhookDelivery, WebhookDeliveryEntry>();
/// How an order went through all of the above.
pub static CHECKOUT_TIMELINE: ViewSpec =
    ViewSpec::entity::<::checkout::Checkout, CheckoutTimeline>();

/// How returned goods are seen to.
pub static RETURN_HANDLING: ViewSpec = ViewSpec::entity::<::checkout::Returning, ReturnHandling>();
/// How refunds are told.
pub static REFUND_HANDLING: ViewSpec = ViewSpec::entity::<::checkout::Refunding, RefundHandling>();
/// Where the sagas stand that are tables of steps.
pub static SAGA_PROGRESS: ViewSpec = ViewSpec::of_tables();

/// Every read model.
pub static VIEWS: [&ViewSpec; 18] = [
    &USER_ACCOUNT,
    &PRODUCT_CARD,
    &PRICE_HISTORY,
    &IMPORT_REPORT,
    &STOCK_LEVEL,
    &STOCK_MOVEMENT,
    &ORDER_SUMMARY,
    &SALES_REPORT,
    &PAYMENT_SUMMARY,
    &TAKINGS,
    &NOTIFICATION_ENTRY,
    &SUPPRESSION_ENTRY,
    &WEBHOOK_ENDPOINT_ENTRY,
    &WEBHOOK_DELIVERY_ENTRY,
    &CHECKOUT_TIMELINE,
    &RETURN_HANDLING,
    &REFUND_HANDLING,
    &SAGA_PROGRESS,
];

/// The contexts that have read models, in the order of [`VIEWS`].
pub fn contexts() -> Vec<&'static str> {
    let mut contexts: Vec<_> = VIEWS.iter().map(|view| view.context).collect();
    contexts.dedup();
    contexts
}

/// The read model of this name.
pub fn view(name: &str) -> Option<&'static ViewSpec> {
    VIEWS.iter().copied().find(|view| view.name == name)
}

/// The read models of one context.
pub fn views_of(context: &str) -> Vec<&'static ViewSpec> {
    let views = VIEWS.iter().copied();
    views.filter(|view| view.context == context).collect()
}
