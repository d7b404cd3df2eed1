//! Faults that a test orders: at which operation, before or after the change, what happens, and how often.
//! They are orders of a running test: they live in memory and end with the process.

use super::command::Operation;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use thiserror::Error;

/// Orders that can be open at once.
const MAX_FAULTS: usize = 100;
/// The longest delay that can be ordered: beyond any client's time-out.
const MAX_DELAY_MS: u64 = 120_000;

/// Which calls a fault strikes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Target {
    Create,
    Confirm,
    Capture,
    Cancel,
    Refund,
    Retrieve,
    List,
    /// Every call of the API, webhooks excepted.
    Any,
    /// The delivery of events.
    Webhook,
}

impl Target {
    fn meets(self, operation: Operation) -> bool {
        match self {
            Self::Any => operation != Operation::CompleteAction,
            Self::Webhook => false,
            Self::Create => operation == Operation::Create,
            Self::Confirm => operation == Operation::Confirm,
            Self::Capture => operation == Operation::Capture,
            Self::Cancel => operation == Operation::Cancel,
            Self::Refund => operation == Operation::Refund,
            Self::Retrieve => operation == Operation::Retrieve,
            Self::List => operation == Operation::List,
        }
    }
}

/// On which side of the change.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum When {
    /// Nothing has happened yet. Only `delay` lets it happen afterwards, also when the client is gone by then.
    #[default]
    Before,
    /// The change is on the disk; what fails is the answer.
    After,
}

/// What happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Effect {
    /// The connection stays open without an answer.
    Timeout,
    /// 400 `invalid_request_error`, as if the request could not be done.
    #[serde(rename = "error_400")]
    Error400,
    /// 401, as if the API key were a wrong one.
    #[serde(rename = "error_401")]
    Error401,
    /// 500 `api_error`.
    #[serde(rename = "error_500")]
    Error500,
    /// 429 `rate_limit`.
    #[serde(rename = "error_429")]
    Error429,
    /// The connection is reset.
    Reset,
    /// After a change that came with a key: the connection is reset, and the key is forgotten at once,
    /// as it otherwise is after a day.
    ForgetKey,
    /// The call, or the answer, or the event, comes `delay_ms` later.
    Delay,
    /// Webhook: the event comes twice.
    Duplicate,
    /// Webhook: the event never comes.
    Drop,
    /// Webhook: the event comes after the next one of the same intent, at most `delay_ms` later.
    OutOfOrder,
    /// Webhook: a copy signed with another secret comes first.
    Forged,
}

impl Effect {
    fn suits(self, target: Target) -> bool {
        match self {
            Self::Delay => true,
            Self::Timeout
            | Self::Error400
            | Self::Error401
            | Self::Error500
            | Self::Error429
            | Self::Reset => target != Target::Webhook,
            Self::ForgetKey => matches!(target, Target::Create | Target::Refund),
            Self::Duplicate | Self::Drop | Self::OutOfOrder | Self::Forged => {
                target == Target::Webhook
            }
        }
    }

    fn takes_time(self) -> bool {
        matches!(self, Self::Delay | Self::OutOfOrder)
    }
}

/// One order.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Fault {
    /// Given by the simulator.
    #[serde(default, skip_deserializing)]
    id: u64,
    operation: Target,
    #[serde(default)]
    when: When,
    pub(super) effect: Effect,
    /// For `delay` and `out_of_order`: how long.
    #[serde(default)]
    delay_ms: u64,
    /// How often it still strikes; absent: every time.
    #[serde(default)]
    times: Option<u32>,
    /// Only intents whose metadata has all of these.
    #[serde(default)]
    metadata: BTreeMap<String, String>,
}

impl Fault {
    /// How long it takes.
    pub(super) fn delay(&self) -> Duration {
        Duration::from_millis(self.delay_ms)
    }

    fn suits(&self, metadata: &BTreeMap<String, String>) -> bool {
        let same = |(key, value): (&String, &String)| metadata.get(key) == Some(value);
        self.metadata.iter().all(same)
    }
}

/// Why an order isn't taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub(super) enum Refusal {
    #[error("at most {MAX_FAULTS} faults can be open")]
    TooMany,
    #[error(
        "delay_ms must be between 1 and {MAX_DELAY_MS} for delay and out_of_order, and absent otherwise"
    )]
    Delay,
    #[error("times must be at least 1, or absent for every time")]
    Times,
    #[error("this effect does not exist for this operation")]
    Effect,
    #[error("a webhook has no after, and a key is only forgotten after")]
    When,
}

/// The open orders.
#[derive(Debug, Default)]
pub(super) struct Faults(Mutex<Open>);

#[derive(Debug, Default)]
struct Open {
    last: u64,
    faults: Vec<Fault>,
}

impl Faults {
    /// Takes an order; answers its id.
    pub(super) fn add(&self, mut fault: Fault) -> Result<u64, Refusal> {
        if !fault.effect.suits(fault.operation) {
            return Err(Refusal::Effect);
        }
        let (told, forgets) = (
            fault.operation == Target::Webhook,
            fault.effect == Effect::ForgetKey,
        );
        if (told && fault.when == When::After) || (forgets && fault.when == When::Before) {
            return Err(Refusal::When);
        }
        let allowed = if fault.effect.takes_time() {
            1..=MAX_DELAY_MS
        } else {
            0..=0
        };
        if !allowed.contains(&fault.delay_ms) {
            return Err(Refusal::Delay);
        }
        if fault.times == Some(0) {
            return Err(Refusal::Times);
        }
        let mut open = self.lock();
        if open.faults.len() >= MAX_FAULTS {
            return Err(Refusal::TooMany);
        }
        open.last += 1;
        fault.id = open.last;
        open.faults.push(fault);
        Ok(open.last)
    }

    /// The oldest order that strikes this call on this side of the change, counted down.
    pub(super) fn strike(
        &self,
        operation: Operation,
        when: When,
        metadata: &BTreeMap<String, String>,
    ) -> Option<Fault> {
        self.first(|fault| {
            fault.operation.meets(operation) && fault.when == when && fault.suits(metadata)
        })
    }

    /// The oldest order that strikes this event, counted down.
    pub(super) fn strike_event(&self, metadata: &BTreeMap<String, String>) -> Option<Fault> {
        self.first(|fault| fault.operation == Target::Webhook && fault.suits(metadata))
    }

    /// What is still open, oldest first.
    pub(super) fn open(&self) -> Vec<Fault> {
        self.lock().faults.clone()
    }

    /// Takes all orders back.
    pub(super) fn clear(&self) {
        self.lock().faults.clear();
    }

    fn first(&self, meant: impl Fn(&Fault) -> bool) -> Option<Fault> {
        let mut open = self.lock();
        let position = open.faults.iter().position(meant)?;
        let fault = open.faults.get_mut(position)?;
        fault.times = fault.times.map(|times| times.saturating_sub(1));
        let fault = fault.clone();
        if fault.times == Some(0) {
            open.faults.remove(position);
        }
        Some(fault)
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
