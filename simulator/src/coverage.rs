//! Which of the checkout's transitions are taken.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::saga::SagaId;
use crate::world::World;

/// A saga's stage, its event, and the stage after it.
pub type Transition = (&'static str, &'static str, &'static str);

/// How often each was taken.
pub type Transitions = BTreeMap<Transition, u64>;

/// Before the first event.
const NOT_STARTED: &str = "not_started";

impl World {
    pub(crate) fn stage(&self, saga: SagaId) -> Option<&'static str> {
        let SagaId::Checkout(order) = saga else {
            return None;
        };
        let stage = self.shop.file(order)?.checkout.state.stage();
        Some(stage.map_or(NOT_STARTED, Into::into))
    }

    /// Notes what a fact has led to.
    pub(crate) fn note_transition(
        &mut self,
        before: Option<&'static str>,
        saga: SagaId,
        new: &Range<usize>,
    ) {
        let (Some(before), Some(after)) = (before, self.stage(saga)) else {
            return;
        };
        if let Some(recorded) = self.shop.log.get(new.start).filter(|_| !new.is_empty()) {
            let taken = (before, recorded.told.name(), after);
            *self.taken.entry(taken).or_default() += 1;
        }
    }
}
