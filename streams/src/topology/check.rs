//! Compares what the server has with what is declared.
//!
//! Only what could lose, overwrite, reorder or hold back events counts: a limit on bytes, more
//! replicas or another description are an operator's business.

use std::fmt::Debug;

use async_nats::jetstream::consumer::{self, DeliverPolicy, IntoConsumerConfig};
use async_nats::jetstream::response::Response;
use async_nats::jetstream::stream::{self, Config, DiscardPolicy, PersistenceMode};
use futures::future::BoxFuture;
use serde::de::DeserializeOwned;

use super::error::{Difference, TopologyError};
use super::spec::{DurableSpec, StreamSpec, Topology, first};
use crate::connection::Connection;

/// JetStream's numbers for "stream not found" and "consumer not found".
const NOT_FOUND: [u64; 2] = [10059, 10014];

/// Refuses a server that lacks something of `topology`, or has it in a way that could lose events.
///
/// # Errors
/// [`TopologyError::Missing`] names what isn't there; [`TopologyError::Different`] each field.
pub fn check<'a>(
    connection: &'a Connection,
    topology: &'a Topology,
) -> BoxFuture<'a, Result<(), TopologyError>> {
    Box::pin(async move {
        let mut differences = Vec::new();
        for spec in &topology.streams {
            let what = name_of_stream(spec);
            let actual = stream(connection, spec).await?;
            let actual = actual.ok_or(TopologyError::Missing { what })?;
            differences.extend(stream_differences(spec, &actual));
        }
        for spec in &topology.durables {
            let what = name_of_durable(spec);
            let actual = durable(connection, spec).await?;
            let actual = actual.ok_or(TopologyError::Missing { what })?;
            differences.extend(durable_differences(spec, &actual));
        }
        if differences.is_empty() {
            Ok(())
        } else {
            Err(TopologyError::Different(differences))
        }
    })
}

/// The streams that one server of a cluster keeps alone: its disk is all that there is of them. None,
/// where there is one server only.
///
/// # Errors
/// The server can't be asked.
pub fn kept_once<'a>(
    connection: &'a Connection,
    topology: &'a Topology,
) -> BoxFuture<'a, Result<Vec<String>, TopologyError>> {
    Box::pin(async move {
        let mut once = Vec::new();
        for spec in &topology.streams {
            let info = stream_info(connection, spec).await?;
            let cluster = info.as_ref().and_then(|info| info.cluster.as_ref());
            let of_several = cluster.is_some_and(|cluster| cluster.name.is_some());
            if of_several && info.is_some_and(|info| info.config.num_replicas <= 1) {
                once.push(spec.name.clone());
            }
        }
        Ok(once)
    })
}

pub(super) fn name_of_stream(spec: &StreamSpec) -> String {
    format!("stream {}", spec.name)
}

pub(super) fn name_of_durable(spec: &DurableSpec) -> String {
    format!("durable {} on {}", spec.name, spec.stream)
}

/// The stream as the server has it, if it does.
pub(super) async fn stream(
    connection: &Connection,
    spec: &StreamSpec,
) -> Result<Option<Config>, TopologyError> {
    let found = stream_info(connection, spec).await?;
    Ok(found.map(|info| info.config))
}

async fn stream_info(
    connection: &Connection,
    spec: &StreamSpec,
) -> Result<Option<stream::Info>, TopologyError> {
    let request = format!("STREAM.INFO.{}", spec.name);
    info(connection, request, name_of_stream(spec)).await
}

/// The durable as the server has it, if it does.
pub(super) async fn durable(
    connection: &Connection,
    spec: &DurableSpec,
) -> Result<Option<consumer::Config>, TopologyError> {
    let request = format!("CONSUMER.INFO.{}.{}", spec.stream, spec.name);
    let found: Option<consumer::Info> = info(connection, request, name_of_durable(spec)).await?;
    Ok(found.map(|info| info.config))
}

async fn info<T: DeserializeOwned>(
    connection: &Connection,
    request: String,
    what: String,
) -> Result<Option<T>, TopologyError> {
    let empty = serde_json::json!({});
    let answer = connection.jetstream().request(request, &empty).await;
    match answer {
        Ok(Response::Ok(info)) => Ok(Some(info)),
        Ok(Response::Err { error }) if NOT_FOUND.contains(&error.error_code().0) => Ok(None),
        Ok(Response::Err { error }) => Err(TopologyError::Failed {
            what,
            source: error.into(),
        }),
        Err(error) => Err(TopologyError::Failed {
            what,
            source: error.into(),
        }),
    }
}

/// Collects the fields that are not as declared.
struct Comparison<'a, C> {
    of: String,
    declared: &'a C,
    actual: &'a C,
    found: Vec<Difference>,
}

