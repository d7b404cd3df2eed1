//! `/v1/reports/…`: what the shop has sold, taken and moved, for operators. Days are in UTC, and both
//! the first and the last belong to what is asked for.

use axum::extract::State;
use axum::http::Uri;
use axum::response::Response;
use edge::openapi::{Calls, about};
use edge::{Principal, Problem};
use projections::{Movement, SALES_REPORT, STOCK_MOVEMENT, TAKINGS, ViewSpec};
use strum::VariantNames;

use crate::Api;
use crate::asked::{Asked, Params};
use crate::listing::Listing;
use crate::resource::{Narrow, Takes};
use crate::resources;

/// A report: a table and what its rows can be narrowed by.
pub(crate) struct Report {
    /// What it is called.
    title: &'static str,
    /// Where it is.
    pub(crate) path: &'static str,
    view: &'static ViewSpec,
    narrows: &'static [Narrow],
    /// The rows that it consists of, where the table holds others too.
    only: Option<(Narrow, &'static str)>,
}

const FROM: Narrow = Narrow {
    name: "from",
    takes: Takes::FromDay,
};

const TO: Narrow = Narrow {
    name: "to",
    takes: Takes::ToDay,
};

const SKU: Narrow = Narrow {
    name: "sku",
    takes: Takes::Id(resources::SKU),
};

const CURRENCY: Narrow = Narrow {
    name: "currency",
    takes: Takes::Word(&kernel::CURRENCIES),
};

const fn text(name: &'static str) -> Narrow {
    Narrow {
        name,
        takes: Takes::Text,
    }
}

/// What was sold of each product, each day.
pub(crate) static SALES: Report = Report {
    title: "Report what was sold",
    path: "/v1/reports/sales",
    view: &SALES_REPORT,
    narrows: &[FROM, TO, SKU, CURRENCY],
    only: Some((text("kind"), "day")),
};

/// What was taken and given back, each day.
pub(crate) static TAKEN: Report = Report {
    title: "Report what was taken",
    path: "/v1/reports/takings",
    view: &TAKINGS,
    narrows: &[FROM, TO, CURRENCY],
    only: None,
};

/// Each change of a count.
pub(crate) static MOVEMENTS: Report = Report {
    title: "Report how stock moved",
    path: "/v1/reports/stock-movements",
    view: &STOCK_MOVEMENT,
    narrows: &[
        FROM,
        TO,
        SKU,
        Narrow {
            name: "movement",
            takes: Takes::Word(Movement::VARIANTS),
        },
    ],
    only: None,
};

/// All of them.
pub(crate) static ALL: [&Report; 3] = [&SALES, &TAKEN, &MOVEMENTS];

impl Report {
    fn listing(&self) -> Listing {
        Listing {
            view: self.view,
            narrows: self.narrows.to_vec(),
            only: self.only,
            past: false,
        }
    }
}

pub(crate) fn calls() -> Calls<Api> {
    ALL.into_iter().fold(Calls::default(), |calls, report| {
        let about = about(report.title)
            .more("For operators. Days are in UTC, and both `from` and `to` belong to it.")
            .refuses([Problem::forbidden("")])
            .with(|call| report.listing().describe(call));
        let page = move |api, principal, asked, params, uri| {
            page(report, api, (principal, asked), params, uri)
        };
        calls.get(report.path, about, page)
    })
}

async fn page(
    report: &'static Report,
    State(api): State<Api>,
    (principal, asked): (Principal, Asked),
    Params(given): Params<Vec<(String, String)>>,
    uri: Uri,
) -> Result<Response, Problem> {
    principal.require_operator()?;
    let listing = report.listing();
    let found = listing.read(&api, &asked, listing.given(given)?).await?;
    Ok(found.answer(&found.rows(), &uri))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::list::{Place, Wanted};

    #[test]
    fn a_currency_is_one_that_there_is() {
        let wanted = |value: &str| {
            let wanted = Wanted::new(&TAKINGS, Place::default()).unwrap();
            wanted.narrow(&CURRENCY, Some(value.to_owned()))
        };
        assert!(wanted("EUR").is_ok());
        for bad in ["eur", "XXX", ""] {
            assert_eq!(wanted(bad).unwrap_err().status.as_u16(), 400, "{bad}");
        }
    }

    #[test]
    fn every_parameter_is_a_column_of_its_table() {
        for report in ALL {
            let only = report.only.iter().map(|(column, _)| column);
            for narrow in report.narrows.iter().chain(only) {
                let there = match narrow.takes {
                    Takes::FromDay | Takes::ToDay => true,
                    Takes::Text
                    | Takes::Flag
                    | Takes::Id(_)
                    | Takes::Word(_)
                    | Takes::Search
                    | Takes::From
                    | Takes::Before => report.view.filters.contains(&narrow.name),
                };
                assert!(there, "{} {narrow:?}", report.path);
            }
        }
    }
}
