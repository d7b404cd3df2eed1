//! Mails and payments that are late, payments that differ from the provider's record, holds that are
//! over, and webhook endpoints that fail.

use std::pin::pin;
use std::time::Duration;

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use futures::future::BoxFuture;
use futures::{FutureExt, Stream, StreamExt, stream};
use inventory::{Hold, StockItem};
use kernel::{ReservationId, Sku};
use serde_json::{Value, json};
use streams::clock;
use tokio::time::{Instant, timeout_at};

use super::{Action, Away, Found, ITEMS_MAX, Item, Kind, REASON, Radar, Rows, text, time};
use crate::read::{Filter, How};
use crate::{NOTIFICATION_ENTRY, PAYMENT_SUMMARY, STOCK_LEVEL, WEBHOOK_ENDPOINT_ENTRY};

/// A mail that was asked for so long ago and has not been taken is late.
const MAIL_LATE_AFTER: TimeDelta = TimeDelta::minutes(2);

/// An answer of the payment provider that is due for so long is late.
const PAYMENT_LATE_AFTER: TimeDelta = TimeDelta::minutes(5);

/// How many stock items are loaded at the same time.
const LOADS_AT_ONCE: usize = 16;

/// How long stock items are loaded: less than a part may take, so that what was found by then is told. Without
/// snapshots one that is much sold takes long.
const LOADS_TIME_MAX: Duration = Duration::from_millis(2_500);

impl Radar {
    /// Those of which the provider has long owed an answer. One that was requested later than that
    /// can't be late.
    pub(super) async fn late_payments(&self, limit: usize) -> Found {
        let before = clock::now() - PAYMENT_LATE_AFTER;
        let late = [Filter::new("due", "true"), older("requested_at", before)];
        let (rows, more) = self.rows(&PAYMENT_SUMMARY, &late, limit).await?;
        let items = rows.iter().filter_map(|row| late_payment(row, before));
        Ok((items.collect(), more))
    }

    /// Late ones first; then those that the mail server will never take. One that was asked for later than
    /// that can't be late; one that an operator has tried again may not be yet.
    pub(super) async fn mails(&self, limit: usize) -> Found {
        let before = clock::now() - MAIL_LATE_AFTER;
        let late = [
            Filter::new("status", "requested"),
            older("requested_at", before),
        ];
        let failed = [Filter::new("status", "failed")];
        let (mut rows, mut more) = self.rows(&NOTIFICATION_ENTRY, &late, limit).await?;
        rows.retain(|row| asked_for(row).is_some_and(|at| at < before));
        let (failed, more_failed) = self.rows(&NOTIFICATION_ENTRY, &failed, limit).await?;
        rows.extend(failed);
        more |= more_failed || rows.len() > limit;
        rows.truncate(limit);
        Ok((rows.iter().map(mail).collect(), more))
    }

    pub(super) async fn mismatches(&self, limit: usize) -> Found {
        let mismatched = [Filter::new("mismatched", "true")];
        let (rows, more) = self.rows(&PAYMENT_SUMMARY, &mismatched, limit).await?;
        let items = rows.iter().map(|row| {
            let id = text(row, "/id");
            let differs = format!(
                "the provider's record differs: {}",
                row.get("mismatch").unwrap_or(&Value::Null)
            );
            let path = format!("/v1/payments/{id}");
            let accept = format!("{path}/reconciliation");
            Item::new(Kind::PaymentMismatch, id, differs)
                .since(time(row, "/requested_at"))
                .events([format!("{path}/events")])
                .actions([
                    Action::call("accept", accept, json!({ "reason": REASON })),
                    Action::command("look again", "millrace reconcile".to_owned()),
                ])
        });
        Ok((items.collect(), more))
    }

    /// Those that fail now, and those that were given up.
    pub(super) async fn endpoints(&self, limit: usize) -> Found {
        let troubled = [Filter::new("in_trouble", "true")];
        let (rows, more) = self.rows(&WEBHOOK_ENDPOINT_ENTRY, &troubled, limit).await?;
        Ok((rows.iter().map(endpoint).collect(), more))
    }

