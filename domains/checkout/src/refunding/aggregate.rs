//! The telling of a refund: `decide` takes a fact in, `pending` says what is to be asked.

use std::fmt;

use ::order::OrderCommand;
use chrono::{DateTime, Utc};
use cqrs_es::Aggregate;
use cqrs_es::event_sink::EventSink;
use kernel::{Decider, Money, OrderId, RefundId, UserId};
use notification::{Details, Template};
use serde::{Deserialize, Serialize};

use super::{RefundingEvent, RefundingFact};
use crate::addressed::Addressed;
use crate::id::ask_id_of;
use crate::picture::NOT_STARTED;
use crate::{Due, NoRefusal, Saga};

/// What is told of one refund.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Refunding {
    /// No money went back under this id that somebody else should be told of.
    #[default]
    NotStarted,
    /// The order is being told.
    Recording(Refund),
    /// A person sees to it.
    Suspended {
        /// What went back.
        refund: Refund,
        /// What is wrong.
        why: String,
    },
    /// The order knows.
    Ended(Refund),
    /// A person has dealt with all of it.
    Resolved(Refund),
}

/// Money that went back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refund {
    id: RefundId,
    order_id: OrderId,
    user_id: UserId,
    amount: Money,
    /// From 1; above 1 only after an operator resumed.
    attempt: u32,
    /// The order knows.
    recorded: bool,
    /// The money did not stay there.
    failed: bool,
}

/// One thing asked.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "snake_case")]
pub enum RefundAsk {
    /// To note on the order that money went back.
    RecordRefund,
    /// To tell the customer.
    Notify,
}

impl fmt::Display for RefundAsk {
    /// `record_refund`, `notify`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::RecordRefund => "record_refund",
            Self::Notify => "notify",
        })
    }
}

impl Refunding {
    /// What follows from a fact: one event, or none when it is repeated, late or of no concern. A
    /// fact before any money went back is about a refund of the checkout's own, or one that failed.
    pub fn react(&self, fact: &RefundingFact) -> Option<RefundingEvent> {
        match (self, fact) {
            (
                Self::NotStarted,
                RefundingFact::PaymentRefunded {
                    refund_id,
                    order_id,
                    user_id,
                    amount,
                    refunded_at,
                },
            ) => Some(RefundingEvent::RefundingStarted {
                refund_id: *refund_id,
                order_id: *order_id,
                user_id: *user_id,
                amount: *amount,
                started_at: *refunded_at,
            }),
            // Money that came back a person sees to, whatever the order says by now.
            (Self::Suspended { refund, .. }, RefundingFact::OrderRefunded {}) if refund.failed => {
                None
            }
            (Self::Recording(_) | Self::Suspended { .. }, RefundingFact::OrderRefunded {}) => {
                Some(RefundingEvent::RefundingEnded {})
            }
            (Self::Suspended { refund, .. }, RefundingFact::RefundFailed { .. })
                if refund.failed =>
            {
                None
            }
            // The order says, or is to say, that money went back, and it did not stay there.
            (
                Self::Recording(_) | Self::Suspended { .. } | Self::Ended(_),
                RefundingFact::RefundFailed { code },
            ) => Some(RefundingEvent::RefundingSuspended {
                why: format!("the refund failed: {code}"),
                failed: true,
            }),
            // Failing to tell the customer stops nothing.
            (
                Self::Recording(_),
                RefundingFact::AskRefused {
                    ask: RefundAsk::RecordRefund,
                    code,
                    message,
                },
            ) => Some(RefundingEvent::RefundingSuspended {
                why: format!("{code}: {message}"),
                failed: false,
            }),
            (Self::Suspended { .. }, RefundingFact::Resumed { by }) => {
                Some(RefundingEvent::RefundingResumed { by: by.clone() })
            }
            // Only what is stuck: an operator settles what they have looked at.
            (Self::Suspended { .. }, RefundingFact::Skipped { step, by, reason })
                if *step == RefundAsk::RecordRefund.to_string() =>
            {
                Some(RefundingEvent::RefundingSkipped {
                    by: by.clone(),
                    reason: reason.clone(),
                })
            }
            (Self::Suspended { .. }, RefundingFact::Resolved { by, reason }) => {
                Some(RefundingEvent::RefundingResolved {
                    by: by.clone(),
                    reason: reason.clone(),
                })
            }
            // Late or repeated: ignore.
            _ => None,
        }
    }

