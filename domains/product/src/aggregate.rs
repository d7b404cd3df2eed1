//! One product: what follows from a command, and what a fact changes.

use kernel::{Decider, Description, Money, Reason, Title};
use serde::{Deserialize, Serialize};
use strum::{Display, EnumString};

use crate::{ProductCommand, ProductEvent, ProductRefusal};

/// Highest price of one unit, in minor units: the largest order (100 lines of 10,000 units) at this
/// price still fits 64 bits.
pub const PRICE_MAX_MINOR: i64 = 1_000_000_000_000;

/// A product of the catalogue.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Product {
    /// Never created.
    #[default]
    Unknown,
    /// Being prepared, never on sale so far.
    Draft(Listing),
    /// On sale.
    Published(Listing),
    /// Off sale for now.
    Unpublished(Listing),
    /// Off sale for good.
    Discontinued(Listing),
}

/// What the catalogue says about a product.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listing {
    /// What it is called.
    pub title: Title,
    /// What it is.
    pub description: Description,
    /// The shelf that it stands on.
    pub category: Title,
    /// For one unit.
    pub price: Money,
}

/// The stage by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, Display, EnumString)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum ProductStatus {
    /// Being prepared.
    Draft,
    /// On sale.
    Published,
    /// Off sale for now.
    Unpublished,
    /// Off sale for good.
    Discontinued,
}

/// What an order needs to know of a product.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offer {
    /// What it is called now.
    pub title: Title,
    /// What one unit costs now.
    pub price: Money,
    /// Is it on sale?
    pub published: bool,
}

impl Product {
    /// The stage, once created.
    pub fn status(&self) -> Option<ProductStatus> {
        match self {
            Self::Unknown => None,
            Self::Draft(_) => Some(ProductStatus::Draft),
            Self::Published(_) => Some(ProductStatus::Published),
            Self::Unpublished(_) => Some(ProductStatus::Unpublished),
            Self::Discontinued(_) => Some(ProductStatus::Discontinued),
        }
    }

    /// What the catalogue says, once created.
    pub fn listing(&self) -> Option<&Listing> {
        match self {
            Self::Unknown => None,
            Self::Draft(listing)
            | Self::Published(listing)
            | Self::Unpublished(listing)
            | Self::Discontinued(listing) => Some(listing),
        }
    }

    /// What an order needs to know, once created.
    pub fn offer(&self) -> Option<Offer> {
        self.listing().map(|listing| Offer {
            title: listing.title.clone(),
            price: listing.price,
            published: self.status() == Some(ProductStatus::Published),
        })
    }

    fn create(&self, listing: Listing) -> Result<Vec<ProductEvent>, ProductRefusal> {
        if self.listing().is_some() {
            return Err(ProductRefusal::ProductAlreadyExists);
        }
        must_be_a_price(listing.price)?;
        Ok(vec![ProductEvent::ProductCreated {
            title: listing.title,
            description: listing.description,
            category: listing.category,
            price: listing.price,
        }])
    }

    fn update(
        &self,
        title: &Title,
        description: &Description,
        category: &Title,
    ) -> Result<Vec<ProductEvent>, ProductRefusal> {
        let known = self.must_be_sellable()?;
        if (&known.title, &known.description, &known.category) == (title, description, category) {
            return Ok(vec![]);
        }
        Ok(vec![ProductEvent::DetailsUpdated {
            title: title.clone(),
            description: description.clone(),
            category: category.clone(),
        }])
    }

    fn assign(&self, category: &Title) -> Result<Vec<ProductEvent>, ProductRefusal> {
        if self.must_be_sellable()?.category == *category {
            return Ok(vec![]);
        }
        Ok(vec![ProductEvent::CategoryAssigned {
            category: category.clone(),
        }])
    }

    /// One event if it is new, one if its details or its price differ, two if both do.
    fn import(&self, listing: Listing) -> Result<Vec<ProductEvent>, ProductRefusal> {
        if self.listing().is_none() {
            return self.create(listing);
        }
        let mut events = self.update(&listing.title, &listing.description, &listing.category)?;
        events.extend(self.set_price(listing.price)?);
        Ok(events)
    }

    fn set_price(&self, price: Money) -> Result<Vec<ProductEvent>, ProductRefusal> {
        let known = self.must_be_sellable()?;
        must_be_a_price(price)?;
        if known.price == price {
            return Ok(vec![]);
        }
        Ok(vec![ProductEvent::PriceSet { price }])
    }

    fn publish(&self) -> Result<Vec<ProductEvent>, ProductRefusal> {
        self.must_be_sellable()?;
        if self.status() == Some(ProductStatus::Published) {
            return Ok(vec![]);
        }
        Ok(vec![ProductEvent::ProductPublished {}])
    }

