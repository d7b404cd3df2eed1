//! What the projectors of a process wait for, for whoever asks how they are.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Which contexts' projectors wait, and what for. Who is at work, or stands by, isn't named; nor who has
/// stopped: that is for a person, and no reason to take the others for unready. Cheap to clone; clones are
/// one.
#[derive(Debug, Clone, Default)]
pub struct Standing(Arc<Mutex<BTreeMap<&'static str, String>>>);

impl Standing {
    /// Does none of them wait?
    ///
    /// # Errors
    /// Those who do, and what for.
    pub fn check(&self) -> Result<(), String> {
        let waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.is_empty() {
            return Ok(());
        }
        let named = waiting.iter();
        let named: Vec<String> = named.map(|(who, what)| format!("{who}: {what}")).collect();
        Err(named.join("; "))
    }

    pub(super) fn waits(&self, context: &'static str, what: String) {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.insert(context, what);
    }

    pub(super) fn waits_no_more(&self, context: &'static str) {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.remove(context);
    }
}
