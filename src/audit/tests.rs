//! A story that adds up, and what is found when one of its events is missing, doubled or another.

use chrono::Utc;
use kernel::Position;
use serde_json::{Value, json};
use streams::RecordedEvent;
use uuid::Uuid;

use super::books::Books;
use super::outside::{Intent, Ledger};

/// Stream, aggregate, what happened.
type Told = (&'static str, &'static str, &'static str, Value);

fn eur(amount: i64) -> Value {
    json!({ "amount": amount, "currency": "EUR" })
}

fn stock(on_hand: i64, reserved: i64, committed: i64) -> Value {
    json!({ "on_hand": on_hand, "reserved": reserved, "committed": committed })
}

fn hold(stock: &Value) -> Value {
    json!({ "reservation": "o_0", "quantity": 2, "stock": stock })
}

fn mail(template: &str) -> Value {
    json!({ "template": template, "user_id": "u", "details": { "order_id": "o" } })
}

/// Two mugs are sold, one of them comes back.
fn story() -> Vec<Told> {
    [sold(), paid(), packed(), told()].concat()
}

fn sold() -> Vec<Told> {
    let line = json!({ "sku": "MUG", "quantity": 2, "unit_price": eur(500) });
    let back = json!({ "sku": "MUG", "quantity": 1 });
    vec![
        ("user", "u", "user_registered", json!({})),
        (
            "order",
            "o",
            "order_placed",
            json!({ "lines": [line], "total": eur(1_000) }),
        ),
        ("order", "o", "order_confirmed", json!({})),
        ("order", "o", "order_shipped", json!({})),
        (
            "order",
            "o",
            "return_received",
            json!({ "return_id": "b", "lines": [back], "amount": eur(500) }),
        ),
        ("order", "o", "order_refunded", refund()),
        (
            "checkout",
            "o",
            "checkout_started",
            json!({ "order_id": "o" }),
        ),
        ("checkout", "o", "checkout_completed", json!({})),
        ("checkout", "o", "shipping_started", json!({})),
        ("checkout", "o", "checkout_ended", json!({})),
        (
            "checkout.return",
            "b",
            "returning_started",
            json!({ "order_id": "o" }),
        ),
        ("checkout.return", "b", "returning_ended", json!({})),
    ]
}

fn refund() -> Value {
    json!({ "refund_id": "b", "amount": eur(500) })
}

fn paid() -> Vec<Told> {
    vec![
        (
            "payment",
            "p",
            "payment_requested",
            json!({ "order_id": "o", "amount": eur(1_000) }),
        ),
        (
            "payment",
            "p",
            "provider_intent_created",
            json!({ "intent_id": "pi" }),
        ),
        (
            "payment",
            "p",
            "payment_authorized",
            json!({ "amount": eur(1_000) }),
        ),
        (
            "payment",
            "p",
            "payment_captured",
            json!({ "amount": eur(1_000) }),
        ),
        ("payment", "p", "refund_requested", refund()),
        ("payment", "p", "payment_refunded", refund()),
    ]
}

fn packed() -> Vec<Told> {
    vec![
        ("inventory", "MUG", "stock_item_created", json!({})),
        (
            "inventory",
            "MUG",
            "stock_received",
            json!({ "quantity": 3, "stock": stock(3, 0, 0) }),
        ),
        ("inventory", "MUG", "stock_reserved", hold(&stock(3, 2, 0))),
        (
            "inventory",
            "MUG",
            "reservation_committed",
            hold(&stock(3, 0, 2)),
        ),
        ("inventory", "MUG", "stock_shipped", hold(&stock(1, 0, 0))),
        (
            "inventory",
            "MUG",
            "return_restocked",
            json!({ "return_id": "b", "quantity": 1, "stock": stock(2, 0, 0) }),
        ),
    ]
}

fn told() -> Vec<Told> {
    vec![
        (
            "notification",
            "m0",
            "notification_requested",
            json!({ "template": "welcome", "user_id": "u" }),
        ),
        ("notification", "m0", "notification_sent", json!({})),
        (
            "notification",
            "m1",
            "notification_requested",
            mail("order_confirmed"),
        ),
        ("notification", "m1", "notification_sent", json!({})),
        (
            "notification",
            "m2",
            "notification_requested",
            mail("order_shipped"),
        ),
        ("notification", "m2", "notification_sent", json!({})),
        (
            "notification",
            "m3",
            "notification_requested",
            mail("order_refunded"),
        ),
        ("notification", "m3", "notification_failed", json!({})),
    ]
}

fn recorded((place, id, name, data): Told, sequence: u64) -> RecordedEvent {
    let (context, kind) = place
        .split_once('.')
        .map_or((place, None), |(context, kind)| (context, Some(kind)));
    RecordedEvent {
        position: Position::new(context.to_uppercase(), sequence),
        subject: format!("event.{place}.{id}"),
        context: context.to_owned(),
        kind: kind.map(str::to_owned),
        aggregate_id: id.parse().unwrap(),
        id: Uuid::new_v4(),
        event_type: name.to_owned(),
        schema_version: 1,
        version: sequence,
        time: Utc::now(),
        recorded_at: Utc::now(),
        command_id: Uuid::new_v4(),
        correlation_id: None,
        causation_id: None,
        request_digest: None,
        actor: "system".to_owned(),
        traceparent: None,
        data: data.to_string().into(),
    }
}

/// The provider's record of the story.
fn ledger() -> Ledger {
    let intent = Intent {
        order_id: Some("o".to_owned()),
        received: 1_000,
        refunded: 500,
        ..Intent::default()
    };
    Ledger {
        intents: [("pi".to_owned(), intent)].into(),
    }
}

/// The rules that an audit at rest finds broken, each once, in their order.
fn broken(story: Vec<Told>, ledger: &Ledger) -> Vec<&'static str> {
    let mut books = Books::default();
    for (told, sequence) in story.into_iter().zip(1..) {
        books.see(&recorded(told, sequence));
    }
    books.judge(ledger, true);
    books.taken(&["m0", "m1", "m2"].map(|id| (id.to_owned(), 1)).into());
    let mut rules: Vec<_> = books.findings.iter().map(|found| found.rule).collect();
    rules.dedup();
    rules
}

