//! What can be asked of the product context.

use kernel::{Description, Money, Reason, Title};
use serde::{Deserialize, Serialize};

use crate::{LineError, Tally};

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
    /// An operator moves the product to another shelf.
    AssignCategory {
        /// The shelf that it stands on from now on.
        category: Title,
    },
    /// A line of an import says what the product is: it is created, as a draft, or changed to that.
    ImportProduct {
        /// What it is called.
        title: Title,
        /// What it is.
        description: Description,
        /// The shelf that it stands on.
        category: Title,
        /// For one unit, above zero.
        price: Money,
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

/// Asked of one bulk import.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", content = "data", rename_all = "snake_case")]
pub enum ImportCommand {
    /// An operator begins to send lines, or goes on after they broke off.
    StartImport {
        /// What the operator calls it: the Idempotency-Key.
        key: String,
    },
    /// The lines so far are done.
    RecordProgress {
        /// All lines so far.
        tally: Tally,
        /// What was wrong with those since the last record.
        errors: Vec<LineError>,
    },
    /// The lines broke off, or can't be done now.
    InterruptImport {
        /// All lines that were done.
        tally: Tally,
        /// What was wrong with those since the last record.
        errors: Vec<LineError>,
        /// Why it does not go on.
        reason: Reason,
    },
    /// The last line is done.
    CompleteImport {
        /// All lines.
        tally: Tally,
        /// What was wrong with those since the last record.
        errors: Vec<LineError>,
    },
}
