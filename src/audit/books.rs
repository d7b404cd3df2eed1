//! What the events say has happened, counted anew: from their names and their JSON as they stand in the
//! log, with no type of the domains and no fold of theirs, so a fault there can't hide here.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_json::Value;
use streams::RecordedEvent;

use super::Finding;
use super::outside::Intent;

/// Money in minor units.
#[derive(Debug, Clone, Default, Deserialize, PartialEq, Eq)]
pub(super) struct Amount {
    pub(super) amount: i64,
    pub(super) currency: String,
}

/// So many of one SKU.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Line {
    pub(super) sku: String,
    pub(super) quantity: u32,
    #[serde(default)]
    unit_price: Amount,
}

/// What an event says of a stock item after it.
#[derive(Debug, Default, Deserialize, PartialEq, Eq)]
struct Stock {
    on_hand: i64,
    reserved: i64,
    committed: i64,
}

/// What the body of any event may say that counts here.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Body {
    total: Amount,
    amount: Amount,
    lines: Vec<Line>,
    order_id: Option<String>,
    user_id: Option<String>,
    refund_id: Option<String>,
    return_id: Option<String>,
    intent_id: Option<String>,
    reservation: Option<String>,
    quantity: u32,
    delta: i64,
    stock: Stock,
    template: String,
    details: Details,
    step: Value,
    cause: Value,
    stage: Value,
    last: Value,
    ends: bool,
    how: Value,
    seen: Option<Seen>,
}

/// What a mail is about.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Details {
    order_id: Option<String>,
}

/// How far an order has come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, strum::IntoStaticStr, strum::Display)]
#[strum(serialize_all = "snake_case")]
pub(super) enum Status {
    #[default]
    Placed,
    Confirmed,
    Rejected,
    Canceled,
    Shipped,
    Delivered,
}

/// One order.
#[derive(Debug, Default)]
pub(super) struct Order {
    pub(super) version: u64,
    pub(super) status: Status,
    pub(super) confirmed: bool,
    pub(super) total: Amount,
    pub(super) lines: Vec<Line>,
    /// What it knows to have gone back, by refund.
    pub(super) refunds: BTreeMap<String, i64>,
    /// Goods that are back, by return.
    pub(super) returns: BTreeMap<String, Return>,
}

/// Goods that are back.
#[derive(Debug)]
pub(super) struct Return {
    pub(super) lines: Vec<Line>,
    pub(super) amount: i64,
}

/// One payment, in minor units.
#[derive(Debug, Default)]
pub(super) struct Payment {
    pub(super) version: u64,
    pub(super) order_id: String,
    pub(super) intent_id: Option<String>,
    pub(super) currency: String,
    pub(super) authorized: i64,
    pub(super) captured: i64,
    /// Asked for, and neither done nor failed.
    pub(super) pending: BTreeMap<String, i64>,
    pub(super) done: BTreeMap<String, i64>,
    /// Done, and then sent back by the bank.
    pub(super) came_back: BTreeSet<String>,
    /// Somebody has explained a difference to the provider's record.
    pub(super) explained: Option<Explained>,
    /// The last word is that nothing is held: let go, declined, or failed before anything was.
    pub(super) let_go: bool,
}

/// What a difference was between when somebody explained it.
#[derive(Debug)]
pub(super) struct Explained {
    /// Captured and refunded, as far as we knew.
    ours: (i64, i64),
    /// `None` = the provider had no such intent.
    seen: Option<Seen>,
}

/// What the provider had of an intent.
#[derive(Debug, Deserialize)]
pub(super) struct Seen {
    intent_id: String,
    held: Amount,
    captured: Amount,
    refunded: Amount,
}

impl Payment {
    pub(super) fn refunded(&self) -> i64 {
        self.done.values().sum()
    }

