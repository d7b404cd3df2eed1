//! The radar of stuck work: everything that waits for a human or is late, with its cause, its age,
//! the events concerned, and what may be done about it.
//!
//! ```text
//!   sagas    checkouts, returns, refunds, tables of       from their views
//!            steps: suspended, late
//!   rows     mails not sent, payments late or different,  from views; holds from their stock item
//!            holds, webhook endpoints that fail
//!   log      parked messages, orphan webhooks, views       from the streams
//! ```
//!
//! Each part is asked by itself and at the same time as the others: one that can't be asked says so
//! and hides none. Each is bounded, and says when there is more.

mod log;
mod rows;
mod sagas;

use std::fmt;
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures::future::{BoxFuture, join_all};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;
use streams::parking::Overview;
use streams::{Connection, Settings, Snapshots, Streams, clock};
use strum::{Display, IntoStaticStr};
use tokio::time::timeout;

use crate::lag::{self, Looked};
use crate::read::{Filter, Part as Rows, Reader};
use crate::view::ViewSpec;

/// Most items of a kind that are told.
pub const ITEMS_MAX: usize = 200;

/// Longest that one part may take.
const PART_TIME_MAX: Duration = Duration::from_secs(3);

/// What is stuck.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Display, IntoStaticStr, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
#[schemars(rename = "StuckKind")]
pub enum Kind {
    /// A checkout waits for an operator.
    SuspendedCheckout,
    /// A return's saga does.
    SuspendedReturn,
    /// A refund's saga does.
    SuspendedRefund,
    /// A saga that is a table of steps does.
    SuspendedSaga,
    /// A checkout has something to do, and does not get on.
    LateCheckout,
    /// A return's saga has.
    LateReturn,
    /// A refund's saga has.
    LateRefund,
    /// A saga that is a table of steps should be over, or does not get on with its undoing.
    LateSaga,
    /// A message that a role could not handle, and the later ones of its key.
    ParkedMessage,
    /// A webhook that belongs to nothing yet.
    OrphanWebhook,
    /// Stock is still set aside, and the time for that is over.
    ExpiredHold,
    /// A mail is late, or will never be taken.
    UnsentMail,
    /// The provider has owed an answer for long: it is away, or refuses our key.
    LatePayment,
    /// The provider's record of a payment is another one.
    PaymentMismatch,
    /// A webhook endpoint takes nothing, or was disabled because of that.
    FailingEndpoint,
    /// A read model does not move, or has stopped.
    StalledView,
    /// Rows of a read model are left that an older version has made.
    OutdatedView,
}

/// Something that may be done, with a call or a command that exists.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(rename = "StuckAction")]
pub struct Action {
    /// In a word (`skip`).
    pub name: &'static str,
    /// The HTTP call (`POST /v1/…`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub call: Option<String>,
    /// Its body; a reason is the operator's to fill in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body: Option<Value>,
    /// Or the command line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
}

impl Action {
    fn call(name: &'static str, path: impl fmt::Display, body: Value) -> Self {
        Self {
            name,
            call: Some(format!("POST {path}")),
            body: Some(body),
            command: None,
        }
    }

    fn command(name: &'static str, command: String) -> Self {
        Self {
            name,
            call: None,
            body: None,
            command: Some(command),
        }
    }
}

/// One thing that is stuck.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(rename = "StuckItem")]
pub struct Item {
    /// What it is.
    pub kind: Kind,
    /// Which.
    pub id: String,
    /// Why it is stuck.
    pub cause: String,
    /// Since when, as far as it is known.
    pub since: Option<DateTime<Utc>>,
    /// How long that is, in seconds.
    pub age_s: Option<u64>,
    /// Where its events can be read, or the position of the one that is stuck.
    pub events: Vec<String>,
    /// What may be done about it; empty = it goes on by itself, or nothing can be.
    pub actions: Vec<Action>,
}

