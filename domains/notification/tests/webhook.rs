//! Webhook endpoints and deliveries: what may be asked of them, told as sentences.

#![allow(clippy::unwrap_used, reason = "a scenario that can not go on fails")]

use chrono::{DateTime, TimeDelta, Utc};
use kernel::{Decider, TestFramework, UserId, WebhookEndpointId};
use notification::webhook::{
    Attempt, DeliveryCommand, DeliveryEvent, DeliveryRefusal, DisabledBecause, EARLIER_MAX,
    EndpointCommand, EndpointEvent, EndpointRefusal, EventRef, INTERESTS_MAX, Outcome,
    Subscription, WebhookDelivery, WebhookEndpoint, delivery_id,
};
use uuid::Uuid;

/// How long an endpoint may fail in these scenarios, in seconds.
const PATIENCE_S: u64 = 3_600;

fn at(minutes: i64) -> DateTime<Utc> {
    DateTime::UNIX_EPOCH + TimeDelta::minutes(minutes)
}

fn to(url: &str) -> Subscription {
    Subscription {
        url: url.parse().unwrap(),
        event_types: vec!["order.*".parse().unwrap()],
        description: None,
    }
}

fn naming(count: usize) -> Subscription {
    Subscription {
        event_types: vec!["order.*".parse().unwrap(); count],
        ..to("https://a.example")
    }
}

fn register(subscription: Subscription) -> EndpointCommand {
    EndpointCommand::RegisterWebhookEndpoint {
        user_id: Some(UserId(Uuid::from_u128(1))),
        subscription,
    }
}

fn registered() -> EndpointEvent {
    EndpointEvent::WebhookEndpointRegistered {
        user_id: Some(UserId(Uuid::from_u128(1))),
        subscription: to("https://a.example"),
    }
}

fn disable(because: DisabledBecause) -> EndpointCommand {
    EndpointCommand::DisableWebhookEndpoint {
        because,
        reason: None,
    }
}

fn disabled(because: DisabledBecause) -> EndpointEvent {
    EndpointEvent::WebhookEndpointDisabled {
        because,
        reason: None,
    }
}

fn failure(minutes: i64) -> EndpointCommand {
    EndpointCommand::RecordWebhookFailure {
        at: at(minutes),
        patience_s: PATIENCE_S,
    }
}

fn failing(minutes: i64) -> EndpointEvent {
    EndpointEvent::WebhookEndpointFailing { since: at(minutes) }
}

#[track_caller]
fn follows(given: Vec<EndpointEvent>, when: EndpointCommand, then: Vec<EndpointEvent>) {
    TestFramework::<WebhookEndpoint>::with(())
        .given(given)
        .when(when)
        .then_expect_events(then);
}

#[track_caller]
fn refused(given: Vec<EndpointEvent>, when: EndpointCommand, why: EndpointRefusal) {
    TestFramework::<WebhookEndpoint>::with(())
        .given(given)
        .when(when)
        .then_expect_error(why);
}

#[test]
fn an_endpoint_is_registered_once_and_wants_to_hear_of_something() {
    follows(
        vec![],
        register(to("https://a.example")),
        vec![registered()],
    );
    follows(
        vec![registered()],
        register(to("https://a.example")),
        vec![],
    );
    let other = register(to("https://b.example"));
    refused(
        vec![registered()],
        other,
        EndpointRefusal::WebhookEndpointDiffers,
    );
    refused(vec![], register(naming(0)), EndpointRefusal::NoEventTypes);
    let too_many = EndpointRefusal::TooManyEventTypes { max: INTERESTS_MAX };
    refused(vec![], register(naming(INTERESTS_MAX + 1)), too_many);
}

