//! How an ordered subscription begins: a consumer of its own, and where the log ends.

use std::time::Duration;

use async_nats::jetstream::Context;
use async_nats::jetstream::consumer::pull;
use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, PullConsumer};
use async_nats::jetstream::stream::LastRawMessageErrorKind;
use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::envelope::{time_from_nats, time_to_nats};

/// Messages asked for at once: bounds what a slow reader holds.
const PULL_BATCH: usize = 500;
/// How long one pull request waits at the server.
const PULL_EXPIRES: Duration = Duration::from_secs(30);
/// The server says at least this often that it is there.
const HEARTBEAT: Duration = Duration::from_secs(5);
/// The server forgets a consumer that nobody pulls from after this time.
const INACTIVE_THRESHOLD: Duration = Duration::from_mins(1);

/// What is to be read, and from where on.
pub(super) struct Begin {
    pub(super) jetstream: Context,
    pub(super) stream: String,
    pub(super) filter: Option<String>,
    pub(super) since: Option<DateTime<Utc>>,
    pub(super) read: u64,
}

/// A consumer that gives out what is to be read.
pub(super) struct Opened {
    pub(super) messages: pull::Stream,
    /// How many messages, as the consumer's node says.
    pub(super) pending: u64,
    pub(super) ends: Ends,
}

/// Where the log ends, as its leader knows.
pub(super) struct Ends {
    /// The stream's last sequence.
    pub(super) stream: u64,
    /// The last that is to be read; 0 = none.
    pub(super) matching: u64,
}

/// Makes the consumer, under a new name each time.
pub(super) async fn open(begin: Begin) -> Result<Opened, async_nats::Error> {
    let config = pull::Config {
        name: Some(format!("ordered-{}", Uuid::new_v4().simple())),
        description: Some("ordered subscription".to_owned()),
        deliver_policy: begin.policy(),
        filter_subject: begin.filter.clone().unwrap_or_default(),
        ack_policy: AckPolicy::None,
        inactive_threshold: INACTIVE_THRESHOLD,
        num_replicas: 1,
        memory_storage: true,
        ..pull::Config::default()
    };
    let consumer: PullConsumer = begin
        .jetstream
        .create_consumer_on_stream(config, &begin.stream)
        .await?;
    let messages = consumer
        .stream()
        .max_messages_per_batch(PULL_BATCH)
        .expires(PULL_EXPIRES)
        .heartbeat(HEARTBEAT)
        .messages()
        .await?;
    Ok(Opened {
        messages,
        pending: consumer.cached_info().num_pending,
        ends: begin.ends().await?,
    })
}

impl Begin {
    fn policy(&self) -> DeliverPolicy {
        let since = self.since.filter(|_| self.read == 0);
        let start_time = since.and_then(time_to_nats);
        match start_time {
            Some(start_time) => DeliverPolicy::ByStartTime { start_time },
            None => DeliverPolicy::ByStartSequence {
                start_sequence: self.read + 1,
            },
        }
    }

    async fn ends(&self) -> Result<Ends, async_nats::Error> {
        let found = self.jetstream.get_stream(&self.stream).await?;
        let state = &found.cached_info().state;
        let stream = state.last_sequence;
        let Some(filter) = &self.filter else {
            let is_before = self.is_before(time_from_nats(state.last_timestamp));
            let matching = if is_before { 0 } else { stream };
            return Ok(Ends { stream, matching });
        };
        let matching = match found.get_last_raw_message_by_subject(filter).await {
            Ok(last) if self.is_before(time_from_nats(last.time)) => 0,
            Ok(last) => last.sequence,
            Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => 0,
            Err(error) => return Err(error.into()),
        };
        Ok(Ends { stream, matching })
    }

    /// Is what was stored at `time` none of what is to be read?
    fn is_before(&self, time: DateTime<Utc>) -> bool {
        self.read == 0 && self.since.is_some_and(|since| time < since)
    }
}