    /// The views count what is set aside; until when, the stock item itself knows. All that is set aside is
    /// looked at: most of it is for orders that go well.
    pub(super) async fn holds(&self, limit: usize) -> Found {
        let held = [Filter::new("held", "true")];
        let (mut lapsed, mut after) = (Lapsed::default(), None);
        let until = Instant::now() + LOADS_TIME_MAX;
        loop {
            let part = Rows {
                after: after.as_ref(),
                limit: ITEMS_MAX,
                reversed: false,
            };
            let page = self.reader.list(&STOCK_LEVEL, &held, part).await?;
            let looks = page
                .rows
                .iter()
                .map(|row| self.lapsed(&row.view_id).boxed());
            let looks: Vec<BoxFuture<'_, _>> = looks.collect();
            let looks = stream::iter(looks).buffer_unordered(LOADS_AT_ONCE);
            let in_time = lapsed.gather(looks, until).await;
            after = page.next;
            if !in_time || after.is_none() || lapsed.items.len() > limit {
                return lapsed.told(limit);
            }
        }
    }

    /// What is set aside of one product for longer than it may be.
    async fn lapsed(&self, sku: &str) -> Result<Vec<Item>, Away> {
        let (sku, now): (Sku, _) = (sku.parse()?, clock::now());
        let loaded = self.streams.load::<StockItem>(&(&sku).into()).await?;
        let kept = loaded.state.kept().into_iter();
        let holds = kept.flat_map(|kept| kept.holds.iter());
        let lapsed = holds.filter(|(_, hold)| hold.lapsed(now));
        let item = |(reservation, hold): (&ReservationId, &Hold)| {
            let (order, units) = (reservation.order_id, hold.quantity);
            let cause = format!("{units} of {sku} are set aside for an order whose time is over");
            // Legal whatever has become of the order, and to its checkout no more than the lapse was.
            let expire = format!("/v1/inventory/{sku}/expire");
            let which = json!({ "order_id": order, "attempt": reservation.attempt });
            Item::new(Kind::ExpiredHold, format!("{sku}/{order}"), cause)
                .since(Some(hold.expires_at))
                .events([
                    format!("/v1/inventory/{sku}/events"),
                    format!("/v1/checkouts/{order}/events"),
                ])
                .actions([Action::call("expire", expire, which)])
        };
        Ok(lapsed.map(item).collect())
    }
}

/// What was found of holds whose time is over.
#[derive(Default)]
struct Lapsed {
    items: Vec<Item>,
    /// Why not all that is set aside could be looked at. That hides nothing that was found.
    missed: Option<Away>,
}

impl Lapsed {
    /// Adds what is found until then. Was there time for all?
    async fn gather(
        &mut self,
        looks: impl Stream<Item = Result<Vec<Item>, Away>>,
        until: Instant,
    ) -> bool {
        let mut looks = pin!(looks);
        loop {
            match timeout_at(until, looks.next()).await {
                Ok(Some(Ok(found))) => self.items.extend(found),
                Ok(Some(Err(away))) => self.missed = Some(away),
                Ok(None) => return true,
                Err(_late) => {
                    let late = "not all that is set aside could be looked at";
                    self.missed = Some(Away(late.to_owned()));
                    return false;
                }
            }
        }
    }

    fn told(self, limit: usize) -> Found {
        let Self { mut items, missed } = self;
        match missed {
            Some(away) if items.is_empty() => Err(away),
            _ => {
                let more = missed.is_some() || items.len() > limit;
                items.truncate(limit);
                Ok((items, more))
            }
        }
    }
}

/// Only rows whose `field` is a time before `moment`.
pub(super) fn older(field: &'static str, moment: DateTime<Utc>) -> Filter {
    let moment = moment.to_rfc3339_opts(SecondsFormat::Millis, true);
    Filter::new_how(field, How::Before, moment)
}

/// `None` = its answer has not been due since `before`.
fn late_payment(row: &Value, before: DateTime<Utc>) -> Option<Item> {
    let due = time(row, "/due_since").filter(|since| *since < before)?;
    let id = text(row, "/id");
    let cause = "the payment provider owes an answer, and is asked again and again: is it there, and is \
                 MILLRACE_PAYMENT_SECRET_KEY its key? The reactor's log says what it answers";
    let item = Item::new(Kind::LatePayment, id, cause).since(Some(due));
    Some(item.events([format!("/v1/payments/{id}/events")]))
}