    /// Has somebody explained that the provider has this beside our figures?
    pub(super) fn explains(&self, intent_id: &str, theirs: Option<&Intent>) -> bool {
        let Some(Explained { ours, seen }) = &self.explained else {
            return false;
        };
        let same = match (seen, theirs) {
            (None, None) => true,
            (Some(seen), Some(intent)) => {
                let seen_then = (seen.held.amount, seen.captured.amount, seen.refunded.amount);
                let now = (intent.held, intent.received, intent.refunded);
                seen.intent_id == intent_id && seen_then == now
            }
            (None, Some(_)) | (Some(_), None) => false,
        };
        same && *ours == (self.captured, self.refunded())
    }
}

/// Units that are held, by reservation; their sum is asked for after every event.
#[derive(Debug, Default)]
pub(super) struct Holds {
    by_id: BTreeMap<String, u32>,
    sum: i64,
}

impl Holds {
    pub(super) fn by_id(&self) -> &BTreeMap<String, u32> {
        &self.by_id
    }

    /// What was held under this id before.
    fn insert(&mut self, id: String, units: u32) -> Option<u32> {
        let before = self.by_id.insert(id, units);
        self.sum += i64::from(units) - i64::from(before.unwrap_or_default());
        before
    }

    /// What was held under this id.
    fn remove(&mut self, id: &str) -> Option<u32> {
        let held = self.by_id.remove(id);
        self.sum -= i64::from(held.unwrap_or_default());
        held
    }
}

/// One SKU. Holds are by reservation, `<order>_<line>`.
#[derive(Debug, Default)]
pub(super) struct Bin {
    pub(super) version: u64,
    pub(super) on_hand: i64,
    pub(super) reserved: Holds,
    pub(super) committed: Holds,
    /// Every hold that was ever committed.
    pub(super) firm: BTreeMap<String, u32>,
    pub(super) shipped: BTreeMap<String, u32>,
    pub(super) restocked: BTreeMap<String, u32>,
}

/// The sagas of the shop itself, by kind.
pub(super) const OWN: [&str; 3] = ["checkout", "return", "refund"];

/// One saga: a checkout, a return, a refund, or one that is a table of steps.
#[derive(Debug, Default)]
pub(super) struct Saga {
    pub(super) order_id: String,
    /// Of a checkout: the order is confirmed, and may still be shipped or canceled.
    pub(super) completed: bool,
    /// Nothing is left to do, but for what comes late.
    pub(super) ended: bool,
    /// The steps for which it waits for a person.
    pub(super) stuck: BTreeSet<String>,
    /// What came late, and is being undone: goods by their SKU, or the money.
    pub(super) late: BTreeSet<String>,
    /// A person has skipped a step or settled it: what that came to, only they know.
    pub(super) by_hand: bool,
}

/// One mail.
#[derive(Debug)]
pub(super) struct Mail {
    pub(super) template: String,
    pub(super) order_id: Option<String>,
    pub(super) user_id: String,
    pub(super) sent: bool,
    /// Nothing more will be tried.
    pub(super) over: bool,
}

/// All that the log has told.
#[derive(Debug, Default)]
pub(super) struct Books {
    pub(super) events: u64,
    pub(super) orders: BTreeMap<String, Order>,
    pub(super) payments: BTreeMap<String, Payment>,
    pub(super) bins: BTreeMap<String, Bin>,
    /// By kind (`checkout`, `return`, `refund`, or as a table is called) and id.
    pub(super) sagas: BTreeMap<(String, String), Saga>,
    pub(super) mails: BTreeMap<String, Mail>,
    /// Who has opened an account.
    pub(super) users: BTreeSet<String>,
    pub(super) findings: Vec<Finding>,
}

impl Books {
    /// Takes one event in; those of each stream come in order.
    pub(super) fn see(&mut self, event: &RecordedEvent) {
        self.events += 1;
        let id = event.aggregate_id.as_str();
        let body: Body = match serde_json::from_slice(&event.data) {
            Ok(body) => body,
            Err(error) => {
                let what = format!("{} of {id}: {error}", event.event_type);
                return self.found("events can be read", event.subject.clone(), what);
            }
        };
        let (name, version) = (event.event_type.as_str(), event.version);
        match (event.context.as_str(), event.kind.as_deref()) {
            ("order", None) => self.order(id, (name, version), body),
            ("payment", None) => self.payment(id, (name, version), body),
            ("inventory", None) => self.stock(id, (name, version), &body),
            ("checkout", kind) => self.saga(kind.unwrap_or("checkout"), id, name, &body),
            ("notification", None) => self.mail(id, name, body),
            ("user", None) if name == "user_registered" => {
                self.users.insert(id.to_owned());
            }
            _ => {}
        }
    }

