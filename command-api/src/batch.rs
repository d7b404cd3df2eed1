//! Some lines of an import: read and parsed, but not done.

use std::collections::BTreeMap;

use axum::http::StatusCode;
use edge::Problem;
use kernel::{Description, Money, Sku, Title};
use product::{LineError, Tally};
use serde::{Deserialize, Serialize};

use crate::lines::{LINE_BYTES_MAX, Line};
use crate::problems::problem;
use crate::product::must_not_be_reserved;

/// Longest explanation of what is wrong with a line, in characters.
const DETAIL_LENGTH_MAX: usize = 200;

/// One line: what a product is to be.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ProductLine {
    pub(crate) sku: Sku,
    pub(crate) title: Title,
    pub(crate) description: Description,
    pub(crate) category: Title,
    pub(crate) price: Money,
    /// Whether to put it on sale as well; otherwise it stays as it is.
    #[serde(default)]
    pub(crate) publish: bool,
}

/// The lines up to a place in the file that come behind those of a tally.
#[derive(Default)]
pub(crate) struct Batch {
    /// Lines of the file up to here.
    pub(crate) lines: u64,
    /// Over all of them.
    pub(crate) digest: String,
    /// Those to be done, by SKU and in the order of the file: of two lines of one product the later
    /// one wins.
    pub(crate) products: BTreeMap<Sku, Vec<(u64, ProductLine)>>,
    /// What is wrong with the others.
    pub(crate) errors: Vec<LineError>,
    /// Was that the last line?
    pub(crate) is_last: bool,
}

impl Batch {
    /// No line yet, behind those of `tally`.
    pub(crate) fn after(tally: &Tally) -> Self {
        Self {
            lines: tally.lines,
            digest: tally.digest.clone(),
            ..Self::default()
        }
    }

    /// The next line; `digest` is over it and all before.
    pub(crate) fn take(&mut self, line: &Line, digest: String) {
        self.lines += 1;
        self.digest = digest;
        if line.is_blank() {
            return;
        }
        match parse(line) {
            Ok(product) => {
                let sku = product.sku.clone();
                let lines = self.products.entry(sku).or_default();
                lines.push((self.lines, product));
            }
            Err(problem) => self.errors.push(wrong(self.lines, &problem)),
        }
    }
}

fn parse(line: &Line) -> Result<ProductLine, Problem> {
    if line.is_too_long() {
        let status = StatusCode::PAYLOAD_TOO_LARGE;
        let detail = format!("the line must not be longer than {LINE_BYTES_MAX} bytes");
        return Err(problem(status, "line_too_long", detail));
    }
    let parsed = edge::json::parse(&line.text);
    let product: ProductLine = parsed.map_err(|problem| match problem.status {
        // Where in the line says little, and where in the file is known.
        StatusCode::BAD_REQUEST => Problem::malformed("the line is no JSON"),
        _ => problem,
    })?;
    must_not_be_reserved(&product.sku)?;
    Ok(product)
}

/// What is wrong with line `line`.
pub(crate) fn wrong(line: u64, problem: &Problem) -> LineError {
    let field = problem.errors.first();
    LineError {
        line,
        code: problem.code.to_string(),
        pointer: field.map_or_else(String::new, |field| shortened(&field.pointer)),
        detail: shortened(&problem.detail),
    }
}

/// At most [`DETAIL_LENGTH_MAX`] characters, and none that is no text (Postgres keeps no NUL): details may
/// repeat what the client wrote.
pub(crate) fn shortened(text: &str) -> String {
    let plain = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    plain.take(DETAIL_LENGTH_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> Line {
        Line {
            text: text.as_bytes().to_vec(),
            bytes: text.len() as u64,
        }
    }

    fn good(sku: &str) -> String {
        format!(
            r#"{{"sku":"{sku}","title":"Tea","description":"Green.","category":"Drinks","price":{{"amount":5,"currency":"EUR"}}}}"#
        )
    }

    #[test]
    fn lines_are_numbered_from_the_first_of_the_file() {
        let mut batch = Batch::after(&Tally {
            lines: 1_000,
            ..Tally::default()
        });
        for text in [good("a"), String::new(), good("b"), good("a")] {
            batch.take(&line(&text), "d".to_owned());
        }
        let numbers = |sku: &str| -> Vec<u64> {
            let lines = &batch.products[&sku.parse::<Sku>().unwrap()];
            lines.iter().map(|(number, _)| *number).collect()
        };
        assert_eq!(numbers("a"), [1_001, 1_004]);
        assert_eq!(numbers("b"), [1_003]);
        assert_eq!((batch.lines, batch.errors.len()), (1_004, 0));
    }

    #[test]
    fn what_is_wrong_with_a_line_is_pointed_at() {
        let mut batch = Batch::default();
        let long = "x".repeat(1_000);
        for text in [
            "nonsense",
            "[]",
            &good("a.b"),
            &good("imports"),
            &good("a").replace("\"EUR\"", "\"eur\""),
            &good("a").replace("\"title\"", "\"titel\""),
            &format!("{{\"{long}\":1}}"),
        ] {
            batch.take(&line(text), "d".to_owned());
        }
        batch.take(
            &Line {
                text: vec![],
                bytes: LINE_BYTES_MAX as u64 + 1,
            },
            "d".to_owned(),
        );
        let found: Vec<_> = batch
            .errors
            .iter()
            .map(|error| (error.line, error.code.as_str(), error.pointer.as_str()))
            .collect();
        let cut = "/".to_owned() + &long[..DETAIL_LENGTH_MAX - 1];
        assert_eq!(
            found,
            [
                (1, "malformed_request", ""),
                (2, "invalid_request", ""),
                (3, "invalid_request", "/sku"),
                (4, "sku_reserved", "/sku"),
                (5, "invalid_request", "/price/currency"),
                (6, "invalid_request", "/titel"),
                (7, "invalid_request", cut.as_str()),
                (8, "line_too_long", ""),
            ]
        );
        assert!(batch.products.is_empty());
    }
}
