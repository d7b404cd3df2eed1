//! The answering side: one NATS micro service per context.

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use async_nats::service::endpoint::Endpoint;
use async_nats::service::{Request, Service, ServiceExt, error};
use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt};
use serde::Serialize;
use serde_json::Value;
use thiserror::Error;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::host::{Execute, Host, Reply};
use super::message::{
    Answer, Ask, CODE_BAD_REQUEST, CODE_BROKEN, CODE_UNAVAILABLE, DEADLINE_HEADER, command_subject,
    question_subject,
};
use crate::connection::Connection;

/// Requests that one host works on at once, commands and questions together; beyond it the
/// answer is "busy" at once, so that the asker's backoff works instead of a hidden queue.
const CONCURRENCY_MAX: usize = 128;
/// Requests share themselves between the hosts of this queue group.
const QUEUE_GROUP: &str = "millrace";
/// At shutdown, requests that run have this long to finish.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(10);
/// Longest error text in a header, in characters.
const ERROR_LENGTH_MAX: usize = 300;

/// The service could not be started.
#[derive(Debug, Error)]
#[error("service {service} could not be started")]
pub struct HostError {
    /// `millrace-<context>`.
    pub service: String,
    /// What the client says.
    #[source]
    source: async_nats::Error,
}

/// A host whose service is up: run it, or nothing is answered.
pub struct Serving {
    service: Service,
    endpoints: Vec<(Endpoint, Work)>,
    name: String,
}

/// What one endpoint does with a request's body.
#[derive(Clone)]
enum Work {
    Commands(Arc<HashMap<Option<&'static str>, Execute>>),
    Question(Reply),
}

impl Host {
    /// Starts the service: from here on it is discovered, and requests wait for
    /// [`Serving::run`].
    ///
    /// # Errors
    /// The connection is closed.
    pub async fn start(self, connection: &Connection) -> Result<Serving, HostError> {
        let name = format!("millrace-{}", self.context);
        let failed = |source| HostError {
            service: format!("millrace-{}", self.context),
            source,
        };
        let service = connection
            .client()
            .service_builder()
            .description(format!("commands and questions of {}", self.context))
            .queue_group(QUEUE_GROUP)
            .start(&name, env!("CARGO_PKG_VERSION"))
            .await
            .map_err(failed)?;
        let mut endpoints = Vec::with_capacity(self.questions.len() + 1);
        if !self.commands.is_empty() {
            let subject = command_subject(&self.context);
            let endpoint = service.endpoint_builder().name("command");
            let endpoint = endpoint.add(subject).await.map_err(failed)?;
            endpoints.push((endpoint, Work::Commands(Arc::new(self.commands))));
        }
        for (question, reply) in self.questions {
            let subject = question_subject(&self.context, &question);
            let endpoint = service.endpoint_builder().name(&question);
            let endpoint = endpoint.add(subject).await.map_err(failed)?;
            endpoints.push((endpoint, Work::Question(reply)));
        }
        Ok(Serving {
            service,
            endpoints,
            name,
        })
    }

    /// Starts and runs until `shutdown`; what runs then is finished, at most 10 s.
    ///
    /// # Errors
    /// As [`Host::start`].
    pub async fn serve(
        self,
        connection: &Connection,
        shutdown: CancellationToken,
    ) -> Result<(), HostError> {
        self.start(connection).await?.run(shutdown).await;
        Ok(())
    }
}

impl Serving {
    /// Answers until `shutdown`, then finishes what runs, at most 10 s.
    ///
    /// async-nats's endpoints can't be drained: a request that is on its way at that moment gets
    /// no answer. Its asker runs into its time-out and asks again with the same command id.
    pub async fn run(self, shutdown: CancellationToken) {
        let tracker = TaskTracker::new();
        let permits = Arc::new(Semaphore::new(CONCURRENCY_MAX));
        let loops = TaskTracker::new();
        for (endpoint, work) in self.endpoints {
            let (tracker, permits) = (tracker.clone(), Arc::clone(&permits));
            let shutdown = shutdown.clone();
            loops.spawn(async move { listen(endpoint, work, permits, tracker, shutdown).await });
        }
        loops.close();
        loops.wait().await;
        tracker.close();
        if tokio::time::timeout(SHUTDOWN_GRACE, tracker.wait())
            .await
            .is_err()
        {
            tracing::warn!(service = self.name, "requests still running at shutdown");
        }
        if let Err(error) = self.service.stop().await {
            tracing::debug!(service = self.name, error = %error, "it stops with the connection");
        }
    }
}

async fn listen(
    mut endpoint: Endpoint,
    work: Work,
    permits: Arc<Semaphore>,
    tracker: TaskTracker,
    shutdown: CancellationToken,
) {
    loop {
        let request = tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            request = endpoint.next() => request,
        };
        let Some(request) = request else {
            break;
        };
        let Ok(permit) = Arc::clone(&permits).try_acquire_owned() else {
            respond(&request, Err(failure(CODE_UNAVAILABLE, "busy"))).await;
            continue;
        };
        let work = work.clone();
        tracker.spawn(async move {
            let answer = answer(&work, &request).await;
            respond(&request, answer).await;
            drop(permit);
        });
    }
    if let Err(error) = endpoint.stop().await {
        tracing::debug!(error = %error, "the endpoint stops with the connection");
    }
}

