//! Creates what is missing, and has more servers keep what is there. Needs the rights of user
//! `provision`, and is the only one that may.

use super::check::{
    durable, durable_differences, name_of_durable, name_of_stream, stream, stream_differences,
};
use super::error::TopologyError;
use super::later;
use super::retire::retire;
use super::spec::{DurableSpec, StreamSpec, Topology};
use crate::connection::Connection;
use async_nats::jetstream::stream::Config;
use futures::future::BoxFuture;
use kernel::Position;

/// Creates the streams and durables that aren't there, for `replicas` servers, has as many servers keep
/// the streams that fewer kept, and takes away the durables of earlier versions that nobody reads any
/// more. What else is there is left as it is; a second run does nothing but note in their streams' metadata how far
/// the durables have come that could not begin with the stream, were they taken away.
///
/// # Errors
/// Something is there and not as declared, or a context has a name that it can't have (nothing is created then);
/// or the server refuses.
pub fn provision<'a>(
    connection: &'a Connection,
    topology: &'a Topology,
    replicas: usize,
) -> BoxFuture<'a, Result<(), TopologyError>> {
    Box::pin(async move {
        for stream in topology.streams.iter().map(|spec| &spec.name) {
            let named = Position::new(stream.clone(), 0)
                .to_string()
                .parse::<Position>();
            named.map_err(|_| TopologyError::Name {
                stream: stream.clone(),
            })?;
        }
        let found = look(connection, topology).await?;
        for spec in found.streams {
            create_stream(connection, spec, replicas).await?;
        }
        for (spec, config) in found.there {
            if config.num_replicas < replicas {
                keep_more_often(connection, spec, config, replicas).await?;
            }
        }
        for spec in found.durables {
            let first = later::first_of(connection, topology, spec).await?;
            create_durable(connection, spec, first).await?;
        }
        for old in &topology.retired {
            retire(connection, old).await?;
        }
        later::note(connection, topology).await
    })
}

/// What there is, and what not.
#[derive(Default)]
struct Found<'a> {
    /// Streams that aren't there.
    streams: Vec<&'a StreamSpec>,
    /// Streams that are there, each as it is.
    there: Vec<(&'a StreamSpec, Config)>,
    /// Durables that aren't there.
    durables: Vec<&'a DurableSpec>,
}

/// An error when something is there and not as declared.
async fn look<'a>(
    connection: &Connection,
    topology: &'a Topology,
) -> Result<Found<'a>, TopologyError> {
    let (mut found, mut differences) = (Found::default(), Vec::new());
    for spec in &topology.streams {
        match stream(connection, spec).await? {
            Some(actual) => {
                differences.extend(stream_differences(spec, &actual));
                found.there.push((spec, actual));
            }
            None => found.streams.push(spec),
        }
    }
    for spec in &topology.durables {
        match durable(connection, spec).await? {
            Some(actual) => differences.extend(durable_differences(spec, &actual)),
            None => found.durables.push(spec),
        }
    }
    if differences.is_empty() {
        Ok(found)
    } else {
        Err(TopologyError::Different(differences))
    }
}

async fn create_stream(
    connection: &Connection,
    spec: &StreamSpec,
    replicas: usize,
) -> Result<(), TopologyError> {
    let created = connection.jetstream().create_stream(spec.config(replicas));
    match created.await {
        Ok(_) => {
            tracing::info!(stream = spec.name, replicas, "stream created");
            Ok(())
        }
        Err(error) => Err(TopologyError::Failed {
            what: name_of_stream(spec),
            source: error.into(),
        }),
    }
}

async fn keep_more_often(
    connection: &Connection,
    spec: &StreamSpec,
    config: Config,
    replicas: usize,
) -> Result<(), TopologyError> {
    let before = config.num_replicas;
    let more = Config {
        num_replicas: replicas,
        ..config
    };
    match connection.jetstream().update_stream(more).await {
        Ok(_) => {
            tracing::info!(stream = spec.name, before, replicas, "kept by more servers");
            Ok(())
        }
        Err(error) => Err(TopologyError::Failed {
            what: name_of_stream(spec),
            source: error.into(),
        }),
    }
}

/// In one step with where it begins: a worker may be waiting for it.
async fn create_durable(
    connection: &Connection,
    spec: &DurableSpec,
    first: u64,
) -> Result<(), TopologyError> {
    let (jetstream, config) = (connection.jetstream(), spec.config_from(first));
    let created = jetstream.create_consumer_strict_on_stream(config, spec.stream);
    match created.await {
        Ok(_) => {
            let (durable, stream) = (spec.name, spec.stream);
            tracing::info!(durable, stream, first, "durable created");
            Ok(())
        }
        Err(error) => Err(TopologyError::Failed {
            what: name_of_durable(spec),
            source: error.into(),
        }),
    }
}
