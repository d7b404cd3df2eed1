//! Loads from a snapshot on, or from the beginning; up to now, or to a moment.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use kernel::{AggregateId, Decider};

use super::LoadError;
use super::Streams;
use super::held::Known;
use super::load::{Address, Loaded, log_changed};
use super::recent::Recent;
use crate::envelope::RecordedEvent;
use crate::log::ReadError;
use crate::snapshot::{Fate, Reading, Snapshot, SnapshotCounts, Snapshots, subject_of_snapshot};

/// Up to when an aggregate is loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// With everything that its stream held up to this sequence.
    Position(u64),
    /// With everything that its stream had taken by this time, on the stream's own clock
    /// ([`RecordedEvent::recorded_at`]), not by the time that a command was made.
    Time(DateTime<Utc>),
}

impl Moment {
    pub(super) fn has_seen(self, event: &RecordedEvent) -> bool {
        match self {
            Self::Position(sequence) => event.position.sequence <= sequence,
            Self::Time(time) => event.recorded_at <= time,
        }
    }
}

/// An aggregate as its snapshot has it, and what is known of the events from there on.
struct Resumed<A> {
    known: Known<A>,
    /// The event at the snapshot's position.
    at: RecordedEvent,
    /// Those after it that came along.
    rest: Vec<RecordedEvent>,
}

impl Streams {
    /// The aggregate as it was at `moment`, from the log as the stream's leader confirms it. A
    /// moment that is still to come is now.
    ///
    /// # Errors
    /// The log can't be reached, or holds something that can't be read.
    pub async fn load_at<A: Decider>(
        &self,
        id: &AggregateId,
        moment: Moment,
    ) -> Result<Loaded<A>, LoadError> {
        let address = Address::of::<A>(id);
        let log = &self.inner.log;
        let last = log.last(&address.stream, &address.subject).await?.sequence;
        let known = self.known_at::<A>(&address, last, moment).await?;
        Ok(Loaded {
            state: known.state,
            version: known.version,
            position: known.position,
        })
    }

    /// What became of the snapshots of this store, since it was made.
    pub fn snapshot_counts(&self) -> SnapshotCounts {
        self.inner.keeper.counts()
    }

    /// Waits until every snapshot that this store is writing is written, or given up. Before a
    /// role ends; losing one costs time, nothing else.
    pub async fn snapshots_settled(&self) {
        self.inner.keeper.settled().await;
    }

    /// The fold over what had happened by `moment`; `last` = the aggregate's last event.
    pub(super) async fn known_at<A: Decider>(
        &self,
        address: &Address,
        last: u64,
        moment: Moment,
    ) -> Result<Known<A>, ReadError> {
        let recent_max = self.inner.settings.recent_commands_max;
        let mut known = Known::new();
        let mut events = Vec::new();
        let snapshot = self.snapshot::<A>(address).await;
        if let Some(resumed) = self.prove(address, snapshot, None).await?
            && moment.has_seen(&resumed.at)
        {
            known = resumed.known;
            events = resumed.rest;
        }
        loop {
            for event in &events {
                if !moment.has_seen(event) {
                    return Ok(known);
                }
                known.read(event, recent_max)?;
            }
            if known.position >= last {
                return Ok(known);
            }
            events = self
                .page_towards(address, (known.position, last), u64::MAX)
                .await?
                .events;
        }
    }

