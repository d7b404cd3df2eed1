//! The payment page: what was held, taken and given back for one order.

use cqrs_es::{EventEnvelope, View};
use kernel::{Money, OrderId, PaymentMethod, Reason, RefundId, UserId};
use payment::{Difference, Payment, PaymentEvent};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strum::VariantNames;

use crate::moment::Moment;
use crate::view::{EntityView, Sort};

/// How far a payment has come.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, VariantNames, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum PaymentStage {
    /// Asked of the provider.
    #[default]
    Requested,
    /// The customer must act first.
    ActionRequired,
    /// The amount is held.
    Authorized,
    /// The issuer said no.
    Declined,
    /// It can't be done.
    Failed,
    /// The money is ours.
    Captured,
    /// Some of it went back.
    PartiallyRefunded,
    /// All of it went back.
    Refunded,
    /// The money was let go.
    Voided,
}

/// How far a refund has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RefundStage {
    /// Asked of the provider.
    Requested,
    /// The money went back.
    Done,
    /// It could not.
    Failed,
}

/// One refund of a payment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RefundEntry {
    /// The refund's id.
    pub id: RefundId,
    /// How much.
    pub amount: Money,
    /// How far it has come.
    pub status: RefundStage,
    /// Why.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reason: Option<Reason>,
    /// What the provider said when it failed.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub code: Option<String>,
    /// When it was asked for.
    pub requested_at: Option<Moment>,
}

/// One payment.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct PaymentSummary {
    /// The payment's id.
    pub id: String,
    /// For which order; none for a payment that was voided before it began.
    pub order_id: Option<OrderId>,
    /// Who pays.
    pub user_id: Option<UserId>,
    /// How far it has come.
    pub status: PaymentStage,
    /// The provider's code of a decline or failure.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// The page on which the customer must act, as long as the payment waits for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub action_url: Option<String>,
    /// The whole of it.
    pub amount: Option<Money>,
    /// What was held.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authorized: Option<Money>,
    /// What was taken.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub captured: Option<Money>,
    /// What went back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refunded: Option<Money>,
    /// Each refund, oldest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub refunds: Vec<RefundEntry>,
    /// How it is paid.
    pub payment_method: Option<PaymentMethod>,
    /// The provider's id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub intent_id: Option<String>,
    /// Why it is to be let go.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub void_reason: Option<Reason>,
    /// In what the provider's record differs from ours, as the last reconciliation found.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub mismatch: Vec<Difference>,
    /// Why the records differ, as the person said who accepted that last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mismatch_accepted: Option<Reason>,
    /// How many events the payment has.
    pub version: u64,
    /// Since when the provider owes an answer: to the request, the capture, the void or a refund.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub due_since: Option<Moment>,
    /// When it was asked for.
    pub requested_at: Option<Moment>,
    /// When the amount was held.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authorized_at: Option<Moment>,
    /// When the money was taken.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub captured_at: Option<Moment>,
    /// When something about it changed last.
    pub updated_at: Option<Moment>,
}

impl EntityView<Payment> for PaymentSummary {
    const NAME: &'static str = "payment_summary";
    const FILTERS: &'static [&'static str] =
        &["order_id", "user_id", "status", "mismatched", "due"];
    const FIXED: &'static [&'static str] = &["order_id", "user_id"];
    const SORT: Sort = Sort::Latest("requested_at");
    const REVISION: u32 = 4;
}

impl View<Payment> for PaymentSummary {
    fn update(&mut self, event: &EventEnvelope<Payment>) {
        let at = Moment::of(event);
        self.id.clone_from(&event.aggregate_id);
        self.version = event.sequence as u64;
        self.updated_at = at;
        // A tombstone has no request, but a place in the list all the same.
        self.requested_at = self.requested_at.or(at);
        self.fold(&event.payload, at);
        self.due_since = self.due(&event.payload, at);
    }
}

