//! What customers and operators do: their requests, as the HTTP API lets them through.

use checkout::refunding::RefundAsk;
use checkout::{
    CheckoutEvent, CheckoutFact, RefundingEvent, RefundingFact, Returning, ReturningEvent,
    ReturningFact, Saga, Step,
};
use inventory::InventoryCommand;
use kernel::{Money, Reason, RefundId, ReservationId, ReturnId, Sealed, Sku, UserId};
use order::{Line, OrderCommand, OrderEvent, OrderStatus, ReturnLine};
use payment::PaymentCommand;

use crate::agenda::Time;
use crate::plan::{Action, GOODS, Moment, PlannedOrder, Settling, What, When};
use crate::saga::Fact;
use crate::shop::{Answer, Executed, Meta, none};
use crate::told::Told;
use crate::world::{Entry, Role, World, new_id};

/// The pause between two clicks.
const CLICK_PAUSE: Time = 35;

/// What the operator is called.
const OPERATOR: &str = "operator:ada";

/// A literal of ours, as the domain has it.
#[expect(
    clippy::expect_used,
    reason = "literals that parse: every run proves it"
)]
pub(crate) fn known<T: std::str::FromStr>(literal: &str) -> T {
    let parsed = literal.parse().ok();
    parsed.expect("a literal that parses")
}

/// One of the goods.
pub(crate) fn sku(goods: usize) -> Sku {
    known(GOODS.get(goods).map_or("MUG", |(name, _)| name))
}

pub(crate) fn cents(cents: i64) -> Money {
    Money::new(cents, known("EUR"))
}

impl World {
    /// Stock comes in, and everything planned goes on the agenda.
    pub(crate) fn open_the_shop(&mut self) {
        for (goods, units) in self.plan.stock.clone().into_iter().enumerate() {
            if let Some(quantity) = units {
                let step = u64::try_from(goods).unwrap_or_default();
                self.stock_moves(goods, &InventoryCommand::CreateStockItem {}, (step, 3));
                self.stock_moves(
                    goods,
                    &InventoryCommand::ReceiveStock { quantity },
                    (step, 4),
                );
            }
        }
        for order in 0..self.plan.orders.len() {
            let Some(planned) = self.plan.order(order) else {
                continue;
            };
            for click in 0..planned.clicks {
                let at = planned.placed_at + CLICK_PAUSE * Time::from(click);
                self.agenda.at(at, Entry::Place(order));
            }
        }
        for index in 0..self.plan.actions.len() {
            if let Some(action) = self.plan.action(index)
                && let When::At(time) = action.when
            {
                self.enter(index, &action, time);
            }
        }
    }

    fn enter(&mut self, index: usize, action: &Action, time: Time) {
        for click in 0..action.clicks {
            let at = time + CLICK_PAUSE * Time::from(click);
            self.agenda.at(at, Entry::Act(index));
        }
    }

    /// Something has become true: whoever waited for it acts.
    pub(crate) fn trigger(&mut self, index: usize) {
        let Some(recorded) = self.shop.log.get(index) else {
            return;
        };
        let moment = match &recorded.told {
            Told::Order(OrderEvent::OrderConfirmed { .. }) => Moment::Confirmed,
            Told::Order(OrderEvent::OrderShipped { .. }) => Moment::Shipped,
            Told::Order(OrderEvent::OrderDelivered {}) => Moment::Delivered,
            Told::Checkout(CheckoutEvent::CheckoutSuspended { .. })
            | Told::Returning(_, ReturningEvent::ReturningSuspended { .. })
            | Told::Refunding(_, RefundingEvent::RefundingSuspended { .. }) => Moment::Suspended,
            Told::Order(_)
            | Told::Inventory(..)
            | Told::Payment(_)
            | Told::Notification(..)
            | Told::Checkout(_)
            | Told::Returning(..)
            | Told::Refunding(..) => return,
        };
        let (order, now) = (recorded.order, self.agenda.now());
        for index in 0..self.plan.actions.len() {
            let Some(action) = self.plan.action(index) else {
                continue;
            };
            let When::After(awaited, wait) = action.when else {
                continue;
            };
            let mine = awaited == moment && Some(action.order) == order;
            if mine && self.triggered.insert(index) {
                self.enter(index, &action, now + wait);
                if moment == Moment::Suspended {
                    // The next one is for the next suspension.
                    return;
                }
            }
        }
    }

