//! The one list of contexts that everything else is built from.
//!
//! ```text
//!   context        stream         database                 subject of an aggregate's events
//!   user           USER           millrace_user            event.user.<id>, …{email,erasure}.<id>
//!   product        PRODUCT        millrace_product         event.product.<sku>, …import.<id>
//!   inventory      INVENTORY      millrace_inventory       event.inventory.<sku>
//!   order          ORDER          millrace_order           event.order.<id>
//!   payment        PAYMENT        millrace_payment         event.payment.<id>
//!   notification   NOTIFICATION   millrace_notification    event.notification.<id>, …suppression.<id>,
//!                                                          …webhook_endpoint.<id>, …webhook_delivery.<id>
//!   checkout       CHECKOUT       millrace_checkout        event.checkout.<order id>, event.checkout.return.<id>,
//!                                                          event.checkout.refund.<id>
//! ```
//!
//! A new context is a crate in this folder, a dependency of this crate and a line each in [`NAMES`] and
//! [`CONTEXTS`]; what must know of it besides stands in docs/extend.md.

mod aggregate;
mod hearers;

pub use aggregate::{Aggregate, Reread, Written};
pub use hearers::{Hearers, is_offered};

pub use {checkout, inventory, kernel, notification, order, payment, product, user};

/// The names of all contexts.
pub const NAMES: [&str; 7] = [
    "user",
    "product",
    "inventory",
    "order",
    "payment",
    "notification",
    "checkout",
];

/// Where a context keeps what happens in it.
#[derive(Debug, Clone, Copy)]
pub struct Context {
    /// As in `event.<name>.<id>`.
    pub name: &'static str,
    /// Its `JetStream` stream: the name in upper case.
    pub stream: &'static str,
    /// Its Postgres database: `millrace_<name>`.
    pub database: &'static str,
    /// Its aggregates.
    pub aggregates: &'static [Aggregate],
}

/// All contexts, in the order of [`NAMES`].
pub const CONTEXTS: [Context; 7] = [
    Context {
        name: "user",
        stream: "USER",
        database: "millrace_user",
        aggregates: &[
            Aggregate::of::<user::User>(),
            Aggregate::of::<user::EmailClaim>(),
            Aggregate::of::<user::Erasure>(),
        ],
    },
    Context {
        name: "product",
        stream: "PRODUCT",
        database: "millrace_product",
        aggregates: &[
            Aggregate::of::<product::Product>(),
            Aggregate::of::<product::Import>(),
        ],
    },
    Context {
        name: "inventory",
        stream: "INVENTORY",
        database: "millrace_inventory",
        aggregates: &[Aggregate::of::<inventory::StockItem>()],
    },
    Context {
        name: "order",
        stream: "ORDER",
        database: "millrace_order",
        aggregates: &[Aggregate::of::<order::Order>()],
    },
    Context {
        name: "payment",
        stream: "PAYMENT",
        database: "millrace_payment",
        aggregates: &[Aggregate::of::<payment::Payment>()],
    },
    Context {
        name: "notification",
        stream: "NOTIFICATION",
        database: "millrace_notification",
        aggregates: &[
            Aggregate::of::<notification::Notification>(),
            Aggregate::of::<notification::Suppression>(),
            Aggregate::of::<notification::webhook::WebhookEndpoint>(),
            Aggregate::of::<notification::webhook::WebhookDelivery>(),
        ],
    },
    Context {
        name: "checkout",
        stream: "CHECKOUT",
        database: "millrace_checkout",
        aggregates: &[
            Aggregate::of::<checkout::Checkout>(),
            Aggregate::of::<checkout::Returning>(),
            Aggregate::of::<checkout::Refunding>(),
        ],
    },
];

/// The aggregate of this context and kind.
pub fn aggregate(context: &str, kind: Option<&str>) -> Option<&'static Aggregate> {
    let aggregates = self::context(context)?.aggregates;
    aggregates.iter().find(|aggregate| aggregate.kind == kind)
}

/// The context of this name.
pub fn context(name: &str) -> Option<&'static Context> {
    const { &CONTEXTS }
        .iter()
        .find(|context| context.name == name)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_name_follows_the_rule() {
        let names: Vec<_> = CONTEXTS.iter().map(|context| context.name).collect();
        assert_eq!(names, NAMES);
        for context in CONTEXTS {
            assert_eq!(context.stream, context.name.to_uppercase());
            assert_eq!(context.database, format!("millrace_{}", context.name));
            assert!(!context.aggregates.is_empty());
            for aggregate in context.aggregates {
                assert_eq!(aggregate.context, context.name);
                let name = aggregate.kind.map_or(context.name.to_owned(), |kind| {
                    format!("{}.{kind}", context.name)
                });
                assert_eq!(aggregate.name, name);
                assert!(!aggregate.events.is_empty());
            }
        }
    }

    #[test]
    fn no_two_contexts_share_anything() {
        let distinct = |of: fn(&Context) -> &'static str| {
            CONTEXTS.iter().map(of).collect::<BTreeSet<_>>().len() == CONTEXTS.len()
        };
        assert!(distinct(|context| context.name));
        assert!(distinct(|context| context.stream));
        assert!(distinct(|context| context.database));
        let aggregates: Vec<_> = CONTEXTS.iter().flat_map(|c| c.aggregates).collect();
        let unique: BTreeSet<_> = aggregates.iter().map(|a| a.name).collect();
        assert_eq!(unique.len(), aggregates.len());
    }
}
