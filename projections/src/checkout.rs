//! The checkout's timeline: every step of one order's saga with its time.

use checkout::{Cause, Checkout, CheckoutEvent, Outcome, Stage, Step};
use cqrs_es::{EventEnvelope, View};
use kernel::{Fact, Money, OrderId, Reason, Tracking, UserId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strum::VariantNames;

use crate::moment::Moment;
use crate::view::{EntityView, Sort};

/// Where a checkout stands.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, VariantNames, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum CheckoutStage {
    /// Steps are being taken.
    #[default]
    Running,
    /// What was done is being undone.
    Undoing,
    /// The order is confirmed; shipping or a cancellation follows.
    Completed,
    /// The order left the house, its stock is being booked out.
    Shipping,
    /// Everything that was done is undone, the order is to be rejected.
    Undone,
    /// It waits for an operator.
    Suspended,
    /// Nothing more will be asked.
    Ended,
    /// An operator has dealt with all of it by hand.
    Resolved,
}

/// Why a checkout waits for an operator.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Suspension {
    /// What is wrong.
    pub why: String,
    /// Since when.
    pub at: Option<Moment>,
    /// What can't be done or undone.
    pub step: Step,
    /// Where it stood.
    pub from: CheckoutStage,
}

/// One line of the timeline.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TimelineEntry {
    /// The event's name (`step_succeeded`).
    pub event: String,
    /// When.
    pub at: Option<Moment>,
    /// Which step.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub step: Option<Step>,
    /// The refusal's code.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub code: Option<String>,
    /// The refusal, or what is wrong, in words.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub message: Option<String>,
    /// Which try of an undo.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub attempt: Option<u32>,
    /// What set off the undo.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub cause: Option<Cause>,
    /// When a failed undo is tried again at the earliest.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub retry_at: Option<Moment>,
    /// The operator who settled it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub by: Option<String>,
    /// Why, in the operator's words.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reason: Option<Reason>,
    /// The carrier's number.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub tracking: Option<Tracking>,
    /// How it ended.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub outcome: Option<Outcome>,
}

/// One checkout.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct CheckoutTimeline {
    /// The order's id.
    pub id: String,
    /// The order's id again, under the name that payments and notifications use.
    pub order_id: Option<OrderId>,
    /// Who bought.
    pub user_id: Option<UserId>,
    /// Where it stands.
    pub status: CheckoutStage,
    /// Why it waits for an operator, if it does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub suspended: Option<Suspension>,
    /// How it ended, if it has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
    /// The order's total.
    pub total: Option<Money>,
    /// Every step, oldest first.
    pub steps: Vec<TimelineEntry>,
    /// When the saga gives up waiting for the payment to be authorized.
    pub deadline: Option<Moment>,
    /// The saga's definition that this checkout keeps to.
    pub revision: u32,
    /// How many events the checkout has.
    pub version: u64,
    /// When it began.
    pub started_at: Option<Moment>,
    /// When its last step was.
    pub updated_at: Option<Moment>,
}

impl EntityView<Checkout> for CheckoutTimeline {
    const NAME: &'static str = "checkout_timeline";
    const FILTERS: &'static [&'static str] = &["user_id", "status"];
    const FIXED: &'static [&'static str] = &["user_id"];
    const SORT: Sort = Sort::Latest("started_at");
    const REVISION: u32 = 2;
}

impl View<Checkout> for CheckoutTimeline {
    fn update(&mut self, event: &EventEnvelope<Checkout>) {
        let at = Moment::of(event);
        self.id.clone_from(&event.aggregate_id);
        self.version = event.sequence as u64;
        self.updated_at = at;
        self.stand(&event.payload, at);
        self.steps.push(entry(&event.payload, at));
    }
}

impl CheckoutTimeline {
    /// Where the checkout stands after the event.
    fn stand(&mut self, event: &CheckoutEvent, at: Option<Moment>) {
        match event {
            CheckoutEvent::CheckoutStarted {
                order_id,
                user_id,
                total,
                deadline,
                revision,
                ..
            } => {
                self.order_id = Some(*order_id);
                self.user_id = Some(*user_id);
                self.total = Some(*total);
                self.deadline = Some(Moment(*deadline));
                self.revision = *revision;
                self.started_at = at;
            }
            CheckoutEvent::StepSucceeded { step } | CheckoutEvent::UndoSucceeded { step, .. } => {
                self.wait_no_more(|waits_for| waits_for == step);
            }
            // A late success is undone by itself: where the checkout stands doesn't change.
            CheckoutEvent::UndoFailed { .. }
            | CheckoutEvent::UndoStarted {
                cause: Cause::LateSuccess { .. },
            } => {}
            CheckoutEvent::StepRefused { .. }
            | CheckoutEvent::StepTimedOut { .. }
            | CheckoutEvent::UndoStarted { .. } => self.move_to(CheckoutStage::Undoing),
            CheckoutEvent::CheckoutCompleted {} => self.move_to(CheckoutStage::Completed),
            CheckoutEvent::ShippingStarted { .. } => self.move_to(CheckoutStage::Shipping),
            CheckoutEvent::CheckoutUndone { step, .. } => {
                self.wait_no_more(|waits_for| waits_for == step);
                self.move_to(CheckoutStage::Undone);
            }
            CheckoutEvent::CheckoutSuspended { step, why, .. } => self.suspend(step, why, at),
            CheckoutEvent::CheckoutResumed { by: _ } => self.wait_no_more(|_| true),
            CheckoutEvent::StepSkipped { stage, outcome, .. } => {
                self.suspended = None;
                self.status = (*stage).into();
                if outcome.is_some() {
                    self.outcome.clone_from(outcome);
                }
            }
            CheckoutEvent::CheckoutResolved { .. } => {
                self.suspended = None;
                self.status = CheckoutStage::Resolved;
            }
            CheckoutEvent::CheckoutEnded { outcome, .. } => {
                self.suspended = None;
                self.status = CheckoutStage::Ended;
                self.outcome = Some(outcome.clone());
            }
        }
    }
}

