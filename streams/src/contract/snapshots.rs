//! A snapshot saves reading, and never says what the log does not.

use bytes::Bytes;
use kernel::AggregateId;
use serde_json::{Value, json};

use super::account::{Account, AccountCommand};
use super::races::account_with;
use super::{Rig, case, fresh_id, fresh_meta, run};
use crate::snapshot::subject_of_snapshot;
use crate::subject::subject_of;
use crate::{Loaded, Outcome, Settings, Snapshots, Streams};

/// Events between two snapshots here: so that a few events make several.
const EVERY: u64 = 7;

/// Reads in a row that must agree before every replica has what was written: any of them answers.
const AGREEING_READS: usize = 30;

/// Its name, and what it does to a snapshot.
type Damage<'a> = (&'a str, &'a dyn Fn(&mut Value));

/// All of this page.
pub async fn all(rig: &dyn Rig) {
    with_a_snapshot_or_without_it_is_the_same(rig).await;
    what_is_not_of_this_code_is_ignored_and_made_again(rig).await;
    what_is_not_of_this_log_is_ignored_and_made_again(rig).await;
    a_command_is_still_done_once(rig).await;
    without_snapshots_there_are_none(rig).await;
}

/// At every version: a cold start with snapshots finds what one without finds.
pub async fn with_a_snapshot_or_without_it_is_the_same(rig: &dyn Rig) {
    case("with a snapshot or without it is the same");
    let writer = store(rig, Snapshots::Every(EVERY)).await;
    let (with, without) = (Snapshots::Read, Snapshots::Off);
    let id = fresh_id();
    account_with(&writer, &id, 0).await;
    for balance in 1..=3 * EVERY {
        let amounts = if balance % 5 == 0 {
            vec![2, 3]
        } else {
            vec![balance]
        };
        run(&writer, &id, AccountCommand::Deposit(amounts))
            .await
            .unwrap();
        is_everywhere(&writer, &id).await;
        let (with, without) = (cold(&writer, with), cold(&writer, without));
        let (from_it, from_all) = (found(&with, &id).await, found(&without, &id).await);
        assert_eq!(from_it.state, from_all.state);
        assert_eq!(
            (from_it.version, from_it.position),
            (from_all.version, from_all.position)
        );
        let used = u64::from(from_it.version >= EVERY);
        assert_eq!(
            with.snapshot_counts().used,
            used,
            "version {}",
            from_it.version
        );
    }
    // And what started from one goes on.
    let with = cold(&writer, with);
    let before = found(&with, &id).await.version;
    let paid = run(&with, &id, AccountCommand::Deposit(vec![1]));
    assert_eq!(paid.await.unwrap().version, before + 1);
}

/// Another fingerprint, a field that nobody knows, no JSON: the events count.
pub async fn what_is_not_of_this_code_is_ignored_and_made_again(rig: &dyn Rig) {
    case("what is not of this code is ignored and made again");
    let (writer, id) = ten_deposits(rig).await;
    let good = kept(&writer, &id).await;
    let other = json!("00000000-0000-5000-8000-000000000000");
    let damages: [Damage<'_>; 4] = [
        ("fingerprint", &|s| s["fingerprint"] = other.clone()),
        ("unknown field", &|s| s["state"]["limit"] = json!(5)),
        ("missing field", &|s| s["state"] = json!({"open": true})),
        ("no snapshot", &|s| *s = json!("nonsense")),
    ];
    for (name, damage) in damages {
        let mut snapshot = good.clone();
        // It would show if it were believed.
        snapshot["state"]["balance"] = json!(1_000);
        damage(&mut snapshot);
        keep(&writer, &id, &snapshot).await;
        is_made_again(&writer, &id, name).await;
    }
}

/// Another event at its position, none, or one of another version: the events count.
pub async fn what_is_not_of_this_log_is_ignored_and_made_again(rig: &dyn Rig) {
    case("what is not of this log is ignored and made again");
    let (writer, id) = ten_deposits(rig).await;
    let good = kept(&writer, &id).await;
    let (position, version) = (good["position"].as_u64().unwrap(), EVERY);
    let other = json!(uuid::Uuid::new_v4());
    let damages: [Damage<'_>; 4] = [
        ("another event", &|s| s["event_id"] = other.clone()),
        ("in the future", &|s| {
            s["position"] = json!(position + 1_000);
        }),
        ("no event of it", &|s| s["position"] = json!(position - 1)),
        ("another version", &|s| s["version"] = json!(version + 1)),
    ];
    for (name, damage) in damages {
        let mut snapshot = good.clone();
        snapshot["state"]["balance"] = json!(1_000);
        damage(&mut snapshot);
        keep(&writer, &id, &snapshot).await;
        is_made_again(&writer, &id, name).await;
    }
}

