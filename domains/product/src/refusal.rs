//! Why the product context says no.

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Reasons to refuse a [`ProductCommand`](crate::ProductCommand), in the order in which they are
/// checked.
#[derive(Debug, Clone, PartialEq, Eq, Error, Serialize, Deserialize)]
#[serde(tag = "code", rename_all = "snake_case")]
pub enum ProductRefusal {
    /// The SKU is taken.
    #[error("the product already exists")]
    ProductAlreadyExists,
    /// The SKU names no product.
    #[error("there is no such product")]
    ProductUnknown,
    /// It is off sale for good, and nothing about it changes any more.
    #[error("the product is discontinued")]
    ProductDiscontinued,
    /// It was never on sale, so it can't be taken off.
    #[error("the product is a draft, it was never published")]
    ProductNotPublished,
    /// Nothing is given away, and nobody is paid to take it.
    #[error("the price must be above zero")]
    PriceNotPositive,
    /// So high that an order of the largest size could overflow.
    #[error("the price must not be above {max} minor units")]
    PriceTooHigh {
        /// The bound, in minor units.
        max: i64,
    },
}

/// Reasons to refuse an [`ImportCommand`](crate::ImportCommand), in the order in which they are
/// checked.
#[derive(Debug, Clone, PartialEq, Eq, Error, Serialize, Deserialize)]
#[serde(tag = "code", rename_all = "snake_case")]
pub enum ImportRefusal {
    /// Nothing was started under this id.
    #[error("there is no such import")]
    ImportUnknown,
    /// The lines aren't those that were done under this id before.
    #[error("the import was started with other lines")]
    ImportDiffers,
}
