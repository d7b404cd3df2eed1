//! What has happened in the payment context, as it stands on the wire.

use kernel::{Money, OrderId, PaymentMethod, Reason, RefundId, UserId};
use serde::{Deserialize, Serialize};
use strum::{IntoStaticStr, VariantNames};

use crate::{Difference, IgnoredBecause, ProviderRecord};

/// Facts about one payment. The `…Requested` ones are intents that the payment reactor executes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, IntoStaticStr, VariantNames)]
#[serde(tag = "type", content = "data", rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum PaymentEvent {
    /// This amount is to be taken for that order.
    PaymentRequested {
        /// For which order.
        order_id: OrderId,
        /// Who pays.
        user_id: UserId,
        /// The whole of it.
        amount: Money,
        /// How.
        method: PaymentMethod,
        /// The idempotency key of the provider's create call.
        provider_key: String,
    },
    /// The provider made an intent.
    ProviderIntentCreated {
        /// The provider's id (`pi_…`).
        intent_id: String,
    },
    /// The customer must act first.
    PaymentActionRequired {
        /// Where, if the provider names a page.
        action_url: Option<String>,
    },
    /// The amount is held.
    PaymentAuthorized {
        /// Held.
        amount: Money,
    },
    /// The issuer said no.
    PaymentDeclined {
        /// The provider's code.
        code: String,
        /// May the same method be tried again?
        retryable: bool,
    },
    /// It can't be done.
    PaymentFailed {
        /// What the provider said.
        code: String,
    },
    /// The held amount is to be taken.
    CaptureRequested {
        /// To be taken.
        amount: Money,
        /// The idempotency key of the provider's capture call.
        provider_key: String,
    },
    /// The money is ours.
    PaymentCaptured {
        /// Taken.
        amount: Money,
    },
    /// The money is to be let go.
    VoidRequested {
        /// Why.
        reason: Reason,
        /// The idempotency key of the provider's cancel call.
        provider_key: String,
    },
    /// The money was let go, or (as the first event) a tombstone: the payment may never begin.
    PaymentVoided {},
    /// Money is to be given back.
    RefundRequested {
        /// Which refund.
        refund_id: RefundId,
        /// How much.
        amount: Money,
        /// Why.
        reason: Reason,
        /// The idempotency key of the provider's refund call.
        provider_key: String,
    },
    /// Money was given back.
    PaymentRefunded {
        /// Which refund.
        refund_id: RefundId,
        /// How much.
        amount: Money,
    },
    /// Money could not be given back.
    RefundFailed {
        /// Which refund.
        refund_id: RefundId,
        /// What the provider said.
        code: String,
        /// What had been given back, and has come back: a bank sent it. Not told by events of before.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        came_back: Option<Money>,
    },
    /// The provider told something by itself that changes nothing.
    ProviderEventIgnored {
        /// The provider's id of it (`evt_…`).
        event_id: String,
        /// What the provider calls it.
        event_type: String,
        /// Why it changes nothing.
        because: IgnoredBecause,
    },
    /// The provider's record differs from ours: a person must look at it.
    ReconciliationMismatched {
        /// In what.
        differences: Vec<Difference>,
        /// What the provider has; none when it has no such intent.
        seen: Option<ProviderRecord>,
    },
    /// The provider's record is equal to ours again.
    ReconciliationMatched {},
    /// A person knows why the records differ.
    ReconciliationAccepted {
        /// In what.
        differences: Vec<Difference>,
        /// What the provider has; none when it has no such intent.
        seen: Option<ProviderRecord>,
        /// Why.
        reason: Reason,
    },
}

kernel::fact!(PaymentEvent);
