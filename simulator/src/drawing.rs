//! Draws a plan from a seed.

use crate::agenda::{MINUTE, SECOND, Time};
use crate::chance::Draw;
use crate::fault::Faults;
use crate::plan::{
    Action, Card, GOODS, Moment, Outage, Plan, PlannedOrder, Settling, Target, What, When,
};

impl Plan {
    /// The run of this seed: the same always.
    pub(crate) fn draw(seed: u64) -> Self {
        let mut draw = Draw::new(seed);
        let faults = Faults::draw(seed, &mut draw);
        let orders: Vec<_> = (0..draw.of([1, 1, 2, 3]))
            .map(|_| order(&mut draw))
            .collect();
        let mut actions = Vec::new();
        for index in 0..orders.len() {
            actions.extend(life(&mut draw).into_iter().map(|(when, what)| Action {
                when,
                order: index,
                what,
                clicks: if draw.percent(20) { 2 } else { 1 },
            }));
        }
        let stock = GOODS.iter().map(|_| stock(&mut draw)).collect();
        let (outages, pace) = (outages(&mut draw), draw.of([2, 20, 200]));
        for order in 0..orders.len() {
            actions.extend(rarities(&mut draw).into_iter().map(|(when, what)| Action {
                when,
                order,
                what,
                clicks: 1,
            }));
        }
        Self {
            seed,
            stock,
            outages,
            pace,
            orders,
            actions,
            faults,
            gone: std::collections::BTreeSet::new(),
        }
    }
}

fn stock(draw: &mut Draw) -> Option<u32> {
    match draw.below(20) {
        0 => None,
        1..5 => Some(draw.of([1, 2, 3])),
        _ => Some(9),
    }
}

fn order(draw: &mut Draw) -> PlannedOrder {
    let first = draw.of([0, 1, 2]);
    let count = draw.of([1, 1, 2, 3]);
    let lines = (0..count).map(|offset| ((first + offset) % GOODS.len(), draw.of([1, 1, 2, 3])));
    PlannedOrder {
        lines: lines.collect(),
        placed_at: soon(draw),
        clicks: draw.of([1, 1, 1, 2]),
        card: card(draw),
        no_mailbox: draw.percent(3),
    }
}

/// Within a second mostly, so that orders meet.
fn soon(draw: &mut Draw) -> Time {
    let within = draw.of([50, SECOND, 20 * SECOND, 20 * MINUTE]);
    number(draw, within)
}

fn number(draw: &mut Draw, below: Time) -> Time {
    let below = u64::try_from(below).unwrap_or(1);
    Time::try_from(draw.below(below)).unwrap_or_default()
}

fn card(draw: &mut Draw) -> Card {
    let later = draw.of([100, 5 * SECOND, 2 * MINUTE, 14 * MINUTE, 16 * MINUTE]);
    match draw.below(20) {
        0 | 1 => Card::Declined,
        2 => Card::HeldAfterDecline(later),
        3 => Card::NeedsAction(None),
        4 | 5 => Card::NeedsAction(Some((later, draw.percent(75)))),
        6 => Card::Slow(later),
        7 => Card::CaptureFails,
        8 | 9 => Card::RefundsFail(draw.of([1, 2, 12])),
        10 => Card::RefundsComeBack(later, draw.of([1, 1, 12])),
        11 => Card::HoldLapses(later),
        _ => Card::Good,
    }
}

/// What customers and operators do about one order.
fn life(draw: &mut Draw) -> Vec<(When, What)> {
    let mut acts = Vec::new();
    if draw.percent(30) {
        let within = draw.of([100, 2 * SECOND, 2 * SECOND, MINUTE, 40 * MINUTE]);
        acts.push((When::At(number(draw, within)), What::Cancel));
    }
    if draw.percent(10) {
        let wait = draw.of([0, 5, SECOND]);
        acts.push((When::After(Moment::Confirmed, wait), What::Cancel));
    }
    if draw.percent(60) {
        let wait = draw.of([0, 5, SECOND, 45 * MINUTE]);
        acts.push((When::After(Moment::Confirmed, wait), What::Ship));
        let wait = draw.of([0, SECOND, 60 * MINUTE]);
        acts.push((When::After(Moment::Shipped, wait), What::Deliver));
        for number in 0..draw.of([0, 0, 1, 2, 3]) {
            acts.extend(a_return(number, draw));
        }
        for number in 0..draw.of([0, 0, 0, 1, 2]) {
            let cents = draw.of([1, 700, 1_299, 4_000]);
            let moment = draw.of([Moment::Shipped, Moment::Delivered]);
            let wait = soon(draw);
            acts.push((When::After(moment, wait), What::Refund { number, cents }));
        }
    }
    for _ in 0..draw.of([0, 1, 3]) {
        let wait = draw.of([SECOND, 10 * MINUTE]);
        let how = draw.of([
            Settling::Resume,
            Settling::Resume,
            Settling::Skip,
            Settling::Resolve,
        ]);
        acts.push((When::After(Moment::Suspended, wait), What::Settle(how)));
    }
    if draw.percent(15) {
        let (goods, quantity) = (draw.of([0, 1, 2]), draw.of([1, 5]));
        let at = soon(draw);
        acts.push((When::At(at), What::ReceiveStock { goods, quantity }));
    }
    if draw.percent(15) {
        let at = draw.of([SECOND, 31 * MINUTE, 50 * MINUTE]);
        acts.push((When::At(at), What::ExpireHolds));
    }
    if draw.percent(8) {
        let within = draw.of([200, SECOND, 5 * SECOND, 16 * MINUTE]);
        acts.push((When::At(number(draw, within)), What::CaptureByHand));
    }
    acts
}

/// What comes between now and then.
fn rarities(draw: &mut Draw) -> Vec<(When, What)> {
    let mut acts = Vec::new();
    if draw.percent(8) {
        let within = draw.of([SECOND, 20 * MINUTE, 90 * MINUTE]);
        acts.push((When::At(number(draw, within)), What::Erase));
    }
    if draw.percent(10) {
        let (goods, delta) = (draw.of([0, 1, 2]), draw.of([-3, -1, 2]));
        let at = soon(draw);
        acts.push((When::At(at), What::AdjustStock { goods, delta }));
    }
    acts
}

fn a_return(number: u8, draw: &mut Draw) -> [(When, What); 3] {
    let asked = soon(draw);
    let answered = asked + 1 + soon(draw);
    let here = answered + 1 + soon(draw);
    let (goods, quantity) = (draw.of([0, 1, 2]), draw.of([1, 2, 3]));
    let request = What::RequestReturn {
        number,
        goods,
        quantity,
    };
    let answer = if draw.percent(85) {
        What::ApproveReturn(number)
    } else {
        What::RefuseReturn(number)
    };
    let after = |wait| When::After(Moment::Delivered, wait);
    [
        (after(asked), request),
        (after(answered), answer),
        (after(here), What::ReceiveReturn(number)),
    ]
}

fn outages(draw: &mut Draw) -> Vec<Outage> {
    let mut outages = Vec::new();
    for of in [
        Target::Order,
        Target::Inventory,
        Target::Payment,
        Target::Notification,
        Target::Provider,
        Target::MailServer,
    ] {
        if draw.percent(7) {
            let early = soon(draw);
            let from = draw.of([early, 3 * SECOND, 10 * MINUTE]);
            let lasts = draw.of([SECOND, MINUTE, 25 * MINUTE, 60 * MINUTE]);
            outages.push(Outage {
                of,
                from,
                to: from + lasts,
            });
        }
    }
    outages
}
