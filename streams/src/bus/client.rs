//! The asking side.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use async_nats::service::{NATS_SERVICE_ERROR, NATS_SERVICE_ERROR_CODE};
use async_nats::{Client, HeaderMap, Message, Request, RequestError, RequestErrorKind};
use bytes::Bytes;
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use thiserror::Error;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::desk::{Desk, Failure};
use super::hosts::Hosts;
use super::message::{
    Answer, Ask, CODE_BROKEN, CODE_BUSY, DEADLINE_HEADER, TRACEPARENT_HEADER, command_subject,
    question_subject, write_deadline,
};
use crate::clock;
use crate::connection::Connection;
use crate::jitter::jittered;

/// Silence after which a request is sent again: its host may have died with it. An answer takes
/// milliseconds; a slow one that comes in the meantime counts as well.
const ASK_AGAIN_AFTER: Duration = Duration::from_secs(1);

/// Most sendings of one request that are waited for at once.
const SENDS_MAX: usize = 3;

/// What may be answered late, and must not be done twice, is sent again only if it was not begun.
const ONCE: usize = 1;

/// Pause before a busy host is asked again; doubles up to [`BUSY_PAUSE_MAX`], with jitter.
const BUSY_PAUSE: Duration = Duration::from_millis(5);

/// Longest pause before a busy host is asked again.
const BUSY_PAUSE_MAX: Duration = Duration::from_millis(100);

/// Longest that anybody waits for an answer; who would wait longer waits so long.
const WITHIN_MAX: Duration = Duration::from_hours(24);

/// Asks other contexts. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Bus {
    /// `None`: there is no network, only this process.
    client: Option<Client>,
    here: Hosts,
}

/// No answer came.
#[derive(Debug, Error)]
pub enum BusError {
    /// Nobody hosts this context now. Nothing happened.
    #[error("nobody answers on {subject} now")]
    Unavailable {
        /// Which subject.
        subject: String,
    },
    /// All hosts had their hands full until the time was up. Nothing happened.
    #[error("whoever answers on {subject} is busy")]
    Busy {
        /// Which subject.
        subject: String,
    },
    /// No answer in time: it may have been done.
    #[error("no answer on {subject} in time")]
    Timeout {
        /// Which subject.
        subject: String,
    },
    /// The host could not answer the question.
    #[error("{subject} failed: {message}")]
    Failed {
        /// Which subject.
        subject: String,
        /// What the host says.
        message: String,
        /// Another try may help.
        retryable: bool,
    },
    /// The answer is none.
    #[error("the answer on {subject} can't be read")]
    Unreadable {
        /// Which subject.
        subject: String,
        /// What serde says.
        #[source]
        source: serde_json::Error,
    },
    /// The request could not be written or sent; too large, or the connection is closed.
    #[error("the request on {subject} could not be sent")]
    Unsent {
        /// Which subject.
        subject: String,
        /// What the client says.
        #[source]
        source: async_nats::Error,
    },
}

impl BusError {
    /// May the same request succeed later?
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Unavailable { .. } | Self::Busy { .. } | Self::Timeout { .. } => true,
            Self::Failed { retryable, .. } => *retryable,
            Self::Unreadable { .. } | Self::Unsent { .. } => false,
        }
    }
}

impl Bus {
    /// Over this connection. The hosts that it is beside ([`Connection::beside`]) are asked directly.
    /// They answer as they do over the network; what they begin they also finish when nobody waits any
    /// more.
    pub fn new(connection: &Connection) -> Self {
        Self {
            client: Some(connection.client().clone()),
            here: connection.here().clone(),
        }
    }

    /// Within this process only: whom `hosts` doesn't hold nobody answers for.
    pub fn within(hosts: &Hosts) -> Self {
        Self {
            client: None,
            here: hosts.clone(),
        }
    }

