//! Where the requests of one context are worked on, however they came.

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use serde_json::Value;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::host::{Execute, Host, Reply, Until};
use super::message::{Answer, Ask, CODE_BAD_REQUEST, CODE_BROKEN, CODE_BUSY, CODE_UNAVAILABLE};

/// Requests of one kind that one host works on at once: commands, or one question. So a question whose
/// answer takes long keeps no command waiting. Beyond it, who asks over the network hears at once that it
/// is busy, and goes to another host or comes again; who asks within this process waits in line, as long as
/// there is time.
pub(crate) const CONCURRENCY_MAX: usize = 128;

/// A request without an answer of the business.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure {
    /// In words.
    pub(super) message: String,
    /// As in HTTP.
    pub(super) code: usize,
}

impl Failure {
    pub(super) fn new(code: usize, message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            code,
        }
    }

    fn of(message: String, retryable: bool) -> Self {
        let code = if retryable {
            CODE_UNAVAILABLE
        } else {
            CODE_BROKEN
        };
        Self::new(code, message)
    }

    /// May the same request succeed later?
    pub(super) fn is_retryable(&self) -> bool {
        matches!(self.code, CODE_UNAVAILABLE | CODE_BUSY)
    }
}

/// What one host answers, and how much of it at once.
pub(super) struct Desk {
    pub(super) context: String,
    commands: HashMap<Option<&'static str>, Execute>,
    questions: HashMap<String, Question>,
    /// For commands.
    places: Arc<Semaphore>,
}

/// One question, and its places.
struct Question {
    reply: Reply,
    places: Arc<Semaphore>,
}

fn places() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(CONCURRENCY_MAX))
}

impl Desk {
    pub(super) fn new(host: Host) -> Self {
        let questions = host.questions.into_iter().map(|(name, reply)| {
            let places = places();
            (name, Question { reply, places })
        });
        Self {
            context: host.context,
            commands: host.commands,
            questions: questions.collect(),
            places: places(),
        }
    }

    pub(super) fn takes_commands(&self) -> bool {
        !self.commands.is_empty()
    }

    pub(super) fn questions(&self) -> impl Iterator<Item = &str> {
        self.questions.keys().map(String::as_str)
    }

    /// A place to work at on a question, or on a command, to be kept until the answer is given; none if all
    /// are taken.
    pub(super) fn admit(&self, question: Option<&str>) -> Result<OwnedSemaphorePermit, Failure> {
        let place = self.places(question).try_acquire_owned();
        place.map_err(|_| Failure::new(CODE_BUSY, "busy"))
    }

    /// The next free place, in the order of asking.
    pub(super) async fn wait(
        &self,
        question: Option<&str>,
    ) -> Result<OwnedSemaphorePermit, Failure> {
        let place = self.places(question).acquire_owned().await;
        place.map_err(|closed| Failure::new(CODE_BROKEN, closed.to_string()))
    }

    /// What nobody here answers to is told so at a command's place.
    fn places(&self, question: Option<&str>) -> Arc<Semaphore> {
        let known = question.and_then(|name| self.questions.get(name));
        Arc::clone(known.map_or(&self.places, |known| &known.places))
    }

    /// Not begun after `until`, however long it waits for its turn at the aggregate.
    pub(super) async fn command(&self, ask: Ask, until: Until) -> Result<Answer, Failure> {
        let execute = self.commands.get(&ask.kind.as_deref()).map(Arc::clone);
        let Some(execute) = execute else {
            return Err(Failure::new(CODE_BAD_REQUEST, "no such aggregate here"));
        };
        match run(execute(ask, until)).await? {
            Answer::Failed { message, retryable } => Err(Failure::of(message, retryable)),
            answer @ (Answer::Done { .. } | Answer::Refused { .. }) => Ok(answer),
        }
    }

    pub(super) async fn question(&self, name: &str, payload: Value) -> Result<Value, Failure> {
        let Some(Question { reply, .. }) = self.questions.get(name) else {
            return Err(Failure::new(CODE_BAD_REQUEST, "no such question here"));
        };
        let answer = run(reply(payload)).await?;
        answer.map_err(|error| Failure::of(error.message, error.retryable))
    }
}

/// A panic of the work is an answer too: nobody should wait for it.
async fn run<T>(work: BoxFuture<'static, T>) -> Result<T, Failure> {
    let done = AssertUnwindSafe(work).catch_unwind().await;
    done.map_err(|_| Failure::new(CODE_BROKEN, "the host panicked"))
}

#[cfg(test)]
mod tests {
    use chrono::{TimeDelta, Utc};
    use uuid::Uuid;

    use super::*;
    use crate::clock;
    use crate::contract::account::{Account, AccountCommand};
    use crate::envelope::CommandMeta;
    use crate::store::Streams;

    #[tokio::test]
    async fn what_nobody_waits_for_when_its_turn_comes_is_not_begun() {
        let streams = Streams::in_memory();
        let desk = Desk::new(Host::new("account", streams.clone()).aggregate::<Account>());
        let ask = Ask {
            context: "account".to_owned(),
            kind: None,
            id: "a-1".parse().unwrap(),
            command: serde_json::to_value(AccountCommand::Open).unwrap(),
            meta: CommandMeta::new(Uuid::new_v4(), Utc::now(), "saga:test"),
        };
        let turn = streams.turn::<Account>(&ask.id).await;
        let until = clock::now() + TimeDelta::milliseconds(20);
        let queued = desk.command(ask.clone(), Some(until));
        let (late, ()) = tokio::join!(queued, async {
            while clock::now() <= until {
                tokio::task::yield_now().await;
            }
            drop(turn);
        });
        let late = late.unwrap_err();
        assert!(late.is_retryable(), "{late:?}");
        let again = desk.command(ask, None).await.unwrap();
        assert!(
            matches!(again, Answer::Done { already: false, .. }),
            "{again:?}"
        );
    }
}