    /// A customer clicks on "buy".
    pub(crate) fn place(&mut self, order: usize) {
        let Some(planned) = self.plan.order(order) else {
            return;
        };
        let lines = planned.lines.iter().map(|(goods, quantity)| Line {
            sku: sku(*goods),
            title: known("A thing"),
            quantity: *quantity,
            unit_price: cents(price(*goods)),
        });
        let user_id = customer(order);
        let command = OrderCommand::PlaceOrder {
            user_id,
            lines: lines.collect(),
            shipping_address: Sealed::new(user_id, "AAAA"),
            payment_method: known("pm_card_visa"),
        };
        self.tell("customer", || {
            format!("order {}: buys {}", order + 1, basket(&planned))
        });
        self.shop_moves(order, &command, (0, 5));
    }

    /// Somebody's request comes in.
    pub(crate) fn act(&mut self, index: usize) {
        let Some(action) = self.plan.action(index) else {
            return;
        };
        let order = action.order;
        let step = (u64::try_from(index).unwrap_or_default(), 6);
        self.tell(action.what.whose(), || {
            format!("order {}: {}", order + 1, action.what.text())
        });
        match action.what {
            What::Refund {
                number,
                cents: amount,
            } => {
                let shipped = self
                    .shop
                    .file(order)
                    .and_then(|file| file.order.state.status());
                if matches!(shipped, Some(OrderStatus::Shipped | OrderStatus::Delivered)) {
                    let command = PaymentCommand::RefundPayment {
                        refund_id: RefundId(self.id_of(order, number, 8)),
                        amount: cents(amount),
                        reason: reason("a scratch"),
                    };
                    self.payment_moves(order, &command, step);
                }
            }
            What::Settle(how) => self.settle_what_waits(order, how, step),
            What::ReceiveStock { goods, quantity } => {
                self.stock_moves(goods, &InventoryCommand::ReceiveStock { quantity }, step);
            }
            What::AdjustStock { goods, delta } => {
                let reason = reason("counted again");
                self.stock_moves(
                    goods,
                    &InventoryCommand::AdjustStock { delta, reason },
                    step,
                );
            }
            What::Erase => {
                self.erased.insert(order);
            }
            What::ExpireHolds => self.expire_holds(order, index),
            What::CaptureByHand => {
                if self.provider.capture_by_hand(order) {
                    self.provider_goes_on();
                }
            }
            What::Cancel
            | What::Ship
            | What::Deliver
            | What::RequestReturn { .. }
            | What::ApproveReturn(_)
            | What::RefuseReturn(_)
            | What::ReceiveReturn(_) => {
                if let Some(command) = self.of_order(order, action.what) {
                    self.shop_moves(order, &command, step);
                }
            }
        }
    }

    fn of_order(&self, order: usize, what: What) -> Option<OrderCommand> {
        let return_id = |number| ReturnId(self.id_of(order, number, 7));
        Some(match what {
            What::Cancel => OrderCommand::CancelOrder {
                reason: reason("changed my mind"),
            },
            What::Ship => OrderCommand::ShipOrder {
                tracking: known("1Z999"),
            },
            What::Deliver => OrderCommand::DeliverOrder {},
            What::RequestReturn {
                number,
                goods,
                quantity,
            } => OrderCommand::RequestReturn {
                return_id: return_id(number),
                lines: vec![ReturnLine {
                    sku: sku(goods),
                    quantity,
                }],
                reason: reason("too heavy"),
            },
            What::ApproveReturn(number) => OrderCommand::ApproveReturn {
                return_id: return_id(number),
            },
            What::RefuseReturn(number) => OrderCommand::RefuseReturn {
                return_id: return_id(number),
                reason: reason("it was used"),
            },
            What::ReceiveReturn(number) => OrderCommand::ReceiveReturn {
                return_id: return_id(number),
            },
            What::Refund { .. }
            | What::Settle(_)
            | What::ReceiveStock { .. }
            | What::AdjustStock { .. }
            | What::Erase
            | What::ExpireHolds
            | What::CaptureByHand => return None,
        })
    }

