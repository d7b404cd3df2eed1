//! The sagas that are tables: what follows from a table, and what the kit finds wrong with one.

#![allow(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test: what can't be is a finding, and ends it"
)]

#[path = "world/chance.rs"]
mod chance;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};

use chance::Chance;
use checkout::picture::Transition;
use checkout::settling::Wish;
use checkout::stepwise::{
    Asks, Cause, Done, Heard, Plan, Step, StepAsk, Stepwise, StepwiseEvent, StepwiseFact, Table,
    Try, kit, pictures,
};
use checkout::{Addressed, Due, Saga, UNDO_FAILURES_MAX};
use chrono::{DateTime, TimeDelta};
use kernel::{Decider, Fact, OrderId};
use order::OrderCommand;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

/// A table that is told by its number, so that each test has its own.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Tried<const N: usize>;

fn asks<const N: usize>(_: &Tried<N>, _: Try) -> Addressed {
    Addressed::order(OrderId(Uuid::nil()), &OrderCommand::DeliverOrder {})
}

const fn plan<const N: usize>(steps: &'static [Step<Tried<N>>]) -> Plan<Tried<N>> {
    Plan {
        revision: 1,
        within: TimeDelta::hours(1),
        undone_by: &["off"],
        steps,
    }
}

macro_rules! table {
    ($number:literal: $($step:expr),* $(,)?) => {
        table!($number "checkout.tried": $($step),*);
    };
    ($number:literal $of:literal: $($step:expr),* $(,)?) => {
        impl Table for Tried<$number> {
            const TYPE: &'static str = $of;
            const ABOUT: &'static str = "Something is tried.";

            fn plans() -> &'static [Plan<Self>] {
                const STEPS: &[Step<Tried<$number>>] = &[$($step),*];
                const PLANS: &[Plan<Tried<$number>>] = &[plan(STEPS)];
                PLANS
            }

            fn begins(_: &Heard<'_>) -> Option<Self> {
                None
            }

            fn example() -> Self {
                Self
            }
        }
    };
}

const SHORT: TimeDelta = TimeDelta::minutes(5);

// All that a line may say.
table!(0:
    Step::wait("paid", "paid").within(SHORT),
    Step::ask("held", asks, "held").undo(asks, "held_no_more").within(SHORT),
    Step::tell("told", asks).undo_told(asks),
    Step::ask("kept", asks, "kept").undo(asks, "kept_no_more"),
    Step::ask("sent", asks, "sent").or_suspend().within(SHORT),
    Step::tell("closed", asks).or_suspend(),
);

// Nothing that can't be undone.
table!(1:
    Step::ask("a", asks, "a_done").undo(asks, "a_undone"),
    Step::ask("b", asks, "b_done").undo(asks, "b_undone"),
    Step::ask("c", asks, "c_done").undo(asks, "c_undone"),
);

// Nothing that can.
table!(2: Step::ask("a", asks, "a_done").or_suspend());

// It may have been done when it is late.
table!(9: Step::tell("a", asks).or_suspend().within(SHORT));

// Each has its time.
table!(10:
    Step::wait("a", "a_done").within(SHORT),
    Step::wait("b", "b_done").within(SHORT),
    Step::wait("c", "c_done").within(SHORT),
);

// Long enough for more orders than anybody waits for.
table!(11:
    Step::wait("a", "a_done"), Step::wait("b", "b_done"), Step::wait("c", "c_done"),
    Step::wait("d", "d_done"), Step::wait("e", "e_done"), Step::wait("f", "f_done"),
    Step::wait("g", "g_done"), Step::wait("h", "h_done"), Step::wait("i", "i_done"),
    Step::wait("j", "j_done"), Step::wait("k", "k_done"), Step::wait("l", "l_done"),
);

