//! The start-up check on a real server: complete, missing, dangerous.

use std::time::Duration;

use async_nats::jetstream::consumer::DeliverPolicy;
use async_nats::jetstream::stream::DiscardPolicy;

use super::case;
use crate::Connection;
use crate::contract_subscriptions::bench::Bench;
use crate::subscription::DurableLimits;
use crate::topology::{
    Acks, DurableSpec, Later, OnFailure, Retired, Topology, TopologyError, check, provision,
};

const DURABLES: [DurableSpec; 2] = [
    DurableSpec {
        name: "guard-guarded",
        stream: "GUARDED",
        kind: None,
        acks: Acks::Each,
        on_failure: OnFailure::Retry,
    },
    DurableSpec {
        name: "guard-timers",
        stream: "TIMERS",
        kind: None,
        acks: Acks::Each,
        on_failure: OnFailure::Retry,
    },
];

/// Provisions, provisions again, then finds what is missing and what is wrong. Stream `GUARDED` is
/// deleted before and after, all others stay.
pub async fn all(connection: &Connection, replicas: usize) {
    case("the guard names what is missing and what is wrong");
    let topology = Topology::new(&["guarded"], &DURABLES);
    let jetstream = connection.jetstream();
    // Left behind by a run that failed, or not there at all.
    let _ = jetstream.delete_stream("GUARDED").await;
    let missing = check(connection, &topology).await.unwrap_err();
    let nameless = Topology::new(&["bank2"], &[]);
    let refused = provision(connection, &nameless, 1).await.unwrap_err();
    assert!(matches!(refused, TopologyError::Name { stream } if stream == "BANK2"));
    assert!(matches!(missing, TopologyError::Missing { what } if what == "stream GUARDED"));
    for _ in 0..2 {
        provision(connection, &topology, replicas).await.unwrap();
        check(connection, &topology).await.unwrap();
    }
    let guarded = topology.only(&["GUARDED"]);
    assert_eq!((guarded.streams.len(), guarded.durables.len()), (1, 1));
    let mut config = guarded.streams[0].config(replicas);
    config.max_age = Duration::from_hours(1);
    config.discard = DiscardPolicy::Old;
    jetstream.update_stream(&config).await.unwrap();
    for refused in [
        check(connection, &guarded).await,
        provision(connection, &guarded, replicas).await,
    ] {
        let TopologyError::Different(differences) = refused.unwrap_err() else {
            panic!("the stream forgets events after an hour, and nobody says so");
        };
        let fields: Vec<_> = differences.iter().map(|d| d.field).collect();
        assert_eq!(fields, ["discard", "max_age"]);
    }
    jetstream.delete_stream("GUARDED").await.unwrap();
    a_successor_goes_on_where_the_old_one_was(connection, replicas).await;
    a_durable_that_comes_later_begins_where_another_is(connection, replicas).await;
}

