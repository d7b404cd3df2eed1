//! The price history of a product: what it cost from when to when, and whether it was on sale then.

use cqrs_es::{EventEnvelope, View};
use kernel::Money;
use product::{Product, ProductEvent};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::moment::Moment;
use crate::product::CardStatus;
use crate::view::{EntityView, Sort};

/// Most prices of a product that are kept, the latest ones: a row is written as a whole. Its events
/// hold all of them.
const PRICES_KEPT_MAX: usize = 500;

/// What a product has cost.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct PriceHistory {
    /// The SKU.
    pub id: String,
    /// The SKU again, under the name that order lines and stock use.
    pub sku: String,
    /// Whether it is on sale now.
    pub status: CardStatus,
    /// Latest first.
    pub prices: Vec<PriceEntry>,
    /// How many events the product has.
    pub version: u64,
}

/// One price.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PriceEntry {
    /// For one unit.
    pub price: Money,
    /// From when.
    pub since: Option<Moment>,
    /// Until when; none for the price of now.
    pub until: Option<Moment>,
    /// Could anybody buy at this price?
    pub offered: bool,
}

impl EntityView<Product> for PriceHistory {
    const NAME: &'static str = "price_history";
    const FILTERS: &'static [&'static str] = &[];
    const SORT: Sort = Sort::Id;
}

impl View<Product> for PriceHistory {
    fn update(&mut self, event: &EventEnvelope<Product>) {
        let at = Moment::of(event);
        self.id.clone_from(&event.aggregate_id);
        self.sku.clone_from(&event.aggregate_id);
        self.version = event.sequence as u64;
        match &event.payload {
            ProductEvent::ProductCreated {
                title: _,
                description: _,
                category: _,
                price,
            }
            | ProductEvent::PriceSet { price } => self.begin(*price, at),
            ProductEvent::ProductPublished {} => {
                self.status = CardStatus::Published;
                if let Some(current) = self.prices.first_mut() {
                    current.offered = true;
                }
            }
            ProductEvent::ProductUnpublished { reason: _ } => {
                self.status = CardStatus::Unpublished;
            }
            ProductEvent::ProductDiscontinued {} => self.status = CardStatus::Discontinued,
            ProductEvent::DetailsUpdated { .. } | ProductEvent::CategoryAssigned { .. } => {}
        }
    }
}

impl PriceHistory {
    fn begin(&mut self, price: Money, at: Option<Moment>) {
        if let Some(former) = self.prices.first_mut() {
            former.until = at;
        }
        let entry = PriceEntry {
            price,
            since: at,
            until: None,
            offered: self.status == CardStatus::Published,
        };
        self.prices.insert(0, entry);
        self.prices.truncate(PRICES_KEPT_MAX);
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

    fn set(amount: i64) -> ProductEvent {
        let price = eur(amount);
        ProductEvent::PriceSet { price }
    }

    #[test]
    fn each_price_says_from_when_to_when_and_whether_it_was_offered() {
        let row: PriceHistory = fold::<Product, _>(
            "TEA-1",
            vec![
                created(),
                set(600),
                ProductEvent::ProductPublished {},
                set(550),
                ProductEvent::ProductUnpublished { reason: None },
                set(700),
            ],
        );
        let told: Vec<_> = row
            .prices
            .iter()
            .map(|entry| (entry.price, entry.offered))
            .collect();
        assert_eq!(
            told,
            [
                (eur(700), false),
                (eur(550), true),
                (eur(600), true),
                (eur(500), false)
            ]
        );
        assert_eq!(row.prices[0].until, None);
        for pair in row.prices.windows(2) {
            assert_eq!(pair[1].until, pair[0].since);
            assert!(pair[1].since < pair[0].since);
        }
    }

    #[test]
    fn the_latest_prices_are_kept() {
        let mut events = vec![created()];
        events.extend((1..=600).map(set));
        let row: PriceHistory = fold::<Product, _>("TEA-1", events);
        assert_eq!(row.prices.len(), PRICES_KEPT_MAX);
        assert_eq!(row.prices[0].price, eur(600));
        assert_eq!(row.version, 601);
    }
}
