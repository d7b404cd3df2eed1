//! The page on which people read the mails.

use super::store::Mail;
use std::fmt::Write;

/// Nothing on the page runs or loads anything: mails are other people's HTML.
pub(super) const POLICY: &str =
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-src 'self'";

const HEAD: &str = "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
<meta name=\"viewport\" content=\"width=device-width\"><title>Mails</title><style>\
body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#222;background:#fff}\
details{border:1px solid #ddd;border-radius:6px;margin:.5rem 0;padding:.5rem 1rem}\
summary{cursor:pointer}small{color:#666}pre{white-space:pre-wrap;overflow-wrap:anywhere}\
iframe{width:100%;height:24rem;border:1px solid #ddd;background:#fff}\
</style></head><body><h1>Mails</h1>";

/// The page for the newest mails, newest first.
pub(super) fn render(all: usize, newest: &[Mail]) -> String {
    let mut page = String::from(HEAD);
    let shown = newest.len();
    push(
        &mut page,
        format_args!(
            "<p>{all} kept, {shown} shown, newest first. For programs: <code>GET /messages</code>.</p>"
        ),
    );
    for mail in newest {
        entry(&mut page, mail);
    }
    page.push_str("</body></html>\n");
    page
}

fn entry(page: &mut String, mail: &Mail) {
    let summary = &mail.summary;
    let subject = escape(summary.subject.as_deref().unwrap_or("(no subject)"));
    let to = escape(&summary.to.join(", "));
    push(
        page,
        format_args!("<details><summary><b>{subject}</b> to {to} "),
    );
    push(
        page,
        format_args!("<small>{}</small></summary>", summary.received_at),
    );
    push(
        page,
        format_args!(
            "<p><small>from {} · Message-ID {} · <a href=\"/messages/{}/raw\">raw</a></small></p>",
            escape(&summary.from),
            escape(summary.message_id.as_deref().unwrap_or("none")),
            summary.n
        ),
    );
    if let Some(text) = &mail.text {
        push(page, format_args!("<pre>{}</pre>", escape(text)));
    }
    if let Some(html) = &mail.html {
        let html = escape(html);
        push(
            page,
            format_args!(
                "<iframe sandbox title=\"HTML part\" loading=\"lazy\" srcdoc=\"{html}\"></iframe>"
            ),
        );
    }
    page.push_str("</details>");
}

fn push(page: &mut String, part: std::fmt::Arguments<'_>) {
    // Writing to a String can't fail.
    let _ = page.write_fmt(part);
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}
