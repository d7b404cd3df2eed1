//! `millrace simulate`: plays the shop by the thousand, with everything going wrong, and tells of
//! the first run in which something does not add up.

use std::process::ExitCode;
use std::thread;
use std::time::Instant;

use anyhow::bail;
use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use simulator::{Bug, Failure, Options, Report, Transition};
use strum::VariantNames;

/// Settings of `millrace simulate`.
#[derive(Debug, Args)]
pub struct SimulateArgs {
    /// The first seed; the same seed is the same run, always.
    #[arg(long, env = "MILLRACE_SIMULATE_SEED", default_value_t = 0)]
    pub seed: u64,
    /// How many seeds from there on.
    #[arg(long, env = "MILLRACE_SIMULATE_RUNS", default_value_t = 10_000)]
    pub runs: u64,
    /// Tell the whole story of the first seed, as it is, instead.
    #[arg(long)]
    pub story: bool,
    /// Break a rule of the design in the simulator's models, to see it found.
    #[arg(long, value_parser = a_bug())]
    pub bug: Option<Bug>,
    /// List every transition of the sagas, and how often it was taken: those that never were first.
    #[arg(long)]
    pub coverage: bool,
    /// Print the report as JSON: the same for the same seeds, byte for byte.
    #[arg(long)]
    pub json: bool,
}

/// One of those that there are, so that `--help` lists them.
fn a_bug() -> impl TypedValueParser<Value = Bug> {
    PossibleValuesParser::new(Bug::VARIANTS).try_map(|name| name.parse::<Bug>())
}

/// Plays, and tells what was found. It exits with 0 only when everything adds up.
///
/// # Errors
/// There is nothing to play.
pub fn run(args: &SimulateArgs) -> anyhow::Result<ExitCode> {
    if args.story {
        for line in simulator::story(args.seed, args.bug) {
            println!("{line}");
        }
        return Ok(ExitCode::SUCCESS);
    }
    if args.runs == 0 {
        bail!("--runs 0 plays nothing");
    }
    let begun = Instant::now();
    let report = simulator::simulate(&Options {
        seed: args.seed,
        runs: args.runs,
        threads: thread::available_parallelism().map_or(1, usize::from),
        bug: args.bug,
    });
    if args.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        tell(&report, begun);
        if args.coverage {
            tell_coverage(&report);
        }
        if let Some(failure) = &report.failure {
            tell_failure(failure, args.bug);
        }
    }
    Ok(if report.ok {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn tell(report: &Report, begun: Instant) {
    let (runs, seed, took) = (report.runs, report.seed, begun.elapsed());
    let a_second = u128::from(runs) * 1_000 / took.as_millis().max(1);
    println!(
        "{runs} runs from seed {seed}: {} steps, {} events, in {:.1} s ({a_second} runs a second).",
        report.steps,
        report.events,
        took.as_secs_f32()
    );
    let list = |counts: Vec<String>| counts.join(", ");
    let orders = report
        .orders
        .iter()
        .map(|(how, times)| format!("{times} {how}"));
    println!("Orders: {}.", list(orders.collect()));
    let faults = report
        .faults
        .iter()
        .map(|(fault, times)| format!("{times} {fault}"));
    println!("Faults: {}.", list(faults.collect()));
    if report.ok {
        println!("Everything adds up.");
    }
}

fn tell_coverage(report: &Report) {
    let missed = report.transitions_missed().map(|taken| (taken, 0));
    let taken = report.taken.iter().map(|(taken, times)| (*taken, *times));
    let mut all: Vec<_> = missed.chain(taken).collect();
    all.sort_by_key(|(taken, times)| (*times, *taken));
    println!("\nTransitions, and how often they were taken:");
    for ((saga, revision, Transition { from, event, to }), times) in all {
        println!("{times:>9}  {saga:<9}  {revision}  {from} ── {event} ─► {to}");
    }
}

fn tell_failure(failure: &Failure, bug: Option<Bug>) {
    let Failure {
        seed, rule, what, ..
    } = failure;
    println!("\nSeed {seed} fails: {rule}.\n  {what}\n");
    let faults = match failure.faults.as_slice() {
        [] => "without any fault".to_owned(),
        faults => format!("with only {}", faults.join(", ")),
    };
    println!(
        "It still fails {faults} ({} runs to find that out):\n",
        failure.shrunk_in
    );
    for line in &failure.story {
        println!("{line}");
    }
    let bug = bug.map_or_else(String::new, |bug| format!(" --bug {}", <&str>::from(bug)));
    println!("\nRepeat it: millrace simulate --seed {seed} --runs 1{bug}");
}

/// Settings of `millrace sagas`.
#[derive(Debug, Args)]
pub struct SagasArgs {
    /// Only the diagram of this one (checkout, returning, refunding), for Mermaid.
    pub saga: Option<String>,
}

/// Prints `docs/sagas.md`, or one diagram of it.
///
/// # Errors
/// There is no such saga.
pub fn draw(args: &SagasArgs) -> anyhow::Result<()> {
    let Some(name) = &args.saga else {
        print!("{}", sagas::page());
        return Ok(());
    };
    let mut all = sagas::pictures().into_iter();
    match all.find(|picture| picture.saga == name) {
        Some(picture) => print!("{}", picture.mermaid()),
        None => bail!("there is no saga {name}"),
    }
    Ok(())
}
