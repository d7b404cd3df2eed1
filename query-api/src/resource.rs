//! What every resource is made of: one row by its id, as it is or as it was; a list; the events; the
//! difference between two moments. A resource is a table entry, and everything else is here.

use std::str::FromStr;

use axum::extract::State;
use axum::http::Uri;
use axum::response::Response;
use edge::openapi::{Call, Calls};
use edge::{Id, Problem};
use kernel::AggregateId;
use projections::{Sort, ViewSpec};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use crate::asked::{Asked, Freshness, Params};
use crate::caller::{Asker, Caller, Known, Operator};
use crate::failure::nothing;
use crate::listing::{Found, Listing};
use crate::past::{self, Was};
use crate::unseal::{self, Field, Opened};
use crate::{Api, action, answer, diff, history, owner};

/// A resource: what is shown, to whom, and how its list may be narrowed.
pub(crate) struct Resource {
    /// What one of them is called in an answer.
    pub(crate) what: &'static str,
    /// What several are called.
    pub(crate) many: &'static str,
    /// Where they are.
    pub(crate) path: &'static str,
    /// Its rows.
    pub(crate) view: &'static ViewSpec,
    /// Who sees them.
    pub(crate) audience: Audience,
    /// What stands in a path.
    pub(crate) id: IdOf,
    /// What its list can be narrowed by; none = there is no list.
    pub(crate) filters: Option<&'static [Narrow]>,
    /// What is sealed in a row.
    pub(crate) sealed: &'static [Field],
    /// The status to show when a person's key was destroyed.
    pub(crate) erased: Option<&'static str>,
    /// Does its buyer have to be told when they must act? See [`action`].
    pub(crate) acts: bool,
}

/// Who sees a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Audience {
    /// Operators.
    Operators,
    /// The person whom the row names, and operators.
    Owner,
    /// The person whose id the row has, and operators.
    Person,
    /// Everybody sees what is published; operators see all of it and its past.
    Public,
}

/// A parameter that narrows a list.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Narrow {
    /// The parameter, and the column of the view.
    pub(crate) name: &'static str,
    /// What it may be.
    pub(crate) takes: Takes,
}

/// What a parameter may be.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Takes {
    /// Any text.
    Text,
    /// `true` or `false`.
    Flag,
    /// An id.
    Id(IdOf),
    /// One of these words.
    Word(&'static [&'static str]),
    /// Words to search for.
    Search,
    /// A time: from then on.
    From,
    /// A time: before then.
    Before,
    /// A day: from then on.
    FromDay,
    /// A day: up to its end.
    ToDay,
}

/// What every list that is in the order of time can be narrowed by besides.
const OF_TIME: [Narrow; 2] = [
    Narrow {
        name: "from",
        takes: Takes::From,
    },
    Narrow {
        name: "before",
        takes: Takes::Before,
    },
];

