//! Who was erased stays erased: what the log says about destroyed keys holds for stream KEYS too.
//!
//! KEYS may be restored from a backup that still has a key, and a process may hold one in memory.
//! The log is never older than what was destroyed by it, so it is replayed against both.

use futures::future::BoxFuture;
use futures::{StreamExt, TryStreamExt, stream};
use kernel::UserId;
use tokio_util::sync::CancellationToken;

use super::error::KeysError;
use super::person::Keys;
use crate::connection::Connection;
use crate::envelope::RecordedEvent;
use crate::subscription::OrderedSubscription;

/// The user context's stream.
const STREAM: &str = "USER";
/// Where it says how far the erasure of a person has come; their id is the last token.
pub const SUBJECTS: &str = "event.user.erasure.*";
/// What it says once the key of that person is destroyed.
pub const KEY_DESTROYED: &str = "key_destroyed";

/// Keys destroyed at the same time.
const AT_ONCE: usize = 16;

/// The erasures that the log knows, from the first on.
pub struct Erasures {
    events: OrderedSubscription,
    keys: Keys,
}

impl Erasures {
    /// Nothing is read yet.
    pub fn new(connection: &Connection, keys: &Keys) -> Self {
        Self {
            events: connection.ordered_matching(STREAM, SUBJECTS, 0),
            keys: keys.clone(),
        }
    }

    /// Destroys every key again that was destroyed by now, wherever it came back from; answers how
    /// many erasures there are. Nothing may be sealed or opened before.
    ///
    /// # Errors
    /// Streams USER or KEYS can't be read or written.
    pub fn replay(&mut self) -> BoxFuture<'_, Result<usize, KeysError>> {
        Box::pin(async move {
            let erased = self.read().await?;
            let count = erased.len();
            let destroyed = stream::iter(erased)
                .map(|person| self.keys.destroy(person))
                .buffer_unordered(AT_ONCE)
                .try_collect::<Vec<()>>();
            destroyed.await?;
            Ok(count)
        })
    }

    /// For a role that may not destroy keys: uses none of somebody who is erased by now, wherever it
    /// came back from; answers how many erasures there are. Nothing may be opened before.
    ///
    /// # Errors
    /// Stream USER can't be read.
    pub fn learn(&mut self) -> BoxFuture<'_, Result<usize, KeysError>> {
        Box::pin(async move {
            let erased = self.read().await?;
            for person in &erased {
                self.keys.forget(*person);
            }
            Ok(erased.len())
        })
    }

    /// Everybody who is erased by now.
    async fn read(&mut self) -> Result<Vec<UserId>, KeysError> {
        let mut erased = Vec::new();
        self.events.start().await.map_err(unavailable)?;
        while !self.events.caught_up() {
            let event = self.events.next().await.map_err(unavailable)?;
            erased.extend(of(&event));
        }
        Ok(erased)
    }

    /// Forgets the key of everybody who is erased from here on, until `shutdown`. A key that is not
    /// forgotten for some reason is used for a minute at most.
    pub fn follow(mut self, shutdown: CancellationToken) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            loop {
                let event = tokio::select! {
                    () = shutdown.cancelled() => return,
                    event = self.events.next() => event,
                };
                match event {
                    Ok(event) => {
                        if let Some(person) = of(&event) {
                            self.keys.forget(person);
                        }
                    }
                    // It starts anew by itself, with a pause.
                    Err(error) => tracing::warn!(%error, "an erasure can't be read"),
                }
            }
        })
    }
}

/// Whose key was destroyed.
fn of(event: &RecordedEvent) -> Option<UserId> {
    let destroyed = event.event_type == KEY_DESTROYED;
    let person = event.aggregate_id.as_str().parse();
    person.ok().filter(|_| destroyed)
}

fn unavailable(source: impl Into<async_nats::Error>) -> KeysError {
    KeysError::Unavailable {
        source: source.into(),
    }
}