    pub(super) fn found(&mut self, rule: &'static str, subject: String, what: String) {
        self.findings.push(Finding {
            rule,
            subject,
            what,
        });
    }

    fn order(&mut self, id: &str, (name, version): (&str, u64), body: Body) {
        let order = self.orders.entry(id.to_owned()).or_default();
        order.version = version;
        match name {
            "order_placed" => {
                let worth = |line: &Line| line.unit_price.amount * i64::from(line.quantity);
                let due: i64 = body.lines.iter().map(worth).sum();
                order.total = body.total;
                order.lines = body.lines;
                if order.total.amount != due {
                    let what = format!("{} for what costs {due}", order.total.amount);
                    self.found("an order costs what is in it", about_order(id), what);
                }
            }
            "order_confirmed" => {
                order.status = Status::Confirmed;
                order.confirmed = true;
            }
            "order_rejected" => order.status = Status::Rejected,
            "order_canceled" => order.status = Status::Canceled,
            "order_shipped" => order.status = Status::Shipped,
            "order_delivered" => order.status = Status::Delivered,
            "order_refunded" => {
                let refund = body.refund_id.unwrap_or_default();
                let told = order.refunds.insert(refund, body.amount.amount);
                if told.is_some() {
                    let what = format!("version {version} tells of a refund again");
                    self.found("a refund is told once", about_order(id), what);
                }
            }
            "order_refund_reversed" => {
                order.refunds.remove(&body.refund_id.unwrap_or_default());
            }
            "return_received" => {
                let back = Return {
                    lines: body.lines,
                    amount: body.amount.amount,
                };
                let id = body.return_id.unwrap_or_default();
                order.returns.insert(id, back);
            }
            _ => {}
        }
    }

    fn payment(&mut self, id: &str, (name, version): (&str, u64), body: Body) {
        let payment = self.payments.entry(id.to_owned()).or_default();
        payment.version = version;
        let (amount, refund) = (body.amount.amount, body.refund_id.unwrap_or_default());
        let mut twice = false;
        match name {
            "payment_requested" => {
                payment.order_id = body.order_id.unwrap_or_default();
                payment.currency = body.amount.currency;
            }
            "provider_intent_created" => payment.intent_id = body.intent_id,
            "payment_authorized" => {
                payment.authorized = amount;
                payment.let_go = false;
            }
            "payment_voided" | "payment_declined" => payment.let_go = true,
            // A capture that failed may leave the money held until it is voided.
            "payment_failed" => payment.let_go = payment.authorized == 0,
            "payment_captured" => {
                payment.let_go = false;
                twice = payment.captured != 0;
                payment.captured += amount;
                if payment.authorized == 0 {
                    // The provider has told of both at once.
                    payment.authorized = amount;
                }
            }
            "refund_requested" => {
                payment.pending.insert(refund, amount);
            }
            "payment_refunded" => {
                payment.pending.remove(&refund);
                twice = payment.done.insert(refund, amount).is_some();
            }
            "refund_failed" => {
                payment.pending.remove(&refund);
                if payment.done.remove(&refund).is_some() {
                    payment.came_back.insert(refund);
                }
            }
            "reconciliation_accepted" => {
                let ours = (payment.captured, payment.refunded());
                let seen = body.seen;
                payment.explained = Some(Explained { ours, seen });
            }
            _ => {}
        }
        let back = payment.refunded() + payment.pending.values().sum::<i64>();
        let (captured, authorized) = (payment.captured, payment.authorized);
        let about = || about_payment(id);
        if twice {
            let what = format!("{name} again, at version {version}");
            self.found("money moves once", about(), what);
        }
        if captured > authorized {
            let what = format!("{captured} of {authorized} at version {version}");
            self.found("captured ≤ authorized", about(), what);
        }
        if back > captured {
            let what = format!("{back} of {captured} goes or went back at version {version}");
            self.found("refunds ≤ captured", about(), what);
        }
    }