impl CheckoutTimeline {
    /// Who waits for an operator goes on waiting, and stands there when they have seen to it.
    fn move_to(&mut self, stage: CheckoutStage) {
        match &mut self.suspended {
            Some(suspension) => suspension.from = stage,
            None => self.status = stage,
        }
    }

    fn suspend(&mut self, step: &Step, why: &str, at: Option<Moment>) {
        let before = self.suspended.as_ref();
        self.suspended = Some(Suspension {
            why: why.to_owned(),
            at,
            step: step.clone(),
            from: before.map_or(self.status, |suspension| suspension.from),
        });
        self.status = CheckoutStage::Suspended;
    }

    /// If that is so of what it waits for.
    fn wait_no_more(&mut self, of: impl FnOnce(&Step) -> bool) {
        if let Some(suspension) = self.suspended.take_if(|suspension| of(&suspension.step)) {
            self.status = suspension.from;
        }
    }
}

impl From<Stage> for CheckoutStage {
    fn from(stage: Stage) -> Self {
        match stage {
            Stage::Reserving
            | Stage::Authorizing
            | Stage::Committing
            | Stage::Capturing
            | Stage::Confirming => Self::Running,
            Stage::Completed => Self::Completed,
            Stage::Shipping => Self::Shipping,
            Stage::Undoing => Self::Undoing,
            Stage::Undone => Self::Undone,
            Stage::Ended => Self::Ended,
            Stage::Resolved => Self::Resolved,
        }
    }
}