/// How the look at one kind went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(rename = "StuckPart")]
pub struct Part {
    /// Of what.
    pub kind: Kind,
    /// How many are told.
    pub told: usize,
    /// There may be more.
    pub more: bool,
    /// Why it could not be asked; then nothing is known of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub away: Option<String>,
}

/// Everything that is stuck.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Stuck {
    /// Oldest first; what has no known age comes last.
    pub items: Vec<Item>,
    /// How the look at each kind went.
    pub parts: Vec<Part>,
}

/// Some of a kind, and whether there may be more.
type Found = Result<(Vec<Item>, bool), Away>;

/// Why a part could not be asked.
struct Away(String);

impl Away {
    fn late() -> Self {
        Self("no answer in time".to_owned())
    }
}

impl<E: std::error::Error> From<E> for Away {
    fn from(error: E) -> Self {
        Self(error.to_string())
    }
}

/// Where to look.
#[derive(Clone)]
pub struct Radar {
    reader: Reader,
    connection: Connection,
    streams: Streams,
    parked_keys: Overview,
}

impl Radar {
    /// Looks at these read models and this log, with `snapshots` as the connection's user may read them.
    pub fn new(reader: Reader, connection: Connection, snapshots: Snapshots) -> Self {
        let streams = connection.streams(Settings {
            snapshots,
            ..Settings::default()
        });
        Self {
            reader,
            parked_keys: Overview::new(&connection),
            connection,
            streams,
        }
    }

    /// What is parked, which this one reads on from look to look.
    pub fn parked_keys(&self) -> &Overview {
        &self.parked_keys
    }

    /// Looks at everything, at most `limit` of each kind.
    pub async fn look(&self, limit: usize) -> Stuck {
        let views = lag::look_at_all(&self.reader, &self.streams);
        let views = timeout(PART_TIME_MAX, views);
        let (views, rest) = tokio::join!(views, self.look_at_rest(limit));
        rest.with_views(views.ok().as_deref(), limit)
    }

    /// The same, beside a look at the views that has just been taken.
    pub async fn look_beside(&self, views: &[Looked], limit: usize) -> Stuck {
        self.look_at_rest(limit)
            .await
            .with_views(Some(views), limit)
    }

    /// Looks at everything but the views.
    async fn look_at_rest(&self, limit: usize) -> Stuck {
        let limit = limit.clamp(1, ITEMS_MAX);
        let parts: [(Kind, BoxFuture<'_, Found>); 15] = [
            (Kind::SuspendedCheckout, Box::pin(self.checkouts(limit))),
            (Kind::SuspendedReturn, Box::pin(self.returns(limit))),
            (Kind::SuspendedRefund, Box::pin(self.refunds(limit))),
            (Kind::SuspendedSaga, Box::pin(self.tables(limit))),
            (Kind::LateCheckout, Box::pin(self.late_checkouts(limit))),
            (Kind::LateReturn, Box::pin(self.late_returns(limit))),
            (Kind::LateRefund, Box::pin(self.late_refunds(limit))),
            (Kind::LateSaga, Box::pin(self.late_tables(limit))),
            (Kind::ParkedMessage, Box::pin(self.parked(limit))),
            (Kind::OrphanWebhook, Box::pin(self.letters(limit))),
            (Kind::ExpiredHold, Box::pin(self.holds(limit))),
            (Kind::UnsentMail, Box::pin(self.mails(limit))),
            (Kind::LatePayment, Box::pin(self.late_payments(limit))),
            (Kind::PaymentMismatch, Box::pin(self.mismatches(limit))),
            (Kind::FailingEndpoint, Box::pin(self.endpoints(limit))),
        ];
        let looks = parts.map(
            async |(kind, look)| match timeout(PART_TIME_MAX, look).await {
                Ok(found) => (kind, found),
                Err(_) => (kind, Err(Away::late())),
            },
        );
        let mut stuck = Stuck {
            items: Vec::new(),
            parts: Vec::new(),
        };
        for (kind, found) in join_all(looks).await {
            stuck.take_in(kind, found);
        }
        stuck
    }

    /// The first rows of `view` of which a column is so.
    async fn rows(
        &self,
        view: &'static ViewSpec,
        filters: &[Filter],
        limit: usize,
    ) -> Result<(Vec<Value>, bool), Away> {
        let oldest_first = Rows {
            after: None,
            limit,
            reversed: matches!(view.sort, crate::view::Sort::Latest(_)),
        };
        let page = self.reader.list(view, filters, oldest_first).await?;
        let rows = page
            .rows
            .iter()
            .map(|row| serde_json::from_str(&row.payload));
        Ok((rows.collect::<Result<_, _>>()?, page.next.is_some()))
    }
}

impl Stuck {
    /// Could everything be asked?
    pub fn is_whole(&self) -> bool {
        self.parts.iter().all(|part| part.away.is_none())
    }

