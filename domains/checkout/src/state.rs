//! What a checkout knows: where it is, and what is held for it outside.

use chrono::{DateTime, Utc};
use kernel::{Money, OrderId, PaymentMethod, Reason, Sku, Tracking, UserId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strum::{Display, IntoStaticStr};

use crate::{Followed, Row, Step};

/// The try under which stock is reserved. A hold that lapsed is not taken anew, the checkout gives
/// up: the customer may have been gone for half an hour.
pub(crate) const RESERVATION_ATTEMPT: u32 = 1;

/// Where in its flow a checkout is.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Hash,
    Serialize,
    Deserialize,
    Display,
    IntoStaticStr,
    JsonSchema,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Stage {
    /// Stock is being set aside, for all lines at once.
    Reserving,
    /// The amount is being held.
    Authorizing,
    /// The holds on stock are being made firm.
    Committing,
    /// The amount is being taken.
    Capturing,
    /// The order is being told.
    Confirming,
    /// The order is confirmed; it may be shipped or canceled.
    Completed,
    /// The order left the house, its stock is being booked out.
    Shipping,
    /// Something came in the way: what was done is being undone, newest first.
    Undoing,
    /// All is undone; the order is being rejected.
    Undone,
    /// The order is closed.
    Ended,
    /// An operator has dealt with all of it by hand: nothing is asked any more, but for mails, and
    /// to give back stock that was being given back. Money that was only waited for is let go yet, and the
    /// order then rejected if it was to be.
    Resolved,
}

impl Stage {
    /// On the way to a confirmed order?
    pub(crate) fn is_forward(self) -> bool {
        match self {
            Self::Reserving
            | Self::Authorizing
            | Self::Committing
            | Self::Capturing
            | Self::Confirming => true,
            Self::Completed
            | Self::Shipping
            | Self::Undoing
            | Self::Undone
            | Self::Ended
            | Self::Resolved => false,
        }
    }

    /// Over, but for what comes late?
    pub(crate) fn is_closed(self) -> bool {
        match self {
            Self::Ended | Self::Resolved => true,
            Self::Reserving
            | Self::Authorizing
            | Self::Committing
            | Self::Capturing
            | Self::Confirming
            | Self::Completed
            | Self::Shipping
            | Self::Undoing
            | Self::Undone => false,
        }
    }
}

/// Where a checkout is, in the words of an operator or a customer.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, Display, IntoStaticStr,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Status {
    /// No order has been placed under this id.
    NotStarted,
    /// On the way to a confirmed order.
    Running,
    /// The order is confirmed.
    Completed,
    /// The stock of a shipped order is being booked out.
    Shipping,
    /// What was done is being undone.
    Undoing,
    /// All is undone, the order is being rejected.
    Undone,
    /// It waits for an operator.
    Suspended,
    /// It is over.
    Ended,
    /// An operator has dealt with it by hand.
    Resolved,
}

/// What is known of one line's hold on stock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Hold {
    /// Asked for; outcome unknown.
    Reserving,
    /// Set aside.
    Reserved,
    /// To be made firm; outcome unknown.
    Committing,
    /// Firm.
    Committed,
    /// To be booked out; outcome unknown.
    Shipping,
    /// Gone to the customer.
    Shipped,
    /// Never given.
    Refused,
    /// Given back, lapsed, or barred by a tombstone: final in the inventory.
    Free,
}

/// What is known of the customer's money.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Funds {
    /// Nothing was asked.
    Untouched,
    /// A hold was asked for; outcome unknown.
    Requested,
    /// Held.
    Authorized,
    /// To be taken; outcome unknown.
    Capturing,
    /// Taken.
    Captured,
    /// The answer was no: nothing is held.
    Declined,
    /// Let go, or barred by a tombstone.
    Voided,
    /// Given back.
    Refunded,
}

/// The tries of one undo (or of shipping, or of rejecting the order).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Tries {
    /// The number of the next or current one, from 1; never goes back, for ask ids come from it.
    pub(crate) attempt: u32,
    /// Failures since the start or since an operator resumed.
    pub(crate) failures: u32,
    /// Not before this.
    pub(crate) retry_at: Option<DateTime<Utc>>,
}

impl Default for Tries {
    fn default() -> Self {
        Self {
            attempt: 1,
            failures: 0,
            retry_at: None,
        }
    }
}

/// One line of the order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Line {
    pub(crate) sku: Sku,
    pub(crate) quantity: u32,
    pub(crate) hold: Hold,
    pub(crate) tries: Tries,
}

impl Line {
    /// Nothing is held and nothing may come to be held.
    pub(crate) fn is_clean(&self) -> bool {
        match self.hold {
            Hold::Refused | Hold::Free | Hold::Shipped => true,
            Hold::Reserving
            | Hold::Reserved
            | Hold::Committing
            | Hold::Committed
            | Hold::Shipping => false,
        }
    }

