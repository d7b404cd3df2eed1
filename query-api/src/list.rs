//! Pages of a list: `{"items": […], "next": "<cursor>" | null}` and `Link: …; rel="next"`.

use std::fmt::Write as _;

use axum::http::header::LINK;
use axum::http::{HeaderValue, Uri};
use axum::response::Response;
use chrono::{DateTime, Datelike, NaiveDate};
use edge::Problem;
use projections::read::{After, Filter, How, Page, Part};
use projections::{Moment, Sort, ViewSpec};

use crate::asked::{Asked, Freshness};
use crate::failure::parameter;
use crate::resource::{Narrow, Takes};
use crate::{Api, answer, cursor, past};

/// Rows of a page when nothing else is asked for.
pub const LIMIT_DEFAULT: usize = 50;

/// Most rows of a page.
pub const LIMIT_MAX: usize = 200;

/// Longest value of a filter, in characters.
pub(crate) const FILTER_LENGTH_MAX: usize = 200;

/// The last year whose days and times have four digits: text order is time order up to there.
const YEAR_MAX: i32 = 9_999;

/// What comes behind the last day of that year in the order of text. It is no day.
const END_OF_DAYS: &str = "9999-12-32";

/// How long a day is, as in `2026-01-31`.
const DAY_LENGTH: usize = 10;

/// A page of a list that is to be read.
#[derive(Debug)]
pub(crate) struct Wanted {
    view: &'static ViewSpec,
    filters: Vec<Filter>,
    /// The moment that it is about, as it was said; none = now.
    as_of: Option<String>,
    /// In the view's order turned round.
    reversed: bool,
    limit: usize,
    cursor: Option<String>,
}

/// The parameters that every list has.
#[derive(Debug, Default)]
pub(crate) struct Place {
    pub(crate) limit: Option<u32>,
    pub(crate) cursor: Option<String>,
}

impl Wanted {
    /// The first page of everything, unless `place` says otherwise.
    pub(crate) fn new(view: &'static ViewSpec, place: Place) -> Result<Self, Problem> {
        let limit = match place.limit {
            None => LIMIT_DEFAULT,
            Some(limit) => usize::try_from(limit)
                .ok()
                .filter(|limit| (1..=LIMIT_MAX).contains(limit))
                .ok_or_else(|| parameter(format!("limit must be 1 to {LIMIT_MAX}")))?,
        };
        Ok(Self {
            view,
            filters: Vec::new(),
            as_of: None,
            reversed: false,
            limit,
            cursor: place.cursor,
        })
    }

    /// Only rows whose column is `value`, if there is one and it is what the column can be.
    pub(crate) fn narrow(mut self, by: &Narrow, value: Option<String>) -> Result<Self, Problem> {
        let Some(value) = value else { return Ok(self) };
        let name = by.name;
        let wrong = |what: &str| Err(parameter(format!("{name} must be {what}")));
        // Text in Postgres holds no NUL.
        if value.chars().count() > FILTER_LENGTH_MAX || value.contains('\0') {
            return wrong(&format!("at most {FILTER_LENGTH_MAX} characters of text"));
        }
        let value = match by.takes {
            Takes::Flag if value != "true" && value != "false" => return wrong("true or false"),
            Takes::Word(words) if !words.contains(&value.as_str()) => {
                return wrong(&format!("one of: {}", words.join(", ")));
            }
            Takes::Text | Takes::Search | Takes::Flag | Takes::Word(_) => value,
            Takes::Id(id) => match (id.read)(&value) {
                Some(id) => id.into(),
                None => return wrong("an id"),
            },
            Takes::From | Takes::Before => match DateTime::parse_from_rfc3339(&value) {
                // As rows hold times: text order is time order.
                Ok(time) if time.to_utc().year() <= YEAR_MAX => Moment(time.to_utc()).to_string(),
                Ok(_) | Err(_) => return wrong("a time (2026-01-31T12:00:00Z)"),
            },
            Takes::FromDay | Takes::ToDay => match day(&value, by.takes) {
                Some(day) => day,
                None => return wrong("a day (2026-01-31)"),
            },
        };
        let (column, how) = match by.takes {
            Takes::Search => (self.view.words.unwrap_or(name), How::Holds),
            Takes::From | Takes::FromDay => (self.column_of_time(name), How::From),
            Takes::Before | Takes::ToDay => (self.column_of_time(name), How::Before),
            Takes::Text | Takes::Flag | Takes::Word(_) | Takes::Id(_) => (name, How::Is),
        };
        self.filters.push(Filter::new_how(column, how, value));
        Ok(self)
    }

