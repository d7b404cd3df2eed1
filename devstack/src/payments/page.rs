//! The page on which people read the ledger.

use super::control::Line;
use std::fmt::Write;

const HEAD: &str = "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
<meta name=\"viewport\" content=\"width=device-width\"><title>Payments</title><style>\
body{font:15px/1.5 system-ui,sans-serif;max-width:75rem;margin:2rem auto;padding:0 1rem;color:#222;background:#fff}\
table{border-collapse:collapse;width:100%}th,td{text-align:left;padding:.3rem .6rem;border-bottom:1px solid #ddd}\
.n{text-align:right;font-variant-numeric:tabular-nums}code{font-size:.9em;overflow-wrap:anywhere}\
</style></head><body><h1>Payments</h1>";

const COLUMNS: &str = "<table><thead><tr><th>Intent</th><th>Status</th><th class=\"n\">Amount</th>\
<th class=\"n\">Captured</th><th class=\"n\">Refunded</th><th>Metadata</th><th>Calls</th></tr></thead><tbody>";

/// The page for the newest intents, newest first.
pub(super) fn render(all: usize, newest: &[Line]) -> String {
    let mut page = String::from(HEAD);
    push(
        &mut page,
        format_args!(
            "<p>{all} intents, {} shown, newest first. Amounts in minor units. For programs: \
             <code>GET /ledger</code>.</p>{COLUMNS}",
            newest.len()
        ),
    );
    for line in newest {
        row(&mut page, line);
    }
    page.push_str("</tbody></table></body></html>\n");
    page
}

fn row(page: &mut String, line: &Line) {
    let currency = escape(&line.currency).to_uppercase();
    let metadata = line
        .metadata
        .iter()
        .map(|(name, value)| format!("{name} = {value}"));
    let calls = line
        .calls
        .iter()
        .map(|(operation, times)| format!("{operation} {times}"));
    push(
        page,
        format_args!(
            "<tr><td><code>{}</code></td><td>{}</td><td class=\"n\">{} {currency}</td><td class=\"n\">{}</td>\
             <td class=\"n\">{}</td><td><code>{}</code></td><td>{}</td></tr>",
            line.id,
            line.status,
            line.amount,
            line.captured,
            line.refunded,
            escape(&metadata.collect::<Vec<_>>().join(", ")),
            calls.collect::<Vec<_>>().join(", ")
        ),
    );
}

fn push(page: &mut String, part: std::fmt::Arguments<'_>) {
    // Writing to a String can't fail.
    let _ = page.write_fmt(part);
}

pub(super) fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}
