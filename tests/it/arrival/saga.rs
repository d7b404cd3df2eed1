//! A parcel of which nothing is heard for long counts as delivered: a whole saga in one file.

use checkout::{Addressed, Due, Listens, NoRefusal, Saga, ask_id_of};
use chrono::{DateTime, TimeDelta, Utc};
use kernel::{Decider, OrderId};
use order::{OrderCommand, OrderEvent};
use serde::{Deserialize, Serialize};
use strum::{Display, IntoStaticStr};

/// How long nothing is heard. In a shop two weeks; in a test, none to wait for.
const SILENCE: TimeDelta = TimeDelta::seconds(1);

/// What it takes in.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum ArrivalFact {
    Shipped(OrderId, DateTime<Utc>),
    Delivered,
    Refused,
}

/// What it remembers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, IntoStaticStr)]
#[serde(tag = "type", content = "data", rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub(crate) enum ArrivalEvent {
    ArrivalAwaited {
        order_id: OrderId,
        until: DateTime<Utc>,
    },
    ArrivalEnded {},
}

kernel::fact!(ArrivalEvent);

/// What it asks.
#[derive(Debug, Clone, Copy, Display)]
#[strum(serialize_all = "snake_case")]
pub(crate) enum ArrivalAsk {
    DeliverOrder,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Arrival {
    #[default]
    NotStarted,
    Awaited {
        order_id: OrderId,
        until: DateTime<Utc>,
    },
    Ended,
}

impl Decider for Arrival {
    const CONTEXT: &'static str = "checkout";
    const KIND: Option<&'static str> = Some("arrival");

    fn decide(&self, fact: &ArrivalFact) -> Result<Vec<ArrivalEvent>, NoRefusal> {
        Ok(match (self, fact) {
            (Self::NotStarted, ArrivalFact::Shipped(order_id, at)) => {
                let (order_id, until) = (*order_id, *at + SILENCE);
                vec![ArrivalEvent::ArrivalAwaited { order_id, until }]
            }
            (Self::Awaited { .. }, ArrivalFact::Delivered | ArrivalFact::Refused) => {
                vec![ArrivalEvent::ArrivalEnded {}]
            }
            // Late or repeated: ignore.
            _ => vec![],
        })
    }

    fn evolve(&mut self, event: &ArrivalEvent) {
        *self = match *event {
            ArrivalEvent::ArrivalAwaited { order_id, until } => Self::Awaited { order_id, until },
            ArrivalEvent::ArrivalEnded {} => Self::Ended,
        };
    }
}

impl Saga for Arrival {
    const NAME: &'static str = "arrival";
    type Id = OrderId;
    type Ask = ArrivalAsk;

    fn order_id(&self) -> Option<OrderId> {
        match self {
            Self::NotStarted | Self::Ended => None,
            Self::Awaited { order_id, .. } => Some(*order_id),
        }
    }

    fn pending(&self, now: DateTime<Utc>) -> Vec<Due<ArrivalAsk>> {
        match self {
            Self::Awaited { order_id, until } if *until <= now => {
                let ask = ArrivalAsk::DeliverOrder;
                let deliver = Addressed::order(*order_id, &OrderCommand::DeliverOrder {});
                vec![deliver.due(ask_id_of(Self::NAME, order_id, ask), ask)]
            }
            Self::NotStarted | Self::Awaited { .. } | Self::Ended => vec![],
        }
    }

    fn deadline(&self) -> Option<DateTime<Utc>> {
        match self {
            Self::Awaited { until, .. } => Some(*until),
            Self::NotStarted | Self::Ended => None,
        }
    }

    fn suspended(&self) -> Option<String> {
        None
    }

    fn refused(_: &Due<ArrivalAsk>, _: String, _: String, _: DateTime<Utc>) -> ArrivalFact {
        ArrivalFact::Refused
    }
}

impl Listens for Arrival {
    fn from_order(
        order_id: OrderId,
        event: &OrderEvent,
        at: DateTime<Utc>,
    ) -> Option<(OrderId, ArrivalFact)> {
        match event {
            OrderEvent::OrderShipped { .. } => Some((order_id, ArrivalFact::Shipped(order_id, at))),
            OrderEvent::OrderDelivered {} => Some((order_id, ArrivalFact::Delivered)),
            // Not interested: nothing on its way.
            OrderEvent::OrderPlaced { .. }
            | OrderEvent::OrderConfirmed { .. }
            | OrderEvent::OrderRejected { .. }
            | OrderEvent::OrderCanceled { .. }
            | OrderEvent::OrderRefunded { .. }
            | OrderEvent::OrderRefundReversed { .. }
            | OrderEvent::ReturnRequested { .. }
            | OrderEvent::ReturnApproved { .. }
            | OrderEvent::ReturnRefused { .. }
            | OrderEvent::ReturnReceived { .. } => None,
        }
    }
}

kernel::aggregate!(
    Arrival,
    "checkout.arrival",
    ArrivalFact,
    ArrivalEvent,
    NoRefusal
);
