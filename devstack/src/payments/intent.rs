//! A PaymentIntent: its stages, what each call does in each stage, and Stripe's shape of it.
//!
//! ```text
//! requires_payment_method ─► requires_confirmation ─► requires_action ─► requires_capture ─► succeeded
//!     ▲ declined ─────────────────────┘ confirm            │ complete_action      │ capture
//!     └───────────────────────────────────────────────────-┘                      ▼
//!                      every stage before succeeded ─ cancel ─► canceled
//! ```

use super::command::Confirmation;
use super::method::{PaymentError, Verdict, verdict};
use super::refusal::Refusal;
use super::webhook::EventKind;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Where an intent stands, in Stripe's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, strum::Display)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub(super) enum Status {
    RequiresPaymentMethod,
    RequiresConfirmation,
    RequiresAction,
    RequiresCapture,
    Succeeded,
    Canceled,
}

/// When the money is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum CaptureMethod {
    /// With the confirmation.
    Automatic,
    /// By a call of its own.
    Manual,
}

/// Money that was tried, reserved or taken for an intent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Charge {
    pub(super) id: String,
    pub(super) created: i64,
    pub(super) amount: u64,
    pub(super) captured: u64,
    pub(super) refunded: u64,
    /// Whether the issuer approved.
    pub(super) approved: bool,
}

/// A PaymentIntent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Intent {
    pub(super) id: String,
    pub(super) client_secret: String,
    pub(super) created: i64,
    pub(super) amount: u64,
    pub(super) currency: String,
    pub(super) capture_method: CaptureMethod,
    pub(super) metadata: BTreeMap<String, String>,
    pub(super) status: Status,
    pub(super) payment_method: Option<String>,
    pub(super) charge: Option<Charge>,
    pub(super) last_payment_error: Option<PaymentError>,
    pub(super) canceled_at: Option<i64>,
    pub(super) cancellation_reason: Option<String>,
    /// See [`super::command::Create::redirects`].
    #[serde(default)]
    pub(super) redirects: bool,
    /// Where the customer comes back to from [`Intent::page`].
    #[serde(default)]
    pub(super) return_url: Option<String>,
    /// The simulator's own page on which the customer authenticates.
    #[serde(default)]
    pub(super) page: String,
}

/// A confirmation that the issuer refused: the intent has changed, and the answer is an error.
pub(super) type Declined = Option<PaymentError>;

impl Intent {
    /// Charges the given method, or the one that the intent has.
    pub(super) fn confirm(
        &mut self,
        asked: &Confirmation,
        charge: String,
        now: i64,
    ) -> Result<(EventKind, Declined), Refusal> {
        use Status::{RequiresAction, RequiresConfirmation, RequiresPaymentMethod};
        self.must_be(
            &[RequiresPaymentMethod, RequiresConfirmation, RequiresAction],
            "confirmed",
        )?;
        if self.redirects && asked.return_url.is_none() {
            return Err(Refusal::return_url_missing(self.shape()));
        }
        let method = asked.method.as_deref();
        let Some(method) = method.or(self.payment_method.as_deref()) else {
            let message = "You cannot confirm this PaymentIntent because it's missing a payment method. You can \
                           either update the PaymentIntent with a payment method and then confirm it again, or \
                           confirm it again directly with a payment method.";
            return Err(Refusal::unexpected_state(message.to_owned(), self.shape()));
        };
        let method = method.to_owned();
        let verdict = verdict(&method)?;
        self.payment_method = Some(method.clone());
        self.return_url.clone_from(&asked.return_url);
        self.last_payment_error = None;
        match verdict {
            Verdict::Approve => Ok((self.approve(charge, now), None)),
            Verdict::Authenticate => {
                self.status = RequiresAction;
                Ok((EventKind::RequiresAction, None))
            }
            Verdict::Decline(code, decline_code, message) => {
                let words = (code, decline_code, message);
                let error = PaymentError::declined(words, &method, &charge);
                self.charge = Some(self.new_charge(charge, now, false));
                Ok((self.fail(error.clone()), Some(error)))
            }
        }
    }

    /// The customer has authenticated, or failed to.
    pub(super) fn complete_action(
        &mut self,
        succeed: bool,
        charge: String,
        now: i64,
    ) -> Result<EventKind, Refusal> {
        self.must_be(&[Status::RequiresAction], "authenticated")?;
        if succeed {
            return Ok(self.approve(charge, now));
        }
        let method = self.payment_method.clone().unwrap_or_default();
        Ok(self.fail(PaymentError::not_authenticated(&method)))
    }

    /// Takes the reserved money, or a part of it; the rest is freed.
    pub(super) fn capture(&mut self, amount: Option<u64>) -> Result<EventKind, Refusal> {
        self.must_be(&[Status::RequiresCapture], "captured")?;
        let capturable = self.capturable();
        let amount = amount.unwrap_or(capturable);
        if amount > capturable {
            let message = format!(
                "The amount to capture, {amount}, is greater than the amount you can capture on this \
                 PaymentIntent, {capturable}."
            );
            return Err(Refusal::amount_too_large(message, "amount_to_capture"));
        }
        self.take(amount);
        Ok(EventKind::Succeeded)
    }

    /// Gives the intent up and frees what is reserved.
    pub(super) fn cancel(
        &mut self,
        reason: Option<String>,
        now: i64,
    ) -> Result<EventKind, Refusal> {
        use Status::{
            RequiresAction, RequiresCapture, RequiresConfirmation, RequiresPaymentMethod,
        };
        let open = [
            RequiresPaymentMethod,
            RequiresCapture,
            RequiresConfirmation,
            RequiresAction,
        ];
        self.must_be(&open, "canceled")?;
        self.status = Status::Canceled;
        self.canceled_at = Some(now);
        self.cancellation_reason = reason;
        Ok(EventKind::Canceled)
    }