// Wrong ones.
table!(3: Step::wait("a", "told"), Step::wait("b", "told"));
table!(4: Step::wait("a", "a_done"), Step::wait("a", "b_done"));
table!(5: Step::wait("undone", "a_done"));
table!(6: Step::tell("a", asks).or_suspend(), Step::tell("b", asks));
table!(7: Step::tell("a", asks).or_suspend().undo_told(asks));
table!(8: Step::wait("a", "off"));

// Of another saga's name, or of none.
table!(12 "checkout.return": Step::wait("a", "a_done"));
table!(13 "checkout.refund": Step::wait("a", "a_done"));
table!(14 "checkout.returning": Step::wait("a", "a_done"));
table!(15 "checkout.refunding": Step::wait("a", "a_done"));
table!(16 "checkout.checkout": Step::wait("a", "a_done"));
table!(17 "checkout.": Step::wait("a", "a_done"));

#[test]
fn any_table_unwinds_to_a_clean_slate_whatever_happens_to_it() {
    kit::play::<Tried<0>>().unwrap();
    kit::play::<Tried<1>>().unwrap();
    kit::play::<Tried<2>>().unwrap();
    kit::play::<Tried<9>>().unwrap();
    kit::play::<Tried<10>>().unwrap();
    kit::play::<Tried<11>>().unwrap();
}

#[test]
fn a_table_that_can_be_misread_is_none() {
    for wrong in [
        kit::play::<Tried<3>>(),
        kit::play::<Tried<4>>(),
        kit::play::<Tried<5>>(),
        kit::play::<Tried<6>>(),
        kit::play::<Tried<7>>(),
        kit::play::<Tried<8>>(),
        kit::play::<Tried<12>>(),
        kit::play::<Tried<13>>(),
        kit::play::<Tried<14>>(),
        kit::play::<Tried<15>>(),
        kit::play::<Tried<16>>(),
        kit::play::<Tried<17>>(),
    ] {
        wrong.unwrap_err();
    }
}

/// A table of two plans, the first of which is under way.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Planned<const N: usize>;

fn asks_by_plan<const N: usize>(_: &Planned<N>, _: Try) -> Addressed {
    Addressed::order(OrderId(Uuid::nil()), &OrderCommand::DeliverOrder {})
}

/// Never the same twice.
fn wavers<const N: usize>(_: &Planned<N>, _: Try) -> Addressed {
    static ASKED: AtomicU64 = AtomicU64::new(0);
    let id = ASKED.fetch_add(1, Ordering::Relaxed);
    let order_id = OrderId(Uuid::from_u128(id.into()));
    Addressed::order(order_id, &OrderCommand::DeliverOrder {})
}

impl<const N: usize> Planned<N> {
    const FIRST: Asks<Self> = if N == 2 { wavers } else { asks_by_plan };
}

impl<const N: usize> Table for Planned<N> {
    const TYPE: &'static str = "checkout.planned";
    const ABOUT: &'static str = "Something is planned.";
    const CURRENT: u32 = if N == 0 { 1 } else { 2 };

    fn plans() -> &'static [Plan<Self>] {
        const fn plan<const N: usize>(
            revision: u32,
            steps: &'static [Step<Planned<N>>],
        ) -> Plan<Planned<N>> {
            Plan {
                revision,
                within: TimeDelta::hours(1),
                undone_by: &["off"],
                steps,
            }
        }
        const {
            &[
                plan(
                    1,
                    const { &[Step::ask("a", Self::FIRST, "a_done").undo(asks_by_plan, "a_undone")] },
                ),
                plan(
                    2,
                    const { &[Step::ask("a", asks_by_plan, "a_done").undo_told(asks_by_plan)] },
                ),
            ]
        }
    }

    fn begins(_: &Heard<'_>) -> Option<Self> {
        None
    }

    fn example() -> Self {
        Self
    }
}

