//! One payment: what follows from a command, and what a fact changes.

use kernel::{Decider, Money, OrderId};
use serde::{Deserialize, Serialize};
use strum::{Display, EnumString};

use crate::{Charge, Mismatch, PaymentCommand, PaymentEvent, PaymentRefusal, RefundStage};

/// A payment of an order.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Payment {
    /// Nothing was asked.
    #[default]
    Unrequested,
    /// Voided before it was requested, a tombstone: it may never begin.
    CalledOff,
    /// The provider is to hold the money.
    Requested(Charge),
    /// The customer must act first.
    ActionRequired {
        /// The money.
        charge: Charge,
        /// Where, if the provider names a page.
        action_url: Option<String>,
    },
    /// The provider holds the money.
    Authorized(Charge),
    /// The provider was asked to take the money.
    Capturing {
        /// The money.
        charge: Charge,
        /// How much is to be taken.
        amount: Money,
        /// The idempotency key of the provider's capture call.
        key: String,
    },
    /// The money is ours, less what goes back.
    Captured(Charge),
    /// The provider is to let go of the money. Wins over everything but a capture that happened.
    Voiding(Charge),
    /// The provider let go.
    Voided(Charge),
    /// The issuer said no.
    Declined {
        /// The money.
        charge: Charge,
        /// The provider's code.
        code: String,
        /// May the same method be tried again?
        retryable: bool,
    },
    /// It can't be done.
    Failed {
        /// The money.
        charge: Charge,
        /// What the provider said.
        code: String,
    },
}

/// The stage by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, Display, EnumString)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum PaymentStatus {
    /// The provider is to hold the money.
    Requested,
    /// The customer must act first.
    ActionRequired,
    /// The provider holds the money.
    Authorized,
    /// The provider was asked to take the money.
    CaptureRequested,
    /// The money is ours.
    Captured,
    /// Some of it went back.
    PartiallyRefunded,
    /// All of it went back.
    Refunded,
    /// The provider is to let go of the money.
    VoidRequested,
    /// The provider let go, or the payment was called off before it began.
    Voided,
    /// The issuer said no.
    Declined,
    /// It can't be done.
    Failed,
}

pub(crate) type Decision = Result<Vec<PaymentEvent>, PaymentRefusal>;

impl Payment {
    /// The stage, once there is one.
    pub fn status(&self) -> Option<PaymentStatus> {
        match self {
            Self::Unrequested => None,
            Self::CalledOff | Self::Voided(_) => Some(PaymentStatus::Voided),
            Self::Requested(_) => Some(PaymentStatus::Requested),
            Self::ActionRequired { .. } => Some(PaymentStatus::ActionRequired),
            Self::Authorized(_) => Some(PaymentStatus::Authorized),
            Self::Capturing { .. } => Some(PaymentStatus::CaptureRequested),
            Self::Captured(charge) => Some(match charge.refunded().amount {
                0 => PaymentStatus::Captured,
                back if back < charge.captured().amount => PaymentStatus::PartiallyRefunded,
                _ => PaymentStatus::Refunded,
            }),
            Self::Voiding(_) => Some(PaymentStatus::VoidRequested),
            Self::Declined { .. } => Some(PaymentStatus::Declined),
            Self::Failed { .. } => Some(PaymentStatus::Failed),
        }
    }

    /// The money, once requested.
    pub fn charge(&self) -> Option<&Charge> {
        match self {
            Self::Unrequested | Self::CalledOff => None,
            Self::Requested(charge)
            | Self::ActionRequired { charge, .. }
            | Self::Authorized(charge)
            | Self::Capturing { charge, .. }
            | Self::Captured(charge)
            | Self::Voiding(charge)
            | Self::Voided(charge)
            | Self::Declined { charge, .. }
            | Self::Failed { charge, .. } => Some(charge),
        }
    }

    /// For which order, once requested.
    pub fn order_id(&self) -> Option<OrderId> {
        self.charge().map(|charge| charge.order_id)
    }

    /// The provider's id, once it made one.
    pub fn intent_id(&self) -> Option<&str> {
        self.charge().and_then(|charge| charge.intent_id.as_deref())
    }
}

impl Decider for Payment {
    const CONTEXT: &'static str = "payment";

