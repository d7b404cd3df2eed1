//! `/v1/notifications` and `/v1/suppressions`: what operators hear of mails that came back, and do about
//! those that failed.

use axum::extract::State;
use edge::openapi::{Calls, about};
use edge::{Body, Problem};
use kernel::{EmailClaimId, Reason};
use notification::NotificationRefusal::{
    NotificationNotFailed, NotificationNotSent, NotificationUnknown,
};
use notification::{Notification, NotificationCommand, Suppression, SuppressionCommand};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::api::Api;
use crate::call::{Call, Operators};
use crate::email::Email;
use crate::error::refusals;
use crate::resource::{Asks, act};
use crate::write::{Acted, Created, Done, Made, Written};

pub(crate) fn calls() -> Calls<Api> {
    Calls::default()
        .post(
            "/v1/notifications/{id}/bounce",
            about("Say that a mail came back")
                .more("Nothing is sent to its address any more, until an operator says so.")
                .refuses(refusals([NotificationUnknown, NotificationNotSent]))
                .example(json!({ "reason": "mailbox unknown" })),
            act::<Operators, Notification, RecordBounce>,
        )
        .post(
            "/v1/notifications/{id}/resend",
            about("Have a mail tried again that failed")
                .more("It is the same mail, under the same Message-ID.")
                .refuses(refusals([NotificationUnknown, NotificationNotFailed]))
                .example(json!({})),
            act::<Operators, Notification, Resend>,
        )
        .post(
            "/v1/notifications/{id}/dismiss",
            about("Leave a mail at that which failed or can't be sent")
                .more("Nobody waits for it any more: it is not among what is stuck. One that is on its way may be sent all the same.")
                .refuses(refusals([NotificationUnknown, NotificationNotFailed]))
                .example(json!({ "reason": "told by phone" })),
            act::<Operators, Notification, Dismiss>,
        )
        .post(
            "/v1/suppressions",
            about("Send nothing to an address any more").example(json!({
                "email": "ann@example.com", "reason": "she asked on the phone",
            })),
            suppress,
        )
        .post(
            "/v1/suppressions/remove",
            about("Send to an address again").example(json!({ "email": "ann@example.com" })),
            remove,
        )
}

/// Why it came back.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct RecordBounce {
    /// What the mail server said.
    reason: Reason,
}

impl Asks<Notification> for RecordBounce {
    fn command(&self) -> NotificationCommand {
        NotificationCommand::RecordBounce {
            reason: self.reason.to_string(),
            // Where it went stands in the notification.
            address: None,
        }
    }
}

/// Nothing more is to be said.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Resend {}

impl Asks<Notification> for Resend {
    fn command(&self) -> NotificationCommand {
        NotificationCommand::ResendNotification {}
    }
}

/// Why it is left.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Dismiss {
    /// For whoever reads the log later.
    reason: Reason,
}

impl Asks<Notification> for Dismiss {
    fn command(&self) -> NotificationCommand {
        NotificationCommand::DismissNotification {
            reason: self.reason.clone(),
        }
    }
}

/// An address that nothing is sent to.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct SuppressAddress {
    /// Which.
    email: Email,
    /// Why.
    reason: Reason,
}

/// An address that is written to again.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct UnsuppressAddress {
    /// Which.
    email: Email,
}

async fn suppress(
    State(api): State<Api>,
    Operators(call): Operators,
    Body(body): Body<SuppressAddress>,
) -> Result<Made<Created>, Problem> {
    let address = body.email.claim(&api.digest);
    let command = SuppressionCommand::SuppressAddress {
        reason: body.reason.clone(),
    };
    let written = write(&api, &call, address, command, &body).await?;
    let location = format!("/v1/suppressions/{address}");
    Ok(written.made(location, Created::new(&address)))
}

async fn remove(
    State(api): State<Api>,
    Operators(call): Operators,
    Body(body): Body<UnsuppressAddress>,
) -> Result<Done<Acted>, Problem> {
    let address = body.email.claim(&api.digest);
    let command = SuppressionCommand::UnsuppressAddress {};
    let written = write(&api, &call, address, command, &body).await?;
    Ok(written.acted(&address))
}

async fn write<B: Serialize>(
    api: &Api,
    call: &Call,
    address: EmailClaimId,
    command: SuppressionCommand,
    body: &B,
) -> Result<Written, Problem> {
    let meta = call.meta(api, body);
    let executed = api
        .write::<Suppression>(call, &address.into(), command, &meta)
        .await?;
    Ok(Written::from(&executed))
}