    /// Folds everything after `known` into it, page by page; what is not known at all, from its
    /// snapshot on.
    pub(super) async fn read_on<A: Decider>(
        &self,
        address: &Address,
        known: &mut Known<A>,
    ) -> Result<(), ReadError> {
        let recent_max = self.inner.settings.recent_commands_max;
        // The version that is read to; what comes after it meanwhile is another load's.
        let mut until = u64::MAX;
        let mut read_from = known.version;
        if known.position == 0 {
            let log = &self.inner.log;
            let (snapshot, last) = tokio::join!(
                self.snapshot::<A>(address),
                log.last_event(&address.stream, &address.subject),
            );
            let Some(last) = last? else {
                return Ok(());
            };
            until = last.version;
            if let Some(resumed) = self.prove(address, snapshot, Some(&last)).await? {
                *known = resumed.known;
                for event in &resumed.rest {
                    known.read(event, recent_max)?;
                }
            }
            if known.version + 1 == until {
                known.read(&last, recent_max)?;
            }
            read_from = known.version;
        } else {
            // With the last one that is known: that it still stands there proves that what comes is of the same log.
            let page = self.page_of(address, known.position - 1, u64::MAX).await?;
            let mut events = page.events.into_iter();
            let Some(at) = events.next() else {
                // A replica that doesn't have it yet.
                return Ok(());
            };
            if at.id != known.event_id {
                return Err(log_changed());
            }
            for event in events {
                known.read(&event, recent_max)?;
            }
            if !page.more {
                until = known.version;
            }
        }
        while known.version < until {
            let count = until - known.version;
            let page = self.page_of(address, known.position, count).await?;
            for event in &page.events {
                known.read(event, recent_max)?;
            }
            if !page.more {
                break;
            }
        }
        // A long way without a snapshot that was of use: the next load shall have one.
        self.keep_snapshot(address, read_from, known);
        Ok(())
    }

    /// Has a snapshot written if `known` has passed a multiple of the setting since `before`.
    pub(super) fn keep_snapshot<A: Decider>(
        &self,
        address: &Address,
        before: u64,
        known: &Known<A>,
    ) {
        let Some(every) = self.inner.settings.snapshots.every() else {
            return;
        };
        if before / every == known.version / every {
            return;
        }
        let known = known.clone();
        let subject = subject_of_snapshot(&address.subject);
        self.inner.keeper.write_later(subject, move || {
            let Known {
                state,
                version,
                position,
                event_id,
                recent,
                largest: _,
            } = known;
            Snapshot::new::<A>(&state, (version, position, event_id), recent.entries())
        });
    }

    /// The aggregate's snapshot, if there is one of this code.
    async fn snapshot<A: Decider>(&self, address: &Address) -> Option<(Box<Snapshot>, A)> {
        if self.inner.settings.snapshots == Snapshots::Off {
            return None;
        }
        let keeper = &self.inner.keeper;
        let bytes = keeper.read(&subject_of_snapshot(&address.subject)).await?;
        match Snapshot::read::<A>(&bytes) {
            Reading::Fits(snapshot, state) => Some((snapshot, state)),
            Reading::OtherSchema => {
                keeper.count(Fate::OtherSchema);
                None
            }
            Reading::Damaged => {
                keeper.count(Fate::Damaged);
                None
            }
        }
    }

    /// The aggregate from its snapshot on, if there is one and the log confirms it; `last` = the
    /// aggregate's last event, if that is known.
    async fn prove<A: Decider>(
        &self,
        address: &Address,
        snapshot: Option<(Box<Snapshot>, A)>,
        last: Option<&RecordedEvent>,
    ) -> Result<Option<Resumed<A>>, ReadError> {
        let Some((snapshot, state)) = snapshot else {
            return Ok(None);
        };
        let proof = |event: &RecordedEvent| {
            event.position.sequence == snapshot.position
                && event.id == snapshot.event_id
                && event.version == snapshot.version
        };
        let (at, rest) = if let Some(last) = last.filter(|last| proof(last)) {
            (Some(last.clone()), Vec::new())
        } else {
            let since = |last: &RecordedEvent| last.version.saturating_sub(snapshot.version) + 1;
            let before = snapshot.position.saturating_sub(1);
            let page = self
                .page_of(address, before, last.map_or(u64::MAX, since))
                .await?;
            let mut events = page.events.into_iter();
            (events.next().filter(proof), events.collect())
        };
        let keeper = &self.inner.keeper;
        let Some(at) = at else {
            keeper.count(Fate::OtherHistory);
            return Ok(None);
        };
        keeper.count(Fate::Used);
        Ok(Some(Resumed {
            known: Known {
                state: Arc::new(state),
                version: snapshot.version,
                position: snapshot.position,
                event_id: snapshot.event_id,
                recent: Recent::from_entries(snapshot.commands()),
                largest: snapshot.bytes,
            },
            at,
            rest,
        }))
    }
}
