//! What follows after a checkout: how goods that came back, and money that went back, are seen to.

use checkout::returning::ReturnStep;
use checkout::{RETURN_ATTEMPTS_MAX, Refunding, RefundingEvent, Returning, ReturningEvent};
use cqrs_es::{EventEnvelope, View};
use kernel::{Fact, Money, OrderId, Reason, UserId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strum::VariantNames;

use crate::moment::Moment;
use crate::view::{EntityView, Sort};

/// Where such a saga stands.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, VariantNames, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum AftermathStage {
    /// Something is asked for.
    #[default]
    Running,
    /// It waits for an operator.
    Suspended,
    /// Everything is done.
    Ended,
    /// An operator has dealt with all of it by hand.
    Resolved,
}

/// One line of its timeline.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AftermathEntry {
    /// The event's name (`returning_suspended`).
    pub event: String,
    /// When.
    pub at: Option<Moment>,
    /// Which step of a return.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub step: Option<ReturnStep>,
    /// What is wrong.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub why: Option<String>,
    /// The operator who settled it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub by: Option<String>,
    /// Why, in the operator's words.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reason: Option<Reason>,
}

/// A step that goes no further by itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "StuckStep")]
pub struct Stuck {
    /// Which.
    pub step: ReturnStep,
    /// What is wrong.
    pub why: String,
}

/// How one return's goods are put on the shelf and paid back.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ReturnHandling {
    /// The return's id.
    pub id: String,
    /// Of which order.
    pub order_id: Option<OrderId>,
    /// Where it stands.
    pub status: AftermathStage,
    /// Why it waits for an operator, if it does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub suspended: Option<String>,
    /// What is stuck, oldest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub stuck: Vec<Stuck>,
    /// What goes back for the goods.
    pub amount: Option<Money>,
    /// Every step, oldest first.
    pub steps: Vec<AftermathEntry>,
    /// How many events it has.
    pub version: u64,
    /// When the goods came.
    pub started_at: Option<Moment>,
    /// When its last step was.
    pub updated_at: Option<Moment>,
}

/// How the order and the customer are told of one refund.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct RefundHandling {
    /// The refund's id.
    pub id: String,
    /// Of which order.
    pub order_id: Option<OrderId>,
    /// To whom.
    pub user_id: Option<UserId>,
    /// Where it stands.
    pub status: AftermathStage,
    /// Why it waits for an operator, if it does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub suspended: Option<String>,
    /// How much went back.
    pub amount: Option<Money>,
    /// The bank sent it back.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub came_back: bool,
    /// Every step, oldest first.
    pub steps: Vec<AftermathEntry>,
    /// How many events it has.
    pub version: u64,
    /// When the money went back.
    pub started_at: Option<Moment>,
    /// When its last step was.
    pub updated_at: Option<Moment>,
}

impl EntityView<Returning> for ReturnHandling {
    const NAME: &'static str = "return_handling";
    const FILTERS: &'static [&'static str] = &["order_id", "status"];
    const FIXED: &'static [&'static str] = &["order_id"];
    const SORT: Sort = Sort::Latest("started_at");
    const REVISION: u32 = 2;
}

impl EntityView<Refunding> for RefundHandling {
    const NAME: &'static str = "refund_handling";
    const FILTERS: &'static [&'static str] = &["order_id", "status"];
    const FIXED: &'static [&'static str] = &["order_id"];
    const SORT: Sort = Sort::Latest("started_at");
    const REVISION: u32 = 2;
}