async fn answer(work: &Work, request: &Request) -> Result<Bytes, error::Error> {
    if is_too_late(request, Utc::now()) {
        return Err(failure(CODE_UNAVAILABLE, "the deadline has passed"));
    }
    let unreadable = |e: serde_json::Error| failure(CODE_BAD_REQUEST, &e.to_string());
    let payload = &request.message.payload;
    match work {
        Work::Commands(by_kind) => {
            let ask: Ask = serde_json::from_slice(payload).map_err(unreadable)?;
            let execute = by_kind.get(&ask.kind.as_deref()).cloned();
            let Some(execute) = execute else {
                return Err(failure(CODE_BAD_REQUEST, "no such aggregate here"));
            };
            match run(execute(ask)).await? {
                Answer::Failed { message, retryable } => Err(failed(retryable, &message)),
                answer @ (Answer::Done { .. } | Answer::Refused { .. }) => write(&answer),
            }
        }
        Work::Question(reply) => {
            let question: Value = serde_json::from_slice(payload).map_err(unreadable)?;
            match run(reply(question)).await? {
                Ok(value) => write(&value),
                Err(error) => Err(failed(error.retryable, &error.message)),
            }
        }
    }
}

/// A panic of the work is an answer too: nobody should wait for it.
async fn run<T>(work: BoxFuture<'static, T>) -> Result<T, error::Error> {
    let done = AssertUnwindSafe(work).catch_unwind().await;
    done.map_err(|_| failure(CODE_BROKEN, "the host panicked"))
}

fn write<T: Serialize>(answer: &T) -> Result<Bytes, error::Error> {
    match serde_json::to_vec(answer) {
        Ok(json) => Ok(json.into()),
        Err(error) => Err(failure(CODE_BROKEN, &error.to_string())),
    }
}

/// Nobody waits any more: beginning would only make a mess that the asker has given up on.
fn is_too_late(request: &Request, now: DateTime<Utc>) -> bool {
    let headers = request.message.headers.as_ref();
    let deadline = headers.and_then(|h| h.get(DEADLINE_HEADER));
    deadline
        .and_then(|deadline| DateTime::parse_from_rfc3339(deadline.as_str()).ok())
        .is_some_and(|deadline| deadline < now)
}

fn failed(retryable: bool, message: &str) -> error::Error {
    let code = if retryable {
        CODE_UNAVAILABLE
    } else {
        CODE_BROKEN
    };
    failure(code, message)
}

/// The text travels in a header: no control characters, ASCII only, bounded.
fn failure(code: usize, message: &str) -> error::Error {
    let ascii = |c: char| if c.is_ascii_graphic() { c } else { ' ' };
    error::Error {
        status: message.chars().map(ascii).take(ERROR_LENGTH_MAX).collect(),
        code,
    }
}

async fn respond(request: &Request, answer: Result<Bytes, error::Error>) {
    if let Err(error) = request.respond(answer).await {
        // The asker runs into its time-out and asks again with the same command id.
        tracing::warn!(subject = %request.message.subject, error = %error, "an answer could not be sent");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_text_fits_a_header() {
        let error = failure(CODE_BROKEN, &format!("a\r\nb ä{}", "x".repeat(999)));
        assert!(error.status.bytes().all(|b| (b' '..=b'~').contains(&b)));
        assert!(error.status.starts_with("a  b "));
        assert_eq!(error.status.len(), ERROR_LENGTH_MAX);
    }
}
