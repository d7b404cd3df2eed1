//! One endpoint: where it listens, whether it is told anything, and how many secrets it has had.

use chrono::{DateTime, TimeDelta, Utc};
use kernel::{Decider, Reason, UserId};
use serde::{Deserialize, Serialize};

use super::{
    DisabledBecause, EndpointCommand, EndpointEvent, EndpointRefusal, INTERESTS_MAX, Subscription,
};

/// A server that is told of events.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WebhookEndpoint {
    /// There is none.
    #[default]
    Unregistered,
    /// It is told.
    Enabled(Endpoint),
    /// It is told nothing.
    Disabled {
        /// What it is.
        endpoint: Endpoint,
        /// Why.
        because: DisabledBecause,
    },
    /// It was taken away; nothing brings it back.
    Removed {
        /// Whose it was; `None` = the operators'.
        user_id: Option<UserId>,
    },
}

/// What an endpoint is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// Whose it is; `None` = the operators'.
    pub user_id: Option<UserId>,
    /// Where it listens, and to what.
    pub subscription: Subscription,
    /// The number of its signing secret, from 1.
    pub generation: u32,
    /// Until when the secret before that signs as well.
    pub previous_until: Option<DateTime<Utc>>,
    /// Those before it that were still to sign when the next one came, the newest first; at most
    /// [`EARLIER_MAX`].
    pub earlier: Vec<Earlier>,
    /// Since when every attempt was in vain.
    pub failing_since: Option<DateTime<Utc>>,
}

/// A secret of which a receiver was told how long it goes on signing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Earlier {
    /// Its number.
    pub generation: u32,
    /// Until when it signs.
    pub until: DateTime<Utc>,
}

/// Most secrets before the last two that still sign: rotated more often meanwhile, the oldest of them
/// falls silent early.
pub const EARLIER_MAX: usize = 8;

impl Endpoint {
    /// The numbers of the secrets that sign at `now`, the newest first.
    pub fn generations(&self, now: DateTime<Utc>) -> Vec<u32> {
        let earlier = self.previous();
        let earlier = earlier.iter().chain(&self.earlier);
        let signing = earlier.filter(|earlier| now < earlier.until);
        let numbers = signing.map(|earlier| earlier.generation);
        std::iter::once(self.generation).chain(numbers).collect()
    }

    fn previous(&self) -> Option<Earlier> {
        Some(Earlier {
            generation: self.generation.saturating_sub(1),
            until: self.previous_until?,
        })
    }

    /// What was promised of the earlier ones stands, but none signs for longer than the one that was
    /// replaced now: who wants that one silent at once wants the others silent too.
    fn rotated(&mut self, generation: u32, previous_until: DateTime<Utc>) {
        if let Some(previous) = self.previous() {
            self.earlier.insert(0, previous);
            self.earlier.truncate(EARLIER_MAX);
        }
        for earlier in &mut self.earlier {
            earlier.until = earlier.until.min(previous_until);
        }
        self.generation = generation;
        self.previous_until = Some(previous_until);
    }
}

type Decision = Result<Vec<EndpointEvent>, EndpointRefusal>;

impl WebhookEndpoint {
    /// What it is, while there is one.
    pub fn endpoint(&self) -> Option<&Endpoint> {
        match self {
            Self::Unregistered | Self::Removed { .. } => None,
            Self::Enabled(endpoint) | Self::Disabled { endpoint, .. } => Some(endpoint),
        }
    }

    /// What it is, while it is told of events.
    pub fn enabled(&self) -> Option<&Endpoint> {
        match self {
            Self::Enabled(endpoint) => Some(endpoint),
            Self::Unregistered | Self::Disabled { .. } | Self::Removed { .. } => None,
        }
    }

