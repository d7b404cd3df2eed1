//! What the product context has ever written stays readable.

#![allow(clippy::unwrap_used, reason = "a scenario that can not go on fails")]

use std::path::Path;

use kernel::{Money, golden};
use product::{Product, ProductEvent};
use strum::VariantNames;

#[test]
fn every_event_version_has_its_file() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("wire");
    let files = golden::check::<Product>(
        &folder,
        ProductEvent::VARIANTS,
        &[
            ProductEvent::ProductCreated {
                title: "Walnut desk".parse().unwrap(),
                description: "Solid walnut.\nOiled by hand.".parse().unwrap(),
                category: "Furniture".parse().unwrap(),
                price: Money::new(49_900, "EUR".parse().unwrap()),
            },
            ProductEvent::DetailsUpdated {
                title: "Oak desk".parse().unwrap(),
                description: "Solid oak.".parse().unwrap(),
                category: "Furniture".parse().unwrap(),
            },
            ProductEvent::PriceSet {
                price: Money::new(44_900, "EUR".parse().unwrap()),
            },
            ProductEvent::ProductPublished {},
            ProductEvent::ProductUnpublished {
                reason: Some("a new photograph is being made".parse().unwrap()),
            },
            ProductEvent::ProductDiscontinued {},
        ],
    )
    .unwrap();
    golden::no_other_files(&folder, &files).unwrap();
}
