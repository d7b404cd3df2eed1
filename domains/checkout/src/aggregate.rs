//! The checkout: `decide` takes a fact in, `evolve` remembers what follows from it.

use std::marker::PhantomData;

use cqrs_es::Aggregate;
use cqrs_es::event_sink::EventSink;
use kernel::{Decider, OrderId, RefundId, UserId};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser};

use crate::fact::Concern;
use crate::state::Flow;
use crate::{
    CheckoutEvent, CheckoutFact, CheckoutRefusal, Definitions, Followed, Shop, Stage, Status, Step,
};

/// The shop's checkout.
pub type Checkout = CheckoutBy<Shop>;

/// The progress of one order through stock, payment, confirmation and shipping, by the definition of
/// `D` that it started under.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum CheckoutBy<D> {
    /// No order was placed.
    #[default]
    NotStarted,
    /// An order was placed.
    Started(Started<D>),
}

/// A checkout on its way. What it knows is its own; what it wants is in [`CheckoutBy::pending`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Started<D>(Box<Flow>, PhantomData<D>);

impl<D: Definitions> CheckoutBy<D> {
    pub(crate) fn started(flow: Flow) -> Self {
        Self::Started(Started(Box::new(flow), PhantomData))
    }

    pub(crate) fn flow(&self) -> Option<&Flow> {
        match self {
            Self::NotStarted => None,
            Self::Started(Started(flow, _)) => Some(flow),
        }
    }

    pub(crate) fn flow_mut(&mut self) -> Option<&mut Flow> {
        match self {
            Self::NotStarted => None,
            Self::Started(Started(flow, _)) => Some(flow),
        }
    }

    /// Only if all that it may still do is known.
    pub(crate) fn understood(&self) -> Option<&Flow> {
        self.flow().filter(|flow| flow.is_understood())
    }

    /// Which order it is about, once started.
    pub fn order_id(&self) -> Option<OrderId> {
        self.flow().map(|flow| flow.order_id)
    }

    /// Whose order it is, once started.
    pub fn user_id(&self) -> Option<UserId> {
        self.flow().map(|flow| flow.user_id)
    }

    /// Is the refund its own: does it undo the capture? The others are somebody else's to record.
    pub fn asked_for(&self, refund_id: RefundId) -> bool {
        self.flow().is_some_and(|flow| flow.asked_for(refund_id))
    }

    /// The definition that it follows, once started.
    pub fn revision(&self) -> Option<u32> {
        self.flow().map(|flow| flow.revision)
    }

    /// The definition that it follows, if this build does not know what that may still lead to.
    pub fn unknown_revision(&self) -> Option<u32> {
        let flow = self.flow().filter(|flow| !flow.is_understood());
        flow.map(|flow| flow.revision)
    }

    /// Where it is.
    pub fn status(&self) -> Status {
        let Some(flow) = self.flow() else {
            return Status::NotStarted;
        };
        if flow.suspension.is_some() {
            return Status::Suspended;
        }
        match flow.stage {
            Stage::Reserving
            | Stage::Authorizing
            | Stage::Committing
            | Stage::Capturing
            | Stage::Confirming => Status::Running,
            Stage::Completed => Status::Completed,
            Stage::Shipping => Status::Shipping,
            Stage::Undoing => Status::Undoing,
            Stage::Undone => Status::Undone,
            Stage::Ended => Status::Ended,
            Stage::Resolved => Status::Resolved,
        }
    }

    /// What an operator is waited for: the step that can't be done or undone, and why.
    pub fn suspended(&self) -> Option<(&Step, &str)> {
        let suspension = self.flow()?.suspension.as_ref()?;
        Some((&suspension.step, &suspension.why))
    }

    /// The stage in its flow, once started; also while suspended.
    pub fn stage(&self) -> Option<Stage> {
        self.flow().map(|flow| flow.stage)
    }

    /// What follows from a fact: one event, or none when it is repeated, late or of no concern.
    ///
    /// # Errors
    /// The checkout has not started, or follows a definition that this build does not know: the fact
    /// must come again later.
    pub fn react(&self, fact: &CheckoutFact) -> Result<Option<CheckoutEvent>, CheckoutRefusal> {
        let Some(flow) = self.flow() else {
            return start(fact, D::CURRENT).map(Some);
        };
        if let Some(revision) = self.unknown_revision() {
            return Err(CheckoutRefusal::RevisionUnknown { revision });
        }
        Ok(flow.react(fact))
    }
}

fn start(fact: &CheckoutFact, revision: u32) -> Result<CheckoutEvent, CheckoutRefusal> {
    let CheckoutFact::OrderPlaced {
        order_id,
        user_id,
        items,
        total,
        payment_method,
        started_at,
        reserved_until,
        deadline,
    } = fact
    else {
        return Err(CheckoutRefusal::CheckoutNotStarted {});
    };
    Ok(CheckoutEvent::CheckoutStarted {
        order_id: *order_id,
        user_id: *user_id,
        items: items.clone(),
        total: *total,
        payment_method: payment_method.clone(),
        started_at: *started_at,
        reserved_until: *reserved_until,
        deadline: *deadline,
        revision,
    })
}

