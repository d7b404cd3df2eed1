//! The catalogue page: what a product is, what it costs and whether it is on sale.

use cqrs_es::{EventEnvelope, View};
use kernel::{Description, Money, Reason, Title};
use product::{Product, ProductEvent};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strum::VariantNames;

use crate::moment::Moment;
use crate::view::{EntityView, Sort};

/// Whether a product is on sale.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, VariantNames, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum CardStatus {
    /// Not yet.
    #[default]
    Draft,
    /// On sale.
    Published,
    /// Not for now.
    Unpublished,
    /// Never again.
    Discontinued,
}

/// One product.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ProductCard {
    /// The SKU.
    pub id: String,
    /// The SKU again, under the name that order lines and stock use.
    pub sku: String,
    /// What it is called.
    pub title: Option<Title>,
    /// What it is.
    pub description: Option<Description>,
    /// The shelf that it stands on.
    pub category: Option<Title>,
    /// For one unit.
    pub price: Option<Money>,
    /// Whether it is on sale.
    pub status: CardStatus,
    /// Why it is off sale.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// How many events the product has.
    pub version: u64,
    /// When it came into the catalogue.
    pub created_at: Option<Moment>,
    /// When it was put on sale last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub published_at: Option<Moment>,
    /// When something about it changed last.
    pub updated_at: Option<Moment>,
}

impl EntityView<Product> for ProductCard {
    const NAME: &'static str = "product_card";
    const FILTERS: &'static [&'static str] = &["category", "status"];
    const WORDS: Option<&'static str> = Some("words");
    const SORT: Sort = Sort::Id;
}

impl View<Product> for ProductCard {
    fn update(&mut self, event: &EventEnvelope<Product>) {
        let at = Moment::of(event);
        self.id.clone_from(&event.aggregate_id);
        self.sku.clone_from(&event.aggregate_id);
        self.version = event.sequence as u64;
        self.updated_at = at;
        match &event.payload {
            ProductEvent::ProductCreated {
                title,
                description,
                category,
                price,
            } => {
                self.describe(title, description, category);
                self.price = Some(*price);
                self.created_at = at;
            }
            ProductEvent::DetailsUpdated {
                title,
                description,
                category,
            } => self.describe(title, description, category),
            ProductEvent::CategoryAssigned { category } => self.category = Some(category.clone()),
            ProductEvent::PriceSet { price } => self.price = Some(*price),
            ProductEvent::ProductPublished {} => {
                self.status = CardStatus::Published;
                self.reason = None;
                self.published_at = at;
            }
            ProductEvent::ProductUnpublished { reason } => {
                self.status = CardStatus::Unpublished;
                self.reason.clone_from(reason);
            }
            ProductEvent::ProductDiscontinued {} => self.status = CardStatus::Discontinued,
        }
    }
}

impl ProductCard {
    fn describe(&mut self, title: &Title, description: &Description, category: &Title) {
        self.title = Some(title.clone());
        self.description = Some(description.clone());
        self.category = Some(category.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testkit::{eur, fold};

    fn created() -> ProductEvent {
        ProductEvent::ProductCreated {
            title: "Tea".parse().unwrap(),
            description: "Green".parse().unwrap(),
            category: "drinks".parse().unwrap(),
            price: eur(500),
        }
    }

    #[test]
    fn a_created_product_is_a_draft() {
        let row: ProductCard = fold::<Product, _>("TEA-1", vec![created()]);
        assert_eq!(row.status, CardStatus::Draft);
        assert_eq!((row.id.as_str(), row.sku.as_str()), ("TEA-1", "TEA-1"));
        assert_eq!(row.price, Some(eur(500)));
    }

    #[test]
    fn publication_price_and_details_follow_the_events() {
        let row: ProductCard = fold::<Product, _>(
            "TEA-1",
            vec![
                created(),
                ProductEvent::ProductPublished {},
                ProductEvent::PriceSet { price: eur(650) },
                ProductEvent::DetailsUpdated {
                    title: "Tea".parse().unwrap(),
                    description: "Black".parse().unwrap(),
                    category: "hot".parse().unwrap(),
                },
            ],
        );
        assert_eq!(row.status, CardStatus::Published);
        assert!(row.published_at.is_some());
        assert_eq!(row.price, Some(eur(650)));
        assert_eq!(row.category, Some("hot".parse().unwrap()));
        assert_eq!(row.version, 4);
        let assigned = ProductEvent::CategoryAssigned {
            category: "iced".parse().unwrap(),
        };
        let row: ProductCard = fold::<Product, _>("TEA-1", vec![created(), assigned]);
        assert_eq!(row.category, Some("iced".parse().unwrap()));
    }

    #[test]
    fn off_sale_says_why() {
        let off = ProductEvent::ProductUnpublished {
            reason: Some("recall".parse().unwrap()),
        };
        let row: ProductCard = fold::<Product, _>("TEA-1", vec![created(), off]);
        assert_eq!(row.status, CardStatus::Unpublished);
        assert_eq!(row.reason, Some("recall".parse().unwrap()));
        let gone = vec![created(), ProductEvent::ProductDiscontinued {}];
        let row: ProductCard = fold::<Product, _>("TEA-1", gone);
        assert_eq!(row.status, CardStatus::Discontinued);
    }
}
