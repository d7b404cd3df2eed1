//! The eraser: what was sealed for somebody who was erased becomes unreadable, and the log is looked
//! through for what isn't sealed.
//!
//! Every step may be repeated: destroying twice is destroying once, and what was recorded stands.

use async_trait::async_trait;
use kernel::{AggregateId, Decider, EmailClaimId, UserId};
use streams::keys::Keys;
use streams::lanes::{HandleError, Handler};
use streams::subscription::Delivery;
use streams::{RecordedEvent, Streams};
use tokio::sync::Semaphore;
use user::{EmailClaim, EmailCommand, Erasure, ErasureCommand, User, UserEvent};

use crate::recorder::{Cause, Record, Recorder};
use crate::scan::{Noted, Scan, Words};

/// Looks through the whole log at the same time.
const SCANS_MAX: usize = 2;

/// As what this reactor acts.
const ACTOR: &str = "reactor:eraser";

/// Erases people.
pub(crate) struct Eraser {
    streams: Streams,
    recorder: Recorder,
    keys: Keys,
    scan: Scan,
    scans: Semaphore,
    noted: Noted,
}

impl Eraser {
    pub(crate) fn new(streams: Streams, recorder: Recorder, keys: Keys, scan: Scan) -> Self {
        Self {
            streams,
            recorder,
            keys,
            scan,
            scans: Semaphore::new(SCANS_MAX),
            noted: Noted::default(),
        }
    }

    /// The key first: from then on nothing of all that was sealed can be read, whatever else may
    /// take its time.
    async fn erase(
        &self,
        user_id: UserId,
        email_claim: EmailClaimId,
        cause: &RecordedEvent,
    ) -> Result<(), HandleError> {
        let id = AggregateId::from(user_id);
        let erasure = self.streams.load_current::<Erasure>(&id).await?;
        if matches!(*erasure.state, Erasure::Completed { .. }) {
            // By another process, it may be.
            self.noted.forget(user_id);
            return Ok(());
        }
        let readable = Words::of(&self.streams, &self.keys, user_id).await?;
        let words = self.noted.note(user_id, readable);
        let destroyed = self.keys.destroy(user_id).await;
        destroyed.map_err(HandleError::retryable)?;
        let record = ErasureCommand::RecordKeyDestroyed {};
        self.ask::<Erasure>(&id, &record, ("key destroyed", cause))
            .await?;
        let release = EmailCommand::ReleaseEmail { user_id };
        let label = format!("released by {user_id}");
        self.ask::<EmailClaim>(&email_claim.into(), &release, (&label, cause))
            .await?;
        let receipt = {
            // It takes as long as reading the log does, and nobody's key waits for somebody else's.
            let _turn = self.scans.acquire().await.map_err(HandleError::retryable)?;
            self.scan.run(user_id, &words).await?
        };
        let complete = ErasureCommand::CompleteErasure { receipt };
        self.ask::<Erasure>(&id, &complete, ("completed", cause))
            .await?;
        self.noted.forget(user_id);
        Ok(())
    }

    async fn ask<A: Decider>(
        &self,
        id: &AggregateId,
        command: &A::Command,
        (label, cause): (&str, &RecordedEvent),
    ) -> Result<(), HandleError> {
        // A refusal means that somebody else has the address by now: it was released before.
        self.recorder
            .record::<A>(Record {
                id,
                command,
                label,
                cause: &Cause::from(cause),
                actor: ACTOR,
            })
            .await?;
        Ok(())
    }
}

#[async_trait]
impl Handler for Eraser {
    async fn handle(&self, delivery: &Delivery) -> Result<(), HandleError> {
        let event = &delivery.event;
        if event.kind.is_some() {
            // An email claim, or an erasure: it follows from what is done here.
            return Ok(());
        }
        let user_id: UserId = event
            .aggregate_id
            .as_str()
            .parse()
            .map_err(HandleError::permanent)?;
        match event.decode::<User>().map_err(HandleError::permanent)? {
            UserEvent::ErasureRequested { erase_by } => {
                let open = ErasureCommand::OpenErasure { erase_by };
                self.ask::<Erasure>(&user_id.into(), &open, ("opened", event))
                    .await
            }
            UserEvent::UserErased { email_claim } => self.erase(user_id, email_claim, event).await,
            UserEvent::UserRegistered { .. }
            | UserEvent::EmailVerified { .. }
            | UserEvent::EmailChanged { .. }
            | UserEvent::PasswordChanged { .. }
            | UserEvent::ProfileUpdated { .. }
            | UserEvent::AddressAdded { .. }
            | UserEvent::AddressRemoved { .. }
            | UserEvent::DefaultAddressSet { .. }
            | UserEvent::NotificationPreferenceSet { .. }
            | UserEvent::RoleGranted { .. }
            | UserEvent::RoleRevoked { .. }
            | UserEvent::UserSuspended { .. }
            | UserEvent::UserReactivated {} => Ok(()),
        }
    }
}
