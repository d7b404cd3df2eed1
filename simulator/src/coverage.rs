//! Which of the sagas' transitions are taken, and whether all that are taken are drawn.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::LazyLock;

use checkout::picture::{NOT_STARTED, Transition, pictures};
use checkout::{Definitions, RefundRow, Shop};

use crate::audit::Finding;
use crate::saga::SagaId;
use crate::world::World;

/// A saga's name, the revision of its definition, and one of its transitions.
pub type Taken = (&'static str, u32, Transition);

/// How often each was taken.
pub type Transitions = BTreeMap<Taken, u64>;

/// Every transition that is drawn.
pub(crate) static DRAWN: LazyLock<BTreeSet<Taken>> = LazyLock::new(|| {
    let all = pictures().into_iter().flat_map(|picture| {
        let transitions = picture.transitions.into_iter();
        transitions.map(move |transition| (picture.saga, picture.revision, transition))
    });
    all.collect()
});

impl World {
    /// Where a saga is, in the word of its picture.
    pub(crate) fn stage(&self, saga: SagaId) -> &'static str {
        let stage = match saga {
            SagaId::Checkout(order) => self
                .shop
                .file(order)
                .and_then(|file| file.checkout.state.stage())
                .map(Into::into),
            SagaId::Returning(id) => self.shop.returning.get(&id).map(|kept| kept.state.stage()),
            SagaId::Refunding(id) => self.shop.refunding.get(&id).map(|kept| kept.state.stage()),
        };
        stage.unwrap_or(NOT_STARTED)
    }

    /// The definition that a saga follows; `None` = it has not started.
    fn revision(&self, saga: SagaId) -> Option<u32> {
        let shop = &self.shop;
        match saga {
            SagaId::Checkout(order) => shop.file(order)?.checkout.state.revision(),
            SagaId::Returning(id) => shop.returning.get(&id)?.state.revision(),
            SagaId::Refunding(id) => shop.refunding.get(&id)?.state.revision(),
        }
    }

    /// Notes what a fact has led to.
    pub(crate) fn note_transition(&mut self, from: &'static str, saga: SagaId, new: &Range<usize>) {
        let Some(recorded) = self.shop.log.get(new.start).filter(|_| !new.is_empty()) else {
            return;
        };
        // What is over before it began follows none: it is drawn for each.
        let newest = <Shop as Definitions<RefundRow>>::CURRENT;
        let revision = self.revision(saga).unwrap_or(newest);
        let transition = Transition {
            from,
            event: recorded.told.name(),
            to: self.stage(saga),
        };
        let taken = (saga.name(), revision, transition);
        let times = self.taken.entry(taken).or_default();
        *times += 1;
        if *times == 1 && !DRAWN.contains(&taken) {
            let finding = Finding::new("every transition is drawn", format!("{taken:?}"));
            self.finding.get_or_insert(finding);
        }
    }
}
