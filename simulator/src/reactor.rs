//! The payment reactor, as `reactors` has it: load the payment, do at the provider what is due,
//! record what came of it, look again.

use kernel::{Money, RefundId};
use payment::{PaymentCommand, ProviderAction, payment_id};
use uuid::Uuid;

use crate::bug::Bug;
use crate::bus::Asked;
use crate::chance::{Site, mix};
use crate::provider::{Call, Said, Status};
use crate::shop::Answer;
use crate::task::{At, Input, Next};
use crate::world::{Entry, Role, World};

/// Most calls for one delivery.
const CALLS_MAX: u32 = 16;

/// What the payment answers to an amount that is not its own.
const AMOUNT_DIFFERS: &str = "amount_differs";

/// The work on one delivery.
#[derive(Debug, Default)]
pub(crate) struct PaymentWork {
    calls: u32,
    under_way: Option<UnderWay>,
}

/// A call whose outcome is not recorded.
#[derive(Debug)]
struct UnderWay {
    what: Doing,
    intent: usize,
    version: u64,
}

/// What is being done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Doing {
    Create,
    Confirm,
    Capture,
    Cancel,
    Refund(RefundId),
}

/// What a provider's answer comes to.
#[derive(Debug)]
pub(crate) enum Settled {
    /// To be recorded, under this label.
    Record(String, PaymentCommand),
    /// The intent has moved: see how it stands.
    Retrieve,
    /// Nothing is known.
    Unknown,
}

impl World {
    pub(crate) fn reactor_goes_on(&mut self, at: At, work: &mut PaymentWork, input: Input) -> Next {
        match input {
            Input::Go => self.look(at, work),
            Input::Said(said) => self.heard(at, work, &said),
            Input::Answered((_, Some(answer))) => {
                if let Answer::Refused { code, .. } = answer {
                    self.tell("reactor", || {
                        format!("the payment moved on meanwhile: {code}")
                    });
                    if code == AMOUNT_DIFFERS {
                        // It is parked: a person is to look.
                        return Next::Done;
                    }
                }
                self.look(at, work)
            }
            Input::Answered((_, None)) => Next::Retry,
            Input::Mailed(_) => Next::Wait,
        }
    }

    fn look(&mut self, at: At, work: &mut PaymentWork) -> Next {
        let Some(file) = self.shop.file(at.order) else {
            return Next::Done;
        };
        let (due, version) = (file.payment.state.due(), file.payment.version);
        let Some(action) = due else {
            return Next::Done;
        };
        work.calls += 1;
        if work.calls > CALLS_MAX {
            return Next::Retry;
        }
        let Some((what, intent_id, call)) = self.call_for(at, action) else {
            let settled = record("voided", PaymentCommand::RecordVoid {});
            return self.settle(at, (settled, version), None);
        };
        work.under_way = Some(UnderWay {
            what,
            intent: intent_id.unwrap_or_default(),
            version,
        });
        self.call(at, call);
        Next::Wait
    }

    /// The call that an action is. `None` = to cancel what has no intent: one that was made all the
    /// same was never confirmed, and holds no money.
    fn call_for(&self, at: At, action: ProviderAction) -> Option<(Doing, Option<usize>, Call)> {
        let key_of = |bug, key: String| {
            let tries = at.tries;
            if self.has_bug(bug) {
                format!("{key}/{tries}")
            } else {
                key
            }
        };
        let on = |doing, intent_id: &str, call: fn(usize) -> Call| {
            let intent = number(intent_id);
            (doing, Some(intent), call(intent))
        };
        Some(match action {
            ProviderAction::CreateIntent { key, amount, .. } => {
                let call = Call::Create {
                    key: key_of(Bug::ChargeUnderNewKey, key),
                    order: at.order,
                    cents: amount.amount,
                    confirm: self.has_bug(Bug::ChargeUnderNewKey),
                };
                (Doing::Create, None, call)
            }
            ProviderAction::Confirm { intent_id, .. } => {
                on(Doing::Confirm, &intent_id, Call::Confirm)
            }
            ProviderAction::Capture {
                intent_id, amount, ..
            } => {
                let half = self.has_bug(Bug::CaptureHalf);
                let call = Call::Capture {
                    intent: number(&intent_id),
                    cents: amount.amount / if half { 2 } else { 1 },
                };
                (Doing::Capture, Some(number(&intent_id)), call)
            }
            ProviderAction::Cancel { intent_id, .. } => {
                on(Doing::Cancel, &intent_id?, Call::Cancel)
            }
            ProviderAction::Refund {
                refund_id,
                intent_id,
                amount,
                key,
            } => {
                let call = Call::Refund {
                    intent: number(&intent_id),
                    key: key_of(Bug::RefundUnderNewKey, key),
                    refund_id,
                    cents: amount.amount,
                };
                (Doing::Refund(refund_id), Some(number(&intent_id)), call)
            }
        })
    }

    pub(crate) fn call(&mut self, at: At, call: Call) {
        let name: &'static str = (&call).into();
        self.tell("reactor", || {
            format!("→ provider: {name}, order {}", at.order + 1)
        });
        let wait = self.under_way(at.site);
        self.agenda
            .after(wait, Entry::Called(Box::new(call), at.task, at.site));
    }