impl View<Returning> for ReturnHandling {
    fn update(&mut self, event: &EventEnvelope<Returning>) {
        let at = Moment::of(event);
        self.id.clone_from(&event.aggregate_id);
        self.version = event.sequence as u64;
        self.updated_at = at;
        let mut entry = AftermathEntry {
            event: event.payload.name().to_owned(),
            at,
            ..AftermathEntry::default()
        };
        match &event.payload {
            ReturningEvent::ReturningStarted {
                order_id, amount, ..
            } => {
                self.order_id = Some(*order_id);
                self.amount = Some(*amount);
                self.started_at = at;
            }
            ReturningEvent::ReturningStepSucceeded { step } => {
                self.unstick(step);
                entry.step = Some(step.clone());
            }
            ReturningEvent::ReturningSuspended { step, why, .. } => {
                let (step, why) = (step.clone(), why.clone());
                (entry.step, entry.why) = (Some(step.clone()), Some(why.clone()));
                self.stuck.push(Stuck { step, why });
                self.look();
            }
            ReturningEvent::ReturningResumed { by } => {
                self.ask_again();
                self.look();
                entry.by = Some(by.clone());
            }
            ReturningEvent::ReturningStepSkipped {
                step,
                by,
                reason,
                last,
                paid: _,
            } => {
                self.unstick(step);
                if *last {
                    self.status = AftermathStage::Ended;
                }
                entry.step = Some(step.clone());
                (entry.by, entry.reason) = (Some(by.clone()), Some(reason.clone()));
            }
            ReturningEvent::ReturningResolved { by, reason } => {
                self.stuck.clear();
                self.suspended = None;
                self.status = AftermathStage::Resolved;
                (entry.by, entry.reason) = (Some(by.clone()), Some(reason.clone()));
            }
            ReturningEvent::ReturningEnded { step } => {
                self.unstick(step);
                self.status = AftermathStage::Ended;
                entry.step = Some(step.clone());
            }
        }
        self.steps.push(entry);
    }
}

impl ReturnHandling {
    fn unstick(&mut self, step: &ReturnStep) {
        self.stuck.retain(|stuck| stuck.step != *step);
        self.look();
    }

    /// What was tried too often already stays stuck.
    fn ask_again(&mut self) {
        let mut stuck = std::mem::take(&mut self.stuck);
        stuck.retain(|stuck| self.attempts_at(&stuck.step) >= RETURN_ATTEMPTS_MAX);
        self.stuck = stuck;
    }

    /// The number of its current attempt: one more than how often it was stuck, and let go on.
    fn attempts_at(&self, step: &ReturnStep) -> u32 {
        let (mut attempt, mut stuck) = (1, false);
        for entry in &self.steps {
            if entry.step.as_ref() == Some(step) {
                // Only what suspends says what is wrong.
                stuck = entry.why.is_some();
            } else if entry.step.is_none()
                && entry.by.is_some()
                && stuck
                && attempt < RETURN_ATTEMPTS_MAX
            {
                (attempt, stuck) = (attempt + 1, false);
            }
        }
        attempt
    }

    /// One step that is stuck is enough to wait.
    fn look(&mut self) {
        let stuck = self.stuck.last();
        self.suspended = stuck.map(|Stuck { step, why }| format!("{step}: {why}"));
        self.status = match stuck {
            Some(_) => AftermathStage::Suspended,
            None => AftermathStage::Running,
        };
    }
}

impl View<Refunding> for RefundHandling {
    fn update(&mut self, event: &EventEnvelope<Refunding>) {
        let at = Moment::of(event);
        self.id.clone_from(&event.aggregate_id);
        self.version = event.sequence as u64;
        self.updated_at = at;
        let mut entry = AftermathEntry {
            event: event.payload.name().to_owned(),
            at,
            ..AftermathEntry::default()
        };
        match &event.payload {
            RefundingEvent::RefundingStarted {
                order_id,
                user_id,
                amount,
                ..
            } => {
                self.order_id = Some(*order_id);
                self.user_id = Some(*user_id);
                self.amount = Some(*amount);
                self.started_at = at;
            }
            RefundingEvent::RefundingDropped { code } => {
                self.status = AftermathStage::Ended;
                self.started_at = at;
                entry.why = Some(code.clone());
            }
            RefundingEvent::RefundingSuspended { why, failed } => {
                self.came_back = *failed;
                self.status = AftermathStage::Suspended;
                self.suspended = Some(why.clone());
                entry.why = Some(why.clone());
            }
            RefundingEvent::RefundingResumed { by } => {
                // What the order knows, or need not know, it is not told again.
                let over = self.came_back || self.has_ended();
                self.status = if over {
                    AftermathStage::Ended
                } else {
                    AftermathStage::Running
                };
                self.suspended = None;
                entry.by = Some(by.clone());
            }
            RefundingEvent::RefundingSkipped { by, reason } => {
                self.status = AftermathStage::Ended;
                self.suspended = None;
                (entry.by, entry.reason) = (Some(by.clone()), Some(reason.clone()));
            }
            RefundingEvent::RefundingResolved { by, reason } => {
                self.status = AftermathStage::Resolved;
                self.suspended = None;
                (entry.by, entry.reason) = (Some(by.clone()), Some(reason.clone()));
            }
            RefundingEvent::RefundingEnded {} => {
                self.status = AftermathStage::Ended;
                self.suspended = None;
            }
        }
        self.steps.push(entry);
    }
}

