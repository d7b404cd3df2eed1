//! Today's events beside every version that was ever written.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use checkout::Checkout;
use checkout::stepwise::StepwiseEvent;
use clap::Args;
use domains::Aggregate;
use kernel::Decider;
use serde::Serialize;
use serde_json::Value;
use strum::VariantNames;

use super::{check_api, check_graph, rows, states};

/// Settings of `millrace schema check`.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// Folder of the domains: `<context>/wire/<event>.v<version>.json` holds one event of every
    /// version ever written, `states.json` what their states come to, `rows.json` what rows of read
    /// models do.
    #[arg(long, default_value = "domains")]
    pub domains: PathBuf,
    /// The committed copy of the API's document.
    #[arg(long, default_value = "openapi.json")]
    pub openapi: PathBuf,
    /// The committed copy of the graph, in GraphQL's schema language.
    #[arg(long, default_value = "schema.graphql")]
    pub graphql: PathBuf,
    /// Record the API and the graph of today in their copies, and the states and rows of today where a
    /// revision was raised, or an aggregate, an event or a read model is new.
    #[arg(long)]
    pub accept: bool,
    /// Print the problems as JSON.
    #[arg(long)]
    pub json: bool,
}

/// One thing that would hurt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// The file that it is about; an event's, below the folder of the domains.
    pub file: String,
    /// What is wrong, and what to do.
    pub detail: String,
}

/// Compares and prints.
///
/// # Errors
/// The folder can't be read.
pub(super) fn run(args: &CheckArgs) -> anyhow::Result<ExitCode> {
    let mut problems = check(&args.domains, args.accept)?;
    problems.extend(check_api(&args.openapi, args.accept)?);
    problems.extend(check_graph(&args.graphql, args.accept)?);
    if args.json {
        println!("{}", serde_json::to_string_pretty(&problems)?);
    } else {
        for Problem { file, detail } in &problems {
            println!("{file}: {detail}");
        }
        if problems.is_empty() {
            println!(
                "every event version ever written can be read; the API and the graph are the \
                 committed ones"
            );
        }
    }
    Ok(if problems.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// What is wrong with the events, states and rows of today, beside the files in `domains`.
///
/// # Errors
/// The folder can't be read.
pub fn check(domains: &Path, accept: bool) -> anyhow::Result<Vec<Problem>> {
    let mut problems = Vec::new();
    let (mut goldens, mut steps) = (Vec::new(), Vec::new());
    for context in domains::CONTEXTS {
        let folder = domains.join(context.name).join("wire");
        let files = files(&folder)?;
        let mut expected = BTreeSet::new();
        for aggregate in context.aggregates {
            let mut of_aggregate = Vec::new();
            for event in aggregate.events {
                let found = versions(&folder, &files, event)?;
                expected.extend(found.iter().map(|golden| golden.file.clone()));
                problems.extend(compare(aggregate, event, &found));
                of_aggregate.extend(found);
            }
            goldens.push((aggregate, of_aggregate));
        }
        if context.name == Checkout::CONTEXT {
            // What a table of steps writes has its files whether or not the shop has such a saga.
            for event in StepwiseEvent::VARIANTS {
                let found = versions(&folder, &files, event)?;
                expected.extend(found.iter().map(|golden| golden.file.clone()));
                steps.extend(found);
            }
        }
        for file in files.difference(&expected) {
            problems.push(Problem {
                file: format!("{}/wire/{file}", context.name),
                detail: "no event of this code: what was written must stay readable".to_owned(),
            });
        }
    }
    problems.extend(states::check(domains, &goldens, accept)?);
    problems.extend(rows::check(domains, (&goldens, &steps), accept)?);
    Ok(problems)
}

/// An event as it was written once.
pub(super) struct Golden {
    pub(super) event: &'static str,
    pub(super) version: u32,
    /// From 1: an event of which parts may be left out has a file for each shape.
    example: u32,
    pub(super) data: Vec<u8>,
    file: String,
}

fn files(folder: &Path) -> anyhow::Result<BTreeSet<String>> {
    let entries = fs::read_dir(folder).with_context(|| {
        let folder = folder.display();
        format!("{folder} can't be read; --domains names the folder of the domains")
    })?;
    entries
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect()
}

/// The files of `event`, by version.
fn versions(
    folder: &Path,
    files: &BTreeSet<String>,
    event: &'static str,
) -> anyhow::Result<Vec<Golden>> {
    let mut found = Vec::new();
    for file in files {
        let name = file
            .strip_prefix(event)
            .and_then(|rest| rest.strip_prefix(".v"))
            .and_then(|rest| rest.strip_suffix(".json"));
        let numbers = name.and_then(|name| {
            let (version, example) = name.split_once('-').unwrap_or((name, "1"));
            Some((version.parse().ok()?, example.parse().ok()?))
        });
        if let Some((version, example)) = numbers {
            found.push(Golden {
                event,
                version,
                example,
                data: fs::read(folder.join(file)).with_context(|| file.clone())?,
                file: file.clone(),
            });
        }
    }
    found.sort_by_key(|golden| (golden.version, golden.example));
    Ok(found)
}

/// Is every version there, and can it be read; is the newest what would be written today?
fn compare(aggregate: &Aggregate, event: &'static str, found: &[Golden]) -> Vec<Problem> {
    let mut problems = Vec::new();
    let path = |file: &str| format!("{}/wire/{file}", aggregate.context);
    let name = |version: u32| path(&format!("{event}.v{version}.json"));
    let versions = found.iter().filter(|golden| golden.example == 1);
    for (golden, expected) in versions.zip(1..) {
        if golden.version != expected {
            let detail = "missing: every version ever written has its file".to_owned();
            problems.push(Problem {
                file: name(expected),
                detail,
            });
        }
    }
    let mut today = None;
    for golden in found {
        match aggregate.reread(event, golden.version, &golden.data) {
            Ok(reread) => {
                today = Some(reread.schema_version);
                let same = golden.version != reread.schema_version
                    || serde_json::from_slice::<Value>(&golden.data).ok() == Some(reread.data);
                if !same {
                    let detail = "the event is written in another way today: a new shape is a \
                                  new version, with an upcaster from this one"
                        .to_owned();
                    problems.push(Problem {
                        file: path(&golden.file),
                        detail,
                    });
                }
            }
            Err(error) => {
                let detail = format!("{:#}; is an upcaster missing?", anyhow::Error::new(error));
                problems.push(Problem {
                    file: path(&golden.file),
                    detail,
                });
            }
        }
    }
    let newest = found.last().map_or(0, |golden| golden.version);
    let wanted = today.unwrap_or(newest.max(1));
    if newest < wanted {
        let detail = format!("missing: {event} is written under version {wanted} today");
        problems.push(Problem {
            file: name(wanted),
            detail,
        });
    }
    problems
}
