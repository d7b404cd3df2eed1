//! What has happened to a saga of a table, as it stands on the wire: the same for every table.

use chrono::{DateTime, Utc};
use kernel::OrderId;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use strum::{IntoStaticStr, VariantNames};

use crate::settling::Wish;

/// Facts about one saga. At most one for each fact taken in, but what begins it may do a step as well.
/// What has `ends` leaves nothing to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, IntoStaticStr, VariantNames)]
#[serde(tag = "type", content = "data", rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum StepwiseEvent {
    /// It begins.
    SagaBegun {
        /// About which order.
        order_id: OrderId,
        /// What it remembers.
        data: Value,
        /// The plan that it keeps to its end.
        revision: u32,
        /// When.
        at: DateTime<Utc>,
        /// When all of it should be over, and is undone if that can be.
        until: DateTime<Utc>,
        /// All of it was done before, or it was called off.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        ends: bool,
    },
    /// A step is done. Also before its turn, and before the saga begins: it won't be told again.
    SagaStepDone {
        /// Which.
        step: String,
        /// When.
        at: DateTime<Utc>,
        /// It was the last.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        ends: bool,
    },
    /// What was done, or may have been, is undone.
    SagaUndoStarted {
        /// Why.
        cause: Cause,
        /// Which steps, newest first.
        steps: Vec<String>,
        /// There was none.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        ends: bool,
    },
    /// A step is undone.
    SagaStepUndone {
        /// Which.
        step: String,
        /// It was the last.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        ends: bool,
    },
    /// An undo was refused. It is tried again.
    SagaUndoFailed {
        /// Of which step.
        step: String,
        /// Which attempt.
        attempt: u32,
        /// The refusal in words.
        message: String,
        /// When it is tried again.
        retry_at: DateTime<Utc>,
    },
    /// It goes no further by itself: a person sees to it.
    SagaSuspended {
        /// The step that can't be done or undone.
        step: String,
        /// What is wrong.
        why: String,
        /// It was not refused but took too long: it may be done, so "again" asks under the same id.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        late: bool,
    },
    /// A person has seen to it.
    SagaSettled {
        /// How.
        how: Wish,
        /// Who.
        by: String,
        /// When.
        at: DateTime<Utc>,
        /// Nothing is left to do.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        ends: bool,
    },
}

kernel::fact!(StepwiseEvent);

/// Why everything is undone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "snake_case")]
pub enum Cause {
    /// A step was refused.
    Refused {
        /// Which.
        step: String,
        /// The refusal's code.
        code: String,
        /// The refusal in words.
        message: String,
    },
    /// A step was not done in its time.
    TimedOut {
        /// Which.
        step: String,
    },
    /// The whole was not done in its time.
    Overdue {},
    /// It was called off.
    CalledOff {
        /// By which fact.
        fact: String,
    },
    /// Somebody else has undone a step.
    Lost {
        /// Which.
        step: String,
    },
    /// A step that was given up has succeeded.
    LateSuccess {
        /// Which.
        step: String,
    },
}

impl Cause {
    /// In a word.
    pub fn code(&self) -> &str {
        match self {
            Self::Refused { code, .. } => code,
            Self::TimedOut { .. } => "timed_out",
            Self::Overdue {} => "overdue",
            Self::CalledOff { fact } => fact,
            Self::Lost { .. } => "lost",
            Self::LateSuccess { .. } => "late_success",
        }
    }
}

impl StepwiseEvent {
    /// Is nothing left to do from here on?
    pub fn ends(&self) -> bool {
        match self {
            Self::SagaBegun { ends, .. }
            | Self::SagaStepDone { ends, .. }
            | Self::SagaUndoStarted { ends, .. }
            | Self::SagaStepUndone { ends, .. }
            | Self::SagaSettled { ends, .. } => *ends,
            Self::SagaUndoFailed { .. } | Self::SagaSuspended { .. } => false,
        }
    }

    pub(super) fn ending(mut self) -> Self {
        match &mut self {
            Self::SagaBegun { ends, .. }
            | Self::SagaStepDone { ends, .. }
            | Self::SagaUndoStarted { ends, .. }
            | Self::SagaStepUndone { ends, .. }
            | Self::SagaSettled { ends, .. } => *ends = true,
            Self::SagaUndoFailed { .. } | Self::SagaSuspended { .. } => {}
        }
        self
    }
}
