//! The handling of a return: `decide` takes a fact in, `pending` says what is to be asked.

use std::marker::PhantomData;

use ::order::OrderCommand;
use chrono::{DateTime, TimeDelta, Utc};
use cqrs_es::Aggregate;
use cqrs_es::event_sink::EventSink;
use inventory::InventoryCommand;
use kernel::{Decider, Money, OrderId, Reason, RefundId, ReturnId, UserId};
use notification::{Details, Template};
use payment::PaymentCommand;
use serde::{Deserialize, Serialize};

use super::{RUNNING, ReturnAsk, ReturnRow, ReturnStep, ReturningEvent, ReturningFact};
use crate::addressed::Addressed;
use crate::definition::known;
use crate::id::ask_id_of;
use crate::picture::NOT_STARTED;
use crate::settling::Wish;
use crate::tasks::{RESOLVED, Task, TaskStage, Tasks, UNKNOWN};
use crate::{
    Definitions, Due, Item, RETURN_ATTEMPTS_MAX, Saga, SagaRefusal, Shop, refund_id_by_hand,
    refund_id_of_return, returns_of,
};

/// How long the inventory is asked to put goods on the shelf: longer than any outage that nobody
/// notices. It remembers a return for as long, so that it restocks it once.
pub const RESTOCK_PATIENCE: TimeDelta = TimeDelta::days(7);

/// Why money goes back, as the payment context is told.
const REASON: &str = "goods returned";

/// The shop's return.
pub type Returning = ReturningBy<Shop>;

/// What is done about the goods of one return, by the definition of `D` that it started under.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", bound = "D: Definitions<ReturnRow>")]
pub enum ReturningBy<D> {
    /// Nothing came back under this id.
    #[default]
    NotStarted,
    /// Goods came back.
    Started(Progress<D>),
    /// A person has dealt with all of it.
    Resolved(Progress<D>),
    /// Goods came back under a definition that this build does not know: it can't tell what there is
    /// to do. Never in a snapshot.
    #[serde(skip)]
    Unknown {
        /// Which return.
        return_id: ReturnId,
        /// Of which order.
        order_id: OrderId,
        /// Under which definition.
        revision: u32,
    },
}

/// A return on its way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(bound = "D: Definitions<ReturnRow>")]
pub struct Progress<D> {
    #[serde(deserialize_with = "known::<D, ReturnRow, _>")]
    revision: u32,
    return_id: ReturnId,
    order_id: OrderId,
    items: Vec<Item>,
    amount: Money,
    user_id: Option<UserId>,
    restock_until: DateTime<Utc>,
    tasks: Tasks<ReturnStep>,
    /// The last refund that failed.
    failed: Option<RefundId>,
    /// What a person has paid by hand.
    paid: Option<RefundId>,
    #[serde(skip)]
    by: PhantomData<D>,
}

impl<D: Definitions<ReturnRow>> ReturningBy<D> {
    /// What follows from a fact: one event, or none when it is repeated, late or of no concern. A
    /// fact before the goods are back is none of a return: nothing is asked before.
    pub fn react(&self, fact: &ReturningFact) -> Option<ReturningEvent> {
        match self {
            Self::NotStarted => start(fact, D::CURRENT),
            Self::Started(progress) => progress.react(fact),
            Self::Resolved(_) | Self::Unknown { .. } => None,
        }
    }

    /// Where it is, in a word: the stage of its picture.
    pub fn stage(&self) -> &'static str {
        match self {
            Self::NotStarted => NOT_STARTED,
            Self::Started(progress) => progress.tasks.stage(RUNNING),
            Self::Resolved(_) => RESOLVED,
            Self::Unknown { .. } => UNKNOWN,
        }
    }

    /// The definition that it follows, once started.
    pub fn revision(&self) -> Option<u32> {
        match self {
            Self::NotStarted => None,
            Self::Started(progress) | Self::Resolved(progress) => Some(progress.revision),
            Self::Unknown { revision, .. } => Some(*revision),
        }
    }

    /// Is it the refund that is or was asked for last? Of a definition that is not known, any that it
    /// may ask for: a build that knows it is to say.
    pub fn asked_for(&self, refund_id: RefundId) -> bool {
        match self {
            Self::NotStarted => false,
            Self::Started(progress) | Self::Resolved(progress) => {
                progress.refund_id() == Some(refund_id)
            }
            Self::Unknown { return_id, .. } => returns_of(refund_id).any(|id| id == *return_id),
        }
    }
}

fn start(fact: &ReturningFact, revision: u32) -> Option<ReturningEvent> {
    let ReturningFact::ReturnReceived {
        return_id,
        order_id,
        items,
        amount,
        user_id,
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
        user_id: *user_id,
        started_at: *received_at,
        restock_until: *received_at + RESTOCK_PATIENCE,
        revision,
    })
}

