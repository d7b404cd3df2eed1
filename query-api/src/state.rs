//! What every handler has at hand.

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::FromRef;
use edge::auth::Verifier;
use projections::Reader;
use projections::stuck::Radar;
use streams::keys::{DigestKey, Keys};
use streams::topology::Topology;
use streams::{Connection, Settings, Snapshots, Streams};
use tokio_util::sync::CancellationToken;

use crate::Config;
use crate::health::Watch;
use crate::live::Live;

/// The parts that the query API is made of. Cheap to clone: every request does so several times.
#[derive(Clone)]
pub struct Api(Arc<Inner>);

/// What an [`Api`] holds.
pub struct Inner {
    /// The rows.
    pub reader: Reader,
    /// The events, for histories and for how far the views are behind.
    pub streams: Streams,
    /// The keys of persons.
    pub keys: Keys,
    /// What signing secrets follow from.
    pub(crate) digest: DigestKey,
    /// Who is asking.
    pub verifier: Verifier,
    pub(crate) log: Connection,
    /// Which streams and durables there are to be.
    pub(crate) topology: Topology,
    /// Everything that waits for a human or is late.
    pub(crate) radar: Radar,
    pub(crate) live: Live,
    pub(crate) graph: crate::graphql::Schema,
    read_wait: Duration,
    /// Lives as long as the API.
    _watch: Watch,
}

/// What the query API reads from.
pub struct Parts<'a> {
    /// The log.
    pub log: &'a Connection,
    /// Which streams and durables there are to be.
    pub topology: Topology,
    /// The rows.
    pub reader: Reader,
    /// The keys of persons.
    pub keys: Keys,
    /// What signing secrets follow from.
    pub digest_key: DigestKey,
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
        let Parts {
            log,
            topology,
            reader,
            keys,
            digest_key,
        } = parts;
        let streams = log.streams(Settings::reading());
        let radar = Radar::new(reader.clone(), log.clone(), Snapshots::Read);
        let watch = Watch::start(reader.clone(), streams.clone(), radar.clone());
        Self(Arc::new(Inner {
            _watch: watch,
            log: log.clone(),
            topology,
            radar,
            graph: crate::graphql::schema(),
            live: Live::new(config, log, closing),
            reader,
            streams,
            keys,
            digest: digest_key,
            verifier,
            read_wait: config.read_wait(),
        }))
    }

    /// How long a read waits for its token unless it says otherwise.
    pub(crate) fn read_wait(&self) -> Duration {
        self.read_wait
    }
}

impl Deref for Api {
    type Target = Inner;

    fn deref(&self) -> &Inner {
        &self.0
    }
}

impl FromRef<Api> for Verifier {
    fn from_ref(api: &Api) -> Self {
        api.verifier.clone()
    }
}