    /// Sends a command and waits for what became of it, at most `within` (and a day).
    ///
    /// # Errors
    /// No answer. After a time-out the command may have been done; the same ask again tells.
    pub fn ask<'a>(
        &'a self,
        ask: &'a Ask,
        within: Duration,
    ) -> BoxFuture<'a, Result<Answer, BusError>> {
        Box::pin(async move {
            let within = within.min(WITHIN_MAX);
            let subject = command_subject(&ask.context);
            let answer = if let Some(desk) = self.here.of(&ask.context) {
                let ask = ask.clone();
                let until = Some(clock::now() + within);
                let work = move |desk: Arc<Desk>| async move { desk.command(ask, until).await };
                here(&subject, desk, (None, within), work).await
            } else {
                let traceparent = ask.meta.traceparent.as_deref();
                let how = (within, SENDS_MAX);
                self.request(&subject, ask, how, traceparent).await
            };
            match answer {
                Err(BusError::Failed {
                    message, retryable, ..
                }) => Ok(Answer::Failed { message, retryable }),
                answer => answer,
            }
        })
    }

    /// Asks `context` the question `name`, and waits at most `within` (and a day).
    ///
    /// # Errors
    /// No answer, or the host could not answer.
    pub fn question<'a>(
        &'a self,
        context: &'a str,
        name: &'a str,
        payload: &'a Value,
        within: Duration,
    ) -> BoxFuture<'a, Result<Value, BusError>> {
        self.asked(context, name, payload, (within, SENDS_MAX))
    }

    /// As [`Self::question`], of what may take long to answer or must not be worked on twice: one host
    /// takes it, and when that dies with it there is no answer.
    ///
    /// # Errors
    /// As [`Self::question`].
    pub fn question_once<'a>(
        &'a self,
        context: &'a str,
        name: &'a str,
        payload: &'a Value,
        within: Duration,
    ) -> BoxFuture<'a, Result<Value, BusError>> {
        self.asked(context, name, payload, (within, ONCE))
    }

    fn asked<'a>(
        &'a self,
        context: &'a str,
        name: &'a str,
        payload: &'a Value,
        (within, sends_max): (Duration, usize),
    ) -> BoxFuture<'a, Result<Value, BusError>> {
        Box::pin(async move {
            let within = within.min(WITHIN_MAX);
            let subject = question_subject(context, name);
            if let Some(desk) = self.here.of(context) {
                let (asked, payload) = (name.to_owned(), payload.clone());
                let work = |desk: Arc<Desk>| async move { desk.question(&asked, payload).await };
                return here(&subject, desk, (Some(name), within), work).await;
            }
            let how = (within, sends_max);
            self.request(&subject, payload, how, None).await
        })
    }

    async fn request<Q: Serialize, R: DeserializeOwned>(
        &self,
        subject: &str,
        body: &Q,
        (within, sends_max): (Duration, usize),
        traceparent: Option<&str>,
    ) -> Result<R, BusError> {
        let Some(client) = &self.client else {
            let subject = subject.to_owned();
            return Err(BusError::Unavailable { subject });
        };
        let body = serde_json::to_vec(body).map_err(|source| BusError::Unsent {
            subject: subject.to_owned(),
            source: source.into(),
        })?;
        let mut headers = HeaderMap::new();
        headers.insert(
            DEADLINE_HEADER,
            write_deadline(clock::now() + within).as_str(),
        );
        if let Some(traceparent) = traceparent.filter(|t| t.bytes().all(|b| b.is_ascii_graphic())) {
            headers.insert(TRACEPARENT_HEADER, traceparent);
        }
        let body = Bytes::from(body);
        let send = |left| {
            let request = Request::new()
                .payload(body.clone())
                .headers(headers.clone());
            let sent = client.send_request(subject.to_owned(), request.timeout(Some(left)));
            async move {
                // Its own time-out begins once it is on its way: away from the server, that may be long.
                match timeout(left, sent).await {
                    Ok(Ok(reply)) => service_error(subject, &reply).map_or(Ok(reply), Err),
                    Ok(Err(error)) => Err(unanswered(subject, error)),
                    Err(_late) => Err(BusError::Timeout {
                        subject: subject.to_owned(),
                    }),
                }
            }
        };
        let reply = first_reply(send, (within, sends_max)).await?;
        serde_json::from_slice(&reply.payload).map_err(|source| BusError::Unreadable {
            subject: subject.to_owned(),
            source,
        })
    }
}

/// The first reply to a request, which is sent again after [`ASK_AGAIN_AFTER`] of silence as long as fewer than
/// `sends_max` sendings are under way, and soon after a host was busy. That one sending met nobody, or failed for
/// now, is no answer as long as another may be worked on; but it is under way no more, for the other's host may
/// have died with it, and the next one be there by then.
async fn first_reply<F: Future<Output = Result<Message, BusError>>>(
    send: impl Fn(Duration) -> F,
    (within, sends_max): (Duration, usize),
) -> Result<Message, BusError> {
    let deadline = Instant::now() + within;
    let left = || deadline.saturating_duration_since(Instant::now());
    let mut asked = FuturesUnordered::from_iter([send(within)]);
    let mut pause = BUSY_PAUSE;
    loop {
        let silence = sleep(ASK_AGAIN_AFTER);
        tokio::select! {
            Some(answer) = asked.next() => match answer {
                Err(BusError::Busy { .. }) if pause < left() => {
                    sleep(jittered(pause)).await;
                    pause = BUSY_PAUSE_MAX.min(pause * 2);
                    asked.push(send(left()));
                }
                Err(error) if error.is_retryable() && !asked.is_empty() => {}
                answer => return answer,
            },
            () = silence, if asked.len() < sends_max => asked.push(send(left())),
        }
    }
}

