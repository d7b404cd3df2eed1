//! Sagas that wait for an operator, and what they may be told.

use checkout::Step;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Action, Away, Found, Item, Kind, REASON, Radar, text, time};
use crate::read::Filter;
use crate::{CHECKOUT_TIMELINE, REFUND_HANDLING, RETURN_HANDLING};

impl Radar {
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