impl<'a, C> Comparison<'a, C> {
    fn new(of: String, declared: &'a C, actual: &'a C) -> Self {
        Self {
            of,
            declared,
            actual,
            found: Vec::new(),
        }
    }

    /// Both configurations are to hold the same here.
    fn same<T: PartialEq + Debug>(&mut self, field: &'static str, value: impl Fn(&C) -> &T) {
        self.fits(field, value(self.declared), value(self.actual));
    }

    fn fits<T: PartialEq + Debug>(&mut self, field: &'static str, declared: &T, actual: &T) {
        if declared != actual {
            self.found.push(Difference {
                of: self.of.clone(),
                field,
                declared: format!("{declared:?}"),
                actual: format!("{actual:?}"),
            });
        }
    }
}

/// Everything about `actual` that could lose, overwrite or reorder what `spec` is to keep.
pub(super) fn stream_differences(spec: &StreamSpec, actual: &Config) -> Vec<Difference> {
    let declared = spec.config(actual.num_replicas);
    let mut compare = Comparison::new(name_of_stream(spec), &declared, actual);
    let (mut wanted, mut there) = (declared.subjects.clone(), actual.subjects.clone());
    wanted.sort();
    there.sort();
    compare.fits("subjects", &wanted, &there);
    compare.same("storage", |it| &it.storage);
    compare.same("retention", |it| &it.retention);
    compare.same("discard", |it| &it.discard);
    compare.same("max_age", |it| &it.max_age);
    compare.same("max_msgs_per_subject", |it| &it.max_messages_per_subject);
    compare.same("deny_delete", |it| &it.deny_delete);
    compare.same("deny_purge", |it| &it.deny_purge);
    compare.same("allow_direct", |it| &it.allow_direct);
    compare.same("allow_rollup_hdrs", |it| &it.allow_rollup);
    compare.same("allow_atomic", |it| &it.allow_atomic_publish);
    compare.same("allow_msg_schedules", |it| &it.allow_message_schedules);
    compare.same("allow_msg_ttl", |it| &it.allow_message_ttl);
    if declared.discard == DiscardPolicy::Old {
        compare.same("max_bytes", |it| &it.max_bytes);
        compare.same("max_msgs", |it| &it.max_messages);
    }
    never(&mut compare);
    compare.found
}

/// What no stream of ours may have.
fn never(compare: &mut Comparison<'_, Config>) {
    let actual = compare.actual;
    let mode = actual.persist_mode.unwrap_or_default();
    compare.fits("persist_mode", &PersistenceMode::Default, &mode);
    compare.fits("no_ack", &false, &actual.no_ack);
    compare.fits("sealed", &false, &actual.sealed);
    let new_per_subject = actual.discard_new_per_subject;
    compare.fits("discard_new_per_subject", &false, &new_per_subject);
    compare.fits("allow_msg_counter", &false, &actual.allow_message_counter);
    // Fast ingest is not atomic.
    compare.fits("allow_batched", &false, &actual.allow_batch_publish);
    compare.fits("mirror", &None, &actual.mirror);
    let sources = actual.sources.as_ref().map_or(0, Vec::len);
    compare.fits("sources", &0, &sources);
    let transform = actual.subject_transform.is_some();
    compare.fits("subject_transform", &false, &transform);
}

/// Everything about `actual` that could skip, end or reorder deliveries.
pub(super) fn durable_differences(
    spec: &DurableSpec,
    actual: &consumer::Config,
) -> Vec<Difference> {
    let declared = spec.config().into_consumer_config();
    let mut compare = Comparison::new(name_of_durable(spec), &declared, actual);
    let begins = begins(&declared, actual);
    compare.fits("deliver_policy", &begins, &actual.deliver_policy);
    compare.same("ack_policy", |it| &it.ack_policy);
    compare.same("ack_wait", |it| &it.ack_wait);
    compare.same("max_deliver", |it| &it.max_deliver);
    compare.same("max_ack_pending", |it| &it.max_ack_pending);
    compare.same("filter_subject", |it| &it.filter_subject);
    compare.same("filter_subjects", |it| &it.filter_subjects);
    compare.same("headers_only", |it| &it.headers_only);
    compare.same("backoff", |it| &it.backoff);
    compare.same("priority_policy", |it| &it.priority_policy);
    compare.same("priority_groups", |it| &it.priority_groups);
    compare.same("priority_timeout", |it| &it.priority_timeout);
    compare.same("deliver_subject", |it| &it.deliver_subject);
    compare.same("replay_policy", |it| &it.replay_policy);
    compare.same("rate_limit_bps", |it| &it.rate_limit);
    compare.same("inactive_threshold", |it| &it.inactive_threshold);
    // Any of these ends our pulls, or lets go of them, before anything comes.
    compare.same("max_batch", |it| &it.max_batch);
    compare.same("max_bytes", |it| &it.max_bytes);
    compare.same("max_expires", |it| &it.max_expires);
    compare.same("memory_storage", |it| &it.memory_storage);
    let now = crate::clock::now().timestamp();
    let paused = actual.pause_until;
    let paused = paused.filter(|until| until.unix_timestamp() > now);
    compare.fits("pause_until", &None, &paused);
    compare.found
}

