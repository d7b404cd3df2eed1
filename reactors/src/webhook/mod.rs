//! Outgoing webhooks: other systems are told of events (Standard Webhooks).
//!
//! ```text
//!   every context ──► matcher ──bus──► a delivery for each endpoint that wants to hear of the event
//!   NOTIFICATION  ──► sender  ──HTTP─► the endpoint: signed, with a time limit, no way inside
//!                        │ ▲
//!           how it went, │ │ when it is tried again
//!                  as an ▼ │
//!                    event └─ timer
//! ```
//!
//! A delivery is an aggregate of its own, so one that waits holds up no other, and a crash leaves it
//! where its events say. What is told is read from the log at each attempt: the body is the same each
//! time, and so is its id. An endpoint is asked a few things at once at most; what comes on top waits
//! for its turn at a timer, not in a lane.
//!
//! ```text
//!   endpoints  which endpoints there are, as of now      matcher  events → deliveries
//!   owner      whose an event is                         sender   deliveries → attempts
//!   message    the body                                  http     one attempt
//!   signature  what it is signed with                    pace     how much at once
//!   pending    deliveries whose timer was lost
//! ```

mod endpoints;
mod http;
mod matcher;
mod message;
mod owner;
mod pace;
mod pending;
mod sender;
mod signature;

pub(crate) use endpoints::Endpoints;
pub(crate) use http::{Http, HttpError};
pub(crate) use matcher::Matcher;
pub(crate) use pending::Pending;
pub(crate) use sender::{Parts, Sender};

use kernel::Decider;
use notification::webhook::WebhookDelivery;
use streams::topology::{Acks, DurableSpec, OnFailure, Retired};

/// As what this reactor acts.
const ACTOR: &str = "reactor:webhook";

/// The stream of endpoints and deliveries.
const STREAM: &str = "NOTIFICATION";

/// Whose timers wake deliveries.
const TIMERS: &str = "webhook";

/// Whatever goes wrong here passes, or is seen by a person; no event is told to nobody for it.
const PATIENT: OnFailure = OnFailure::Park {
    after_attempts: None,
};

const fn matching(name: &'static str, stream: &'static str) -> DurableSpec {
    DurableSpec {
        name,
        stream,
        kind: None,
        // Every event comes here, and hardly any concerns an endpoint. A delivery's id follows from its
        // event, so what is repeated is asked for twice and told once.
        acks: Acks::InBulk,
        on_failure: PATIENT,
    }
}

/// One for each context's events.
pub(crate) const MATCHERS: [DurableSpec; 7] = [
    matching("webhook-matcher-user", "USER"),
    matching("webhook-matcher-product", "PRODUCT"),
    matching("webhook-matcher-inventory", "INVENTORY"),
    matching("webhook-matcher-order", "ORDER"),
    matching("webhook-matcher-payment", "PAYMENT"),
    matching("webhook-matcher-notification", "NOTIFICATION"),
    matching("webhook-matcher-checkout", "CHECKOUT"),
];

const fn retired(name: &'static str, stream: &'static str, successor: &'static str) -> Retired {
    Retired {
        name,
        stream,
        successor,
    }
}

/// What they were called while each event was acknowledged by itself, and the sender's while it read all of
/// NOTIFICATION.
pub(crate) const RETIRED: [Retired; 8] = [
    retired("webhooks-user", "USER", MATCHERS[0].name),
    retired("webhooks-product", "PRODUCT", MATCHERS[1].name),
    retired("webhooks-inventory", "INVENTORY", MATCHERS[2].name),
    retired("webhooks-order", "ORDER", MATCHERS[3].name),
    retired("webhooks-payment", "PAYMENT", MATCHERS[4].name),
    retired("webhooks-notification", "NOTIFICATION", MATCHERS[5].name),
    retired("webhooks-checkout", "CHECKOUT", MATCHERS[6].name),
    retired("webhook-sender", STREAM, SENDER_DURABLE.name),
];

/// Messages that a matcher asks for at once: hardly any needs more than a look.
pub(crate) const MATCHER_PREFETCH: usize = 512;

/// Reads the deliveries of NOTIFICATION.
pub(crate) const SENDER_DURABLE: DurableSpec = DurableSpec {
    name: "webhook-deliveries",
    stream: STREAM,
    kind: WebhookDelivery::KIND,
    acks: Acks::Each,
    on_failure: PATIENT,
};

/// Wakes deliveries.
pub(crate) const TIMER_DURABLE: DurableSpec = DurableSpec {
    name: "webhook-timers",
    stream: "TIMERS",
    kind: None,
    acks: Acks::Each,
    // A timer is a hint: the delivery that it is about is what must not be lost.
    on_failure: OnFailure::Retry,
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_context_is_listened_to() {
        let heard: Vec<_> = MATCHERS.iter().map(|spec| spec.stream).collect();
        let streams: Vec<_> = domains::CONTEXTS
            .iter()
            .map(|context| context.stream)
            .collect();
        assert_eq!(heard, streams);
    }

    #[test]
    fn the_sender_reads_deliveries_alone() {
        let deliveries = "event.notification.webhook_delivery.*";
        assert_eq!(SENDER_DURABLE.config().filter_subject, deliveries);
    }

    #[test]
    fn each_goes_on_where_its_predecessor_was() {
        for (matcher, old) in MATCHERS.iter().zip(RETIRED) {
            assert_eq!((old.successor, old.stream), (matcher.name, matcher.stream));
        }
    }
}