/// A command from before the snapshot is known after it.
pub async fn a_command_is_still_done_once(rig: &dyn Rig) {
    case("a command is still done once");
    let writer = store(rig, Snapshots::Every(EVERY)).await;
    let id = fresh_id();
    account_with(&writer, &id, 0).await;
    let meta = fresh_meta();
    let deposit = || AccountCommand::Deposit(vec![5, 6]);
    let first = writer.execute::<Account>(&id, deposit(), &meta).await;
    let first = first.unwrap();
    for _ in 0..2 * EVERY {
        run(&writer, &id, AccountCommand::Deposit(vec![1]))
            .await
            .unwrap();
    }
    is_everywhere(&writer, &id).await;
    let reader = cold(&writer, Snapshots::Read);
    let again = reader.execute::<Account>(&id, deposit(), &meta).await;
    let again = again.unwrap();
    assert_eq!(again.outcome, Outcome::Replayed);
    assert_eq!(
        (again.version, &again.position),
        (first.version, &first.position)
    );
    assert_eq!((again.state.balance(), again.events.len()), (11, 2));
    assert!(reader.snapshot_counts().used > 0);
}

/// Switched off, nothing is written and nothing is read.
pub async fn without_snapshots_there_are_none(rig: &dyn Rig) {
    case("without snapshots there are none");
    for off in [Snapshots::Off, Snapshots::Read, Snapshots::Every(0)] {
        let writer = store(rig, off).await;
        let id = fresh_id();
        account_with(&writer, &id, 0).await;
        for _ in 0..EVERY {
            run(&writer, &id, AccountCommand::Deposit(vec![1]))
                .await
                .unwrap();
        }
        writer.snapshots_settled().await;
        assert_eq!(writer.snapshot_counts().written, 0);
        let subject = subject_of_snapshot(&subject_of::<Account>(&id));
        assert_eq!(writer.log().snapshot(&subject).await.unwrap(), None);
    }
}

/// Ignored by the next cold start, which finds the truth and writes a good one.
async fn is_made_again(writer: &Streams, id: &AggregateId, name: &str) {
    let doubting = cold(writer, Snapshots::Every(EVERY));
    let truth = found(&doubting, id).await;
    assert_eq!((truth.state.balance(), truth.version), (10, 12), "{name}");
    is_everywhere(&doubting, id).await;
    let counts = doubting.snapshot_counts();
    assert_eq!(
        (counts.used, counts.ignored, counts.written),
        (0, 1, 1),
        "{name}"
    );
    let next = cold(writer, Snapshots::Every(EVERY));
    assert_eq!(found(&next, id).await.state.balance(), 10, "{name}");
    assert_eq!(next.snapshot_counts().used, 1, "{name}");
}

/// An account with ten times 1 on it, and a snapshot at its 7th event.
async fn ten_deposits(rig: &dyn Rig) -> (Streams, AggregateId) {
    let writer = store(rig, Snapshots::Every(EVERY)).await;
    let id = fresh_id();
    account_with(&writer, &id, 0).await;
    for _ in 0..10 {
        run(&writer, &id, AccountCommand::Deposit(vec![1]))
            .await
            .unwrap();
    }
    is_everywhere(&writer, &id).await;
    assert_eq!(writer.snapshot_counts().written, 1);
    (writer, id)
}

async fn store(rig: &dyn Rig, snapshots: Snapshots) -> Streams {
    cold(&rig.process().await, snapshots)
}

/// A process that has nothing in its cache, on the same log.
fn cold(streams: &Streams, snapshots: Snapshots) -> Streams {
    streams.with_settings(Settings {
        snapshots,
        ..Settings::default()
    })
}

async fn found(streams: &Streams, id: &AggregateId) -> Loaded<Account> {
    streams.load_current::<Account>(id).await.unwrap()
}

/// The snapshot as it stands.
async fn kept(streams: &Streams, id: &AggregateId) -> Value {
    let subject = subject_of_snapshot(&subject_of::<Account>(id));
    let bytes = streams.log().snapshot(&subject).await.unwrap().unwrap();
    serde_json::from_slice(&bytes).unwrap()
}

async fn keep(streams: &Streams, id: &AggregateId, snapshot: &Value) {
    let subject = subject_of_snapshot(&subject_of::<Account>(id));
    let bytes = Bytes::from(serde_json::to_vec(snapshot).unwrap());
    streams.log().keep_snapshot(&subject, bytes).await.unwrap();
    is_everywhere(streams, id).await;
}

/// Waits until what `writer` has kept is what any reader finds.
async fn is_everywhere(writer: &Streams, id: &AggregateId) {
    writer.snapshots_settled().await;
    let subject = subject_of_snapshot(&subject_of::<Account>(id));
    let read = async || writer.log().snapshot(&subject).await.unwrap();
    let (mut last, mut agreed) = (read().await, 0);
    while agreed < AGREEING_READS {
        let next = read().await;
        agreed = if next == last { agreed + 1 } else { 0 };
        last = next;
    }
}
