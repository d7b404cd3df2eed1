//! Where each saga stands that is a table of steps, whichever it is: for the radar.

use std::borrow::Cow;

use checkout::settling::Wish;
use checkout::stepwise::{Cause, StepwiseEvent};
use checkout::{Checkout, Refunding, Returning};
use kernel::{Decider, Fact, OrderId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use streams::{DecodeError, RecordedEvent};
use strum::VariantNames;

use crate::fold::RowEach;
use crate::moment::Moment;

/// Where such a saga stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SagaStage {
    /// Only what may come before its beginning was heard of.
    #[default]
    NotBegun,
    /// Steps are being taken.
    Running,
    /// What was done is being undone.
    Undoing,
    /// It waits for an operator.
    Suspended,
    /// Nothing is left to do.
    Ended,
    /// An operator has dealt with all of it by hand.
    Resolved,
}

/// Why it waits for an operator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SagaSuspension {
    /// The step that can't be done or undone.
    pub step: String,
    /// What is wrong.
    pub why: String,
    /// Since when.
    pub at: Moment,
    /// Where the event stands that says so.
    pub position: String,
    /// Where it stood.
    pub from: SagaStage,
}

/// One saga that is a table of steps.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct SagaProgress {
    /// Its table and its own id: `gift/<order>`.
    pub id: String,
    /// As its table is called.
    pub saga: String,
    /// Its own id.
    pub saga_id: String,
    /// About which order.
    pub order_id: Option<OrderId>,
    /// Where it stands.
    pub status: SagaStage,
    /// What was done of it is undone; of one that has not begun, once it does.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub goes_back: bool,
    /// Why it waits for an operator, if it does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub suspended: Option<SagaSuspension>,
    /// The name of its last event.
    pub last: String,
    /// When all of it should be over.
    pub until: Option<Moment>,
    /// Of one that runs, when it should be over; of one that is being undone, when its last event was; of a
    /// suspended one, since when it is.
    pub due: Option<Moment>,
    /// How many events it has.
    pub version: u64,
}

impl SagaProgress {
    pub(crate) const NAME: &'static str = "saga_progress";
    pub(crate) const REVISION: u32 = 2;

    fn take(&mut self, event: &StepwiseEvent, recorded: &RecordedEvent) {
        match event {
            StepwiseEvent::SagaBegun {
                order_id, until, ..
            } => {
                self.order_id = Some(*order_id);
                self.until = Some(Moment(*until));
                self.status = if self.goes_back {
                    SagaStage::Undoing
                } else {
                    SagaStage::Running
                };
            }
            StepwiseEvent::SagaStepDone { step, .. }
            | StepwiseEvent::SagaStepUndone { step, .. } => self.unstick(step),
            StepwiseEvent::SagaUndoStarted { cause, .. } => {
                if let Cause::Lost { step } | Cause::Refused { step, .. } = cause {
                    self.unstick(step);
                }
                self.goes_back = true;
                // Nothing is undone of what has not begun.
                if self.order_id.is_some() {
                    self.stands(SagaStage::Undoing);
                }
            }
            StepwiseEvent::SagaUndoFailed { .. } => {}
            StepwiseEvent::SagaSuspended { step, why, late: _ } => {
                let from = self.suspended.take().map_or(self.status, |was| was.from);
                self.status = SagaStage::Suspended;
                self.suspended = Some(SagaSuspension {
                    step: step.clone(),
                    why: why.clone(),
                    at: Moment(recorded.time),
                    position: recorded.position.to_string(),
                    from,
                });
            }
            StepwiseEvent::SagaSettled { how, .. } => {
                self.goes_on();
                if matches!(how, Wish::Resolve { .. }) {
                    self.status = SagaStage::Resolved;
                }
            }
        }
        if event.ends() && self.status != SagaStage::Resolved {
            self.suspended = None;
            self.status = SagaStage::Ended;
        }
    }

