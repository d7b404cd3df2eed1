//! The events of one aggregate, page by page: for who serves every kind of aggregate alike, and never
//! holds more than a page.

use std::collections::VecDeque;

use kernel::{AggregateId, Decider, Position};

use super::LoadError;
use super::load::{Address, position_of};
use super::{Moment, Streams};
use crate::envelope::RecordedEvent;

/// Which kind of aggregate, as its subjects name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kind {
    /// The bounded context.
    pub context: &'static str,
    /// The secondary kind, if it is one.
    pub kind: Option<&'static str>,
}

impl Kind {
    /// The kind that `A` is.
    pub const fn of<A: Decider>() -> Self {
        Self {
            context: A::CONTEXT,
            kind: A::KIND,
        }
    }
}

/// A walk along the events of one aggregate, oldest first, to where they ended when it began.
pub struct Walk {
    streams: Streams,
    address: Address,
    until: Option<Moment>,
    /// The last event that the stream's leader had when the walk began; 0 = none.
    last: u64,
    /// The last event that was read.
    read: u64,
    page: VecDeque<RecordedEvent>,
}

impl Streams {
    /// Begins to walk along the events of an aggregate: those that had happened by `until`, or all
    /// that the stream's leader has by now.
    ///
    /// # Errors
    /// The log can't be reached.
    pub async fn walk(
        &self,
        kind: Kind,
        id: &AggregateId,
        until: Option<Moment>,
    ) -> Result<Walk, LoadError> {
        let address = Address::of_kind(kind, id);
        let last = self.log().last(&address.stream, &address.subject).await?;
        let last = last.sequence;
        Ok(Walk {
            streams: self.clone(),
            address,
            until,
            last,
            read: 0,
            page: VecDeque::new(),
        })
    }
}

impl Walk {
    /// The next event; `None` = that was the last.
    ///
    /// # Errors
    /// The log can't be reached, or holds something that can't be read.
    pub async fn next(&mut self) -> Result<Option<RecordedEvent>, LoadError> {
        if self.page.is_empty() && self.read < self.last {
            let streams = &self.streams;
            let page = streams.page_towards(&self.address, (self.read, self.last), u64::MAX);
            let events = page.await?.events;
            self.read = position_of(events.last()).max(self.read);
            self.page.extend(events);
        }
        let due = |event: &RecordedEvent| self.until.is_none_or(|until| until.has_seen(event));
        if self.page.front().is_some_and(due) {
            return Ok(self.page.pop_front());
        }
        self.page.clear();
        self.read = self.last;
        Ok(None)
    }

    /// Where the last event stood when the walk began; none = there was none.
    pub fn last(&self) -> Option<Position> {
        (self.last > 0).then(|| Position::new(self.address.stream.as_str(), self.last))
    }

    /// Leaves out what stands at `sequence` or before it. At the beginning of a walk only.
    #[must_use]
    pub fn behind(mut self, sequence: u64) -> Self {
        self.read = self.read.max(sequence);
        self
    }
}

impl std::fmt::Debug for Walk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Walk")
            .field("address", &self.address)
            .field("read", &self.read)
            .field("last", &self.last)
            .finish_non_exhaustive()
    }
}
