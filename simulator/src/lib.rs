//! Plays the shop under a seeded scheduler with virtual time, and checks the business equations
//! after every step.
//!
//! ```text
//!   seed ─► plan: orders, cards, clicks, outages        faults, by the place where they strike
//!                 │                                            │
//!                 ▼                                            ▼
//!   agenda ─► customers, operators ─► aggregates ─► log ─► lanes ─► sagas ─► bus ─► aggregates
//!     ▲                                              │        └──► reactor ─► provider, mail server
//!     └── whatever follows, later                    └─► audit: does everything add up?
//! ```
//!
//! The sagas and the aggregates are the real ones. The log, the bus, the runner, the reactors, the
//! provider and the mail server are models: small state machines that keep the contracts which the
//! real ones are tested for, so that a run takes a fraction of a millisecond and can die between any
//! two steps. The crate knows no NATS, no clock and no threads' scheduling: the same seed is the same
//! run, byte for byte.
//!
//! A failing run is made small (`shrink`) and told as a story with the command that repeats it.
//!
//! ```text
//!   plan, drawing   what a run is made of, drawn from its seed
//!   fault, chance   what goes wrong, where: by place, so that leaving one out leaves the others
//!   world, agenda   one run: what happens next
//!   clocks          what time it is, and for whom
//!   shop, told      aggregates and log
//!   acts            customers and operators
//!   lanes, task     deliveries, redelivery, crashes
//!   bus             asks and answers
//!   saga, intake,   the runner, its facts and timers, what it asks
//!   wanted
//!   reactor,        the payment reactor, webhooks
//!   letters
//!   mailer          mailer and mail server
//!   provider        the payment provider
//!   audit, rest     the equations: always, and at rest
//!   shrink, story   a failing run, small and readable
//!   bug             models that are wrong on purpose: proof that the equations find something
//!   coverage        the saga's transitions that were taken
//! ```

mod acts;
mod agenda;
mod audit;
mod bug;
mod bus;
mod chance;
mod clocks;
mod coverage;
mod drawing;
mod fault;
mod intake;
mod lanes;
mod letters;
mod mailer;
mod plan;
mod provider;
mod reactor;
mod rest;
mod saga;
mod shop;
mod shrink;
mod story;
mod task;
mod told;
mod wanted;
mod world;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use serde::Serialize;
use strum::IntoEnumIterator;

use plan::Plan;
use story::Story;
use world::{Played, World};

pub use bug::Bug;
pub use checkout::picture::Transition;
pub use coverage::{Taken, Transitions};
pub use fault::Fault;

/// Most lines of a failing run's story.
const STORY_LINES_MAX: usize = 300;

/// Which runs.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// The first seed.
    pub seed: u64,
    /// How many seeds from there on.
    pub runs: u64,
    /// How many threads play them; the report is the same for any number.
    pub threads: usize,
    /// A model that is wrong on purpose.
    pub bug: Option<Bug>,
}

/// What came of them.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    /// Nothing failed.
    pub ok: bool,
    /// The first seed.
    pub seed: u64,
    /// How many runs were played to their end; the rest after a failing one is not.
    pub runs: u64,
    /// Steps of all runs.
    pub steps: u64,
    /// Events of all runs.
    pub events: u64,
    /// How the orders ended.
    pub orders: BTreeMap<String, u64>,
    /// How often each fault struck.
    pub faults: BTreeMap<&'static str, u64>,
    /// The first run that failed.
    pub failure: Option<Failure>,
    /// Transitions of the sagas that were taken, and how often.
    #[serde(skip)]
    pub taken: Transitions,
}

/// A run in which an equation does not hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Failure {
    /// Its seed.
    pub seed: u64,
    /// Which equation.
    pub rule: &'static str,
    /// What is wrong.
    pub what: String,
    /// The faults without which it would not fail, by name.
    pub faults: Vec<&'static str>,
    /// How many runs it took to make it small.
    pub shrunk_in: usize,
    /// What happens in the smallest run that was found, line by line; of a very long one, how it
    /// begins and ends.
    pub story: Vec<String>,
}

/// Plays the runs, and tells of the first that fails.
pub fn simulate(options: &Options) -> Report {
    let failed = AtomicU64::new(u64::MAX);
    let threads = options
        .threads
        .clamp(1, usize::try_from(options.runs).unwrap_or(1).max(1));
    let parts: Vec<Part> = thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|worker| {
                scope.spawn({
                    let failed = &failed;
                    move || play_some(options, (worker, threads), failed)
                })
            })
            .collect();
        workers
            .into_iter()
            .filter_map(|worker| worker.join().ok())
            .flatten()
            .collect()
    });
    let end = failed.load(Ordering::Relaxed);
    let mut report = Report {
        seed: options.seed,
        ..Report::default()
    };
    for part in parts {
        if part.seed <= end {
            report.add(part);
        }
    }
    report.failure = (end != u64::MAX)
        .then(|| explain(end, options.bug))
        .flatten();
    report.ok = report.failure.is_none() && report.runs == options.runs;
    report
}