    fn stock(&mut self, sku: &str, (name, version): (&str, u64), body: &Body) {
        let bin = self.bins.entry(sku.to_owned()).or_default();
        bin.version = version;
        let fits = bin.take_in(name, body);
        let (counted, told) = (bin.counted(), &body.stock);
        let about = || format!("stock of {sku}");
        if !fits {
            let hold = body.reservation.as_deref().unwrap_or("no hold");
            let what = format!("{name} of {hold} at version {version}");
            self.found("a hold is made once and ended once", about(), what);
        }
        if name != "stock_item_created" && counted != *told {
            let what = format!("version {version} tells {told:?}, counted are {counted:?}");
            self.found("stock adds up", about(), what);
        }
        if counted.on_hand < counted.reserved + counted.committed {
            let what = format!("{counted:?} at version {version}");
            self.found("available ≥ 0", about(), what);
        }
    }

    fn saga(&mut self, kind: &str, id: &str, name: &str, body: &Body) {
        let steps = name.starts_with("saga_");
        if !steps && !OWN.contains(&kind) {
            // What it means, only its own code knows.
            return;
        }
        let key = (kind.to_owned(), id.to_owned());
        let saga = self.sagas.entry(key).or_default();
        if let Some(order_id) = &body.order_id {
            saga.order_id.clone_from(order_id);
        }
        if steps {
            saga.take_in_steps(name, body);
        } else {
            saga.take_in(name, body);
        }
    }

    fn mail(&mut self, id: &str, name: &str, body: Body) {
        if name == "notification_requested" {
            let mail = Mail {
                template: body.template,
                order_id: body.details.order_id,
                user_id: body.user_id.unwrap_or_default(),
                sent: false,
                over: false,
            };
            self.mails.insert(id.to_owned(), mail);
        }
        let Some(mail) = self.mails.get_mut(id) else {
            return;
        };
        match name {
            "notification_sent" => (mail.sent, mail.over) = (true, true),
            "notification_failed"
            | "notification_suppressed"
            | "notification_bounced"
            | "notification_dismissed" => mail.over = true,
            "notification_resend_requested" => mail.over = false,
            _ => {}
        }
    }
}

impl Saga {
    /// Of a table of steps, which says itself whether anything is left to do.
    fn take_in_steps(&mut self, name: &str, body: &Body) {
        match name {
            "saga_step_done" | "saga_step_undone" => {
                self.stuck.remove(&body.step.to_string());
            }
            // Also after its end, for what came late.
            "saga_undo_started" => self.ended = false,
            "saga_suspended" => self.stuck = [body.step.to_string()].into(),
            "saga_settled" => {
                self.stuck.clear();
                let again = body.how.get("wish").is_some_and(|wish| wish == "resume");
                self.by_hand |= !again;
            }
            _ => {}
        }
        if body.ends {
            self.end();
        }
    }

