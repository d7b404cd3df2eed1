//! What a list is: the parameters that it takes, and the page that they ask for.

use axum::http::{StatusCode, Uri};
use axum::response::Response;
use edge::Problem;
use edge::openapi::Call;
use projections::ViewSpec;
use projections::read::Page;
use serde_json::json;

use crate::Api;
use crate::asked::{Asked, Freshness};
use crate::cursor::{self, CURSOR_LENGTH_MAX};
use crate::failure::parameter;
use crate::list::{FILTER_LENGTH_MAX, LIMIT_DEFAULT, LIMIT_MAX, Place, Wanted, words_of};
use crate::resource::{Narrow, Takes};
use crate::{answer, past};

/// A list of rows.
pub(crate) struct Listing {
    /// Of this view.
    pub(crate) view: &'static ViewSpec,
    /// What it can be narrowed by.
    pub(crate) narrows: Vec<Narrow>,
    /// The rows that it consists of, where the view holds others too.
    pub(crate) only: Option<(Narrow, &'static str)>,
    /// Can it be asked how it was?
    pub(crate) past: bool,
}

impl Listing {
    /// The names of all its parameters.
    fn parameters(&self) -> Vec<&'static str> {
        let narrows = self.narrows.iter().map(|narrow| narrow.name);
        let past = self.past.then_some("as_of");
        let all = narrows.chain(["limit", "cursor", "sort"]);
        all.chain(past).collect()
    }

    /// What a request says; each parameter known, and said once.
    pub(crate) fn given(&self, said: Vec<(String, String)>) -> Result<Given, Problem> {
        Given::read(&self.parameters(), said)
    }

    /// The page that is asked for.
    pub(crate) async fn read(
        &self,
        api: &Api,
        asked: &Asked,
        mut given: Given,
    ) -> Result<Found, Problem> {
        let place = Place {
            limit: given.limit()?,
            cursor: given.take("cursor"),
        };
        let wanted = Wanted::new(self.view, place)?;
        let mut wanted = wanted.order(given.take("sort").as_deref())?;
        if let Some((column, value)) = &self.only {
            wanted = wanted.narrow(column, Some((*value).to_owned()))?;
        }
        for narrow in &self.narrows {
            wanted = wanted.narrow(narrow, given.take(narrow.name))?;
        }
        let (page, freshness) = match given.take("as_of") {
            None => wanted.read(api, asked).await?,
            Some(text) => wanted.read_past(api, asked, &text).await?,
        };
        Ok(Found {
            wanted,
            page,
            freshness,
        })
    }

    /// Says all that to the document.
    pub(crate) fn describe(&self, call: &mut Call<'_>) {
        for narrow in &self.narrows {
            narrow.describe(call);
        }
        let limit = json!({
            "type": "integer", "minimum": 1, "maximum": LIMIT_MAX, "default": LIMIT_DEFAULT,
        });
        call.parameter("limit", "Most rows of the page.", &limit);
        let (own, turned) = words_of(self.view.sort);
        let sort = json!({ "type": "string", "enum": [own, turned], "default": own });
        call.parameter("sort", "In which order.", &sort);
        let cursor = json!({
            "type": "string",
            "pattern": format!("^[A-Za-z0-9_-]{{1,{CURSOR_LENGTH_MAX}}}$"),
        });
        let next = "Where the page begins: `next` of the page before, under the same filters.";
        call.parameter("cursor", next, &cursor);
        call.problem(cursor::invalid(""));
        if self.past {
            let as_of = "As it was at this moment: a position of its stream, or a time on the \
                         stream's clock.";
            let said = call.asked::<past::Said>();
            call.parameter("as_of", as_of, &said);
            past::describe(call);
        }
        let row = call.told(self.view.schema);
        let page = json!({
            "type": "object",
            "required": ["items", "next"],
            "properties": {
                "items": { "type": "array", "items": row, "maxItems": LIMIT_MAX },
                "next": {
                    "type": ["string", "null"],
                    "description": "What to send as cursor for the next page; null = this is the last.",
                },
            },
        });
        answer::describe(call, &page);
        let next = "The next page, rel=\"next\" (RFC 8288).";
        call.tells(StatusCode::OK, "Link", false, next);
    }
}