/// The story without what happened there.
fn without(name: &str, id: &str) -> Vec<Told> {
    let mut story = story();
    let all = story.len();
    story.retain(|told| (told.2, told.1) != (name, id));
    assert_eq!(story.len(), all - 1, "{name} of {id}");
    story
}

/// The story with what happened there told twice.
fn twice(name: &str) -> Vec<Told> {
    let mut story = story();
    let place = story.iter().position(|told| told.2 == name).unwrap();
    story.insert(place, story[place].clone());
    story
}

/// The story with another body there.
fn another(name: &str, data: Value) -> Vec<Told> {
    let mut story = story();
    let place = story.iter().position(|told| told.2 == name).unwrap();
    story[place].3 = data;
    story
}

#[test]
fn what_adds_up_is_silent() {
    assert_eq!(broken(story(), &ledger()), [""; 0]);
}

#[test]
fn what_is_missing_is_found() {
    for (name, id, rules) in [
        (
            "payment_captured",
            "p",
            vec![
                "refunds ≤ captured",
                "confirmed means paid",
                "the ledgers agree",
            ],
        ),
        ("payment_authorized", "p", vec![]),
        ("checkout_ended", "o", vec!["nothing is under way"]),
        ("returning_ended", "b", vec!["nothing is under way"]),
        ("payment_refunded", "p", vec!["nothing is under way"]),
        (
            "order_refunded",
            "o",
            vec!["the order knows what went back"],
        ),
        (
            "return_restocked",
            "MUG",
            vec!["what came back is on the shelf"],
        ),
        (
            "stock_shipped",
            "MUG",
            vec!["stock adds up", "shipped means gone", "no stock stays held"],
        ),
        ("notification_sent", "m1", vec!["nothing is under way"]),
        (
            "notification_requested",
            "m2",
            vec!["one mail each, and no other"],
        ),
        ("user_registered", "u", vec![]),
    ] {
        assert_eq!(
            broken(without(name, id), &ledger()),
            rules,
            "without {name}"
        );
    }
}

