//! `/v1/reports/…`: what the shop has sold, taken and moved, for operators. Days are in UTC, and both
//! the first and the last belong to what is asked for.

use axum::Router;
use axum::extract::State;
use axum::http::Uri;
use axum::response::Response;
use axum::routing::get;
use edge::{Principal, Problem};
use projections::{Movement, SALES_REPORT, STOCK_MOVEMENT, TAKINGS, ViewSpec};
use strum::VariantNames;

use crate::Api;
use crate::asked::{Asked, Params};
use crate::list::{Place, Wanted};
use crate::resource::{Given, Narrow, Takes};
use crate::resources::sku;

/// A report: a table and what its rows can be narrowed by.
pub(crate) struct Report {
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
    takes: Takes::Id(sku),
};

const fn text(name: &'static str) -> Narrow {
    Narrow {
        name,
        takes: Takes::Text,
    }
}

/// What was sold of each product, each day.
pub(crate) static SALES: Report = Report {
    path: "/v1/reports/sales",
    view: &SALES_REPORT,
    narrows: &[FROM, TO, SKU, text("currency")],
    only: Some((text("kind"), "day")),
};

/// What was taken and given back, each day.
pub(crate) static TAKEN: Report = Report {
    path: "/v1/reports/takings",
    view: &TAKINGS,
    narrows: &[FROM, TO, text("currency")],
    only: None,
};

/// Each change of a count.
pub(crate) static MOVEMENTS: Report = Report {
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

/// What every report takes besides.
const OF_EVERY_REPORT: [&str; 3] = ["limit", "cursor", "sort"];

pub(crate) fn routes() -> Router<Api> {
    ALL.into_iter().fold(Router::new(), |router, report| {
        let page = move |api, principal, asked, params, uri| {
            page(report, api, (principal, asked), params, uri)
        };
        router.route(report.path, get(page))
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
    let own = report.narrows.iter().map(|narrow| narrow.name);
    let mut given = Given::read(own.chain(OF_EVERY_REPORT).collect(), given)?;
    let place = Place {
        limit: given.limit()?,
        cursor: given.take("cursor"),
    };
    let wanted = Wanted::new(report.view, place)?;
    let mut wanted = wanted.order(given.take("sort").as_deref())?;
    if let Some((column, value)) = &report.only {
        wanted = wanted.narrow(column, Some((*value).to_owned()))?;
    }
    for narrow in report.narrows {
        wanted = wanted.narrow(narrow, given.take(narrow.name))?;
    }
    let (page, freshness) = wanted.read(&api, &asked).await?;
    let items: Vec<_> = page.rows.iter().map(|row| row.payload.clone()).collect();
    Ok(wanted.answer((&page, &freshness), &items, &uri))
}

#[cfg(test)]
mod tests {
    use super::*;

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