    fn heard(&mut self, at: At, work: &PaymentWork, said: &Said) -> Next {
        let Some(under_way) = &work.under_way else {
            return Next::Retry;
        };
        let Some(total) = self.total(at.order) else {
            return Next::Retry;
        };
        let mut settled = outcome(under_way.what, said, total);
        let canceling = under_way.what == Doing::Cancel;
        if canceling && *said == Said::Nothing && self.has_bug(Bug::AssumeVoided) {
            settled = record("voided", PaymentCommand::RecordVoid {});
        }
        let version = under_way.version;
        self.settle(at, (settled, version), Some(under_way.intent))
    }

    /// Records an outcome of the payment at this version: what is due again later is another one.
    fn settle(
        &mut self,
        at: At,
        (settled, version): (Settled, u64),
        intent: Option<usize>,
    ) -> Next {
        match (settled, intent) {
            (Settled::Record(label, command), _) => {
                let label = format!("{label}/{version}");
                self.record_payment(at, &label, &command, "reactor");
                Next::Wait
            }
            (Settled::Retrieve, Some(intent)) => {
                self.call(at, Call::Retrieve(intent));
                Next::Wait
            }
            (Settled::Retrieve | Settled::Unknown, _) => Next::Retry,
        }
    }

    pub(crate) fn record_payment(
        &mut self,
        at: At,
        label: &str,
        command: &PaymentCommand,
        who: &str,
    ) {
        let Some(file) = self.shop.file(at.order) else {
            return;
        };
        let aggregate = payment_id(file.id).into();
        let name = format!("payment/{aggregate}/{label}");
        let asked = Asked {
            id: Uuid::new_v5(&Uuid::NAMESPACE_OID, name.as_bytes()),
            context: "payment",
            aggregate,
            command: serde_json::to_value(command).unwrap_or_default(),
            order: at.order,
            label: format!("record {label}"),
            site: site_of(at, label),
            at: self.time_by(Role::Reactor),
        };
        self.ask(at, who, asked);
    }

    fn total(&self, order: usize) -> Option<Money> {
        let charge = self.shop.file(order)?.payment.state.charge()?;
        Some(charge.amount)
    }
}

fn site_of(at: At, label: &str) -> Site {
    mix([at.site, u64::try_from(label.len()).unwrap_or_default()])
}

/// The provider's own name of an intent.
pub(crate) fn intent_name(number: usize) -> String {
    format!("pi_{number}")
}

fn number(intent_id: &str) -> usize {
    let digits = intent_id.trim_start_matches("pi_");
    digits.parse().unwrap_or(usize::MAX)
}

fn record(label: impl Into<String>, command: PaymentCommand) -> Settled {
    Settled::Record(label.into(), command)
}

fn failed(stage: &str, code: &str) -> Settled {
    let code = code.to_owned();
    record(
        format!("failed/{stage}"),
        PaymentCommand::RecordFailure { code },
    )
}

fn declined() -> Settled {
    record(
        "declined",
        PaymentCommand::RecordDecline {
            code: "card_declined".to_owned(),
            retryable: false,
        },
    )
}

/// What an answer to this call comes to.
fn outcome(what: Doing, said: &Said, total: Money) -> Settled {
    match (what, said) {
        (Doing::Create, Said::Created(intent)) => record(
            "intent",
            PaymentCommand::RecordIntent {
                intent_id: intent_name(*intent),
            },
        ),
        (Doing::Create, Said::Refused(code)) => failed("create", code),
        (Doing::Confirm, Said::Declined) => declined(),
        (Doing::Confirm, Said::Refused(code)) => failed("confirm", code),
        (Doing::Confirm, Said::Is { status, received }) => {
            stands(*status, *received, total).unwrap_or(Settled::Unknown)
        }
        (Doing::Capture, Said::Refused(code)) => failed("capture", code),
        (Doing::Capture, Said::Is { status, received }) => match status {
            Status::Taken => captured(*received, total),
            Status::Canceled => failed("capture", "canceled_by_provider"),
            Status::Made
            | Status::Declined
            | Status::Action
            | Status::Processing
            | Status::Held => Settled::Unknown,
        },
        (Doing::Cancel, Said::Is { status, received }) => match status {
            Status::Canceled => record("voided", PaymentCommand::RecordVoid {}),
            Status::Taken => captured(*received, total),
            Status::Made
            | Status::Declined
            | Status::Action
            | Status::Processing
            | Status::Held => Settled::Unknown,
        },
        (Doing::Refund(refund_id), Said::Refunded) => record(
            format!("refunded/{refund_id}"),
            PaymentCommand::RecordRefund { refund_id },
        ),
        (Doing::Refund(refund_id), Said::Refused(code)) => record(
            format!("refund_failed/{refund_id}"),
            PaymentCommand::RecordRefundFailure {
                refund_id,
                code: (*code).to_owned(),
            },
        ),
        (_, Said::UnexpectedState) => Settled::Retrieve,
        // No answer, or none to this call.
        _ => Settled::Unknown,
    }
}

/// How an intent stands, as the command that records it; `None` = it is still under way.
pub(crate) fn stands(status: Status, received: i64, total: Money) -> Option<Settled> {
    match status {
        Status::Made | Status::Processing => None,
        Status::Held => Some(record(
            "authorized",
            PaymentCommand::RecordAuthorization { amount: total },
        )),
        Status::Taken => Some(captured(received, total)),
        Status::Action => Some(record(
            "action_required",
            PaymentCommand::RecordActionRequired { action_url: None },
        )),
        Status::Declined => Some(declined()),
        Status::Canceled => Some(record("voided", PaymentCommand::RecordVoid {})),
    }
}

fn captured(received: i64, total: Money) -> Settled {
    let amount = Money::new(received, total.currency);
    record("captured", PaymentCommand::RecordCapture { amount })
}