    /// Where it stands, or will once it goes on.
    fn stands(&mut self, stage: SagaStage) {
        match &mut self.suspended {
            Some(waits) => waits.from = stage,
            None => self.status = stage,
        }
    }

    fn unstick(&mut self, step: &str) {
        if self.suspended.as_ref().is_some_and(|it| it.step == step) {
            self.goes_on();
        }
    }

    fn goes_on(&mut self) {
        if let Some(waits) = self.suspended.take() {
            self.status = waits.from;
        }
    }
}

/// The sagas of all tables.
pub(crate) struct OfTables;

impl RowEach for OfTables {
    type Row = SagaProgress;

    fn id(event: &RecordedEvent) -> Option<Cow<'_, str>> {
        let kind = event.kind.as_deref()?;
        let own = [Returning::KIND, Refunding::KIND].contains(&Some(kind));
        // One that is no table writes events of its own.
        let concerns = event.context == Checkout::CONTEXT
            && !own
            && StepwiseEvent::VARIANTS.contains(&event.event_type.as_str());
        concerns.then(|| format!("{kind}/{}", event.aggregate_id).into())
    }

    fn take(row: &mut SagaProgress, event: &RecordedEvent) -> Result<(), DecodeError> {
        let told: StepwiseEvent = event.decode_as()?;
        let kind = event.kind.as_deref().unwrap_or_default();
        row.id = format!("{kind}/{}", event.aggregate_id);
        kind.clone_into(&mut row.saga);
        row.saga_id = event.aggregate_id.to_string();
        row.version = event.version;
        told.name().clone_into(&mut row.last);
        row.take(&told, event);
        row.due = match row.status {
            SagaStage::Running => row.until,
            SagaStage::Undoing => Some(Moment(event.time)),
            SagaStage::Suspended => row.suspended.as_ref().map(|waits| waits.at),
            SagaStage::NotBegun | SagaStage::Ended | SagaStage::Resolved => None,
        };
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, TimeDelta};
    use kernel::Reason;
    use uuid::Uuid;

    use super::*;
    use crate::SAGA_PROGRESS;
    use crate::testkit::{recorded_of, same_rows_however_they_come, start};

    const ORDER: OrderId = OrderId(Uuid::from_u128(1));

    fn recorded(kind: &str, at: u64, event: &impl Serialize) -> RecordedEvent {
        let of = (Checkout::CONTEXT, Some(kind));
        recorded_of(of, &ORDER.to_string(), (at, at), event)
    }

    fn story(kind: &str, told: &[StepwiseEvent]) -> Vec<RecordedEvent> {
        let events = (1..).zip(told);
        events
            .map(|(at, event)| recorded(kind, at, event))
            .collect()
    }

    /// The row behind each of these.
    fn rows(told: &[StepwiseEvent]) -> Vec<SagaProgress> {
        let behind = |count| {
            let rows = same_rows_however_they_come(&SAGA_PROGRESS, &story("gift", &told[..count]));
            assert_eq!(rows.len(), 1, "{rows:?}");
            serde_json::from_str(&rows[0].payload).unwrap()
        };
        (1..=told.len()).map(behind).collect()
    }

    fn stages(told: &[StepwiseEvent]) -> Vec<SagaStage> {
        rows(told).into_iter().map(|row| row.status).collect()
    }

    fn begun() -> StepwiseEvent {
        StepwiseEvent::SagaBegun {
            order_id: ORDER,
            data: serde_json::json!({ "name": "Ann" }),
            revision: 1,
            at: start(),
            until: DateTime::UNIX_EPOCH,
            ends: false,
        }
    }

    fn done(step: &str, ends: bool) -> StepwiseEvent {
        StepwiseEvent::SagaStepDone {
            step: step.to_owned(),
            at: start(),
            ends,
        }
    }

    fn undone(step: &str, ends: bool) -> StepwiseEvent {
        let step = step.to_owned();
        StepwiseEvent::SagaStepUndone { step, ends }
    }

    fn undo() -> StepwiseEvent {
        StepwiseEvent::SagaUndoStarted {
            cause: Cause::Overdue {},
            steps: vec!["ship".to_owned()],
            ends: false,
        }
    }

    fn suspended(step: &str) -> StepwiseEvent {
        let (step, why) = (step.to_owned(), "no".to_owned());
        let late = false;
        StepwiseEvent::SagaSuspended { step, why, late }
    }

    fn settled(how: Wish, ends: bool) -> StepwiseEvent {
        StepwiseEvent::SagaSettled {
            how,
            by: "operator:ada".to_owned(),
            at: start(),
            ends,
        }
    }

    #[test]
    fn a_saga_stands_where_its_events_have_led_it() {
        use SagaStage::{Ended, NotBegun, Resolved, Running, Suspended, Undoing};
        let reason: Reason = "by hand".parse().unwrap();
        let skip = Wish::Skip {
            step: "ship".to_owned(),
            reason: reason.clone(),
        };
        let (resume, resolve) = (Wish::Resume, Wish::Resolve { reason });
        let forward = [done("paid", false), begun(), suspended("ship")];
        let told = [&forward[..], &[done("paid", false), done("ship", true)]].concat();
        let until = [NotBegun, Running, Suspended];
        let wanted = [&until[..], &[Suspended, Ended]].concat();
        assert_eq!(stages(&told), wanted);
        for (wish, ends, stage) in [
            (resume.clone(), false, Running),
            (skip.clone(), false, Running),
            (skip.clone(), true, Ended),
            (resolve.clone(), true, Resolved),
        ] {
            let told = [&forward[..], &[settled(wish, ends)]].concat();
            assert_eq!(stages(&told)[2..], [Suspended, stage]);
        }
        let back = [begun(), done("ship", true), undo(), suspended("ship")];
        let told = [&back[..], &[settled(resume, false), undone("ship", true)]].concat();
        let wanted = [Running, Ended, Undoing, Suspended, Undoing, Ended];
        assert_eq!(stages(&told), wanted);
        let called_off = [done("paid", false), undo(), begun()];
        assert_eq!(stages(&called_off), [NotBegun, NotBegun, Undoing]);
    }

    #[test]
    fn a_row_says_since_when_it_waits_and_nothing_of_what_its_author_remembers() {
        let told = [begun(), undo(), suspended("ship"), done("paid", false)];
        let rows = rows(&told);
        let due: Vec<_> = rows.iter().map(|row| row.due.unwrap().0).collect();
        let hour = |hours| start() + TimeDelta::hours(hours);
        assert_eq!(due, [DateTime::UNIX_EPOCH, hour(2), hour(3), hour(3)]);
        let last = rows.last().unwrap();
        assert_eq!(last.id, format!("gift/{ORDER}"));
        assert_eq!((last.order_id, last.version), (Some(ORDER), 4));
        let waits = last.suspended.as_ref().unwrap();
        assert_eq!(waits.position, "CHECKOUT:3");
        let text = serde_json::to_string(last).unwrap();
        assert!(!text.contains("Ann"), "{text}");
    }

    #[test]
    fn each_table_has_rows_of_its_own_and_what_is_no_table_has_none() {
        let mut events = story("gift", &[begun(), undo()]);
        events.extend(story("box", &[begun()]));
        // A return's saga writes none of these, and were it called so.
        events.extend(story("return", &[begun()]));
        let awaited = serde_json::json!({ "type": "arrival_awaited", "data": {} });
        events.push(recorded("arrival", 1, &awaited));
        let rows = SAGA_PROGRESS.rows_of(&events).unwrap();
        let mut ids: Vec<_> = rows.into_iter().map(|(id, _)| id).collect();
        ids.sort();
        assert_eq!(ids, [format!("box/{ORDER}"), format!("gift/{ORDER}")]);
    }
}