    fn id_of(&self, order: usize, number: u8, what: u64) -> uuid::Uuid {
        let order = u64::try_from(order).unwrap_or_default();
        new_id([self.plan.seed, order * 256 + u64::from(number), what])
    }

    /// An operator settles everything of the order that waits for one.
    fn settle_what_waits(&mut self, order: usize, how: Settling, step: (u64, u64)) {
        let Some(file) = self.shop.file(order) else {
            return;
        };
        let id = file.id;
        let mut facts = Vec::new();
        if let Some((stuck, _)) = file.checkout.state.suspended() {
            facts.push(Fact::Checkout(order, of_checkout(how, stuck)));
        }
        let returning = self.shop.returning.iter();
        let returning = returning.filter(|(_, kept)| waits(&kept.state, id));
        facts.extend(
            returning.map(|(id, kept)| Fact::Returning(*id, of_returning(how, &kept.state))),
        );
        let refunding = self.shop.refunding.iter();
        let refunding = refunding.filter(|(_, kept)| waits(&kept.state, id));
        facts.extend(refunding.map(|(id, _)| Fact::Refunding(*id, of_refunding(how))));
        for fact in facts {
            let meta = self.meta(Some(order), step);
            let (_, new) = self.take_in(&fact, meta);
            self.record(new);
        }
    }

    fn expire_holds(&mut self, order: usize, index: usize) {
        let Some(file) = self.shop.file(order) else {
            return;
        };
        let reservation = ReservationId {
            order_id: file.id,
            attempt: 1,
        };
        let at = self.now_by(Role::Contexts);
        for goods in 0..GOODS.len() {
            let step = u64::try_from(index * GOODS.len() + goods).unwrap_or_default();
            let command = InventoryCommand::ExpireReservation { reservation, at };
            let meta = self.meta(Some(order), (step, 9));
            self.stock_executes(goods, &command, meta);
        }
    }

    fn meta(&self, order: Option<usize>, (step, what): (u64, u64)) -> Meta {
        let number = order.map_or(99, |order| u64::try_from(order).unwrap_or_default());
        Meta {
            command_id: new_id([self.plan.seed, number * 100_000 + step, 100 + what]),
            order,
            at: self.time_by(Role::Contexts),
        }
    }

    fn shop_moves(&mut self, order: usize, command: &OrderCommand, step: (u64, u64)) {
        let meta = self.meta(Some(order), step);
        let shop = &mut self.shop;
        if let Some(file) = shop.files.get_mut(order) {
            let executed = file
                .order
                .execute(command, (meta, &mut shop.log), Told::Order, none);
            self.answer(executed);
        }
    }

    fn payment_moves(&mut self, order: usize, command: &PaymentCommand, step: (u64, u64)) {
        let meta = self.meta(Some(order), step);
        let shop = &mut self.shop;
        if let Some(file) = shop.files.get_mut(order) {
            let with = (meta, &mut shop.log);
            let executed = file.payment.execute(command, with, Told::Payment, none);
            self.answer(executed);
        }
    }

    fn stock_moves(&mut self, goods: usize, command: &InventoryCommand, step: (u64, u64)) {
        let meta = self.meta(None, step);
        self.stock_executes(goods, command, meta);
    }

    fn stock_executes(&mut self, goods: usize, command: &InventoryCommand, meta: Meta) {
        let sku = sku(goods);
        let told = |event| Told::Inventory(sku.clone(), event);
        let item = self.shop.stock.entry(sku.clone()).or_default();
        let executed = item.execute(command, (meta, &mut self.shop.log), told, none);
        self.answer(executed);
    }

    /// Refusals are somebody's bad luck.
    fn answer(&mut self, (answer, new): Executed) {
        if let Answer::Refused { code, .. } = &answer {
            self.tell("", || format!("  409 {code}"));
        }
        self.record(new);
    }
}

fn waits<S: Saga>(saga: &S, id: kernel::OrderId) -> bool {
    saga.order_id() == Some(id) && saga.suspended().is_some()
}

/// Whose order it is.
pub(crate) fn customer(order: usize) -> UserId {
    let number = u64::try_from(order).unwrap_or_default();
    UserId(new_id([number, 0, 9]))
}

