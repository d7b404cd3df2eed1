//! The handling of a return: `decide` takes a fact in, `pending` says what is to be asked.

use chrono::{DateTime, TimeDelta, Utc};
use cqrs_es::Aggregate;
use cqrs_es::event_sink::EventSink;
use inventory::InventoryCommand;
use kernel::{Decider, Money, OrderId, Reason, ReturnId};
use payment::PaymentCommand;
use serde::{Deserialize, Serialize};

use super::{ReturnStep, ReturningEvent, ReturningFact};
use crate::addressed::Addressed;
use crate::id::ask_id_of;
use crate::{Due, Item, NoRefusal, Saga, refund_id_of_return};

/// How long the inventory is asked to put goods on the shelf: longer than any outage that nobody
/// notices. It remembers a return for as long, so that it restocks it once.
pub const RESTOCK_PATIENCE: TimeDelta = TimeDelta::days(7);

/// Why money goes back, as the payment context is told.
const REASON: &str = "goods returned";

/// What is done about the goods of one return.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Returning {
    /// Nothing came back under this id.
    #[default]
    NotStarted,
    /// Goods came back.
    Started(Progress),
}

/// A return on its way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    return_id: ReturnId,
    order_id: OrderId,
    items: Vec<Item>,
    amount: Money,
    restock_until: DateTime<Utc>,
    /// What is not done.
    open: Vec<Open>,
}

/// A step that is not done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Open {
    step: ReturnStep,
    /// Why it goes no further by itself.
    stuck: Option<String>,
}

impl Returning {
    /// What follows from a fact: one event, or none when it is repeated, late or of no concern. A
    /// fact before the goods are back is none of a return: nothing is asked before.
    pub fn react(&self, fact: &ReturningFact) -> Option<ReturningEvent> {
        match self {
            Self::NotStarted => start(fact),
            Self::Started(progress) => progress.react(fact),
        }
    }
}

fn start(fact: &ReturningFact) -> Option<ReturningEvent> {
    let ReturningFact::ReturnReceived {
        return_id,
        order_id,
        items,
        amount,
        received_at,
    } = fact
    else {
        return None;
    };
    Some(ReturningEvent::ReturningStarted {
        return_id: *return_id,
        order_id: *order_id,
        items: items.clone(),
        amount: *amount,
        started_at: *received_at,
        restock_until: *received_at + RESTOCK_PATIENCE,
    })
}

impl Progress {
    fn react(&self, fact: &ReturningFact) -> Option<ReturningEvent> {
        match fact {
            ReturningFact::ReturnReceived { .. } => None,
            ReturningFact::ReturnRestocked { sku } => {
                self.done(ReturnStep::RestockReturn { sku: sku.clone() })
            }
            ReturningFact::PaymentRefunded {} => self.done(ReturnStep::RefundPayment),
            // Also of a refund that was done: a bank sends money back after days.
            ReturningFact::RefundFailed { code } => {
                let step = ReturnStep::RefundPayment;
                let known = self.open(&step).is_some_and(|open| open.stuck.is_some());
                let why = format!("the refund failed: {code}");
                (!known).then_some(ReturningEvent::ReturningSuspended { step, why })
            }
            ReturningFact::AskRefused {
                step,
                code,
                message,
            } => {
                let due = self.open(step).is_some_and(|open| open.stuck.is_none());
                due.then(|| ReturningEvent::ReturningSuspended {
                    step: step.clone(),
                    why: format!("{code}: {message}"),
                })
            }
        }
    }

    fn done(&self, step: ReturnStep) -> Option<ReturningEvent> {
        self.open(&step)?;
        Some(if self.open.len() == 1 {
            ReturningEvent::ReturningEnded { step }
        } else {
            ReturningEvent::ReturningStepSucceeded { step }
        })
    }

    fn open(&self, step: &ReturnStep) -> Option<&Open> {
        self.open.iter().find(|open| open.step == *step)
    }

    fn close(&mut self, step: &ReturnStep) {
        self.open.retain(|open| open.step != *step);
    }

