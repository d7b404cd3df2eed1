//! The handling of a return: `decide` takes a fact in, `pending` says what is to be asked.

use chrono::{DateTime, TimeDelta, Utc};
use cqrs_es::Aggregate;
use cqrs_es::event_sink::EventSink;
use inventory::InventoryCommand;
use kernel::{Decider, Money, OrderId, Reason, RefundId, ReturnId};
use payment::PaymentCommand;
use serde::{Deserialize, Serialize};

use super::{ReturnStep, ReturningEvent, ReturningFact};
use crate::addressed::Addressed;
use crate::id::ask_id_of;
use crate::picture::NOT_STARTED;
use crate::{Due, Item, NoRefusal, RETURN_ATTEMPTS_MAX, Saga, refund_id_of_return};

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
    /// A person has dealt with all of it.
    Resolved(Progress),
}

/// A return on its way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    return_id: ReturnId,
    order_id: OrderId,
    items: Vec<Item>,
    amount: Money,
    restock_until: DateTime<Utc>,
    tasks: Vec<Task>,
}

/// A step, and how far it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Task {
    step: ReturnStep,
    /// From 1; above 1 only after an operator resumed.
    attempt: u32,
    stage: Stage,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Stage {
    /// It is asked for.
    Due,
    /// It goes no further by itself.
    Stuck {
        /// Why.
        why: String,
    },
    Done,
    /// A person has done it.
    Skipped,
}

impl Returning {
    /// What follows from a fact: one event, or none when it is repeated, late or of no concern. A
    /// fact before the goods are back is none of a return: nothing is asked before.
    pub fn react(&self, fact: &ReturningFact) -> Option<ReturningEvent> {
        match self {
            Self::NotStarted => start(fact),
            Self::Started(progress) => progress.react(fact),
            Self::Resolved(_) => None,
        }
    }

    /// Where it is, in a word: the stage of its picture.
    pub fn stage(&self) -> &'static str {
        let progress = match self {
            Self::NotStarted => return NOT_STARTED,
            Self::Started(progress) => progress,
            Self::Resolved(_) => return "resolved",
        };
        if progress.tasks.iter().any(Task::is_stuck) {
            "suspended"
        } else if progress.tasks.iter().any(Task::is_open) {
            "running"
        } else {
            "ended"
        }
    }

    /// Is it the refund that is or was asked for last?
    pub fn asked_for(&self, refund_id: RefundId) -> bool {
        match self {
            Self::NotStarted => false,
            Self::Started(progress) | Self::Resolved(progress) => {
                progress.refund_id() == Some(refund_id)
            }
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
            ReturningFact::PaymentRefunded { refund_id } => {
                let current = self.refund_id() == Some(*refund_id);
                current.then(|| self.done(ReturnStep::RefundPayment))?
            }
            // Also of a refund that was done: a bank sends money back after days.
            ReturningFact::RefundFailed { refund_id, code } => {
                let task = self.task(&ReturnStep::RefundPayment)?;
                let current = self.refund_id() == Some(*refund_id);
                (current && task.takes_failure()).then(|| ReturningEvent::ReturningSuspended {
                    step: ReturnStep::RefundPayment,
                    why: format!("the refund failed: {code}"),
                })
            }
            ReturningFact::AskRefused {
                step,
                code,
                message,
            } => {
                let due = self.task(step)?.stage == Stage::Due;
                due.then(|| ReturningEvent::ReturningSuspended {
                    step: step.clone(),
                    why: format!("{code}: {message}"),
                })
            }
            ReturningFact::Resumed { by } => {
                let mut stuck = self.tasks.iter().filter(|task| task.is_stuck());
                let again = stuck.any(|task| task.attempt < RETURN_ATTEMPTS_MAX);
                again.then(|| ReturningEvent::ReturningResumed { by: by.clone() })
            }
            ReturningFact::Skipped { step, by, reason } => self.skipped(step, by, reason),
            ReturningFact::Resolved { by, reason } => {
                let stuck = self.tasks.iter().any(Task::is_stuck);
                stuck.then(|| ReturningEvent::ReturningResolved {
                    by: by.clone(),
                    reason: reason.clone(),
                })
            }
        }
    }

    /// Only what is stuck: an operator settles what they have looked at.
    fn skipped(&self, step: &str, by: &str, reason: &Reason) -> Option<ReturningEvent> {
        let mut stuck = self.tasks.iter().filter(|task| task.is_stuck());
        let task = stuck.find(|task| task.step.to_string() == step)?;
        let open = self.tasks.iter().filter(|task| task.is_open());
        Some(ReturningEvent::ReturningStepSkipped {
            step: task.step.clone(),
            by: by.to_owned(),
            reason: reason.clone(),
            last: open.count() == 1,
        })
    }

    fn done(&self, step: ReturnStep) -> Option<ReturningEvent> {
        let open = |task: &&Task| task.is_open();
        self.task(&step).filter(open)?;
        Some(if self.tasks.iter().filter(open).count() == 1 {
            ReturningEvent::ReturningEnded { step }
        } else {
            ReturningEvent::ReturningStepSucceeded { step }
        })
    }

    fn task(&self, step: &ReturnStep) -> Option<&Task> {
        self.tasks.iter().find(|task| task.step == *step)
    }

    fn move_to(&mut self, step: &ReturnStep, stage: Stage) {
        if let Some(task) = self.tasks.iter_mut().find(|task| task.step == *step) {
            task.stage = stage;
        }
    }

    /// The refund that is or was asked for last.
    fn refund_id(&self) -> Option<RefundId> {
        let task = self.task(&ReturnStep::RefundPayment)?;
        Some(refund_id_of_return(self.return_id, task.attempt))
    }

    fn due(&self, task: &Task, at: DateTime<Utc>) -> Option<Due<ReturnStep>> {
        let addressed = match &task.step {
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
                    refund_id: self.refund_id()?,
                    amount: self.amount,
                    reason: REASON.parse::<Reason>().ok()?,
                };
                Addressed::payment(self.order_id, &command)
            }
        };
        let ask = format!("{}/{}", task.step, task.attempt);
        let ask_id = ask_id_of("return", self.return_id, ask);
        Some(addressed.due(ask_id, task.step.clone()))
    }
}

