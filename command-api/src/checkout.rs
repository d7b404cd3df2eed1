//! `/v1/checkouts` and `/v1/sagas`: an operator settles a saga that waits for a person.

use std::borrow::Cow;
use std::str::FromStr;

use axum::extract::State;
use axum::http::StatusCode;
use checkout::settling::{SagaId, Settled, Wish};
use checkout::{Checkout, Refunding, Returning, Saga};
use edge::openapi::{Calls, about};
use edge::{Body, Id, Ids, Problem};
use kernel::{OrderId, Reason, RefundId, ReturnId};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::api::Api;
use crate::call::{Call, Operators};
use crate::error::{key_reused, of_question, outcome_unknown};
use crate::problems::problem;
use crate::questions::{AskSettle, Whose};
use crate::write::{Done, Written};

pub(crate) fn calls() -> Calls<Api> {
    Calls::default()
        .merge(resume())
        .merge(skip())
        .merge(resolve())
        .merge(of_tables())
}

fn resume() -> Calls<Api> {
    let about = |summary| {
        about(summary)
            .refuses([not_suspended("it")])
            .example(json!({}))
    };
    Calls::default()
        .post(
            "/v1/checkouts/{id}/resume",
            about("Let a checkout go on that waits for a person"),
            checkout::<ResumeSaga>,
        )
        .post(
            "/v1/checkouts/returns/{id}/resume",
            about("Let a return's saga go on that waits for a person"),
            returning::<ResumeSaga>,
        )
        .post(
            "/v1/checkouts/refunds/{id}/resume",
            about("Let a refund's saga go on that waits for a person"),
            refunding::<ResumeSaga>,
        )
}

fn skip() -> Calls<Api> {
    let about = |summary, step| {
        let by_hand = json!({ "step": step, "reason": "done by hand on the provider's page" });
        about(summary)
            .refuses([not_suspended("it")])
            .example(by_hand)
    };
    Calls::default()
        .post(
            "/v1/checkouts/{id}/skip",
            about(
                "Have a checkout go on behind a step or an undo that was dealt with by hand",
                "capture_payment",
            ),
            checkout::<SkipStep>,
        )
        .post(
            "/v1/checkouts/returns/{id}/skip",
            about(
                "Have a return's saga go on behind a step that was dealt with by hand",
                "refund_payment",
            ),
            returning::<SkipStep>,
        )
        .post(
            "/v1/checkouts/refunds/{id}/skip",
            about(
                "Have a refund's saga go on behind a step that was dealt with by hand",
                "record_refund",
            ),
            refunding::<SkipStep>,
        )
}

fn resolve() -> Calls<Api> {
    let about = |summary| {
        about(summary)
            .refuses([not_suspended("it")])
            .example(json!({ "reason": "settled with the customer on the phone" }))
    };
    Calls::default()
        .post(
            "/v1/checkouts/{id}/resolve",
            about("Close a checkout that was dealt with by hand"),
            checkout::<ResolveSaga>,
        )
        .post(
            "/v1/checkouts/returns/{id}/resolve",
            about("Close a return's saga that was dealt with by hand"),
            returning::<ResolveSaga>,
        )
        .post(
            "/v1/checkouts/refunds/{id}/resolve",
            about("Close a refund's saga that was dealt with by hand"),
            refunding::<ResolveSaga>,
        )
}

fn of_tables() -> Calls<Api> {
    let about = |summary| {
        about(summary)
            .more("Any saga that is a table of steps; its id is that of its order.")
            .refuses([not_suspended("it")])
    };
    let reason = "carried over the counter";
    Calls::default()
        .post(
            "/v1/sagas/{saga}/{id}/resume",
            about("Let a saga go on that waits for a person").example(json!({})),
            table::<ResumeSaga>,
        )
        .post(
            "/v1/sagas/{saga}/{id}/skip",
            about("Have a saga go on behind a step or an undo that was dealt with by hand")
                .example(json!({ "step": "ship", "reason": reason })),
            table::<SkipStep>,
        )
        .post(
            "/v1/sagas/{saga}/{id}/resolve",
            about("Close a saga that was dealt with by hand").example(json!({ "reason": reason })),
            table::<ResolveSaga>,
        )
}

/// As a table is called. Those that are none have calls of their own.
struct TableName(String);

impl TableName {
    const LENGTH_MAX: usize = 64;
    const NONE: [&str; 3] = [Checkout::NAME, Returning::NAME, Refunding::NAME];
}

impl FromStr for TableName {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let is_name = (1..=Self::LENGTH_MAX).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_lowercase())
            && !Self::NONE.contains(&text);
        is_name.then(|| Self(text.to_owned())).ok_or(())
    }
}

impl JsonSchema for TableName {
    fn schema_name() -> Cow<'static, str> {
        "TableName".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": format!("^[a-z]{{1,{}}}$", Self::LENGTH_MAX) })
    }
}

