//! Sagas that wait for an operator, and what they may be told; and sagas that don't get on.

use std::collections::HashSet;

use checkout::{Step, UNDO_WAIT_MAX_SECONDS};
use chrono::{DateTime, TimeDelta, Utc};
use serde::Deserialize;
use serde_json::{Value, json};
use streams::clock;

use super::rows::older;
use super::{Action, Away, Found, Item, Kind, REASON, Radar, text, time};
use crate::read::Filter;
use crate::view::ViewSpec;
use crate::{CHECKOUT_TIMELINE, REFUND_HANDLING, RETURN_HANDLING, SAGA_PROGRESS};

/// A saga that has something to do, and of which nothing was heard for so long, is late: twice the
/// longest wait between two tries of an undo.
const LATE_AFTER: TimeDelta = TimeDelta::seconds(2 * UNDO_WAIT_MAX_SECONDS);

/// Who sets a payment aside that the provider has another amount of.
const PAYMENT_REACTOR: &str = "payment-reactor";

/// Where a checkout has something to do.
const AT_WORK: [&str; 4] = ["running", "undoing", "undone", "shipping"];

impl Radar {
    pub(super) async fn late_checkouts(&self, limit: usize) -> Found {
        let (mut items, mut more) = (Vec::new(), false);
        for status in AT_WORK {
            let (found, others) = self.late((&CHECKOUT_TIMELINE, status), limit).await?;
            let refused = if status == "undoing" && !found.is_empty() {
                self.refused_payments().await?
            } else {
                HashSet::new()
            };
            items.extend(found.iter().map(|row| {
                let id = text(row, "/id");
                let events = [
                    format!("/v1/checkouts/{id}/events"),
                    format!("/v1/orders/{id}/events"),
                ];
                late(Kind::LateCheckout, row)
                    .events(events)
                    .actions(call(status, row, &refused))
            }));
            more |= others;
        }
        more |= items.len() > limit;
        items.truncate(limit);
        Ok((items, more))
    }

    /// The orders of whose money the provider says what their payment can't take in.
    async fn refused_payments(&self) -> Result<HashSet<String>, Away> {
        let parked = self.parked_keys.look().await?;
        let of_payments = parked.iter().filter(|(by, ..)| by == PAYMENT_REACTOR);
        Ok(of_payments.map(|(_, key, _)| key.clone()).collect())
    }

    pub(super) async fn late_returns(&self, limit: usize) -> Found {
        let at_work = (&RETURN_HANDLING, "running");
        let (rows, more) = self.late(at_work, limit).await?;
        let item = |row| of_order(Kind::LateReturn, "/v1/checkouts/returns", row);
        Ok((rows.iter().map(item).collect(), more))
    }

    pub(super) async fn late_refunds(&self, limit: usize) -> Found {
        let at_work = (&REFUND_HANDLING, "running");
        let (rows, more) = self.late(at_work, limit).await?;
        let item = |row| of_order(Kind::LateRefund, "/v1/checkouts/refunds", row);
        Ok((rows.iter().map(item).collect(), more))
    }

