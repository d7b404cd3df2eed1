//! What the payment context has ever written stays readable.

#![allow(clippy::unwrap_used, reason = "a scenario that can not go on fails")]

use std::path::Path;

use kernel::{Money, OrderId, RefundId, UserId, golden};
use payment::{Difference, IgnoredBecause, Payment, PaymentEvent, ProviderRecord};
use strum::VariantNames;
use uuid::uuid;

fn examples() -> Vec<PaymentEvent> {
    let order_id = OrderId(uuid!("0198c1d2-8b5c-7d42-8a6f-3c7d9eaf102b"));
    let refund_id = RefundId(uuid!("0198c1d2-9c6d-7e53-9b70-4d8eafb0213c"));
    let amount = Money::new(49_900, "EUR".parse().unwrap());
    vec![
        PaymentEvent::PaymentRequested {
            order_id,
            user_id: UserId(uuid!("0198c1d2-7a4b-7c31-9f5e-2b6c8d9e0f1a")),
            amount,
            method: "pm_card_visa".parse().unwrap(),
            provider_key: format!("create-{order_id}"),
        },
        PaymentEvent::ProviderIntentCreated {
            intent_id: "pi_1".to_owned(),
        },
        PaymentEvent::PaymentActionRequired {
            action_url: Some("https://provider.example/3ds".to_owned()),
        },
        PaymentEvent::PaymentAuthorized { amount },
        PaymentEvent::PaymentDeclined {
            code: "card_declined".to_owned(),
            retryable: false,
        },
        PaymentEvent::PaymentFailed {
            code: "charge_expired_for_capture".to_owned(),
        },
        PaymentEvent::CaptureRequested {
            amount,
            provider_key: format!("capture-{order_id}"),
        },
        PaymentEvent::PaymentCaptured { amount },
        PaymentEvent::VoidRequested {
            reason: "order canceled".parse().unwrap(),
            provider_key: format!("cancel-{order_id}"),
        },
        PaymentEvent::PaymentVoided {},
        PaymentEvent::RefundRequested {
            refund_id,
            amount,
            reason: "order canceled".parse().unwrap(),
            provider_key: format!("refund-{refund_id}"),
        },
        PaymentEvent::PaymentRefunded { refund_id, amount },
        PaymentEvent::RefundFailed {
            refund_id,
            code: "expired_or_canceled_card".to_owned(),
            came_back: None,
        },
        PaymentEvent::ProviderEventIgnored {
            event_id: "evt_1".to_owned(),
            event_type: "payment_intent.amount_capturable_updated".to_owned(),
            because: IgnoredBecause::Stale,
        },
        PaymentEvent::ReconciliationMismatched {
            differences: vec![Difference::Refunded],
            seen: Some(ProviderRecord {
                intent_id: "pi_1".to_owned(),
                amount,
                held: Money::zero(amount.currency),
                captured: amount,
                refunded: amount,
            }),
        },
        PaymentEvent::ReconciliationMatched {},
        PaymentEvent::ReconciliationAccepted {
            differences: vec![Difference::MissingAtProvider],
            seen: None,
            reason: "the provider's test data was reset".parse().unwrap(),
        },
    ]
}

/// With what may be left out.
fn in_other_shapes() -> Vec<PaymentEvent> {
    vec![PaymentEvent::RefundFailed {
        refund_id: RefundId(uuid!("0198c1d2-9c6d-7e53-9b70-4d8eafb0213c")),
        code: "lost_or_stolen_card".to_owned(),
        came_back: Some(Money::new(49_900, "EUR".parse().unwrap())),
    }]
}

#[test]
fn every_event_version_has_its_file() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("wire");
    let examples = [examples(), in_other_shapes()].concat();
    let files = golden::check::<Payment>(&folder, PaymentEvent::VARIANTS, &examples).unwrap();
    golden::no_other_files(&folder, &files).unwrap();
}
