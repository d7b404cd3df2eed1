//! An event of the payment provider, as far as it matters here.

use kernel::{AggregateId, Money};
use payment::Claim;
use serde_json::Value;

use crate::provider::Intent;

/// Our id of the payment, in the intent's metadata.
const PAYMENT_ID: &str = "payment_id";

/// What an event of the provider says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Notice {
    /// The provider's id of it (`evt_…`).
    pub(crate) id: String,
    /// What the provider calls it.
    pub(crate) event_type: String,
    /// The intent that it is about, if it is about one.
    pub(crate) intent_id: Option<String>,
    /// The payment that it names, if it does.
    pub(crate) payment_id: Option<AggregateId>,
    /// What it says has happened; `None` = nothing that concerns the money.
    pub(crate) claim: Option<Claim>,
}

impl Intent {
    /// Our id of the payment; none when somebody else made the intent.
    pub(crate) fn payment_id(&self) -> Option<AggregateId> {
        self.metadata.get(PAYMENT_ID)?.parse().ok()
    }
}

impl Notice {
    /// Reads the body of an event; `None` = it is none.
    pub(crate) fn read(body: &[u8]) -> Option<Self> {
        let body: Value = serde_json::from_slice(body).ok()?;
        let text = |pointer: &str| body.pointer(pointer).and_then(Value::as_str);
        let event_type = text("/type")?.to_owned();
        let intent_id = match text("/data/object/object") {
            Some("payment_intent") => text("/data/object/id"),
            Some(_) | None => text("/data/object/payment_intent"),
        };
        // It becomes a part of a path.
        let intent_id = intent_id.filter(|id| id.parse::<AggregateId>().is_ok());
        let payment_id = text("/data/object/metadata/payment_id");
        Some(Self {
            id: text("/id")?.to_owned(),
            intent_id: intent_id.map(str::to_owned),
            payment_id: payment_id.and_then(|id| id.parse().ok()),
            claim: claim(&event_type, &body),
            event_type,
        })
    }
}

fn claim(event_type: &str, body: &Value) -> Option<Claim> {
    match event_type {
        "payment_intent.requires_action" => Some(Claim::ActionRequired),
        "payment_intent.amount_capturable_updated" => Some(Claim::Authorized),
        "payment_intent.succeeded" => Some(Claim::Captured),
        "payment_intent.payment_failed" => Some(Claim::Declined),
        "payment_intent.canceled" => Some(Claim::Voided),
        "charge.refunded" => Some(Claim::Refunded(refunded(body))),
        "charge.refund.updated" | "refund.created" | "refund.updated" | "refund.failed" => {
            Some(Claim::Refunded(None))
        }
        _ => None,
    }
}

/// What went back of a charge in all.
fn refunded(body: &Value) -> Option<Money> {
    let object = body.pointer("/data/object")?;
    let amount = object.get("amount_refunded")?.as_i64()?;
    let currency = object.get("currency")?.as_str()?.to_ascii_uppercase();
    Some(Money::new(amount, currency.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const PAYMENT: &str = "0198c1d2-8b5c-7d42-8a6f-3c7d9eaf102b";

    fn read(event_type: &str, object: &Value) -> Notice {
        let event = json!({ "id": "evt_1", "type": event_type, "data": { "object": object } });
        Notice::read(event.to_string().as_bytes()).unwrap()
    }

    #[test]
    fn an_event_about_an_intent_names_it_and_its_payment() {
        let object = json!({
            "object": "payment_intent", "id": "pi_1", "metadata": { "payment_id": PAYMENT },
        });
        let notice = read("payment_intent.amount_capturable_updated", &object);
        assert_eq!(notice.intent_id.as_deref(), Some("pi_1"));
        assert_eq!(notice.payment_id.unwrap().as_str(), PAYMENT);
        assert_eq!(notice.claim, Some(Claim::Authorized));
    }

    #[test]
    fn a_charge_tells_what_went_back_in_all() {
        let object = json!({
            "object": "charge", "id": "ch_1", "payment_intent": "pi_1",
            "amount_refunded": 500, "currency": "eur",
        });
        let notice = read("charge.refunded", &object);
        assert_eq!(notice.intent_id.as_deref(), Some("pi_1"));
        let back = Money::new(500, "EUR".parse().unwrap());
        assert_eq!(notice.claim, Some(Claim::Refunded(Some(back))));
        assert_eq!(notice.payment_id, None);
    }

    #[test]
    fn what_is_about_no_money_or_no_payment_claims_nothing() {
        let created = read(
            "payment_intent.created",
            &json!({ "object": "payment_intent", "id": "pi_1" }),
        );
        assert_eq!(
            (created.intent_id.as_deref(), created.claim),
            (Some("pi_1"), None)
        );
        let odd = read(
            "payment_intent.succeeded",
            &json!({ "object": "payment_intent", "id": "../refunds" }),
        );
        assert_eq!(odd.intent_id, None);
        let payout = read("payout.paid", &json!({ "object": "payout", "id": "po_1" }));
        assert_eq!((payout.intent_id, payout.claim), (None, None));
    }

    #[test]
    fn what_is_no_event_is_none() {
        for body in [
            "",
            "[]",
            "{}",
            "{\"id\":\"evt_1\"}",
            "{\"type\":7,\"id\":\"evt_1\"}",
        ] {
            assert_eq!(Notice::read(body.as_bytes()), None, "{body}");
        }
    }
}