impl PaymentSummary {
    fn fold(&mut self, event: &PaymentEvent, at: Option<Moment>) {
        match event {
            PaymentEvent::PaymentRequested {
                order_id,
                user_id,
                amount,
                method,
                provider_key: _,
            } => {
                self.order_id = Some(*order_id);
                self.user_id = Some(*user_id);
                self.amount = Some(*amount);
                self.payment_method = Some(method.clone());
            }
            PaymentEvent::ProviderIntentCreated { intent_id } => {
                self.intent_id = Some(intent_id.clone());
            }
            PaymentEvent::PaymentActionRequired { action_url } => {
                self.status = PaymentStage::ActionRequired;
                self.action_url.clone_from(action_url);
            }
            PaymentEvent::PaymentAuthorized { amount } => {
                self.status = PaymentStage::Authorized;
                self.action_url = None;
                self.authorized = Some(*amount);
                self.authorized_at = at;
            }
            PaymentEvent::PaymentDeclined { code, retryable: _ } => {
                self.stop(PaymentStage::Declined, code);
            }
            PaymentEvent::PaymentFailed { code } => self.stop(PaymentStage::Failed, code),
            // An intent, whose status follows when the provider has answered; and what changed
            // nothing. The history shows both.
            PaymentEvent::CaptureRequested { .. } | PaymentEvent::ProviderEventIgnored { .. } => {}
            PaymentEvent::PaymentCaptured { amount } => {
                self.status = PaymentStage::Captured;
                self.action_url = None;
                self.captured = Some(*amount);
                self.captured_at = at;
            }
            PaymentEvent::VoidRequested { reason, .. } => self.void_reason = Some(reason.clone()),
            PaymentEvent::PaymentVoided {} => {
                self.status = PaymentStage::Voided;
                self.action_url = None;
            }
            PaymentEvent::RefundRequested {
                refund_id,
                amount,
                reason,
                provider_key: _,
            } => self.refunds.push(RefundEntry {
                id: *refund_id,
                amount: *amount,
                status: RefundStage::Requested,
                reason: Some(reason.clone()),
                code: None,
                requested_at: at,
            }),
            PaymentEvent::PaymentRefunded { refund_id, amount } => {
                self.refund(*refund_id, *amount);
            }
            PaymentEvent::RefundFailed {
                refund_id, code, ..
            } => self.refund_failed(*refund_id, code),
            PaymentEvent::ReconciliationMismatched { differences, .. } => {
                self.mismatch.clone_from(differences);
            }
            PaymentEvent::ReconciliationMatched {} => self.mismatch.clear(),
            PaymentEvent::ReconciliationAccepted { reason, .. } => {
                self.mismatch.clear();
                self.mismatch_accepted = Some(reason.clone());
            }
        }
    }

    /// Since when an answer is due, behind this event.
    fn due(&self, event: &PaymentEvent, at: Option<Moment>) -> Option<Moment> {
        match event {
            PaymentEvent::PaymentRequested { .. }
            | PaymentEvent::CaptureRequested { .. }
            | PaymentEvent::VoidRequested { .. } => at,
            // What was held although it was to be let go still is to be.
            PaymentEvent::PaymentAuthorized { .. } => at.filter(|_| self.void_reason.is_some()),
            PaymentEvent::PaymentActionRequired { .. }
            | PaymentEvent::PaymentDeclined { .. }
            | PaymentEvent::PaymentFailed { .. }
            | PaymentEvent::PaymentVoided {} => None,
            PaymentEvent::PaymentCaptured { .. }
            | PaymentEvent::RefundRequested { .. }
            | PaymentEvent::PaymentRefunded { .. }
            | PaymentEvent::RefundFailed { .. } => {
                let asked = |refund: &&RefundEntry| refund.status == RefundStage::Requested;
                self.refunds.iter().find(asked)?.requested_at
            }
            // Of money that the provider has taken in part no answer ever comes that can be taken in.
            PaymentEvent::ReconciliationAccepted { differences, .. }
                if self.captured.is_none() && differences.contains(&Difference::Captured) =>
            {
                None
            }
            PaymentEvent::ProviderIntentCreated { .. }
            | PaymentEvent::ProviderEventIgnored { .. }
            | PaymentEvent::ReconciliationMismatched { .. }
            | PaymentEvent::ReconciliationMatched {}
            | PaymentEvent::ReconciliationAccepted { .. } => self.due_since,
        }
    }

    fn stop(&mut self, status: PaymentStage, code: &str) {
        self.status = status;
        self.code = Some(code.to_owned());
        self.action_url = None;
    }