#[test]
fn what_happens_twice_is_found() {
    for (name, rules) in [
        (
            "payment_captured",
            vec![
                "money moves once",
                "captured ≤ authorized",
                "confirmed means paid",
                "the ledgers agree",
            ],
        ),
        ("payment_refunded", vec!["money moves once"]),
        ("order_refunded", vec!["a refund is told once"]),
        ("stock_reserved", vec!["a hold is made once and ended once"]),
        (
            "stock_shipped",
            vec![
                "a hold is made once and ended once",
                "stock adds up",
                "available ≥ 0",
                "stock adds up",
            ],
        ),
    ] {
        assert_eq!(broken(twice(name), &ledger()), rules, "{name} twice");
    }
}

#[test]
fn what_is_other_than_it_must_be_is_found() {
    let line = json!({ "sku": "MUG", "quantity": 2, "unit_price": eur(500) });
    let story = another(
        "order_placed",
        json!({ "lines": [line], "total": eur(999) }),
    );
    let rules = ["an order costs what is in it", "confirmed means paid"];
    assert_eq!(broken(story, &ledger()), rules);
    let story = another("payment_authorized", json!({ "amount": eur(900) }));
    assert_eq!(broken(story, &ledger()), ["captured ≤ authorized"]);
    let story = another("order_confirmed", json!("yes"));
    let rules = ["events can be read", "one mail each, and no other"];
    assert_eq!(broken(story, &ledger()), rules);
    let story = another("notification_requested", mail("order_confirmed"));
    assert_eq!(broken(story, &ledger()), ["one mail each, and no other"]);
}

#[test]
fn what_is_called_off_keeps_nothing() {
    let mut told = story();
    told.retain(|told| {
        !matches!(
            told.2,
            "order_shipped" | "stock_shipped" | "return_received"
        )
    });
    let canceled = ("order", "o", "order_canceled", json!({}));
    let place = told
        .iter()
        .position(|told| told.2 == "order_confirmed")
        .unwrap();
    told.insert(place + 1, canceled);
    let rules = broken(told, &ledger());
    for rule in ["what is called off keeps no money", "no stock stays held"] {
        assert!(rules.contains(&rule), "{rules:?}");
    }
}

#[test]
fn the_provider_is_believed_over_us() {
    let mut more = ledger();
    more.intents.get_mut("pi").unwrap().refunded = 1_000;
    assert_eq!(broken(story(), &more), ["the ledgers agree"]);
    let mut held = ledger();
    held.intents.get_mut("pi").unwrap().held = 1;
    assert_eq!(broken(story(), &held), ["no money stays held"]);
    assert_eq!(broken(story(), &Ledger::default()), ["the ledgers agree"]);
    let unclaimed = |held, received| {
        let mut more = ledger();
        let intent = Intent {
            order_id: Some("o".to_owned()),
            held,
            received,
            ..Intent::default()
        };
        more.intents.insert("pi_2".to_owned(), intent);
        more
    };
    assert_eq!(broken(story(), &unclaimed(1, 0)), ["no money stays held"]);
    // Neither took nor holds anything: counted, and no fault.
    assert_eq!(broken(story(), &unclaimed(0, 0)), [""; 0]);
    let books = Books::default();
    assert_eq!(books.unclaimed(&unclaimed(0, 0)).len(), 2);
    let mut pending = ledger();
    pending.intents.get_mut("pi").unwrap().pending = 1;
    assert_eq!(broken(story(), &pending), ["nothing is under way"]);
    let mut twice = ledger();
    let again = Intent {
        order_id: Some("o".to_owned()),
        received: 1,
        ..Intent::default()
    };
    twice.intents.insert("pi_2".to_owned(), again);
    let rules = ["one charge an order", "the ledgers agree"];
    assert_eq!(broken(story(), &twice), rules);
}

