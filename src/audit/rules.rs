//! The equations over several streams, and over what the provider and the mail sink have.
//!
//! Each order is in one of four states, and what is asked of it follows from that:
//!
//! ```text
//!   settled      nothing is under way for it      all equations
//!   under way    a saga, a refund goes on         those that hold always
//!   waits        suspended, or money came back    the same, and the ledgers agree
//!   by hand      over; a person settled a part    the same
//! ```

use std::collections::{BTreeMap, BTreeSet};

use super::Finding;
use super::books::{
    Bin, Books, OWN, Order, Payment, Return, Saga, Status, about_order, about_payment, of_order,
};
use super::outside::{Intent, Ledger};

/// What is under way for an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    Settled,
    UnderWay,
    Waits,
    ByHand,
}

impl Books {
    /// Holds every order, payment and mail against each other and against the provider's `ledger`. With
    /// `at_rest` nothing may be under way.
    pub(super) fn judge(&mut self, ledger: &Ledger, at_rest: bool) -> BTreeMap<String, Standing> {
        let standings = self.standings(ledger);
        let mut found = Found::default();
        let payments = self.payments_by_order();
        for (id, order) in &self.orders {
            let paid = payments.get(id.as_str()).map_or(&[][..], Vec::as_slice);
            let standing = standings.get(id).copied().unwrap_or(Standing::UnderWay);
            self.always(&mut found, (id, order), paid);
            if standing == Standing::Settled {
                self.settled(&mut found, (id, order), paid);
            }
            found.unless(
                "nothing is under way",
                !at_rest || standing != Standing::UnderWay,
                || {
                    (
                        about_order(id),
                        format!("it is {}, and its sagas or its refunds go on", order.status),
                    )
                },
            );
        }
        self.ledgers(&mut found, ledger, &standings);
        self.mails(&mut found, (&standings, &payments), at_rest);
        self.findings.append(&mut found.0);
        standings
    }

    /// The payments of each order.
    fn payments_by_order(&self) -> BTreeMap<&str, Vec<&Payment>> {
        let mut of: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for payment in self.payments.values() {
            of.entry(payment.order_id.as_str())
                .or_default()
                .push(payment);
        }
        of
    }

    fn standings(&self, ledger: &Ledger) -> BTreeMap<String, Standing> {
        let mut standings: BTreeMap<_, _> = self
            .orders
            .iter()
            .map(|(id, order)| (id.clone(), self.left(id, order)))
            .collect();
        let settled = self.sagas.values().filter(|saga| saga.by_hand);
        let explained = self.payments.values().filter(|it| it.explained.is_some());
        let by_hand = settled
            .map(|saga| &saga.order_id)
            .chain(explained.map(|payment| &payment.order_id));
        for order_id in by_hand {
            if let Some(standing @ Standing::Settled) = standings.get_mut(order_id) {
                *standing = Standing::ByHand;
            }
        }
        for payment in self.payments.values() {
            let intent = payment
                .intent_id
                .as_ref()
                .and_then(|id| ledger.intents.get(id));
            let pending = intent.is_some_and(|intent| intent.pending > 0);
            if pending || !payment.pending.is_empty() {
                standings.insert(payment.order_id.clone(), Standing::UnderWay);
            }
        }
        for ((kind, _), saga) in &self.sagas {
            let goes_on = kind != "checkout" && !saga.ended;
            if goes_on || !saga.late.is_empty() {
                standings.insert(saga.order_id.clone(), Standing::UnderWay);
            }
        }
        for payment in self.payments.values() {
            if payment.explained.is_none() && !payment.came_back.is_empty() {
                standings.insert(payment.order_id.clone(), Standing::Waits);
            }
        }
        for saga in self.sagas.values().filter(|saga| !saga.stuck.is_empty()) {
            standings.insert(saga.order_id.clone(), Standing::Waits);
        }
        standings
    }

