//! A fold that panics half-way leaves no half state behind.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

use std::sync::atomic::{AtomicBool, Ordering};

use chrono::Utc;
use cqrs_es::DomainEvent;
use kernel::{AggregateId, Decider, Fact};
use serde::{Deserialize, Serialize};
use streams::contract::account::AccountRefusal;
use streams::{CommandMeta, Streams, step};
use uuid::Uuid;

fn meta() -> CommandMeta {
    CommandMeta::new(Uuid::new_v4(), Utc::now(), "system")
}

/// A sum whose fold panics half-way when it is told to.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Sum(u64);

static PANICS: AtomicBool = AtomicBool::new(false);

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Add(u64);

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", content = "data", rename_all = "snake_case")]
enum SumEvent {
    Added { number: u64 },
}

impl Fact for SumEvent {
    fn name(&self) -> &'static str {
        "added"
    }
}

impl DomainEvent for SumEvent {
    fn event_type(&self) -> String {
        self.name().to_owned()
    }

    fn event_version(&self) -> String {
        self.schema_version().to_string()
    }
}

kernel::aggregate!(Sum, "sum", Add, SumEvent, AccountRefusal);

impl Decider for Sum {
    const CONTEXT: &'static str = "sum";

    fn decide(&self, Add(number): &Add) -> Result<Vec<SumEvent>, AccountRefusal> {
        Ok(vec![SumEvent::Added { number: *number }])
    }

    fn evolve(&mut self, SumEvent::Added { number }: &SumEvent) {
        self.0 += number;
        assert!(!PANICS.swap(false, Ordering::SeqCst), "half-way");
    }
}

#[tokio::test]
async fn a_fold_that_panics_half_way_is_forgotten() {
    let streams = Streams::in_memory();
    let id: AggregateId = Uuid::new_v4().to_string().parse().unwrap();
    let first = streams.execute::<Sum>(&id, Add(1), &meta()).await.unwrap();
    // Alone and together, while others hold the state and while nobody does.
    for (together, others) in [(false, Some(first)), (false, None), (true, None)] {
        PANICS.store(true, Ordering::SeqCst);
        let (there, of) = (streams.clone(), id.clone());
        let panicked = tokio::spawn(async move {
            if together {
                let steps = vec![step::<Sum>(of, Add(10))];
                there.execute_together(steps, &meta()).await.unwrap();
            } else {
                there.execute::<Sum>(&of, Add(10), &meta()).await.unwrap();
            }
        });
        assert!(panicked.await.unwrap_err().is_panic());
        drop(others);
        let version = streams.load_current::<Sum>(&id).await.unwrap().version;
        let loaded = streams.load::<Sum>(&id).await.unwrap();
        let next = streams
            .execute::<Sum>(&id, Add(100), &meta())
            .await
            .unwrap();
        let count = version / 2;
        assert_eq!(
            (loaded.version, loaded.state.0),
            (version, 1 + 110 * count - 100)
        );
        assert_eq!((next.version, next.state.0), (version + 1, 1 + 110 * count));
    }
}
