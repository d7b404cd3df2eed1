//! What has happened in the product context, as it stands on the wire.

use kernel::{Description, Money, Reason, Title};
use serde::{Deserialize, Serialize};
use strum::{IntoStaticStr, VariantNames};

use crate::{LineError, Tally};

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
    /// It stands on another shelf.
    CategoryAssigned {
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

kernel::fact!(ProductEvent);

/// Facts about one bulk import.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, IntoStaticStr, VariantNames)]
#[serde(tag = "type", content = "data", rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum ImportEvent {
    /// Its first lines are coming in.
    ImportStarted {
        /// What the operator calls it: the Idempotency-Key.
        key: String,
    },
    /// So many lines are done.
    ImportProgressed {
        /// All lines so far.
        tally: Tally,
        /// What was wrong with those since the last record, up to a bound.
        errors: Vec<LineError>,
    },
    /// The lines broke off, or could not be done.
    ImportInterrupted {
        /// All lines that were done.
        tally: Tally,
        /// What was wrong with those since the last record, up to a bound.
        errors: Vec<LineError>,
        /// Why it did not go on.
        reason: Reason,
    },
    /// It was sent again and goes on where it was.
    ImportResumed {},
    /// The last line is done.
    ImportCompleted {
        /// All lines.
        tally: Tally,
        /// What was wrong with those since the last record, up to a bound.
        errors: Vec<LineError>,
    },
}

kernel::fact!(ImportEvent);