    /// Where its checkout has left an order.
    fn left(&self, id: &str, order: &Order) -> Standing {
        let checkout = self.sagas.get(&("checkout".to_owned(), id.to_owned()));
        // What a person has settled goes no further, wherever the order is.
        let settled = |saga: &Saga| saga.by_hand && saga.ended;
        let rests = checkout.is_some_and(|saga| match order.status {
            Status::Placed => settled(saga),
            Status::Confirmed => saga.completed || settled(saga),
            Status::Rejected | Status::Canceled | Status::Shipped | Status::Delivered => saga.ended,
        });
        let taken = |id: &String| self.sagas.contains_key(&("return".to_owned(), id.clone()));
        if rests && order.returns.keys().all(taken) {
            Standing::Settled
        } else {
            Standing::UnderWay
        }
    }

    /// What holds whatever is under way.
    fn always(&self, found: &mut Found, (id, order): (&str, &Order), paid: &[&Payment]) {
        let charges = paid.iter().filter(|payment| payment.captured > 0).count();
        found.unless("one charge an order", charges <= 1, || {
            (about_order(id), format!("{charges} payments took money"))
        });
        if !order.confirmed {
            return;
        }
        let captured: i64 = paid.iter().map(|payment| payment.captured).sum();
        let total = order.total.amount;
        found.unless("confirmed means paid", captured == total, || {
            (
                about_order(id),
                format!("{captured} of {total} was captured"),
            )
        });
        for line in &order.lines {
            let firm = |bin: &Bin| of_order(&bin.firm, id).any(|units| units == line.quantity);
            let held = self.bins.get(&line.sku).is_some_and(firm);
            found.unless("confirmed means held", held, || {
                (
                    about_order(id),
                    format!("{} of {} were never committed", line.quantity, line.sku),
                )
            });
        }
    }

    /// What holds once nothing is under way.
    fn settled(&self, found: &mut Found, (id, order): (&str, &Order), paid: &[&Payment]) {
        let status = order.status;
        let gone = matches!(status, Status::Rejected | Status::Canceled);
        let captured: i64 = paid.iter().map(|payment| payment.captured).sum();
        let back: i64 = paid.iter().map(|payment| payment.refunded()).sum();
        let kept = captured - back;
        found.unless(
            "what is called off keeps no money",
            !gone || kept == 0,
            || {
                (
                    about_order(id),
                    format!("it is {status}, and {kept} of {captured} is kept"),
                )
            },
        );
        let known: i64 = order.refunds.values().sum();
        found.unless("the order knows what went back", known == back, || {
            (
                about_order(id),
                format!("it knows of {known}, and {back} went back"),
            )
        });
        let due: i64 = order.returns.values().map(|back| back.amount).sum();
        found.unless("what came back is paid back", gone || back >= due, || {
            (about_order(id), format!("{back} of {due} went back"))
        });
        for (return_id, back) in &order.returns {
            found.unless(
                "what came back is on the shelf",
                self.is_back(return_id, back),
                || (about_order(id), format!("return {return_id}")),
            );
        }
        self.stock_settled(found, (id, order));
    }

    fn is_back(&self, return_id: &str, back: &Return) -> bool {
        back.lines.iter().all(|line| {
            let bin = self.bins.get(&line.sku);
            bin.is_some_and(|bin| bin.restocked.get(return_id) == Some(&line.quantity))
        })
    }

    fn stock_settled(&self, found: &mut Found, (id, order): (&str, &Order)) {
        let status = order.status;
        for line in &order.lines {
            let Some(bin) = self.bins.get(&line.sku) else {
                continue;
            };
            let (sku, quantity) = (&line.sku, line.quantity);
            let is = |holds| of_order(holds, id).any(|units| units == quantity);
            let due = match status {
                Status::Confirmed => Some(("confirmed means held", is(bin.committed.by_id()))),
                Status::Shipped | Status::Delivered => {
                    Some(("shipped means gone", is(&bin.shipped)))
                }
                Status::Placed | Status::Rejected | Status::Canceled => None,
            };
            if let Some((rule, right)) = due {
                found.unless(rule, right, || {
                    (
                        about_order(id),
                        format!("it is {status}, and not so {quantity} of {sku}"),
                    )
                });
            }
            let held = status != Status::Confirmed && bin.holds(id);
            found.unless("no stock stays held", !held, || {
                (
                    about_order(id),
                    format!("it is {status}, and {sku} is held for it"),
                )
            });
        }
    }