#[test]
fn what_a_newer_plan_is_told_by_an_answer_an_older_one_is_told_by_its_fact() {
    let (saga, _) = after::<Planned<0>>(&["begun", "off"].map(heard));
    let at = DateTime::UNIX_EPOCH;
    let due = saga.pending(at).remove(0);
    let follows = |already| {
        let answered = Stepwise::<Planned<0>>::answered(&due, already, at);
        answered.map_or(0, |fact| saga.decide(&fact).unwrap().len())
    };
    assert_eq!(follows(false), 0, "it is asked for, and not done");
    assert_eq!(follows(true), 1, "there was nothing to undo");
}

#[test]
fn each_plan_of_a_table_is_played_through() {
    kit::play::<Planned<1>>().unwrap();
    let wrong = kit::play::<Planned<2>>().unwrap_err();
    assert!(wrong.starts_with("revision 1: a: "), "{wrong}");
}

/// A table that is wrong, or not, in what it hears.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Hearing<const N: usize>;

const RIGHT: usize = 0;
const MISSPELT: usize = 1;
const NEVER_BEGINS: usize = 2;
const DEAF_TO_ITS_BEGINNING: usize = 3;
const BEGINS_SELDOM: usize = 4;

impl<const N: usize> Table for Hearing<N> {
    const TYPE: &'static str = "checkout.hearing";
    const ABOUT: &'static str = "Something is heard.";

    fn plans() -> &'static [Plan<Self>] {
        const {
            &[Plan {
                revision: 1,
                within: TimeDelta::hours(1),
                undone_by: if N == MISSPELT {
                    &["order_cancelled"]
                } else {
                    &["order_canceled"]
                },
                steps: const {
                    &[
                        Step::wait("kept", "stock_reserved-GIFT"),
                        Step::wait("paid", "order_confirmed"),
                    ]
                },
            }]
        }
    }

    fn begins(heard: &Heard<'_>) -> Option<Self> {
        let placed = heard.name() == "order_placed";
        let wanted = N != BEGINS_SELDOM || heard.order_id() != Some(OrderId(Uuid::nil()));
        (placed && wanted && N != NEVER_BEGINS).then_some(Self)
    }

    fn fact(heard: &Heard<'_>) -> Option<String> {
        let deaf = N == DEAF_TO_ITS_BEGINNING && heard.name() == "order_placed";
        (!deaf).then(|| heard.name().to_owned())
    }

    fn example() -> Self {
        Self
    }
}

#[test]
fn a_table_that_hears_nothing_of_what_it_waits_for_is_none() {
    kit::check::<Hearing<RIGHT>>().unwrap();
    let wrong = kit::check::<Hearing<MISSPELT>>().unwrap_err();
    assert!(wrong.contains("order_cancelled"), "{wrong}");
    kit::check::<Hearing<NEVER_BEGINS>>().unwrap_err();
    let wrong = kit::check::<Hearing<DEAF_TO_ITS_BEGINNING>>().unwrap_err();
    assert!(wrong.contains("order_placed"), "{wrong}");
    // An order that it is about has to be shown.
    kit::check::<Hearing<BEGINS_SELDOM>>().unwrap_err();
    let placed = include_str!("../../order/wire/order_placed.v1.json");
    let placed: Value = serde_json::from_str(placed).unwrap();
    let placed = serde_json::json!({ "type": "order_placed", "data": placed });
    let placed = serde_json::from_value(placed).unwrap();
    let of = Heard::Order(OrderId(Uuid::from_u128(1)), &placed);
    kit::check_with::<Hearing<BEGINS_SELDOM>>(&[of]).unwrap();
}

fn heard(fact: &str) -> StepwiseFact {
    StepwiseFact::Heard {
        order_id: OrderId(Uuid::nil()),
        fact: fact.to_owned(),
        begins: (fact == "begun").then_some(Value::Null),
        at: DateTime::UNIX_EPOCH,
    }
}

fn refused(step: &str) -> StepwiseFact {
    StepwiseFact::Refused {
        ask: StepAsk {
            step: step.to_owned(),
            undo: false,
            attempt: 1,
        },
        code: "out_of_stock".to_owned(),
        message: "none left".to_owned(),
        at: DateTime::UNIX_EPOCH,
    }
}

