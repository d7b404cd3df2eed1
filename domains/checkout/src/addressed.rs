//! Whom an ask goes to, and the command that it becomes.

use ::order::OrderCommand;
use inventory::InventoryCommand;
use kernel::{AggregateId, OrderId, Sku, UserId};
use notification::{Channel, Details, NotificationCommand, Template, notification_id};
use payment::{PaymentCommand, payment_id};
use serde::Serialize;
use uuid::Uuid;

use crate::Due;

/// Whom, which one, what.
#[derive(Debug)]
pub struct Addressed(&'static str, AggregateId, serde_json::Value);

impl Addressed {
    /// To the stock item.
    pub fn inventory(sku: &Sku, command: &InventoryCommand) -> Self {
        Self("inventory", sku.into(), json(command))
    }

    /// To the order.
    pub fn order(order_id: OrderId, command: &OrderCommand) -> Self {
        Self("order", order_id.into(), json(command))
    }

    /// The one payment of the order.
    pub fn payment(order_id: OrderId, command: &PaymentCommand) -> Self {
        Self("payment", payment_id(order_id).into(), json(command))
    }

    /// A mail about `source`: one of a kind for each, whatever is repeated.
    pub fn mail(source: Uuid, to: UserId, template: Template, details: Details) -> Self {
        let channel = Channel::Email;
        let id = notification_id(source, template, channel, to);
        let command = NotificationCommand::RequestNotification {
            user_id: to,
            template,
            channel,
            details,
        };
        Self("notification", id.into(), json(&command))
    }

    /// As the saga's ask `label`, under this command id ([`crate::ask_id_of`]).
    pub fn due<A>(self, ask_id: Uuid, label: A) -> Due<A> {
        let Self(context, aggregate_id, command) = self;
        Due {
            ask_id,
            label,
            context,
            kind: None,
            aggregate_id,
            command,
        }
    }
}

/// A command always serializes: string keys, no maps of structs. Should one ever not, its context
/// answers that it can't read `null`, which is seen.
fn json(command: &impl Serialize) -> serde_json::Value {
    serde_json::to_value(command).unwrap_or(serde_json::Value::Null)
}