/// The whole story of one run, as it is.
pub fn story(seed: u64, bug: Option<Bug>) -> Vec<String> {
    let played = World::new(Plan::draw(seed), bug, Story::wanted()).play();
    played.world.story.lines()
}

/// What one run adds to the report.
struct Part {
    seed: u64,
    steps: u64,
    events: u64,
    orders: Vec<String>,
    faults: BTreeMap<&'static str, u64>,
    taken: Transitions,
}

fn play_some(
    options: &Options,
    (worker, threads): (usize, usize),
    failed: &AtomicU64,
) -> Vec<Part> {
    let mut parts = Vec::new();
    let seeds = options.seed..options.seed.saturating_add(options.runs);
    for seed in seeds.skip(worker).step_by(threads) {
        if seed > failed.load(Ordering::Relaxed) {
            break;
        }
        let played = play(Plan::draw(seed), options.bug);
        if !matches!(&played, Ok(played) if played.finding.is_none()) {
            failed.fetch_min(seed, Ordering::Relaxed);
        }
        parts.extend(played.map(|played| Part::of(seed, played)));
    }
    parts
}

impl Part {
    fn of(seed: u64, played: Played) -> Self {
        let world = played.world;
        let mut faults = BTreeMap::new();
        for (fault, _) in &world.plan.faults.struck {
            *faults.entry((*fault).into()).or_insert(0) += 1;
        }
        let orders = world.audit.slips.values().map(|slip| world.outcome(slip));
        Self {
            seed,
            steps: played.steps,
            events: u64::try_from(world.shop.log.len()).unwrap_or_default(),
            orders: orders.collect(),
            faults,
            taken: world.taken,
        }
    }
}

impl Report {
    fn add(&mut self, part: Part) {
        self.runs += 1;
        self.steps += part.steps;
        self.events += part.events;
        for order in part.orders {
            *self.orders.entry(order).or_default() += 1;
        }
        for (fault, times) in part.faults {
            *self.faults.entry(fault).or_default() += times;
        }
        for (transition, times) in part.taken {
            *self.taken.entry(transition).or_default() += times;
        }
    }

    /// Transitions that are drawn and were not taken.
    pub fn transitions_missed(&self) -> impl Iterator<Item = Taken> {
        let drawn = coverage::DRAWN.iter().copied();
        drawn.filter(|taken| !self.taken.contains_key(taken))
    }

    /// Faults that never struck.
    pub fn faults_missed(&self) -> impl Iterator<Item = Fault> {
        Fault::iter().filter(|fault| !self.faults.contains_key(<&str>::from(fault)))
    }
}

/// Plays `plan`; an error is what it panicked with.
fn play(plan: Plan, bug: Option<Bug>) -> Result<Played, String> {
    unpanicked(|| World::new(plan, bug, Story::default()).play())
}

fn unpanicked<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        text.unwrap_or_else(|| "something that is no text".to_owned())
    })
}

/// Plays a failing run again, makes it small, and tells it.
fn explain(seed: u64, bug: Option<Bug>) -> Option<Failure> {
    let plan = Plan::draw(seed);
    let played = match play(plan.clone(), bug) {
        Ok(played) => played,
        Err(what) => {
            return Some(Failure {
                seed,
                rule: "nothing panics",
                what,
                faults: Vec::new(),
                shrunk_in: 0,
                story: Vec::new(),
            });
        }
    };
    let rule = played.finding?.rule;
    let struck = played.world.plan.faults.struck;
    let shrunk = shrink::shrink(&plan, bug, (rule, &struck));
    let played = World::new(shrunk.plan, bug, Story::wanted()).play();
    let finding = played.finding?;
    Some(Failure {
        seed,
        rule: finding.rule,
        what: finding.what,
        faults: shrunk
            .faults
            .iter()
            .map(|(fault, _)| (*fault).into())
            .collect(),
        shrunk_in: shrunk.runs,
        story: cut(played.world.story.lines()),
    })
}

/// The beginning and the end of what is too long to be read.
fn cut(mut story: Vec<String>) -> Vec<String> {
    let Some(over @ 1..) = story.len().checked_sub(STORY_LINES_MAX) else {
        return story;
    };
    let middle = STORY_LINES_MAX / 2;
    story.splice(
        middle..middle + over,
        [format!("    … {over} lines more …")],
    );
    story
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_panics_tells_with_what() {
        assert_eq!(unpanicked(|| 1), Ok(1));
        let said = unpanicked(|| -> u8 { panic!("seed {}", 7) });
        assert_eq!(said, Err("seed 7".to_owned()));
    }
}
