//! The check at the end: what must be true, against what everybody remembers.

use anyhow::Context;
use serde_json::Value;

use super::story::{LAMPS_RECEIVED, MUGS_RECEIVED, PATIENCE, Story};
use crate::client::{Shop, towards};
use crate::up::Endpoints;

/// How many mugs are sold and still in the house.
const MUGS_COMMITTED: u64 = 2;

/// How many mugs left the house and stayed away.
const MUGS_GONE: u64 = 1;

/// One thing that was looked at.
struct Finding {
    what: String,
    expected: String,
    found: String,
}

impl Finding {
    fn right(&self) -> bool {
        self.expected == self.found
    }
}

/// Everything that was looked at, section by section.
pub(super) struct Audit {
    sections: Vec<(String, Vec<Finding>)>,
}

impl Audit {
    /// Is everything as it must be?
    pub(super) fn all_right(&self) -> bool {
        self.sections
            .iter()
            .all(|(_, findings)| findings.iter().all(Finding::right))
    }

    /// Prints every finding, the wrong ones with what was expected.
    pub(super) fn print(&self) {
        for (section, findings) in &self.sections {
            println!("\n{section}");
            for finding in findings {
                let (mark, note) = if finding.right() {
                    ("✓", String::new())
                } else {
                    ("✗", format!("   (must be {})", finding.expected))
                };
                println!("  {mark} {:<44} {}{note}", finding.what, finding.found);
            }
        }
        println!();
    }
}

/// Looks at the read models, the stock, the ledger and the mailbox.
pub(super) async fn check(
    endpoints: &Endpoints,
    operator: &Shop,
    story: &Story,
) -> anyhow::Result<Audit> {
    Ok(Audit {
        sections: vec![
            (
                "Read models".to_owned(),
                read_models(operator, story).await?,
            ),
            (
                "Stock, before → after".to_owned(),
                stock(operator, story).await?,
            ),
            (
                format!("The provider's ledger ({}/ledger)", endpoints.payments),
                ledger(endpoints, story).await?,
            ),
            (
                format!("The mailbox ({}/messages)", endpoints.mail),
                mailbox(endpoints, story).await?,
            ),
        ],
    })
}

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or("-")
}

fn number(value: &Value, pointer: &str) -> i64 {
    value.pointer(pointer).and_then(Value::as_i64).unwrap_or(-1)
}

async fn read_models(operator: &Shop, story: &Story) -> anyhow::Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for chapter in &story.chapters {
        let order = operator
            .get(&format!("/v1/orders/{}", chapter.order_id))
            .await?;
        let order = order.success()?.body;
        findings.push(Finding {
            what: chapter.title.to_owned(),
            expected: outcome(
                chapter.expected.status,
                chapter.expected.reason.unwrap_or("-"),
            ),
            found: outcome(text(&order, "/status"), text(&order, "/reason")),
        });
        let checkout = operator
            .get(&format!("/v1/checkouts/{}", chapter.order_id))
            .await?
            .success()?
            .body;
        findings.push(Finding {
            what: "  its checkout is not suspended".to_owned(),
            expected: "false".to_owned(),
            found: (text(&checkout, "/status") == "suspended").to_string(),
        });
    }
    Ok(findings)
}

fn outcome(status: &str, reason: &str) -> String {
    if reason == "-" {
        status.to_owned()
    } else {
        format!("{status}: {reason}")
    }
}

async fn stock(operator: &Shop, story: &Story) -> anyhow::Result<Vec<Finding>> {
    let mugs = u64::from(MUGS_RECEIVED) - MUGS_GONE;
    let lamps = u64::from(LAMPS_RECEIVED);
    let wanted = [
        (&story.mug, counts(mugs, 0, MUGS_COMMITTED)),
        (&story.lamp, counts(lamps, 0, 0)),
    ];
    let mut findings = Vec::new();
    for ((sku, expected), before) in wanted.into_iter().zip(&story.stock_before) {
        let path = format!("/v1/inventory/{sku}");
        // The stock's read model may still be a few events behind the order's.
        let last = operator
            .wait_for("the stock at rest", &path, PATIENCE, |stock| {
                shown(stock) == expected
            })
            .await;
        let after = match last {
            Ok(answer) => shown(&answer.body),
            Err(_) => shown(&operator.get(&path).await?.body),
        };
        findings.push(Finding {
            what: format!("{sku}: {} →", shown(before)),
            expected,
            found: after,
        });
    }
    Ok(findings)
}

fn counts(on_hand: u64, reserved: u64, committed: u64) -> String {
    let available = on_hand - reserved - committed;
    format!("{on_hand} on hand, {reserved} reserved, {committed} committed, {available} available")
}

fn shown(stock: &Value) -> String {
    format!(
        "{} on hand, {} reserved, {} committed, {} available",
        number(stock, "/on_hand"),
        number(stock, "/reserved"),
        number(stock, "/committed"),
        number(stock, "/available")
    )
}

async fn fetch(url: String) -> anyhow::Result<Vec<Value>> {
    let asked = towards(&url).build()?.get(&url).send().await?;
    let answer = asked.error_for_status()?;
    answer
        .json()
        .await
        .with_context(|| format!("{url} answers no JSON list"))
}

async fn ledger(endpoints: &Endpoints, story: &Story) -> anyhow::Result<Vec<Finding>> {
    let entries = fetch(format!("{}/ledger", endpoints.payments)).await?;
    let mut findings = Vec::new();
    for chapter in &story.chapters {
        let of_order: Vec<&Value> = entries
            .iter()
            .filter(|entry| text(entry, "/metadata/order_id") == chapter.order_id)
            .collect();
        let sum = |pointer: &str| of_order.iter().map(|e| number(e, pointer)).sum::<i64>();
        let captures = of_order
            .iter()
            .filter(|e| number(e, "/captured") > 0)
            .count();
        findings.push(Finding {
            what: chapter.title.to_owned(),
            expected: kept(
                usize::from(chapter.expected.captured > 0),
                chapter.expected.captured,
                chapter.expected.refunded,
            ),
            found: kept(captures, sum("/captured"), sum("/refunded")),
        });
    }
    Ok(findings)
}

fn kept(charges: usize, captured: i64, refunded: i64) -> String {
    format!("{charges} charge(s), {captured} captured, {refunded} refunded")
}

async fn mailbox(endpoints: &Endpoints, story: &Story) -> anyhow::Result<Vec<Finding>> {
    let mails = fetch(format!("{}/messages", endpoints.mail)).await?;
    let ours: Vec<&Value> = mails
        .iter()
        .filter(|mail| mail.to_string().contains(&story.email))
        .collect();
    let mut wanted = vec!["Welcome to the shop"];
    wanted.extend(
        story
            .chapters
            .iter()
            .flat_map(|c| c.expected.mails.iter().copied()),
    );
    wanted.sort_unstable();
    let mut distinct: Vec<(&str, &str)> = ours
        .iter()
        .map(|mail| (text(mail, "/message_id"), text(mail, "/subject")))
        .collect();
    distinct.sort_unstable();
    distinct.dedup();
    let mut subjects: Vec<&str> = distinct.iter().map(|(_, subject)| *subject).collect();
    subjects.sort_unstable();
    Ok(vec![Finding {
        what: format!("{} distinct mails to {}", distinct.len(), story.email),
        expected: format!("\n      {}", wanted.join("\n      ")),
        found: format!("\n      {}", subjects.join("\n      ")),
    }])
}
