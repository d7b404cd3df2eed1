//! A product: what may be asked of it, told as sentences.

#![allow(clippy::unwrap_used, reason = "a scenario that can not go on fails")]

use kernel::{Description, Money, TestFramework, Title};
use product::{
    Offer, PRICE_MAX_MINOR, Product, ProductCommand, ProductEvent, ProductRefusal, ProductStatus,
};

fn eur(amount: i64) -> Money {
    Money::new(amount, "EUR".parse().unwrap())
}

fn title() -> Title {
    "Walnut desk".parse().unwrap()
}

fn description() -> Description {
    "Solid.\nOiled.".parse().unwrap()
}

fn category() -> Title {
    "Furniture".parse().unwrap()
}

fn create(price: Money) -> ProductCommand {
    ProductCommand::CreateProduct {
        title: title(),
        description: description(),
        category: category(),
        price,
    }
}

fn created() -> ProductEvent {
    ProductEvent::ProductCreated {
        title: title(),
        description: description(),
        category: category(),
        price: eur(49_900),
    }
}

fn published() -> ProductEvent {
    ProductEvent::ProductPublished {}
}

fn unpublished() -> ProductEvent {
    ProductEvent::ProductUnpublished { reason: None }
}

fn discontinued() -> ProductEvent {
    ProductEvent::ProductDiscontinued {}
}

fn set_price(price: Money) -> ProductCommand {
    ProductCommand::SetPrice { price }
}

fn update(title: Title) -> ProductCommand {
    ProductCommand::UpdateDetails {
        title,
        description: description(),
        category: category(),
    }
}

fn assign(category: &str) -> ProductCommand {
    ProductCommand::AssignCategory {
        category: category.parse().unwrap(),
    }
}

/// A line of an import: the created product, but for title and price.
fn import(title: &str, price: Money) -> ProductCommand {
    ProductCommand::ImportProduct {
        title: title.parse().unwrap(),
        description: description(),
        category: category(),
        price,
    }
}

fn publish() -> ProductCommand {
    ProductCommand::PublishProduct {}
}

fn unpublish() -> ProductCommand {
    ProductCommand::UnpublishProduct { reason: None }
}

fn discontinue() -> ProductCommand {
    ProductCommand::DiscontinueProduct {}
}

#[track_caller]
fn follows(given: Vec<ProductEvent>, when: ProductCommand, then: Vec<ProductEvent>) {
    TestFramework::<Product>::with(())
        .given(given)
        .when(when)
        .then_expect_events(then);
}

#[track_caller]
fn is_refused(given: Vec<ProductEvent>, when: ProductCommand, then: ProductRefusal) {
    TestFramework::<Product>::with(())
        .given(given)
        .when(when)
        .then_expect_error(then);
}

fn after(events: &[ProductEvent]) -> Product {
    let mut product = Product::default();
    for event in events {
        kernel::Decider::evolve(&mut product, event);
    }
    product
}

#[test]
fn a_product_begins_as_a_draft() {
    follows(vec![], create(eur(49_900)), vec![created()]);
    assert_eq!(after(&[created()]).status(), Some(ProductStatus::Draft));
}

#[test]
fn a_sku_names_one_product() {
    is_refused(
        vec![created()],
        create(eur(1)),
        ProductRefusal::ProductAlreadyExists,
    );
}

#[test]
fn a_price_is_above_zero_and_bounded() {
    let too_high = ProductRefusal::PriceTooHigh {
        max: PRICE_MAX_MINOR,
    };
    for price in [eur(0), eur(-1), eur(i64::MIN)] {
        is_refused(vec![], create(price), ProductRefusal::PriceNotPositive);
        is_refused(
            vec![created()],
            set_price(price),
            ProductRefusal::PriceNotPositive,
        );
    }
    for price in [eur(PRICE_MAX_MINOR + 1), eur(i64::MAX)] {
        is_refused(vec![], create(price), too_high.clone());
        is_refused(vec![created()], set_price(price), too_high.clone());
    }
    let price = eur(PRICE_MAX_MINOR);
    follows(
        vec![created()],
        set_price(price),
        vec![ProductEvent::PriceSet { price }],
    );
}

#[test]
fn the_largest_order_at_the_highest_price_has_a_total() {
    let line = eur(PRICE_MAX_MINOR).times(10_000).unwrap();
    assert!(line.times(100).is_ok());
}

#[test]
fn nothing_else_can_be_asked_of_an_unknown_product() {
    for command in [
        update(title()),
        assign("Desks"),
        set_price(eur(1)),
        publish(),
        unpublish(),
        discontinue(),
    ] {
        is_refused(vec![], command, ProductRefusal::ProductUnknown);
    }
}

