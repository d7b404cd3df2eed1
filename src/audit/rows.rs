//! The rows of the read models against what the log says, at the version that each row has.

use std::collections::BTreeMap;

use anyhow::Context;
use projections::Reader;
use projections::read::{ListedRow, Part};
use serde::Serialize;
use serde_json::Value;

use super::Finding;
use super::books::Books;

/// Rows read at once.
const PAGE: usize = 500;

/// One read model.
#[derive(Debug, Default, Serialize)]
pub struct RowsReport {
    /// Which.
    pub view: &'static str,
    /// Rows that say what the log says.
    pub same: u64,
    /// Rows that are older than the log, or not there yet.
    pub behind: u64,
    /// Rows of what happened after the log was read.
    pub ahead: u64,
}

/// What a row must say, by field: a JSON pointer.
type Said = Vec<(&'static str, Value)>;

/// The version that the log has, and what the row of it says.
type Expected = BTreeMap<String, (u64, Said)>;

impl Books {
    /// Compares every row of orders, payments and stock. With `at_rest` none may be behind.
    pub(super) async fn rows(
        &mut self,
        reader: &Reader,
        at_rest: bool,
    ) -> anyhow::Result<Vec<RowsReport>> {
        let mut reports = Vec::new();
        for (view, expected) in [
            ("order_summary", self.order_rows()),
            ("payment_summary", self.payment_rows()),
            ("stock_level", self.stock_rows()),
        ] {
            reports.push(self.compare(reader, (view, expected), at_rest).await?);
        }
        Ok(reports)
    }

    async fn compare(
        &mut self,
        reader: &Reader,
        (name, mut expected): (&'static str, Expected),
        at_rest: bool,
    ) -> anyhow::Result<RowsReport> {
        let view = projections::view(name).context("this build has no such read model")?;
        let mut report = RowsReport {
            view: name,
            ..RowsReport::default()
        };
        let mut after = None;
        loop {
            let part = Part {
                after: after.as_ref(),
                limit: PAGE,
                reversed: false,
            };
            let page = reader.list(view, &[], part).await;
            let page = page.with_context(|| format!("can't read {name}"))?;
            for row in page.rows {
                let of_log = expected.remove(&row.view_id);
                if let Some(finding) = row_of(&mut report, &row, of_log, at_rest)? {
                    self.findings.push(finding);
                }
            }
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        report.behind += expected.len() as u64;
        for id in expected.into_keys().filter(|_| at_rest) {
            let what = "there is no row".to_owned();
            self.found(
                "every row is what the log says",
                format!("{name} {id}"),
                what,
            );
        }
        Ok(report)
    }

    fn order_rows(&self) -> Expected {
        let rows = self.orders.iter().map(|(id, order)| {
            let status: &'static str = order.status.into();
            let said = vec![
                ("/status", status.into()),
                ("/total/amount", order.total.amount.into()),
                (
                    "/refunded/amount",
                    order.refunds.values().sum::<i64>().into(),
                ),
            ];
            (id.clone(), (order.version, said))
        });
        rows.collect()
    }

    fn payment_rows(&self) -> Expected {
        let rows = self.payments.iter().map(|(id, payment)| {
            let said = vec![
                ("/order_id", payment.order_id.as_str().into()),
                ("/captured/amount", payment.captured.into()),
                ("/refunded/amount", payment.refunded().into()),
            ];
            (id.clone(), (payment.version, said))
        });
        rows.collect()
    }

    fn stock_rows(&self) -> Expected {
        let rows = self.bins.iter().map(|(sku, bin)| {
            let [on_hand, reserved, committed] = bin.figures();
            let said = vec![
                ("/on_hand", on_hand.into()),
                ("/reserved", reserved.into()),
                ("/committed", committed.into()),
                ("/available", (on_hand - reserved - committed).into()),
            ];
            (sku.clone(), (bin.version, said))
        });
        rows.collect()
    }
}

/// Counts a row, and says what is wrong with it.
fn row_of(
    report: &mut RowsReport,
    row: &ListedRow,
    of_log: Option<(u64, Said)>,
    at_rest: bool,
) -> anyhow::Result<Option<Finding>> {
    let Some((version, said)) = of_log.filter(|(version, _)| row.version <= *version) else {
        report.ahead += 1;
        return Ok(
            at_rest.then(|| finding(report.view, row, "the log has not got so far".to_owned()))
        );
    };
    if row.version < version {
        report.behind += 1;
        let what = || format!("it is at version {}, the log at {version}", row.version);
        return Ok(at_rest.then(|| finding(report.view, row, what())));
    }
    let payload: Value = serde_json::from_str(&row.payload)
        .with_context(|| format!("a row of {} is no JSON: {}", report.view, row.view_id))?;
    let differs = said.into_iter().find_map(|(pointer, due)| {
        // Money that there is none of is left out.
        let is = payload
            .pointer(pointer)
            .cloned()
            .unwrap_or_else(|| 0.into());
        (is != due).then(|| format!("{pointer} is {is}, and by the log {due}"))
    });
    report.same += u64::from(differs.is_none());
    Ok(differs.map(|what| finding(report.view, row, what)))
}

fn finding(view: &str, row: &ListedRow, what: String) -> Finding {
    Finding {
        rule: "every row is what the log says",
        subject: format!("{view} {}", row.view_id),
        what,
    }
}