/// A durable of an earlier version stays while a process reads it, and its successor begins behind what
/// it has acknowledged; then it is taken away.
async fn a_successor_goes_on_where_the_old_one_was(connection: &Connection, replicas: usize) {
    let [old, _] = DURABLES;
    let before = Topology::new(&["guarded"], &[old]);
    provision(connection, &before, replicas).await.unwrap();
    five_events(connection).await;
    let reader = connection.durable(&old, DurableLimits::default());
    let mut reader = reader.await.unwrap();
    for _ in 1..=3 {
        reader.next().await.unwrap().ack().await.unwrap();
    }
    let new = DurableSpec {
        name: "guard-successor",
        acks: Acks::InBulk,
        ..old
    };
    let retired = Retired {
        name: old.name,
        stream: old.stream,
        successor: new.name,
    };
    let after = Topology::new(&["guarded"], &[new]).without(&[retired]);
    let jetstream = connection.jetstream();
    let stream = jetstream.get_stream_no_info("GUARDED").await.unwrap();
    let stands = async || {
        let found = stream.consumer_info(new.name).await.unwrap();
        let outstanding = found.num_pending + found.num_ack_pending as u64;
        (found.ack_floor.stream_sequence, outstanding)
    };
    for _ in 0..2 {
        provision(connection, &after, replicas).await.unwrap();
        check(connection, &after).await.unwrap();
        check(connection, &before).await.unwrap();
        let found = stands().await;
        assert_eq!(found, (3, 2), "what is not acknowledged comes again");
    }
    let successor = connection.durable(&new, DurableLimits::default());
    let mut successor = successor.await.unwrap();
    let next = successor.next().await.unwrap();
    assert_eq!(next.position.sequence, 4);
    next.receipt().unwrap().ack().await.unwrap();
    provision(connection, &after, replicas).await.unwrap();
    let found = stands().await;
    assert_eq!(found, (4, 1), "it goes on where it is itself");
    drop(successor);
    drop(reader);
    while stream.consumer_info(old.name).await.is_ok() {
        provision(connection, &after, replicas).await.unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    check(connection, &after).await.unwrap();
    jetstream.delete_stream("GUARDED").await.unwrap();
}

async fn five_events(connection: &Connection) {
    let bench = Bench {
        connection: connection.clone(),
        context: "guarded".to_owned(),
        stream: "GUARDED".to_owned(),
    };
    bench.append("a", 1, 5).await;
}

/// Only when it is made: from then on it goes its own way. Made again, it gives out all that it has not been seen
/// to acknowledge, and nothing of long before.
async fn a_durable_that_comes_later_begins_where_another_is(
    connection: &Connection,
    replicas: usize,
) {
    let [there, _] = DURABLES;
    let new = DurableSpec {
        name: "guard-later",
        acks: Acks::InBulk,
        ..there
    };
    let before = Topology::new(&["guarded"], &[there]);
    provision(connection, &before, replicas).await.unwrap();
    five_events(connection).await;
    let reader = connection.durable(&there, DurableLimits::default());
    let mut reader = reader.await.unwrap();
    let after = Topology::new(&["guarded"], &[there, new]).beginning(&[Later::with(new, there)]);
    let jetstream = connection.jetstream();
    let stream = jetstream.get_stream_no_info("GUARDED").await.unwrap();
    let made = async || {
        provision(connection, &after, replicas).await.unwrap();
        check(connection, &after).await.unwrap();
        let found = stream.consumer_info(new.name).await.unwrap();
        let outstanding = found.num_pending + found.num_ack_pending as u64;
        (found.ack_floor.stream_sequence, outstanding)
    };
    for _ in 0..2 {
        for _ in 0..2 {
            reader.next().await.unwrap().ack().await.unwrap();
        }
        assert_eq!(made().await, (2, 3));
    }
    let config = stream.consumer_info(new.name).await.unwrap().config;
    let first = DeliverPolicy::ByStartSequence { start_sequence: 3 };
    assert_eq!(config.deliver_policy, first, "also for who waited for it");
    reader.next().await.unwrap().ack().await.unwrap();
    stream.delete_consumer(new.name).await.unwrap();
    assert_eq!(made().await, (2, 3), "it had acknowledged nothing yet");

    let worker = connection.durable(&new, DurableLimits::default());
    let mut worker = worker.await.unwrap();
    for sequence in [3, 4] {
        let delivery = worker.next().await.unwrap();
        assert_eq!(delivery.position.sequence, sequence);
        delivery.receipt().unwrap().ack().await.unwrap();
    }
    assert_eq!(made().await, (4, 1));
    // As after a backup without consumers.
    for durable in [there.name, new.name] {
        stream.delete_consumer(durable).await.unwrap();
    }
    assert_eq!(made().await, (4, 1), "it was noted how far it had come");
    let next = worker.next().await.unwrap();
    assert_eq!(next.position.sequence, 5);
    drop(worker);
    drop(reader);
    jetstream.delete_stream("GUARDED").await.unwrap();
}
