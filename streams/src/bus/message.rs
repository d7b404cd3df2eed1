//! What goes over the bus.

use chrono::{DateTime, SecondsFormat, Utc};
use kernel::{AggregateId, Position};
use serde::{Deserialize, Serialize};

use crate::envelope::CommandMeta;

/// Until when an answer is of use, RFC 3339. A host doesn't begin after it.
pub(super) const DEADLINE_HEADER: &str = "Millrace-Deadline";
/// W3C trace context.
pub(super) const TRACEPARENT_HEADER: &str = "traceparent";
/// Error code of a failure that is worth another try (as in HTTP).
pub(super) const CODE_UNAVAILABLE: usize = 503;
/// Error code of a host that has its hands full: nothing was begun (as in HTTP).
pub(super) const CODE_BUSY: usize = 429;
/// Error code of a request that can't be read, or that nothing here answers.
pub(super) const CODE_BAD_REQUEST: usize = 400;
/// Error code of a host that can't do it however often it is asked.
pub(super) const CODE_BROKEN: usize = 500;

/// The subject of a context's commands.
pub(super) fn command_subject(context: &str) -> String {
    format!("command.{context}")
}

/// The subject of one question to a context.
pub(super) fn question_subject(context: &str, name: &str) -> String {
    format!("question.{context}.{name}")
}

pub(super) fn write_deadline(deadline: DateTime<Utc>) -> String {
    deadline.to_rfc3339_opts(SecondsFormat::Millis, true)
}

/// A command for an aggregate of some context.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ask {
    /// The context (`order`).
    pub context: String,
    /// The secondary kind of aggregate, if it is one (`email`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Which aggregate.
    pub id: AggregateId,
    /// The command, as its serde writes it.
    pub command: serde_json::Value,
    /// Who asks, when, why; its command id makes a repetition harmless.
    pub meta: CommandMeta,
}

/// What became of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub enum Answer {
    /// It is in the log.
    Done {
        /// Where the aggregate's log ends by it.
        position: Position,
        /// The aggregate's version there.
        version: u64,
        /// Nothing was appended now: it was true already, or this command had been done before.
        already: bool,
    },
    /// The business says no; nothing happened.
    Refused {
        /// In snake case, as on the HTTP side.
        code: String,
        /// In words.
        message: String,
        /// The refusal as its serde writes it.
        refusal: serde_json::Value,
    },
    /// It could not be done, or is not known to have been.
    Failed {
        /// Why.
        message: String,
        /// The same ask (same command id) may succeed later.
        retryable: bool,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_tagged_in_snake_case() {
        let done = Answer::Done {
            position: Position::new("ORDER", 7),
            version: 2,
            already: false,
        };
        let json = serde_json::to_string(&done).unwrap();
        assert_eq!(
            json,
            r#"{"answer":"done","position":"ORDER:7","version":2,"already":false}"#
        );
        assert_eq!(serde_json::from_str::<Answer>(&json).unwrap(), done);
    }
}
