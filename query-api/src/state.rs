//! What every handler has at hand.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::FromRef;
use edge::auth::Verifier;
use projections::Reader;
use streams::keys::Keys;
use streams::{Connection, Settings, Streams};
use tokio_util::sync::CancellationToken;

use crate::Config;
use crate::health::Watch;
use crate::live::Live;

/// The parts that the query API is made of. Cheap to clone.
#[derive(Clone)]
pub struct Api {
    /// The rows.
    pub reader: Reader,
    /// The events, for histories and for how far the views are behind.
    pub streams: Streams,
    /// The keys of persons.
    pub keys: Keys,
    /// Who is asking.
    pub verifier: Verifier,
    pub(crate) live: Live,
    pub(crate) graph: crate::graphql::Schema,
    read_wait: Duration,
    /// Lives as long as the API.
    _watch: Arc<Watch>,
}

/// What the query API reads from.
pub struct Parts<'a> {
    /// The log.
    pub log: &'a Connection,
    /// The rows.
    pub reader: Reader,
    /// The keys of persons.
    pub keys: Keys,
}

impl Api {
    /// Puts the parts together, and begins to watch how far the views are behind. Live
    /// streams end with `closing`. Asks for a runtime.
    pub fn new(
        config: &Config,
        parts: Parts<'_>,
        verifier: Verifier,
        closing: CancellationToken,
    ) -> Self {
        let Parts { log, reader, keys } = parts;
        let streams = log.streams(Settings::reading());
        let watch = Watch::start(reader.clone(), streams.clone());
        Self {
            _watch: Arc::new(watch),
            graph: crate::graphql::schema(),
            live: Live::new(config, log, closing),
            reader,
            streams,
            keys,
            verifier,
            read_wait: config.read_wait(),
        }
    }

    /// How long a read waits for its token unless it says otherwise.
    pub(crate) fn read_wait(&self) -> Duration {
        self.read_wait
    }
}

impl FromRef<Api> for Verifier {
    fn from_ref(api: &Api) -> Self {
        api.verifier.clone()
    }
}
