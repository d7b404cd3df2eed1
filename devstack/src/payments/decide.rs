//! What each command does to the books: decided on copies, kept by the ledger.

use super::command::{Command, Confirmation, Create, Operation, RefundOrder};
use super::intent::{Declined, Intent, Status};
use super::ledger::{Books, Change, Order};
use super::refund::Refund;
use super::refusal::{Answer, Refusal};
use super::webhook::{Event, EventKind};
use serde_json::Value;

impl Books {
    /// Decides one command.
    ///
    /// # Errors
    /// Stripe's refusal, when nothing changes.
    pub(super) fn decide(&self, order: &Order) -> Result<Change, Refusal> {
        let now = order.now;
        match &order.command {
            Command::Create(create) => create_intent(create, &order.pages, now),
            Command::Refund(refund) => {
                let intent = self.named(order, Refusal::missing_reference)?;
                give_back(intent, refund, now)
            }
            Command::Confirm(asked) => {
                let mut intent = self.existing(order)?;
                let (kind, declined) = intent.confirm(asked, charge_id(), now)?;
                Ok(changed(intent, kind, declined, now))
            }
            Command::Capture { amount } => {
                let mut intent = self.existing(order)?;
                let kind = intent.capture(*amount)?;
                Ok(changed(intent, kind, None, now))
            }
            Command::Cancel { reason } => {
                let mut intent = self.existing(order)?;
                let kind = intent.cancel(reason.clone(), now)?;
                Ok(changed(intent, kind, None, now))
            }
            Command::CompleteAction { succeed } => {
                let mut intent = self.existing(order)?;
                let kind = intent.complete_action(*succeed, charge_id(), now)?;
                Ok(changed(intent, kind, None, now))
            }
        }
    }

    fn existing(&self, order: &Order) -> Result<Intent, Refusal> {
        self.named(order, Refusal::missing)
    }

    fn named(
        &self,
        order: &Order,
        missing: fn(&str, &str, &str) -> Refusal,
    ) -> Result<Intent, Refusal> {
        let id = order.intent.as_deref().unwrap_or_default();
        let row = self.rows.get(id);
        row.map(|row| row.intent.clone())
            .ok_or_else(|| missing("payment_intent", id, "intent"))
    }
}

fn create_intent(create: &Create, pages: &str, now: i64) -> Result<Change, Refusal> {
    let id = random("pi_");
    let mut intent = Intent {
        page: format!("{pages}/authenticate/{id}"),
        client_secret: random(&format!("{id}_secret_")),
        id,
        created: now,
        amount: create.amount,
        currency: create.currency.clone(),
        capture_method: create.capture_method,
        metadata: create.metadata.clone(),
        status: match create.method {
            Some(_) => Status::RequiresConfirmation,
            None => Status::RequiresPaymentMethod,
        },
        payment_method: create.method.clone(),
        charge: None,
        last_payment_error: None,
        canceled_at: None,
        cancellation_reason: None,
        redirects: create.redirects,
        return_url: None,
    };
    let call = Some(Operation::Create);
    if create.confirm {
        let asked = Confirmation {
            method: None,
            return_url: create.return_url.clone(),
        };
        let (kind, declined) = intent.confirm(&asked, charge_id(), now)?;
        let change = changed(intent, kind, declined, now);
        return Ok(Change { call, ..change });
    }
    Ok(Change {
        answer: Answer::ok(&intent.shape()),
        intent,
        refund: None,
        event: None,
        call,
    })
}

fn give_back(mut intent: Intent, order: &RefundOrder, now: i64) -> Result<Change, Refusal> {
    let amount = intent.refund(order.amount)?;
    let charge = intent.charge.as_ref().map(|charge| charge.id.clone());
    let refund = Refund {
        id: random("re_"),
        created: now,
        amount,
        currency: intent.currency.clone(),
        intent: intent.id.clone(),
        charge: charge.unwrap_or_default(),
        reason: order.reason.clone(),
        metadata: order.metadata.clone(),
    };
    Ok(Change {
        answer: Answer::ok(&refund.shape()),
        event: Some(event(&intent, EventKind::ChargeRefunded, now)),
        intent,
        refund: Some(refund),
        call: None,
    })
}

/// A changed intent: the answer is the intent, or the decline that carries it.
fn changed(intent: Intent, kind: EventKind, declined: Declined, now: i64) -> Change {
    let answer = match declined {
        None => Answer::ok(&intent.shape()),
        Some(error) => Refusal::card(error.shape(), intent.shape()).answer(),
    };
    Change {
        answer,
        event: Some(event(&intent, kind, now)),
        intent,
        refund: None,
        call: None,
    }
}

fn event(intent: &Intent, kind: EventKind, now: i64) -> Event {
    let object: Value = match kind {
        EventKind::ChargeRefunded => intent.charge_shape(),
        EventKind::AmountCapturableUpdated
        | EventKind::Succeeded
        | EventKind::PaymentFailed
        | EventKind::Canceled
        | EventKind::RequiresAction => intent.shape(),
    };
    Event::new(random("evt_"), kind, intent, &object, now)
}

fn charge_id() -> String {
    random("ch_")
}

fn random(prefix: &str) -> String {
    use rand::distr::{Alphanumeric, SampleString};
    /// Letters and digits behind a prefix, as many as in Stripe's own ids.
    const LENGTH: usize = 24;
    let mut id = prefix.to_owned();
    Alphanumeric.append_string(&mut rand::rng(), &mut id, LENGTH);
    id
}