#[test]
fn nothing_can_be_asked_of_an_endpoint_that_is_not_there() {
    let unknown = || EndpointRefusal::WebhookEndpointUnknown;
    let removed = || vec![registered(), EndpointEvent::WebhookEndpointRemoved {}];
    for given in [vec![], removed()] {
        for command in [
            EndpointCommand::ChangeWebhookEndpoint {
                subscription: to("https://b.example"),
            },
            EndpointCommand::RotateWebhookSecret {
                previous_until: at(1),
            },
            EndpointCommand::EnableWebhookEndpoint {},
            disable(DisabledBecause::Asked),
        ] {
            refused(given.clone(), command, unknown());
        }
    }
    refused(vec![], EndpointCommand::RemoveWebhookEndpoint {}, unknown());
    follows(removed(), EndpointCommand::RemoveWebhookEndpoint {}, vec![]);
    follows(removed(), failure(1), vec![]);
    let again = register(to("https://a.example"));
    refused(removed(), again, EndpointRefusal::WebhookEndpointDiffers);
}

#[test]
fn an_endpoint_is_changed_only_if_something_changes() {
    let change = |url| EndpointCommand::ChangeWebhookEndpoint {
        subscription: to(url),
    };
    let changed = EndpointEvent::WebhookEndpointChanged {
        subscription: to("https://b.example"),
    };
    follows(
        vec![registered()],
        change("https://b.example"),
        vec![changed],
    );
    follows(vec![registered()], change("https://a.example"), vec![]);
    let nothing = EndpointCommand::ChangeWebhookEndpoint {
        subscription: naming(0),
    };
    refused(vec![registered()], nothing, EndpointRefusal::NoEventTypes);
}

#[test]
fn each_rotation_gives_the_next_secret_and_keeps_the_one_before() {
    let rotate = |minutes| EndpointCommand::RotateWebhookSecret {
        previous_until: at(minutes),
    };
    let rotated = |generation, minutes| EndpointEvent::WebhookSecretRotated {
        generation,
        previous_until: at(minutes),
    };
    follows(vec![registered()], rotate(5), vec![rotated(2, 5)]);
    follows(
        vec![registered(), rotated(2, 5)],
        rotate(9),
        vec![rotated(3, 9)],
    );
}

#[test]
fn both_secrets_sign_until_the_old_one_is_over() {
    let mut endpoint = WebhookEndpoint::default();
    endpoint.evolve(&registered());
    let generations =
        |endpoint: &WebhookEndpoint, minutes| endpoint.endpoint().unwrap().generations(at(minutes));
    assert_eq!(generations(&endpoint, 0), [1]);
    endpoint.evolve(&EndpointEvent::WebhookSecretRotated {
        generation: 2,
        previous_until: at(5),
    });
    assert_eq!(generations(&endpoint, 4), [2, 1]);
    assert_eq!(generations(&endpoint, 5), [2]);
}

#[test]
fn a_second_rotation_takes_no_promise_back() {
    let mut endpoint = WebhookEndpoint::default();
    endpoint.evolve(&registered());
    for (generation, minutes) in [(2, 5), (3, 6)] {
        endpoint.evolve(&EndpointEvent::WebhookSecretRotated {
            generation,
            previous_until: at(minutes),
        });
    }
    let generations = |minutes| endpoint.endpoint().unwrap().generations(at(minutes));
    assert_eq!(generations(4), [3, 2, 1]);
    assert_eq!(generations(5), [3, 2]);
    assert_eq!(generations(6), [3]);
}

#[test]
fn whoever_silences_a_secret_at_once_silences_those_before_it_too() {
    let mut endpoint = WebhookEndpoint::default();
    endpoint.evolve(&registered());
    for (generation, minutes) in [(2, 9), (3, 9), (4, 1)] {
        endpoint.evolve(&EndpointEvent::WebhookSecretRotated {
            generation,
            previous_until: at(minutes),
        });
    }
    let generations = |minutes| endpoint.endpoint().unwrap().generations(at(minutes));
    assert_eq!(generations(0), [4, 3, 2, 1]);
    assert_eq!(generations(1), [4]);
}

#[test]
fn what_is_remembered_of_rotations_is_bounded() {
    let mut endpoint = WebhookEndpoint::default();
    endpoint.evolve(&registered());
    for generation in 2..100 {
        endpoint.evolve(&EndpointEvent::WebhookSecretRotated {
            generation,
            previous_until: at(5),
        });
    }
    let signing = endpoint.endpoint().unwrap().generations(at(0));
    assert_eq!(signing.len(), EARLIER_MAX + 2);
    assert_eq!(signing.first(), Some(&99));
}