impl<D> Progress<D> {
    fn react(&self, fact: &ReturningFact) -> Option<ReturningEvent> {
        match fact {
            ReturningFact::ReturnRestocked { sku } => {
                self.done(ReturnStep::RestockReturn { sku: sku.clone() })
            }
            // A refund that failed never succeeds after that: that it did is told late.
            ReturningFact::PaymentRefunded { refund_id } => {
                let failed = self.failed == Some(*refund_id);
                let current = self.refund_id() == Some(*refund_id) && !failed;
                current.then(|| self.done(ReturnStep::RefundPayment))?
            }
            // Also of a refund that was done: a bank sends money back after days.
            ReturningFact::RefundFailed { refund_id, code } => {
                let task = self.tasks.of_step(&ReturnStep::RefundPayment)?;
                let current = self.refund_id() == Some(*refund_id);
                (current && takes_failure(task)).then(|| ReturningEvent::ReturningSuspended {
                    step: ReturnStep::RefundPayment,
                    why: format!("the refund failed: {code}"),
                    failed: true,
                })
            }
            // Repeated; or somebody could not be told, which stops nothing.
            ReturningFact::ReturnReceived { .. }
            | ReturningFact::AskRefused {
                ask: ReturnAsk::RecordRefund | ReturnAsk::Notify,
                ..
            } => None,
            ReturningFact::AskRefused {
                ask: ReturnAsk::Step { step },
                code,
                message,
            } => {
                let task = self.tasks.of_step(step)?;
                task.is_due().then(|| ReturningEvent::ReturningSuspended {
                    step: step.clone(),
                    why: format!("{code}: {message}"),
                    failed: false,
                })
            }
            ReturningFact::Resumed { by } => {
                let again = self.tasks.may_resume(RETURN_ATTEMPTS_MAX);
                again.then(|| ReturningEvent::ReturningResumed { by: by.clone() })
            }
            ReturningFact::Skipped { step, by, reason } => {
                let step = self.tasks.stuck_at(step)?;
                let by_hand = || refund_id_by_hand(self.return_id);
                Some(ReturningEvent::ReturningStepSkipped {
                    step: step.clone(),
                    by: by.clone(),
                    reason: reason.clone(),
                    last: self.tasks.is_last(),
                    paid: (*step == ReturnStep::RefundPayment).then(by_hand),
                })
            }
            ReturningFact::Resolved { by, reason } => {
                self.tasks.stuck().next()?;
                Some(ReturningEvent::ReturningResolved {
                    by: by.clone(),
                    reason: reason.clone(),
                })
            }
        }
    }

    fn done(&self, step: ReturnStep) -> Option<ReturningEvent> {
        let open = self.tasks.of_step(&step)?.is_open();
        open.then(|| {
            if self.tasks.is_last() {
                ReturningEvent::ReturningEnded { step }
            } else {
                ReturningEvent::ReturningStepSucceeded { step }
            }
        })
    }

    /// The refund that is or was asked for last.
    fn refund_id(&self) -> Option<RefundId> {
        let task = self.tasks.of_step(&ReturnStep::RefundPayment)?;
        Some(refund_id_of_return(self.return_id, task.attempt))
    }

    /// What a person has paid by hand, the order and the customer hear of. It stays due, as a mail does:
    /// a repeat is harmless, a loss is not.
    fn told_by_hand(&self) -> Vec<Due<ReturnAsk>> {
        let task = self.tasks.of_step(&ReturnStep::RefundPayment);
        let skipped = task.is_some_and(|task| task.stage == TaskStage::Skipped);
        let paid = self.paid.or_else(|| self.refund_id());
        let Some(refund_id) = paid.filter(|_| skipped) else {
            return Vec::new();
        };
        let record = OrderCommand::RecordRefund {
            refund_id,
            amount: self.amount,
        };
        let mail = |user_id| {
            let details = Details {
                order_id: Some(self.order_id),
                amount: Some(self.amount),
                ..Details::default()
            };
            let told = Addressed::mail(refund_id.0, user_id, Template::OrderRefunded, details);
            (told, ReturnAsk::Notify)
        };
        let recorded = Addressed::order(self.order_id, &record);
        let asks = [(recorded, ReturnAsk::RecordRefund)];
        let asks = asks.into_iter().chain(self.user_id.map(mail));
        asks.map(|(addressed, ask)| {
            let ask_id = ask_id_of("return", self.return_id, format!("{ask}/1"));
            addressed.due(ask_id, ask)
        })
        .collect()
    }

    fn due(&self, task: &Task<ReturnStep>, at: DateTime<Utc>) -> Option<Due<ReturnAsk>> {
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
        let step = task.step.clone();
        Some(addressed.due(ask_id, ReturnAsk::Step { step }))
    }
}

/// Money that came back is news, unless a person waits for it or has seen to it.
fn takes_failure(task: &Task<ReturnStep>) -> bool {
    match task.stage {
        TaskStage::Due | TaskStage::Done => true,
        TaskStage::Stuck { .. } | TaskStage::Skipped => false,
    }
}

impl<D: Definitions<ReturnRow>> Saga for ReturningBy<D> {
    const NAME: &'static str = "returning";
    type Id = ReturnId;
    type Ask = ReturnAsk;

