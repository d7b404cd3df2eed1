//! `/v1/products`: the catalogue, by operators.

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::post;
use edge::{Body, Id, Problem};
use kernel::{Description, Money, Reason, Sku, Title};
use product::{Product, ProductCommand};
use serde::{Deserialize, Serialize};

use crate::api::Api;
use crate::call::{Call, Operators};
use crate::importing;
use crate::problems::problem;
use crate::write::{Created, Written};

/// What stands where a SKU does in the paths of reads: no product can have it.
const SKU_RESERVED: &str = "imports";

pub(crate) fn routes() -> Router<Api> {
    Router::new()
        .route("/v1/products", post(create))
        .route("/v1/products/import", post(importing::import))
        .route("/v1/products/{sku}/price", post(set_price))
        .route("/v1/products/{sku}/details", post(update_details))
        .route("/v1/products/{sku}/category", post(assign_category))
        .route("/v1/products/{sku}/publish", post(publish))
        .route("/v1/products/{sku}/unpublish", post(unpublish))
        .route("/v1/products/{sku}/discontinue", post(discontinue))
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct CreateProduct {
    sku: Sku,
    title: Title,
    description: Description,
    category: Title,
    price: Money,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SetPrice {
    price: Money,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct UpdateDetails {
    title: Title,
    description: Description,
    category: Title,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct AssignCategory {
    category: Title,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Unpublish {
    #[serde(default)]
    reason: Option<Reason>,
}

/// A body without fields.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

async fn create(
    State(api): State<Api>,
    Operators(call): Operators,
    Body(body): Body<CreateProduct>,
) -> Result<Response, Problem> {
    must_not_be_reserved(&body.sku)?;
    let command = ProductCommand::CreateProduct {
        title: body.title.clone(),
        description: body.description.clone(),
        category: body.category.clone(),
        price: body.price,
    };
    let written = write(&api, &call, &body.sku, command, &body).await?;
    let location = format!("/v1/products/{}", body.sku);
    Ok(written.created(&location, Created::new(&body.sku)))
}

async fn set_price(
    State(api): State<Api>,
    Operators(call): Operators,
    Id(sku): Id<Sku>,
    Body(body): Body<SetPrice>,
) -> Result<Response, Problem> {
    let command = ProductCommand::SetPrice { price: body.price };
    let written = write(&api, &call, &sku, command, &body).await?;
    Ok(written.acted(&sku))
}

async fn update_details(
    State(api): State<Api>,
    Operators(call): Operators,
    Id(sku): Id<Sku>,
    Body(body): Body<UpdateDetails>,
) -> Result<Response, Problem> {
    let command = ProductCommand::UpdateDetails {
        title: body.title.clone(),
        description: body.description.clone(),
        category: body.category.clone(),
    };
    let written = write(&api, &call, &sku, command, &body).await?;
    Ok(written.acted(&sku))
}

async fn assign_category(
    State(api): State<Api>,
    Operators(call): Operators,
    Id(sku): Id<Sku>,
    Body(body): Body<AssignCategory>,
) -> Result<Response, Problem> {
    let command = ProductCommand::AssignCategory {
        category: body.category.clone(),
    };
    let written = write(&api, &call, &sku, command, &body).await?;
    Ok(written.acted(&sku))
}

async fn publish(
    State(api): State<Api>,
    Operators(call): Operators,
    Id(sku): Id<Sku>,
    Body(body): Body<Nothing>,
) -> Result<Response, Problem> {
    let command = ProductCommand::PublishProduct {};
    let written = write(&api, &call, &sku, command, &body).await?;
    Ok(written.acted(&sku))
}

async fn unpublish(
    State(api): State<Api>,
    Operators(call): Operators,
    Id(sku): Id<Sku>,
    Body(body): Body<Unpublish>,
) -> Result<Response, Problem> {
    let command = ProductCommand::UnpublishProduct {
        reason: body.reason.clone(),
    };
    let written = write(&api, &call, &sku, command, &body).await?;
    Ok(written.acted(&sku))
}

async fn discontinue(
    State(api): State<Api>,
    Operators(call): Operators,
    Id(sku): Id<Sku>,
    Body(body): Body<Nothing>,
) -> Result<Response, Problem> {
    let command = ProductCommand::DiscontinueProduct {};
    let written = write(&api, &call, &sku, command, &body).await?;
    Ok(written.acted(&sku))
}

/// The product could be written, but never read.
pub(crate) fn must_not_be_reserved(sku: &Sku) -> Result<(), Problem> {
    if sku.as_str() != SKU_RESERVED {
        return Ok(());
    }
    let detail = format!("no product can be called {SKU_RESERVED}");
    let status = StatusCode::UNPROCESSABLE_ENTITY;
    Err(problem(status, "sku_reserved", detail.clone()).at("/sku", detail))
}

/// Every call here is an operator's, and what it changes may be cached as an offer.
async fn write<B: Serialize>(
    api: &Api,
    call: &Call,
    sku: &Sku,
    command: ProductCommand,
    body: &B,
) -> Result<Written, Problem> {
    let meta = call.meta(api, body);
    let executed = api
        .write::<Product>(call, &sku.into(), command, &meta)
        .await;
    // Also after a failure: it may have happened.
    api.questions.forget_product(sku);
    Ok(Written::from(&executed?))
}