    /// Gives money back; answers how much.
    pub(super) fn refund(&mut self, amount: Option<u64>) -> Result<u64, Refusal> {
        let shape = self.shape();
        let taken = self.charge.as_mut().filter(|charge| charge.captured > 0);
        let Some(charge) = taken else {
            let message = format!(
                "This PaymentIntent ({}) does not have a successful charge to refund.",
                self.id
            );
            return Err(Refusal::unexpected_state(message, shape));
        };
        let left = charge.captured - charge.refunded;
        if left == 0 {
            return Err(Refusal::already_refunded(&charge.id));
        }
        let amount = amount.unwrap_or(left);
        if amount > left {
            let message = format!(
                "Refund amount ({amount}) is greater than unrefunded amount on charge ({left})."
            );
            return Err(Refusal::amount_too_large(message, "amount"));
        }
        charge.refunded += amount;
        Ok(amount)
    }

    /// What is reserved and not yet taken.
    pub(super) fn capturable(&self) -> u64 {
        if self.status == Status::RequiresCapture {
            self.amount
        } else {
            0
        }
    }

    /// What was taken, refunds not subtracted.
    pub(super) fn received(&self) -> u64 {
        self.charge.as_ref().map_or(0, |charge| charge.captured)
    }

    /// What was given back.
    pub(super) fn refunded(&self) -> u64 {
        self.charge.as_ref().map_or(0, |charge| charge.refunded)
    }

    fn approve(&mut self, charge: String, now: i64) -> EventKind {
        self.charge = Some(self.new_charge(charge, now, true));
        match self.capture_method {
            CaptureMethod::Manual => {
                self.status = Status::RequiresCapture;
                EventKind::AmountCapturableUpdated
            }
            CaptureMethod::Automatic => {
                self.take(self.amount);
                EventKind::Succeeded
            }
        }
    }

    fn take(&mut self, amount: u64) {
        self.status = Status::Succeeded;
        if let Some(charge) = &mut self.charge {
            charge.captured = amount;
        }
    }

    fn fail(&mut self, error: PaymentError) -> EventKind {
        self.status = Status::RequiresPaymentMethod;
        self.payment_method = None;
        self.last_payment_error = Some(error);
        EventKind::PaymentFailed
    }

    fn new_charge(&self, id: String, now: i64, approved: bool) -> Charge {
        Charge {
            id,
            created: now,
            amount: self.amount,
            captured: 0,
            refunded: 0,
            approved,
        }
    }

    fn must_be(&self, allowed: &[Status], done: &str) -> Result<(), Refusal> {
        if allowed.contains(&self.status) {
            return Ok(());
        }
        let allowed: Vec<_> = allowed.iter().map(ToString::to_string).collect();
        let message = format!(
            "This PaymentIntent could not be {done} because it has a status of {}. Only a PaymentIntent with one \
             of the following statuses may be {done}: {}.",
            self.status,
            allowed.join(", ")
        );
        Err(Refusal::unexpected_state(message, self.shape()))
    }

    /// Stripe's shape.
    pub(super) fn shape(&self) -> Value {
        let error = self.last_payment_error.as_ref();
        json!({
            "id": self.id,
            "object": "payment_intent",
            "amount": self.amount,
            "amount_capturable": self.capturable(),
            "amount_received": self.received(),
            "canceled_at": self.canceled_at,
            "cancellation_reason": self.cancellation_reason,
            "capture_method": self.capture_method,
            "client_secret": self.client_secret,
            "confirmation_method": "automatic",
            "created": self.created,
            "currency": self.currency,
            "customer": null,
            "description": null,
            "last_payment_error": error.map(PaymentError::shape),
            "latest_charge": self.charge.as_ref().map(|charge| &charge.id),
            "livemode": false,
            "metadata": self.metadata,
            "next_action": self.next_action(),
            "payment_method": self.payment_method,
            "payment_method_types": ["card"],
            "status": self.status,
        })
    }

    fn next_action(&self) -> Option<Value> {
        if self.status != Status::RequiresAction {
            return None;
        }
        Some(match &self.return_url {
            Some(return_url) => json!({
                "type": "redirect_to_url",
                "redirect_to_url": { "return_url": return_url, "url": self.page },
            }),
            // Only a script of Stripe's, with the client secret, could go on from here.
            None => json!({
                "type": "use_stripe_sdk",
                "use_stripe_sdk": { "type": "three_d_secure_redirect" },
            }),
        })
    }

    /// Stripe's shape of the charge, as `charge.refunded` carries it.
    pub(super) fn charge_shape(&self) -> Value {
        let Some(charge) = &self.charge else {
            return Value::Null;
        };
        json!({
            "id": charge.id,
            "object": "charge",
            "amount": charge.amount,
            "amount_captured": charge.captured,
            "amount_refunded": charge.refunded,
            "captured": charge.captured > 0,
            "created": charge.created,
            "currency": self.currency,
            "livemode": false,
            "metadata": self.metadata,
            "paid": charge.approved,
            "payment_intent": self.id,
            "payment_method": self.payment_method,
            "refunded": charge.captured > 0 && charge.refunded == charge.captured,
            "status": if charge.approved { "succeeded" } else { "failed" },
        })
    }
}