impl Task {
    fn new(step: ReturnStep) -> Self {
        Self {
            step,
            attempt: 1,
            stage: Stage::Due,
        }
    }

    fn is_stuck(&self) -> bool {
        matches!(self.stage, Stage::Stuck { .. })
    }

    fn is_open(&self) -> bool {
        match self.stage {
            Stage::Due | Stage::Stuck { .. } => true,
            Stage::Done | Stage::Skipped => false,
        }
    }

    /// Money that came back is news, unless a person waits for it or has seen to it.
    fn takes_failure(&self) -> bool {
        match self.stage {
            Stage::Due | Stage::Done => true,
            Stage::Stuck { .. } | Stage::Skipped => false,
        }
    }

    fn resume(&mut self) {
        if self.is_stuck() && self.attempt < RETURN_ATTEMPTS_MAX {
            self.attempt += 1;
            self.stage = Stage::Due;
        }
    }
}

impl Saga for Returning {
    const NAME: &'static str = "returning";
    type Id = ReturnId;
    type Ask = ReturnStep;

    fn order_id(&self) -> Option<OrderId> {
        match self {
            Self::NotStarted => None,
            Self::Started(progress) | Self::Resolved(progress) => Some(progress.order_id),
        }
    }

    fn pending(&self, now: DateTime<Utc>) -> Vec<Due<ReturnStep>> {
        let Self::Started(progress) = self else {
            return Vec::new();
        };
        let due = progress
            .tasks
            .iter()
            .filter(|task| task.stage == Stage::Due);
        due.filter_map(|task| progress.due(task, now)).collect()
    }

    /// It waits for facts only.
    fn deadline(&self) -> Option<DateTime<Utc>> {
        None
    }

    fn suspended(&self) -> Option<String> {
        let Self::Started(progress) = self else {
            return None;
        };
        let mut stuck = progress.tasks.iter().filter_map(|task| match &task.stage {
            Stage::Stuck { why } => Some(format!("{}: {why}", task.step)),
            Stage::Due | Stage::Done | Stage::Skipped => None,
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
                    tasks: all_tasks(items),
                });
            }
            // A fact about a return that never was, or a second start, changes nothing.
            (Self::NotStarted | Self::Resolved(_), _)
            | (_, ReturningEvent::ReturningStarted { .. }) => {}
            (
                Self::Started(progress),
                ReturningEvent::ReturningStepSucceeded { step }
                | ReturningEvent::ReturningEnded { step },
            ) => progress.move_to(step, Stage::Done),
            (Self::Started(progress), ReturningEvent::ReturningSuspended { step, why }) => {
                progress.move_to(step, Stage::Stuck { why: why.clone() });
            }
            (Self::Started(progress), ReturningEvent::ReturningStepSkipped { step, .. }) => {
                progress.move_to(step, Stage::Skipped);
            }
            (known @ Self::Started(_), ReturningEvent::ReturningResolved { .. }) => {
                if let Self::Started(progress) = std::mem::take(known) {
                    *known = Self::Resolved(progress);
                }
            }
            (Self::Started(progress), ReturningEvent::ReturningResumed { by: _ }) => {
                progress.tasks.iter_mut().for_each(Task::resume);
            }
        }
    }
}

fn all_tasks(items: &[Item]) -> Vec<Task> {
    let restocks = items.iter().map(|item| ReturnStep::RestockReturn {
        sku: item.sku.clone(),
    });
    let steps = restocks.chain([ReturnStep::RefundPayment]);
    steps.map(Task::new).collect()
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