    /// Whose it is or was, once it is registered; `Some(None)` = the operators'.
    pub fn owner(&self) -> Option<Option<UserId>> {
        match self {
            Self::Unregistered => None,
            Self::Enabled(endpoint) | Self::Disabled { endpoint, .. } => Some(endpoint.user_id),
            Self::Removed { user_id } => Some(*user_id),
        }
    }

    fn known(&self) -> Result<&Endpoint, EndpointRefusal> {
        self.endpoint()
            .ok_or(EndpointRefusal::WebhookEndpointUnknown)
    }

    fn register(&self, user_id: Option<UserId>, subscription: &Subscription) -> Decision {
        match self {
            Self::Unregistered => {
                bounded(subscription)?;
                Ok(vec![EndpointEvent::WebhookEndpointRegistered {
                    user_id,
                    subscription: subscription.clone(),
                }])
            }
            Self::Enabled(known)
                if known.user_id == user_id && known.subscription == *subscription =>
            {
                Ok(vec![])
            }
            Self::Enabled(_) | Self::Disabled { .. } | Self::Removed { .. } => {
                Err(EndpointRefusal::WebhookEndpointDiffers)
            }
        }
    }

    fn change(&self, subscription: &Subscription) -> Decision {
        let known = self.known()?;
        bounded(subscription)?;
        if known.subscription == *subscription {
            return Ok(vec![]);
        }
        Ok(vec![EndpointEvent::WebhookEndpointChanged {
            subscription: subscription.clone(),
        }])
    }

    fn rotate(&self, previous_until: DateTime<Utc>) -> Decision {
        let known = self.known()?;
        Ok(vec![EndpointEvent::WebhookSecretRotated {
            generation: known.generation.saturating_add(1),
            previous_until,
        }])
    }

    /// Only an enabled one is judged: what was under way when it was disabled says nothing new.
    fn record_failure(&self, at: DateTime<Utc>, patience_s: u64) -> Vec<EndpointEvent> {
        let Some(endpoint) = self.enabled() else {
            return vec![];
        };
        let Some(since) = endpoint.failing_since else {
            return vec![EndpointEvent::WebhookEndpointFailing { since: at }];
        };
        let patience = i64::try_from(patience_s).ok();
        let patience = patience.and_then(TimeDelta::try_seconds);
        if patience.is_none_or(|patience| at - since < patience) {
            return vec![];
        }
        vec![EndpointEvent::WebhookEndpointDisabled {
            because: DisabledBecause::Failing,
            reason: None,
        }]
    }

    fn record_success(&self) -> Vec<EndpointEvent> {
        let failing = self
            .enabled()
            .is_some_and(|endpoint| endpoint.failing_since.is_some());
        if failing {
            vec![EndpointEvent::WebhookEndpointRecovered {}]
        } else {
            vec![]
        }
    }

    fn disable(&self, because: DisabledBecause, reason: Option<&Reason>) -> Decision {
        self.known()?;
        if self.enabled().is_none() {
            return Ok(vec![]);
        }
        Ok(vec![EndpointEvent::WebhookEndpointDisabled {
            because,
            reason: reason.cloned(),
        }])
    }

    fn enable(&self) -> Decision {
        self.known()?;
        if self.enabled().is_some() {
            return Ok(vec![]);
        }
        Ok(vec![EndpointEvent::WebhookEndpointEnabled {}])
    }

    fn remove(&self) -> Decision {
        match self {
            Self::Unregistered => Err(EndpointRefusal::WebhookEndpointUnknown),
            Self::Removed { .. } => Ok(vec![]),
            Self::Enabled(_) | Self::Disabled { .. } => {
                Ok(vec![EndpointEvent::WebhookEndpointRemoved {}])
            }
        }
    }

    fn endpoint_mut(&mut self) -> Option<&mut Endpoint> {
        match self {
            Self::Unregistered | Self::Removed { .. } => None,
            Self::Enabled(endpoint) | Self::Disabled { endpoint, .. } => Some(endpoint),
        }
    }

