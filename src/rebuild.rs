//! `millrace rebuild`: a read model built anew beside the live one, compared, and put in its place.

use std::fmt::Write as _;
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use indicatif::ProgressBar;
use projections::rebuild::{Difference, Rebuild, outdated};
use projections::{Login, ViewSpec};
use serde::Serialize;

use crate::reach::{ReachArgs, bar};
use crate::settings::POSTGRES_ADMIN;

/// Settings of `millrace rebuild`.
#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
pub struct RebuildArgs {
    /// Which read model (`order_summary`); a wrong name lists them all.
    #[arg(required_unless_present = "outdated", conflicts_with = "outdated")]
    pub view: Option<String>,
    /// Every read model of which rows are left that an older version has made.
    #[arg(long)]
    pub outdated: bool,
    /// Where.
    #[command(flatten)]
    pub reach: ReachArgs,
    /// Postgres's administrator; with --data, that of the local stack.
    #[arg(long, env = "MILLRACE_POSTGRES_ADMIN", default_value = POSTGRES_ADMIN)]
    pub postgres_admin: String,
    /// Compare every row with the live one's.
    #[arg(long)]
    pub diff: bool,
    /// Put it in the place of the live one, which is kept for --rollback.
    #[arg(long)]
    pub switch: bool,
    /// Compare, and fail when anything differs: nothing is switched then.
    #[arg(long)]
    pub ci: bool,
    /// Throw away what an earlier rebuild that broke off has left, instead of going on.
    #[arg(long)]
    pub anew: bool,
    /// Put back what was live before the last switch; build nothing.
    #[arg(long, conflicts_with_all = ["outdated", "diff", "switch", "ci", "anew"])]
    pub rollback: bool,
    /// Print the report as JSON; with --outdated a list of reports.
    #[arg(long)]
    pub json: bool,
}

/// What was done.
#[derive(Debug, Serialize)]
struct Report {
    view: &'static str,
    /// How far the rebuilt table has come; none after a rollback.
    #[serde(skip_serializing_if = "Option::is_none")]
    rebuilt: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    difference: Option<Difference>,
    /// Where the view stood in its stream when it was switched; none = it wasn't.
    #[serde(skip_serializing_if = "Option::is_none")]
    switched: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rolled_back: Option<u64>,
}

/// Builds, compares and switches, as far as it is told to.
///
/// # Errors
/// A server can't be reached, a secret is missing, or an event can't be taken in. What was built stays,
/// and the next call goes on.
pub async fn run(args: RebuildArgs) -> anyhow::Result<ExitCode> {
    let named = args.view.as_deref().map(find).transpose()?;
    let admin = args.reach.admin(&args.postgres_admin)?;
    let views = match named {
        Some(view) => vec![view],
        None => outdated(&admin).await?,
    };
    let (mut reports, mut left) = (Vec::with_capacity(views.len()), None);
    for view in views {
        let report = match done(&args, view, &admin).await {
            Ok(report) => report,
            Err(error) if args.outdated => {
                // The others are not to wait for one that somebody else is at.
                eprintln!("{}: {error:#}", view.name);
                left = left.or(Some(error));
                continue;
            }
            Err(error) => return Err(error),
        };
        if !args.json {
            print!("{}", report.words());
        }
        reports.push(report);
    }
    match reports.as_slice() {
        [report] if args.json && !args.outdated => {
            println!("{}", serde_json::to_string_pretty(report)?);
        }
        _ if args.json => println!("{}", serde_json::to_string_pretty(&reports)?),
        [] if left.is_none() => println!("No read model has rows of an older version."),
        _ => {}
    }
    if let Some(error) = left {
        return Err(error.context("some read models still have rows of an older version"));
    }
    let differs = reports.iter().any(Report::differs);
    Ok(if args.ci && differs {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

fn find(name: &str) -> anyhow::Result<&'static ViewSpec> {
    projections::view(name).with_context(|| {
        let known: Vec<_> = projections::VIEWS.iter().map(|view| view.name).collect();
        format!(
            "there is no read model {name}; there are: {}",
            known.join(", ")
        )
    })
}

async fn done(
    args: &RebuildArgs,
    view: &'static ViewSpec,
    admin: &Login,
) -> anyhow::Result<Report> {
    let rebuild = Rebuild::begin(view, args.reach.log().await?, admin).await?;
    if args.rollback {
        roll_back(view, rebuild).await
    } else {
        build(args, view, rebuild).await
    }
}

async fn roll_back(view: &'static ViewSpec, mut rebuild: Rebuild) -> anyhow::Result<Report> {
    Ok(Report {
        view: view.name,
        rebuilt: None,
        difference: None,
        switched: None,
        rolled_back: Some(rebuild.roll_back().await?),
    })
}

async fn build(
    args: &RebuildArgs,
    view: &'static ViewSpec,
    mut rebuild: Rebuild,
) -> anyhow::Result<Report> {
    if args.anew {
        rebuild.anew().await?;
    }
    let standing = rebuild.standing().await?;
    let bar: ProgressBar = bar(view.name, standing.live);
    bar.set_position(standing.rebuilt);
    bar.reset_eta();
    let come_to = rebuild
        .build(standing.live, |at| bar.set_position(at))
        .await?;
    bar.finish_and_clear();
    let difference = if args.diff || args.ci {
        Some(rebuild.compare().await?)
    } else {
        None
    };
    let mut report = Report {
        view: view.name,
        rebuilt: Some(come_to),
        difference,
        switched: None,
        rolled_back: None,
    };
    if args.switch && !(args.ci && report.differs()) {
        report.switched = Some(rebuild.switch().await?);
    }
    Ok(report)
}

impl Report {
    fn differs(&self) -> bool {
        let difference = self.difference.as_ref();
        difference.is_some_and(|difference| !difference.is_empty())
    }

    /// The report as people read it. Writing to a string can't fail.
    fn words(&self) -> String {
        let (view, mut text) = (self.view, String::new());
        if let Some(position) = self.rebuilt {
            let _ = writeln!(text, "{view} is rebuilt up to event {position}.");
        }
        if let Some(difference) = &self.difference {
            tell(&mut text, difference);
        }
        if let Some(position) = self.switched {
            let _ = writeln!(
                text,
                "Switched at event {position}; `millrace rebuild {view} --rollback` undoes it."
            );
        }
        if let Some(position) = self.rolled_back {
            let _ = writeln!(text, "{view} is what it was before, at event {position}.");
        }
        text
    }
}

fn tell(text: &mut String, difference: &Difference) {
    let Difference {
        live_rows,
        added,
        removed,
        changed,
        ..
    } = difference;
    if difference.is_empty() {
        let _ = writeln!(text, "All {live_rows} rows are the same.");
        return;
    }
    let _ = writeln!(
        text,
        "Of {live_rows} rows {changed} differ, {removed} are gone, {added} are new."
    );
    for (field, rows) in &difference.fields {
        let _ = writeln!(text, "  {field} differs in {rows}");
    }
    for example in &difference.examples {
        let (what, id) = (example.what, &example.id);
        let _ = writeln!(
            text,
            "  {what} {id}: {} → {}",
            example.live, example.rebuilt
        );
    }
}
