//! One event that is told to one endpoint.

use chrono::{DateTime, Utc};
use kernel::{Decider, Reason, UserId, WebhookDeliveryId, WebhookEndpointId};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Attempt, DeliveryCommand, DeliveryEvent, DeliveryRefusal, EventRef, Outcome};

/// The namespace of delivery ids (UUIDv5); never changes, or every event would be told again.
const NAMESPACE: Uuid = Uuid::from_u128(0x6d69_6c6c_7261_6365_8e77_6562_686f_6f6b);

/// The delivery of this event to this endpoint: always the same.
pub fn delivery_id(endpoint_id: WebhookEndpointId, event_id: Uuid) -> WebhookDeliveryId {
    let name = format!("{endpoint_id}/{event_id}");
    WebhookDeliveryId(Uuid::new_v5(&NAMESPACE, name.as_bytes()))
}

/// How far the telling of one event to one endpoint has come.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WebhookDelivery {
    /// Nothing is to be told.
    #[default]
    Unrequested,
    /// It is to be tried, or tried again.
    Pending(Pending),
    /// It was taken.
    Delivered {
        /// What was told to whom.
        request: Request,
        /// How often it was tried.
        attempts: u32,
    },
    /// It is not tried any more.
    Failed {
        /// What was to be told to whom.
        request: Request,
        /// How often it was tried.
        attempts: u32,
    },
}

/// What is told to whom.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// To which endpoint.
    pub endpoint_id: WebhookEndpointId,
    /// Whose that is; `None` = the operators'.
    pub user_id: Option<UserId>,
    /// Which event.
    pub event: EventRef,
}

/// A delivery that is to be tried.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pending {
    /// What is told to whom.
    pub request: Request,
    /// How often it was tried.
    pub attempts: u32,
    /// How often since it was asked for, or asked for again: its place in the schedule.
    pub tries: u32,
    /// When it is due; `None` = at once.
    pub due_at: Option<DateTime<Utc>>,
}

type Decision = Result<Vec<DeliveryEvent>, DeliveryRefusal>;

impl WebhookDelivery {
    /// What is told to whom, once it is asked for.
    pub fn request(&self) -> Option<&Request> {
        match self {
            Self::Unrequested => None,
            Self::Pending(pending) => Some(&pending.request),
            Self::Delivered { request, .. } | Self::Failed { request, .. } => Some(request),
        }
    }

    /// What is to be tried, now or later.
    pub fn pending(&self) -> Option<&Pending> {
        match self {
            Self::Pending(pending) => Some(pending),
            Self::Unrequested | Self::Delivered { .. } | Self::Failed { .. } => None,
        }
    }

    fn ask(&self, request: &Request) -> Decision {
        match self.request() {
            None => Ok(vec![DeliveryEvent::WebhookDeliveryRequested {
                endpoint_id: request.endpoint_id,
                user_id: request.user_id,
                event: request.event.clone(),
            }]),
            Some(known) if known == request => Ok(vec![]),
            Some(_) => Err(DeliveryRefusal::WebhookDeliveryDiffers),
        }
    }

    /// An attempt that is recorded already is no news.
    fn record(&self, attempt: &Attempt, next_at: Option<DateTime<Utc>>) -> Decision {
        let (attempts, pending) = match self {
            Self::Unrequested => return Err(DeliveryRefusal::WebhookDeliveryUnknown),
            Self::Pending(pending) => (pending.attempts, true),
            Self::Delivered { attempts, .. } | Self::Failed { attempts, .. } => (*attempts, false),
        };
        if attempt.number <= attempts {
            return Ok(vec![]);
        }
        if !pending || attempt.number != attempts + 1 {
            return Err(DeliveryRefusal::WebhookAttemptNotDue);
        }
        let taken = matches!(attempt.outcome, Outcome::Accepted { .. });
        Ok(vec![DeliveryEvent::WebhookAttempted {
            attempt: attempt.clone(),
            next_at: next_at.filter(|_| !taken),
        }])
    }

