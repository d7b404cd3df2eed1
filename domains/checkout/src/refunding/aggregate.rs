//! The telling of a refund: `decide` takes a fact in, `pending` says what is to be asked.

use std::fmt;
use std::marker::PhantomData;

use ::order::OrderCommand;
use chrono::{DateTime, Utc};
use cqrs_es::Aggregate;
use cqrs_es::event_sink::EventSink;
use kernel::{Decider, Money, OrderId, RefundId, UserId};
use notification::{Details, Template};
use serde::{Deserialize, Serialize};

use super::{RECORDING, RefundRow, RefundingEvent, RefundingFact};
use crate::addressed::Addressed;
use crate::definition::known;
use crate::id::ask_id_of;
use crate::picture::NOT_STARTED;
use crate::settling::Wish;
use crate::tasks::{ENDED, RESOLVED, TaskStage, Tasks, UNKNOWN};
use crate::{Definitions, Due, Saga, SagaRefusal, Shop};

/// A person may have the order told as often as they like.
const ATTEMPTS_MAX: u32 = u32::MAX;

/// The shop's refund.
pub type Refunding = RefundingBy<Shop>;

/// What is told of one refund, by the definition of `D` that it started under.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", bound = "D: Definitions<RefundRow>")]
pub enum RefundingBy<D> {
    /// No money went back under this id that somebody else should be told of.
    #[default]
    NotStarted,
    /// The money never went back, or was here again before anybody was told.
    Dropped,
    /// Money went back.
    Started(Refund<D>),
    /// A person has dealt with all of it.
    Resolved(Refund<D>),
    /// Money went back under a definition that this build does not know: it can't tell what there is
    /// to do. Never in a snapshot.
    #[serde(skip)]
    Unknown {
        /// Of which order.
        order_id: OrderId,
        /// Under which definition.
        revision: u32,
    },
}

/// Money that went back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(bound = "D: Definitions<RefundRow>")]
pub struct Refund<D> {
    #[serde(deserialize_with = "known::<D, RefundRow, _>")]
    revision: u32,
    id: RefundId,
    order_id: OrderId,
    user_id: UserId,
    amount: Money,
    tasks: Tasks<RefundAsk>,
    /// The order knows.
    recorded: bool,
    /// The money did not stay there.
    failed: bool,
    #[serde(skip)]
    by: PhantomData<D>,
}

/// One thing asked.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "snake_case")]
pub enum RefundAsk {
    /// To note on the order that money went back.
    RecordRefund,
    /// To note on the order that the money came back.
    ReverseRefund,
    /// To tell the customer.
    Notify,
}

impl fmt::Display for RefundAsk {
    /// `record_refund`, `reverse_refund`, `notify`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::RecordRefund => "record_refund",
            Self::ReverseRefund => "reverse_refund",
            Self::Notify => "notify",
        })
    }
}

impl<D: Definitions<RefundRow>> RefundingBy<D> {
    /// What follows from a fact: one event, or none when it is repeated, late or of no concern. Before
    /// any money went back a fact is about a refund of the checkout's own; or it says that the money did
    /// not stay there, which is remembered: that it went may yet be told.
    pub fn react(&self, fact: &RefundingFact) -> Option<RefundingEvent> {
        match self {
            Self::NotStarted => start(fact, D::CURRENT),
            Self::Started(refund) => refund.react(fact),
            Self::Dropped | Self::Resolved(_) | Self::Unknown { .. } => None,
        }
    }

    /// Where it is, in a word: the stage of its picture.
    pub fn stage(&self) -> &'static str {
        match self {
            Self::NotStarted => NOT_STARTED,
            Self::Dropped => ENDED,
            Self::Started(refund) => refund.tasks.stage(RECORDING),
            Self::Resolved(_) => RESOLVED,
            Self::Unknown { .. } => UNKNOWN,
        }
    }

    /// The definition that it follows, once started.
    pub fn revision(&self) -> Option<u32> {
        match self {
            Self::NotStarted | Self::Dropped => None,
            Self::Started(refund) | Self::Resolved(refund) => Some(refund.revision),
            Self::Unknown { revision, .. } => Some(*revision),
        }
    }
}

fn start(fact: &RefundingFact, revision: u32) -> Option<RefundingEvent> {
    if let RefundingFact::RefundFailed { code } = fact {
        let code = code.clone();
        return Some(RefundingEvent::RefundingDropped { code });
    }
    let RefundingFact::PaymentRefunded {
        refund_id,
        order_id,
        user_id,
        amount,
        refunded_at,
    } = fact
    else {
        return None;
    };
    Some(RefundingEvent::RefundingStarted {
        refund_id: *refund_id,
        order_id: *order_id,
        user_id: *user_id,
        amount: *amount,
        started_at: *refunded_at,
        revision,
    })
}