    fn column_of_time(&self, otherwise: &'static str) -> &'static str {
        match self.view.sort {
            Sort::Latest(column) => column,
            Sort::Id => otherwise,
        }
    }

    /// In the view's own order, or turned round.
    pub(crate) fn order(mut self, said: Option<&str>) -> Result<Self, Problem> {
        let (own, turned) = words_of(self.view.sort);
        self.reversed = match said {
            None => false,
            Some(word) if word == own => false,
            Some(word) if word == turned => true,
            Some(_) => return Err(parameter(format!("sort must be one of: {own}, {turned}"))),
        };
        Ok(self)
    }

    /// Reads it.
    pub(crate) async fn read(
        &self,
        api: &Api,
        asked: &Asked,
    ) -> Result<(Page, Freshness), Problem> {
        let after = self.after()?;
        let part = self.part(after.as_ref());
        asked.list(api, self.view, &self.filters, part).await
    }

    /// Reads it as it was at the moment `as_of`, which its cursors are bound to as well.
    pub(crate) async fn read_past(
        &mut self,
        api: &Api,
        asked: &Asked,
        as_of: &str,
    ) -> Result<(Page, Freshness), Problem> {
        let been = past::moment(api, self.view, "as_of", as_of).await?;
        if self.filters.iter().any(|filter| filter.how == How::Holds) {
            return Err(parameter("as_of can't be searched by words"));
        }
        self.as_of = Some(as_of.to_owned());
        let after = self.after()?;
        let part = self.part(after.as_ref());
        past::page(api, asked, self.view, (&self.filters, been), part).await
    }

    fn part<'a>(&self, after: Option<&'a After>) -> Part<'a> {
        Part {
            after,
            limit: self.limit,
            reversed: self.reversed,
        }
    }

    /// Where it begins.
    fn after(&self) -> Result<Option<After>, Problem> {
        let cursor = self.cursor.as_deref();
        let read = cursor.map(|text| cursor::read(self.view, &self.bound(), text));
        read.transpose()
    }

    /// What a cursor of this list is bound to.
    fn bound(&self) -> Vec<Filter> {
        let as_of = self.as_of.as_deref();
        let as_of = as_of.map(|as_of| Filter::new("as_of", as_of));
        let turned = self.reversed.then(|| Filter::new("sort", "turned"));
        let filters = self.filters.iter().cloned();
        filters.chain(as_of).chain(turned).collect()
    }

    /// Where the page after this one begins.
    pub(crate) fn next(&self, page: &Page) -> Option<String> {
        let after = page.next.as_ref();
        after.map(|after| cursor::write(self.view, &self.bound(), after))
    }

    /// Answers it; `items` are the rows as they are to be shown.
    pub(crate) fn answer(
        &self,
        (page, freshness): (&Page, &Freshness),
        items: &[String],
        uri: &Uri,
    ) -> Response {
        let next = self.next(page);
        let length: usize = items.iter().map(|item| item.len() + 1).sum();
        let mut body = String::with_capacity(length + 64);
        body.push_str("{\"items\":[");
        for (index, item) in items.iter().enumerate() {
            if index > 0 {
                body.push(',');
            }
            body.push_str(item);
        }
        // Writing to a String can't fail, and a cursor needs no escape in JSON.
        let _ = match &next {
            Some(next) => write!(body, "],\"next\":\"{next}\"}}"),
            None => write!(body, "],\"next\":null}}"),
        };
        let mut response = answer::json(body, freshness);
        if let Some(link) = next.and_then(|next| link(uri, &next)) {
            response.headers_mut().insert(LINK, link);
        }
        response
    }
}

/// The words for a list's own order, and for that order turned round.
pub(crate) fn words_of(sort: Sort) -> (&'static str, &'static str) {
    match sort {
        Sort::Latest(_) => ("latest", "oldest"),
        Sort::Id => ("id", "-id"),
    }
}

/// The day; where a list ends with it, the day after, before which it ends. As rows hold days and times:
/// text order is time order.
fn day(text: &str, takes: Takes) -> Option<String> {
    let day: NaiveDate = text.parse().ok().filter(|_| text.len() == DAY_LENGTH)?;
    let written = |day: NaiveDate| (day.year() <= YEAR_MAX).then(|| day.to_string());
    let known = written(day)?;
    match takes {
        Takes::ToDay => {
            let next = day.succ_opt().and_then(written);
            Some(next.unwrap_or_else(|| END_OF_DAYS.to_owned()))
        }
        Takes::FromDay
        | Takes::Text
        | Takes::Flag
        | Takes::Id(_)
        | Takes::Word(_)
        | Takes::Search
        | Takes::From
        | Takes::Before => Some(known),
    }
}

