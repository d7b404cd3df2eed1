//! Routes that say what they are.

use std::borrow::Cow;
use std::collections::BTreeSet;

use axum::Router;
use axum::handler::Handler;
use axum::http::Method;
use axum::routing::{MethodRouter, get, post};
use serde_json::Value;

use super::{Answer, Call, Document, Part};
use crate::Problem;

/// What a call's types don't tell.
pub struct About {
    pub(super) summary: Cow<'static, str>,
    pub(super) more: Option<&'static str>,
    pub(super) refusals: Vec<Problem>,
    pub(super) example: Option<Value>,
    pub(super) with: Vec<Says>,
    pub(super) guarded: bool,
}

/// Says something of a call.
type Says = Box<dyn Fn(&mut Call<'_>) + Send + Sync>;

/// A call under this name; of all calls no other has it.
pub fn about(summary: impl Into<Cow<'static, str>>) -> About {
    About {
        summary: summary.into(),
        more: None,
        refusals: Vec::new(),
        example: None,
        with: Vec::new(),
        guarded: true,
    }
}

impl About {
    /// In more words.
    #[must_use]
    pub fn more(self, more: &'static str) -> Self {
        Self {
            more: Some(more),
            ..self
        }
    }

    /// What the business may say.
    #[must_use]
    pub fn refuses(mut self, refusals: impl IntoIterator<Item = Problem>) -> Self {
        self.refusals.extend(refusals);
        self
    }

    /// A body that does it.
    #[must_use]
    pub fn example(self, body: Value) -> Self {
        Self {
            example: Some(body),
            ..self
        }
    }

    /// What no type tells: it follows from a value that the route was made of.
    #[must_use]
    pub fn with(mut self, says: impl Fn(&mut Call<'_>) + Send + Sync + 'static) -> Self {
        self.with.push(Box::new(says));
        self
    }

    /// It stands outside the guard: never shed, never given up, and its errors are no problems.
    #[must_use]
    pub fn unguarded(self) -> Self {
        Self {
            guarded: false,
            ..self
        }
    }
}

/// A handler whose parts and answer can be described.
pub trait Described<M, S>: Handler<M, S> {
    /// Lets each of them.
    fn describe(call: &mut Call<'_>);
}

macro_rules! described {
    ($($part:ident)*) => {
        impl<F, Fut, R, M, S, $($part,)*> Described<(M, $($part,)*), S> for F
        where
            F: Handler<(M, $($part,)*), S> + FnOnce($($part,)*) -> Fut,
            Fut: Future<Output = R>,
            R: Answer,
            $($part: Part,)*
        {
            fn describe(call: &mut Call<'_>) {
                $($part::describe(call);)*
                R::describe(call);
            }
        }
    };
}

described!();
described!(A);
described!(A B);
described!(A B C);
described!(A B C D);
described!(A B C D E);
described!(A B C D E G);
described!(A B C D E G H);

/// A call that is yet to be written down.
struct Told {
    method: Method,
    path: Cow<'static, str>,
    about: About,
    describe: fn(&mut Call<'_>),
}

/// Routes, and what is to be said of them.
pub struct Calls<S> {
    router: Router<S>,
    told: Vec<Told>,
}

impl<S: Clone + Send + Sync + 'static> Default for Calls<S> {
    fn default() -> Self {
        Self {
            router: Router::new(),
            told: Vec::new(),
        }
    }
}

impl<S: Clone + Send + Sync + 'static> Calls<S> {
    /// A call that changes something.
    #[must_use]
    pub fn post<H, M>(self, path: impl Into<Cow<'static, str>>, about: About, handler: H) -> Self
    where
        H: Described<M, S>,
        M: 'static,
    {
        self.call::<H, M>(Method::POST, path.into(), about, post(handler))
    }

    /// A call that reads something.
    #[must_use]
    pub fn get<H, M>(self, path: impl Into<Cow<'static, str>>, about: About, handler: H) -> Self
    where
        H: Described<M, S>,
        M: 'static,
    {
        self.call::<H, M>(Method::GET, path.into(), about, get(handler))
    }

    fn call<H: Described<M, S>, M: 'static>(
        mut self,
        method: Method,
        path: Cow<'static, str>,
        about: About,
        route: MethodRouter<S>,
    ) -> Self {
        let router = self.router.route(&path, route);
        self.told.push(Told {
            method,
            path,
            about,
            describe: H::describe,
        });
        Self { router, ..self }
    }

    /// A call that reads something and is answered before any route is looked for.
    #[must_use]
    pub fn get_elsewhere(mut self, path: &'static str, about: About) -> Self {
        self.told.push(Told {
            method: Method::GET,
            path: path.into(),
            about,
            describe: |_| {},
        });
        self
    }

    /// These and those.
    #[must_use]
    pub fn merge(mut self, other: Self) -> Self {
        self.told.extend(other.told);
        Self {
            router: self.router.merge(other.router),
            ..self
        }
    }

    /// The same routes, each answered by `handler` instead.
    pub fn all_by<H, M>(&self, handler: &H) -> Router<S>
    where
        H: Handler<M, S>,
        M: 'static,
    {
        self.told.iter().fold(Router::new(), |router, told| {
            let route = if told.method == Method::GET {
                get(handler.clone())
            } else {
                post(handler.clone())
            };
            router.route(&told.path, route)
        })
    }

    /// The routes alone.
    pub fn into_router(self) -> Router<S> {
        self.router
    }

    /// The description alone. `before` is what whoever stands before the routes may answer instead.
    pub fn document(&self, before: &[Problem]) -> Document {
        let mut document = Document::begin(before);
        for told in &self.told {
            document.add((&told.method, &told.path), &told.about, told.describe);
        }
        document.end()
    }
}

/// Every path below `/` that a router takes, for tests that hold it against a document: axum tells them
/// in its `Debug` alone, with those of its fallback.
pub fn paths_of<S>(router: &Router<S>) -> BTreeSet<String> {
    let told = format!("{router:?}");
    let texts = told.split('"').skip(1).step_by(2);
    texts
        .filter(|text| text.starts_with('/') && *text != "/" && !text.contains("__private"))
        .map(str::to_owned)
        .collect()
}
