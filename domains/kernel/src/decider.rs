//! The contract of an aggregate: `decide` and `evolve`, bridged to cqrs-es.

use cqrs_es::event_sink::EventSink;
use cqrs_es::{Aggregate, DomainEvent};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// An aggregate that decides purely.
///
/// `decide` and `evolve` are what a context writes; `handle` and `apply` exist only because
/// [`cqrs_es::Aggregate`] names them, and [`aggregate!`](crate::aggregate) writes those.
///
/// ```text
///   command ──► decide(&state) ──► events | refusal
///   event   ──► evolve(&mut state)          cannot fail
/// ```
pub trait Decider:
    Aggregate<
        Services = (),
        Command: Serialize + DeserializeOwned + Clone + Send + Sync + 'static,
        Event: Fact,
        Error: Refusal,
    > + Clone
    + 'static
{
    /// The context, as in `event.<context>.<id>`; in upper case the stream's name. At most 32 of `a-z` and
    /// `_`: a position (`ORDER:1042`) names the stream.
    const CONTEXT: &'static str;

    /// A secondary kind of aggregate of that context, as in `event.<context>.<kind>.<id>`: `a-z`, `0-9` and
    /// `_`, for it is one token of a subject.
    const KIND: Option<&'static str> = None;

    /// Which meaning the state has. Raise it when the same events lead to another state than before,
    /// or when a field means something else: snapshots of the old one are then left alone and made
    /// again. A field or variant that was added, removed or renamed is noticed without it.
    const STATE_REVISION: u32 = 1;

    /// What follows from `command` in this state. Empty = it is already true.
    ///
    /// # Errors
    /// The refusal: a business "no". Nothing has happened then.
    fn decide(&self, command: &Self::Command) -> Result<Vec<Self::Event>, Self::Error>;

    /// Takes one fact in. Total: whatever the log says has happened. It must not panic, for it runs when the
    /// event is on disk, and again at every load: a sum that overflows here makes the aggregate unreadable for
    /// good. What must not happen [`Decider::decide`] refuses; here, saturate.
    fn evolve(&mut self, event: &Self::Event);

    /// About how many bytes of memory the state takes, where it remembers more than one event tells: of how
    /// many a process keeps in memory, and for how long, this decides. 0 = as many as its largest event.
    fn remembered_bytes(&self) -> usize {
        0
    }

    /// Brings the JSON of an event that was written under an older schema version forward, one
    /// version at a time: it is called again with the version and the data that it answered, until it answers
    /// `None`, as it does when there is no step from `(event_type, version)`. What version 1 wrote
    /// so goes through the steps 1 → 2 and 2 → 3, each written once. The name stays: another one is another event.
    ///
    /// Total over every version ever written; decoding afterwards reports what is wrong.
    fn upcast(
        event_type: &str,
        version: u32,
        data: &serde_json::Value,
    ) -> Option<(u32, serde_json::Value)> {
        let _ = (event_type, version, data);
        None
    }
}

/// A domain event: `#[serde(tag = "type", content = "data", rename_all = "snake_case")]`, struct
/// variants only, so that the body on the wire is always an object and the tag moves to `ce-type`.
///
/// [`fact!`](crate::fact) writes this and [`DomainEvent`] for an enum.
pub trait Fact: DomainEvent + 'static {
    /// The snake-case name on the wire, as serde writes it (`order_placed`).
    fn name(&self) -> &'static str;

    /// Reads tag and data as serde writes them.
    ///
    /// # Errors
    /// The text is no such event.
    fn parse(tagged: &[u8]) -> serde_json::Result<Self> {
        serde_json::from_slice(tagged)
    }

    /// The schema version that [`Fact::name`] is written under today.
    fn schema_version(&self) -> u32 {
        1
    }
}

/// [`Fact`] and [`DomainEvent`] for an enum of events that derives `strum::IntoStaticStr` in snake
/// case. Versions above 1 are given as a closure from the event to its schema version.
///
/// What reads the JSON is compiled once, here in the event's own crate; a generic caller would have
/// it made anew in every crate that reads a stream.
///
/// ```ignore
/// kernel::fact!(OrderEvent);
/// ```
#[macro_export]
macro_rules! fact {
    ($event:ty) => {
        $crate::fact!($event, |_event: &$event| 1);
    };
    ($event:ty, $schema_version:expr) => {
        impl $crate::DomainEvent for $event {
            fn event_type(&self) -> String {
                $crate::Fact::name(self).to_owned()
            }

            fn event_version(&self) -> String {
                $crate::Fact::schema_version(self).to_string()
            }
        }

        impl $crate::Fact for $event {
            fn name(&self) -> &'static str {
                self.into()
            }

            fn schema_version(&self) -> u32 {
                let version: fn(&$event) -> u32 = $schema_version;
                version(self)
            }

            fn parse(tagged: &[u8]) -> $crate::serde_json::Result<Self> {
                $crate::serde_json::from_slice(tagged)
            }
        }
    };
}

/// [`Aggregate`] for a [`Decider`]: what cqrs-es calls it, its command, its event and its refusal.
///
/// ```ignore
/// kernel::aggregate!(Order, "order", OrderCommand, OrderEvent, OrderRefusal);
/// ```
#[macro_export]
macro_rules! aggregate {
    ($aggregate:ty, $type:expr, $command:ty, $event:ty, $refusal:ty) => {
        impl $crate::Aggregate for $aggregate {
            const TYPE: &'static str = $type;
            type Command = $command;
            type Event = $event;
            type Error = $refusal;
            type Services = ();

            async fn handle(
                &mut self,
                command: $command,
                (): &(),
                sink: &$crate::EventSink<Self>,
            ) -> Result<(), $refusal> {
                $crate::bridge(self, command, sink).await
            }

            fn apply(&mut self, event: $event) {
                $crate::Decider::evolve(self, &event);
            }
        }
    };
}

/// A business "no". It serializes to its own code: `#[serde(tag = "code", rename_all = "snake_case")]` on the enum.
/// Without the tag every refusal's code is `refused`.
pub trait Refusal:
    std::error::Error + Serialize + DeserializeOwned + Clone + PartialEq + Send + Sync + 'static
{
    /// The code on the wire (`order_already_shipped`): the serde tag, so there is no second list.
    fn code(&self) -> String {
        serde_json::to_value(self)
            .ok()
            .and_then(|value| {
                value
                    .get("code")
                    .and_then(|c| c.as_str().map(str::to_owned))
            })
            .unwrap_or_else(|| "refused".to_owned())
    }
}

impl<T> Refusal for T where
    T: std::error::Error + Serialize + DeserializeOwned + Clone + PartialEq + Send + Sync + 'static
{
}

/// The whole of [`Aggregate::handle`]: decide, then hand the events over.
///
/// # Errors
/// The refusal of `decide`.
pub async fn bridge<A: Decider>(
    aggregate: &mut A,
    command: A::Command,
    sink: &EventSink<A>,
) -> Result<(), A::Error> {
    for event in aggregate.decide(&command)? {
        sink.write(event, aggregate).await;
    }
    Ok(())
}
