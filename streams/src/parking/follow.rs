//! Reads stream PARKED, or a part of it, as far as it goes.

use std::time::Duration;

use async_nats::jetstream::Context;
use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, PullConsumer, pull};
use futures::{StreamExt, TryStreamExt};
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use super::EVERYTHING;
use super::record::Record;
use crate::connection::{ANSWER_TIMEOUT, Connection};
use crate::subscription::raw;
use crate::topology::PARKED_STREAM;

/// Messages asked for at once.
const BATCH: usize = 256;

/// The server forgets the consumer when nobody asks for this long.
const INACTIVE_THRESHOLD: Duration = Duration::from_mins(1);

/// How long it is tried again where reading breaks off.
const PATIENCE: Duration = Duration::from_secs(5);

/// Before it is tried again.
const PAUSE: Duration = Duration::from_millis(100);

/// Reads what matches a filter, from a place on.
pub(super) struct Follower {
    jetstream: Context,
    filter: String,
    /// The last sequence that was read.
    read: u64,
    /// How many were; `None` = it began in the middle, and can't tell what it lacks.
    taken: Option<u64>,
    consumer: Option<PullConsumer>,
    consumer_sequence: u64,
}

impl Follower {
    /// What matches `filter` behind sequence `after`.
    pub(super) fn new(connection: &Connection, filter: String, after: u64) -> Self {
        Self {
            jetstream: connection.jetstream().clone(),
            filter,
            read: after,
            taken: (after == 0).then_some(0),
            consumer: None,
            consumer_sequence: 0,
        }
    }

    /// Everything that was there when this was called, behind what was read before. What came
    /// before an error is not read again. In a cluster a new consumer may be out of reach for a moment, or its
    /// node behind.
    pub(super) async fn catch_up(
        &mut self,
        take: &mut (impl FnMut(Record) + Send),
    ) -> Result<(), async_nats::Error> {
        let give_up = Instant::now() + PATIENCE;
        while let Err(error) = self.read_on(take).await {
            if Instant::now() >= give_up {
                return Err(error);
            }
            sleep(PAUSE).await;
        }
        Ok(())
    }

    async fn read_on(
        &mut self,
        take: &mut (impl FnMut(Record) + Send),
    ) -> Result<(), async_nats::Error> {
        self.consumer = None;
        let there = self.there().await?;
        let (consumer, mut pending) = self.begin().await?;
        while pending > 0 {
            let got = self.fetch(&consumer, take).await?;
            if got == 0 {
                return Err(format!("{pending} records of {PARKED_STREAM} did not come").into());
            }
            pending = pending.saturating_sub(got);
        }
        if self.lacks(there) {
            return Err(format!("the node that reads {PARKED_STREAM} is behind its leader").into());
        }
        self.consumer = Some(consumer);
        Ok(())
    }

    /// What came since; cheap. A consumer that is gone, or whose node is behind the stream's leader, is made
    /// anew.
    pub(super) async fn poll(
        &mut self,
        take: &mut (impl FnMut(Record) + Send),
    ) -> Result<(), async_nats::Error> {
        let there = self.there().await?;
        let Some(consumer) = self.consumer.take() else {
            return self.catch_up(take).await;
        };
        loop {
            match self.fetch(&consumer, take).await {
                Ok(got) if got < BATCH as u64 => break,
                Ok(_) => {}
                // The server forgets a consumer that was not asked for some time.
                Err(_) => return self.catch_up(take).await,
            }
        }
        if self.lacks(there) {
            return self.catch_up(take).await;
        }
        self.consumer = Some(consumer);
        Ok(())
    }

