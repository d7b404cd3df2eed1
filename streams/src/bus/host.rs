//! What a context answers: its aggregates' commands, and questions.

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use futures::FutureExt;
use futures::future::BoxFuture;
use kernel::{Decider, Refusal};
use serde_json::Value;

use super::message::{Answer, Ask};
use crate::clock;
use crate::envelope::CommandMeta;
use crate::store::{ExecuteError, Outcome, Streams};

/// An ask that was sent longer ago is not done any more: whoever waits asks anew, under the same
/// command id. Contexts may forget after half an hour that something was taken back before it
/// came; what comes later than this can't surprise them.
const ASK_AGE_MAX: TimeDelta = TimeDelta::minutes(20);

/// Why a question has no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuestionError {
    /// In words.
    pub message: String,
    /// The same question may be answered later.
    pub retryable: bool,
}

impl QuestionError {
    /// Not now.
    pub fn unavailable(message: impl fmt::Display) -> Self {
        Self {
            message: message.to_string(),
            retryable: true,
        }
    }

    /// Not this question.
    pub fn bad_request(message: impl fmt::Display) -> Self {
        Self {
            message: message.to_string(),
            retryable: false,
        }
    }
}

/// Until when the answer is of use; `None` = it isn't said.
pub(super) type Until = Option<DateTime<Utc>>;
pub(super) type Execute = Arc<dyn Fn(Ask, Until) -> BoxFuture<'static, Answer> + Send + Sync>;
pub(super) type Reply =
    Arc<dyn Fn(Value) -> BoxFuture<'static, Result<Value, QuestionError>> + Send + Sync>;

/// The host of one context: register what it answers, then let [`super::Hosts`] take it in.
pub struct Host {
    pub(super) context: String,
    streams: Streams,
    pub(super) commands: HashMap<Option<&'static str>, Execute>,
    pub(super) questions: HashMap<String, Reply>,
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Host")
            .field("context", &self.context)
            .field("kinds", &self.commands.keys())
            .field("questions", &self.questions.keys())
            .finish_non_exhaustive()
    }
}

impl Host {
    /// A host of `context` that answers nothing yet.
    pub fn new(context: impl Into<String>, streams: Streams) -> Self {
        Self {
            context: context.into(),
            streams,
            commands: HashMap::new(),
            questions: HashMap::new(),
        }
    }

    /// Takes commands for aggregates of type `A`.
    #[must_use]
    pub fn aggregate<A: Decider>(mut self) -> Self {
        let streams = self.streams.clone();
        let execute: Execute = Arc::new(move |ask, until| {
            let streams = streams.until(until);
            async move { execute::<A>(&streams, ask).await }.boxed()
        });
        self.commands.insert(A::KIND, execute);
        self
    }

    /// Answers `question.<context>.<name>`.
    #[must_use]
    pub fn question<F, R>(mut self, name: impl Into<String>, answer: F) -> Self
    where
        F: Fn(Value) -> R + Send + Sync + 'static,
        R: Future<Output = Result<Value, QuestionError>> + Send + 'static,
    {
        let reply: Reply = Arc::new(move |payload| answer(payload).boxed());
        self.questions.insert(name.into(), reply);
        self
    }
}

/// Decodes the command and has it executed.
async fn execute<A: Decider>(streams: &Streams, ask: Ask) -> Answer {
    let command: A::Command = match serde_json::from_value(ask.command) {
        Ok(command) => command,
        Err(error) => {
            return Answer::Failed {
                message: format!("the command can't be read: {error}"),
                retryable: false,
            };
        }
    };
    let meta: CommandMeta = ask.meta;
    if clock::now() - meta.time > ASK_AGE_MAX {
        return Answer::Failed {
            message: "the ask is too old; ask again".to_owned(),
            retryable: true,
        };
    }
    match streams.carry_out::<A>(&ask.id, command, &meta).await {
        Ok(done) => Answer::Done {
            position: done.position,
            version: done.version,
            already: done.outcome != Outcome::Appended,
        },
        Err(ExecuteError::Refused(refusal)) => refused(&refusal),
        Err(error) => failed(&error),
    }
}

fn refused<R: Refusal>(refusal: &R) -> Answer {
    Answer::Refused {
        code: refusal.code(),
        message: refusal.to_string(),
        refusal: serde_json::to_value(refusal).unwrap_or(Value::Null),
    }
}

fn failed<R: Refusal>(error: &ExecuteError<R>) -> Answer {
    let retryable = match error {
        ExecuteError::Conflict
        | ExecuteError::Unavailable { .. }
        | ExecuteError::Unknown { .. } => true,
        ExecuteError::Refused(_)
        | ExecuteError::KeyReused
        | ExecuteError::Unreadable(_)
        | ExecuteError::Unwritable(_)
        | ExecuteError::TooLarge => false,
    };
    Answer::Failed {
        message: error.to_string(),
        retryable,
    }
}
