//! Faults that a test orders: at which stage of an SMTP session, what happens, and how often.

use serde::{Deserialize, Serialize};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use thiserror::Error;

/// Orders that can be open at once.
const MAX_FAULTS: usize = 100;
/// The longest delay that can be ordered: beyond any client's time-out.
const MAX_DELAY_MS: u64 = 120_000;

/// Where in a session a fault strikes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Stage {
    /// Instead of the greeting.
    Connect,
    /// At `MAIL FROM`.
    MailFrom,
    /// At `RCPT TO`.
    RcptTo,
    /// At `DATA`, before the content.
    Data,
    /// After the content: with `drop` and `delay` the mail is accepted and stored, and the answer is lost or late.
    AfterData,
}

/// What happens there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Effect {
    /// Refused for now, as by greylisting.
    #[serde(rename = "reject_4xx")]
    RejectForNow,
    /// Refused for good.
    #[serde(rename = "reject_5xx")]
    RejectForGood,
    /// The connection is closed without an answer.
    Drop,
    /// The answer comes after `delay_ms`.
    Delay,
}

/// One order.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Fault {
    pub(super) stage: Stage,
    pub(super) effect: Effect,
    /// For `delay`: how long.
    #[serde(default)]
    pub(super) delay_ms: u64,
    /// How often it still strikes; absent: every time.
    #[serde(default)]
    pub(super) times: Option<u32>,
    /// Only mails to this address.
    #[serde(default)]
    pub(super) recipient: Option<String>,
}

impl Fault {
    /// How long the answer waits.
    pub(super) fn delay(&self) -> Duration {
        Duration::from_millis(self.delay_ms)
    }
}

/// Why an order isn't taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub(super) enum Refusal {
    #[error("at most {MAX_FAULTS} faults can be open")]
    TooMany,
    #[error("delay_ms must be between 1 and {MAX_DELAY_MS} for a delay, and absent otherwise")]
    Delay,
    #[error("times must be at least 1, or absent for every time")]
    Times,
    #[error("the recipient is not known yet at this stage")]
    RecipientTooEarly,
}

/// The open orders, oldest first.
#[derive(Debug, Clone, Default)]
pub(super) struct Faults(Arc<Mutex<Vec<Fault>>>);

impl Faults {
    /// Takes an order.
    pub(super) fn add(&self, fault: Fault) -> Result<(), Refusal> {
        let delayed = fault.effect == Effect::Delay;
        if delayed != (1..=MAX_DELAY_MS).contains(&fault.delay_ms)
            || !delayed && fault.delay_ms != 0
        {
            return Err(Refusal::Delay);
        }
        if fault.times == Some(0) {
            return Err(Refusal::Times);
        }
        let early = matches!(fault.stage, Stage::Connect | Stage::MailFrom);
        if early && fault.recipient.is_some() {
            return Err(Refusal::RecipientTooEarly);
        }
        let mut open = self.lock();
        if open.len() >= MAX_FAULTS {
            return Err(Refusal::TooMany);
        }
        open.push(fault);
        Ok(())
    }

    /// The oldest order that strikes at this stage, counted down.
    pub(super) fn strike(&self, stage: Stage, recipients: &[String]) -> Option<Fault> {
        let mut open = self.lock();
        let meant = |fault: &Fault| {
            fault.stage == stage
                && fault.recipient.as_ref().is_none_or(|wanted| {
                    recipients
                        .iter()
                        .any(|address| address.eq_ignore_ascii_case(wanted))
                })
        };
        let position = open.iter().position(meant)?;
        let fault = open.get_mut(position)?;
        fault.times = fault.times.map(|times| times.saturating_sub(1));
        let fault = fault.clone();
        if fault.times == Some(0) {
            open.remove(position);
        }
        Some(fault)
    }

    /// What is still open.
    pub(super) fn open(&self) -> Vec<Fault> {
        self.lock().clone()
    }

    /// Takes all orders back.
    pub(super) fn clear(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Fault>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
