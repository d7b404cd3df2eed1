//! An event of any context, and how a story tells it.

use checkout::{CheckoutEvent, RefundingEvent, ReturningEvent};
use inventory::InventoryEvent;
use kernel::{Fact, NotificationId, RefundId, ReturnId, Sku};
use notification::NotificationEvent;
use order::OrderEvent;
use payment::PaymentEvent;
use serde_json::Value;

/// An event, and of which aggregate it is where the order doesn't say so.
#[derive(Debug, Clone)]
pub(crate) enum Told {
    Order(OrderEvent),
    Inventory(Sku, InventoryEvent),
    Payment(PaymentEvent),
    Notification(NotificationId, NotificationEvent),
    Checkout(CheckoutEvent),
    Returning(ReturnId, ReturningEvent),
    Refunding(RefundId, RefundingEvent),
}

/// The fields that a story shows, if an event has them.
const SHOWN: [&str; 14] = [
    "step", "moot", "cause", "outcome", "code", "template", "quantity", "delta", "amount",
    "reason", "why", "message", "retry_at", "by",
];

impl Told {
    /// The stream, as the nats CLI shows it.
    pub(crate) fn stream(&self) -> &'static str {
        match self {
            Self::Order(_) => "ORDER",
            Self::Inventory(..) => "INVENTORY",
            Self::Payment(_) => "PAYMENT",
            Self::Notification(..) => "NOTIFICATION",
            Self::Checkout(_) | Self::Returning(..) | Self::Refunding(..) => "CHECKOUT",
        }
    }

    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Order(event) => event.name(),
            Self::Inventory(_, event) => event.name(),
            Self::Payment(event) => event.name(),
            Self::Notification(_, event) => event.name(),
            Self::Checkout(event) => event.name(),
            Self::Returning(_, event) => event.name(),
            Self::Refunding(_, event) => event.name(),
        }
    }

    /// Does an operator say that they have done something outside the log?
    pub(crate) fn is_by_hand(&self) -> bool {
        matches!(
            self,
            Self::Checkout(
                CheckoutEvent::StepSkipped { .. } | CheckoutEvent::CheckoutResolved { .. },
            ) | Self::Returning(
                _,
                ReturningEvent::ReturningStepSkipped { .. }
                    | ReturningEvent::ReturningResolved { .. },
            ) | Self::Refunding(
                _,
                RefundingEvent::RefundingSkipped { .. } | RefundingEvent::RefundingResolved { .. },
            )
        )
    }

    /// The event's name and what matters of it.
    pub(crate) fn text(&self) -> String {
        let written = match self {
            Self::Order(event) => serde_json::to_value(event),
            Self::Inventory(_, event) => serde_json::to_value(event),
            Self::Payment(event) => serde_json::to_value(event),
            Self::Notification(_, event) => serde_json::to_value(event),
            Self::Checkout(event) => serde_json::to_value(event),
            Self::Returning(_, event) => serde_json::to_value(event),
            Self::Refunding(_, event) => serde_json::to_value(event),
        };
        let mut text = self.name().to_owned();
        if let Self::Inventory(sku, _) = self {
            text = format!("{text} {sku}");
        }
        let data = written.ok().and_then(|mut event| {
            let data = event.get_mut("data")?;
            Some(data.take())
        });
        for field in SHOWN {
            let shown = data
                .as_ref()
                .and_then(|data| data.get(field))
                .and_then(short);
            if let Some(shown) = shown {
                text = format!("{text} {shown}");
            }
        }
        text
    }
}

/// A value in a word or two.
fn short(value: &Value) -> Option<String> {
    match value {
        Value::Null | Value::Bool(false) | Value::Array(_) => None,
        Value::Bool(true) => Some("(moot)".to_owned()),
        Value::Number(number) => Some(number.to_string()),
        Value::String(text) => Some(text.clone()),
        Value::Object(fields) => {
            let amount = fields.get("amount").zip(fields.get("currency"));
            if let Some((amount, currency)) = amount {
                return Some(format!("{amount} {}", currency.as_str()?));
            }
            let shown = ["name", "sku", "reason", "step"].into_iter();
            let shown = shown.filter_map(|field| short(fields.get(field)?));
            Some(shown.collect::<Vec<_>>().join(" "))
        }
    }
}
