//! The mailer: sends what the notification context has requested, once for each Message-ID, and
//! nothing to an address that has shown to be dead.
//!
//! ```text
//!   delivery ──► to be sent? ──no───────────────────────────────────► acknowledge
//!                    └─yes─► offer it ──► taken, or never to be ──► record ─┤
//!                               │  └────► put off ──► set its timer ────────┘
//!                               └───────► the server hears nobody: it is tried again where it is
//! ```
//!
//! What the server puts off, it takes later or never: of what waits unacknowledged there is a bound, and every
//! mail would wait behind it. While it hears nobody, every mail waits alike.

use std::error::Error;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use kernel::{
    AggregateId, EmailClaimId, NotificationId, Position, Reason, Sealed, UserId, purpose,
};
use lettre::Message;
use lettre::message::{Mailbox, MultiPart};
use notification::{Notification, NotificationCommand, Suppression, SuppressionCommand};
use serde::Deserialize;
use serde_json::json;
use streams::keys::Keys;
use streams::lanes::{HandleError, Handler};
use streams::subscription::Delivery;
use streams::timers::DueTimer;
use streams::{Loaded, RecordedEvent, Streams, clock};

use crate::put_off::{Later, PutOff};
use crate::recorder::{Cause, Record, Recorder};
use crate::rejection;
use crate::smtp::{Smtp, Unsent};
use crate::template::{Mail, Reader, TemplateError, Templates};
use crate::{Config, MAILER_DURABLE};

/// As what this reactor acts.
const ACTOR: &str = "reactor:mailer";

/// Longest wait for the user context's answer.
const QUESTION_TIMEOUT: Duration = Duration::from_secs(5);

