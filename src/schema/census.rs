//! Which schema versions, and which definitions of the checkout, are still alive.

use std::collections::{BTreeMap, HashMap};
use std::process::ExitCode;

use checkout::{Checkout, Definitions, Shop};
use clap::Args;
use kernel::{AggregateId, Decider};
use serde::Serialize;
use streams::{Connection, RecordedEvent, verify};

use crate::reach::{ReachArgs, bar};

/// Messages between two steps of the progress bar.
const PROGRESS_STEP: u64 = 1_000;

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
    pub open_checkouts: BTreeMap<u32, OpenCheckouts>,
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

/// Checkouts of one definition that are not closed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct OpenCheckouts {
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
    for (revision, OpenCheckouts { open, known }) in &census.open_checkouts {
        let unknown = if *known {
            ""
        } else {
            ", which this build does not know"
        };
        println!("{open} open checkouts of definition revision {revision}{unknown}");
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
    let mut open = HashMap::new();
    for context in domains::CONTEXTS {
        let ends = verify::ends(connection, context.stream).await?;
        let bar = bar(context.stream, ends.messages);
        let mut seen = 0_u64;
        let types = census.streams.entry(context.stream.to_owned()).or_default();
        verify::scan(connection, context.stream, ends.last, |message| {
            seen += 1;
            if seen.is_multiple_of(PROGRESS_STEP) {
                bar.set_position(seen);
            }
            let Ok(event) = message.event() else {
                census.unreadable += 1;
                return;
            };
            follow(&mut open, &event);
            let versions = types.entry(event.event_type).or_default();
            let counted = versions.entry(event.schema_version).or_default();
            counted.events += 1;
            counted.last = event.position.sequence;
            if counted.first == 0 {
                counted.first = counted.last;
            }
        })
        .await?;
        bar.finish_and_clear();
    }
    for definition in Shop::known() {
        let counted = census.open_checkouts.entry(definition.revision);
        counted.or_default().known = true;
    }
    for revision in open.into_values() {
        census.open_checkouts.entry(revision).or_default().open += 1;
    }
    Ok(census)
}

/// Keeps of every checkout under way which definition it follows.
fn follow(open: &mut HashMap<AggregateId, u32>, event: &RecordedEvent) {
    if event.kind.is_some() || event.context != Checkout::CONTEXT {
        return;
    }
    // What can't be read closes nothing.
    let Ok(told) = event.decode::<Checkout>() else {
        return;
    };
    if let Some(revision) = told.starts() {
        open.insert(event.aggregate_id.clone(), revision);
    } else if told.closes() {
        open.remove(&event.aggregate_id);
    }
}
