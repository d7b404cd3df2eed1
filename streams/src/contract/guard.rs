//! The start-up check on a real server: complete, missing, dangerous.

use std::time::Duration;

use async_nats::jetstream::stream::DiscardPolicy;

use super::case;
use crate::Connection;
use crate::topology::{DurableSpec, OnFailure, Topology, TopologyError, check, provision};

const DURABLES: [DurableSpec; 2] = [
    DurableSpec {
        name: "guard-guarded",
        stream: "GUARDED",
        on_failure: OnFailure::Retry,
    },
    DurableSpec {
        name: "guard-timers",
        stream: "TIMERS",
        on_failure: OnFailure::Retry,
    },
];

/// Provisions, provisions again, then finds what is missing and what is wrong. Stream `GUARDED` is
/// deleted before and after, all others stay.
pub async fn all(connection: &Connection) {
    case("the guard names what is missing and what is wrong");
    let topology = Topology::new(&["guarded"], &DURABLES);
    let jetstream = connection.jetstream();
    // Left behind by a run that failed, or not there at all.
    let _ = jetstream.delete_stream("GUARDED").await;
    let missing = check(connection, &topology).await.unwrap_err();
    assert!(matches!(missing, TopologyError::Missing { what } if what == "stream GUARDED"));
    for _ in 0..2 {
        provision(connection, &topology, 1).await.unwrap();
        check(connection, &topology).await.unwrap();
    }
    let guarded = topology.only(&["GUARDED"]);
    assert_eq!((guarded.streams.len(), guarded.durables.len()), (1, 1));
    let mut config = guarded.streams[0].config(1);
    config.max_age = Duration::from_hours(1);
    config.discard = DiscardPolicy::Old;
    jetstream.update_stream(&config).await.unwrap();
    for refused in [
        check(connection, &guarded).await,
        provision(connection, &guarded, 1).await,
    ] {
        let TopologyError::Different(differences) = refused.unwrap_err() else {
            panic!("the stream forgets events after an hour, and nobody says so");
        };
        let fields: Vec<_> = differences.iter().map(|d| d.field).collect();
        assert_eq!(fields, ["discard", "max_age"]);
    }
    jetstream.delete_stream("GUARDED").await.unwrap();
}