    /// The provider's record and ours say the same.
    fn ledgers(&self, found: &mut Found, ledger: &Ledger, standings: &BTreeMap<String, Standing>) {
        let mut charges: BTreeMap<&str, u32> = BTreeMap::new();
        for intent in ledger.intents.values().filter(|intent| intent.received > 0) {
            if let Some(order_id) = &intent.order_id {
                *charges.entry(order_id).or_default() += 1;
            }
        }
        for (order_id, charges) in charges {
            found.unless("one charge an order", charges <= 1, || {
                (
                    about_order(order_id),
                    format!("the provider took money {charges} times"),
                )
            });
        }
        for (id, payment) in &self.payments {
            let Some(intent_id) = &payment.intent_id else {
                continue;
            };
            let standing = standings.get(&payment.order_id);
            let theirs = ledger.intents.get(intent_id);
            if payment.explains(intent_id, theirs) {
                continue;
            }
            nothing_left(found, (id, payment), theirs);
            if standing == Some(&Standing::UnderWay) {
                continue;
            }
            match theirs {
                Some(intent) => {
                    agree(found, (id, payment), intent);
                    let settled = standing == Some(&Standing::Settled);
                    let held = settled && !payment.let_go && intent.held > 0;
                    found.unless("no money stays held", !held, || {
                        (about_payment(id), format!("{} is", intent.held))
                    });
                }
                None => found.unless("the ledgers agree", false, || {
                    (
                        about_payment(id),
                        format!("the provider has no {intent_id}"),
                    )
                }),
            }
        }
        for (intent_id, order_id, intent) in self.unclaimed(ledger) {
            found.unless("the ledgers agree", intent.received == 0, || {
                (
                    about_order(order_id),
                    format!(
                        "no payment of ours knows {intent_id}, which took {}",
                        intent.received
                    ),
                )
            });
            // An intent's id is recorded before anything is held under it.
            found.unless("no money stays held", intent.held == 0, || {
                (
                    about_order(order_id),
                    format!(
                        "no payment of ours knows {intent_id}, which holds {}",
                        intent.held
                    ),
                )
            });
        }
    }

    /// The provider's intents for orders that no payment knows. Whoever else uses the account has intents
    /// too, that name no order.
    pub(super) fn unclaimed<'a>(&self, ledger: &'a Ledger) -> Vec<(&'a str, &'a str, &'a Intent)> {
        let payments = self.payments.values();
        let ours: BTreeSet<_> = payments.filter_map(|it| it.intent_id.as_deref()).collect();
        let intents = ledger.intents.iter();
        let unknown = intents.filter(|(id, _)| !ours.contains(id.as_str()));
        let named = unknown.filter_map(|(id, it)| Some((id.as_str(), it.order_id.as_deref()?, it)));
        named.collect()
    }

    /// Each mail that is due was asked for once.
    fn mails(
        &self,
        found: &mut Found,
        (standings, payments): (&BTreeMap<String, Standing>, &BTreeMap<&str, Vec<&Payment>>),
        at_rest: bool,
    ) {
        let (mut asked, mut welcomes) = (BTreeMap::new(), BTreeMap::new());
        for (id, mail) in &self.mails {
            let template = mail.template.as_str();
            match &mail.order_id {
                Some(order) => *asked.entry((order.as_str(), template)).or_insert(0) += 1,
                None if template == "welcome" => {
                    *welcomes.entry(mail.user_id.as_str()).or_insert(0) += 1;
                }
                None => {}
            }
            let rests = !at_rest || mail.over;
            found.unless("nothing is under way", rests, || {
                (
                    format!("mail {id}"),
                    format!("{template} is neither sent nor given up"),
                )
            });
        }
        for user in &self.users {
            let mails = welcomes.get(user.as_str()).copied().unwrap_or(0);
            let right = mails == 1 || (mails == 0 && !at_rest);
            found.unless("one mail each, and no other", right, || {
                (
                    format!("user {user}"),
                    format!("{mails} mails that welcome them"),
                )
            });
        }
        let tables = self.sagas.iter();
        let tables = tables.filter(|((kind, _), _)| !OWN.contains(&kind.as_str()));
        let tables: BTreeSet<_> = tables.map(|(_, saga)| &saga.order_id).collect();
        for (id, order) in &self.orders {
            if standings.get(id) != Some(&Standing::Settled) {
                continue;
            }
            let paid = payments.get(id.as_str()).map_or(&[][..], Vec::as_slice);
            for (template, (least, most)) in due(order, paid) {
                let mails = asked.get(&(id.as_str(), template)).copied().unwrap_or(0);
                // What is not asked for yet may be under way.
                let least = if at_rest { least } else { 0 };
                // A saga that is a table of steps may write more.
                let most = if tables.contains(id) {
                    usize::MAX
                } else {
                    most
                };
                let right = (least..=most).contains(&mails);
                found.unless("one mail each, and no other", right, || {
                    (
                        about_order(id),
                        format!("it is {}, with {mails} mails {template}", order.status),
                    )
                });
            }
        }
    }

    /// What the mail sink has taken is what was sent, by Message-ID.
    pub(super) fn taken(&mut self, sink: &BTreeMap<String, u64>) {
        let mut found = Found::default();
        for (id, mail) in &self.mails {
            let there = sink.contains_key(id) || !mail.sent;
            found.unless("what is sent arrives", there, || {
                (
                    format!("mail {id}"),
                    format!("the sink has no {}", mail.template),
                )
            });
        }
        for (id, times) in sink {
            let known = self.mails.contains_key(id);
            found.unless("one mail each, and no other", known, || {
                (
                    format!("mail {id}"),
                    format!("nobody asked for it, and the sink took it {times} times"),
                )
            });
        }
        self.findings.append(&mut found.0);
    }
}