    fn take_in(&mut self, name: &str, body: &Body) {
        let step = body.step.to_string();
        match name {
            "checkout_completed" => self.completed = true,
            "shipping_started" => self.completed = false,
            "undo_started" => {
                self.completed = false;
                if self.ended {
                    self.late.insert(what(body.cause.get("step")));
                }
            }
            "step_succeeded" | "returning_step_succeeded" => {
                self.stuck.remove(&step);
            }
            "undo_succeeded" | "checkout_undone" => {
                self.stuck.remove(&step);
                self.late.remove(&what(Some(&body.step)));
            }
            // It waits for one step; a return may wait for several.
            "checkout_suspended" => self.stuck = [step].into(),
            "refunding_suspended" => {
                self.stuck.insert(step);
            }
            // Also for money that came back after the end.
            "returning_suspended" => {
                self.ended = false;
                self.stuck.insert(step);
            }
            "checkout_resumed" | "returning_resumed" | "refunding_resumed" => self.stuck.clear(),
            "step_skipped" | "returning_step_skipped" => {
                self.by_hand = true;
                self.stuck.remove(&step);
                self.late.remove(&what(Some(&body.step)));
                if body.last == true || body.stage == "ended" || body.stage == "resolved" {
                    self.end();
                }
            }
            "checkout_resolved" | "returning_resolved" | "refunding_resolved"
            | "refunding_skipped" => {
                self.by_hand = true;
                self.end();
            }
            "checkout_ended" | "returning_ended" | "refunding_ended" | "refunding_dropped" => {
                self.end();
            }
            _ => {}
        }
    }

    fn end(&mut self) {
        self.ended = true;
        self.stuck.clear();
        self.late.clear();
    }
}

/// What a step of a checkout is about: the goods by their SKU, or the money. What is asked for first may be
/// undone by the name of a later step.
fn what(step: Option<&Value>) -> String {
    let sku = step.and_then(|step| step.get("sku"));
    sku.unwrap_or(&Value::Null).to_string()
}

impl Bin {
    /// `false` = it does not fit what was told before.
    fn take_in(&mut self, name: &str, body: &Body) -> bool {
        let units = body.quantity;
        let hold = body.reservation.clone().unwrap_or_default();
        match name {
            "stock_received" => self.on_hand += i64::from(units),
            "stock_adjusted" => self.on_hand += body.delta,
            "stock_reserved" => {
                let firm = self.committed.by_id.contains_key(&hold);
                return self.reserved.insert(hold, units).is_none() && !firm;
            }
            "reservation_committed" => {
                let reserved = self.reserved.remove(&hold);
                self.firm.insert(hold.clone(), units);
                return self.committed.insert(hold, units).is_none() && reserved == Some(units);
            }
            "reservation_released" => {
                let reserved = self.reserved.remove(&hold);
                let freed = reserved.or_else(|| self.committed.remove(&hold));
                // A release of what is not held yet keeps a late hold out: of none.
                return freed.unwrap_or_default() == units;
            }
            "reservation_expired" => return self.reserved.remove(&hold) == Some(units),
            "stock_shipped" => {
                self.on_hand -= i64::from(units);
                self.shipped.insert(hold.clone(), units);
                return self.committed.remove(&hold) == Some(units);
            }
            "return_restocked" => {
                self.on_hand += i64::from(units);
                let id = body.return_id.clone().unwrap_or_default();
                return self.restocked.insert(id, units).is_none();
            }
            _ => {}
        }
        true
    }

    fn counted(&self) -> Stock {
        Stock {
            on_hand: self.on_hand,
            reserved: self.reserved.sum,
            committed: self.committed.sum,
        }
    }

    /// On hand, reserved, committed.
    pub(super) fn figures(&self) -> [i64; 3] {
        let Stock {
            on_hand,
            reserved,
            committed,
        } = self.counted();
        [on_hand, reserved, committed]
    }

    /// Does the order hold anything here?
    pub(super) fn holds(&self, order_id: &str) -> bool {
        let mut held = of_order(&self.reserved.by_id, order_id)
            .chain(of_order(&self.committed.by_id, order_id));
        held.next().is_some()
    }
}

/// The units of an order's holds.
pub(super) fn of_order<'a>(
    holds: &'a BTreeMap<String, u32>,
    order_id: &str,
) -> impl Iterator<Item = u32> + use<'a> {
    let first = format!("{order_id}_");
    let holds = holds.range(first.clone()..);
    holds
        .take_while(move |(hold, _)| hold.starts_with(&first))
        .map(|(_, units)| *units)
}

pub(super) fn about_order(id: &str) -> String {
    format!("order {id}")
}

pub(super) fn about_payment(id: &str) -> String {
    format!("payment {id}")
}
