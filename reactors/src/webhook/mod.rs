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
//! ```

mod endpoints;
mod http;
mod matcher;
mod message;
mod owner;
mod pace;
mod sender;
mod signature;

pub(crate) use endpoints::Endpoints;
pub(crate) use http::{Http, HttpError};
pub(crate) use matcher::Matcher;
pub(crate) use sender::{Parts, Sender};

use streams::topology::{DurableSpec, OnFailure};

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
        on_failure: PATIENT,
    }
}

/// One for each context's events.
pub(crate) const MATCHERS: [DurableSpec; 7] = [
    matching("webhooks-user", "USER"),
    matching("webhooks-product", "PRODUCT"),
    matching("webhooks-inventory", "INVENTORY"),
    matching("webhooks-order", "ORDER"),
    matching("webhooks-payment", "PAYMENT"),
    matching("webhooks-notification", "NOTIFICATION"),
    matching("webhooks-checkout", "CHECKOUT"),
];

/// Reads NOTIFICATION for deliveries.
pub(crate) const SENDER_DURABLE: DurableSpec = DurableSpec {
    name: "webhook-sender",
    stream: STREAM,
    on_failure: PATIENT,
};

/// Wakes deliveries.
pub(crate) const TIMER_DURABLE: DurableSpec = DurableSpec {
    name: "webhook-timers",
    stream: "TIMERS",
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
}