    /// On until the record at `sequence`, which is there, has come: no more than a batch beyond it.
    pub(super) async fn read_up_to(
        &mut self,
        sequence: u64,
        take: &mut (impl FnMut(Record) + Send),
    ) -> Result<(), async_nats::Error> {
        let mut give_up = Instant::now() + PATIENCE;
        while self.read < sequence {
            match self.read_batch(take).await {
                Ok(()) => give_up = Instant::now() + PATIENCE,
                Err(error) if Instant::now() >= give_up => return Err(error),
                Err(_) => sleep(PAUSE).await,
            }
        }
        Ok(())
    }

    async fn read_batch(
        &mut self,
        take: &mut (impl FnMut(Record) + Send),
    ) -> Result<(), async_nats::Error> {
        let consumer = match self.consumer.take() {
            Some(consumer) => consumer,
            None => self.begin().await?.0,
        };
        if self.fetch(&consumer, take).await? == 0 {
            return Err(format!("a record of {PARKED_STREAM} did not come").into());
        }
        self.consumer = Some(consumer);
        Ok(())
    }

    /// How many match, as the stream's leader knows: a record is never deleted. (The leader would tell which is
    /// the last, but only to who may read them all.)
    async fn there(&self) -> Result<u64, async_nats::Error> {
        if self.taken.is_none() {
            return Ok(0);
        }
        if self.filter == EVERYTHING {
            let stream = self.jetstream.get_stream(PARKED_STREAM).await?;
            return Ok(stream.cached_info().state.messages);
        }
        let stream = self.jetstream.get_stream_no_info(PARKED_STREAM).await?;
        let mut subjects = stream.info_with_subjects(&self.filter).await?;
        let mut there = 0;
        while let Some((_, count)) = subjects.try_next().await? {
            there += count as u64;
        }
        Ok(there)
    }

    fn lacks(&self, there: u64) -> bool {
        self.taken.is_some_and(|taken| taken < there)
    }

    async fn begin(&mut self) -> Result<(PullConsumer, u64), async_nats::Error> {
        let config = pull::Config {
            name: Some(format!("parked-{}", Uuid::new_v4().simple())),
            description: Some("reads what is parked".to_owned()),
            deliver_policy: DeliverPolicy::ByStartSequence {
                start_sequence: self.read + 1,
            },
            filter_subject: self.filter.clone(),
            ack_policy: AckPolicy::None,
            inactive_threshold: INACTIVE_THRESHOLD,
            num_replicas: 1,
            memory_storage: true,
            ..pull::Config::default()
        };
        let made = self
            .jetstream
            .create_consumer_on_stream(config, PARKED_STREAM);
        let consumer: PullConsumer = made.await?;
        let pending = consumer.cached_info().num_pending;
        self.consumer_sequence = 0;
        Ok((consumer, pending))
    }

    /// The next batch; how many came.
    async fn fetch(
        &mut self,
        consumer: &PullConsumer,
        take: &mut (impl FnMut(Record) + Send),
    ) -> Result<u64, async_nats::Error> {
        let before = self.consumer_sequence;
        let batch = consumer.fetch().max_messages(BATCH).messages();
        let collected = async { Ok(batch.await?.collect::<Vec<_>>().await) };
        let messages: Result<Vec<_>, async_nats::Error> =
            tokio::time::timeout(ANSWER_TIMEOUT, collected).await?;
        for message in messages? {
            let message = message?;
            let Some((raw, info)) = raw(&message) else {
                return Err("a message without delivery information".into());
            };
            if info.consumer_sequence != self.consumer_sequence + 1 {
                return Err("a delivery was lost".into());
            }
            self.consumer_sequence += 1;
            if info.stream_sequence <= self.read {
                return Err("the server went backwards".into());
            }
            self.read = info.stream_sequence;
            self.taken = self.taken.map(|taken| taken + 1);
            let Some(record) = Record::read(&raw) else {
                // Written by hand; one bad message must not stop a role.
                let (position, subject) = (&raw.position, raw.subject);
                tracing::error!(%position, subject, "no record of ours; it is left alone");
                continue;
            };
            take(record);
        }
        Ok(self.consumer_sequence - before)
    }
}