fn after<T: Table>(facts: &[StepwiseFact]) -> (Stepwise<T>, Vec<StepwiseEvent>) {
    let (mut saga, mut all) = (Stepwise::default(), Vec::new());
    for fact in facts {
        for event in saga.decide(fact).unwrap() {
            saga.evolve(&event);
            all.push(event);
        }
    }
    (saga, all)
}

/// Its answer was lost, or comes after the time: what it asks may have been done.
#[test]
fn a_step_that_took_too_long_is_asked_again_under_the_same_id() {
    let (mut saga, _) = after::<Tried<9>>(&[heard("begun")]);
    let asked = saga.pending(DateTime::UNIX_EPOCH).remove(0);
    let (by, at) = ("operator:ada".to_owned(), DateTime::UNIX_EPOCH + SHORT);
    for event in saga.decide(&StepwiseFact::TimeCame { at }).unwrap() {
        saga.evolve(&event);
    }
    assert_eq!((saga.stage(), saga.pending(at).len()), ("suspended", 0));
    let wish = Wish::Resume;
    let mut again = saga.clone();
    let settled = StepwiseFact::Settled { wish, by, at };
    for event in again.decide(&settled).unwrap() {
        again.evolve(&event);
    }
    assert_eq!(again.pending(at).remove(0).ask_id, asked.ask_id);
    let answered = Stepwise::<Tried<9>>::answered(&asked, true, at).unwrap();
    for event in saga.decide(&answered).unwrap() {
        saga.evolve(&event);
    }
    assert_eq!(saga.stage(), "done", "its answer comes late");
}

#[test]
fn what_is_done_before_its_turn_gives_the_step_before_no_more_time() {
    let at = |minutes| DateTime::UNIX_EPOCH + TimeDelta::minutes(minutes);
    let mut told = ["begun", "c_done", "a_done"].map(heard);
    for (fact, time) in told.iter_mut().zip([at(0), at(4), at(5)]) {
        if let StepwiseFact::Heard { at, .. } = fact {
            *at = time;
        }
    }
    let (saga, _) = after::<Tried<10>>(&told[..2]);
    assert_eq!(saga.deadline(), Some(at(5)), "the first is still to come");
    let (saga, _) = after::<Tried<10>>(&told);
    assert_eq!(saga.deadline(), Some(at(10)), "the second has its own time");
}

/// Its beginning is taken in after what followed it, as after a crash.
#[test]
fn what_somebody_else_has_done_before_it_begins_is_done() {
    let (saga, _) = after::<Tried<1>>(&["a_done", "b_done", "begun"].map(heard));
    assert_eq!(saga.stage(), "c");
    let (saga, _) = after::<Tried<1>>(&["a_done", "a_undone", "begun"].map(heard));
    assert_eq!(saga.stage(), "undone", "it is lost");
}

#[test]
fn what_is_done_of_one_that_was_called_off_before_it_begins_is_undone() {
    for facts in [
        ["a_done", "off", "begun"],
        ["off", "a_done", "begun"],
        ["off", "begun", "a_done"],
    ] {
        let (saga, _) = after::<Tried<1>>(&facts.map(heard));
        let due = saga.pending(DateTime::UNIX_EPOCH);
        let asked: Vec<_> = due.iter().map(|due| due.label.to_string()).collect();
        assert_eq!(asked, ["undo-a/1"], "{facts:?}");
    }
}

#[test]
fn what_begins_it_may_do_a_step_as_well() {
    let mut begins = heard("begun");
    if let StepwiseFact::Heard { fact, .. } = &mut begins {
        "a_done".clone_into(fact);
    }
    let (saga, events) = after::<Tried<1>>(&[begins.clone(), begins]);
    assert_eq!((saga.stage(), events.len()), ("b", 2));
}