    /// Where it is, in a word: the stage of its picture.
    pub fn stage(&self) -> &'static str {
        match self {
            Self::NotStarted => NOT_STARTED,
            Self::Recording(_) => "recording",
            Self::Suspended { .. } => "suspended",
            Self::Ended(_) => "ended",
            Self::Resolved(_) => "resolved",
        }
    }

    fn refund(&self) -> Option<&Refund> {
        match self {
            Self::NotStarted => None,
            Self::Recording(refund)
            | Self::Suspended { refund, .. }
            | Self::Ended(refund)
            | Self::Resolved(refund) => Some(refund),
        }
    }

    fn move_to(&mut self, stage: impl FnOnce(Refund) -> Self) {
        if let Some(refund) = self.refund().cloned() {
            *self = stage(refund);
        }
    }
}

impl Refund {
    /// What the order was not told it is told again. Money that came back a person has seen to.
    fn resume(self) -> Refunding {
        if self.recorded || self.failed {
            return Refunding::Ended(self);
        }
        Refunding::Recording(Self {
            attempt: self.attempt.saturating_add(1),
            ..self
        })
    }

    fn due(&self, ask: RefundAsk) -> Due<RefundAsk> {
        let addressed = match ask {
            RefundAsk::RecordRefund => Addressed::order(
                self.order_id,
                &OrderCommand::RecordRefund {
                    refund_id: self.id,
                    amount: self.amount,
                },
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
        let attempt = match ask {
            RefundAsk::RecordRefund => self.attempt,
            // One mail, whatever became of the rest.
            RefundAsk::Notify => 1,
        };
        let ask_id = ask_id_of("refund", self.id, format!("{ask}/{attempt}"));
        addressed.due(ask_id, ask)
    }
}

impl Saga for Refunding {
    const NAME: &'static str = "refunding";
    type Id = RefundId;
    type Ask = RefundAsk;

    fn order_id(&self) -> Option<OrderId> {
        self.refund().map(|refund| refund.order_id)
    }

    /// A mail stays due for good: a repeat is harmless, a loss is not.
    fn pending(&self, _now: DateTime<Utc>) -> Vec<Due<RefundAsk>> {
        match self {
            Self::NotStarted | Self::Resolved(_) => Vec::new(),
            Self::Recording(refund) => vec![refund.due(RefundAsk::RecordRefund)],
            // Of money that did not go back after all nobody is told.
            Self::Suspended { refund, .. } | Self::Ended(refund) => {
                let told = refund.recorded || !refund.failed;
                let mail = told.then(|| refund.due(RefundAsk::Notify));
                mail.into_iter().collect()
            }
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
        match self {
            Self::Suspended { why, .. } => Some(why.clone()),
            Self::NotStarted | Self::Recording(_) | Self::Ended(_) | Self::Resolved(_) => None,
        }
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

    /// Of everything that is already true the event is on its way.
    fn already(_due: &Due<RefundAsk>) -> Option<RefundingFact> {
        None
    }
}

impl Decider for Refunding {
    const CONTEXT: &'static str = "checkout";
    const KIND: Option<&'static str> = Some("refund");

    fn decide(&self, fact: &RefundingFact) -> Result<Vec<RefundingEvent>, NoRefusal> {
        Ok(self.react(fact).into_iter().collect())
    }

    fn evolve(&mut self, event: &RefundingEvent) {
        match event {
            RefundingEvent::RefundingStarted {
                refund_id,
                order_id,
                user_id,
                amount,
                started_at: _,
            } => {
                *self = Self::Recording(Refund {
                    id: *refund_id,
                    order_id: *order_id,
                    user_id: *user_id,
                    amount: *amount,
                    attempt: 1,
                    recorded: false,
                    failed: false,
                });
            }
            RefundingEvent::RefundingSuspended { why, failed } => {
                let (why, failed) = (why.clone(), *failed);
                self.move_to(|refund| Self::Suspended {
                    refund: Refund { failed, ..refund },
                    why,
                });
            }
            RefundingEvent::RefundingResumed { by: _ } => self.move_to(Refund::resume),
            RefundingEvent::RefundingSkipped { .. } => self.move_to(Self::Ended),
            RefundingEvent::RefundingResolved { .. } => self.move_to(Self::Resolved),
            RefundingEvent::RefundingEnded {} => self.move_to(|refund| {
                Self::Ended(Refund {
                    recorded: true,
                    ..refund
                })
            }),
        }
    }
}

impl Aggregate for Refunding {
    const TYPE: &'static str = "checkout.refund";
    type Command = RefundingFact;
    type Event = RefundingEvent;
    type Error = NoRefusal;
    type Services = ();

    async fn handle(
        &mut self,
        fact: RefundingFact,
        (): &(),
        sink: &EventSink<Self>,
    ) -> Result<(), NoRefusal> {
        kernel::bridge(self, fact, sink).await
    }

    fn apply(&mut self, event: RefundingEvent) {
        self.evolve(&event);
    }
}
