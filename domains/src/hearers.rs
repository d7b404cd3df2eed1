//! Who may be told of which events by a webhook.

use notification::webhook::Interest;

use crate::{Aggregate, CONTEXTS};

/// Of whose events their owners are told: what `GET …/{id}/events` shows them.
const OWNED: [&str; 5] = ["user", "order", "payment", "notification", "checkout"];

/// What tells of the telling: to be told of that would never end.
const UNTOLD: [&str; 2] = [
    "notification.webhook_endpoint",
    "notification.webhook_delivery",
];

/// Who may be told of an aggregate's events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hearers {
    /// Nobody.
    Nobody,
    /// Operators.
    Operators,
    /// Operators, and the person whose it is.
    OwnerToo,
}

impl Aggregate {
    /// Who may be told of its events.
    pub fn hearers(&self) -> Hearers {
        if UNTOLD.contains(&self.name) {
            Hearers::Nobody
        } else if OWNED.contains(&self.name) {
            Hearers::OwnerToo
        } else {
            Hearers::Operators
        }
    }

    /// Is an endpoint of a customer's (`owned`), or of the operators', told of its events at all?
    pub fn is_told_to(&self, owned: bool) -> bool {
        match self.hearers() {
            Hearers::Nobody => false,
            Hearers::Operators => !owned,
            Hearers::OwnerToo => true,
        }
    }
}

/// Is there an event that an endpoint of a customer's (`owned`), or of the operators', can be told of,
/// and that is meant by `interest`?
pub fn is_offered(interest: &Interest, owned: bool) -> bool {
    let aggregates = const { &CONTEXTS }
        .iter()
        .flat_map(|context| context.aggregates);
    let mut told = aggregates.filter(|aggregate| aggregate.is_told_to(owned));
    told.any(|aggregate| {
        let mut events = aggregate.events.iter();
        events.any(|event| interest.covers(aggregate.name, event))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offered(interest: &str) -> [bool; 2] {
        let interest = interest.parse().unwrap();
        [true, false].map(|owned| is_offered(&interest, owned))
    }

    #[test]
    fn owners_are_told_of_what_is_theirs_and_operators_of_all() {
        for both in [
            "*",
            "order.*",
            "order.order_placed",
            "payment.payment_captured",
        ] {
            assert_eq!(offered(both), [true, true], "{both}");
        }
        for operators in ["product.*", "inventory.stock_reserved", "checkout.return.*"] {
            assert_eq!(offered(operators), [false, true], "{operators}");
        }
    }

    #[test]
    fn what_there_is_not_is_not_offered_nor_what_would_never_end() {
        for none in [
            "order.order_eaten",
            "orders.*",
            "notification.webhook_delivery.*",
            "notification.webhook_endpoint.webhook_endpoint_removed",
        ] {
            assert_eq!(offered(none), [false, false], "{none}");
        }
    }

    #[test]
    fn every_name_here_is_one_of_an_aggregate() {
        let all: Vec<_> = CONTEXTS
            .iter()
            .flat_map(|context| context.aggregates)
            .collect();
        for name in OWNED.iter().chain(&UNTOLD) {
            assert!(
                all.iter().any(|aggregate| aggregate.name == *name),
                "{name}"
            );
        }
    }
}