#[test]
fn one_that_begins_when_all_is_done_says_that_it_is_over() {
    let (_, events) = after::<Tried<1>>(&["a_done", "b_done", "c_done", "begun"].map(heard));
    assert!(events.last().unwrap().ends());
}

#[test]
fn the_log_says_why_what_is_undone() {
    let facts = ["begun", "a_done", "b_done"].map(heard);
    let (saga, events) = after::<Tried<1>>(&[&facts[..], &[refused("c")]].concat());
    let cause = Cause::Refused {
        step: "c".to_owned(),
        code: "out_of_stock".to_owned(),
        message: "none left".to_owned(),
    };
    let steps = ["b", "a"].map(str::to_owned).to_vec();
    let ends = false;
    assert_eq!(
        events.last(),
        Some(&StepwiseEvent::SagaUndoStarted { cause, steps, ends })
    );
    let due = saga.pending(DateTime::UNIX_EPOCH);
    let asked = due.iter().map(|due| due.label.to_string());
    assert_eq!(asked.collect::<Vec<_>>(), ["undo-b/1"]);
}

#[test]
fn a_success_that_comes_when_all_is_undone_is_undone_as_well() {
    let facts = ["begun", "off", "a_undone", "a_done", "a_done"].map(heard);
    let (saga, events) = after::<Tried<1>>(&facts);
    let late = Cause::LateSuccess {
        step: "a".to_owned(),
    };
    assert!(matches!(
        events.last(),
        Some(StepwiseEvent::SagaUndoStarted { cause, .. }) if *cause == late
    ));
    assert_eq!(events.len(), 4);
    let due = saga.pending(DateTime::UNIX_EPOCH);
    // Under another id, for the first may have found nothing to undo.
    assert_eq!(due.first().unwrap().label.to_string(), "undo-a/2");
}

#[test]
fn a_success_that_comes_after_a_person_has_undone_the_step_is_undone_as_well() {
    let (mut saga, _) = after::<Tried<1>>(&["begun", "off"].map(heard));
    let ask = |attempt| StepAsk {
        step: "a".to_owned(),
        undo: true,
        attempt,
    };
    let (code, message) = ("no".to_owned(), "no".to_owned());
    let mut facts: Vec<_> = (1..=UNDO_FAILURES_MAX + 1)
        .map(|attempt| StepwiseFact::Refused {
            ask: ask(attempt),
            code: code.clone(),
            message: message.clone(),
            at: DateTime::UNIX_EPOCH,
        })
        .collect();
    let wish = Wish::Skip {
        step: "a".to_owned(),
        reason: "by hand".parse().unwrap(),
    };
    let (by, at) = ("operator:ada".to_owned(), DateTime::UNIX_EPOCH);
    facts.extend([StepwiseFact::Settled { wish, by, at }, heard("a_done")]);
    for fact in &facts {
        for event in saga.decide(fact).unwrap() {
            saga.evolve(&event);
        }
    }
    let due = saga.pending(DateTime::UNIX_EPOCH);
    assert_eq!(due.first().unwrap().label, ask(UNDO_FAILURES_MAX + 2));
}

#[test]
fn a_saga_of_a_plan_that_this_build_does_not_know_is_left_alone() {
    let mut saga = Stepwise::<Tried<1>>::default();
    saga.evolve(&StepwiseEvent::SagaBegun {
        order_id: OrderId(Uuid::nil()),
        data: Value::Null,
        revision: 2,
        at: DateTime::UNIX_EPOCH,
        until: DateTime::UNIX_EPOCH,
        ends: false,
    });
    assert_eq!(saga.unknown_revision(), Some(2));
    saga.decide(&heard("a_done")).unwrap_err();
    assert!(saga.pending(DateTime::UNIX_EPOCH).is_empty());
    assert_eq!((saga.deadline(), saga.is_over()), (None, false));
}