/// A body that says what an operator wishes.
trait Wishes: Serialize {
    fn wish(&self) -> Wish;
}

/// Nothing to say.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ResumeSaga {}

impl Wishes for ResumeSaga {
    fn wish(&self) -> Wish {
        Wish::Resume
    }
}

/// What was dealt with by hand, and why.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct SkipStep {
    /// The step that it is suspended for: `capture_payment`, `reserve_stock-<sku>`, ….
    #[schemars(length(min = 1, max = 100))]
    step: String,
    /// In the operator's words.
    reason: Reason,
}

impl Wishes for SkipStep {
    fn wish(&self) -> Wish {
        Wish::Skip {
            step: self.step.clone(),
            reason: self.reason.clone(),
        }
    }
}

/// Why nothing more is to be done.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ResolveSaga {
    /// In the operator's words.
    reason: Reason,
}

impl Wishes for ResolveSaga {
    fn wish(&self) -> Wish {
        Wish::Resolve {
            reason: self.reason.clone(),
        }
    }
}

async fn checkout<W: Wishes>(
    State(api): State<Api>,
    Operators(call): Operators,
    Id(id): Id<OrderId>,
    Body(body): Body<W>,
) -> Result<Done<SagaTold>, Problem> {
    of_shop(&api, &call, SagaId::Checkout(id), &body).await
}

async fn returning<W: Wishes>(
    State(api): State<Api>,
    Operators(call): Operators,
    Id(id): Id<ReturnId>,
    Body(body): Body<W>,
) -> Result<Done<SagaTold>, Problem> {
    of_shop(&api, &call, SagaId::Returning(id), &body).await
}

async fn refunding<W: Wishes>(
    State(api): State<Api>,
    Operators(call): Operators,
    Id(id): Id<RefundId>,
    Body(body): Body<W>,
) -> Result<Done<SagaTold>, Problem> {
    of_shop(&api, &call, SagaId::Refunding(id), &body).await
}

async fn of_shop(
    api: &Api,
    call: &Call,
    saga: SagaId,
    body: &impl Wishes,
) -> Result<Done<SagaTold>, Problem> {
    let written = settle(api, call, Whose::Shop(saga), body).await?;
    let version = written.version;
    Ok(written.done(SagaTold { saga, version }))
}

async fn table<W: Wishes>(
    State(api): State<Api>,
    Operators(call): Operators,
    Ids(TableName(saga), id): Ids<TableName, OrderId>,
    Body(body): Body<W>,
) -> Result<Done<TableTold>, Problem> {
    let whose = Whose::Table {
        saga: saga.clone(),
        id,
    };
    let written = settle(&api, &call, whose, &body).await?;
    let version = written.version;
    Ok(written.done(TableTold { saga, id, version }))
}

async fn settle(
    api: &Api,
    call: &Call,
    saga: Whose,
    body: &impl Wishes,
) -> Result<Written, Problem> {
    let ask = AskSettle {
        saga,
        wish: body.wish(),
        meta: call.meta(api, body),
        versions: call.if_match.versions(),
    };
    match api.questions.settle(&ask).await.map_err(of_question)? {
        Settled::Recorded {
            version,
            position,
            replayed,
        } => Ok(Written {
            version,
            position,
            replayed,
        }),
        Settled::Stale { version } => Err(Problem::stale(version)),
        Settled::NotSuspended => Err(not_suspended(&ask.saga.to_string())),
        Settled::Unknown => Err(Problem::not_found(format!("there is no {}", ask.saga))),
        Settled::KeyReused => Err(key_reused()),
        Settled::OutcomeUnknown => Err(outcome_unknown()),
    }
}

fn not_suspended(saga: &str) -> Problem {
    let detail = format!("{saga} waits for nobody, or not for this, or was tried too often");
    problem(StatusCode::CONFLICT, "not_suspended", detail)
}

/// A saga.
#[derive(Serialize, JsonSchema)]
struct SagaTold {
    /// Which.
    #[serde(flatten)]
    saga: SagaId,
    /// How many events it has now.
    version: u64,
}

/// A saga that is a table of steps.
#[derive(Serialize, JsonSchema)]
struct TableTold {
    /// As its table is called.
    saga: String,
    /// The order that it is about.
    id: OrderId,
    /// How many events it has now.
    version: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_name_that_a_table_may_have_is_one() {
        for name in ["gift", "z"] {
            assert!(name.parse::<TableName>().is_ok(), "{name}");
        }
        let long = "a".repeat(65);
        for name in [
            "",
            "Gift",
            "gift.1",
            "checkout",
            "returning",
            "refunding",
            &long,
        ] {
            assert!(name.parse::<TableName>().is_err(), "{name}");
        }
    }
}
