//! What stands in the streams: parked messages, orphan webhooks, and views that are behind.

use chrono::TimeDelta;
use streams::clock;
use streams::inbox::Inbox;

use super::{Action, Away, Found, Item, Kind, REASON, Radar};
use crate::lag::{Lag, Looked};

/// Every webhook stands in the inbox for a moment.
const LETTER_LATE_AFTER: TimeDelta = TimeDelta::seconds(10);

impl Radar {
    pub(super) async fn parked(&self, limit: usize) -> Found {
        let parked = self.parked_keys.look().await?;
        let more = parked.len() > limit;
        let items = parked.iter().take(limit).map(|(subscription, key, state)| {
            let first = state.waiting.front();
            let count = state.waiting.len();
            let cause = first.map_or("nothing waits", |first| &first.cause);
            let id = format!("{subscription}/{key}");
            let retry = format!("millrace parked retry {subscription} {key}");
            let skip = format!("millrace parked skip {subscription} {key} --reason {REASON}");
            Item::new(Kind::ParkedMessage, id, format!("{count} waiting: {cause}"))
                .since(first.map(|first| first.since))
                .events(first.map(|first| first.position.to_string()))
                .actions([
                    Action::command("retry", retry),
                    Action::command("skip", skip),
                ])
        });
        Ok((items.collect(), more))
    }

    /// What they say is nobody's to read here, so not even when each came: at the earliest, when the
    /// oldest of all did.
    pub(super) async fn letters(&self, limit: usize) -> Found {
        let (mut letters, oldest) = Inbox::new(&self.connection).overview().await?;
        if oldest > Some(clock::now() - LETTER_LATE_AFTER) {
            // They are being worked.
            letters.clear();
        }
        let more = letters.len() > limit;
        let items = letters.iter().take(limit).map(|letter| {
            let cause = format!(
                "{} told of {}, which belongs to nothing yet; it is matched again by itself",
                letter.source, letter.key
            );
            Item::new(Kind::OrphanWebhook, letter.id.to_string(), cause)
                .since(oldest)
                .actions([Action::command(
                    "compare with the provider",
                    "millrace reconcile".to_owned(),
                )])
        });
        Ok((items.collect(), more))
    }
}

/// A context of which nothing can be said is away, and is itself a reason why its view is stuck.
pub(super) fn stalled_views(looked: &[Looked], limit: usize) -> Found {
    let mut items = Vec::new();
    let mut away = Vec::new();
    for Looked { context, views, .. } in looked {
        match views {
            Some(views) => items.extend(views.iter().filter_map(stalled_view)),
            None => away.push(*context),
        }
    }
    if items.is_empty() && !away.is_empty() {
        return Err(Away(format!("no answer from {}", away.join(", "))));
    }
    let missing = away.iter().map(|context| {
        let cause = format!("the database of {context} does not answer");
        Item::new(Kind::StalledView, *context, cause)
    });
    items.extend(missing);
    let more = items.len() > limit;
    items.truncate(limit);
    Ok((items, more))
}

/// Of a database that doesn't answer the look at what has stalled tells.
pub(super) fn outdated_views(looked: &[Looked], limit: usize) -> (Vec<Item>, bool) {
    let views = looked.iter().flat_map(|looked| &looked.views).flatten();
    let outdated = views.filter(|lag| lag.outdated);
    let mut items: Vec<Item> = outdated.map(outdated_view).collect();
    let more = items.len() > limit;
    items.truncate(limit);
    (items, more)
}

fn outdated_view(lag: &Lag) -> Item {
    let name = &lag.view;
    let cause = "an older version has made rows that this one would make in another way";
    let rebuild = format!("millrace rebuild {name} --switch");
    Item::new(Kind::OutdatedView, name, cause).actions([Action::command("rebuild", rebuild)])
}

fn stalled_view(lag: &Lag) -> Option<Item> {
    let name = &lag.view;
    let cause = match (lag.stopped_at, lag.stalled) {
        (Some(at), _) => format!(
            "it has stopped at {}:{at}, which it can't take in",
            lag.stream
        ),
        (None, true) => "it does not move while events wait: is its projector alive?".to_owned(),
        (None, false) => return None,
    };
    let next = lag.stopped_at.unwrap_or(lag.position.saturating_add(1));
    let rebuild = format!("millrace rebuild {name} --diff --switch");
    let item = Item::new(Kind::StalledView, name, cause)
        .since(Some(lag.updated_at))
        .events([format!("{}:{next}", lag.stream)])
        .actions([Action::command("rebuild", rebuild)]);
    Some(item)
}
