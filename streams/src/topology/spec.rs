//! What is declared: every option spelled out, because each is reviewed like code.

use std::time::Duration;

use async_nats::jetstream::consumer::{self, pull};
use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, PriorityPolicy, ReplayPolicy};
use async_nats::jetstream::stream::{Config, DiscardPolicy, RetentionPolicy, StorageType};

use crate::subject;

/// The stream of timers.
pub const TIMERS_STREAM: &str = "TIMERS";

/// The stream of personal keys.
pub const KEYS_STREAM: &str = "KEYS";

/// The stream of what can't be handled.
pub const PARKED_STREAM: &str = "PARKED";

/// The stream of snapshots.
pub const SNAPSHOTS_STREAM: &str = "SNAPSHOTS";

/// The stream of what foreign systems tell.
pub const INBOX_STREAM: &str = "INBOX";

/// How long a letter waits for what it belongs to: a provider sends one again for some days, and
/// what is unknown for longer stays unknown. It may hold personal data, so no longer.
pub const INBOX_MAX_AGE: Duration = Duration::from_hours(30 * 24);

/// How long INBOX remembers the ids of letters that are gone. A letter that comes even later is
/// worked again, and found to say nothing new.
pub const INBOX_DUPLICATE_WINDOW: Duration = Duration::from_hours(1);

/// How long an event stream remembers message ids. It only shortens a retry: what makes appends
/// safe is the expectation, which holds for ever. Every id costs memory.
pub const EVENTS_DUPLICATE_WINDOW: Duration = Duration::from_mins(2);

/// How long a worker may be silent about a delivery before it is given out again; longer work
/// reports progress.
pub const ACK_WAIT: Duration = Duration::from_secs(30);

/// Deliveries out at once per durable: the lanes of one worker hold no more.
pub const MAX_ACK_PENDING: i64 = 512;

/// Deliveries out at once where they are acknowledged in bulk: what a busy stream takes in within a few
/// acknowledgements.
pub const MAX_ACK_PENDING_IN_BULK: i64 = 4_096;

/// The one group of every durable: one worker is pinned, the others stand by.
pub const PRIORITY_GROUP: &str = "workers";

/// How long the pinned worker may be gone before a standby takes over.
pub const PIN_TIMEOUT: Duration = Duration::from_secs(5);

/// What the metadata of a durable call the first that it is to give out, where that is not the stream's.
const FIRST: &str = "millrace_first";

/// What a durable of stream TIMERS ends in: `<saga>-timers`.
const TIMERS_DURABLE_SUFFIX: &str = "-timers";

/// No limit, as JetStream writes it.
const UNLIMITED: i64 = -1;

/// What a stream is for; its configuration follows from that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamKind {
    /// The events of a context: nothing is ever deleted or overwritten.
    Events,
    /// Timers: schedules turn on roll-up and turn off `deny_purge`, so never among events.
    Timers,
    /// Personal keys: the last of each subject, and erasing must be possible.
    Keys,
    /// What can't be handled, and what people did about it: nothing is ever deleted.
    Parked,
    /// States of aggregates: one message of each subject, replaced whole; all of them may be lost.
    Snapshots,
    /// What foreign systems tell: raw, so it expires, and erasing must be possible.
    Inbox,
}

/// One stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamSpec {
    /// Upper case.
    pub name: String,
    /// What it takes.
    pub subjects: Vec<String>,
    /// What it is for.
    pub kind: StreamKind,
}

impl StreamSpec {
    /// The stream of a context.
    pub fn events(context: &str) -> Self {
        Self {
            name: subject::stream_name(context),
            subjects: vec![subject::all_of(context)],
            kind: StreamKind::Events,
        }
    }

    fn timers() -> Self {
        Self {
            name: TIMERS_STREAM.to_owned(),
            subjects: vec!["timer.sched.>".to_owned(), "timer.due.>".to_owned()],
            kind: StreamKind::Timers,
        }
    }

    fn keys() -> Self {
        Self {
            name: KEYS_STREAM.to_owned(),
            subjects: vec!["key.>".to_owned()],
            kind: StreamKind::Keys,
        }
    }

    fn parked() -> Self {
        Self {
            name: PARKED_STREAM.to_owned(),
            subjects: vec!["parked.>".to_owned()],
            kind: StreamKind::Parked,
        }
    }

    fn snapshots() -> Self {
        Self {
            name: SNAPSHOTS_STREAM.to_owned(),
            subjects: vec!["snapshot.>".to_owned()],
            kind: StreamKind::Snapshots,
        }
    }

    fn inbox() -> Self {
        Self {
            name: INBOX_STREAM.to_owned(),
            subjects: vec!["inbox.>".to_owned()],
            kind: StreamKind::Inbox,
        }
    }