    /// The newest step that one release undoes: it gives back firm and loose holds alike.
    pub(crate) fn newest_step(&self) -> Step {
        let sku = self.sku.clone();
        match self.hold {
            Hold::Committing | Hold::Committed | Hold::Shipping | Hold::Shipped => {
                Step::CommitStock { sku }
            }
            Hold::Reserving | Hold::Reserved | Hold::Refused | Hold::Free => {
                Step::ReserveStock { sku }
            }
        }
    }
}

/// What becomes of the order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "snake_case")]
pub(crate) enum Fate {
    /// It goes on.
    Open,
    /// It is to be rejected, for this reason.
    Rejecting { reason: Reason },
    /// It is rejected.
    Rejected { reason: Reason },
    /// It is canceled.
    Canceled { reason: Reason },
    /// It is with the customer.
    Shipped,
}

/// A mail that is due, once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "snake_case")]
pub(crate) enum Notice {
    Confirmed,
    Shipped { tracking: Tracking },
    Rejected { reason: Reason },
    Canceled { reason: Reason },
}

/// An operator is waited for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Suspension {
    pub(crate) step: Step,
    pub(crate) why: String,
}

/// A checkout that has started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Flow {
    pub(crate) order_id: OrderId,
    pub(crate) user_id: UserId,
    pub(crate) total: Money,
    pub(crate) payment_method: PaymentMethod,
    pub(crate) reserved_until: DateTime<Utc>,
    pub(crate) deadline: DateTime<Utc>,
    pub(crate) revision: u32,
    /// What the revision stands for in this build.
    #[serde(skip)]
    pub(crate) followed: Followed,
    pub(crate) stage: Stage,
    pub(crate) lines: Vec<Line>,
    pub(crate) funds: Funds,
    /// Tries of the void or refund.
    pub(crate) money_tries: Tries,
    pub(crate) fate: Fate,
    /// Tries of rejecting the order.
    pub(crate) reject_tries: Tries,
    /// In the order in which they came due. They stay due: a repeat is harmless, a loss is not.
    pub(crate) notices: Vec<Notice>,
    pub(crate) suspension: Option<Suspension>,
    /// A person resolved it while what became of the money was unknown: that undo goes on, and what the
    /// payment says of it is seen to.
    #[serde(default)]
    pub(crate) money_left: bool,
}

impl Flow {
    /// The line of a stage in the table that it follows; `None` where no step is due.
    pub(crate) fn row_of(&self, stage: Stage) -> Option<&'static Row> {
        match self.followed {
            Followed::Known(definition) => definition.row(stage),
            Followed::Retired | Followed::Newer => None,
        }
    }

    /// The line at which it is.
    pub(crate) fn row(&self) -> Option<&'static Row> {
        self.row_of(self.stage)
    }

    /// Is `stage` further down the table than `other`?
    pub(crate) fn is_after(&self, stage: Stage, other: Stage) -> bool {
        match self.followed {
            Followed::Known(definition) => definition.rank(stage) > definition.rank(other),
            Followed::Retired | Followed::Newer => false,
        }
    }

    /// Does this build know all that it may still do?
    pub(crate) fn is_understood(&self) -> bool {
        match self.followed {
            Followed::Known(_) => true,
            Followed::Retired => self.stage.is_closed(),
            Followed::Newer => false,
        }
    }

    pub(crate) fn line(&self, sku: &Sku) -> Option<&Line> {
        self.lines.iter().find(|line| line.sku == *sku)
    }

    /// No stock is held and no money is kept, and none may come to be.
    pub(crate) fn is_clean(&self) -> bool {
        self.stock_is_clean() && self.money_is_clean()
    }

    pub(crate) fn stock_is_clean(&self) -> bool {
        self.lines.iter().all(Line::is_clean)
    }

    pub(crate) fn money_is_clean(&self) -> bool {
        match self.funds {
            Funds::Untouched | Funds::Declined | Funds::Voided | Funds::Refunded => true,
            Funds::Requested | Funds::Authorized | Funds::Capturing | Funds::Captured => false,
        }
    }

    /// Is everything done to be undone? Also after the end, for late successes.
    pub(crate) fn is_unwinding(&self) -> bool {
        match self.fate {
            Fate::Rejecting { .. } | Fate::Rejected { .. } | Fate::Canceled { .. } => true,
            Fate::Open | Fate::Shipped => false,
        }
    }

    pub(crate) fn tries(&self, step: &Step) -> Option<&Tries> {
        match step {
            Step::ReserveStock { sku } | Step::CommitStock { sku } | Step::ShipStock { sku } => {
                self.line(sku).map(|line| &line.tries)
            }
            Step::AuthorizePayment | Step::CapturePayment => Some(&self.money_tries),
            Step::ConfirmOrder => Some(&self.reject_tries),
        }
    }

    pub(crate) fn tries_mut(&mut self, step: &Step) -> Option<&mut Tries> {
        match step {
            Step::ReserveStock { sku } | Step::CommitStock { sku } | Step::ShipStock { sku } => {
                let line = self.lines.iter_mut().find(|line| line.sku == *sku);
                line.map(|line| &mut line.tries)
            }
            Step::AuthorizePayment | Step::CapturePayment => Some(&mut self.money_tries),
            Step::ConfirmOrder => Some(&mut self.reject_tries),
        }
    }
}