pub(crate) fn price(goods: usize) -> i64 {
    GOODS.get(goods).map_or(0, |(_, price)| *price)
}

fn reason(text: &str) -> Reason {
    known(text)
}

/// What is bought, and how the card behaves.
fn basket(planned: &PlannedOrder) -> String {
    let lines = planned.lines.iter();
    let lines = lines.map(|(goods, quantity)| format!("{quantity} {}", sku(*goods)));
    let lines = lines.collect::<Vec<_>>().join(", ");
    format!("{lines} (card: {:?})", planned.card)
}

/// What an operator's settling is to a checkout.
fn of_checkout(how: Settling, stuck: &Step) -> CheckoutFact {
    let (by, reason) = (OPERATOR.to_owned(), by_hand());
    match how {
        Settling::Skip => CheckoutFact::Skipped {
            step: stuck.to_string(),
            by,
            reason,
        },
        Settling::Resolve => CheckoutFact::Resolved { by, reason },
        Settling::Resume => CheckoutFact::Resumed { by },
    }
}

/// What it is to a return: of several steps that are stuck, the first is skipped.
fn of_returning(how: Settling, saga: &Returning) -> ReturningFact {
    let (by, reason) = (OPERATOR.to_owned(), by_hand());
    let stuck = saga.suspended().unwrap_or_default();
    let step = stuck.split(": ").next().unwrap_or_default().to_owned();
    match how {
        Settling::Skip => ReturningFact::Skipped { step, by, reason },
        Settling::Resolve => ReturningFact::Resolved { by, reason },
        Settling::Resume => ReturningFact::Resumed { by },
    }
}

/// What it is to a refund.
fn of_refunding(how: Settling) -> RefundingFact {
    let (by, reason) = (OPERATOR.to_owned(), by_hand());
    let step = RefundAsk::RecordRefund.to_string();
    match how {
        Settling::Skip => RefundingFact::Skipped { step, by, reason },
        Settling::Resolve => RefundingFact::Resolved { by, reason },
        Settling::Resume => RefundingFact::Resumed { by },
    }
}

fn by_hand() -> Reason {
    known("done by hand")
}

impl What {
    fn whose(self) -> &'static str {
        match self {
            Self::Cancel | Self::RequestReturn { .. } => "customer",
            Self::Ship
            | Self::Deliver
            | Self::ApproveReturn(_)
            | Self::RefuseReturn(_)
            | Self::ReceiveReturn(_)
            | Self::Refund { .. }
            | Self::Settle(_)
            | Self::ReceiveStock { .. }
            | Self::AdjustStock { .. }
            | Self::Erase
            | Self::ExpireHolds
            | Self::CaptureByHand => "operator",
        }
    }

    fn text(self) -> String {
        match self {
            Self::Cancel => "cancels it".to_owned(),
            Self::Ship => "ships it".to_owned(),
            Self::Deliver => "says that it arrived".to_owned(),
            Self::RequestReturn {
                number,
                goods,
                quantity,
            } => format!(
                "wants to send {quantity} {} back (return {number})",
                sku(goods)
            ),
            Self::ApproveReturn(number) => format!("approves return {number}"),
            Self::RefuseReturn(number) => format!("refuses return {number}"),
            Self::ReceiveReturn(number) => format!("receives return {number}"),
            Self::Refund { cents, .. } => format!("gives {cents} cents back"),
            Self::Settle(Settling::Resume) => "lets go on what waits for a person".to_owned(),
            Self::Settle(Settling::Skip) => {
                "has done by hand the step that waits for a person".to_owned()
            }
            Self::Settle(Settling::Resolve) => {
                "has done by hand all that waits for a person".to_owned()
            }
            Self::ReceiveStock { goods, quantity } => format!("receives {quantity} {}", sku(goods)),
            Self::AdjustStock { goods, delta } => format!("finds {delta} {}", sku(goods)),
            Self::Erase => "erases the customer".to_owned(),
            Self::ExpireHolds => "has lapsed holds swept".to_owned(),
            Self::CaptureByHand => "takes the money on the provider's own page".to_owned(),
        }
    }
}
