//! Pages of a list: `{"items": […], "next": "<cursor>" | null}` and `Link: …; rel="next"`.

use std::fmt::Write as _;

use axum::http::header::LINK;
use axum::http::{HeaderValue, Uri};
use axum::response::Response;
use edge::Problem;
use projections::ViewSpec;
use projections::read::{Filter, Page};
use serde::Deserialize;

use crate::asked::{Asked, Freshness};
use crate::failure::parameter;
use crate::{Api, answer, cursor};

/// Rows of a page when nothing else is asked for.
pub const LIMIT_DEFAULT: usize = 50;

/// Most rows of a page.
pub const LIMIT_MAX: usize = 200;

/// Longest value of a filter, in characters.
const FILTER_LENGTH_MAX: usize = 200;

/// A page of a list that is to be read.
#[derive(Debug)]
pub(crate) struct Wanted {
    view: &'static ViewSpec,
    filters: Vec<Filter>,
    limit: usize,
    cursor: Option<String>,
}

/// The parameters that every list has.
#[derive(Debug, Default)]
pub(crate) struct Place {
    pub(crate) limit: Option<u32>,
    pub(crate) cursor: Option<String>,
}

/// A filter that is one of some words.
#[derive(Debug, Clone, Deserialize)]
#[serde(transparent)]
pub(crate) struct Word(pub(crate) String);

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
            limit,
            cursor: place.cursor,
        })
    }

    /// Only rows whose `column` is this, if there is a this.
    pub(crate) fn only(
        mut self,
        column: &'static str,
        value: Option<impl ToString>,
    ) -> Result<Self, Problem> {
        if let Some(value) = value {
            let value = value.to_string();
            // Text in Postgres holds no NUL.
            if value.chars().count() > FILTER_LENGTH_MAX || value.contains('\0') {
                return Err(parameter(format!("{column} can't be that")));
            }
            self.filters.push(Filter::new(column, value));
        }
        Ok(self)
    }

    /// Only rows whose `column` is this word, which must be one of `words`.
    pub(crate) fn only_word(
        self,
        column: &'static str,
        word: Option<Word>,
        words: &[&str],
    ) -> Result<Self, Problem> {
        if let Some(Word(word)) = &word
            && !words.contains(&word.as_str())
        {
            let detail = format!("{column} must be one of: {}", words.join(", "));
            return Err(parameter(detail));
        }
        self.only(column, word.map(|word| word.0))
    }

    /// Reads it.
    pub(crate) async fn read(
        &self,
        api: &Api,
        asked: &Asked,
    ) -> Result<(Page, Freshness), Problem> {
        let after = self
            .cursor
            .as_deref()
            .map(|text| cursor::read(self.view, &self.filters, text));
        let after = after.transpose()?;
        let page = (after.as_ref(), self.limit);
        asked.list(api, self.view, &self.filters, page).await
    }

    /// Answers it; `items` are the rows as they are to be shown.
    pub(crate) fn answer(
        &self,
        (page, freshness): (&Page, &Freshness),
        items: &[String],
        uri: &Uri,
    ) -> Response {
        let after = page.next.as_ref();
        let next = after.map(|after| cursor::write(self.view, &self.filters, after));
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
    use projections::read::After;

    use super::*;

    fn place(limit: u32) -> Place {
        Place {
            limit: Some(limit),
            cursor: None,
        }
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
    fn a_word_must_be_known() {
        let wanted = Wanted::new(&ORDER_SUMMARY, Place::default()).unwrap();
        let refused = wanted.only_word("status", Some(Word("palced".into())), &["placed"]);
        assert_eq!(refused.unwrap_err().status.as_u16(), 400);
    }
}