#[test]
fn an_endpoint_that_fails_for_too_long_is_disabled_and_one_success_forgives_all() {
    follows(vec![registered()], failure(0), vec![failing(0)]);
    follows(vec![registered(), failing(0)], failure(59), vec![]);
    let given_up = vec![disabled(DisabledBecause::Failing)];
    follows(
        vec![registered(), failing(0)],
        failure(60),
        given_up.clone(),
    );
    let recovered = EndpointEvent::WebhookEndpointRecovered {};
    let success = || EndpointCommand::RecordWebhookSuccess {};
    follows(
        vec![registered(), failing(0)],
        success(),
        vec![recovered.clone()],
    );
    follows(vec![registered()], success(), vec![]);
    follows(
        vec![registered(), failing(0), recovered],
        failure(60),
        vec![failing(60)],
    );
    let off = || vec![registered(), failing(0), disabled(DisabledBecause::Failing)];
    follows(off(), failure(99), vec![]);
    let enabled = EndpointEvent::WebhookEndpointEnabled {};
    follows(
        off(),
        EndpointCommand::EnableWebhookEndpoint {},
        vec![enabled.clone()],
    );
    // It begins anew: the time before does not count against it.
    follows(
        [off(), vec![enabled]].concat(),
        failure(99),
        vec![failing(99)],
    );
}

#[test]
fn an_endpoint_is_disabled_enabled_and_removed_once() {
    let gone = DisabledBecause::Gone;
    follows(vec![registered()], disable(gone), vec![disabled(gone)]);
    follows(
        vec![registered(), disabled(gone)],
        disable(DisabledBecause::Asked),
        vec![],
    );
    follows(
        vec![registered()],
        EndpointCommand::EnableWebhookEndpoint {},
        vec![],
    );
    let removed = vec![EndpointEvent::WebhookEndpointRemoved {}];
    let remove = || EndpointCommand::RemoveWebhookEndpoint {};
    follows(vec![registered()], remove(), removed.clone());
    follows(vec![registered(), disabled(gone)], remove(), removed);
}

fn event() -> EventRef {
    EventRef {
        event_type: "order.order_placed".to_owned(),
        event_id: Uuid::from_u128(7),
        occurred_at: at(0),
        position: Some("ORDER:42".parse().unwrap()),
    }
}

fn request(event: EventRef) -> DeliveryCommand {
    DeliveryCommand::RequestWebhookDelivery {
        endpoint_id: WebhookEndpointId(Uuid::from_u128(2)),
        user_id: None,
        event,
    }
}

fn requested() -> DeliveryEvent {
    DeliveryEvent::WebhookDeliveryRequested {
        endpoint_id: WebhookEndpointId(Uuid::from_u128(2)),
        user_id: None,
        event: event(),
    }
}

fn attempt(number: u32, status: u16) -> Attempt {
    let excerpt = String::new();
    Attempt {
        number,
        at: at(number.into()),
        duration_ms: 5,
        outcome: if status == 200 {
            Outcome::Accepted { status, excerpt }
        } else {
            Outcome::Rejected { status, excerpt }
        },
    }
}

fn record(number: u32, status: u16, next: Option<i64>) -> DeliveryCommand {
    DeliveryCommand::RecordWebhookAttempt {
        attempt: attempt(number, status),
        next_at: next.map(at),
    }
}

fn attempted(number: u32, status: u16, next: Option<i64>) -> DeliveryEvent {
    DeliveryEvent::WebhookAttempted {
        attempt: attempt(number, status),
        next_at: next.map(at),
    }
}

fn abandon() -> DeliveryCommand {
    DeliveryCommand::AbandonWebhookDelivery {
        reason: "disabled".parse().unwrap(),
    }
}

fn redelivery() -> DeliveryEvent {
    DeliveryEvent::WebhookRedeliveryRequested {}
}

#[track_caller]
fn tells(given: Vec<DeliveryEvent>, when: DeliveryCommand, then: Vec<DeliveryEvent>) {
    TestFramework::<WebhookDelivery>::with(())
        .given(given)
        .when(when)
        .then_expect_events(then);
}