/// Everything that may be told to a saga, as long as nobody does what was not asked.
fn something<T: Table>(
    saga: &Stepwise<T>,
    asked: &BTreeMap<String, Due<StepAsk>>,
    chance: &mut Chance,
    at: DateTime<chrono::Utc>,
) -> Option<StepwiseFact> {
    let steps = T::plans().first()?.steps;
    let step = steps.get(chance.below(steps.len()))?;
    let due = saga.pending(at).into_iter().next();
    let fact = |done| match done {
        Done::Fact(fact) => Some(heard(fact)),
        Done::Answer => None,
    };
    let by = "operator:ada".to_owned();
    let reason = "by hand".parse().unwrap();
    let may_be = step.asks.is_none() || asked.contains_key(step.name);
    match chance.below(14) {
        0 => Some(heard("begun")),
        1 => chance.percent(20).then(|| heard("off")),
        2..=4 => fact(step.done).filter(|_| may_be),
        // Behind its back, or after all.
        5 | 6 => {
            let often = if saga.suspended().is_some() { 100 } else { 20 };
            fact(step.undo?.1).filter(|_| may_be && chance.percent(often))
        }
        // It may be late.
        7 => {
            let due = due.as_ref().or(asked.get(step.name))?;
            Stepwise::<T>::answered(due, chance.percent(50), at)
        }
        8..=10 => {
            let ask = due?.label;
            let (code, message) = ("no".to_owned(), "no".to_owned());
            let no = ask.undo || chance.percent(6);
            no.then_some(StepwiseFact::Refused {
                ask,
                code,
                message,
                at,
            })
        }
        11 => chance.percent(20).then_some(StepwiseFact::TimeCame { at }),
        12 => {
            let wish = if chance.percent(80) {
                Wish::Resume
            } else {
                Wish::Resolve { reason }
            };
            Some(StepwiseFact::Settled { wish, by, at })
        }
        _ => {
            let step = step.name.to_owned();
            let wish = Wish::Skip { step, reason };
            Some(StepwiseFact::Settled { wish, by, at })
        }
    }
}

fn walked<T: Table>() -> BTreeSet<Transition> {
    let mut taken = BTreeSet::new();
    for seed in 0..1_500 {
        let mut chance = Chance::new(seed);
        let (mut saga, mut asked) = (Stepwise::<T>::default(), BTreeMap::new());
        // Some waits are long, so that an undo fails often enough for a person.
        let pace = [1, 60, 600][chance.below(3)];
        for step in 1..250 {
            let at = DateTime::UNIX_EPOCH + TimeDelta::seconds(step * pace);
            let due = saga.pending(at).into_iter();
            asked.extend(due.map(|due| (due.label.step.clone(), due)));
            let Some(fact) = something(&saga, &asked, &mut chance, at) else {
                continue;
            };
            for event in saga.decide(&fact).unwrap() {
                let from = saga.stage();
                saga.evolve(&event);
                let (event, to) = (event.name(), saga.stage());
                taken.insert(Transition { from, event, to });
            }
        }
    }
    taken
}

fn is_as_drawn<T: Table>() {
    let picture = pictures::<T>().pop().unwrap();
    let drawn: BTreeSet<_> = picture.transitions.iter().copied().collect();
    assert_eq!(drawn.len(), picture.transitions.len(), "drawn twice");
    let taken = walked::<T>();
    let never: Vec<_> = drawn.difference(&taken).collect();
    let undrawn: Vec<_> = taken.difference(&drawn).collect();
    assert!(never.is_empty(), "drawn and never taken: {never:#?}");
    assert!(undrawn.is_empty(), "taken and not drawn: {undrawn:#?}");
}

#[test]
fn every_transition_that_is_drawn_is_taken_and_no_other() {
    is_as_drawn::<Tried<0>>();
    is_as_drawn::<Tried<1>>();
    is_as_drawn::<Tried<2>>();
    is_as_drawn::<Tried<9>>();
    is_as_drawn::<Tried<10>>();
}