/// The event as a line of the timeline.
fn entry(event: &CheckoutEvent, at: Option<Moment>) -> TimelineEntry {
    let mut entry = TimelineEntry {
        event: event.name().to_owned(),
        at,
        ..TimelineEntry::default()
    };
    match event {
        CheckoutEvent::CheckoutStarted { .. } | CheckoutEvent::CheckoutCompleted {} => {}
        CheckoutEvent::StepSucceeded { step }
        | CheckoutEvent::StepTimedOut { step }
        | CheckoutEvent::UndoSucceeded { step, .. }
        | CheckoutEvent::CheckoutUndone { step, .. } => entry.step = Some(step.clone()),
        CheckoutEvent::StepRefused {
            step,
            code,
            message,
        } => {
            entry.step = Some(step.clone());
            entry.code = Some(code.clone());
            entry.message = Some(message.clone());
        }
        CheckoutEvent::UndoStarted { cause } => entry.cause = Some(cause.clone()),
        CheckoutEvent::UndoFailed {
            step,
            attempt,
            message,
            retry_at,
        } => {
            entry.step = Some(step.clone());
            entry.attempt = Some(*attempt);
            entry.message = Some(message.clone());
            entry.retry_at = Some(Moment(*retry_at));
        }
        CheckoutEvent::ShippingStarted { tracking } => entry.tracking = Some(tracking.clone()),
        CheckoutEvent::CheckoutSuspended { step, attempt, why } => {
            entry.step = Some(step.clone());
            entry.attempt = Some(*attempt);
            entry.message = Some(why.clone());
        }
        CheckoutEvent::CheckoutResumed { by } => entry.by = Some(by.clone()),
        CheckoutEvent::StepSkipped {
            step,
            by,
            reason,
            outcome,
            stage: _,
        } => {
            entry.step = Some(step.clone());
            (entry.by, entry.reason) = (Some(by.clone()), Some(reason.clone()));
            entry.outcome.clone_from(outcome);
        }
        CheckoutEvent::CheckoutResolved { by, reason } => {
            (entry.by, entry.reason) = (Some(by.clone()), Some(reason.clone()));
        }
        CheckoutEvent::CheckoutEnded { outcome, step, .. } => {
            entry.outcome = Some(outcome.clone());
            entry.step.clone_from(step);
        }
    }
    entry
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;
    use uuid::Uuid;

    use super::*;
    use crate::testkit::{eur, fold, start};

    fn started() -> CheckoutEvent {
        CheckoutEvent::CheckoutStarted {
            order_id: OrderId(Uuid::from_u128(7)),
            user_id: UserId(Uuid::from_u128(1)),
            items: Vec::new(),
            total: eur(1000),
            payment_method: "pm_card_visa".parse().unwrap(),
            started_at: start(),
            reserved_until: start() + TimeDelta::minutes(15),
            deadline: start() + TimeDelta::minutes(10),
            revision: 1,
        }
    }

    #[test]
    fn every_step_stands_in_the_timeline_with_its_time() {
        let events = vec![
            started(),
            CheckoutEvent::StepSucceeded {
                step: Step::AuthorizePayment,
            },
            CheckoutEvent::CheckoutCompleted {},
        ];
        let row: CheckoutTimeline = fold::<Checkout, _>("o-1", events);
        let names: Vec<_> = row.steps.iter().map(|s| s.event.as_str()).collect();
        assert_eq!(
            names,
            ["checkout_started", "step_succeeded", "checkout_completed"]
        );
        assert!(row.steps.iter().all(|s| s.at.is_some()));
        assert!(row.steps.is_sorted_by_key(|s| s.at));
        assert_eq!(row.status, CheckoutStage::Completed);
    }

    #[test]
    fn a_refused_step_says_why_and_undoes() {
        let refused = CheckoutEvent::StepRefused {
            step: Step::CapturePayment,
            code: "card_declined".into(),
            message: "the issuer said no".into(),
        };
        let row: CheckoutTimeline = fold::<Checkout, _>("o-1", vec![started(), refused]);
        assert_eq!(row.status, CheckoutStage::Undoing);
        assert_eq!(row.steps[1].code.as_deref(), Some("card_declined"));
    }

    #[test]
    fn a_suspended_checkout_says_why_and_goes_on_where_it_stood() {
        let cause = Cause::OrderCanceled {
            reason: "changed my mind".parse().unwrap(),
        };
        let mut events = vec![
            started(),
            CheckoutEvent::UndoStarted { cause },
            CheckoutEvent::CheckoutSuspended {
                step: Step::CapturePayment,
                attempt: 9,
                why: "refund failed".into(),
            },
        ];
        let row: CheckoutTimeline = fold::<Checkout, _>("o-1", events.clone());
        assert_eq!(row.status, CheckoutStage::Suspended);
        assert_eq!(
            row.suspended.map(|s| s.why).as_deref(),
            Some("refund failed")
        );
        events.push(CheckoutEvent::CheckoutResumed { by: "op".into() });
        let row: CheckoutTimeline = fold::<Checkout, _>("o-1", events);
        assert_eq!((row.status, row.suspended), (CheckoutStage::Undoing, None));
    }

    #[test]
    fn canceling_what_waits_for_an_operator_does_not_hide_it() {
        let refused = CheckoutEvent::StepRefused {
            step: Step::ConfirmOrder,
            code: "order_unknown".into(),
            message: "no".into(),
        };
        let suspended = CheckoutEvent::CheckoutSuspended {
            step: Step::CapturePayment,
            attempt: 9,
            why: "refund failed".into(),
        };
        let cause = Cause::OrderCanceled {
            reason: "changed my mind".parse().unwrap(),
        };
        let canceled = CheckoutEvent::UndoStarted { cause };
        let mut events = vec![started(), refused, suspended, canceled];
        let row: CheckoutTimeline = fold::<Checkout, _>("o-1", events.clone());
        assert_eq!(row.status, CheckoutStage::Suspended);
        let from = row.suspended.map(|suspended| suspended.from);
        assert_eq!(from, Some(CheckoutStage::Undoing));
        events.push(CheckoutEvent::CheckoutResumed { by: "op".into() });
        let row: CheckoutTimeline = fold::<Checkout, _>("o-1", events);
        assert_eq!((row.status, row.suspended), (CheckoutStage::Undoing, None));
    }

    #[test]
    fn what_an_operator_settles_no_longer_waits_and_says_who_and_why() {
        let suspended = CheckoutEvent::CheckoutSuspended {
            step: Step::CapturePayment,
            attempt: 9,
            why: "refund failed".into(),
        };
        let (by, reason) = ("operator:ada".to_owned(), "done by hand".parse().unwrap());
        let skipped = CheckoutEvent::StepSkipped {
            step: Step::CapturePayment,
            by: by.clone(),
            reason,
            stage: Stage::Undone,
            outcome: None,
        };
        let events = vec![started(), suspended.clone(), skipped];
        let row: CheckoutTimeline = fold::<Checkout, _>("o-1", events);
        assert_eq!((row.status, row.suspended), (CheckoutStage::Undone, None));
        assert_eq!(row.steps[2].by, Some(by.clone()));
        let reason = row.steps[2].reason.clone().unwrap();
        assert_eq!(reason.as_str(), "done by hand");
        let resolved = CheckoutEvent::CheckoutResolved { by, reason };
        let events = vec![started(), suspended, resolved];
        let row: CheckoutTimeline = fold::<Checkout, _>("o-1", events);
        assert_eq!((row.status, row.suspended), (CheckoutStage::Resolved, None));
    }
}
