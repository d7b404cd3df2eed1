//! A command that is decided only on the version that it was made for.

use kernel::{AggregateId, Decider};
use thiserror::Error;

use super::Streams;
use super::error::ExecuteError;
use super::execute::{Executed, Work};
use super::load::Address;
use super::queue::in_time;
use super::repetition::Done;
use crate::envelope::CommandMeta;

/// A command with a condition was not done, or it is not known whether it was.
#[derive(Debug, Error)]
pub enum ExecuteAtError<R: std::error::Error + 'static> {
    /// The aggregate is at another version, as the stream's leader confirmed. Nothing was appended.
    #[error("the aggregate is at version {version}, not at one that the command was made for")]
    Stale {
        /// The version that it is at; 0 = it never happened.
        version: u64,
    },
    /// What can go wrong without a condition too.
    #[error(transparent)]
    Failed(#[from] ExecuteError<R>),
}

impl Streams {
    /// Does `command` if the aggregate is at version `expected` (0 = it must not exist), as
    /// [`Streams::execute`] does otherwise.
    ///
    /// Whoever changes the aggregate between the look and the append wins, and this command is
    /// stale then: the condition is part of every decision, not a look before it. A command that
    /// was done before is answered again, whatever the version is by now.
    ///
    /// # Errors
    /// [`ExecuteAtError::Stale`]; what [`Streams::execute`] has.
    pub async fn execute_at<A: Decider>(
        &self,
        id: &AggregateId,
        expected: u64,
        command: A::Command,
        meta: &CommandMeta,
    ) -> Result<Executed<A>, ExecuteAtError<A::Error>> {
        self.execute_if(id, |version| version == expected, command, meta)
            .await
    }

    /// The same for a condition that several versions may fulfil.
    ///
    /// # Errors
    /// As [`Streams::execute_at`].
    pub async fn execute_if<A: Decider>(
        &self,
        id: &AggregateId,
        condition: impl Fn(u64) -> bool + Send + Sync,
        command: A::Command,
        meta: &CommandMeta,
    ) -> Result<Executed<A>, ExecuteAtError<A::Error>> {
        let done = self.carry_out_if::<A>(id, condition, (command, meta));
        Ok(self.with_state(id, done.await?).await?)
    }

    async fn carry_out_if<A: Decider>(
        &self,
        id: &AggregateId,
        condition: impl Fn(u64) -> bool + Send + Sync,
        (command, meta): (A::Command, &CommandMeta),
    ) -> Result<Done<A>, ExecuteAtError<A::Error>> {
        let address = Address::of::<A>(id);
        let _turn = in_time(self.inner.queues.turn(&address.subject)).await?;
        let work = Work::<A> {
            streams: self,
            address: &address,
            id,
            command: &command,
            meta,
        };
        let mut known = self.inner.cache.get::<A>(&address.subject);
        if condition(0)
            && known.is_none()
            && let Some(done) = work.create().await?
        {
            return Ok(done);
        }
        for _ in 0..self.inner.settings.execute_attempts_max {
            let held = match known.take() {
                Some(held) => held,
                None => self.held::<A>(&address).await.map_err(ExecuteError::from)?,
            };
            if let Some(done) = work.replayed(&held).await? {
                return Ok(done);
            }
            let version = held.lock().version;
            if !condition(version) {
                // A stale cache must not say that the client is stale.
                if work.prove(&held).await.map_err(ExecuteError::from)? {
                    return Err(ExecuteAtError::Stale { version });
                }
                continue;
            }
            // Nobody else of this process changes what is held while it is our turn, and nobody
            // elsewhere can without this append failing.
            if let Some(done) = work.decide(held).await? {
                return Ok(done);
            }
        }
        Err(ExecuteError::Conflict.into())
    }
}
