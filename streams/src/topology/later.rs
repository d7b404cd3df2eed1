//! Where durables begin that an earlier version did not have, or that somebody has taken away.
//!
//! One that begins too late never tells its handler what it left out; one that begins too early tells it of years
//! before it was there to act. So `provision` notes in the stream's metadata how far each has come: it runs before
//! whatever a new version brings, and what is noted outlives the durable, also in a backup without consumers.

use super::check::name_of_durable;
use super::error::TopologyError;
use super::retire::info;
use super::spec::{DurableSpec, Later, Topology, first};
use crate::connection::Connection;
use crate::log::BoxError;

/// What the metadata of its stream call a durable by, before its name.
const NOTED: &str = "millrace_acknowledged_";

/// The first that a durable which isn't there gives out: behind where it was when that was last noted, else
/// behind what the one has acknowledged that it begins with; 1 = it begins with the stream.
pub(super) async fn first_of(
    connection: &Connection,
    topology: &Topology,
    spec: &DurableSpec,
) -> Result<u64, TopologyError> {
    let mut later = topology.later.iter();
    let Some(later) = later.find(|later| later.name == spec.name) else {
        return Ok(1);
    };
    let done = done_by(connection, spec, later).await;
    done.map(|done| done + 1).map_err(failed(spec))
}

/// Notes how far each has come that must not begin with its stream.
pub(super) async fn note(
    connection: &Connection,
    topology: &Topology,
) -> Result<(), TopologyError> {
    for later in &topology.later {
        let mut durables = topology.durables.iter();
        if let Some(spec) = durables.find(|spec| spec.name == later.name) {
            note_one(connection, spec).await.map_err(failed(spec))?;
        }
    }
    Ok(())
}

fn failed(spec: &DurableSpec) -> impl FnOnce(BoxError) -> TopologyError {
    let what = name_of_durable(spec);
    |source| TopologyError::Failed { what, source }
}

async fn done_by(
    connection: &Connection,
    spec: &DurableSpec,
    later: &Later,
) -> Result<u64, BoxError> {
    let stream = connection.jetstream().get_stream(spec.stream).await?;
    let noted = stream.cached_info().config.metadata.get(&noted_as(spec));
    if let Some(noted) = noted {
        return Ok(noted.parse()?);
    }
    let with = info(connection, spec.stream, later.with).await?;
    Ok(with.map_or(0, |with| with.ack_floor.stream_sequence))
}

async fn note_one(connection: &Connection, spec: &DurableSpec) -> Result<(), BoxError> {
    let Some(found) = info(connection, spec.stream, spec.name).await? else {
        return Ok(());
    };
    let stream = connection.jetstream().get_stream(spec.stream).await?;
    let before_first = first(&found.config).unwrap_or(1).saturating_sub(1);
    let mut done = found.ack_floor.stream_sequence;
    if done < before_first {
        // Replicas keep that it begins there, but not that what is before counts as acknowledged.
        stream
            .reset_consumer(spec.name, Some(before_first + 1))
            .await?;
        done = before_first;
    }
    let done = done.to_string();
    let mut config = stream.cached_info().config.clone();
    if config.metadata.get(&noted_as(spec)) != Some(&done) {
        config.metadata.insert(noted_as(spec), done);
        connection.jetstream().update_stream(config).await?;
    }
    Ok(())
}

fn noted_as(spec: &DurableSpec) -> String {
    format!("{NOTED}{}", spec.name)
}