/// With the stream, or where `provision` had it begin. By hand nobody has it begin anywhere else.
fn begins(declared: &consumer::Config, actual: &consumer::Config) -> DeliverPolicy {
    first(actual).map_or(declared.deliver_policy, |start_sequence| {
        DeliverPolicy::ByStartSequence { start_sequence }
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::topology::{Acks, INBOX_STREAM, OnFailure};

    const CHECKOUT_ORDER: DurableSpec = DurableSpec {
        name: "checkout-order",
        stream: "ORDER",
        kind: None,
        acks: Acks::Each,
        on_failure: OnFailure::Retry,
    };

    #[test]
    fn what_could_lose_events_is_named_by_its_field() {
        let spec = StreamSpec::events("order");
        let mut actual = spec.config(3);
        assert_eq!(stream_differences(&spec, &actual), []);
        actual.max_bytes = 1 << 30;
        actual.description = None;
        assert_eq!(stream_differences(&spec, &actual), []);
        actual.discard = DiscardPolicy::Old;
        actual.max_age = Duration::from_mins(1);
        actual.deny_purge = false;
        actual.persist_mode = Some(PersistenceMode::Async);
        let fields: Vec<_> = stream_differences(&spec, &actual)
            .iter()
            .map(|d| d.field)
            .collect();
        assert_eq!(fields, ["discard", "max_age", "deny_purge", "persist_mode"]);
    }

    #[test]
    fn a_letter_must_not_expire_early() {
        let topology = Topology::new(&[], &[]).only(&[INBOX_STREAM]);
        let [spec] = topology.streams.as_slice() else {
            panic!("{:?}", topology.streams);
        };
        let mut actual = spec.config(1);
        assert_eq!(stream_differences(spec, &actual), []);
        actual.max_age = Duration::from_hours(1);
        let fields: Vec<_> = stream_differences(spec, &actual)
            .iter()
            .map(|d| d.field)
            .collect();
        assert_eq!(fields, ["max_age"]);
    }

    #[test]
    fn a_durable_that_gives_up_is_refused() {
        let spec = CHECKOUT_ORDER;
        let mut actual = spec.config().into_consumer_config();
        assert_eq!(durable_differences(&spec, &actual), []);
        actual.max_deliver = 5;
        let differences = durable_differences(&spec, &actual);
        assert_eq!(
            differences
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>(),
            ["durable checkout-order on ORDER: max_deliver is 5, declared -1"]
        );
    }

    #[test]
    fn a_durable_begins_with_the_stream_or_where_provision_had_it_begin() {
        let spec = CHECKOUT_ORDER;
        let mut actual = spec.config_from(7).into_consumer_config();
        assert_eq!(durable_differences(&spec, &actual), []);
        actual.deliver_policy = DeliverPolicy::ByStartSequence { start_sequence: 8 };
        assert_eq!(durable_differences(&spec, &actual).len(), 1);
        let mut by_hand = spec.config().into_consumer_config();
        by_hand.deliver_policy = DeliverPolicy::ByStartSequence { start_sequence: 7 };
        assert_eq!(durable_differences(&spec, &by_hand).len(), 1);
    }

    #[test]
    fn a_durable_that_is_held_back_is_refused() {
        let spec = CHECKOUT_ORDER;
        let mut actual = spec.config().into_consumer_config();
        actual.pause_until = Some(std::time::SystemTime::UNIX_EPOCH.into());
        assert_eq!(durable_differences(&spec, &actual), [], "that is over");
        let tomorrow = std::time::SystemTime::now() + Duration::from_hours(24);
        actual.pause_until = Some(tomorrow.into());
        actual.deliver_subject = Some("elsewhere".to_owned());
        actual.inactive_threshold = Duration::from_mins(5);
        actual.max_expires = Duration::from_millis(1);
        let fields: Vec<_> = durable_differences(&spec, &actual)
            .iter()
            .map(|d| d.field)
            .collect();
        assert_eq!(
            fields,
            [
                "deliver_subject",
                "inactive_threshold",
                "max_expires",
                "pause_until"
            ]
        );
    }
}
