//! An order whose buyer must act before it goes on (3-D Secure): its payment knows, and an order that is
//! shown as it is now says so, so that a shop's page can send the customer there.
//!
//! The order's own events don't tell it: whatever the payment and its provider say to each other ends in
//! one fact about the order. What another context knows is asked, not copied.

use std::borrow::Cow;
use std::collections::HashMap;
use std::time::Duration;

use edge::Problem;
use projections::{PAYMENT_SUMMARY, PaymentStage};
use serde::Deserialize;

use crate::Api;
use crate::asked::Asked;
use crate::failure::internal;
use crate::unseal;

/// How long the payments are asked for: while their database is away, orders are shown without.
const PATIENCE: Duration = Duration::from_millis(250);

/// What says whether an order may wait for its buyer.
#[derive(Deserialize)]
struct Order<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
    status: Cow<'a, str>,
    payment_status: Cow<'a, str>,
}

/// What its payment says about that.
#[derive(Deserialize)]
struct Payment {
    status: PaymentStage,
    action_url: Option<String>,
}

/// Tells the orders among `rows` whose payment waits for the customer; whether there are any.
pub(crate) async fn tell(api: &Api, rows: &mut [String]) -> Result<bool, Problem> {
    let mut open = HashMap::new();
    for (index, row) in rows.iter().enumerate() {
        open.extend(under_way(row)?.map(|id| (id, index)));
    }
    if open.is_empty() {
        return Ok(false);
    }
    let ids: Vec<_> = open.keys().cloned().collect();
    // An order has one payment.
    let of = ("order_id", ids.as_slice());
    let asked = Asked::default();
    let payments = asked.belonging(api, &PAYMENT_SUMMARY, of, 1);
    // The order can be shown all the same, only without this.
    let payments = match tokio::time::timeout(PATIENCE, payments).await {
        Ok(Ok(payments)) => payments,
        Ok(Err(problem)) => {
            tracing::debug!(code = %problem.code, "the payments of orders can't be read");
            return Ok(false);
        }
        Err(_elapsed) => {
            tracing::debug!("the payments of orders are read too slowly");
            return Ok(false);
        }
    };
    let mut told = false;
    for (order_id, payment) in payments {
        let row = open.get(&order_id).and_then(|index| rows.get_mut(*index));
        if let (Some(row), Some(acting)) = (row, acting(&payment.payload)?) {
            *row = unseal::with(row, "payment_status", &acting)?;
            told = true;
        }
    }
    Ok(told)
}

/// The order's id, if it may wait for its buyer.
fn under_way(row: &str) -> Result<Option<String>, Problem> {
    let order: Order<'_> = serde_json::from_str(row).map_err(|error| internal(&error))?;
    let open = order.status == "placed" && order.payment_status == "pending";
    Ok(open.then(|| order.id.into_owned()))
}

/// What stands in place of the order's `payment_status`, if the customer must act.
fn acting(payment: &str) -> Result<Option<String>, Problem> {
    let payment: Payment = serde_json::from_str(payment).map_err(|error| internal(&error))?;
    if payment.status != PaymentStage::ActionRequired {
        return Ok(None);
    }
    let status = "\"action_required\"";
    let Some(url) = payment.action_url else {
        return Ok(Some(status.to_owned()));
    };
    let url = serde_json::to_string(&url).map_err(|error| internal(&error))?;
    Ok(Some(format!("{status},\"action_url\":{url}")))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn only_an_order_that_is_under_way_may_wait_for_its_buyer() {
        let row = |status: &str, paid: &str| {
            json!({ "id": "o-1", "status": status, "payment_status": paid, "total": null })
                .to_string()
        };
        let id = under_way(&row("placed", "pending")).unwrap();
        assert_eq!(id.as_deref(), Some("o-1"));
        for (status, paid) in [("canceled", "released"), ("confirmed", "captured")] {
            assert_eq!(under_way(&row(status, paid)).unwrap(), None);
        }
    }

    #[test]
    fn the_row_stays_json_whatever_the_address_is() {
        let url = "https://bank.example/3ds?a=\"b\"";
        let payment = json!({ "status": "action_required", "action_url": url }).to_string();
        let acting = acting(&payment).unwrap().unwrap();
        let row = r#"{"id":"o-1","payment_status":"pending","version":1}"#;
        let row = unseal::with(row, "payment_status", &acting).unwrap();
        let row: Value = serde_json::from_str(&row).unwrap();
        let told = json!({
            "id": "o-1", "payment_status": "action_required", "action_url": url, "version": 1,
        });
        assert_eq!(row, told);
    }

    #[test]
    fn a_payment_that_waits_for_nobody_tells_nothing() {
        let payment = json!({ "status": "authorized" }).to_string();
        assert_eq!(acting(&payment).unwrap(), None);
    }
}