impl<D> Refund<D> {
    fn react(&self, fact: &RefundingFact) -> Option<RefundingEvent> {
        let record = self.tasks.of_step(&RefundAsk::RecordRefund)?;
        let stuck = self.tasks.stuck().next().is_some();
        // Then a person sees to it, whatever the order says by now.
        let came_back = stuck && self.failed;
        match fact {
            RefundingFact::PaymentRefunded { .. } => None,
            RefundingFact::OrderRefunded {} => {
                (record.is_open() && !came_back).then_some(RefundingEvent::RefundingEnded {})
            }
            // The order says, or is to say, that money went back, and it did not stay there.
            RefundingFact::RefundFailed { code } => {
                (!came_back).then(|| RefundingEvent::RefundingSuspended {
                    why: format!("the refund failed: {code}"),
                    failed: true,
                })
            }
            // The mail is no step: failing to tell the customer stops nothing.
            RefundingFact::AskRefused { ask, code, message } => {
                let task = self.tasks.of_step(ask)?;
                task.is_due().then(|| RefundingEvent::RefundingSuspended {
                    why: format!("{code}: {message}"),
                    failed: false,
                })
            }
            RefundingFact::Resumed { by } => {
                stuck.then(|| RefundingEvent::RefundingResumed { by: by.clone() })
            }
            RefundingFact::Skipped { step, by, reason } => {
                self.tasks.stuck_at(step)?;
                Some(RefundingEvent::RefundingSkipped {
                    by: by.clone(),
                    reason: reason.clone(),
                })
            }
            RefundingFact::Resolved { by, reason } => {
                stuck.then(|| RefundingEvent::RefundingResolved {
                    by: by.clone(),
                    reason: reason.clone(),
                })
            }
        }
    }

    fn set(&mut self, stage: TaskStage) {
        self.tasks.set(&RefundAsk::RecordRefund, stage);
    }

    /// What the order was not told it is told again. Money that came back a person has seen to.
    fn resume(&mut self) {
        if self.recorded || self.failed {
            self.set(TaskStage::Done);
        } else {
            self.tasks.resume(ATTEMPTS_MAX);
        }
    }

    /// A mail stays due for good: a repeat is harmless, a loss is not. It follows the step, however
    /// that went; of money that did not go back after all nobody is told. That the order takes it back
    /// stays due in the same way, for its note of the refund may be on its way.
    fn asks(&self) -> Vec<Due<RefundAsk>> {
        let due = self.tasks.due();
        let mut asks: Vec<_> = due
            .map(|task| self.due(task.step.clone(), task.attempt))
            .collect();
        let nothing_due = asks.is_empty();
        asks.extend(self.reversal());
        if nothing_due && (self.recorded || !self.failed) {
            // One mail, whatever became of the rest.
            asks.push(self.due(RefundAsk::Notify, 1));
        }
        asks
    }

    fn reversal(&self) -> Option<Due<RefundAsk>> {
        self.failed.then(|| self.due(RefundAsk::ReverseRefund, 1))
    }

    fn due(&self, ask: RefundAsk, attempt: u32) -> Due<RefundAsk> {
        let addressed = match ask {
            RefundAsk::RecordRefund => Addressed::order(
                self.order_id,
                &OrderCommand::RecordRefund {
                    refund_id: self.id,
                    amount: self.amount,
                },
            ),
            RefundAsk::ReverseRefund => Addressed::order(
                self.order_id,
                &OrderCommand::ReverseRefund { refund_id: self.id },
            ),
            RefundAsk::Notify => {
                let details = Details {
                    order_id: Some(self.order_id),
                    amount: Some(self.amount),
                    ..Details::default()
                };
                let template = Template::OrderRefunded;
                Addressed::mail(self.id.0, self.user_id, template, details)
            }
        };
        let ask_id = ask_id_of("refund", self.id, format!("{ask}/{attempt}"));
        addressed.due(ask_id, ask)
    }
}

impl<D: Definitions<RefundRow>> Saga for RefundingBy<D> {
    const NAME: &'static str = "refunding";
    type Id = RefundId;
    type Ask = RefundAsk;

    fn order_id(&self) -> Option<OrderId> {
        match self {
            Self::NotStarted | Self::Dropped => None,
            Self::Started(refund) | Self::Resolved(refund) => Some(refund.order_id),
            Self::Unknown { order_id, .. } => Some(*order_id),
        }
    }

    fn unknown_revision(&self) -> Option<u32> {
        match self {
            Self::NotStarted | Self::Dropped | Self::Started(_) | Self::Resolved(_) => None,
            Self::Unknown { revision, .. } => Some(*revision),
        }
    }