#[track_caller]
fn declined(given: Vec<DeliveryEvent>, when: DeliveryCommand, why: DeliveryRefusal) {
    TestFramework::<WebhookDelivery>::with(())
        .given(given)
        .when(when)
        .then_expect_error(why);
}

fn state(events: &[DeliveryEvent]) -> WebhookDelivery {
    let mut delivery = WebhookDelivery::default();
    for event in events {
        delivery.evolve(event);
    }
    delivery
}

#[test]
fn an_event_is_told_to_an_endpoint_under_one_id() {
    tells(vec![], request(event()), vec![requested()]);
    tells(vec![requested()], request(event()), vec![]);
    let other = EventRef {
        event_id: Uuid::from_u128(8),
        ..event()
    };
    declined(
        vec![requested()],
        request(other),
        DeliveryRefusal::WebhookDeliveryDiffers,
    );
    let [one, two] = [1, 2].map(|n| WebhookEndpointId(Uuid::from_u128(n)));
    let event_id = event().event_id;
    assert_eq!(delivery_id(one, event_id), delivery_id(one, event_id));
    assert_ne!(delivery_id(one, event_id), delivery_id(two, event_id));
}

#[test]
fn an_attempt_is_recorded_once_and_in_its_turn() {
    let rejected = attempted(1, 503, Some(5));
    tells(
        vec![requested()],
        record(1, 503, Some(5)),
        vec![rejected.clone()],
    );
    tells(
        vec![requested(), rejected.clone()],
        record(1, 200, None),
        vec![],
    );
    let not_due = || DeliveryRefusal::WebhookAttemptNotDue;
    declined(vec![requested()], record(2, 503, None), not_due());
    let delivered = vec![requested(), rejected, attempted(2, 200, None)];
    declined(delivered.clone(), record(3, 200, None), not_due());
    assert!(matches!(
        state(&delivered),
        WebhookDelivery::Delivered { attempts: 2, .. }
    ));
    // What was taken is not tried again, whatever the schedule says.
    tells(
        vec![requested()],
        record(1, 200, Some(5)),
        vec![attempted(1, 200, None)],
    );
}

#[test]
fn a_delivery_waits_for_its_time_and_fails_when_there_is_none() {
    let waits = state(&[requested(), attempted(1, 503, Some(5))]);
    let pending = waits.pending().unwrap();
    assert_eq!((pending.tries, pending.due_at), (1, Some(at(5))));
    let failed = state(&[requested(), attempted(1, 410, None)]);
    assert!(matches!(
        failed,
        WebhookDelivery::Failed { attempts: 1, .. }
    ));
}

#[test]
fn a_delivery_is_given_up_while_it_waits() {
    let abandoned = DeliveryEvent::WebhookDeliveryAbandoned {
        reason: "disabled".parse().unwrap(),
    };
    tells(vec![requested()], abandon(), vec![abandoned.clone()]);
    tells(vec![requested(), abandoned], abandon(), vec![]);
    tells(
        vec![requested(), attempted(1, 200, None)],
        abandon(),
        vec![],
    );
}

#[test]
fn a_redelivery_begins_the_schedule_anew_and_counts_on() {
    let redeliver = || DeliveryCommand::RedeliverWebhook {};
    tells(vec![requested()], redeliver(), vec![]);
    for ended in [
        attempted(1, 200, None),
        attempted(1, 503, None),
        attempted(1, 503, Some(9)),
    ] {
        let given = vec![requested(), ended];
        tells(given.clone(), redeliver(), vec![redelivery()]);
        let again = state(&[given, vec![redelivery()]].concat());
        let pending = again.pending().unwrap();
        assert_eq!(
            (pending.attempts, pending.tries, pending.due_at),
            (1, 0, None)
        );
    }
}

#[test]
fn nothing_can_be_asked_of_a_delivery_that_is_not_there() {
    for command in [
        record(1, 200, None),
        abandon(),
        DeliveryCommand::RedeliverWebhook {},
    ] {
        declined(vec![], command, DeliveryRefusal::WebhookDeliveryUnknown);
    }
}
