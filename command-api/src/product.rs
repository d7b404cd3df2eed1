//! `/v1/products`: the catalogue, by operators.

use axum::extract::State;
use axum::http::StatusCode;
use edge::openapi::{Calls, about};
use edge::{Body, Problem};
use kernel::{Description, Money, Reason, Sku, Title};
use product::ProductRefusal::{
    PriceNotPositive, PriceTooHigh, ProductAlreadyExists, ProductDiscontinued, ProductNotPublished,
    ProductUnknown,
};
use product::{PRICE_MAX_MINOR, Product, ProductCommand};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::api::Api;
use crate::call::Operators;
use crate::error::refusals;
use crate::problems::problem;
use crate::resource::{Asks, act};
use crate::write::{Created, Made, Written};

/// What stands where a SKU does in the paths of reads: no product can have it.
const SKU_RESERVED: &str = "imports";

/// A price that is none.
const NO_PRICE: [product::ProductRefusal; 2] = [
    PriceNotPositive,
    PriceTooHigh {
        max: PRICE_MAX_MINOR,
    },
];

pub(crate) fn calls() -> Calls<Api> {
    let sellable = || refusals([ProductUnknown, ProductDiscontinued]);
    let price = json!({ "amount": 1299, "currency": "EUR" });
    let details = json!({
        "title": "Millstone mug", "description": "Holds tea.", "category": "Kitchen",
    });
    Calls::default()
        .post(
            "/v1/products",
            about("Create a product, as a draft")
                .refuses(refusals([ProductAlreadyExists]))
                .refuses(refusals(NO_PRICE))
                .refuses([reserved()])
                .example(json!({
                    "sku": "MUG", "title": "Millstone mug", "description": "Holds tea.",
                    "category": "Kitchen", "price": price,
                })),
            create,
        )
        .post(
            "/v1/products/{sku}/price",
            about("Set a product's price")
                .more("Orders that were placed before keep theirs.")
                .refuses(sellable())
                .refuses(refusals(NO_PRICE))
                .example(json!({ "price": price })),
            act::<Operators, Product, SetPrice>,
        )
        .post(
            "/v1/products/{sku}/details",
            about("Rewrite a product's title, description and category")
                .refuses(sellable())
                .example(details),
            act::<Operators, Product, UpdateDetails>,
        )
        .post(
            "/v1/products/{sku}/category",
            about("Move a product to another category")
                .refuses(sellable())
                .example(json!({ "category": "Gifts" })),
            act::<Operators, Product, AssignCategory>,
        )
        .post(
            "/v1/products/{sku}/publish",
            about("Put a product on sale")
                .refuses(sellable())
                .example(json!({})),
            act::<Operators, Product, PublishProduct>,
        )
        .post(
            "/v1/products/{sku}/unpublish",
            about("Take a product off sale for now")
                .refuses(sellable())
                .refuses(refusals([ProductNotPublished]))
                .example(json!({ "reason": "sold out" })),
            act::<Operators, Product, UnpublishProduct>,
        )
        .post(
            "/v1/products/{sku}/discontinue",
            about("Take a product off sale for good")
                .refuses(refusals([ProductUnknown]))
                .example(json!({})),
            act::<Operators, Product, DiscontinueProduct>,
        )
}

/// A new product.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct CreateProduct {
    /// Its stock keeping unit, for good.
    sku: Sku,
    /// What it is called.
    title: Title,
    /// What it is, in some paragraphs.
    description: Description,
    /// The shelf that it stands on.
    category: Title,
    /// For one unit, above zero.
    price: Money,
}

/// Another price.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct SetPrice {
    /// For one unit, above zero.
    price: Money,
}

impl Asks<Product> for SetPrice {
    fn command(&self) -> ProductCommand {
        ProductCommand::SetPrice { price: self.price }
    }
}

/// Other words about a product.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct UpdateDetails {
    /// What it is called.
    title: Title,
    /// What it is, in some paragraphs.
    description: Description,
    /// The shelf that it stands on.
    category: Title,
}

impl Asks<Product> for UpdateDetails {
    fn command(&self) -> ProductCommand {
        ProductCommand::UpdateDetails {
            title: self.title.clone(),
            description: self.description.clone(),
            category: self.category.clone(),
        }
    }
}

/// Another shelf.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct AssignCategory {
    /// The shelf that it stands on from now on.
    category: Title,
}

impl Asks<Product> for AssignCategory {
    fn command(&self) -> ProductCommand {
        let category = self.category.clone();
        ProductCommand::AssignCategory { category }
    }
}

/// Nothing to say.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct PublishProduct {}

impl Asks<Product> for PublishProduct {
    fn command(&self) -> ProductCommand {
        ProductCommand::PublishProduct {}
    }
}

/// Why, if there is something to say.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct UnpublishProduct {
    /// Why.
    #[serde(default)]
    reason: Option<Reason>,
}

impl Asks<Product> for UnpublishProduct {
    fn command(&self) -> ProductCommand {
        let reason = self.reason.clone();
        ProductCommand::UnpublishProduct { reason }
    }
}

/// Nothing to say.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct DiscontinueProduct {}

impl Asks<Product> for DiscontinueProduct {
    fn command(&self) -> ProductCommand {
        ProductCommand::DiscontinueProduct {}
    }
}

async fn create(
    State(api): State<Api>,
    Operators(call): Operators,
    Body(body): Body<CreateProduct>,
) -> Result<Made<Created>, Problem> {
    must_not_be_reserved(&body.sku)?;
    let command = ProductCommand::CreateProduct {
        title: body.title.clone(),
        description: body.description.clone(),
        category: body.category.clone(),
        price: body.price,
    };
    let executed = api
        .change::<Product, _>(&call, &body.sku, command, &body)
        .await?;
    let location = format!("/v1/products/{}", body.sku);
    Ok(Written::from(&executed).made(location, Created::new(&body.sku)))
}

/// The product could be written, but never read.
pub(crate) fn must_not_be_reserved(sku: &Sku) -> Result<(), Problem> {
    if sku.as_str() == SKU_RESERVED {
        Err(reserved())
    } else {
        Ok(())
    }
}

fn reserved() -> Problem {
    let detail = format!("no product can be called {SKU_RESERVED}");
    let status = StatusCode::UNPROCESSABLE_ENTITY;
    problem(status, "sku_reserved", detail.clone()).at("/sku", detail)
}