#[test]
fn what_a_person_has_settled_is_theirs() {
    let mut by_hand = without("order_refunded", "o");
    by_hand.push(("checkout", "o", "step_skipped", json!({})));
    assert_eq!(broken(by_hand, &ledger()), [""; 0]);
    let mut waits = without("checkout_ended", "o");
    waits.push(("checkout", "o", "checkout_suspended", json!({})));
    assert_eq!(broken(waits, &ledger()), [""; 0]);
}

#[test]
fn a_person_settles_only_what_is_over() {
    let skipped = |stage: &str| ("checkout", "o", "step_skipped", json!({ "stage": stage }));
    let mut goes_on = without("checkout_ended", "o");
    goes_on.push(skipped("undoing"));
    assert_eq!(broken(goes_on, &ledger()), ["nothing is under way"]);
    let mut over = without("checkout_ended", "o");
    over.push(skipped("ended"));
    assert_eq!(broken(over, &ledger()), [""; 0]);
    let mut returning = without("returning_ended", "b");
    returning.push(skipped("ended"));
    assert_eq!(broken(returning, &ledger()), ["nothing is under way"]);
    let mut left = without("checkout_ended", "o");
    left.retain(|told| !matches!(told.2, "order_confirmed" | "order_shipped"));
    left.push(("checkout", "o", "checkout_resolved", json!({})));
    assert_eq!(broken(left, &ledger()), [""; 0], "it stays placed");
}

#[test]
fn what_is_explained_is_so_for_as_long_as_nothing_changes() {
    let mut more = ledger();
    more.intents.get_mut("pi").unwrap().refunded = 700;
    let seen = json!({
        "intent_id": "pi", "held": eur(0), "captured": eur(1_000), "refunded": eur(700),
    });
    let accepted = json!({ "seen": seen });
    let mut explained = story();
    explained.push(("payment", "p", "reconciliation_accepted", accepted));
    assert_eq!(broken(explained.clone(), &more), [""; 0]);
    more.intents.get_mut("pi").unwrap().refunded = 800;
    assert_eq!(broken(explained.clone(), &more), ["the ledgers agree"]);
    assert_eq!(
        broken(explained.clone(), &Ledger::default()),
        ["the ledgers agree"]
    );
    more.intents.get_mut("pi").unwrap().refunded = 700;
    let again = json!({ "refund_id": "c", "amount": eur(100) });
    explained.push(("payment", "p", "payment_refunded", again));
    assert_eq!(broken(explained, &more), ["the ledgers agree"]);
}

#[test]
fn a_mail_is_under_way_until_something_has_become_of_it() {
    let told = |names: &[&'static str]| {
        let mut story = without("notification_failed", "m3");
        let of = names
            .iter()
            .map(|name| ("notification", "m3", *name, json!({})));
        story.extend(of);
        broken(story, &ledger())
    };
    let under_way = ["nothing is under way"];
    assert_eq!(told(&["notification_bounced"]), [""; 0]);
    let again = ["notification_failed", "notification_resend_requested"];
    assert_eq!(told(&again), under_way);
    let failed = [&again[..], &["notification_failed"]].concat();
    assert_eq!(told(&failed), [""; 0]);
    let left = ["notification_failed", "notification_dismissed"];
    assert_eq!(told(&left), [""; 0]);
    let resent = [&left[..], &["notification_resend_requested"]].concat();
    assert_eq!(told(&resent), under_way);
}

fn money() -> Value {
    json!({ "step": { "name": "capture_payment" } })
}

fn goods(step: &str) -> Value {
    json!({ "step": { "name": step, "sku": "MUG" } })
}