    /// Completes it by what a look at the views has found; `None` = nothing in time.
    fn with_views(mut self, views: Option<&[Looked]>, limit: usize) -> Self {
        let limit = limit.clamp(1, ITEMS_MAX);
        let (stalled, outdated) = match views {
            Some(views) => (
                log::stalled_views(views, limit),
                Ok(log::outdated_views(views, limit)),
            ),
            None => (Err(Away::late()), Err(Away::late())),
        };
        self.take_in(Kind::StalledView, stalled);
        self.take_in(Kind::OutdatedView, outdated);
        self.items
            .sort_by_key(|item| (item.since.is_none(), item.since));
        self
    }

    fn take_in(&mut self, kind: Kind, found: Found) {
        let part = match found {
            Ok((items, more)) => {
                let told = items.len();
                self.items.extend(items);
                Part {
                    kind,
                    told,
                    more,
                    away: None,
                }
            }
            Err(Away(why)) => Part {
                kind,
                told: 0,
                more: false,
                away: Some(why),
            },
        };
        self.parts.push(part);
    }
}

impl Item {
    fn new(kind: Kind, id: impl Into<String>, cause: impl Into<String>) -> Self {
        Self {
            kind,
            id: id.into(),
            cause: cause.into(),
            since: None,
            age_s: None,
            events: Vec::new(),
            actions: Vec::new(),
        }
    }

    fn since(mut self, since: Option<DateTime<Utc>>) -> Self {
        // Clocks of several machines: never less than nothing.
        let age = since.map(|since| (clock::now() - since).to_std().unwrap_or_default());
        (self.since, self.age_s) = (since, age.map(|age| age.as_secs()));
        self
    }

    fn events(mut self, events: impl IntoIterator<Item = String>) -> Self {
        self.events.extend(events);
        self
    }

    fn actions(mut self, actions: impl IntoIterator<Item = Action>) -> Self {
        self.actions.extend(actions);
        self
    }
}

/// A text in a row, or nothing.
fn text<'a>(row: &'a Value, pointer: &str) -> &'a str {
    let found = row.pointer(pointer).and_then(Value::as_str);
    found.unwrap_or_default()
}

/// A time in a row.
fn time(row: &Value, pointer: &str) -> Option<DateTime<Utc>> {
    text(row, pointer).parse().ok()
}

/// What an operator fills in.
const REASON: &str = "…";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_that_is_away_says_so_and_hides_no_other() {
        let mut stuck = Stuck {
            items: Vec::new(),
            parts: Vec::new(),
        };
        stuck.take_in(Kind::UnsentMail, Err(Away("the database is away".into())));
        let item = Item::new(Kind::ParkedMessage, "mailer/1", "no").since(Some(Utc::now()));
        assert_eq!(item.age_s, Some(0));
        stuck.take_in(Kind::ParkedMessage, Ok((vec![item], true)));
        let [away, there] = &stuck.parts[..] else {
            panic!("{stuck:?}");
        };
        assert_eq!(away.away.as_deref(), Some("the database is away"));
        assert_eq!((there.told, there.more, &there.away), (1, true, &None));
        assert_eq!(stuck.items.len(), 1);
    }
}
