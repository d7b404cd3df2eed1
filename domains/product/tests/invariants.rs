//! Whatever is asked, in whatever order: a command is done once, a discontinued product stays as it
//! is, an import only goes forward, and what is stored is what is read.

#![allow(clippy::unwrap_used, reason = "a scenario that can not go on fails")]

use kernel::{Decider, Money, Title};
use product::{
    ERRORS_KEPT_MAX, Import, ImportCommand, ImportStatus, LineError, Product, ProductCommand,
    ProductStatus, Tally,
};
use proptest::prelude::*;

fn titles() -> impl Strategy<Value = Title> {
    (0_u8..3).prop_map(|n| format!("Title {n}").parse().unwrap())
}

/// Also some that are no prices.
fn prices() -> impl Strategy<Value = Money> {
    (-1_i64..4).prop_map(|amount| Money::new(amount, "EUR".parse().unwrap()))
}

fn product_commands() -> impl Strategy<Value = ProductCommand> {
    let description = || "Solid.".parse().unwrap();
    prop_oneof![
        (titles(), titles(), prices()).prop_map(move |(title, category, price)| {
            ProductCommand::CreateProduct {
                title,
                description: description(),
                category,
                price,
            }
        }),
        (titles(), titles()).prop_map(move |(title, category)| {
            ProductCommand::UpdateDetails {
                title,
                description: description(),
                category,
            }
        }),
        titles().prop_map(|category| ProductCommand::AssignCategory { category }),
        (titles(), titles(), prices()).prop_map(move |(title, category, price)| {
            ProductCommand::ImportProduct {
                title,
                description: description(),
                category,
                price,
            }
        }),
        prices().prop_map(|price| ProductCommand::SetPrice { price }),
        Just(ProductCommand::PublishProduct {}),
        Just(ProductCommand::UnpublishProduct { reason: None }),
        Just(ProductCommand::DiscontinueProduct {}),
    ]
}

/// Lines 0 to 400 of one of two files.
fn tallies() -> impl Strategy<Value = Tally> {
    (0_u64..5, 0_u8..2).prop_map(|(hundreds, file)| Tally {
        lines: hundreds * 100,
        digest: if hundreds == 0 {
            String::new()
        } else {
            format!("file {file} to {hundreds}")
        },
        ..Tally::default()
    })
}

fn errors() -> impl Strategy<Value = Vec<LineError>> {
    (0_usize..80).prop_map(|count| {
        let error = LineError {
            line: 1,
            code: "price_not_positive".to_owned(),
            pointer: "/price/amount".to_owned(),
            detail: "the price must be above zero".to_owned(),
        };
        vec![error; count]
    })
}

fn import_commands() -> impl Strategy<Value = ImportCommand> {
    let reason = || "the body broke off".parse().unwrap();
    prop_oneof![
        1 => Just(ImportCommand::StartImport { key: "autumn".to_owned() }),
        4 => (tallies(), errors())
            .prop_map(|(tally, errors)| ImportCommand::RecordProgress { tally, errors }),
        2 => (tallies(), errors()).prop_map(move |(tally, errors)| {
            ImportCommand::InterruptImport { tally, errors, reason: reason() }
        }),
        1 => (tallies(), errors())
            .prop_map(|(tally, errors)| ImportCommand::CompleteImport { tally, errors }),
    ]
}

/// Does `command`; a refusal is an answer as good as any here.
fn does<A: Decider>(aggregate: &mut A, command: &A::Command) -> Vec<A::Event> {
    let events = aggregate.decide(command).unwrap_or_default();
    for event in &events {
        aggregate.evolve(event);
    }
    events
}

/// What an event or state is after it was stored.
fn stored<T: serde::Serialize + serde::de::DeserializeOwned>(value: &T) -> T {
    serde_json::from_str(&serde_json::to_string(value).unwrap()).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_product_does_each_command_once_and_ends_with_being_discontinued(
        commands in proptest::collection::vec(product_commands(), 1..60),
    ) {
        let mut product = Product::default();
        for command in commands {
            let before = product.clone();
            for event in does(&mut product, &command) {
                prop_assert_eq!(&stored(&event), &event);
            }
            prop_assert!(does(&mut product.clone(), &command).is_empty(), "{command:?} twice");
            if before.status() == Some(ProductStatus::Discontinued) {
                prop_assert_eq!(&product, &before);
            }
            let positive = product.listing().is_none_or(|listing| listing.price.is_positive());
            prop_assert!(positive, "{product:?}");
            prop_assert_eq!(&stored(&product), &product);
        }
    }

    #[test]
    fn an_import_counts_each_line_once_and_only_goes_forward(
        commands in proptest::collection::vec(import_commands(), 1..60),
    ) {
        let mut import = Import::default();
        for command in commands {
            let before = import.clone();
            for event in does(&mut import, &command) {
                prop_assert_eq!(&stored(&event), &event);
            }
            prop_assert!(does(&mut import.clone(), &command).is_empty(), "{command:?} twice");
            let lines = |import: &Import| import.report().map_or(0, |report| report.tally.lines);
            prop_assert!(lines(&before) <= lines(&import));
            if before.status() == Some(ImportStatus::Completed) {
                prop_assert_eq!(&import, &before);
            }
            let kept = import.report().map_or(0, |report| report.errors.len());
            prop_assert!(kept <= ERRORS_KEPT_MAX);
            prop_assert_eq!(&stored(&import), &import);
        }
    }
}
