//! The payment provider as a pure state machine: what Stripe promises of `PaymentIntents`, and what
//! cards do. Its books are what the audit believes.

use std::collections::BTreeMap;

use kernel::RefundId;
use payment::Claim;

use crate::agenda::Time;
use crate::plan::Card;

/// Where an intent stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::Display)]
#[strum(serialize_all = "snake_case")]
pub(crate) enum Status {
    Made,
    Declined,
    Action,
    Processing,
    Held,
    Taken,
    Canceled,
}

/// One refund in the provider's books.
#[derive(Debug, Clone, Copy)]
pub(crate) struct GivenBack {
    pub(crate) cents: i64,
    pub(crate) failed: bool,
    /// Ours that it was made for.
    pub(crate) refund_id: RefundId,
}

/// The provider's record of one intent.
#[derive(Debug, Clone)]
pub(crate) struct Intent {
    pub(crate) order: usize,
    pub(crate) asked: i64,
    pub(crate) status: Status,
    pub(crate) received: i64,
    /// By idempotency key.
    pub(crate) refunds: BTreeMap<String, GivenBack>,
    card: Card,
}

/// A call to the provider.
#[derive(Debug, Clone, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub(crate) enum Call {
    Create {
        key: String,
        order: usize,
        cents: i64,
        /// As nobody should: hold the money at once.
        confirm: bool,
    },
    Confirm(usize),
    Capture {
        intent: usize,
        cents: i64,
    },
    Cancel(usize),
    Refund {
        intent: usize,
        key: String,
        refund_id: RefundId,
        cents: i64,
    },
    Retrieve(usize),
}

/// What the provider says to a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Said {
    Created(usize),
    Is {
        status: Status,
        received: i64,
    },
    Refunded,
    Declined,
    Refused(&'static str),
    UnexpectedState,
    /// No usable answer: done or not, nobody knows.
    Nothing,
}

/// Something that the provider does by itself, later.
#[derive(Debug, Clone)]
pub(crate) enum Turn {
    Hold,
    Decline,
    Lapse,
    ComeBack(String),
}

/// What follows from a call or a turn: webhooks at once, turns later.
#[derive(Debug, Default)]
pub(crate) struct Follows {
    pub(crate) claims: Vec<(usize, Claim)>,
    pub(crate) turns: Vec<(Time, usize, Turn)>,
}

/// The provider's books.
#[derive(Debug, Default)]
pub(crate) struct Provider {
    pub(crate) intents: Vec<Intent>,
    by_key: BTreeMap<String, usize>,
    pub(crate) follows: Follows,
}

impl Provider {
    /// Does what is asked. `card` is the card of the order whose intent is made.
    pub(crate) fn call(&mut self, call: &Call, card: Card) -> Said {
        match call {
            Call::Create {
                key,
                order,
                cents,
                confirm,
            } => {
                let made = self.intents.len();
                let known = *self.by_key.entry(key.clone()).or_insert(made);
                if known == made {
                    self.intents.push(Intent {
                        order: *order,
                        asked: *cents,
                        status: Status::Made,
                        received: 0,
                        refunds: BTreeMap::new(),
                        card,
                    });
                    if *confirm {
                        let _ = self.on(known, Intent::confirm);
                    }
                }
                Said::Created(known)
            }
            Call::Confirm(intent) => self.on(*intent, Intent::confirm),
            Call::Capture { intent, cents } => self.on(*intent, |intent, index, follows| {
                intent.capture(*cents, index, follows)
            }),
            Call::Cancel(intent) => self.on(*intent, Intent::cancel),
            Call::Retrieve(intent) => self.on(*intent, |intent, _, _| intent.is()),
            Call::Refund {
                intent,
                key,
                refund_id,
                cents,
            } => self.on(*intent, |intent, index, follows| {
                let refund = (key.as_str(), *refund_id, *cents);
                intent.refund(refund, index, follows)
            }),
        }
    }

    /// Somebody takes the money of an order on the provider's own page.
    pub(crate) fn capture_by_hand(&mut self, order: usize) -> bool {
        let found = self.intents.iter().position(|intent| intent.order == order);
        let all = |intent: &mut Intent, index, follows: &mut Follows| {
            intent.capture(intent.asked, index, follows)
        };
        found.is_some_and(|index| self.on(index, all) != Said::UnexpectedState)
    }