    fn unpublish(&self, reason: Option<&Reason>) -> Result<Vec<ProductEvent>, ProductRefusal> {
        match self {
            Self::Unknown => Err(ProductRefusal::ProductUnknown),
            Self::Discontinued(_) => Err(ProductRefusal::ProductDiscontinued),
            Self::Draft(_) => Err(ProductRefusal::ProductNotPublished),
            Self::Unpublished(_) => Ok(vec![]),
            Self::Published(_) => Ok(vec![ProductEvent::ProductUnpublished {
                reason: reason.cloned(),
            }]),
        }
    }

    fn discontinue(&self) -> Result<Vec<ProductEvent>, ProductRefusal> {
        match self {
            Self::Unknown => Err(ProductRefusal::ProductUnknown),
            Self::Discontinued(_) => Ok(vec![]),
            Self::Draft(_) | Self::Published(_) | Self::Unpublished(_) => {
                Ok(vec![ProductEvent::ProductDiscontinued {}])
            }
        }
    }

    fn must_be_sellable(&self) -> Result<&Listing, ProductRefusal> {
        match self {
            Self::Unknown => Err(ProductRefusal::ProductUnknown),
            Self::Discontinued(_) => Err(ProductRefusal::ProductDiscontinued),
            Self::Draft(listing) | Self::Published(listing) | Self::Unpublished(listing) => {
                Ok(listing)
            }
        }
    }

    fn listing_mut(&mut self) -> Option<&mut Listing> {
        match self {
            Self::Unknown => None,
            Self::Draft(listing)
            | Self::Published(listing)
            | Self::Unpublished(listing)
            | Self::Discontinued(listing) => Some(listing),
        }
    }

    fn move_to(&mut self, stage: impl FnOnce(Listing) -> Self) {
        match std::mem::take(self) {
            Self::Unknown => {}
            Self::Draft(listing)
            | Self::Published(listing)
            | Self::Unpublished(listing)
            | Self::Discontinued(listing) => *self = stage(listing),
        }
    }
}

fn must_be_a_price(price: Money) -> Result<(), ProductRefusal> {
    if !price.is_positive() {
        return Err(ProductRefusal::PriceNotPositive);
    }
    if price.amount > PRICE_MAX_MINOR {
        return Err(ProductRefusal::PriceTooHigh {
            max: PRICE_MAX_MINOR,
        });
    }
    Ok(())
}

impl Decider for Product {
    const CONTEXT: &'static str = "product";

    fn decide(&self, command: &ProductCommand) -> Result<Vec<ProductEvent>, ProductRefusal> {
        match command {
            ProductCommand::CreateProduct {
                title,
                description,
                category,
                price,
            } => self.create(Listing {
                title: title.clone(),
                description: description.clone(),
                category: category.clone(),
                price: *price,
            }),
            ProductCommand::UpdateDetails {
                title,
                description,
                category,
            } => self.update(title, description, category),
            ProductCommand::AssignCategory { category } => self.assign(category),
            ProductCommand::ImportProduct {
                title,
                description,
                category,
                price,
            } => self.import(Listing {
                title: title.clone(),
                description: description.clone(),
                category: category.clone(),
                price: *price,
            }),
            ProductCommand::SetPrice { price } => self.set_price(*price),
            ProductCommand::PublishProduct {} => self.publish(),
            ProductCommand::UnpublishProduct { reason } => self.unpublish(reason.as_ref()),
            ProductCommand::DiscontinueProduct {} => self.discontinue(),
        }
    }

    fn evolve(&mut self, event: &ProductEvent) {
        match event {
            ProductEvent::ProductCreated {
                title,
                description,
                category,
                price,
            } => {
                *self = Self::Draft(Listing {
                    title: title.clone(),
                    description: description.clone(),
                    category: category.clone(),
                    price: *price,
                });
            }
            ProductEvent::DetailsUpdated {
                title,
                description,
                category,
            } => {
                if let Some(listing) = self.listing_mut() {
                    listing.title.clone_from(title);
                    listing.description.clone_from(description);
                    listing.category.clone_from(category);
                }
            }
            ProductEvent::CategoryAssigned { category } => {
                if let Some(listing) = self.listing_mut() {
                    listing.category.clone_from(category);
                }
            }
            ProductEvent::PriceSet { price } => {
                if let Some(listing) = self.listing_mut() {
                    listing.price = *price;
                }
            }
            ProductEvent::ProductPublished {} => self.move_to(Self::Published),
            ProductEvent::ProductUnpublished { reason: _ } => self.move_to(Self::Unpublished),
            ProductEvent::ProductDiscontinued {} => self.move_to(Self::Discontinued),
        }
    }
}

kernel::aggregate!(
    Product,
    "product",
    ProductCommand,
    ProductEvent,
    ProductRefusal
);