/// An id, as text.
#[derive(Debug, Clone, Copy)]
pub(crate) struct IdOf {
    /// What it is called in a path.
    pub(crate) name: &'static str,
    /// Reads it.
    pub(crate) read: fn(&str) -> Option<AggregateId>,
    /// How the document describes it.
    pub(crate) schema: fn(&mut Call<'_>) -> Value,
}

/// The ids of type `I`.
pub(crate) const fn id_of<I: FromStr + Into<AggregateId> + JsonSchema>() -> IdOf {
    IdOf {
        name: "id",
        read: |text| text.parse::<I>().ok().map(Into::into),
        schema: |call| call.asked::<I>(),
    }
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct OneParams {
    /// As it was at this moment: a position of its stream, or a time on the stream's clock.
    #[schemars(with = "Option<past::Said>")]
    as_of: Option<String>,
}

/// The calls of a resource.
pub(crate) fn calls(resource: &'static Resource) -> Calls<Api> {
    match resource.audience {
        Audience::Public => calls_by::<Caller, Operator>(resource),
        Audience::Operators => calls_by::<Operator, Operator>(resource),
        Audience::Owner | Audience::Person => calls_by::<Known, Known>(resource),
    }
}

/// `Now` may ask what is, and `Then` what has happened.
fn calls_by<Now: Asker, Then: Asker>(resource: &'static Resource) -> Calls<Api> {
    let path = resource.path;
    let one_path = format!("{path}/{{{}}}", resource.id.name);
    let one = move |api, asker: Now, asked, id, params| {
        one(resource, api, (asker.caller(), asked), id, params)
    };
    let events = move |State(api): State<Api>,
                       asker: Then,
                       asked: Asked,
                       Id(id): Id<String>,
                       Params(page)| async move {
        let id = resource.past_of(&api, &asker.caller(), &asked, &id).await?;
        history::page(&api, resource.view, &id, page).await
    };
    let diff = move |State(api): State<Api>,
                     asker: Then,
                     asked: Asked,
                     Id(id): Id<String>,
                     Params(between)| async move {
        let caller = asker.caller();
        let id = resource.past_of(&api, &caller, &asked, &id).await?;
        diff::between(resource, &api, &caller, &id, between).await
    };
    let calls = Calls::default()
        .get(one_path.clone(), resource.about_one(), one)
        .get(
            format!("{one_path}/events"),
            resource.about_events(),
            events,
        )
        .get(format!("{one_path}/diff"), resource.about_diff(), diff);
    if resource.filters.is_none() {
        return calls;
    }
    let list = move |api, asker: Now, asked, params, uri| {
        list(resource, api, (asker.caller(), asked), params, uri)
    };
    calls.get(path, resource.about_list(), list)
}

async fn one(
    resource: &'static Resource,
    State(api): State<Api>,
    (caller, asked): (Caller, Asked),
    Id(id): Id<String>,
    Params(params): Params<OneParams>,
) -> Result<Response, Problem> {
    let Some(text) = params.as_of else {
        let id = resource.may_ask(&caller, &id)?;
        let (mut row, freshness) = resource.live(&api, &caller, &asked, &id).await?;
        let rows = std::slice::from_mut(&mut row.payload);
        let acts = resource.tell_action(&api, rows).await?;
        let shown = resource.show(&api, row.payload).await?;
        if acts {
            // No tag: the version stays the same when the customer has acted.
            return Ok(answer::json(shown.body, &freshness));
        }
        let answer = answer::one(shown, row.version, &asked, &freshness);
        return Ok(resource.share(&caller, answer));
    };
    let id = resource.past_of(&api, &caller, &asked, &id).await?;
    let moment = past::moment(&api, resource.view, "as_of", &text).await?.at;
    let was = resource.was(&api, &caller, &id, moment).await?;
    let Was { row, position } = was.ok_or_else(|| nothing(resource.what))?;
    let shown = resource.show(&api, row.payload).await?;
    let freshness = Freshness::of(&position);
    Ok(answer::one(shown, row.version, &asked, &freshness))
}

async fn list(
    resource: &'static Resource,
    State(api): State<Api>,
    (caller, asked): (Caller, Asked),
    Params(given): Params<Vec<(String, String)>>,
    uri: Uri,
) -> Result<Response, Problem> {
    let listed = resource.listed(&api, (&caller, &asked), given).await?;
    Ok(resource.share(&caller, listed.answer(&uri)))
}

/// A page of a list, as it is to be shown.
pub(crate) struct Listed {
    found: Found,
    /// The rows, opened.
    pub(crate) items: Vec<String>,
}

impl Listed {
    /// The page as an answer to a request for `uri`.
    pub(crate) fn answer(&self, uri: &Uri) -> Response {
        self.found.answer(&self.items, uri)
    }

    /// The cursor of the next page.
    pub(crate) fn next(&self) -> Option<String> {
        self.found.next()
    }
}

impl Resource {
    /// Its list.
    pub(crate) fn listing(&self) -> Listing {
        let of_time: &[Narrow] = match self.view.sort {
            Sort::Latest(_) => &OF_TIME,
            Sort::Id => &[],
        };
        let narrows = self.filters.unwrap_or_default().iter().chain(of_time);
        Listing {
            view: self.view,
            narrows: narrows.copied().collect(),
            only: None,
            past: true,
        }
    }

    /// A page of the list that these parameters ask for, as far as this caller may see it.
    pub(crate) async fn listed(
        &self,
        api: &Api,
        (caller, asked): (&Caller, &Asked),
        given: Vec<(String, String)>,
    ) -> Result<Listed, Problem> {
        self.may_list(caller)?;
        let listing = self.listing();
        let mut given = listing.given(given)?;
        let past = given.has("as_of");
        if past && self.audience == Audience::Public {
            caller.principal()?.require_operator()?;
        }
        for narrow in &listing.narrows {
            let value = self.held_to(caller, narrow, given.take(narrow.name))?;
            given.put(narrow.name, value);
        }
        let found = listing.read(api, asked, given).await?;
        let mut rows = found.rows();
        if !past {
            self.tell_action(api, &mut rows).await?;
        }
        let items = self.open(api, rows).await?;
        Ok(Listed { found, items })
    }

    /// Tells rows, as they are now, whose buyer must act before they go on; whether there are any.
    pub(crate) async fn tell_action(
        &self,
        api: &Api,
        rows: &mut [String],
    ) -> Result<bool, Problem> {
        if !self.acts {
            return Ok(false);
        }
        action::tell(api, rows).await
    }

    /// 401, 403 or 404 before anything is read; else the id.
    pub(crate) fn may_ask(&self, caller: &Caller, id: &str) -> Result<AggregateId, Problem> {
        self.may_list(caller)?;
        let id = (self.id.read)(id).ok_or_else(|| nothing(self.what))?;
        if self.audience == Audience::Person {
            let principal = caller.principal()?;
            let theirs = AggregateId::from(principal.user_id) == id;
            if !theirs && !principal.is_operator() {
                return Err(nothing(self.what));
            }
        }
        Ok(id)
    }

    fn may_list(&self, caller: &Caller) -> Result<(), Problem> {
        match self.audience {
            Audience::Public => Ok(()),
            Audience::Operators => caller.principal()?.require_operator(),
            Audience::Owner | Audience::Person => caller.principal().map(|_| ()),
        }
    }

    /// Who may see the past may see the present, and the past of what is published is an operator's.
    async fn past_of(
        &self,
        api: &Api,
        caller: &Caller,
        asked: &Asked,
        id: &str,
    ) -> Result<AggregateId, Problem> {
        let id = self.may_ask(caller, id)?;
        match self.audience {
            Audience::Public => caller.principal()?.require_operator()?,
            Audience::Owner => {
                self.live(api, caller, asked, &id).await?;
            }
            Audience::Operators | Audience::Person => {}
        }
        Ok(id)
    }

    /// The row as it is, if this caller may see it.
    pub(crate) async fn live(
        &self,
        api: &Api,
        caller: &Caller,
        asked: &Asked,
        id: &AggregateId,
    ) -> Result<(projections::read::Row, Freshness), Problem> {
        let (found, freshness) = asked.get(api, self.view, id.as_str()).await?;
        let row = found.row.ok_or_else(|| nothing(self.what))?;
        self.may_see(caller, &row.payload)?;
        Ok((row, freshness))
    }

    /// The row as it was, if there was one and this caller may see it.
    pub(crate) async fn was(
        &self,
        api: &Api,
        caller: &Caller,
        id: &AggregateId,
        moment: streams::Moment,
    ) -> Result<Option<Was>, Problem> {
        let was = past::row(api, self.view, id, moment).await?;
        if let Some(was) = &was {
            self.may_see(caller, &was.row.payload)?;
        }
        Ok(was)
    }

    pub(crate) fn may_see(&self, caller: &Caller, row: &str) -> Result<(), Problem> {
        match self.audience {
            Audience::Operators | Audience::Person => Ok(()),
            Audience::Owner => owner::must_see(caller.principal()?, row, self.what),
            Audience::Public if caller.is_operator() || owner::is_published(row) => Ok(()),
            Audience::Public => Err(nothing(self.what)),
        }
    }

    /// The answer, marked as one that everybody gets, if that is so.
    fn share(&self, caller: &Caller, answer: Response) -> Response {
        match self.audience {
            Audience::Public => caller.share(answer),
            Audience::Owner | Audience::Person | Audience::Operators => answer,
        }
    }

    /// What a caller's list is narrowed to whatever they ask for.
    fn held_to(
        &self,
        caller: &Caller,
        narrow: &Narrow,
        value: Option<String>,
    ) -> Result<Option<String>, Problem> {
        match (self.audience, narrow.name) {
            (Audience::Owner, "user_id") => owner::only_own(caller.principal()?, value),
            (Audience::Public, "status") => owner::only_published(caller, value),
            _ => Ok(value),
        }
    }

    /// Rows as they are to be shown.
    pub(crate) async fn open(&self, api: &Api, rows: Vec<String>) -> Result<Vec<String>, Problem> {
        if self.sealed.is_empty() {
            return Ok(rows);
        }
        let shown = self.show_all(api, rows).await?;
        Ok(shown.into_iter().map(|row| row.body).collect())
    }

    async fn show_all(&self, api: &Api, rows: Vec<String>) -> Result<Vec<Opened>, Problem> {
        let mut opened = unseal::open(&api.keys, self.sealed, rows).await?;
        if let Some(status) = self.erased {
            for row in opened.iter_mut().filter(|row| row.erased) {
                row.body = unseal::with(&row.body, "status", &format!("\"{status}\""))?;
            }
        }
        Ok(opened)
    }

    /// A row as it is to be shown, and whether somebody in it was erased.
    pub(crate) async fn show(&self, api: &Api, row: String) -> Result<Opened, Problem> {
        let shown = self.show_all(api, vec![row]).await?;
        // One row in, one row out.
        shown.into_iter().next().ok_or_else(Problem::internal)
    }

    /// A row as it is to be shown.
    pub(crate) async fn open_one(&self, api: &Api, row: String) -> Result<String, Problem> {
        Ok(self.show(api, row).await?.body)
    }
}
