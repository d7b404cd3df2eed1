//! The asking side.

use std::time::Duration;

use async_nats::service::{NATS_SERVICE_ERROR, NATS_SERVICE_ERROR_CODE};
use async_nats::{Client, HeaderMap, Message, Request, RequestErrorKind};
use chrono::Utc;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use thiserror::Error;

use super::message::{
    Answer, Ask, CODE_UNAVAILABLE, DEADLINE_HEADER, TRACEPARENT_HEADER, command_subject,
    question_subject, write_deadline,
};
use crate::connection::Connection;

/// Asks other contexts. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Bus {
    client: Client,
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
            Self::Unavailable { .. } | Self::Timeout { .. } => true,
            Self::Failed { retryable, .. } => *retryable,
            Self::Unreadable { .. } | Self::Unsent { .. } => false,
        }
    }
}

impl Bus {
    /// Over this connection.
    pub fn new(connection: &Connection) -> Self {
        Self {
            client: connection.client().clone(),
        }
    }

    /// Sends a command and waits for what became of it, at most `within`. Nothing is retried.
    ///
    /// # Errors
    /// No answer. After a time-out the command may have been done; the same ask again tells.
    pub async fn ask(&self, ask: &Ask, within: Duration) -> Result<Answer, BusError> {
        let subject = command_subject(&ask.context);
        let traceparent = ask.meta.traceparent.as_deref();
        let request = self.request(&subject, ask, within, traceparent);
        match request.await {
            Err(BusError::Failed {
                message, retryable, ..
            }) => Ok(Answer::Failed { message, retryable }),
            answer => answer,
        }
    }

    /// Asks `context` the question `name`, and waits at most `within`.
    ///
    /// # Errors
    /// No answer, or the host could not answer.
    pub async fn question(
        &self,
        context: &str,
        name: &str,
        payload: &Value,
        within: Duration,
    ) -> Result<Value, BusError> {
        let subject = question_subject(context, name);
        self.request(&subject, payload, within, None).await
    }

    async fn request<Q: Serialize, R: DeserializeOwned>(
        &self,
        subject: &str,
        body: &Q,
        within: Duration,
        traceparent: Option<&str>,
    ) -> Result<R, BusError> {
        let body = serde_json::to_vec(body).map_err(|source| BusError::Unsent {
            subject: subject.to_owned(),
            source: source.into(),
        })?;
        let mut headers = HeaderMap::new();
        headers.insert(
            DEADLINE_HEADER,
            write_deadline(Utc::now() + within).as_str(),
        );
        if let Some(traceparent) = traceparent.filter(|t| t.bytes().all(|b| b.is_ascii_graphic())) {
            headers.insert(TRACEPARENT_HEADER, traceparent);
        }
        let request = Request::new()
            .payload(body.into())
            .headers(headers)
            .timeout(Some(within));
        let sent = self.client.send_request(subject.to_owned(), request).await;
        let reply = sent.map_err(|error| unanswered(subject, error))?;
        if let Some(failed) = service_error(subject, &reply) {
            return Err(failed);
        }
        serde_json::from_slice(&reply.payload).map_err(|source| BusError::Unreadable {
            subject: subject.to_owned(),
            source,
        })
    }
}

fn unanswered(subject: &str, error: async_nats::RequestError) -> BusError {
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
    let code: Option<usize> = code.and_then(|code| code.as_str().parse().ok());
    Some(BusError::Failed {
        subject: subject.to_owned(),
        message,
        retryable: code == Some(CODE_UNAVAILABLE),
    })
}
