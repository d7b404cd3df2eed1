//! `millrace reconcile`: our payments held against the payment provider's list.

use std::fmt::Write as _;
use std::process::ExitCode;

use chrono::TimeDelta;
use clap::Args;
use reactors::{Mismatched, Progress, Provider, ProviderConfig, Reconciler, Reconciliation};
use streams::{Settings, Snapshots, clock};

use crate::reach::{ReachArgs, bar, tell};

/// Settings of `millrace reconcile`.
#[derive(Debug, Args)]
pub struct ReconcileArgs {
    /// Which log.
    #[command(flatten)]
    pub reach: ReachArgs,
    /// The payment provider; with --data, that of the local stack.
    #[command(flatten)]
    pub provider: ProviderConfig,
    /// How many days back.
    #[arg(
        long,
        default_value_t = reactors::RECONCILE_DAYS,
        value_parser = clap::value_parser!(u32).range(1..=i64::from(reactors::RECONCILE_DAYS_MAX))
    )]
    pub days: u32,
    /// Print the report as JSON.
    #[arg(long)]
    pub json: bool,
}

/// Compares, and prints what differs.
///
/// # Errors
/// One side can't be read, so nothing can be said.
pub async fn run(args: ReconcileArgs) -> anyhow::Result<ExitCode> {
    let provider = args.reach.provider(args.provider)?;
    let connection = args.reach.log().await?;
    // People may not read snapshots.
    let streams = connection.streams(Settings {
        snapshots: Snapshots::Off,
        ..Settings::default()
    });
    let shown = Shown::default();
    let reconciler = Reconciler {
        connection: &connection,
        streams: &streams,
        provider: &Provider::new(&provider)?,
        progress: &|progress| shown.progress(progress),
    };
    let since = clock::now() - TimeDelta::days(args.days.into());
    let report = reconciler.run(since).await;
    shown.end();
    let report = report?;
    tell(&report, report.ok, args.json, words)
}

/// How far it is, on stderr.
struct Shown {
    listed: indicatif::ProgressBar,
    read: indicatif::ProgressBar,
}

impl Default for Shown {
    fn default() -> Self {
        Self {
            listed: bar("provider", 0),
            read: bar("PAYMENT", 0),
        }
    }
}

impl Shown {
    fn progress(&self, progress: Progress) {
        match progress {
            Progress::Listed(intents) => self.listed.set_position(intents as u64),
            Progress::Read(read, last) => {
                self.read.set_length(last);
                self.read.set_position(read);
            }
            Progress::Suspicions(intents) => {
                self.read.set_message(format!("{intents} to look at again"));
            }
        }
    }

    fn end(&self) {
        self.listed.finish_and_clear();
        self.read.finish_and_clear();
    }
}

/// The report as people read it.
fn words(report: &Reconciliation) -> String {
    let mut text = String::new();
    for mismatched in &report.mismatches {
        // Writing to a string can't fail.
        let _ = writeln!(text, "{}", line(mismatched));
    }
    let (intents, payments) = (report.intents, report.payments);
    let since = report.since.format("%Y-%m-%d %H:%M UTC");
    let judged = match report.mismatches.len() {
        0 => "all is well".to_owned(),
        1 => "1 mismatch".to_owned(),
        more => format!("{more} mismatches"),
    };
    let _ = writeln!(
        text,
        "{intents} intents of the provider and {payments} payments since {since}: {judged}."
    );
    text
}

fn line(mismatched: &Mismatched) -> String {
    let Mismatched {
        intent_id,
        payment_id,
        order_id,
        status,
        differences,
        provider,
    } = mismatched;
    let ours = match (status, order_id) {
        (Some(status), Some(order_id)) => format!("{status}, order {order_id}"),
        (Some(status), None) => status.to_string(),
        (None, _) => "unknown to us".to_owned(),
    };
    let payment = payment_id
        .as_ref()
        .map_or_else(|| "no payment".to_owned(), |id| format!("payment {id}"));
    let theirs = match provider {
        None => "not there".to_owned(),
        Some(record) => format!(
            "amount {}, held {}, captured {}, refunded {}",
            record.amount, record.held, record.captured, record.refunded
        ),
    };
    format!(
        "{intent_id} ({payment}: {ours}) differs in {differences:?}; the provider has: {theirs}"
    )
}