/// The same URL with the next cursor in it.
fn link(uri: &Uri, next: &str) -> Option<HeaderValue> {
    let mut target = uri.path().to_owned();
    let mut separator = '?';
    let kept = uri.query().unwrap_or_default().split('&');
    for part in kept.filter(|part| !part.is_empty() && !part.starts_with("cursor=")) {
        target.push(separator);
        target.push_str(part);
        separator = '&';
    }
    HeaderValue::try_from(format!("<{target}{separator}cursor={next}>; rel=\"next\"")).ok()
}

#[cfg(test)]
mod tests {
    use projections::ORDER_SUMMARY;

    use super::*;

    fn place(limit: u32) -> Place {
        Place {
            limit: Some(limit),
            cursor: None,
        }
    }

    #[test]
    fn a_list_may_end_with_the_last_day_that_text_order_knows() {
        let day = |text| day(text, Takes::ToDay);
        assert_eq!(day("9999-12-30").as_deref(), Some("9999-12-31"));
        let end = day("9999-12-31").unwrap();
        assert!("9999-12-31" < end.as_str() && "9999-12-31T23:59:59Z" < end.as_str());
        assert_eq!(day("9999-12-32"), None);
    }

    #[test]
    fn a_page_is_bounded() {
        for bad in [0, 201, u32::MAX] {
            let refused = Wanted::new(&ORDER_SUMMARY, place(bad)).unwrap_err();
            assert_eq!(refused.status.as_u16(), 400, "{bad}");
        }
        assert_eq!(Wanted::new(&ORDER_SUMMARY, place(200)).unwrap().limit, 200);
    }

    #[tokio::test]
    async fn a_page_names_the_next_one_in_body_and_link() {
        let wanted = Wanted::new(&ORDER_SUMMARY, place(1)).unwrap();
        let page = Page {
            position: 7,
            rows: Vec::new(),
            next: Some(After {
                sort: Some("2026".into()),
                view_id: "o-1".into(),
            }),
        };
        let freshness = Freshness {
            position: "ORDER:7".into(),
            stale: false,
            ignored: None,
            applied: None,
        };
        let uri: Uri = "/v1/orders?limit=1&cursor=old".parse().unwrap();
        let items = ["{\"id\":\"a\"}".to_owned(), "{\"id\":\"b\"}".to_owned()];
        let response = wanted.answer((&page, &freshness), &items, &uri);
        let link = response.headers()[LINK].to_str().unwrap().to_owned();
        let body = axum::body::to_bytes(response.into_body(), 4096)
            .await
            .unwrap();
        let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(body["items"][1]["id"], "b");
        let next = body["next"].as_str().unwrap();
        assert_eq!(
            link,
            format!("</v1/orders?limit=1&cursor={next}>; rel=\"next\"")
        );
    }

    #[test]
    fn a_filter_is_what_its_column_can_be() {
        let narrow = |takes, value: &str| {
            let wanted = Wanted::new(&ORDER_SUMMARY, Place::default()).unwrap();
            let by = Narrow {
                name: "status",
                takes,
            };
            wanted.narrow(&by, Some(value.to_owned()))
        };
        let words = Takes::Word(&["placed"]);
        let id = Takes::Id(crate::resource::id_of::<kernel::OrderId>());
        let long = "x".repeat(201);
        for (takes, bad) in [
            (words, "palced"),
            (Takes::Flag, "1"),
            (Takes::Text, "\0"),
            (Takes::Text, &long),
            (id, "x"),
        ] {
            assert_eq!(
                narrow(takes, bad).unwrap_err().status.as_u16(),
                400,
                "{bad}"
            );
        }
        for bad in [
            "2026-2-1",
            "2026-02-30",
            "yesterday",
            "2026-02-01T00:00:00Z",
            "+999999-01",
        ] {
            let refused = narrow(Takes::FromDay, bad).unwrap_err();
            assert_eq!(refused.status.as_u16(), 400, "{bad}");
        }
        let until = narrow(Takes::ToDay, "2026-12-31").unwrap();
        assert_eq!(until.filters[0].value, "2027-01-01");
        let upper = "00000000-0000-0000-0000-00000000000A";
        assert!(narrow(id, upper).is_err(), "an id is spelled in one way");
        let wanted = narrow(id, &upper.to_lowercase()).unwrap();
        assert_eq!(wanted.filters[0].value, upper.to_lowercase());
    }
}