fn late(step: &Value) -> Value {
    json!({ "cause": { "name": "late_success", "step": step["step"] } })
}

/// The story, and then this of its checkout, before its end or after it.
fn and_then(ended: bool, told: &[(&'static str, Value)]) -> Vec<&'static str> {
    let mut story = without("checkout_ended", "o");
    let of = |(name, body): &(&'static str, Value)| ("checkout", "o", *name, body.clone());
    if ended {
        story.push(("checkout", "o", "checkout_ended", json!({})));
    }
    story.extend(told.iter().map(of));
    broken(story, &ledger())
}

#[test]
fn a_checkout_waits_until_the_very_step_is_done() {
    let (waits, under_way) = ([""; 0], ["nothing is under way"]);
    let suspended = || ("checkout_suspended", money());
    for other in [
        ("undo_started", late(&goods("reserve_stock"))),
        ("shipping_started", json!({})),
        ("undo_succeeded", goods("reserve_stock")),
        ("step_succeeded", goods("ship_stock")),
    ] {
        let told = [suspended(), other];
        assert_eq!(and_then(false, &told), waits, "{}", told[1].0);
    }
    for done in [
        ("undo_succeeded", money()),
        ("step_succeeded", money()),
        ("checkout_resumed", json!({})),
    ] {
        let told = [suspended(), done];
        assert_eq!(and_then(false, &told), under_way, "{}", told[1].0);
    }
}

#[test]
fn what_comes_late_is_under_way_until_it_is_undone() {
    let under_way = ["nothing is under way"];
    let reserved = goods("reserve_stock");
    let late_success = ("undo_started", late(&reserved));
    assert_eq!(
        and_then(true, std::slice::from_ref(&late_success)),
        under_way
    );
    let other = ("undo_succeeded", money());
    assert_eq!(and_then(true, &[late_success.clone(), other]), under_way);
    // The hold had been made firm meanwhile.
    let undone = ("undo_succeeded", goods("commit_stock"));
    assert_eq!(and_then(true, &[late_success, undone]), [""; 0]);
}

#[test]
fn a_return_goes_on_after_its_end_when_its_money_came_back() {
    let told = |names: &[&'static str]| {
        let mut story = story();
        let of = names
            .iter()
            .map(|name| ("checkout.return", "b", *name, money()));
        story.extend(of);
        broken(story, &ledger())
    };
    assert_eq!(told(&["returning_suspended"]), [""; 0], "a person is asked");
    let resumed = ["returning_suspended", "returning_resumed"];
    assert_eq!(told(&resumed), ["nothing is under way"]);
    let ended = [&resumed[..], &["returning_ended"]].concat();
    assert_eq!(told(&ended), [""; 0]);
}

#[test]
fn of_what_was_let_go_nothing_is_held_whatever_goes_on() {
    let eur = eur(1_000);
    let under_way = |last: &'static str| {
        vec![
            sold().swap_remove(1),
            paid().swap_remove(0),
            paid().swap_remove(1),
            ("payment", "p", last, json!({ "amount": eur.clone() })),
        ]
    };
    let holds = |held| {
        let mut left = ledger();
        let intent = left.intents.get_mut("pi").unwrap();
        (intent.received, intent.refunded, intent.held) = (0, 0, held);
        left
    };
    let is_found = |told: Vec<Told>, held| {
        let found = broken(told, &holds(held));
        found.contains(&"no money stays held")
    };
    for last in ["payment_voided", "payment_declined", "payment_failed"] {
        assert!(is_found(under_way(last), 1_000), "{last}");
        assert!(!is_found(under_way(last), 0), "{last}");
    }
    let mut told = under_way("payment_authorized");
    assert!(!is_found(told.clone(), 1_000));
    // A capture that was refused, of money that is yet to be let go.
    for (next, is_over) in [
        ("payment_failed", false),
        ("void_requested", false),
        ("payment_voided", true),
    ] {
        told.push(("payment", "p", next, json!({})));
        assert_eq!(is_found(told.clone(), 1_000), is_over, "{next}");
    }
}

/// The story with this of a saga that is a table of steps.
fn with_gift(told: &[(&'static str, Value)]) -> Vec<&'static str> {
    let mut story = story();
    let of = |(name, body): &(&'static str, Value)| ("checkout.gift", "o", *name, body.clone());
    story.extend(told.iter().map(of));
    broken(story, &ledger())
}

fn gift() -> (&'static str, Value) {
    ("saga_begun", json!({ "order_id": "o" }))
}

fn gifts(name: &'static str, ends: bool) -> (&'static str, Value) {
    (name, json!({ "step": "ship", "ends": ends }))
}

#[test]
fn a_saga_of_a_table_goes_on_until_it_says_that_it_ends() {
    let (over, under_way) = ([""; 0], ["nothing is under way"]);
    let done = |ends| gifts("saga_step_done", ends);
    assert_eq!(with_gift(&[gift(), done(false)]), under_way);
    assert_eq!(with_gift(&[gift(), done(false), done(true)]), over);
    // What is done early may be all that there ever is of it.
    assert_eq!(with_gift(&[done(false)]), over);
    assert_eq!(with_gift(&[done(false), gift()]), under_way);
    // Something comes late.
    let undo = |ends| gifts("saga_undo_started", ends);
    let late = [gift(), done(true), undo(false)];
    assert_eq!(with_gift(&late), under_way);
    let undone = gifts("saga_step_undone", true);
    let undone = [&late[..], &[undone]].concat();
    assert_eq!(with_gift(&undone), over);
    assert_eq!(with_gift(&[gift(), undo(true)]), over);
    // Of one that is no table nothing is known.
    let arrival = json!({ "order_id": "o" });
    assert_eq!(with_gift(&[("arrival_awaited", arrival)]), over);
}

#[test]
fn a_saga_of_a_table_waits_for_a_person_until_it_is_settled() {
    let (waits, under_way) = ([""; 0], ["nothing is under way"]);
    let suspended = || gifts("saga_suspended", false);
    assert_eq!(with_gift(&[gift(), suspended()]), waits);
    let settled = |wish, ends| {
        let how = json!({ "wish": wish, "step": "ship" });
        ("saga_settled", json!({ "how": how, "ends": ends }))
    };
    for wish in ["resume", "skip"] {
        let told = [gift(), suspended(), settled(wish, false)];
        assert_eq!(with_gift(&told), under_way, "{wish}");
    }
    // The very step is done after all, and another is not.
    let done = gifts("saga_step_done", false);
    assert_eq!(with_gift(&[gift(), suspended(), done]), under_way);
    let other = ("saga_step_done", json!({ "step": "tell" }));
    assert_eq!(with_gift(&[gift(), suspended(), other]), waits);
    // What a person has settled is theirs: the order's books need not balance any more.
    for (wish, rules) in [
        ("resolve", &[][..]),
        ("skip", &[]),
        ("resume", &["the order knows what went back"]),
    ] {
        let mut told = without("order_refunded", "o");
        let gift = [gift(), suspended(), settled(wish, true)];
        let of = gift.map(|(name, body)| ("checkout.gift", "o", name, body));
        told.extend(of);
        assert_eq!(broken(told, &ledger()), rules, "{wish}");
    }
}

#[test]
fn a_saga_of_a_table_may_write_mails_of_its_own() {
    let mut story = story();
    let asked = mail("order_confirmed");
    story.push(("notification", "m4", "notification_requested", asked));
    story.push(("notification", "m4", "notification_failed", json!({})));
    let rules = broken(story.clone(), &ledger());
    assert_eq!(rules, ["one mail each, and no other"]);
    for (name, body) in [gift(), gifts("saga_step_done", true)] {
        story.push(("checkout.gift", "o", name, body));
    }
    assert_eq!(broken(story, &ledger()), [""; 0]);
}
