//! A payment provider with its reactor: does what the payment says is due, loses some answers.

use std::collections::BTreeSet;

use kernel::{Decider, RefundId};
use payment::{Payment, PaymentCommand, ProviderAction};

use super::chance::Chance;

/// How the customer's card behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Card {
    Good,
    Declined,
    /// Declined, and later held all the same.
    DeclinedThenHeld,
    /// The customer never acts.
    ActionNeverTaken,
    /// Held, but it can't be captured.
    CaptureFails,
    /// The first two refunds fail.
    RefundsFail,
}

impl Card {
    pub(crate) fn any(chance: &mut Chance) -> Self {
        match chance.below(10) {
            0 => Self::Declined,
            1 => Self::DeclinedThenHeld,
            2 => Self::ActionNeverTaken,
            3 => Self::CaptureFails,
            4 | 5 => Self::RefundsFail,
            _ => Self::Good,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Intent {
    #[default]
    None,
    Made,
    Declined,
    Held,
    Captured,
    Canceled,
}

/// What the provider's own books say.
#[derive(Debug, Clone)]
pub(crate) struct Provider {
    pub(crate) card: Card,
    pub(crate) intent: Intent,
    pub(crate) captures: u32,
    pub(crate) refunds: BTreeSet<RefundId>,
    failed: BTreeSet<RefundId>,
}

impl Provider {
    pub(crate) fn new(card: Card) -> Self {
        Self {
            card,
            intent: Intent::None,
            captures: 0,
            refunds: BTreeSet::new(),
            failed: BTreeSet::new(),
        }
    }

    /// Does what is due and answers what to record; `None` = nothing is due.
    pub(crate) fn act(&mut self, payment: &Payment) -> Option<PaymentCommand> {
        let total = payment.charge()?.amount;
        Some(match payment.due()? {
            ProviderAction::CreateIntent { .. } => {
                if self.intent == Intent::None {
                    self.intent = Intent::Made;
                }
                PaymentCommand::RecordIntent {
                    intent_id: "pi_1".to_owned(),
                }
            }
            ProviderAction::Confirm { .. } => self.confirm(total),
            ProviderAction::Capture { amount, .. } => {
                if self.card == Card::CaptureFails {
                    PaymentCommand::RecordFailure {
                        code: "capture_failed".to_owned(),
                    }
                } else {
                    self.capture();
                    PaymentCommand::RecordCapture { amount }
                }
            }
            ProviderAction::Cancel { .. } if self.intent == Intent::Captured => {
                PaymentCommand::RecordCapture { amount: total }
            }
            ProviderAction::Cancel { .. } => {
                self.intent = Intent::Canceled;
                PaymentCommand::RecordVoid {}
            }
            ProviderAction::Refund { refund_id, .. } => {
                // By its key: a repeat gets the first answer.
                let fails = self.card == Card::RefundsFail && self.failed.len() < 2;
                if self.failed.contains(&refund_id) || fails {
                    self.failed.insert(refund_id);
                    let code = "try_again_later".to_owned();
                    PaymentCommand::RecordRefundFailure { refund_id, code }
                } else {
                    self.refunds.insert(refund_id);
                    PaymentCommand::RecordRefund { refund_id }
                }
            }
        })
    }

    fn confirm(&mut self, amount: kernel::Money) -> PaymentCommand {
        match self.card {
            Card::Good | Card::CaptureFails | Card::RefundsFail => {
                if matches!(self.intent, Intent::Made) {
                    self.intent = Intent::Held;
                }
                PaymentCommand::RecordAuthorization { amount }
            }
            Card::Declined | Card::DeclinedThenHeld => {
                self.intent = Intent::Declined;
                PaymentCommand::RecordDecline {
                    code: "card_declined".to_owned(),
                    retryable: false,
                }
            }
            Card::ActionNeverTaken => PaymentCommand::RecordActionRequired { action_url: None },
        }
    }

    fn capture(&mut self) {
        if self.intent != Intent::Captured {
            self.intent = Intent::Captured;
            self.captures += 1;
        }
    }

    /// A card that was declined is charged after all, which a late webhook says.
    pub(crate) fn late_hold(&mut self, payment: &Payment) -> Option<PaymentCommand> {
        let late = self.card == Card::DeclinedThenHeld && self.intent == Intent::Declined;
        let amount = payment.charge().filter(|_| late)?.amount;
        self.intent = Intent::Held;
        Some(PaymentCommand::RecordAuthorization { amount })
    }

    /// Units of "the whole amount" that the shop has.
    pub(crate) fn kept(&self) -> i64 {
        i64::from(self.captures) - i64::try_from(self.refunds.len()).unwrap_or(i64::MAX)
    }
}

/// Records what the provider said, as the reactor does.
pub(crate) fn record(payment: &Payment, command: &PaymentCommand) -> Vec<payment::PaymentEvent> {
    payment.decide(command).unwrap_or_default()
}