impl Flow {
    /// A table of contents: what each fact means is said in `stock.rs`, `money.rs`, `order.rs` and
    /// `answer.rs`. Whatever they don't name is late or repeated, and ignored.
    fn react(&self, fact: &CheckoutFact) -> Option<CheckoutEvent> {
        if self.stage == Stage::Resolved {
            let open = match fact.concern() {
                Concern::Stock => true,
                Concern::Money => self.money_left,
                Concern::Other => false,
            };
            if !(self.is_unwinding() && open) {
                // A person has it in hand.
                return None;
            }
        }
        match fact {
            CheckoutFact::OrderPlaced { .. } => None,
            CheckoutFact::OrderConfirmed {} => self.confirmed(),
            CheckoutFact::OrderRejected { reason } => self.rejected(reason),
            CheckoutFact::OrderCanceled { reason } => self.canceled(reason),
            CheckoutFact::OrderShipped { tracking } => self.shipped(tracking),
            CheckoutFact::StockReserved { sku, attempt } => self.reserved(sku, *attempt),
            CheckoutFact::ReservationCommitted { sku, attempt } => self.committed(sku, *attempt),
            CheckoutFact::ReservationReleased { sku, attempt }
            | CheckoutFact::ReservationExpired { sku, attempt } => self.freed(sku, *attempt),
            CheckoutFact::StockShipped { sku, attempt } => self.stock_shipped(sku, *attempt),
            CheckoutFact::PaymentAuthorized {} => self.authorized(),
            CheckoutFact::PaymentDeclined { code } => self.declined(code),
            CheckoutFact::PaymentFailed { code } => self.payment_failed(code),
            CheckoutFact::PaymentCaptured { amount: _ } => self.captured(),
            CheckoutFact::PaymentVoided {} => self.voided(),
            CheckoutFact::PaymentRefunded { refund_id } => self.refunded(*refund_id),
            CheckoutFact::RefundFailed {
                refund_id,
                code,
                at,
            } => self.refund_failed(*refund_id, code, *at),
            CheckoutFact::AskRefused {
                ask,
                code,
                message,
                at,
            } => self.ask_refused(ask, code, message, *at),
            CheckoutFact::NothingToUndo { ask } => self.nothing_to_undo(ask),
            CheckoutFact::DeadlineReached { at } => self.timed_out(*at),
            CheckoutFact::Resumed { by } => self.resumed(by),
            CheckoutFact::Skipped { step, by, reason } => self.skipped(step, by, reason),
            CheckoutFact::Resolved { by, reason } => self.resolved(by, reason),
        }
    }
}

impl<D: Definitions> Decider for CheckoutBy<D> {
    const CONTEXT: &'static str = "checkout";
    const STATE_REVISION: u32 = 3;

    fn decide(&self, fact: &CheckoutFact) -> Result<Vec<CheckoutEvent>, CheckoutRefusal> {
        Ok(self.react(fact)?.into_iter().collect())
    }

    fn evolve(&mut self, event: &CheckoutEvent) {
        if let Some(flow) = self.flow_mut() {
            flow.evolve(event);
        } else if let Some(flow) = Flow::start::<D>(event) {
            *self = Self::started(flow);
        }
    }
}

impl<D: Definitions> Aggregate for CheckoutBy<D> {
    const TYPE: &'static str = "checkout";
    type Command = CheckoutFact;
    type Event = CheckoutEvent;
    type Error = CheckoutRefusal;
    type Services = ();

    async fn handle(
        &mut self,
        fact: CheckoutFact,
        (): &(),
        sink: &EventSink<Self>,
    ) -> Result<(), CheckoutRefusal> {
        kernel::bridge(self, fact, sink).await
    }

    fn apply(&mut self, event: CheckoutEvent) {
        self.evolve(&event);
    }
}

/// The state as it is kept in snapshots.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kept<F> {
    NotStarted,
    Started(F),
}

impl<D: Definitions> Serialize for CheckoutBy<D> {
    /// # Errors
    /// This build does not know the checkout's definition. What it then made of the events is none of
    /// a state that a build which knows it may go on from.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let kept = match self {
            Self::NotStarted => Kept::NotStarted,
            Self::Started(Started(flow, _)) if flow.is_understood() => Kept::Started(flow),
            Self::Started(Started(flow, _)) => {
                let revision = flow.revision;
                let why = CheckoutRefusal::RevisionUnknown { revision };
                return Err(ser::Error::custom(why));
            }
        };
        kept.serialize(serializer)
    }
}

impl<'de, D: Definitions> Deserialize<'de> for CheckoutBy<D> {
    /// # Errors
    /// It is no checkout's state, or this build does not know its definition.
    fn deserialize<R: Deserializer<'de>>(deserializer: R) -> Result<Self, R::Error> {
        let mut flow: Flow = match Kept::deserialize(deserializer)? {
            Kept::NotStarted => return Ok(Self::NotStarted),
            Kept::Started(flow) => flow,
        };
        flow.followed = Followed::by::<D>(flow.revision);
        if !flow.is_understood() {
            let revision = flow.revision;
            let why = CheckoutRefusal::RevisionUnknown { revision };
            return Err(de::Error::custom(why));
        }
        Ok(Self::started(flow))
    }
}
