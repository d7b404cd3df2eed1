//! The one list of contexts that everything else is built from.
//!
//! ```text
//!   context        stream         database                 subject of an aggregate's events
//!   user           USER           millrace_user            event.user.<id>, event.user.email.<id>
//!   product        PRODUCT        millrace_product         event.product.<sku>
//!   inventory      INVENTORY      millrace_inventory       event.inventory.<sku>
//!   order          ORDER          millrace_order           event.order.<id>
//!   payment        PAYMENT        millrace_payment         event.payment.<id>
//!   notification   NOTIFICATION   millrace_notification    event.notification.<id>
//!   checkout       CHECKOUT       millrace_checkout        event.checkout.<order id>
//! ```
//!
//! A new context is a crate in this folder, a dependency of this crate and a line in [`CONTEXTS`].

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
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Context {
    /// As in `event.<name>.<id>`.
    pub name: &'static str,
    /// Its `JetStream` stream: the name in upper case.
    pub stream: &'static str,
    /// Its Postgres database: `millrace_<name>`.
    pub database: &'static str,
    /// The types of its aggregates: the context's name, or `<name>.<kind>`.
    pub aggregates: &'static [&'static str],
}

/// All contexts, in the order of [`NAMES`].
pub const CONTEXTS: [Context; 7] = [
    Context {
        name: "user",
        stream: "USER",
        database: "millrace_user",
        aggregates: &["user", "user.email"],
    },
    Context {
        name: "product",
        stream: "PRODUCT",
        database: "millrace_product",
        aggregates: &["product"],
    },
    Context {
        name: "inventory",
        stream: "INVENTORY",
        database: "millrace_inventory",
        aggregates: &["inventory"],
    },
    Context {
        name: "order",
        stream: "ORDER",
        database: "millrace_order",
        aggregates: &["order"],
    },
    Context {
        name: "payment",
        stream: "PAYMENT",
        database: "millrace_payment",
        aggregates: &["payment"],
    },
    Context {
        name: "notification",
        stream: "NOTIFICATION",
        database: "millrace_notification",
        aggregates: &["notification"],
    },
    Context {
        name: "checkout",
        stream: "CHECKOUT",
        database: "millrace_checkout",
        aggregates: &["checkout"],
    },
];

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
    use kernel::Decider;

    #[test]
    fn every_name_follows_the_rule() {
        let names: Vec<_> = CONTEXTS.iter().map(|context| context.name).collect();
        assert_eq!(names, NAMES);
        for context in CONTEXTS {
            assert_eq!(context.stream, context.name.to_uppercase());
            assert_eq!(context.database, format!("millrace_{}", context.name));
            assert!(!context.aggregates.is_empty());
            for aggregate in context.aggregates {
                let (owner, _) = aggregate.split_once('.').unwrap_or((aggregate, ""));
                assert_eq!(owner, context.name);
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
        let unique: BTreeSet<_> = aggregates.iter().collect();
        assert_eq!(unique.len(), aggregates.len());
    }

    fn is_listed<A: Decider>() {
        let context = context(A::CONTEXT).unwrap();
        assert!(context.aggregates.contains(&A::TYPE), "{}", A::TYPE);
        let by_kind = A::KIND.map_or(A::CONTEXT.to_owned(), |k| format!("{}.{k}", A::CONTEXT));
        assert_eq!(A::TYPE, by_kind);
    }

    #[test]
    fn every_aggregate_is_listed_under_its_own_name() {
        is_listed::<user::User>();
        is_listed::<user::EmailClaim>();
        is_listed::<product::Product>();
        is_listed::<inventory::StockItem>();
        is_listed::<order::Order>();
        is_listed::<payment::Payment>();
        is_listed::<notification::Notification>();
        is_listed::<checkout::Checkout>();
    }
}