    /// Its time has come. `false` = it changed nothing.
    pub(crate) fn turn(&mut self, index: usize, turn: &Turn) -> bool {
        let said = self.on(index, |intent, index, follows| {
            let (status, claim) = match (turn, intent.status) {
                (Turn::Hold, Status::Action | Status::Processing | Status::Declined) => {
                    (Status::Held, Claim::Authorized)
                }
                (Turn::Decline, Status::Action) => (Status::Declined, Claim::Declined),
                (Turn::Lapse, Status::Held) => (Status::Canceled, Claim::Voided),
                (Turn::ComeBack(key), Status::Taken) => {
                    if let Some(refund) = intent.refunds.get_mut(key) {
                        refund.failed = true;
                    }
                    (Status::Taken, Claim::Refunded(None))
                }
                // It has gone another way meanwhile.
                _ => return Said::UnexpectedState,
            };
            intent.status = status;
            follows.claims.push((index, claim));
            intent.is()
        });
        said != Said::UnexpectedState
    }

    pub(crate) fn of(&self, order: usize) -> impl Iterator<Item = &Intent> {
        self.intents
            .iter()
            .filter(move |intent| intent.order == order)
    }

    fn on(
        &mut self,
        index: usize,
        act: impl FnOnce(&mut Intent, usize, &mut Follows) -> Said,
    ) -> Said {
        match self.intents.get_mut(index) {
            Some(intent) => act(intent, index, &mut self.follows),
            None => Said::Refused("resource_missing"),
        }
    }
}

impl Intent {
    /// What the shop has of it.
    pub(crate) fn kept(&self) -> i64 {
        self.received - self.given_back()
    }

    pub(crate) fn given_back(&self) -> i64 {
        let done = self.refunds.values().filter(|refund| !refund.failed);
        done.map(|refund| refund.cents).sum()
    }

    fn is(&self) -> Said {
        Said::Is {
            status: self.status,
            received: self.received,
        }
    }

    fn confirm(&mut self, index: usize, follows: &mut Follows) -> Said {
        if !matches!(self.status, Status::Made | Status::Declined) {
            return Said::UnexpectedState;
        }
        let later = |turn, wait| Some((wait, index, turn));
        let (status, turn) = match self.card {
            Card::Good | Card::CaptureFails | Card::RefundsFail(_) | Card::RefundsComeBack(..) => {
                (Status::Held, None)
            }
            Card::HoldLapses(wait) => (Status::Held, later(Turn::Lapse, wait)),
            Card::Declined => (Status::Declined, None),
            Card::HeldAfterDecline(wait) => (Status::Declined, later(Turn::Hold, wait)),
            Card::NeedsAction(None) => (Status::Action, None),
            Card::NeedsAction(Some((wait, well))) => {
                let turn = if well { Turn::Hold } else { Turn::Decline };
                (Status::Action, later(turn, wait))
            }
            Card::Slow(wait) => (Status::Processing, later(Turn::Hold, wait)),
        };
        let first = self.status == Status::Made;
        self.status = status;
        follows.turns.extend(turn.filter(|_| first));
        match status {
            Status::Held => follows.claims.push((index, Claim::Authorized)),
            Status::Action => follows.claims.push((index, Claim::ActionRequired)),
            Status::Declined => {
                follows.claims.push((index, Claim::Declined));
                return Said::Declined;
            }
            Status::Made | Status::Processing | Status::Taken | Status::Canceled => {}
        }
        self.is()
    }

    fn capture(&mut self, cents: i64, index: usize, follows: &mut Follows) -> Said {
        if self.status != Status::Held {
            return Said::UnexpectedState;
        }
        if self.card == Card::CaptureFails {
            return Said::Refused("capture_failed");
        }
        self.status = Status::Taken;
        self.received = cents.min(self.asked);
        follows.claims.push((index, Claim::Captured));
        self.is()
    }

    fn cancel(&mut self, index: usize, follows: &mut Follows) -> Said {
        if matches!(self.status, Status::Taken | Status::Canceled) {
            return Said::UnexpectedState;
        }
        self.status = Status::Canceled;
        follows.claims.push((index, Claim::Voided));
        self.is()
    }

    /// By its key: a repeat gets the first answer.
    fn refund(
        &mut self,
        (key, refund_id, cents): (&str, RefundId, i64),
        index: usize,
        follows: &mut Follows,
    ) -> Said {
        if let Some(known) = self.refunds.get(key) {
            return said_of(known.failed);
        }
        if self.status != Status::Taken || cents > self.kept() {
            return Said::Refused("charge_already_refunded");
        }
        let before = u32::try_from(self.refunds.len()).unwrap_or(u32::MAX);
        let failed = matches!(self.card, Card::RefundsFail(fail) if before < fail);
        let refund = GivenBack {
            cents,
            failed,
            refund_id,
        };
        self.refunds.insert(key.to_owned(), refund);
        follows.claims.push((index, Claim::Refunded(None)));
        if let Card::RefundsComeBack(wait, times) = self.card
            && before < times
        {
            let turn = Turn::ComeBack(key.to_owned());
            follows.turns.push((wait, index, turn));
        }
        said_of(failed)
    }
}

fn said_of(failed: bool) -> Said {
    if failed {
        return Said::Refused("refund_failed");
    }
    Said::Refunded
}