    /// Those in this status of which nothing was heard for long. One that began later than that can't
    /// be late.
    async fn late(
        &self,
        (view, status): (&'static ViewSpec, &str),
        limit: usize,
    ) -> Result<(Vec<Value>, bool), Away> {
        let now = clock::now();
        let filters = [
            Filter::new("status", status),
            older("started_at", now - LATE_AFTER),
        ];
        let (mut rows, more) = self.rows(view, &filters, limit).await?;
        rows.retain(|row| is_late(row, now));
        Ok((rows, more))
    }

    pub(super) async fn checkouts(&self, limit: usize) -> Found {
        let (rows, more) = self.rows(&CHECKOUT_TIMELINE, &suspended(), limit).await?;
        let item = |row: &Value| {
            let step = row.pointer("/suspended/step").unwrap_or(&Value::Null);
            let step = Step::deserialize(step)?;
            let id = text(row, "/id");
            let why = text(row, "/suspended/why");
            let path = format!("/v1/checkouts/{id}");
            Ok(
                Item::new(Kind::SuspendedCheckout, id, format!("{step}: {why}"))
                    .since(time(row, "/suspended/at"))
                    .events([format!("{path}/events"), format!("/v1/orders/{id}/events")])
                    .actions(settle(&path, &step.to_string())),
            )
        };
        let items: Result<Vec<_>, Away> = rows.iter().map(item).collect();
        Ok((items?, more))
    }

    pub(super) async fn returns(&self, limit: usize) -> Found {
        let (rows, more) = self.rows(&RETURN_HANDLING, &suspended(), limit).await?;
        let path = "/v1/checkouts/returns";
        let items = rows.iter().map(|row| {
            let why = text(row, "/suspended");
            // `<step>: <why>`, as the view says it.
            let step = why.split(": ").next().unwrap_or_default();
            aftermath((Kind::SuspendedReturn, path), row, step)
        });
        Ok((items.collect(), more))
    }

    pub(super) async fn refunds(&self, limit: usize) -> Found {
        let (rows, more) = self.rows(&REFUND_HANDLING, &suspended(), limit).await?;
        let path = "/v1/checkouts/refunds";
        let kind = (Kind::SuspendedRefund, path);
        let items = rows.iter().map(|row| aftermath(kind, row, "record_refund"));
        Ok((items.collect(), more))
    }

    /// Those that run, past the time when they should be over: also one that can't be undone any more, and so
    /// may wait for long. And those that are being undone, of which nothing was heard for long.
    pub(super) async fn late_tables(&self, limit: usize) -> Found {
        let (mut items, mut more) = (Vec::new(), false);
        let due = older("due", clock::now() - LATE_AFTER);
        for status in ["running", "undoing"] {
            let filters = [Filter::new("status", status), due.clone()];
            let (rows, others) = self.rows(&SAGA_PROGRESS, &filters, limit).await?;
            items.extend(rows.iter().map(late_table));
            more |= others;
        }
        more |= items.len() > limit;
        items.truncate(limit);
        Ok((items, more))
    }

    pub(super) async fn tables(&self, limit: usize) -> Found {
        let (rows, more) = self.rows(&SAGA_PROGRESS, &suspended(), limit).await?;
        Ok((rows.iter().map(suspended_table).collect(), more))
    }
}

/// What may be done about a late checkout.
fn call(status: &str, row: &Value, refused: &HashSet<String>) -> Option<Action> {
    let id = text(row, "/id");
    let (name, path) = match status {
        "running" => ("cancel", format!("/v1/orders/{id}/cancel")),
        // Of that money nothing may ever be heard. Of any other it is, once the provider answers.
        "undoing" if is_money_held(row) && refused.contains(id) => {
            ("resolve", format!("/v1/checkouts/{id}/resolve"))
        }
        _ => return None,
    };
    Some(Action::call(name, path, json!({ "reason": REASON })))
}

/// A checkout may wait for a customer until its deadline.
fn is_late(row: &Value, now: DateTime<Utc>) -> bool {
    let waits = text(row, "/status") == "running";
    let deadline = time(row, "/deadline").filter(|_| waits);
    let silent = time(row, "/updated_at").is_some_and(|heard| heard < now - LATE_AFTER);
    silent && deadline.is_none_or(|deadline| deadline < now)
}

/// Is money held for the checkout, neither let go nor taken?
fn is_money_held(row: &Value) -> bool {
    let steps = row.pointer("/steps").and_then(Value::as_array);
    let has = |event: &str, step: &str| {
        let mut steps = steps.into_iter().flatten();
        steps.any(|entry| text(entry, "/event") == event && text(entry, "/step/name") == step)
    };
    has("step_succeeded", "authorize_payment")
        && !has("step_succeeded", "capture_payment")
        && !has("undo_succeeded", "authorize_payment")
}

fn late(kind: Kind, row: &Value) -> Item {
    let steps = row.pointer("/steps").and_then(Value::as_array);
    let last = steps.and_then(|steps| steps.last());
    let last = last.map_or("nothing", |last| text(last, "/event"));
    let status = text(row, "/status");
    let cause = format!(
        "it is {status}, and the last that was heard of it is {last}: are the sagas there, and what they ask?"
    );
    Item::new(kind, text(row, "/id"), cause).since(time(row, "/updated_at"))
}

/// A late return or refund, and where it can be read.
fn of_order(kind: Kind, path: &str, row: &Value) -> Item {
    let (id, order) = (text(row, "/id"), text(row, "/order_id"));
    late(kind, row).events([
        format!("{path}/{id}/events"),
        format!("/v1/orders/{order}/events"),
    ])
}

fn late_table(row: &Value) -> Item {
    let (status, last) = (text(row, "/status"), text(row, "/last"));
    let cause = match status {
        "running" => format!("it should be over, and the last that was heard of it is {last}"),
        _ => format!("it is {status}, and the last that was heard of it is {last}"),
    };
    of_table(Kind::LateSaga, row, cause)
}

fn suspended_table(row: &Value) -> Item {
    let (step, why) = (text(row, "/suspended/step"), text(row, "/suspended/why"));
    let path = format!("/v1/sagas/{}", text(row, "/id"));
    of_table(Kind::SuspendedSaga, row, format!("{step}: {why}"))
        .events([text(row, "/suspended/position").to_owned()])
        .actions(settle(&path, step))
}

/// Its own events have no page: what it does can be seen in its order's.
fn of_table(kind: Kind, row: &Value, cause: String) -> Item {
    let order = text(row, "/order_id");
    Item::new(kind, text(row, "/id"), cause)
        .since(time(row, "/due"))
        .events([format!("/v1/orders/{order}/events")])
}

fn suspended() -> [Filter; 1] {
    [Filter::new("status", "suspended")]
}

fn aftermath((kind, path): (Kind, &str), row: &Value, step: &str) -> Item {
    let (id, order) = (text(row, "/id"), text(row, "/order_id"));
    let path = format!("{path}/{id}");
    Item::new(kind, id, text(row, "/suspended"))
        .since(time(row, "/updated_at"))
        .events([
            format!("{path}/events"),
            format!("/v1/orders/{order}/events"),
        ])
        .actions(settle(&path, step))
}

/// What a suspended saga may be told.
fn settle(path: &str, step: &str) -> [Action; 3] {
    [
        Action::call("resume", format!("{path}/resume"), json!({})),
        Action::call(
            "skip",
            format!("{path}/skip"),
            json!({ "step": step, "reason": REASON }),
        ),
        Action::call(
            "resolve",
            format!("{path}/resolve"),
            json!({ "reason": REASON }),
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_saga_is_late_when_nothing_was_heard_of_it_but_may_wait_for_a_customer() {
        let now = Utc::now();
        let ago = |minutes| (now - TimeDelta::minutes(minutes)).to_rfc3339();
        let row = |status, heard, deadline| {
            json!({
                "id": "o-1",
                "status": status,
                "updated_at": ago(heard),
                "deadline": ago(deadline),
                "steps": [{ "event": "checkout_started" }, { "event": "step_succeeded" }],
            })
        };
        assert!(!is_late(&row("running", 11, -4), now), "until its deadline");
        assert!(is_late(&row("running", 11, 1), now));
        assert!(!is_late(&row("running", 9, 1), now));
        assert!(is_late(&row("undoing", 11, -4), now));
        assert!(!is_late(&row("undoing", 9, -4), now));
        let of_return = json!({ "status": "running", "updated_at": ago(11) });
        assert!(is_late(&of_return, now));
        let held = |events: &[(&str, &str)]| {
            let steps: Vec<_> = events
                .iter()
                .map(|(event, step)| json!({ "event": event, "step": { "name": step } }))
                .collect();
            is_money_held(&json!({ "steps": steps }))
        };
        let authorized = ("step_succeeded", "authorize_payment");
        assert!(!held(&[]));
        assert!(held(&[authorized]));
        assert!(!held(&[authorized, ("step_succeeded", "capture_payment")]));
        assert!(!held(&[
            authorized,
            ("undo_succeeded", "authorize_payment")
        ]));
        let mut row_held = row("undoing", 11, -4);
        row_held["steps"] =
            json!([{ "event": "step_succeeded", "step": { "name": "authorize_payment" } }]);
        let offered = |refused: &[&str]| {
            let refused = refused.iter().map(ToString::to_string).collect();
            call("undoing", &row_held, &refused).is_some()
        };
        assert!(!offered(&[]), "the provider is out");
        assert!(!offered(&["o-2"]));
        assert!(offered(&["o-1"]), "what it says is no answer");
        let item = late(Kind::LateCheckout, &row("undoing", 11, -4));
        assert!(item.cause.contains("step_succeeded"), "{item:?}");
        assert!(item.age_s.is_some_and(|age| age >= 660), "{item:?}");
    }

    #[test]
    fn a_table_of_steps_is_told_with_what_may_be_done_once_it_waits_for_a_person() {
        let mut row = json!({
            "id": "gift/o-1", "saga": "gift", "saga_id": "o-1", "order_id": "o-1",
            "status": "suspended", "last": "saga_suspended", "due": "2026-01-01T00:00:00.000000Z",
            "suspended": { "step": "ship", "why": "no", "position": "CHECKOUT:7" },
        });
        let item = suspended_table(&row);
        assert_eq!(
            (item.id.as_str(), item.cause.as_str()),
            ("gift/o-1", "ship: no")
        );
        assert_eq!(item.events, ["/v1/orders/o-1/events", "CHECKOUT:7"]);
        let calls: Vec<_> = item
            .actions
            .iter()
            .filter_map(|it| it.call.clone())
            .collect();
        let due = ["resume", "skip", "resolve"].map(|it| format!("POST /v1/sagas/gift/o-1/{it}"));
        assert_eq!(calls, due);
        assert!(item.age_s.is_some());
        row["status"] = json!("running");
        let late = late_table(&row);
        assert!(late.cause.starts_with("it should be over"), "{late:?}");
        assert_eq!(late.actions, []);
    }
}