    fn pending(&self, _now: DateTime<Utc>) -> Vec<Due<RefundAsk>> {
        match self {
            Self::NotStarted | Self::Dropped | Self::Unknown { .. } => Vec::new(),
            Self::Started(refund) => refund.asks(),
            // A person has dealt with the money; what the order says of it only the saga can take back.
            Self::Resolved(refund) => refund.reversal().into_iter().collect(),
        }
    }

    fn may_be_late(ask: &RefundAsk) -> bool {
        *ask == RefundAsk::Notify
    }

    /// It waits for facts only.
    fn deadline(&self) -> Option<DateTime<Utc>> {
        None
    }

    fn suspended(&self) -> Option<String> {
        let Self::Started(refund) = self else {
            return None;
        };
        let (_, why) = refund.tasks.stuck().next()?;
        Some(why.to_owned())
    }

    fn refused(
        due: &Due<RefundAsk>,
        code: String,
        message: String,
        _at: DateTime<Utc>,
    ) -> RefundingFact {
        RefundingFact::AskRefused {
            ask: due.label.clone(),
            code,
            message,
        }
    }

    fn settled(wish: Wish, by: String, _at: DateTime<Utc>) -> Option<RefundingFact> {
        Some(match wish {
            Wish::Resume => RefundingFact::Resumed { by },
            Wish::Skip { step, reason } => RefundingFact::Skipped { step, by, reason },
            Wish::Resolve { reason } => RefundingFact::Resolved { by, reason },
        })
    }
}

impl<D: Definitions<RefundRow>> Decider for RefundingBy<D> {
    const CONTEXT: &'static str = "checkout";
    const KIND: Option<&'static str> = Some("refund");
    const STATE_REVISION: u32 = 3;

    fn decide(&self, fact: &RefundingFact) -> Result<Vec<RefundingEvent>, SagaRefusal> {
        if let Some(revision) = self.unknown_revision() {
            return Err(SagaRefusal::RevisionUnknown { revision });
        }
        Ok(self.react(fact).into_iter().collect())
    }

    fn evolve(&mut self, event: &RefundingEvent) {
        match (self, event) {
            (
                known @ Self::NotStarted,
                RefundingEvent::RefundingStarted {
                    refund_id,
                    order_id,
                    user_id,
                    amount,
                    started_at: _,
                    revision,
                },
            ) => {
                let Some(definition) = D::numbered(*revision) else {
                    *known = Self::Unknown {
                        order_id: *order_id,
                        revision: *revision,
                    };
                    return;
                };
                *known = Self::Started(Refund {
                    revision: *revision,
                    id: *refund_id,
                    order_id: *order_id,
                    user_id: *user_id,
                    amount: *amount,
                    // Of the goods it knows nothing.
                    tasks: Tasks::of(definition.steps, &[]),
                    recorded: false,
                    failed: false,
                    by: PhantomData,
                });
            }
            (known @ Self::NotStarted, RefundingEvent::RefundingDropped { .. }) => {
                *known = Self::Dropped;
            }
            // A fact about a refund that never was, or a second start, changes nothing.
            (Self::NotStarted | Self::Dropped | Self::Resolved(_) | Self::Unknown { .. }, _)
            | (
                _,
                RefundingEvent::RefundingStarted { .. } | RefundingEvent::RefundingDropped { .. },
            ) => {}
            (Self::Started(refund), RefundingEvent::RefundingSuspended { why, failed }) => {
                refund.failed = *failed;
                refund.set(TaskStage::Stuck { why: why.clone() });
            }
            (Self::Started(refund), RefundingEvent::RefundingResumed { by: _ }) => refund.resume(),
            (Self::Started(refund), RefundingEvent::RefundingSkipped { .. }) => {
                refund.set(TaskStage::Skipped);
            }
            (Self::Started(refund), RefundingEvent::RefundingEnded {}) => {
                refund.recorded = true;
                refund.set(TaskStage::Done);
            }
            (known @ Self::Started(_), RefundingEvent::RefundingResolved { .. }) => {
                if let Self::Started(refund) = std::mem::take(known) {
                    *known = Self::Resolved(refund);
                }
            }
        }
    }
}

impl<D: Definitions<RefundRow>> Aggregate for RefundingBy<D> {
    const TYPE: &'static str = "checkout.refund";
    type Command = RefundingFact;
    type Event = RefundingEvent;
    type Error = SagaRefusal;
    type Services = ();

    async fn handle(
        &mut self,
        fact: RefundingFact,
        (): &(),
        sink: &EventSink<Self>,
    ) -> Result<(), SagaRefusal> {
        kernel::bridge(self, fact, sink).await
    }

    fn apply(&mut self, event: RefundingEvent) {
        self.evolve(&event);
    }
}
