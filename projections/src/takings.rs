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
}

impl TableView for Takings {
    type Of = Payment;
    const NAME: &'static str = "takings";
    const FILTERS: &'static [&'static str] = &["currency"];
    const SORT: Sort = Sort::Latest("day");

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
        });
        let (count, sum) = match moved {
            Moved::In => (&mut row.captures, &mut row.captured),
            Moved::Out => (&mut row.refunds, &mut row.refunded),
        };
        *count = count.saturating_add(1);
        sum.amount = sum.amount.saturating_add(amount.amount);
    }
}

/// Which way money moves.
enum Moved {
    In,
    Out,
}

fn id(event: &EventEnvelope<Payment>, amount: Money) -> String {
    format!("{}/{}", Moment::day_of(event), amount.currency)
}

fn moved(event: &PaymentEvent) -> Option<(Moved, Money)> {
    match event {
        PaymentEvent::PaymentCaptured { amount } => Some((Moved::In, *amount)),
        PaymentEvent::PaymentRefunded { amount, .. } => Some((Moved::Out, *amount)),
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
        | PaymentEvent::RefundFailed { .. }
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
        let usd = Money::new(7, "USD".parse().unwrap());
        let (one, other) = (Uuid::from_u128(1), Uuid::from_u128(2));
        // The story begins at 22:13; two hours later it is the next day.
        let events = [
            (one, 1, 1, captured(eur(500))),
            (other, 2, 1, captured(eur(250))),
            (one, 3, 2, refunded(eur(100))),
            (one, 4, 3, captured(usd)),
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
                )
            })
            .collect();
        let none = Money::zero(usd.currency);
        assert_eq!(
            told,
            [
                ("2023-11-14", 1, eur(500), 0, eur(0)),
                ("2023-11-15", 1, eur(250), 1, eur(100)),
                ("2023-11-15", 1, usd, 0, none),
            ]
        );
    }
}