    /// The whole configuration, for `replicas` servers.
    pub fn config(&self, replicas: usize) -> Config {
        let events = self.kind == StreamKind::Events;
        let kept = events || self.kind == StreamKind::Parked;
        let timers = self.kind == StreamKind::Timers;
        Config {
            name: self.name.clone(),
            subjects: self.subjects.clone(),
            description: Some(self.description().to_owned()),
            storage: StorageType::File,
            num_replicas: replicas,
            retention: RetentionPolicy::Limits,
            discard: self.discard(),
            max_bytes: UNLIMITED,
            max_messages: UNLIMITED,
            max_messages_per_subject: self.per_subject(),
            max_age: self.max_age(),
            duplicate_window: self.duplicate_window(),
            deny_delete: kept,
            deny_purge: kept,
            allow_rollup: timers,
            allow_direct: true,
            allow_atomic_publish: events,
            allow_message_schedules: timers,
            allow_message_ttl: timers,
            persist_mode: None,
            ..Config::default()
        }
    }

    /// Only snapshots are replaced.
    fn per_subject(&self) -> i64 {
        if self.kind == StreamKind::Snapshots {
            1
        } else {
            UNLIMITED
        }
    }

    /// Only letters expire with their stream. A schedule must still be there when it is due; what has rung carries its
    /// own age.
    fn max_age(&self) -> Duration {
        if self.kind == StreamKind::Inbox {
            INBOX_MAX_AGE
        } else {
            Duration::ZERO
        }
    }

    fn duplicate_window(&self) -> Duration {
        if self.kind == StreamKind::Inbox {
            INBOX_DUPLICATE_WINDOW
        } else {
            EVENTS_DUPLICATE_WINDOW
        }
    }

    /// A full stream refuses. The server wants `old` where there are schedules; without a limit
    /// nothing is ever discarded there either. A snapshot may go.
    fn discard(&self) -> DiscardPolicy {
        match self.kind {
            StreamKind::Events | StreamKind::Keys | StreamKind::Parked | StreamKind::Inbox => {
                DiscardPolicy::New
            }
            StreamKind::Timers | StreamKind::Snapshots => DiscardPolicy::Old,
        }
    }

    fn description(&self) -> &'static str {
        match self.kind {
            StreamKind::Events => "events; one exact subject per aggregate, kept for ever",
            StreamKind::Timers => "scheduled messages of the sagas",
            StreamKind::Snapshots => {
                "states of aggregates, one subject each; made again when they are lost"
            }
            StreamKind::Keys => {
                "wrapped keys, one subject per person; deleting one erases the person"
            }
            StreamKind::Parked => "what can't be handled: one subject per subscription and key",
            StreamKind::Inbox => "what foreign systems tell, raw, until it is worked; 30 days",
        }
    }
}

/// What a worker does about a delivery that its handler can't handle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnFailure {
    /// Try again for ever, in place, and say so in the log: its key waits.
    Retry,
    /// Set it aside in stream PARKED with the later ones of its key, until a person decides.
    /// What is permanent, or can't be read, at once; what may pass after so many tries (`None` = it is tried
    /// for ever, unless half of what the server gives out at once waits for it: then after ten, or after sixty
    /// while nothing else is handled, as in an outage). The pause between tries grows to a minute within the
    /// first ten or so.
    Park {
        /// Tries of a failure that may pass.
        after_attempts: Option<u32>,
    },
    /// The worker ends with an error at the first failure that is permanent, or can't be read.
    Stop,
}

/// How a durable's deliveries are acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Acks {
    /// Each by itself, as soon as it is handled: an event costs two messages. Whoever takes over begins behind the last
    /// before which all are acknowledged, so after a crash hardly any is repeated, unless a key has been
    /// waiting: then whatever came behind what it waits for is, acknowledged or not.
    Each,
    /// All up to the last before which everything is handled, about once a second: an event costs one
    /// message, and the last second's are repeated after a crash. For workers that most events don't
    /// concern, and that take a repeated one lightly.
    InBulk,
}

/// A durable pull consumer: acknowledged, no end to redelivery, one active worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DurableSpec {
    /// As in `checkout-order`; `<saga>-timers` on stream TIMERS.
    pub name: &'static str,
    /// The stream that it reads; of TIMERS, what is due for its saga.
    pub stream: &'static str,
    /// The secondary kind of aggregate whose events it reads alone; `None` = the whole stream.
    pub kind: Option<&'static str>,
    /// How its worker acknowledges.
    pub acks: Acks,
    /// What its worker does about a delivery that can't be handled.
    pub on_failure: OnFailure,
}

/// Where `provision` had a durable begin, if not with its stream.
pub(super) fn first(actual: &consumer::Config) -> Option<u64> {
    actual.metadata.get(FIRST)?.parse().ok()
}

impl Acks {
    /// Deliveries out at once.
    pub fn max_pending(self) -> i64 {
        match self {
            Self::Each => MAX_ACK_PENDING,
            Self::InBulk => MAX_ACK_PENDING_IN_BULK,
        }
    }
}