#[test]
fn a_price_is_set_once() {
    let price = eur(44_900);
    let set = ProductEvent::PriceSet { price };
    follows(vec![created()], set_price(price), vec![set.clone()]);
    follows(vec![created(), set], set_price(price), vec![]);
}

#[test]
fn details_are_rewritten_once() {
    let renamed: Title = "Oak desk".parse().unwrap();
    let updated = ProductEvent::DetailsUpdated {
        title: renamed.clone(),
        description: description(),
        category: category(),
    };
    follows(
        vec![created()],
        update(renamed.clone()),
        vec![updated.clone()],
    );
    follows(vec![created(), updated], update(renamed), vec![]);
}

#[test]
fn a_product_moves_to_another_shelf_once() {
    let assigned = ProductEvent::CategoryAssigned {
        category: "Desks".parse().unwrap(),
    };
    follows(vec![created()], assign("Desks"), vec![assigned.clone()]);
    follows(vec![created(), assigned], assign("Desks"), vec![]);
    follows(vec![created()], assign("Furniture"), vec![]);
}

#[test]
fn an_imported_line_makes_a_product_or_changes_what_differs() {
    let price = eur(44_900);
    let set = ProductEvent::PriceSet { price };
    let updated = ProductEvent::DetailsUpdated {
        title: "Oak desk".parse().unwrap(),
        description: description(),
        category: category(),
    };
    let line = || import("Oak desk", price);
    follows(vec![], import("Walnut desk", eur(49_900)), vec![created()]);
    follows(
        vec![created()],
        import("Walnut desk", price),
        vec![set.clone()],
    );
    follows(
        vec![created()],
        import("Oak desk", eur(49_900)),
        vec![updated.clone()],
    );
    follows(vec![created()], line(), vec![updated.clone(), set.clone()]);
    follows(vec![created(), updated, set], line(), vec![]);
}

#[test]
fn an_imported_line_keeps_to_the_rules_of_a_price() {
    for given in [vec![], vec![created()]] {
        is_refused(
            given,
            import("Oak desk", eur(0)),
            ProductRefusal::PriceNotPositive,
        );
    }
}

#[test]
fn a_product_goes_on_sale_and_off_and_on_again() {
    follows(vec![created()], publish(), vec![published()]);
    follows(vec![created(), published()], publish(), vec![]);
    follows(
        vec![created(), published()],
        unpublish(),
        vec![unpublished()],
    );
    let off_sale = vec![created(), published(), unpublished()];
    follows(off_sale.clone(), unpublish(), vec![]);
    follows(off_sale, publish(), vec![published()]);
}

#[test]
fn a_draft_can_not_be_taken_off_sale() {
    is_refused(
        vec![created()],
        unpublish(),
        ProductRefusal::ProductNotPublished,
    );
}

#[test]
fn a_product_is_discontinued_from_any_stage_once() {
    let stages = [
        vec![created()],
        vec![created(), published()],
        vec![created(), published(), unpublished()],
    ];
    for stage in stages {
        follows(stage, discontinue(), vec![discontinued()]);
    }
    follows(vec![created(), discontinued()], discontinue(), vec![]);
}

#[test]
fn a_discontinued_product_changes_no_more() {
    for command in [
        update("Oak desk".parse().unwrap()),
        assign("Desks"),
        import("Walnut desk", eur(49_900)),
        set_price(eur(1)),
        publish(),
        unpublish(),
    ] {
        is_refused(
            vec![created(), published(), discontinued()],
            command,
            ProductRefusal::ProductDiscontinued,
        );
    }
}

#[test]
fn an_offer_says_title_price_and_whether_it_is_on_sale() {
    let offer = |published, price| {
        Some(Offer {
            title: title(),
            price,
            published,
        })
    };
    let cheaper = ProductEvent::PriceSet { price: eur(100) };
    assert_eq!(after(&[]).offer(), None);
    assert_eq!(after(&[created()]).offer(), offer(false, eur(49_900)));
    assert_eq!(
        after(&[created(), published(), cheaper]).offer(),
        offer(true, eur(100))
    );
    for off in [unpublished(), discontinued()] {
        assert_eq!(
            after(&[created(), published(), off]).offer(),
            offer(false, eur(49_900))
        );
    }
}

#[test]
fn a_fact_about_a_product_that_never_was_changes_nothing() {
    let price = eur(1);
    assert_eq!(
        after(&[published(), ProductEvent::PriceSet { price }]),
        Product::default()
    );
}
