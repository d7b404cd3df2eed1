//! A gift goes along with every order, and is put back if the order is off: a whole saga in one file.

use checkout::Addressed;
use checkout::stepwise::{Heard, Plan, Step, Table, Try};
use chrono::TimeDelta;
use inventory::InventoryCommand;
use kernel::{OrderId, ReservationId, Sku, UserId};
use notification::{Details, Template};
use order::OrderEvent;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Its holds are its own: the checkout's of the same order are the first attempt.
const ATTEMPT: u32 = 100;

/// What it remembers of its beginning.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Gift {
    order_id: OrderId,
    user_id: UserId,
}

#[rustfmt::skip]
static STEPS: [Step<Gift>; 6] = [
    Step::ask("set_aside", set_aside, "stock_reserved").undo(put_back, "reservation_released"),
    Step::wait("paid",                "order_confirmed").within(TimeDelta::days(1)),
    Step::ask("keep",      keep,      "reservation_committed"),
    Step::tell("tell",     tell),
    Step::wait("shipped",             "order_shipped"),
    Step::ask("ship",      ship,      "stock_shipped").or_suspend(),
];

static PLANS: [Plan<Gift>; 1] = [Plan {
    revision: 1,
    within: TimeDelta::days(30),
    undone_by: &["order_rejected", "order_canceled"],
    steps: &STEPS,
}];

impl Table for Gift {
    const TYPE: &'static str = "checkout.gift";
    const ABOUT: &'static str =
        "A gift goes along with every order, and is put back if the order is off.";

    fn plans() -> &'static [Plan<Self>] {
        &PLANS
    }

    fn begins(heard: &Heard<'_>) -> Option<Self> {
        let Heard::Order(order_id, OrderEvent::OrderPlaced { user_id, .. }) = heard else {
            return None;
        };
        let (order_id, user_id) = (*order_id, *user_id);
        Some(Self { order_id, user_id })
    }

    fn fact(heard: &Heard<'_>) -> Option<String> {
        let hold = heard.reservation();
        let own = hold.is_none_or(|hold| hold.attempt == ATTEMPT);
        own.then(|| heard.name().to_owned())
    }

    fn example() -> Self {
        let (order_id, user_id) = (OrderId(Uuid::nil()), UserId(Uuid::nil()));
        Self { order_id, user_id }
    }
}

impl Gift {
    pub(crate) fn hold(order_id: OrderId) -> ReservationId {
        let attempt = ATTEMPT;
        ReservationId { order_id, attempt }
    }

    /// Asks the stock of gifts.
    fn stock(command: &InventoryCommand) -> Addressed {
        let sku: Sku = "GIFT".parse().unwrap();
        Addressed::inventory(&sku, command)
    }
}

fn set_aside(gift: &Gift, Try { at, .. }: Try) -> Addressed {
    Gift::stock(&InventoryCommand::ReserveStock {
        reservation: Gift::hold(gift.order_id),
        quantity: 1,
        expires_at: at + TimeDelta::days(2),
        at,
    })
}

fn put_back(gift: &Gift, Try { at, why, .. }: Try) -> Addressed {
    Gift::stock(&InventoryCommand::ReleaseReservation {
        reservation: Gift::hold(gift.order_id),
        reason: why,
        expires_at: at + TimeDelta::days(2),
        at,
    })
}

fn keep(gift: &Gift, Try { at, .. }: Try) -> Addressed {
    let reservation = Gift::hold(gift.order_id);
    Gift::stock(&InventoryCommand::CommitReservation { reservation, at })
}

fn tell(gift: &Gift, _: Try) -> Addressed {
    let source = Uuid::new_v5(&gift.order_id.0, b"gift");
    let details = Details {
        order_id: Some(gift.order_id),
        ..Details::default()
    };
    Addressed::mail(source, gift.user_id, Template::OrderConfirmed, details)
}

fn ship(gift: &Gift, Try { at, .. }: Try) -> Addressed {
    let reservation = Gift::hold(gift.order_id);
    Gift::stock(&InventoryCommand::ShipReservation { reservation, at })
}