impl RefundHandling {
    fn has_ended(&self) -> bool {
        let ended = RefundingEvent::RefundingEnded {};
        self.steps.iter().any(|entry| entry.event == ended.name())
    }
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;
    use uuid::Uuid;

    use super::*;
    use crate::testkit::fold;

    #[test]
    fn a_return_says_what_it_waits_for_and_who_let_it_go_on() {
        let order_id = OrderId(Uuid::from_u128(1));
        let step = ReturnStep::RefundPayment;
        let why = "the refund failed: charge_disputed".to_owned();
        let by = "operator:ada".to_owned();
        let mut events = vec![
            ReturningEvent::ReturningStarted {
                return_id: kernel::ReturnId(Uuid::from_u128(2)),
                order_id,
                items: Vec::new(),
                amount: Money::new(100, "EUR".parse().unwrap()),
                started_at: DateTime::UNIX_EPOCH,
                restock_until: DateTime::UNIX_EPOCH,
                user_id: None,
                revision: 1,
            },
            ReturningEvent::ReturningSuspended {
                step: step.clone(),
                why,
                failed: true,
            },
        ];
        let row: ReturnHandling = fold::<Returning, _>("r-1", events.clone());
        assert_eq!(row.status, AftermathStage::Suspended);
        let why = "refund_payment: the refund failed: charge_disputed";
        assert_eq!(row.suspended.as_deref(), Some(why));
        events.push(ReturningEvent::ReturningResumed { by: by.clone() });
        events.push(ReturningEvent::ReturningEnded { step });
        let row: ReturnHandling = fold::<Returning, _>("r-1", events);
        assert_eq!((row.status, row.suspended), (AftermathStage::Ended, None));
        assert_eq!(row.steps[2].by, Some(by));
        assert_eq!((row.order_id, row.version), (Some(order_id), 4));
    }

    #[test]
    fn a_refund_says_what_it_waits_for_and_who_let_it_go_on() {
        let why = "order_unknown: there is no such order".to_owned();
        let mut events = vec![
            RefundingEvent::RefundingStarted {
                refund_id: kernel::RefundId(Uuid::from_u128(2)),
                order_id: OrderId(Uuid::from_u128(1)),
                user_id: UserId(Uuid::from_u128(3)),
                amount: Money::new(100, "EUR".parse().unwrap()),
                started_at: DateTime::UNIX_EPOCH,
                revision: 1,
            },
            RefundingEvent::RefundingSuspended {
                why: why.clone(),
                failed: false,
            },
        ];
        let row: RefundHandling = fold::<Refunding, _>("r-1", events.clone());
        assert_eq!(row.status, AftermathStage::Suspended);
        assert_eq!(row.suspended, Some(why));
        events.push(RefundingEvent::RefundingResumed {
            by: "operator:ada".to_owned(),
        });
        let row: RefundHandling = fold::<Refunding, _>("r-1", events.clone());
        assert_eq!((row.status, row.suspended), (AftermathStage::Running, None));
        events.push(RefundingEvent::RefundingEnded {});
        let row: RefundHandling = fold::<Refunding, _>("r-1", events);
        assert_eq!(row.status, AftermathStage::Ended);
        assert_eq!((row.steps.len(), row.version), (4, 4));
    }
}