/// Has the work done in this process. It goes on when the time is up, as it would elsewhere: an
/// append that is given up halfway helps nobody.
async fn here<T, F>(
    subject: &str,
    desk: Arc<Desk>,
    (question, within): (Option<&str>, Duration),
    work: impl FnOnce(Arc<Desk>) -> F,
) -> Result<T, BusError>
where
    T: Send + 'static,
    F: Future<Output = Result<T, Failure>> + Send + 'static,
{
    let deadline = Instant::now() + within;
    let failed = |failure| of_failure(subject, failure);
    let busy = |_elapsed| BusError::Busy {
        subject: subject.to_owned(),
    };
    let place = timeout_at(deadline, desk.wait(question))
        .await
        .map_err(busy)?;
    let place = place.map_err(failed)?;
    let work = work(desk);
    let working = tokio::spawn(async move {
        let answer = work.await;
        drop(place);
        answer
    });
    match timeout_at(deadline, working).await {
        Ok(Ok(answer)) => answer.map_err(failed),
        Ok(Err(ended)) => Err(failed(Failure::new(CODE_BROKEN, ended.to_string()))),
        Err(_elapsed) => Err(BusError::Timeout {
            subject: subject.to_owned(),
        }),
    }
}

fn unanswered(subject: &str, error: RequestError) -> BusError {
    let subject = subject.to_owned();
    match error.kind() {
        RequestErrorKind::NoResponders => BusError::Unavailable { subject },
        RequestErrorKind::TimedOut => BusError::Timeout { subject },
        RequestErrorKind::InvalidSubject
        | RequestErrorKind::MaxPayloadExceeded
        | RequestErrorKind::Other => BusError::Unsent {
            subject,
            source: error.into(),
        },
    }
}

/// A NATS service answers an error in two headers (ADR-32).
fn service_error(subject: &str, reply: &Message) -> Option<BusError> {
    let headers = reply.headers.as_ref()?;
    let message = headers.get(NATS_SERVICE_ERROR)?.as_str().to_owned();
    let code = headers.get(NATS_SERVICE_ERROR_CODE);
    let code = code.and_then(|code| code.as_str().parse().ok());
    let failure = Failure::new(code.unwrap_or(CODE_BROKEN), message);
    Some(of_failure(subject, failure))
}

fn of_failure(subject: &str, failure: Failure) -> BusError {
    let subject = subject.to_owned();
    if failure.code == CODE_BUSY {
        return BusError::Busy { subject };
    }
    BusError::Failed {
        subject,
        retryable: failure.is_retryable(),
        message: failure.message,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    fn nobody() -> BusError {
        BusError::Unavailable {
            subject: "command.lamp".to_owned(),
        }
    }

    fn reply() -> Message {
        Message {
            subject: "_INBOX.1".into(),
            reply: None,
            payload: Bytes::new(),
            headers: None,
            status: None,
            description: None,
            length: 0,
        }
    }

    /// The first sending dies with its host; then nobody is there for `away`.
    async fn asked_of_a_host_that_dies(away: Duration) -> (Result<Message, BusError>, usize) {
        let (sends, since) = (AtomicUsize::new(0), Instant::now());
        let send = |left| {
            let first = sends.fetch_add(1, Ordering::Relaxed) == 0;
            async move {
                if first {
                    sleep(left).await;
                    return Err(BusError::Timeout {
                        subject: "command.lamp".to_owned(),
                    });
                }
                if since.elapsed() < away {
                    return Err(nobody());
                }
                Ok(reply())
            }
        };
        let answer = first_reply(send, (Duration::from_secs(10), SENDS_MAX)).await;
        (answer, sends.into_inner())
    }

    #[tokio::test(start_paused = true)]
    async fn who_met_nobody_asks_again_until_the_host_is_back() {
        let since = Instant::now();
        let (answer, sends) = asked_of_a_host_that_dies(Duration::from_millis(4_500)).await;
        answer.unwrap();
        assert_eq!(
            (since.elapsed().as_secs(), sends),
            (5, 6),
            "each second once"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_host_that_stays_away_is_waited_for_as_long_as_there_is_time() {
        let since = Instant::now();
        let (answer, sends) = asked_of_a_host_that_dies(Duration::from_hours(1)).await;
        let answer = answer.unwrap_err();
        assert!(answer.is_retryable(), "{answer}");
        assert_eq!(since.elapsed().as_secs(), 10);
        assert!((9..=11).contains(&sends), "{sends}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_host_is_asked_no_more_often_than_it_may_be() {
        let sends = AtomicUsize::new(0);
        let send = |left| {
            sends.fetch_add(1, Ordering::Relaxed);
            async move {
                sleep(left).await;
                Err(nobody())
            }
        };
        let how = (Duration::from_secs(10), SENDS_MAX);
        first_reply(send, how).await.unwrap_err();
        assert_eq!(sends.into_inner(), SENDS_MAX);
    }
}
