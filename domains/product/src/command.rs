//! What can be asked of the product context.

use kernel::{Description, Money, Reason, Title};
use serde::{Deserialize, Serialize};

/// Asked of one product.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", content = "data", rename_all = "snake_case")]
pub enum ProductCommand {
    /// An operator adds a product to the catalogue, as a draft.
    CreateProduct {
        /// What it is called.
        title: Title,
        /// What it is.
        description: Description,
        /// The shelf that it stands on.
        category: Title,
        /// For one unit, above zero.
        price: Money,
    },
    /// An operator rewrites title, description and category.
    UpdateDetails {
        /// What it is called.
        title: Title,
        /// What it is.
        description: Description,
        /// The shelf that it stands on.
        category: Title,
    },
    /// An operator changes the price of one unit. Orders placed before keep theirs.
    SetPrice {
        /// For one unit, above zero.
        price: Money,
    },
    /// An operator puts the product on sale.
    PublishProduct {},
    /// An operator takes the product off sale for now.
    UnpublishProduct {
        /// Why.
        reason: Option<Reason>,
    },
    /// An operator takes the product off sale for good.
    DiscontinueProduct {},
}
