//! Which schema versions, and which definitions of the sagas, are still alive.

use std::collections::{BTreeMap, HashMap};
use std::process::ExitCode;

use checkout::{Checkout, Definitions, RefundRow, Refunding, ReturnRow, Returning, Row, Shop};
use clap::Args;
use kernel::{AggregateId, Decider};
use serde::Serialize;
use streams::{Connection, RecordedEvent, verify};

use crate::reach::{ReachArgs, read_through};

/// Settings of `millrace schema census`.
#[derive(Debug, Args)]
pub struct CensusArgs {
    /// Which log.
    #[command(flatten)]
    pub reach: ReachArgs,
    /// Print the counts as JSON.
    #[arg(long)]
    pub json: bool,
}

/// What is in each stream.
#[derive(Debug, Default, Serialize)]
pub struct Census {
    /// By stream, then by event type.
    pub streams: BTreeMap<String, BTreeMap<String, BTreeMap<u32, Versions>>>,
    /// Checkouts under way, by the revision of the definition that they follow to their end: every
    /// one that this build knows, and those that are in the log besides.
    pub open_checkouts: BTreeMap<u32, OpenSagas>,
    /// Returns likewise.
    pub open_returns: BTreeMap<u32, OpenSagas>,
    /// Refunds likewise.
    pub open_refunds: BTreeMap<u32, OpenSagas>,
    /// Messages whose type can't be read.
    pub unreadable: u64,
}

/// Events of one type and schema version.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Versions {
    /// How many.
    pub events: u64,
    /// Sequence of the first.
    pub first: u64,
    /// Sequence of the last.
    pub last: u64,
}

/// Sagas of one kind and definition that are not closed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct OpenSagas {
    /// How many.
    pub open: u64,
    /// Does this build know the definition?
    pub known: bool,
}

/// Counts and prints.
///
/// # Errors
/// The log can't be read.
pub(super) async fn run(args: CensusArgs) -> anyhow::Result<ExitCode> {
    let connection = args.reach.log().await?;
    let census = count(&connection).await?;
    if args.json {
        println!("{}", serde_json::to_string_pretty(&census)?);
        return Ok(ExitCode::SUCCESS);
    }
    for (stream, types) in &census.streams {
        println!("{stream}");
        for (event, versions) in types {
            for (
                version,
                Versions {
                    events,
                    first,
                    last,
                },
            ) in versions
            {
                println!("  {event:28} v{version:<3} {events:>10} events, {first} to {last}");
            }
        }
    }
    for (sagas, counted) in [
        ("checkouts", &census.open_checkouts),
        ("returns", &census.open_returns),
        ("refunds", &census.open_refunds),
    ] {
        for (revision, OpenSagas { open, known }) in counted {
            let unknown = if *known {
                ""
            } else {
                ", which this build does not know"
            };
            println!("{open} open {sagas} of definition revision {revision}{unknown}");
        }
    }
    if census.unreadable > 0 {
        println!(
            "{} can't be read; `millrace verify` says why",
            census.unreadable
        );
    }
    Ok(ExitCode::SUCCESS)
}

/// Reads all streams to the end that they have now.
///
/// # Errors
/// A stream can't be read.
pub async fn count(connection: &Connection) -> anyhow::Result<Census> {
    let mut census = Census::default();
    let mut open = Open::default();
    for context in domains::CONTEXTS {
        let ends = verify::ends(connection, context.stream).await?;
        let types = census.streams.entry(context.stream.to_owned()).or_default();
        read_through(connection, context.stream, ends, |message| {
            let Ok(event) = message.event() else {
                census.unreadable += 1;
                return;
            };
            open.follow(&event);
            let versions = types.entry(event.event_type).or_default();
            let counted = versions.entry(event.schema_version).or_default();
            counted.events += 1;
            counted.last = event.position.sequence;
            if counted.first == 0 {
                counted.first = counted.last;
            }
        })
        .await?;
    }
    census.open_checkouts = counted::<Row>(open.checkouts.into_values());
    let returns = open.returns.into_values();
    let returns = returns.filter(|saga| !is_over(saga.stage()));
    census.open_returns = counted::<ReturnRow>(returns.filter_map(|saga| saga.revision()));
    let refunds = open.refunds.into_values();
    let refunds = refunds.filter(|saga| !is_over(saga.stage()));
    census.open_refunds = counted::<RefundRow>(refunds.filter_map(|saga| saga.revision()));
    Ok(census)
}

/// Until more is read: the revisions of the checkouts that are not closed, and all of the others, for
/// what is over may go on once the bank sends money back.
#[derive(Default)]
struct Open {
    checkouts: HashMap<AggregateId, u32>,
    returns: HashMap<AggregateId, Returning>,
    refunds: HashMap<AggregateId, Refunding>,
}

impl Open {
    /// What can't be read opens and closes nothing.
    fn follow(&mut self, event: &RecordedEvent) {
        if event.context != Checkout::CONTEXT {
            return;
        }
        match event.kind.as_deref() {
            None => self.follow_checkout(event),
            kind if kind == Returning::KIND => take_in(&mut self.returns, event),
            kind if kind == Refunding::KIND => take_in(&mut self.refunds, event),
            Some(_) => {}
        }
    }

    fn follow_checkout(&mut self, event: &RecordedEvent) {
        let Ok(told) = event.decode::<Checkout>() else {
            return;
        };
        if let Some(revision) = told.starts() {
            self.checkouts.insert(event.aggregate_id.clone(), revision);
        } else if told.closes() {
            self.checkouts.remove(&event.aggregate_id);
        }
    }
}

fn take_in<S: Decider>(sagas: &mut HashMap<AggregateId, S>, event: &RecordedEvent) {
    if let Ok(told) = event.decode::<S>() {
        let saga = sagas.entry(event.aggregate_id.clone()).or_default();
        saga.evolve(&told);
    }
}

/// By the word of its picture. Of a definition that this build does not know none is.
fn is_over(stage: &str) -> bool {
    matches!(stage, "ended" | "resolved")
}

/// By revision: what is open, and what this build knows besides.
fn counted<R: 'static>(open: impl Iterator<Item = u32>) -> BTreeMap<u32, OpenSagas>
where
    Shop: Definitions<R>,
{
    let mut counted: BTreeMap<u32, OpenSagas> = BTreeMap::new();
    for definition in <Shop as Definitions<R>>::known() {
        counted.entry(definition.revision).or_default().known = true;
    }
    for revision in open {
        counted.entry(revision).or_default().open += 1;
    }
    counted
}
