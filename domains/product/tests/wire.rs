//! What the product context has ever written stays readable.

#![allow(clippy::unwrap_used, reason = "a scenario that can not go on fails")]

use std::path::Path;

use kernel::{Money, golden};
use product::{Import, ImportEvent, LineError, Product, ProductEvent, Tally};
use strum::VariantNames;

#[test]
fn every_event_version_has_its_file() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("wire");
    let mut files = golden::check::<Product>(
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
            ProductEvent::CategoryAssigned {
                category: "Desks".parse().unwrap(),
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
    let imports = golden::check::<Import>(
        &folder,
        ImportEvent::VARIANTS,
        &[
            ImportEvent::ImportStarted {
                key: "autumn-catalogue".to_owned(),
            },
            ImportEvent::ImportProgressed {
                tally: tally(),
                errors: errors(),
            },
            ImportEvent::ImportInterrupted {
                tally: tally(),
                errors: errors(),
                reason: "the body broke off".parse().unwrap(),
            },
            ImportEvent::ImportResumed {},
            ImportEvent::ImportCompleted {
                tally: tally(),
                errors: errors(),
            },
        ],
    )
    .unwrap();
    files.extend(imports);
    golden::no_other_files(&folder, &files).unwrap();
}

fn tally() -> Tally {
    Tally {
        lines: 1_000,
        created: 900,
        updated: 80,
        unchanged: 18,
        failed: 2,
        digest: "q9Yk3nq0bXv1cJm0rTz8yUu4pZ0s2aWn5eLhVfGdKo8".to_owned(),
    }
}

fn errors() -> Vec<LineError> {
    vec![LineError {
        line: 7,
        code: "price_not_positive".to_owned(),
        pointer: "/price/amount".to_owned(),
        detail: "the price must be above zero".to_owned(),
    }]
}