/// Why no mail could be made or sent.
#[derive(Debug, thiserror::Error)]
pub enum MailerError {
    /// The server's address is not `host:port`.
    #[error("MILLRACE_SMTP must be host:port, not {0:?}")]
    Server(String),
    /// The file with those who vouch for the server can't be read.
    #[error("the certificates in {} can't be read", path.display())]
    Authority {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Nobody can vouch for the server.
    #[error("no TLS to the mail server")]
    Tls(#[from] lettre::transport::smtp::Error),
    /// A password may be read on the way.
    #[error("MILLRACE_SMTP_USER needs TLS to {0}: set MILLRACE_SMTP_TLS to starttls or implicit")]
    InTheClear(String),
    /// A name without a password.
    #[error("MILLRACE_SMTP_USER needs MILLRACE_SMTP_PASSWORD")]
    Password,
    /// The sender is no mailbox.
    #[error("MILLRACE_MAIL_FROM must be a mailbox, as in Shop <shop@example.com>")]
    From(#[from] lettre::address::AddressError),
    /// A template is wrong.
    #[error("a mail template is wrong")]
    Template(#[from] TemplateError),
}

/// The mail waits until somebody has seen to it.
#[derive(Debug, thiserror::Error)]
#[error("the mail server does not let us in: are MILLRACE_SMTP_USER and its password right?")]
struct LoginRefused(#[source] Said);

/// The mail waits as well: it may be the quota of a day.
#[derive(Debug, thiserror::Error)]
#[error("the mail server takes no mail from us: is MILLRACE_MAIL_FROM right, or a quota used up?")]
struct SenderRefused(#[source] Said);

/// The mail may have been taken: it is sent again under the same Message-ID.
#[derive(Debug, thiserror::Error)]
#[error("the mail server did not answer within MILLRACE_MAIL_TIMEOUT_MS")]
struct Silent;

/// What the mail server said, without whom it was said about: it stands in logs, and, once the mail is
/// parked, in a stream that forgets nothing.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Said(String);

/// What the user context says of a person.
#[derive(Deserialize)]
struct Contact {
    #[serde(default)]
    email: Option<Sealed>,
    #[serde(default)]
    name: Option<Sealed>,
    /// The keyed hash of the address.
    #[serde(default)]
    address: Option<EmailClaimId>,
    #[serde(default)]
    erased: bool,
    #[serde(default)]
    verification_token: Option<String>,
}

/// Name and address, readable for as long as it takes to send one mail.
struct Recipient {
    email: String,
    name: String,
    verification_token: Option<String>,
    /// The keyed hash of the address.
    address: Option<EmailClaimId>,
}

/// Why a mail to nobody is not sent.
const ERASED: &str = "the recipient was erased";

/// What came of a try.
enum Tried {
    /// Whatever it is, it is to be recorded.
    Over(NotificationCommand),
    /// The mail server may take it later.
    PutOff(PutOff),
}

/// Sends mails over SMTP.
pub(crate) struct Mailer {
    streams: Streams,
    recorder: Recorder,
    later: Later,
    keys: Keys,
    templates: Templates,
    smtp: Smtp,
    from: Mailbox,
    pace: DefaultDirectRateLimiter,
}

impl Mailer {
    pub(crate) fn new(
        streams: Streams,
        (recorder, later): (Recorder, Later),
        keys: Keys,
        config: &Config,
    ) -> Result<Self, MailerError> {
        Ok(Self {
            streams,
            recorder,
            later,
            keys,
            templates: Templates::new()?,
            smtp: Smtp::new(&config.smtp)?,
            from: config.smtp.mail_from.parse()?,
            pace: pace(config.smtp.mails_per_second),
        })
    }

    /// Asks who the person is and opens the answer; `None` = erased, nobody is left to be told.
    async fn recipient(&self, user_id: UserId) -> Result<Option<Recipient>, HandleError> {
        let answer = self
            .recorder
            .bus()
            .question(
                "user",
                "contact",
                &json!({ "user_id": user_id }),
                QUESTION_TIMEOUT,
            )
            .await
            .map_err(HandleError::retryable)?;
        let contact: Contact = serde_json::from_value(answer).map_err(HandleError::permanent)?;
        let (Some(email), Some(name), false) = (contact.email, contact.name, contact.erased) else {
            return Ok(None);
        };
        let email = self.keys.open(&email, purpose::USER_EMAIL).await;
        let name = self.keys.open(&name, purpose::USER_NAME).await;
        match (
            email.map_err(HandleError::retryable)?,
            name.map_err(HandleError::retryable)?,
        ) {
            (Some(email), Some(name)) => Ok(Some(Recipient {
                email,
                name,
                verification_token: contact.verification_token,
                address: contact.address,
            })),
            _ => Ok(None),
        }
    }

    /// Sends the mail, if it is to be sent.
    async fn send(
        &self,
        id: NotificationId,
        notification: &Notification,
    ) -> Result<Option<Tried>, HandleError> {
        let Some(request) = notification.due() else {
            // Sent or given up before: this delivery is a repeat.
            return Ok(None);
        };
        let over = |outcome| Ok(Some(Tried::Over(outcome)));
        let Some(recipient) = self.recipient(request.user_id).await? else {
            let reason = ERASED.parse().map_err(HandleError::permanent)?;
            return over(NotificationCommand::RecordSuppression { reason });
        };
        if let Some(reason) = self.suppressed(recipient.address).await? {
            return over(NotificationCommand::RecordSuppression { reason });
        }
        let reader = Reader {
            name: &recipient.name,
            verification_token: recipient.verification_token.as_deref(),
        };
        let mail = self
            .templates
            .render(request.template, &reader, &request.details)
            .map_err(HandleError::permanent)?;
        let (message_id, address) = (notification::message_id(id), recipient.address);
        let Some(message) = self.compose(&message_id, recipient, mail)? else {
            return over(failure("the recipient's address is no mail address"));
        };
        match self.smtp.send(&message).await {
            Ok(()) => over(NotificationCommand::RecordSent {
                message_id,
                address,
            }),
            Err(unsent) => not_taken(unsent, address).map(Some),
        }
    }

    /// Why nothing is sent to the address, as the stream's leader knows it; `None` = it may be.
    async fn suppressed(
        &self,
        address: Option<EmailClaimId>,
    ) -> Result<Option<Reason>, HandleError> {
        let Some(address) = address else {
            return Ok(None);
        };
        let address = address.into();
        let loaded = self.streams.load_current::<Suppression>(&address).await?;
        Ok(loaded.state.reason().cloned())
    }

    /// `None` = the address is none.
    fn compose(
        &self,
        message_id: &str,
        recipient: Recipient,
        mail: Mail,
    ) -> Result<Option<Message>, HandleError> {
        let Ok(address) = recipient.email.parse() else {
            return Ok(None);
        };
        Message::builder()
            .from(self.from.clone())
            .to(Mailbox::new(Some(recipient.name), address))
            .message_id(Some(message_id.to_owned()))
            .date(clock::now().into())
            .subject(mail.subject)
            .multipart(MultiPart::alternative_plain_html(mail.text, mail.html))
            .map(Some)
            .map_err(HandleError::permanent)
    }

    /// Does what is due of the notification that the event is of, and which is put off `since` then.
    async fn work(
        &self,
        event: &RecordedEvent,
        mut loaded: Loaded<Notification>,
        since: Option<DateTime<Utc>>,
    ) -> Result<(), HandleError> {
        let id = &event.aggregate_id;
        let notification_id: NotificationId =
            id.as_str().parse().map_err(HandleError::permanent)?;
        if loaded.state.due().is_some() {
            // Before it is read what is to be sent to whom: that may change while it waits for its turn.
            self.pace.until_ready().await;
            // It may have been sent since, by a worker that is gone.
            loaded = self.streams.load_current::<Notification>(id).await?;
        }
        // What asked for it is what brings it about. Of another event of the notification, which may lie on
        // another lane, it would be sent at the same time.
        if loaded.version == event.version {
            let outcome = match self.send(notification_id, &loaded.state).await? {
                Some(Tried::Over(outcome)) => Some(outcome),
                Some(Tried::PutOff(put_off)) => self.later.try_again(put_off, event, since).await?,
                None => None,
            };
            if let Some(outcome) = outcome {
                self.record((id, loaded.version), &outcome, event).await?;
            }
        }
        if let Some(dead) = loaded.state.dead_address() {
            self.suppress(dead, event).await?;
        }
        Ok(())
    }

    /// Nothing is to be sent any more to where the notification bounced. That is asked for once for
    /// each bounce: an operator who lifts it is not overruled by an old one that comes again.
    async fn suppress(
        &self,
        (address, said): (EmailClaimId, &str),
        cause: &RecordedEvent,
    ) -> Result<(), HandleError> {
        let reason = rejection::as_reason(said).map_err(HandleError::permanent)?;
        self.recorder
            .record::<Suppression>(Record {
                id: &address.into(),
                command: &SuppressionCommand::SuppressAddress { reason },
                label: cause.aggregate_id.as_str(),
                cause: &Cause::from(cause),
                actor: ACTOR,
            })
            .await?;
        Ok(())
    }

    /// What came of the try that was asked for with the notification's event number `version`: each has one
    /// outcome, whichever delivery brings it about.
    async fn record(
        &self,
        (id, version): (&AggregateId, u64),
        command: &NotificationCommand,
        cause: &RecordedEvent,
    ) -> Result<(), HandleError> {
        let label = match version {
            1 => "outcome".to_owned(),
            again => format!("outcome/{again}"),
        };
        // A refusal means that the outcome was recorded before.
        self.recorder
            .record::<Notification>(Record {
                id,
                command,
                label: &label,
                cause: &Cause::from(cause),
                actor: ACTOR,
            })
            .await?;
        Ok(())
    }
}

/// What is to become of a mail that was not taken. Where it was not even offered, nothing was said of it.
fn not_taken(unsent: Unsent, address: Option<EmailClaimId>) -> Result<Tried, HandleError> {
    let Unsent { offered, error } = unsent;
    let later = |why: Box<dyn Error + Send + Sync>| {
        if offered {
            Ok(Tried::PutOff(PutOff(why)))
        } else {
            Err(HandleError::retryable(why))
        }
    };
    let Some(error) = error else {
        return later(Silent.into());
    };
    let said = Said(rejection::said(&error));
    if rejection::is_about_us(&error) {
        metrics::counter!("mail_logins_refused_total").increment(1);
        return Err(HandleError::retryable(LoginRefused(said)));
    }
    if rejection::is_about_sender(&error) {
        metrics::counter!("mail_senders_refused_total").increment(1);
        return later(SenderRefused(said).into());
    }
    if !offered {
        return later(said.into());
    }
    if rejection::is_no_mailbox(&error) {
        let reason = said.0;
        return Ok(Tried::Over(NotificationCommand::RecordBounce {
            reason,
            address,
        }));
    }
    if error.is_permanent() || rejection::is_unreadable(&error) {
        return Ok(Tried::Over(failure(&said.0)));
    }
    later(said.into())
}

fn failure(reason: &str) -> NotificationCommand {
    NotificationCommand::RecordFailure {
        reason: reason.to_owned(),
    }
}

/// So many a second, evenly: not a second's worth at once.
fn pace(mails_per_second: NonZeroU32) -> DefaultDirectRateLimiter {
    RateLimiter::direct(Quota::per_second(mails_per_second).allow_burst(NonZeroU32::MIN))
}

#[async_trait]
impl Handler for Mailer {
    async fn handle(&self, delivery: &Delivery) -> Result<(), HandleError> {
        let event = &delivery.event;
        if event.kind.is_some() {
            // A suppression: nobody is to be told.
            return Ok(());
        }
        let loaded = self.streams.load_with::<Notification>(event).await?;
        self.work(event, loaded, None).await
    }
}

#[async_trait]
impl Handler<DueTimer> for Mailer {
    async fn handle(&self, delivery: &Delivery<DueTimer>) -> Result<(), HandleError> {
        let DueTimer { id, since, .. } = &delivery.event;
        let id = &id.id;
        let loaded = self.streams.load_current::<Notification>(id).await?;
        if loaded.state.due().is_none() {
            return Ok(());
        }
        let last = Position::new(MAILER_DURABLE.stream, loaded.position);
        match self.streams.event_at(&last).await? {
            Some(event) => self.work(&event, loaded, *since).await,
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mails_go_out_one_after_the_other_however_many_wait() {
        let pace = pace(NonZeroU32::MIN);
        assert!(pace.check().is_ok());
        assert!(pace.check().is_err());
    }
}