    fn refund(&mut self, id: RefundId, amount: Money) {
        if let Some(refund) = self.refunds.iter_mut().find(|r| r.id == id) {
            refund.status = RefundStage::Done;
        }
        self.give_back(amount);
    }

    fn refund_failed(&mut self, id: RefundId, code: &str) {
        let Some(refund) = self.refunds.iter_mut().find(|r| r.id == id) else {
            return;
        };
        let before = std::mem::replace(&mut refund.status, RefundStage::Failed);
        refund.code = Some(code.to_owned());
        if before == RefundStage::Done {
            // The bank has sent it back.
            let amount = refund.amount;
            self.give_back(Money::new(-amount.amount, amount.currency));
        }
    }

    /// Adds up what went back, less what came again. The payment's rules keep it within what was captured
    /// and in its currency; an amount that isn't leaves the sum as it was.
    fn give_back(&mut self, amount: Money) {
        let before = self.refunded.unwrap_or(Money::zero(amount.currency));
        let refunded = before.plus(amount).unwrap_or(before);
        self.refunded = Some(refunded).filter(|refunded| refunded.amount > 0);
        let whole = self
            .captured
            .is_some_and(|captured| refunded.amount >= captured.amount);
        self.status = if whole {
            PaymentStage::Refunded
        } else if self.refunded.is_some() {
            PaymentStage::PartiallyRefunded
        } else {
            PaymentStage::Captured
        };
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::testkit::{eur, fold};

    fn requested() -> PaymentEvent {
        PaymentEvent::PaymentRequested {
            order_id: OrderId(Uuid::from_u128(7)),
            user_id: UserId(Uuid::from_u128(1)),
            amount: eur(1000),
            method: "pm_card_visa".parse().unwrap(),
            provider_key: "k".into(),
        }
    }

    fn captured() -> Vec<PaymentEvent> {
        vec![
            requested(),
            PaymentEvent::ProviderIntentCreated {
                intent_id: "pi_1".into(),
            },
            PaymentEvent::PaymentAuthorized { amount: eur(1000) },
            PaymentEvent::CaptureRequested {
                amount: eur(1000),
                provider_key: "k2".into(),
            },
            PaymentEvent::PaymentCaptured { amount: eur(1000) },
        ]
    }

    fn refund(id: u128, amount: i64) -> [PaymentEvent; 2] {
        let refund_id = RefundId(Uuid::from_u128(id));
        [
            PaymentEvent::RefundRequested {
                refund_id,
                amount: eur(amount),
                reason: "returned".parse().unwrap(),
                provider_key: "k3".into(),
            },
            PaymentEvent::PaymentRefunded {
                refund_id,
                amount: eur(amount),
            },
        ]
    }

    #[test]
    fn a_capture_shows_what_was_held_and_taken() {
        let row: PaymentSummary = fold::<Payment, _>("p-1", captured());
        assert_eq!(row.status, PaymentStage::Captured);
        assert_eq!(
            (row.authorized, row.captured),
            (Some(eur(1000)), Some(eur(1000)))
        );
        assert_eq!(row.intent_id.as_deref(), Some("pi_1"));
        assert!(
            !serde_json::to_string(&row)
                .unwrap()
                .contains("provider_key")
        );
    }

    #[test]
    fn a_decline_keeps_the_providers_code() {
        let declined = PaymentEvent::PaymentDeclined {
            code: "card_declined".into(),
            retryable: false,
        };
        let row: PaymentSummary = fold::<Payment, _>("p-1", vec![requested(), declined]);
        assert_eq!(row.status, PaymentStage::Declined);
        assert_eq!(row.code.as_deref(), Some("card_declined"));
    }

    #[test]
    fn refunds_add_up() {
        let mut events = captured();
        events.extend(refund(1, 400));
        let row: PaymentSummary = fold::<Payment, _>("p-1", events.clone());
        assert_eq!(row.status, PaymentStage::PartiallyRefunded);
        events.extend(refund(2, 600));
        let row: PaymentSummary = fold::<Payment, _>("p-1", events);
        assert_eq!(row.status, PaymentStage::Refunded);
        assert_eq!(row.refunded, Some(eur(1000)));
        assert!(row.refunds.iter().all(|r| r.status == RefundStage::Done));
    }

    #[test]
    fn a_failed_refund_gives_nothing_back() {
        let mut events = captured();
        let [request, _] = refund(1, 400);
        events.push(request);
        events.push(PaymentEvent::RefundFailed {
            refund_id: RefundId(Uuid::from_u128(1)),
            code: "expired".into(),
            came_back: None,
        });
        let row: PaymentSummary = fold::<Payment, _>("p-1", events);
        assert_eq!((row.status, row.refunded), (PaymentStage::Captured, None));
        assert_eq!(row.refunds[0].status, RefundStage::Failed);
    }

    #[test]
    fn what_the_bank_sends_back_is_not_given_back() {
        let came_back = PaymentEvent::RefundFailed {
            refund_id: RefundId(Uuid::from_u128(1)),
            code: "account_closed".into(),
            came_back: None,
        };
        let mut events = captured();
        events.extend(refund(1, 1000));
        events.push(came_back);
        let row: PaymentSummary = fold::<Payment, _>("p-1", events.clone());
        assert_eq!((row.status, row.refunded), (PaymentStage::Captured, None));
        events.extend(refund(2, 400));
        let row: PaymentSummary = fold::<Payment, _>("p-1", events);
        assert_eq!(row.status, PaymentStage::PartiallyRefunded);
        assert_eq!(row.refunded, Some(eur(400)));
    }

    #[test]
    fn an_answer_of_the_provider_is_due_until_it_has_come() {
        let is_due = |events: &[PaymentEvent]| {
            let row: PaymentSummary = fold::<Payment, _>("p-1", events.to_vec());
            row.due_since.is_some()
        };
        let mut events = captured();
        events.extend(refund(1, 400));
        let due = (1..=events.len()).map(|count| is_due(&events[..count]));
        let due: Vec<bool> = due.collect();
        // Requested, its intent; held; to be captured; captured; a refund; given back.
        assert_eq!(due, [true, true, false, true, false, true, false]);
        let [first, first_done] = refund(1, 400);
        let [second, second_done] = refund(2, 400);
        let mut events = captured();
        events.extend([first, second, first_done]);
        assert!(is_due(&events));
        events.push(second_done);
        assert!(!is_due(&events));
    }

    #[test]
    fn no_answer_is_due_of_a_part_that_somebody_took_once_that_is_accepted() {
        let accepted = |differences| {
            let mut events = captured();
            // It is to be taken, and nobody says that it was.
            events.pop();
            events.push(PaymentEvent::ReconciliationAccepted {
                differences,
                seen: None,
                reason: "a part was taken by hand".parse().unwrap(),
            });
            let row: PaymentSummary = fold::<Payment, _>("p-1", events);
            row.due_since.is_some()
        };
        assert!(!accepted(vec![Difference::Held, Difference::Captured]));
        assert!(accepted(vec![Difference::Amount]));
    }

    #[test]
    fn a_mismatch_is_shown_until_it_is_settled() {
        let mut events = captured();
        events.push(PaymentEvent::ReconciliationMismatched {
            differences: vec![Difference::Refunded],
            seen: None,
        });
        let row: PaymentSummary = fold::<Payment, _>("p-1", events.clone());
        assert_eq!(row.mismatch, [Difference::Refunded]);
        let explained: Reason = "refunded by hand".parse().unwrap();
        let accepted = PaymentEvent::ReconciliationAccepted {
            differences: vec![Difference::Refunded],
            seen: None,
            reason: explained.clone(),
        };
        let accepted = [events.clone(), vec![accepted]].concat();
        let row: PaymentSummary = fold::<Payment, _>("p-1", accepted);
        assert_eq!(
            (row.mismatch, row.mismatch_accepted),
            (vec![], Some(explained))
        );
        events.push(PaymentEvent::ReconciliationMatched {});
        let row: PaymentSummary = fold::<Payment, _>("p-1", events);
        assert_eq!((row.status, row.mismatch), (PaymentStage::Captured, vec![]));
    }

    #[test]
    fn a_tombstone_belongs_to_nobody() {
        let row: PaymentSummary = fold::<Payment, _>("p-1", vec![PaymentEvent::PaymentVoided {}]);
        assert_eq!((row.status, row.user_id), (PaymentStage::Voided, None));
        assert!(row.requested_at.is_some());
    }
}
