//! Thousands of runs, and that they can be trusted.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test: what can't be is a finding, and ends it"
)]

use simulator::{Bug, Options, Report, simulate, story};
use strum::IntoEnumIterator;

/// Runs in one test: all of them in a release build, in which the README has the tests run. For a
/// night, `MILLRACE_SIMULATE_RUNS` says how many.
fn runs() -> u64 {
    let usual = if cfg!(debug_assertions) {
        1_000
    } else {
        10_000
    };
    let wanted = std::env::var("MILLRACE_SIMULATE_RUNS").ok();
    wanted.map_or(usual, |runs| runs.parse().unwrap())
}

/// Most transitions that these runs may miss: those that a person's mistakes, or a context that
/// breaks its word, lead to (an order that can't be rejected, goods that can't be counted, and what
/// a person then does by hand), and in few runs the rare ones. `domains/checkout/tests/walks.rs` takes
/// every one of every saga, and fails when it doesn't.
const MISSED_MAX: usize = if cfg!(debug_assertions) { 36 } else { 30 };

/// Runs within which each bug on purpose must show.
const BUG_RUNS: u64 = 3_000;

/// Most faults that a run needs to show a bug, once it is made small.
const BUG_FAULTS_MAX: usize = 12;

fn options(runs: u64) -> Options {
    Options {
        seed: 0,
        runs,
        threads: 2,
        bug: None,
    }
}

fn told(report: &Report) -> String {
    let Some(failure) = &report.failure else {
        return format!("{} runs", report.runs);
    };
    let (seed, rule, what) = (failure.seed, failure.rule, &failure.what);
    let (faults, story) = (&failure.faults, failure.story.join("\n"));
    format!("seed {seed}: {rule}: {what}\n{faults:?}\n{story}")
}

#[test]
fn every_run_adds_up_and_every_fault_strikes() {
    let report = simulate(&options(runs()));
    assert!(report.ok, "{}", told(&report));
    let missed: Vec<_> = report.faults_missed().collect();
    assert!(missed.is_empty(), "{missed:?}");
    for (saga, revision, transition) in report.transitions_missed() {
        println!("never taken: {saga} {revision} {transition:?}");
    }
    let missed = report.transitions_missed().count();
    assert!(
        missed <= MISSED_MAX,
        "{missed} transitions were never taken"
    );
    for status in ["confirmed", "delivered", "rejected", "canceled"] {
        let times = report.orders.get(status).copied().unwrap_or_default();
        assert!(
            times > report.runs / 10,
            "{status} came out {times} times only"
        );
    }
    let waiting = report
        .orders
        .keys()
        .filter(|how| how.ends_with("waits for a person"));
    assert!(waiting.count() > 0, "nobody was ever waited for");
}

#[test]
fn every_bug_on_purpose_is_found_and_its_story_is_small() {
    for bug in Bug::iter() {
        let name: &str = bug.into();
        let report = simulate(&Options {
            bug: Some(bug),
            ..options(BUG_RUNS)
        });
        let Some(failure) = &report.failure else {
            panic!("{name} was not found");
        };
        let (seed, rule, faults) = (failure.seed, failure.rule, &failure.faults);
        let (lines, runs) = (failure.story.len(), failure.shrunk_in);
        println!("{name}: seed {seed}, {rule}, {faults:?}, {lines} lines, shrunk in {runs} runs");
        assert!(faults.len() <= BUG_FAULTS_MAX, "{name}: {}", told(&report));
        let whole = story(seed, Some(bug)).len();
        assert!(lines <= whole, "{name}: {lines} lines of {whole}");
    }
}

/// A run that is made small has left in it only what its failure needs.
#[test]
fn a_clock_that_is_trusted_is_found_only_where_clocks_go_wrong() {
    let report = simulate(&Options {
        bug: Some(Bug::TrustOwnClock),
        ..options(BUG_RUNS)
    });
    let failure = report.failure.unwrap();
    let clock = |fault: &&str| fault.starts_with("clock_");
    assert!(failure.faults.iter().any(clock), "{:?}", failure.faults);
}

#[test]
fn the_same_seed_is_the_same_run_on_any_number_of_threads() {
    let json = |threads, bug| {
        let options = Options {
            threads,
            bug,
            ..options(150)
        };
        serde_json::to_string(&simulate(&options)).unwrap()
    };
    assert_eq!(json(1, None), json(3, None));
    let bug = Some(Bug::AcknowledgeFirst);
    assert_eq!(json(1, bug), json(3, bug));
    assert_eq!(story(7, None), story(7, None));
    assert_ne!(story(7, None), story(8, None));
}
