//! What has happened in the product context, as it stands on the wire.

use kernel::{Description, Fact, Money, Reason, Title};
use serde::{Deserialize, Serialize};
use strum::{IntoStaticStr, VariantNames};

/// Facts about one product.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, IntoStaticStr, VariantNames)]
#[serde(tag = "type", content = "data", rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum ProductEvent {
    /// It is in the catalogue, as a draft.
    ProductCreated {
        /// What it is called.
        title: Title,
        /// What it is.
        description: Description,
        /// The shelf that it stands on.
        category: Title,
        /// For one unit.
        price: Money,
    },
    /// Title, description and category were rewritten.
    DetailsUpdated {
        /// What it is called.
        title: Title,
        /// What it is.
        description: Description,
        /// The shelf that it stands on.
        category: Title,
    },
    /// One unit costs this from now on.
    PriceSet {
        /// For one unit.
        price: Money,
    },
    /// It is on sale.
    ProductPublished {},
    /// It is off sale for now.
    ProductUnpublished {
        /// Why.
        reason: Option<Reason>,
    },
    /// It is off sale for good.
    ProductDiscontinued {},
}

impl cqrs_es::DomainEvent for ProductEvent {
    fn event_type(&self) -> String {
        self.name().to_owned()
    }

    fn event_version(&self) -> String {
        self.schema_version().to_string()
    }
}

impl Fact for ProductEvent {
    fn name(&self) -> &'static str {
        self.into()
    }
}