/// A durable of an earlier version, which another took the place of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retired {
    /// What it was called.
    pub name: &'static str,
    /// What it read.
    pub stream: &'static str,
    /// Which durable of the same stream goes on where it was.
    pub successor: &'static str,
}

/// A durable that must not begin with the stream, for what it gives out is acted on anew. Where it is made beside one
/// that was read before, because an earlier version did not have it, it begins where that one is; where somebody took
/// it away, where it was when `provision` last ran.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Later {
    /// What it is called.
    pub name: &'static str,
    /// Which durable of the same stream it begins with.
    pub with: &'static str,
}

impl Later {
    /// That one begins with this one.
    pub const fn with(durable: DurableSpec, with: DurableSpec) -> Self {
        Self {
            name: durable.name,
            with: with.name,
        }
    }
}

impl DurableSpec {
    /// The part of the stream that it reads; `None` = all of it.
    pub fn filter_subject(&self) -> Option<String> {
        if let Some(kind) = self.kind {
            return Some(subject::all_of_kind(&self.stream.to_lowercase(), kind));
        }
        let saga = self.name.strip_suffix(TIMERS_DURABLE_SUFFIX)?;
        (self.stream == TIMERS_STREAM).then(|| format!("timer.due.{saga}.>"))
    }

    /// The whole configuration, where the first that it gives out is at `first`.
    pub(super) fn config_from(&self, first: u64) -> pull::Config {
        let mut config = self.config();
        if first > 1 {
            config.deliver_policy = DeliverPolicy::ByStartSequence {
                start_sequence: first,
            };
            config.metadata.insert(FIRST.to_owned(), first.to_string());
        }
        config
    }

    /// The whole configuration.
    pub fn config(&self) -> pull::Config {
        pull::Config {
            durable_name: Some(self.name.to_owned()),
            deliver_policy: DeliverPolicy::All,
            ack_policy: match self.acks {
                Acks::Each => AckPolicy::Explicit,
                Acks::InBulk => AckPolicy::All,
            },
            ack_wait: ACK_WAIT,
            max_deliver: UNLIMITED,
            max_ack_pending: self.acks.max_pending(),
            filter_subject: self.filter_subject().unwrap_or_default(),
            replay_policy: ReplayPolicy::Instant,
            headers_only: false,
            backoff: Vec::new(),
            priority_policy: PriorityPolicy::PinnedClient,
            priority_groups: vec![PRIORITY_GROUP.to_owned()],
            priority_timeout: PIN_TIMEOUT,
            ..pull::Config::default()
        }
    }
}

/// Everything that must be there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topology {
    /// Streams, events first.
    pub streams: Vec<StreamSpec>,
    /// Durables.
    pub durables: Vec<DurableSpec>,
    /// Durables of earlier versions: taken away once nobody reads them any more.
    pub retired: Vec<Retired>,
    /// Durables that must not begin with the stream.
    pub later: Vec<Later>,
}

impl Topology {
    /// The streams of `contexts`, the infrastructure's own, and `durables`.
    ///
    /// A context ([`kernel::Decider::CONTEXT`]) is called with at most 32 of a-z and `_`, as `provision` checks.
    pub fn new(contexts: &[&str], durables: &[DurableSpec]) -> Self {
        let mut streams: Vec<StreamSpec> =
            contexts.iter().copied().map(StreamSpec::events).collect();
        streams.extend([
            StreamSpec::timers(),
            StreamSpec::keys(),
            StreamSpec::parked(),
            StreamSpec::snapshots(),
            StreamSpec::inbox(),
        ]);
        Self {
            streams,
            durables: durables.to_vec(),
            retired: Vec::new(),
            later: Vec::new(),
        }
    }

    /// With durables of earlier versions, to be taken away.
    #[must_use]
    pub fn without(self, retired: &[Retired]) -> Self {
        Self {
            retired: retired.to_vec(),
            ..self
        }
    }

    /// With durables that must not begin with the stream.
    #[must_use]
    pub fn beginning(self, later: &[Later]) -> Self {
        Self {
            later: later.to_vec(),
            ..self
        }
    }

    /// Only these streams and their durables: what a role that may not see the others checks.
    #[must_use]
    pub fn only(&self, streams: &[&str]) -> Self {
        let wanted = |name: &str| streams.contains(&name);
        Self {
            streams: self
                .streams
                .iter()
                .filter(|s| wanted(&s.name))
                .cloned()
                .collect(),
            durables: self
                .durables
                .iter()
                .filter(|d| wanted(d.stream))
                .copied()
                .collect(),
            retired: self
                .retired
                .iter()
                .filter(|d| wanted(d.stream))
                .copied()
                .collect(),
            later: self.later.clone(),
        }
    }
}
