//! Every transition that is drawn is one that some sequence of facts takes: long random walks over
//! everything that may be told to a saga, under each of its definitions.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test: what can't be ends it"
)]

#[path = "world/chance.rs"]
mod chance;
mod definitions;
mod kit;
mod walk;

use std::collections::BTreeSet;

use chance::Chance;
use checkout::picture::{NOT_STARTED, Picture, Transition, pictures_of};
use checkout::{
    Checkout, CheckoutBy, CheckoutEvent, Definitions, RefundRow, Refunding, RefundingBy,
    RefundingEvent, ReturnRow, Returning, ReturningBy, ReturningEvent, Saga, Shop,
};
use definitions::Today;
use kernel::{Decider, Fact};
use kit::{item, placed};
use walk::{FACTS, PACE_SECONDS, SKUS, of_a_refund, of_a_return, something};

/// Walks under each definition.
const WALKS: u64 = 9_000;

/// Where it is, in the word of its picture.
fn stage<D: Definitions>(state: &CheckoutBy<D>) -> &'static str {
    state.stage().map_or(NOT_STARTED, Into::into)
}

fn walked<D: Definitions>(picture: &Picture) -> BTreeSet<Transition> {
    let mut taken = BTreeSet::new();
    for seed in 0..WALKS {
        let mut chance = Chance::new(seed);
        let mut state = CheckoutBy::<D>::NotStarted;
        let ways = ([10, 50, 80][chance.below(3)], [5, 40, 95][chance.below(3)]);
        let lines = 1 + chance.below(SKUS.len());
        let items = SKUS[..lines].iter().map(|sku| item(sku, 1)).collect();
        let mut fact = placed(items);
        for moves in 1..=FACTS {
            let events = state.decide(&fact).unwrap();
            assert!(events.len() <= 1, "{events:?}");
            for mut event in events {
                if let CheckoutEvent::CheckoutStarted { revision, .. } = &mut event {
                    *revision = picture.revision;
                }
                let from = stage(&state);
                state.evolve(&event);
                let to = stage(&state);
                let event = event.name();
                taken.insert(Transition { from, event, to });
            }
            let seconds = PACE_SECONDS * i64::try_from(moves).unwrap();
            fact = something(&state, &mut chance, ways, seconds);
        }
    }
    taken
}

/// A return or a refund: what may be told it does not depend on where it is. Not everything is told in
/// every walk, so that some go far without an end.
fn wandered<S: Decider>(
    facts: &[S::Command],
    place: fn(&S) -> &'static str,
    under: impl Fn(&mut S::Event),
) -> BTreeSet<Transition> {
    let mut taken = BTreeSet::new();
    for seed in 0..WALKS {
        let mut chance = Chance::new(seed);
        let mut state = S::default();
        let some = facts.iter().filter(|_| chance.percent(60));
        let some: Vec<_> = some.chain(&facts[..1]).collect();
        let mut fact = some[chance.below(some.len())];
        for _ in 0..FACTS {
            for mut event in state.decide(fact).unwrap() {
                under(&mut event);
                let from = place(&state);
                state.evolve(&event);
                let (event, to) = (event.name(), place(&state));
                taken.insert(Transition { from, event, to });
            }
            fact = some[chance.below(some.len())];
        }
    }
    taken
}

fn every_transition_is_taken<D>(of: fn(&Picture) -> bool)
where
    D: Definitions + Definitions<ReturnRow> + Definitions<RefundRow>,
{
    for picture in pictures_of::<D>().into_iter().filter(of) {
        let taken = match picture.saga {
            Checkout::NAME => walked::<D>(&picture),
            Returning::NAME => wandered(&of_a_return(), ReturningBy::<D>::stage, |event| {
                if let ReturningEvent::ReturningStarted { revision, .. } = event {
                    *revision = picture.revision;
                }
            }),
            Refunding::NAME => wandered(&of_a_refund(), RefundingBy::<D>::stage, |event| {
                if let RefundingEvent::RefundingStarted { revision, .. } = event {
                    *revision = picture.revision;
                }
            }),
            other => panic!("no walk through {other}"),
        };
        let drawn: BTreeSet<_> = picture.transitions.iter().copied().collect();
        let (saga, revision) = (picture.saga, picture.revision);
        let missed: Vec<_> = drawn.difference(&taken).collect();
        assert!(missed.is_empty(), "{saga} {revision} never: {missed:#?}");
        let more: Vec<_> = taken.difference(&drawn).collect();
        assert!(more.is_empty(), "{saga} {revision} undrawn: {more:#?}");
    }
}

#[test]
fn every_transition_of_the_shops_sagas_is_taken() {
    every_transition_is_taken::<Shop>(|_| true);
}

#[test]
fn every_transition_of_another_definition_is_taken() {
    every_transition_is_taken::<Today>(|picture| picture.revision == 2);
}