    fn due(&self, step: &ReturnStep, at: DateTime<Utc>) -> Option<Due<ReturnStep>> {
        let addressed = match step {
            ReturnStep::RestockReturn { sku } => {
                let item = self.items.iter().find(|item| item.sku == *sku)?;
                let command = InventoryCommand::RestockReturn {
                    return_id: self.return_id,
                    quantity: item.quantity,
                    expires_at: self.restock_until,
                    at,
                };
                Addressed::inventory(sku, &command)
            }
            ReturnStep::RefundPayment => {
                let command = PaymentCommand::RefundPayment {
                    refund_id: refund_id_of_return(self.return_id),
                    amount: self.amount,
                    reason: REASON.parse::<Reason>().ok()?,
                };
                Addressed::payment(self.order_id, &command)
            }
        };
        let ask_id = ask_id_of("return", self.return_id, step);
        Some(addressed.due(ask_id, step.clone()))
    }
}

impl Saga for Returning {
    const NAME: &'static str = "returning";
    type Id = ReturnId;
    type Ask = ReturnStep;

    fn pending(&self, now: DateTime<Utc>) -> Vec<Due<ReturnStep>> {
        let Self::Started(progress) = self else {
            return Vec::new();
        };
        let due = progress.open.iter().filter(|open| open.stuck.is_none());
        due.filter_map(|open| progress.due(&open.step, now))
            .collect()
    }

    /// It waits for facts only.
    fn deadline(&self) -> Option<DateTime<Utc>> {
        None
    }

    fn suspended(&self) -> Option<String> {
        let Self::Started(progress) = self else {
            return None;
        };
        let mut stuck = progress.open.iter().filter_map(|open| {
            let why = open.stuck.as_ref()?;
            Some(format!("{}: {why}", open.step))
        });
        stuck.next()
    }

    fn refused(
        due: &Due<ReturnStep>,
        code: String,
        message: String,
        _at: DateTime<Utc>,
    ) -> ReturningFact {
        ReturningFact::AskRefused {
            step: due.label.clone(),
            code,
            message,
        }
    }

    /// Of everything that is already true the event is on its way.
    fn already(_due: &Due<ReturnStep>) -> Option<ReturningFact> {
        None
    }
}

impl Decider for Returning {
    const CONTEXT: &'static str = "checkout";
    const KIND: Option<&'static str> = Some("return");

    fn decide(&self, fact: &ReturningFact) -> Result<Vec<ReturningEvent>, NoRefusal> {
        Ok(self.react(fact).into_iter().collect())
    }

    fn evolve(&mut self, event: &ReturningEvent) {
        match (self, event) {
            (
                known @ Self::NotStarted,
                ReturningEvent::ReturningStarted {
                    return_id,
                    order_id,
                    items,
                    amount,
                    started_at: _,
                    restock_until,
                },
            ) => {
                *known = Self::Started(Progress {
                    return_id: *return_id,
                    order_id: *order_id,
                    items: items.clone(),
                    amount: *amount,
                    restock_until: *restock_until,
                    open: all_steps(items),
                });
            }
            // A fact about a return that never was, or a second start, changes nothing.
            (Self::NotStarted, _) | (_, ReturningEvent::ReturningStarted { .. }) => {}
            (
                Self::Started(progress),
                ReturningEvent::ReturningStepSucceeded { step }
                | ReturningEvent::ReturningEnded { step },
            ) => progress.close(step),
            (Self::Started(progress), ReturningEvent::ReturningSuspended { step, why }) => {
                progress.close(step);
                progress.open.push(Open {
                    step: step.clone(),
                    stuck: Some(why.clone()),
                });
            }
        }
    }
}

fn all_steps(items: &[Item]) -> Vec<Open> {
    let restocks = items.iter().map(|item| ReturnStep::RestockReturn {
        sku: item.sku.clone(),
    });
    let steps = restocks.chain([ReturnStep::RefundPayment]);
    steps.map(|step| Open { step, stuck: None }).collect()
}

impl Aggregate for Returning {
    const TYPE: &'static str = "checkout.return";
    type Command = ReturningFact;
    type Event = ReturningEvent;
    type Error = NoRefusal;
    type Services = ();

    async fn handle(
        &mut self,
        fact: ReturningFact,
        (): &(),
        sink: &EventSink<Self>,
    ) -> Result<(), NoRefusal> {
        kernel::bridge(self, fact, sink).await
    }

    fn apply(&mut self, event: ReturningEvent) {
        self.evolve(&event);
    }
}
