//! What every handler has at hand.

use std::time::Duration;

use axum::extract::FromRef;
use edge::auth::Verifier;
use projections::Reader;
use streams::Streams;
use streams::keys::Keys;

use crate::Config;

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
    read_wait: Duration,
}

impl Api {
    /// Puts the parts together.
    pub fn new(
        config: &Config,
        reader: Reader,
        streams: Streams,
        keys: Keys,
        verifier: Verifier,
    ) -> Self {
        Self {
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
