//! The answering side on the network: one NATS micro service (ADR-32) per context.

use std::sync::Arc;
use std::time::Duration;

use async_nats::Client;
use async_nats::service::endpoint::Endpoint;
use async_nats::service::{Request, Service, ServiceExt, error};
use bytes::Bytes;
use chrono::DateTime;
use futures::StreamExt;
use futures::future::BoxFuture;
use serde::Serialize;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::desk::{Desk, Failure};
use super::host::Until;
use super::hosts::HostError;
use super::message::{
    CODE_BAD_REQUEST, CODE_BROKEN, CODE_BUSY, DEADLINE_HEADER, command_subject, question_subject,
};
use crate::clock;
use crate::connection::Connection;

/// Requests share themselves between the hosts of this queue group.
pub(crate) const QUEUE_GROUP: &str = "millrace";
/// At shutdown, what was accepted has this long to be answered.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(10);
/// Longest error text in a header, in characters.
const ERROR_LENGTH_MAX: usize = 300;

/// Hosts whose services are up: run them, or nothing is answered.
pub struct Serving {
    client: Client,
    services: Vec<Service>,
    endpoints: Vec<(Endpoint, Work)>,
}

/// What one endpoint does with a request's body.
#[derive(Clone)]
struct Work {
    desk: Arc<Desk>,
    /// `None` = commands.
    question: Option<String>,
}

impl Serving {
    pub(super) async fn start(
        desks: impl Iterator<Item = Arc<Desk>>,
        connection: &Connection,
    ) -> Result<Self, HostError> {
        let mut serving = Self {
            client: connection.client().clone(),
            services: Vec::new(),
            endpoints: Vec::new(),
        };
        for desk in desks {
            let failed = |source| HostError {
                service: service_name(&desk.context),
                source,
            };
            serving.add(&desk).await.map_err(failed)?;
            // Only now do requests of other connections find it.
            connection.settle().await.map_err(failed)?;
        }
        Ok(serving)
    }

    async fn add(&mut self, desk: &Arc<Desk>) -> Result<(), async_nats::Error> {
        let context = &desk.context;
        let service = self
            .client
            .service_builder()
            .description(format!("commands and questions of {context}"))
            .queue_group(QUEUE_GROUP)
            .start(service_name(context), env!("CARGO_PKG_VERSION"))
            .await?;
        let work = |question| Work {
            desk: Arc::clone(desk),
            question,
        };
        if desk.takes_commands() {
            let endpoint = service.endpoint_builder().name("command");
            let endpoint = endpoint.add(command_subject(context)).await?;
            self.endpoints.push((endpoint, work(None)));
        }
        for question in desk.questions() {
            let endpoint = service.endpoint_builder().name(question);
            let endpoint = endpoint.add(question_subject(context, question)).await?;
            self.endpoints
                .push((endpoint, work(Some(question.to_owned()))));
        }
        self.services.push(service);
        Ok(())
    }

    /// Answers until `shutdown`; then takes no more, and answers what it has, for at most 10 s.
    ///
    /// What the server sends in the moment of leaving is lost, for async-nats drops what comes in
    /// behind an unsubscription: its asker asks again after a second.
    pub fn run(self, shutdown: CancellationToken) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            let (listeners, work) = (TaskTracker::new(), TaskTracker::new());
            for (endpoint, of) in self.endpoints {
                listeners.spawn(listen(endpoint, of, work.clone()));
            }
            listeners.close();
            tokio::select! {
                () = shutdown.cancelled() => {}
                () = listeners.wait() => {}
            }
            for service in self.services {
                if let Err(error) = service.stop().await {
                    tracing::debug!(error = %error, "the service stops with the connection");
                }
            }
            let finished = async {
                listeners.wait().await;
                work.close();
                work.wait().await;
                self.client.flush().await
            };
            match tokio::time::timeout(SHUTDOWN_GRACE, finished).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    tracing::warn!(error = %error, "last answers may not have been sent");
                }
                Err(_elapsed) => tracing::warn!("requests still running at shutdown"),
            }
        })
    }
}

fn service_name(context: &str) -> String {
    format!("millrace-{context}")
}

/// Takes requests until the service stops and none is left.
async fn listen(mut endpoint: Endpoint, of: Work, tracker: TaskTracker) {
    while let Some(request) = endpoint.next().await {
        let place = match of.desk.admit(of.question.as_deref()) {
            Ok(place) => place,
            Err(busy) => {
                respond(&request, Err(busy)).await;
                continue;
            }
        };
        let of = of.clone();
        tracker.spawn(async move {
            let answer = answer(&of, &request).await;
            respond(&request, answer).await;
            drop(place);
        });
    }
}

async fn answer(work: &Work, request: &Request) -> Result<Bytes, Failure> {
    let until = deadline(request);
    // Nobody waits any more: beginning would only make a mess that the asker has given up on.
    if until.is_some_and(|until| until < clock::now()) {
        // If somebody does wait, the clocks are apart, and another host may have a better one.
        let late = "the deadline has passed";
        return Err(Failure::new(CODE_BUSY, late));
    }
    let unreadable = |e: serde_json::Error| Failure::new(CODE_BAD_REQUEST, e.to_string());
    let payload = &request.message.payload;
    match &work.question {
        None => {
            let ask = serde_json::from_slice(payload).map_err(unreadable)?;
            write(&work.desk.command(ask, until).await?)
        }
        Some(name) => {
            let question = serde_json::from_slice(payload).map_err(unreadable)?;
            write(&work.desk.question(name, question).await?)
        }
    }
}

fn write<T: Serialize>(answer: &T) -> Result<Bytes, Failure> {
    match serde_json::to_vec(answer) {
        Ok(json) => Ok(json.into()),
        Err(error) => Err(Failure::new(CODE_BROKEN, error.to_string())),
    }
}

fn deadline(request: &Request) -> Until {
    let headers = request.message.headers.as_ref();
    let deadline = headers.and_then(|h| h.get(DEADLINE_HEADER))?;
    let deadline = DateTime::parse_from_rfc3339(deadline.as_str()).ok()?;
    Some(deadline.to_utc())
}

async fn respond(request: &Request, answer: Result<Bytes, Failure>) {
    if let Err(error) = request
        .respond(answer.map_err(|failure| header(&failure)))
        .await
    {
        // The asker hears nothing and asks again with the same command id.
        tracing::warn!(subject = %request.message.subject, error = %error, "an answer could not be sent");
    }
}

/// The text travels in a header: no control characters, ASCII only, bounded.
fn header(failure: &Failure) -> error::Error {
    let ascii = |c: char| if c.is_ascii_graphic() { c } else { ' ' };
    let status = failure.message.chars().map(ascii).take(ERROR_LENGTH_MAX);
    error::Error {
        status: status.collect(),
        code: failure.code,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_text_fits_a_header() {
        let failure = Failure::new(CODE_BROKEN, format!("a\r\nb ä{}", "x".repeat(999)));
        let error = header(&failure);
        assert!(error.status.bytes().all(|b| (b' '..=b'~').contains(&b)));
        assert!(error.status.starts_with("a  b "));
        assert_eq!(error.status.len(), ERROR_LENGTH_MAX);
    }
}