    fn abandon(&self, reason: &Reason) -> Decision {
        match self {
            Self::Unrequested => Err(DeliveryRefusal::WebhookDeliveryUnknown),
            Self::Delivered { .. } | Self::Failed { .. } => Ok(vec![]),
            Self::Pending(_) => Ok(vec![DeliveryEvent::WebhookDeliveryAbandoned {
                reason: reason.clone(),
            }]),
        }
    }

    /// One that waits for its time is tried at once.
    fn redeliver(&self) -> Decision {
        match self {
            Self::Unrequested => Err(DeliveryRefusal::WebhookDeliveryUnknown),
            Self::Pending(Pending { due_at: None, .. }) => Ok(vec![]),
            Self::Pending(_) | Self::Delivered { .. } | Self::Failed { .. } => {
                Ok(vec![DeliveryEvent::WebhookRedeliveryRequested {}])
            }
        }
    }

    /// With other words for what is known of it: what, to whom, and how often it was tried.
    fn move_to(&mut self, stage: impl FnOnce(Request, u32) -> Self) {
        match std::mem::take(self) {
            Self::Unrequested => {}
            Self::Pending(pending) => *self = stage(pending.request, pending.attempts),
            Self::Delivered { request, attempts } | Self::Failed { request, attempts } => {
                *self = stage(request, attempts);
            }
        }
    }

    fn attempted(&mut self, attempt: &Attempt, next_at: Option<DateTime<Utc>>) {
        let Self::Pending(pending) = self else {
            return;
        };
        let (attempts, tries) = (attempt.number, pending.tries.saturating_add(1));
        let request = pending.request.clone();
        *self = match (&attempt.outcome, next_at) {
            (Outcome::Accepted { .. }, _) => Self::Delivered { request, attempts },
            (Outcome::Rejected { .. } | Outcome::Unanswered { .. }, None) => {
                Self::Failed { request, attempts }
            }
            (Outcome::Rejected { .. } | Outcome::Unanswered { .. }, Some(_)) => {
                Self::Pending(Pending {
                    request,
                    attempts,
                    tries,
                    due_at: next_at,
                })
            }
        };
    }
}

impl Decider for WebhookDelivery {
    const CONTEXT: &'static str = "notification";
    const KIND: Option<&'static str> = Some("webhook_delivery");

    fn decide(&self, command: &DeliveryCommand) -> Decision {
        match command {
            DeliveryCommand::RequestWebhookDelivery {
                endpoint_id,
                user_id,
                event,
            } => self.ask(&Request {
                endpoint_id: *endpoint_id,
                user_id: *user_id,
                event: event.clone(),
            }),
            DeliveryCommand::RecordWebhookAttempt { attempt, next_at } => {
                self.record(attempt, *next_at)
            }
            DeliveryCommand::AbandonWebhookDelivery { reason } => self.abandon(reason),
            DeliveryCommand::RedeliverWebhook {} => self.redeliver(),
        }
    }

    fn evolve(&mut self, event: &DeliveryEvent) {
        match event {
            DeliveryEvent::WebhookDeliveryRequested {
                endpoint_id,
                user_id,
                event,
            } => {
                *self = Self::Pending(Pending {
                    request: Request {
                        endpoint_id: *endpoint_id,
                        user_id: *user_id,
                        event: event.clone(),
                    },
                    attempts: 0,
                    tries: 0,
                    due_at: None,
                });
            }
            DeliveryEvent::WebhookAttempted { attempt, next_at } => {
                self.attempted(attempt, *next_at);
            }
            DeliveryEvent::WebhookDeliveryAbandoned { .. } => {
                self.move_to(|request, attempts| Self::Failed { request, attempts });
            }
            DeliveryEvent::WebhookRedeliveryRequested {} => self.move_to(|request, attempts| {
                Self::Pending(Pending {
                    request,
                    attempts,
                    tries: 0,
                    due_at: None,
                })
            }),
        }
    }
}

kernel::aggregate!(
    WebhookDelivery,
    "notification.webhook_delivery",
    DeliveryCommand,
    DeliveryEvent,
    DeliveryRefusal
);