    fn decide(&self, command: &PaymentCommand) -> Decision {
        match command {
            PaymentCommand::RequestPayment {
                order_id,
                user_id,
                amount,
                method,
            } => self.request(*order_id, *user_id, *amount, method),
            PaymentCommand::RecordIntent { intent_id } => self.record_intent(intent_id),
            PaymentCommand::RecordActionRequired { action_url } => {
                self.record_action_required(action_url.as_deref())
            }
            PaymentCommand::RecordAuthorization { amount } => self.record_authorization(*amount),
            PaymentCommand::RecordDecline { code, retryable } => {
                self.record_decline(code, *retryable)
            }
            PaymentCommand::RecordFailure { code } => self.record_failure(code),
            PaymentCommand::CapturePayment {} => self.capture(),
            PaymentCommand::RecordCapture { amount } => self.record_capture(*amount),
            PaymentCommand::VoidPayment { reason } => self.void(reason),
            PaymentCommand::RecordVoid {} => self.record_void(),
            PaymentCommand::RefundPayment {
                refund_id,
                amount,
                reason,
            } => self.refund(*refund_id, *amount, reason),
            PaymentCommand::RecordRefund { refund_id } => self.record_refund(*refund_id),
            PaymentCommand::RecordRefundFailure { refund_id, code } => {
                self.record_refund_failure(*refund_id, code)
            }
            PaymentCommand::RecordProviderEvent {
                event_id,
                event_type,
                because,
            } => self.record_provider_event(event_id, event_type, *because),
            PaymentCommand::ReconcilePayment { seen } => self.reconcile(seen.as_ref()),
            PaymentCommand::RecordReconciliation { reason } => self.accept(reason),
        }
    }

    fn evolve(&mut self, event: &PaymentEvent) {
        match event {
            PaymentEvent::PaymentRequested {
                order_id,
                user_id,
                amount,
                method,
                provider_key,
            } => {
                let charge = Charge::new(*order_id, *user_id, *amount, method, provider_key);
                *self = Self::Requested(charge);
            }
            PaymentEvent::ProviderIntentCreated { intent_id } => self.take_intent(intent_id),
            PaymentEvent::PaymentActionRequired { action_url } => {
                let action_url = action_url.clone();
                self.move_to(|charge| Self::ActionRequired { charge, action_url });
            }
            PaymentEvent::PaymentAuthorized { amount } => self.hold(*amount),
            PaymentEvent::PaymentDeclined { code, retryable } => {
                let (code, retryable) = (code.clone(), *retryable);
                self.move_to(|charge| Self::Declined {
                    charge,
                    code,
                    retryable,
                });
            }
            PaymentEvent::PaymentFailed { code } => {
                let code = code.clone();
                self.move_to(|charge| Self::Failed { charge, code });
            }
            PaymentEvent::CaptureRequested {
                amount,
                provider_key: key,
            } => {
                let (amount, key) = (*amount, key.clone());
                self.move_to(|charge| Self::Capturing {
                    charge,
                    amount,
                    key,
                });
            }
            PaymentEvent::PaymentCaptured { amount } => self.take(*amount),
            PaymentEvent::VoidRequested { .. } => self.move_to(Self::Voiding),
            PaymentEvent::PaymentVoided {} => self.let_go(),
            PaymentEvent::RefundRequested {
                refund_id,
                amount,
                reason: _,
                provider_key,
            } => self.promise(*refund_id, *amount, provider_key),
            PaymentEvent::PaymentRefunded { refund_id, .. } => {
                self.settle(*refund_id, RefundStage::Done);
            }
            PaymentEvent::RefundFailed {
                refund_id, code, ..
            } => self.fail_refund(*refund_id, code),
            PaymentEvent::ProviderEventIgnored { event_id, .. } => self.ignore(event_id),
            PaymentEvent::ReconciliationMismatched { differences, seen } => {
                self.differ(Some(Mismatch {
                    differences: differences.clone(),
                    seen: seen.clone(),
                }));
            }
            PaymentEvent::ReconciliationMatched {} => self.differ(None),
            PaymentEvent::ReconciliationAccepted {
                differences, seen, ..
            } => self.take_as_it_is(Mismatch {
                differences: differences.clone(),
                seen: seen.clone(),
            }),
        }
    }
}

kernel::aggregate!(
    Payment,
    "payment",
    PaymentCommand,
    PaymentEvent,
    PaymentRefusal
);