    fn order_id(&self) -> Option<OrderId> {
        match self {
            Self::NotStarted => None,
            Self::Started(progress) | Self::Resolved(progress) => Some(progress.order_id),
            Self::Unknown { order_id, .. } => Some(*order_id),
        }
    }

    fn unknown_revision(&self) -> Option<u32> {
        match self {
            Self::NotStarted | Self::Started(_) | Self::Resolved(_) => None,
            Self::Unknown { revision, .. } => Some(*revision),
        }
    }

    fn may_be_late(ask: &ReturnAsk) -> bool {
        *ask == ReturnAsk::Notify
    }

    fn pending(&self, now: DateTime<Utc>) -> Vec<Due<ReturnAsk>> {
        let Self::Started(progress) = self else {
            return Vec::new();
        };
        let due = progress.tasks.due();
        let due = due.filter_map(|task| progress.due(task, now));
        due.chain(progress.told_by_hand()).collect()
    }

    /// It waits for facts only.
    fn deadline(&self) -> Option<DateTime<Utc>> {
        None
    }

    fn suspended(&self) -> Option<String> {
        let Self::Started(progress) = self else {
            return None;
        };
        let (task, why) = progress.tasks.stuck().next()?;
        Some(format!("{}: {why}", task.step))
    }

    fn refused(
        due: &Due<ReturnAsk>,
        code: String,
        message: String,
        _at: DateTime<Utc>,
    ) -> ReturningFact {
        ReturningFact::AskRefused {
            ask: due.label.clone(),
            code,
            message,
        }
    }

    fn settled(wish: Wish, by: String, _at: DateTime<Utc>) -> Option<ReturningFact> {
        Some(match wish {
            Wish::Resume => ReturningFact::Resumed { by },
            Wish::Skip { step, reason } => ReturningFact::Skipped { step, by, reason },
            Wish::Resolve { reason } => ReturningFact::Resolved { by, reason },
        })
    }
}

impl<D: Definitions<ReturnRow>> Decider for ReturningBy<D> {
    const CONTEXT: &'static str = "checkout";
    const KIND: Option<&'static str> = Some("return");
    const STATE_REVISION: u32 = 5;

    fn decide(&self, fact: &ReturningFact) -> Result<Vec<ReturningEvent>, SagaRefusal> {
        if let Some(revision) = self.unknown_revision() {
            return Err(SagaRefusal::RevisionUnknown { revision });
        }
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
                    user_id,
                    started_at: _,
                    restock_until,
                    revision,
                },
            ) => {
                let Some(definition) = D::numbered(*revision) else {
                    *known = Self::Unknown {
                        return_id: *return_id,
                        order_id: *order_id,
                        revision: *revision,
                    };
                    return;
                };
                let skus: Vec<_> = items.iter().map(|item| &item.sku).collect();
                *known = Self::Started(Progress {
                    revision: *revision,
                    return_id: *return_id,
                    order_id: *order_id,
                    items: items.clone(),
                    amount: *amount,
                    user_id: *user_id,
                    restock_until: *restock_until,
                    tasks: Tasks::of(definition.steps, &skus),
                    failed: None,
                    paid: None,
                    by: PhantomData,
                });
            }
            // A fact about a return that never was, or a second start, changes nothing.
            (Self::NotStarted | Self::Resolved(_) | Self::Unknown { .. }, _)
            | (_, ReturningEvent::ReturningStarted { .. }) => {}
            (
                Self::Started(progress),
                ReturningEvent::ReturningStepSucceeded { step }
                | ReturningEvent::ReturningEnded { step },
            ) => progress.tasks.set(step, TaskStage::Done),
            (Self::Started(progress), ReturningEvent::ReturningSuspended { step, why, failed }) => {
                if *failed {
                    progress.failed = progress.refund_id();
                }
                progress
                    .tasks
                    .set(step, TaskStage::Stuck { why: why.clone() });
            }
            (Self::Started(progress), ReturningEvent::ReturningStepSkipped { step, paid, .. }) => {
                progress.paid = progress.paid.or(*paid);
                progress.tasks.set(step, TaskStage::Skipped);
            }
            (known @ Self::Started(_), ReturningEvent::ReturningResolved { .. }) => {
                if let Self::Started(progress) = std::mem::take(known) {
                    *known = Self::Resolved(progress);
                }
            }
            (Self::Started(progress), ReturningEvent::ReturningResumed { by: _ }) => {
                progress.tasks.resume(RETURN_ATTEMPTS_MAX);
            }
        }
    }
}

impl<D: Definitions<ReturnRow>> Aggregate for ReturningBy<D> {
    const TYPE: &'static str = "checkout.return";
    type Command = ReturningFact;
    type Event = ReturningEvent;
    type Error = SagaRefusal;
    type Services = ();

    async fn handle(
        &mut self,
        fact: ReturningFact,
        (): &(),
        sink: &EventSink<Self>,
    ) -> Result<(), SagaRefusal> {
        kernel::bridge(self, fact, sink).await
    }

    fn apply(&mut self, event: ReturningEvent) {
        self.evolve(&event);
    }
}