/// Of what the log says was let go or never given the provider holds nothing, whatever else goes on: it is
/// recorded after the provider's word.
fn nothing_left(found: &mut Found, (id, payment): (&str, &Payment), intent: Option<&Intent>) {
    let held = intent.map_or(0, |intent| intent.held);
    let left = payment.let_go && held > 0;
    found.unless("no money stays held", !left, || {
        (
            about_payment(id),
            format!("{held} is, and our log says that nothing is"),
        )
    });
}

/// The provider's record of an intent against the payment that it belongs to.
fn agree(found: &mut Found, (id, payment): (&str, &Payment), intent: &Intent) {
    let (ours, theirs) = (payment.captured, intent.received);
    found.unless("the ledgers agree", ours == theirs, || {
        (
            about_payment(id),
            format!("the provider took {theirs}, we know of {ours}"),
        )
    });
    let (ours, theirs) = (payment.refunded(), intent.refunded);
    found.unless("the ledgers agree", ours == theirs, || {
        (
            about_payment(id),
            format!("the provider gave back {theirs}, we know of {ours}"),
        )
    });
}

/// How many mails of each kind a settled order has: at least, at most.
fn due(order: &Order, paid: &[&Payment]) -> Vec<(&'static str, (usize, usize))> {
    let gone = matches!(order.status, Status::Rejected | Status::Canceled);
    let stands = usize::from(!gone);
    let shipped = usize::from(matches!(order.status, Status::Shipped | Status::Delivered));
    let done: usize = paid.iter().map(|payment| payment.done.len()).sum();
    // Nobody is told of money that had come back by then.
    let back: usize = paid.iter().map(|payment| payment.came_back.len()).sum();
    // One mail tells of all that a checkout gives back.
    let refunds = if gone { done.min(1) } else { done };
    let exactly = |count| (count, count);
    vec![
        // Confirmed and at once canceled: the saga may hear of both in either order.
        ("order_confirmed", (stands, usize::from(order.confirmed))),
        ("order_shipped", exactly(shipped)),
        (
            "order_rejected",
            exactly(usize::from(order.status == Status::Rejected)),
        ),
        (
            "order_canceled",
            exactly(usize::from(order.status == Status::Canceled)),
        ),
        ("order_refunded", (refunds, done + back)),
    ]
}

/// What is wrong.
#[derive(Default)]
struct Found(Vec<Finding>);

impl Found {
    fn unless(&mut self, rule: &'static str, right: bool, said: impl FnOnce() -> (String, String)) {
        if !right {
            let (subject, what) = said();
            self.0.push(Finding {
                rule,
                subject,
                what,
            });
        }
    }
}
