//! Tables that go wrong.

use checkout::Addressed;
use checkout::stepwise::{Heard, Plan, Step, Table, Try};
use chrono::TimeDelta;
use inventory::InventoryCommand;
use kernel::{OrderId, ReservationId, Sku, UserId};
use notification::{Details, Template};
use order::OrderEvent;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

const fn within_a_day<T>(steps: &'static [Step<T>]) -> Plan<T> {
    Plan {
        revision: 1,
        within: TimeDelta::days(1),
        undone_by: &[],
        steps,
    }
}

/// A gift in a box, for orders that are paid at once.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Boxed(OrderId);

#[rustfmt::skip]
static BOXED: [Step<Boxed>; 3] = [
    Step::ask("gift", |of: &Boxed, now| reserve("GIFT", of.0, now), "stock_reserved-GIFT").undo(|of: &Boxed, now| release("GIFT", of.0, now), "reservation_released-GIFT"),
    Step::ask("box",  |of: &Boxed, now| reserve("BOX", of.0, now),  "stock_reserved-BOX").undo(|of: &Boxed, now| release("BOX", of.0, now),   "reservation_released-BOX"),
    Step::wait("paid", "order_confirmed").within(TimeDelta::seconds(3)),
];

impl Table for Boxed {
    const TYPE: &'static str = "checkout.boxed";
    const ABOUT: &'static str = "A gift in a box, for orders that are paid at once.";

    fn plans() -> &'static [Plan<Self>] {
        const { &[within_a_day(&BOXED)] }
    }

    fn begins(heard: &Heard<'_>) -> Option<Self> {
        placed(heard).map(|(order_id, _)| Self(order_id))
    }

    fn fact(heard: &Heard<'_>) -> Option<String> {
        of_stock(heard)
    }

    fn example() -> Self {
        Self(OrderId(Uuid::nil()))
    }
}

/// A gift that is sent off, but was never made sure of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Careless(OrderId, UserId);

#[rustfmt::skip]
static CARELESS: [Step<Careless>; 3] = [
    Step::ask("gift",  |of: &Careless, now| reserve("GIFT", of.0, now), "stock_reserved-GIFT").undo(|of: &Careless, now| release("GIFT", of.0, now), "reservation_released-GIFT"),
    Step::ask("ship",  |of: &Careless, now| ship("GIFT", of.0, now),    "stock_shipped-GIFT").or_suspend(),
    Step::tell("tell", tell).or_suspend(),
];

impl Table for Careless {
    const TYPE: &'static str = "checkout.careless";
    const ABOUT: &'static str = "A gift that is sent off, but was never made sure of.";

    fn plans() -> &'static [Plan<Self>] {
        const { &[within_a_day(&CARELESS)] }
    }

    fn begins(heard: &Heard<'_>) -> Option<Self> {
        placed(heard).map(|(order_id, user_id)| Self(order_id, user_id))
    }

    fn fact(heard: &Heard<'_>) -> Option<String> {
        of_stock(heard)
    }

    fn example() -> Self {
        Self(OrderId(Uuid::nil()), UserId(Uuid::nil()))
    }
}

/// A gift that is held for a moment only.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Lapsing(OrderId);

/// How long it is held.
pub(crate) const MOMENT: TimeDelta = TimeDelta::milliseconds(200);

#[rustfmt::skip]
static LAPSING: [Step<Lapsing>; 2] = [
    Step::ask("gift", hold_for_a_moment, "stock_reserved-GIFT").undo(|of: &Lapsing, now| release("GIFT", of.0, now), "reservation_expired-GIFT"),
    Step::wait("paid", "order_confirmed"),
];

impl Table for Lapsing {
    const TYPE: &'static str = "checkout.lapsing";
    const ABOUT: &'static str = "A gift that is held for a moment only.";

    fn plans() -> &'static [Plan<Self>] {
        const { &[within_a_day(&LAPSING)] }
    }

    fn begins(heard: &Heard<'_>) -> Option<Self> {
        placed(heard).map(|(order_id, _)| Self(order_id))
    }

    fn fact(heard: &Heard<'_>) -> Option<String> {
        of_stock(heard)
    }

    fn example() -> Self {
        Self(OrderId(Uuid::nil()))
    }
}

fn hold_for_a_moment(of: &Lapsing, Try { at, .. }: Try) -> Addressed {
    let command = InventoryCommand::ReserveStock {
        reservation: hold(of.0),
        quantity: 1,
        expires_at: at + MOMENT,
        at,
    };
    stock("GIFT", &command)
}

/// What waits for its money, as a build has it whose newest plan is `N`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Packed<const N: u32>(OrderId);

const fn packed<const N: u32>(revision: u32) -> Plan<Packed<N>> {
    Plan {
        revision,
        within: TimeDelta::days(1),
        undone_by: &["order_canceled"],
        steps: const {
            &[
                Step::wait("authorized", "payment_authorized"),
                Step::wait("paid", "order_confirmed"),
                Step::wait("shipped", "order_shipped"),
            ]
        },
    }
}

impl<const N: u32> Table for Packed<N> {
    const TYPE: &'static str = "checkout.packed";
    const ABOUT: &'static str = "What waits for its money.";
    const CURRENT: u32 = N;

    fn plans() -> &'static [Plan<Self>] {
        let plans = const { &[packed(1), packed(2)] };
        if N == 1 { &plans[..1] } else { plans }
    }

    fn begins(heard: &Heard<'_>) -> Option<Self> {
        placed(heard).map(|(order_id, _)| Self(order_id))
    }

    fn example() -> Self {
        Self(OrderId(Uuid::nil()))
    }
}

fn placed(heard: &Heard<'_>) -> Option<(OrderId, UserId)> {
    match heard {
        Heard::Order(order_id, OrderEvent::OrderPlaced { user_id, .. }) => {
            Some((*order_id, *user_id))
        }
        Heard::Order(..) | Heard::Inventory(..) | Heard::Payment(..) => None,
    }
}

/// Holds of several goods are told apart.
fn of_stock(heard: &Heard<'_>) -> Option<String> {
    let Heard::Inventory(sku, event) = heard else {
        return Some(heard.name().to_owned());
    };
    let own = heard.reservation()? == hold(heard.order_id()?);
    own.then(|| format!("{}-{sku}", kernel::Fact::name(*event)))
}

fn hold(order_id: OrderId) -> ReservationId {
    let attempt = 200;
    ReservationId { order_id, attempt }
}

fn stock(name: &str, command: &InventoryCommand) -> Addressed {
    let sku: Sku = name.parse().unwrap();
    Addressed::inventory(&sku, command)
}

fn reserve(sku: &str, order_id: OrderId, Try { at, .. }: Try) -> Addressed {
    let command = InventoryCommand::ReserveStock {
        reservation: hold(order_id),
        quantity: 1,
        expires_at: at + TimeDelta::days(2),
        at,
    };
    stock(sku, &command)
}

fn release(sku: &str, order_id: OrderId, Try { at, why, .. }: Try) -> Addressed {
    let command = InventoryCommand::ReleaseReservation {
        reservation: hold(order_id),
        reason: why,
        expires_at: at + TimeDelta::days(2),
        at,
    };
    stock(sku, &command)
}

fn ship(sku: &str, order_id: OrderId, Try { at, .. }: Try) -> Addressed {
    let reservation = hold(order_id);
    stock(sku, &InventoryCommand::ShipReservation { reservation, at })
}

fn tell(of: &Careless, _: Try) -> Addressed {
    let source = Uuid::new_v5(&of.0.0, b"careless");
    Addressed::mail(source, of.1, Template::OrderShipped, Details::default())
}