fn endpoint(row: &Value) -> Item {
    let id = text(row, "/id");
    let path = format!("/v1/webhook-endpoints/{id}");
    let enabled = text(row, "/status") == "enabled";
    let cause = match text(row, "/disabled_because") {
        "" => "its last attempt failed; it is tried again".to_owned(),
        because => format!("it was disabled: {because}"),
    };
    let call = |name| Action::call(name, format!("{path}/{name}"), json!({}));
    let switch = if enabled {
        Action::call(
            "disable",
            format!("{path}/disable"),
            json!({ "reason": REASON }),
        )
    } else {
        call("enable")
    };
    let since = time(row, "/failing_since").or_else(|| time(row, "/updated_at"));
    Item::new(Kind::FailingEndpoint, id, cause)
        .since(since)
        .events([format!("{path}/events"), format!("{path}/deliveries")])
        .actions([switch, call("remove")])
}

fn mail(row: &Value) -> Item {
    let id = text(row, "/id");
    let template = text(row, "/template");
    let path = format!("/v1/notifications/{id}");
    let call = |name, body| Action::call(name, format!("{path}/{name}"), body);
    let dismiss = call("dismiss", json!({ "reason": REASON }));
    let (cause, actions) = match text(row, "/reason") {
        // It may be set aside, and whoever skips it there leaves it to be dismissed here.
        "" => (
            format!("{template} has not been taken by the mail server yet"),
            vec![dismiss],
        ),
        reason => (
            format!("{template} will never be taken: {reason}"),
            vec![call("resend", json!({})), dismiss],
        ),
    };
    Item::new(Kind::UnsentMail, id, cause)
        .since(asked_for(row))
        .events([format!("{path}/events")])
        .actions(actions)
}

/// When it was last asked that a mail be sent.
fn asked_for(row: &Value) -> Option<DateTime<Utc>> {
    time(row, "/resent_at").or_else(|| time(row, "/requested_at"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How a look at one product goes.
    #[derive(Clone, Copy)]
    enum Goes {
        Well,
        TooLong,
        Wrong,
    }

    #[tokio::test(start_paused = true)]
    async fn a_look_that_fails_or_takes_too_long_hides_nothing_that_another_has_found() {
        use Goes::{TooLong, Well, Wrong};
        let look = async |goes| match goes {
            Well => Ok(vec![Item::new(Kind::ExpiredHold, "TEA-1/o-1", "lapsed")]),
            TooLong => std::future::pending().await,
            Wrong => Err(Away("it is of a newer version".to_owned())),
        };
        for (all, in_time, told) in [
            (&[Well, Well][..], true, Some((2, false))),
            (&[TooLong, Well], false, Some((1, true))),
            (&[TooLong], false, None),
            (&[Wrong, Well], true, Some((1, true))),
            (&[Wrong], true, None),
        ] {
            let looks = stream::iter(all.iter().map(|goes| look(*goes)));
            let looks = looks.buffer_unordered(LOADS_AT_ONCE);
            let (mut lapsed, until) = (Lapsed::default(), Instant::now() + LOADS_TIME_MAX);
            assert_eq!(lapsed.gather(looks, until).await, in_time);
            let found = lapsed.told(ITEMS_MAX).ok();
            assert_eq!(found.map(|(items, more)| (items.len(), more)), told);
        }
    }

    #[test]
    fn a_payment_is_late_by_what_is_due_now_not_by_when_it_began() {
        let now = Utc::now();
        let ago = |minutes| (now - TimeDelta::minutes(minutes)).to_rfc3339();
        let row = |due| json!({ "id": "p-1", "requested_at": ago(600), "due_since": due });
        let before = now - PAYMENT_LATE_AFTER;
        let late = late_payment(&row(json!(ago(6))), before).unwrap();
        assert_eq!((late.kind, late.id.as_str()), (Kind::LatePayment, "p-1"));
        assert!(late.age_s.is_some_and(|age| age >= 360), "{late:?}");
        assert!(late_payment(&row(json!(ago(4))), before).is_none());
        assert!(late_payment(&row(json!(null)), before).is_none());
    }
}