impl Narrow {
    fn describe(&self, call: &mut Call<'_>) {
        let text = |example: &str| {
            json!({
                "type": "string", "maxLength": FILTER_LENGTH_MAX, "pattern": "^[^\\u0000]*$",
                "examples": [example],
            })
        };
        let (description, schema) = match self.takes {
            Takes::Text => ("Only those with this.", text("Kitchen")),
            Takes::Flag => (
                "Only those of which it is so.",
                json!({ "type": "boolean" }),
            ),
            Takes::Id(id) => ("Only those of this one.", (id.schema)(call)),
            Takes::Word(words) => (
                "Only those with this.",
                json!({ "type": "string", "enum": words }),
            ),
            Takes::Search => (
                "Only those in which these words are: `green tea -bag \"first flush\"`.",
                text("green tea -bag"),
            ),
            Takes::From => (
                "From this time on.",
                json!({ "type": "string", "format": "date-time" }),
            ),
            Takes::Before => (
                "Before this time.",
                json!({ "type": "string", "format": "date-time" }),
            ),
            Takes::FromDay => (
                "From this day on, in UTC.",
                json!({ "type": "string", "format": "date" }),
            ),
            Takes::ToDay => (
                "Up to this day and with it, in UTC.",
                json!({ "type": "string", "format": "date" }),
            ),
        };
        call.parameter(self.name, description, &schema);
    }
}

/// A page that was read.
pub(crate) struct Found {
    wanted: Wanted,
    page: Page,
    freshness: Freshness,
}

impl Found {
    /// Its rows as they are stored.
    pub(crate) fn rows(&self) -> Vec<String> {
        let rows = self.page.rows.iter();
        rows.map(|row| row.payload.clone()).collect()
    }

    /// The cursor of the next page.
    pub(crate) fn next(&self) -> Option<String> {
        self.wanted.next(&self.page)
    }

    /// Answers it; `items` are the rows as they are to be shown.
    pub(crate) fn answer(&self, items: &[String], uri: &Uri) -> Response {
        self.wanted
            .answer((&self.page, &self.freshness), items, uri)
    }
}

/// The parameters of a list, each known and said once.
pub(crate) struct Given(Vec<(String, String)>);

impl Given {
    /// Only parameters that are `known` are taken.
    fn read(known: &[&str], given: Vec<(String, String)>) -> Result<Self, Problem> {
        for (index, (name, _)) in given.iter().enumerate() {
            if !known.contains(&name.as_str()) {
                let detail = format!("there is no {name}; there are: {}", known.join(", "));
                return Err(parameter(detail));
            }
            if given.iter().skip(index + 1).any(|(other, _)| other == name) {
                return Err(parameter(format!("{name} is there twice")));
            }
        }
        Ok(Self(given))
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(other, _)| other == name)
    }

    pub(crate) fn take(&mut self, name: &str) -> Option<String> {
        let place = self.0.iter().position(|(other, _)| other == name)?;
        Some(self.0.swap_remove(place).1)
    }

    /// Says a parameter that was taken in other words.
    pub(crate) fn put(&mut self, name: &str, value: Option<String>) {
        self.0.extend(value.map(|value| (name.to_owned(), value)));
    }

    fn limit(&mut self) -> Result<Option<u32>, Problem> {
        let limit = self.take("limit").map(|limit| limit.parse());
        let parsed = limit.transpose();
        parsed.map_err(|_| parameter("limit must be a number"))
    }
}

#[cfg(test)]
mod tests {
    use projections::ORDER_SUMMARY;

    use super::*;

    #[test]
    fn a_parameter_is_known_and_said_once() {
        let listing = Listing {
            view: &ORDER_SUMMARY,
            narrows: Vec::new(),
            only: None,
            past: false,
        };
        let said = |names: &[&str]| {
            let said = names
                .iter()
                .map(|name| ((*name).to_owned(), "1".to_owned()));
            listing.given(said.collect()).is_ok()
        };
        assert!(said(&["limit", "sort"]));
        assert!(!said(&["as_of"]) && !said(&["limit", "limit"]) && !said(&["lmit"]));
    }
}
