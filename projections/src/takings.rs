//! What was taken and given back: one row for each day and currency.

use cqrs_es::EventEnvelope;
use kernel::Money;
use payment::{Payment, PaymentEvent};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::moment::Moment;
use crate::table::{Rows, TableView};
use crate::view::Sort;

/// The money of one day in one currency.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Takings {
    /// In UTC.
    pub day: String,
    /// ISO 4217.
    pub currency: String,
    /// How many payments were captured on it.
    pub captures: u64,
    /// How much that was.
    pub captured: Money,
    /// How many refunds were made on it.
    pub refunds: u64,
    /// How much that was.
    pub refunded: Money,
    /// How many refunds came back on it, of whatever day: a bank sent the money.
    #[serde(default)]
    pub refunds_back: u64,
    /// How much that was; none = nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub came_back: Option<Money>,
}

impl TableView for Takings {
    type Of = Payment;
    const NAME: &'static str = "takings";
    const FILTERS: &'static [&'static str] = &["currency"];
    const SORT: Sort = Sort::Latest("day");
    const REVISION: u32 = 2;

    fn touched(event: &EventEnvelope<Payment>, _: &Rows<Self>) -> Vec<String> {
        let moved = moved(&event.payload);
        moved
            .map(|(_, amount)| id(event, amount))
            .into_iter()
            .collect()
    }

    fn take(event: &EventEnvelope<Payment>, rows: &mut Rows<Self>) {
        let Some((moved, amount)) = moved(&event.payload) else {
            return;
        };
        let row = rows.edit(&id(event, amount), || Self {
            day: Moment::day_of(event),
            currency: amount.currency.to_string(),
            captures: 0,
            captured: Money::zero(amount.currency),
            refunds: 0,
            refunded: Money::zero(amount.currency),
            refunds_back: 0,
            came_back: None,
        });
        let none = Money::zero(amount.currency);
        let (count, sum) = match moved {
            Moved::In => (&mut row.captures, &mut row.captured),
            Moved::Out => (&mut row.refunds, &mut row.refunded),
            Moved::Back => (&mut row.refunds_back, row.came_back.get_or_insert(none)),
        };
        *count = count.saturating_add(1);
        sum.amount = sum.amount.saturating_add(amount.amount);
    }
}

/// Which way money moves.
enum Moved {
    In,
    Out,
    /// In again, what had gone out.
    Back,
}

fn id(event: &EventEnvelope<Payment>, amount: Money) -> String {
    format!("{}/{}", Moment::day_of(event), amount.currency)
}

fn moved(event: &PaymentEvent) -> Option<(Moved, Money)> {
    match event {
        PaymentEvent::PaymentCaptured { amount } => Some((Moved::In, *amount)),
        PaymentEvent::PaymentRefunded { amount, .. } => Some((Moved::Out, *amount)),
        PaymentEvent::RefundFailed { came_back, .. } => {
            came_back.map(|amount| (Moved::Back, amount))
        }
        PaymentEvent::PaymentRequested { .. }
        | PaymentEvent::ProviderIntentCreated { .. }
        | PaymentEvent::PaymentActionRequired { .. }
        | PaymentEvent::PaymentAuthorized { .. }
        | PaymentEvent::PaymentDeclined { .. }
        | PaymentEvent::PaymentFailed { .. }
        | PaymentEvent::CaptureRequested { .. }
        | PaymentEvent::VoidRequested { .. }
        | PaymentEvent::PaymentVoided {}
        | PaymentEvent::RefundRequested { .. }
        | PaymentEvent::ProviderEventIgnored { .. }
        | PaymentEvent::ReconciliationMismatched { .. }
        | PaymentEvent::ReconciliationMatched {}
        | PaymentEvent::ReconciliationAccepted { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use kernel::RefundId;
    use uuid::Uuid;

    use super::*;
    use crate::testkit::{eur, recorded, same_rows_however_they_come};

    #[test]
    fn a_day_sums_what_came_in_and_what_went_back() {
        let captured = |amount| PaymentEvent::PaymentCaptured { amount };
        let refunded = |amount| PaymentEvent::PaymentRefunded {
            refund_id: RefundId(Uuid::from_u128(1)),
            amount,
        };
        let failed = |came_back| PaymentEvent::RefundFailed {
            refund_id: RefundId(Uuid::from_u128(1)),
            code: "account_closed".to_owned(),
            came_back,
        };
        let usd = Money::new(7, "USD".parse().unwrap());
        let (one, other) = (Uuid::from_u128(1), Uuid::from_u128(2));
        // The story begins at 22:13; two hours later it is the next day.
        let events = [
            (one, 1, 1, captured(eur(500))),
            (other, 2, 1, captured(eur(250))),
            (one, 3, 2, refunded(eur(100))),
            (one, 4, 3, captured(usd)),
            // One that was never made, and one that a bank sent back.
            (one, 5, 4, failed(None)),
            (one, 6, 5, failed(Some(eur(100)))),
        ];
        let events: Vec<_> = events
            .iter()
            .map(|(id, position, version, event)| {
                recorded::<Payment>(&id.to_string(), (*position, *version), event)
            })
            .collect();
        let rows = same_rows_however_they_come(&crate::TAKINGS, &events);
        let rows: Vec<Takings> = rows
            .iter()
            .map(|row| serde_json::from_str(&row.payload).unwrap())
            .collect();
        let told: Vec<_> = rows
            .iter()
            .map(|row| {
                (
                    &*row.day,
                    row.captures,
                    row.captured,
                    row.refunds,
                    row.refunded,
                    row.refunds_back,
                    row.came_back,
                )
            })
            .collect();
        let none = Money::zero(usd.currency);
        assert_eq!(
            told,
            [
                ("2023-11-14", 1, eur(500), 0, eur(0), 0, None),
                ("2023-11-15", 1, eur(250), 1, eur(100), 1, Some(eur(100))),
                ("2023-11-15", 1, usd, 0, none, 0, None),
            ]
        );
    }
}
