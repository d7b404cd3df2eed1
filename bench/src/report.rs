//! Rows of figures, as a table or as JSON.

use serde::Serialize;

use crate::load::{Run, Take};
use crate::usage::Usages;

/// Minimum, median and maximum over the rounds.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Spread {
    pub(crate) min: f64,
    pub(crate) median: f64,
    pub(crate) max: f64,
}

impl Spread {
    pub(crate) fn of(values: &[f64]) -> Self {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let at = |index: usize| sorted.get(index).copied().unwrap_or(f64::NAN);
        Self {
            min: at(0),
            median: at(sorted.len() / 2),
            max: at(sorted.len().saturating_sub(1)),
        }
    }
}

/// One figure: ours, beside the reference of the same run.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Row {
    pub(crate) bench: &'static str,
    pub(crate) what: String,
    pub(crate) in_flight: usize,
    pub(crate) unit: &'static str,
    pub(crate) ours: Spread,
    pub(crate) ours_p50_ms: f64,
    pub(crate) ours_p99_ms: f64,
    pub(crate) reference: Option<Spread>,
    pub(crate) ratio: Option<f64>,
    pub(crate) target: Option<f64>,
    pub(crate) met: Option<bool>,
    pub(crate) failures: u64,
    /// CPU and memory by process, over the last round.
    pub(crate) usages: Usages,
}

/// A row for each figure.
pub(crate) fn rows(
    bench: &'static str,
    in_flight: usize,
    takes: &[Take<'_>],
    runs: &[Vec<Run>],
) -> Vec<Row> {
    takes
        .iter()
        .zip(runs)
        .map(|(take, runs)| Row::new(bench, take.what.clone(), in_flight, runs))
        .collect()
}

impl Row {
    /// A row over the rounds of one figure.
    pub(crate) fn new(
        bench: &'static str,
        what: impl Into<String>,
        in_flight: usize,
        runs: &[Run],
    ) -> Self {
        let rates: Vec<f64> = runs.iter().map(|run| run.per_second).collect();
        let median = |percentile| {
            let of_runs: Vec<f64> = runs
                .iter()
                .map(|run| run.percentile_ms(percentile))
                .collect();
            Spread::of(&of_runs).median
        };
        Self {
            bench,
            what: what.into(),
            in_flight,
            unit: "/s",
            ours: Spread::of(&rates),
            ours_p50_ms: median(50.0),
            ours_p99_ms: median(99.0),
            reference: None,
            ratio: None,
            target: None,
            met: None,
            failures: runs.iter().map(|run| run.failures).sum(),
            usages: runs
                .last()
                .map(|run| run.usages.clone())
                .unwrap_or_default(),
        }
    }

    /// A figure that is no rate.
    pub(crate) fn plain(
        bench: &'static str,
        what: String,
        unit: &'static str,
        ours: Spread,
    ) -> Self {
        let row = Self::new(bench, what, 1, &[]);
        Self { unit, ours, ..row }
    }

    /// Resident memory of a process, in MiB.
    pub(crate) fn resident(bench: &'static str, what: String, ours: Spread) -> Self {
        Self::plain(bench, what, "MiB", ours)
    }

    /// How long something takes, in milliseconds.
    pub(crate) fn milliseconds(
        bench: &'static str,
        what: String,
        in_flight: usize,
        ours: Spread,
    ) -> Self {
        let row = Self::plain(bench, what, "ms", ours);
        Self { in_flight, ..row }
    }

    /// How long something takes, in seconds.
    pub(crate) fn seconds(bench: &'static str, what: String, ours: Spread) -> Self {
        Self::plain(bench, what, "s", ours)
    }

    /// How large something is, in KiB.
    pub(crate) fn kibibytes(bench: &'static str, what: String, ours: Spread) -> Self {
        Self::plain(bench, what, "KiB", ours)
    }

    /// Sets the reference of what should be small, and the target of reference ÷ ours.
    pub(crate) fn at_most(mut self, reference: Spread, target: f64) -> Self {
        let ratio = reference.median / self.ours.median;
        self.reference = Some(reference);
        self.ratio = Some(ratio);
        self.target = Some(target);
        self.met = Some(ratio >= target);
        self
    }

    /// The same figure under another name.
    pub(crate) fn called(mut self, what: &str) -> Self {
        what.clone_into(&mut self.what);
        self
    }

    /// Sets the reference, and the target of the ratio if there is one.
    pub(crate) fn beside(mut self, reference: Spread, target: Option<f64>) -> Self {
        let ratio = self.ours.median / reference.median;
        self.reference = Some(reference);
        self.ratio = Some(ratio);
        self.target = target;
        self.met = target.map(|target| ratio >= target);
        self
    }
}

/// Prints a table.
pub(crate) fn print(rows: &[Row]) {
    println!(
        "{:<10} {:<34} {:>4} {:>9} {:<3} {:>15} {:>7} {:>7} {:>6} {:>6}  cpu s / MiB",
        "bench", "what", "at", "median", "", "min–max", "p50 ms", "p99 ms", "ratio", "target"
    );
    for row in rows {
        let optional = |value: Option<f64>| value.map_or_else(String::new, |v| format!("{v:.2}"));
        let ms = |ms: f64| optional((!ms.is_nan()).then_some(ms));
        let failed = match row.failures {
            0 => String::new(),
            failures => format!("  {failures} failed"),
        };
        println!(
            "{:<10} {:<34} {:>4} {:>9.0} {:<3} {:>15} {:>7} {:>7} {:>6} {:>6}  {}{failed}",
            row.bench,
            row.what,
            row.in_flight,
            row.ours.median,
            row.unit,
            format!("{:.0}–{:.0}", row.ours.min, row.ours.max),
            ms(row.ours_p50_ms),
            ms(row.ours_p99_ms),
            optional(row.ratio),
            optional(row.target),
            costs(&row.usages),
        );
    }
}

fn costs(usages: &Usages) -> String {
    let each = usages
        .iter()
        .map(|(name, usage)| format!("{name} {:.1}/{:.0}", usage.cpu_seconds, usage.resident_mib));
    each.collect::<Vec<_>>().join(" ")
}
