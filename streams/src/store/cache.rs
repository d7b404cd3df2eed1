//! The bounded set of aggregates in memory.

use std::any::Any;
use std::sync::Arc;

use kernel::Decider;

use super::held::{Held, Known};

type Anything = Arc<dyn Any + Send + Sync>;

/// Aggregates by subject, of all types.
pub(super) struct Cache(moka::sync::Cache<Arc<str>, Anything>);

impl Cache {
    pub(super) fn new(capacity: u64) -> Self {
        Self(moka::sync::Cache::new(capacity))
    }

    /// The aggregate at `subject`, if it is there and an `A`.
    pub(super) fn get<A: Decider>(&self, subject: &str) -> Option<Arc<Held<A>>> {
        self.0.get(subject)?.downcast().ok()
    }

    pub(super) fn insert<A: Decider>(&self, subject: Arc<str>, known: Known<A>) -> Arc<Held<A>> {
        let held = Arc::new(Held::new(known));
        self.0.insert(subject, Arc::clone(&held) as Anything);
        held
    }

    /// Keeps `held` at `subject`, if it isn't there yet.
    pub(super) fn keep<A: Decider>(&self, subject: &Arc<str>, held: &Arc<Held<A>>) {
        if !self.0.contains_key(subject) {
            self.0
                .insert(Arc::clone(subject), Arc::clone(held) as Anything);
        }
    }

    /// Forgets what may not be true any more.
    pub(super) fn evict(&self, subject: &str) {
        self.0.invalidate(subject);
    }
}