    fn move_to(&mut self, stage: impl FnOnce(Endpoint) -> Self) {
        match std::mem::take(self) {
            Self::Enabled(endpoint) | Self::Disabled { endpoint, .. } => *self = stage(endpoint),
            gone @ (Self::Unregistered | Self::Removed { .. }) => *self = gone,
        }
    }
}

/// It wants to hear of something, and not of too much.
fn bounded(subscription: &Subscription) -> Result<(), EndpointRefusal> {
    match subscription.event_types.len() {
        0 => Err(EndpointRefusal::NoEventTypes),
        count if count > INTERESTS_MAX => {
            Err(EndpointRefusal::TooManyEventTypes { max: INTERESTS_MAX })
        }
        _ => Ok(()),
    }
}

impl Decider for WebhookEndpoint {
    const CONTEXT: &'static str = "notification";
    const KIND: Option<&'static str> = Some("webhook_endpoint");
    /// 2: with the secrets before the previous one that still sign.
    const STATE_REVISION: u32 = 2;

    fn decide(&self, command: &EndpointCommand) -> Decision {
        match command {
            EndpointCommand::RegisterWebhookEndpoint {
                user_id,
                subscription,
            } => self.register(*user_id, subscription),
            EndpointCommand::ChangeWebhookEndpoint { subscription } => self.change(subscription),
            EndpointCommand::RotateWebhookSecret { previous_until } => self.rotate(*previous_until),
            EndpointCommand::RecordWebhookFailure { at, patience_s } => {
                Ok(self.record_failure(*at, *patience_s))
            }
            EndpointCommand::RecordWebhookSuccess {} => Ok(self.record_success()),
            EndpointCommand::DisableWebhookEndpoint { because, reason } => {
                self.disable(*because, reason.as_ref())
            }
            EndpointCommand::EnableWebhookEndpoint {} => self.enable(),
            EndpointCommand::RemoveWebhookEndpoint {} => self.remove(),
        }
    }

    fn evolve(&mut self, event: &EndpointEvent) {
        match event {
            EndpointEvent::WebhookEndpointRegistered {
                user_id,
                subscription,
            } => {
                *self = Self::Enabled(Endpoint {
                    user_id: *user_id,
                    subscription: subscription.clone(),
                    generation: 1,
                    previous_until: None,
                    earlier: Vec::new(),
                    failing_since: None,
                });
            }
            EndpointEvent::WebhookEndpointChanged { subscription } => {
                if let Some(endpoint) = self.endpoint_mut() {
                    endpoint.subscription.clone_from(subscription);
                }
            }
            EndpointEvent::WebhookSecretRotated {
                generation,
                previous_until,
            } => {
                if let Some(endpoint) = self.endpoint_mut() {
                    endpoint.rotated(*generation, *previous_until);
                }
            }
            EndpointEvent::WebhookEndpointFailing { since } => {
                if let Some(endpoint) = self.endpoint_mut() {
                    endpoint.failing_since = Some(*since);
                }
            }
            EndpointEvent::WebhookEndpointRecovered {} => {
                if let Some(endpoint) = self.endpoint_mut() {
                    endpoint.failing_since = None;
                }
            }
            EndpointEvent::WebhookEndpointDisabled { because, .. } => {
                self.move_to(|endpoint| Self::Disabled {
                    endpoint,
                    because: *because,
                });
            }
            EndpointEvent::WebhookEndpointEnabled {} => self.move_to(|endpoint| {
                Self::Enabled(Endpoint {
                    failing_since: None,
                    ..endpoint
                })
            }),
            EndpointEvent::WebhookEndpointRemoved {} => self.move_to(|endpoint| Self::Removed {
                user_id: endpoint.user_id,
            }),
        }
    }
}

kernel::aggregate!(
    WebhookEndpoint,
    "notification.webhook_endpoint",
    EndpointCommand,
    EndpointEvent,
    EndpointRefusal
);
