//! An aggregate as it was.

use chrono::{TimeDelta, Utc};

use super::account::{Account, AccountCommand};
use super::races::account_with;
use super::{Rig, case, fresh_id, run};
use crate::{Moment, Settings, Snapshots};

/// All of this page.
pub async fn all(rig: &dyn Rig) {
    an_aggregate_as_it_was(rig).await;
    a_moment_that_is_still_to_come_is_now(rig).await;
}

/// At every position and time of its history, with snapshots before and behind that moment.
pub async fn an_aggregate_as_it_was(rig: &dyn Rig) {
    case("an aggregate as it was");
    let writer = rig.process().await.with_settings(Settings {
        snapshots: Snapshots::Every(5),
        ..Settings::default()
    });
    let (id, other) = (fresh_id(), fresh_id());
    account_with(&writer, &other, 1).await;
    account_with(&writer, &id, 0).await;
    for amount in 1..10 {
        let deposit = |amount| AccountCommand::Deposit(vec![amount]);
        run(&writer, &id, deposit(amount)).await.unwrap();
        // Positions between two events of ours.
        run(&writer, &other, deposit(1)).await.unwrap();
        writer.snapshots_settled().await;
    }
    let history = writer.history::<Account>(&id).await.unwrap();
    let mut balance = 0;
    for event in &history {
        balance += (event.version).saturating_sub(2);
        let position = event.position.sequence;
        // The first three stand side by side; after each other one stands an event of `other`.
        let until = u64::from(event.version > 2);
        for at in position..=position + until {
            let then = writer.load_at::<Account>(&id, Moment::Position(at)).await;
            let then = then.unwrap();
            assert_eq!((then.version, then.position), (event.version, position));
            assert_eq!(then.state.balance(), balance);
        }
        let before = Moment::Position(position - 1);
        let before = writer.load_at::<Account>(&id, before).await.unwrap();
        assert_eq!(before.version, event.version - 1);
        // Several events may have come at one instant.
        let time = event.recorded_at;
        let by_then = history.iter().filter(|e| e.recorded_at <= time).count();
        let then = writer.load_at::<Account>(&id, Moment::Time(time)).await;
        assert_eq!(then.unwrap().version, by_then as u64);
    }
    let long_ago = Moment::Time(history[0].recorded_at - TimeDelta::nanoseconds(1));
    let nothing = writer.load_at::<Account>(&id, long_ago).await.unwrap();
    assert_eq!((nothing.version, nothing.position), (0, 0));
}

/// No error, and nothing made up; also of an aggregate that isn't there.
pub async fn a_moment_that_is_still_to_come_is_now(rig: &dyn Rig) {
    case("a moment that is still to come is now");
    let here = rig.process().await;
    let id = fresh_id();
    account_with(&here, &id, 4).await;
    for moment in [
        Moment::Position(u64::MAX),
        Moment::Time(Utc::now() + TimeDelta::days(1)),
    ] {
        let now = here.load_at::<Account>(&id, moment).await.unwrap();
        assert_eq!((now.version, now.state.balance()), (2, 4));
        let nothing = here.load_at::<Account>(&fresh_id(), moment).await;
        assert_eq!(nothing.unwrap().version, 0);
    }
}
