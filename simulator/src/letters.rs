//! What the provider tells by itself, worked as `reactors` does it: what a letter claims is a reason
//! to look, never a fact.

use kernel::Decider;
use payment::{Claim, IgnoredBecause, PaymentCommand, RefundStage};

use crate::agenda::{MINUTE, SECOND, Time};
use crate::bug::Bug;
use crate::chance::{Site, mix};
use crate::fault::Fault;
use crate::lanes::{Durable, Message};
use crate::provider::{Call, Said, Status};
use crate::reactor::{Settled, intent_name, stands};
use crate::shop::Answer;
use crate::task::{At, Input, Next};
use crate::world::{Entry, World};

/// Longest delay of a late webhook.
const LATE_MAX: Time = 30 * MINUTE;

/// How long a letter waits that can't be matched yet, the first time; it doubles.
const WAIT_FIRST: Time = 10 * SECOND;

/// How often a letter is worked that can't be matched; then it is the reconciliation's to find.
const LOOKS_MAX: u32 = 12;

/// A webhook that is on disk.
#[derive(Debug, Clone)]
pub(crate) struct Letter {
    /// The provider's id of it.
    id: String,
    intent: usize,
    claim: Claim,
    forged: bool,
}

/// The work on one letter.
#[derive(Debug)]
pub(crate) struct LetterWork {
    letter: usize,
    looks: u32,
    /// Recorded commands whose answers are waited for.
    open: u32,
    /// One of them was not taken: the payment has moved on, or nobody knows.
    again: bool,
}

impl LetterWork {
    pub(crate) fn new(letter: usize) -> Self {
        Self {
            letter,
            looks: 0,
            open: 0,
            again: false,
        }
    }
}

impl World {
    /// The provider tells something: once, late, or twice.
    pub(crate) fn post(&mut self, intent: usize, claim: Claim) {
        let Some(order) = self.provider.intents.get(intent).map(|intent| intent.order) else {
            return;
        };
        let number = self.letters.len();
        let before = self
            .letters
            .iter()
            .filter(|letter| letter.intent == intent && !letter.forged)
            .count();
        let site = site_of(order, before);
        // Numbered for each order, so that one order less leaves the others' as they are.
        let id = format!("evt_{}_{before}", order + 1);
        let lane = (Durable::PaymentInbox, order);
        let held_up = self.strikes(Fault::WebhookLate, site);
        let wait = if held_up {
            self.chance_of(site, 11, LATE_MAX)
        } else {
            0
        };
        self.agenda.after(wait, Entry::Posted(lane, number, site));
        self.letters.push(Letter {
            id: id.clone(),
            intent,
            claim,
            forged: false,
        });
        if self.strikes(Fault::WebhookDoubled, site) {
            self.tell("provider", || format!("✗ tells {claim:?} twice"));
            self.enqueue(lane, Message::Letter(number), mix([site, 1]));
        }
        if self.strikes(Fault::WebhookForged, site) {
            let claim = self.forged(site);
            self.tell("somebody", || format!("✗ claims {claim:?}"));
            self.enqueue(lane, Message::Letter(self.letters.len()), mix([site, 2]));
            self.letters.push(Letter {
                id: format!("{id}_forged"),
                intent,
                claim,
                forged: true,
            });
        }
    }

    fn forged(&self, site: Site) -> Claim {
        match self.chance_of(site, 14, 5) {
            0 => Claim::Authorized,
            1 => Claim::Captured,
            2 => Claim::Declined,
            3 => Claim::Voided,
            _ => Claim::Refunded(None),
        }
    }

    pub(crate) fn letter_goes_on(&mut self, at: At, work: &mut LetterWork, input: Input) -> Next {
        let Some(letter) = self.letters.get(work.letter).cloned() else {
            return Next::Done;
        };
        match input {
            Input::Go => self.hear(at, work, &letter),
            Input::Said(Said::Is { status, received }) => {
                let total = self.shop.file(at.order).and_then(|file| {
                    let charge = file.payment.state.charge()?;
                    Some(charge.amount)
                });
                let settled = total.and_then(|total| stands(status, received, total));
                self.take_news(at, work, &letter, settled.into_iter().collect())
            }
            Input::Said(_) => Next::Retry,
            Input::Answered((_, answer)) => {
                work.again |= !matches!(answer, Some(Answer::Done { .. }));
                work.open = work.open.saturating_sub(1);
                match (work.open, work.again) {
                    (0, true) => Next::Retry,
                    (0, false) => Next::Done,
                    _ => Next::Wait,
                }
            }
            Input::Mailed(_) => Next::Wait,
        }
    }

    fn hear(&mut self, at: At, work: &mut LetterWork, letter: &Letter) -> Next {
        let Some(file) = self.shop.file(at.order) else {
            return Next::Done;
        };
        let payment = &file.payment.state;
        let Some(known) = payment.intent_id() else {
            work.looks += 1;
            if work.looks > LOOKS_MAX {
                return Next::Done;
            }
            return Next::Go(WAIT_FIRST << work.looks.min(10));
        };
        if known != intent_name(letter.intent) {
            return Next::Done;
        }
        if payment.knows(letter.claim) {
            return Next::Done;
        }
        if let Claim::Refunded(_) = letter.claim {
            let news = self.refunds(at.order, letter.intent);
            return self.take_news(at, work, letter, news);
        }
        if let (true, Some(said)) = (self.has_bug(Bug::BelieveLetters), claimed(letter.claim)) {
            return self.letter_goes_on(at, work, Input::Said(said));
        }
        self.call(at, Call::Retrieve(letter.intent));
        Next::Wait
    }

    /// What became of our refunds, as the provider's list has them.
    fn refunds(&self, order: usize, intent: usize) -> Vec<Settled> {
        let file = self.shop.file(order);
        let charge = file.and_then(|file| file.payment.state.charge());
        let (Some(charge), Some(intent)) = (charge, self.provider.intents.get(intent)) else {
            return Vec::new();
        };
        let news = intent.refunds.values().filter_map(|given| {
            let refund_id = given.refund_id;
            let known = charge.refunds.get(&refund_id)?;
            if given.failed {
                let code = "refund_failed".to_owned();
                let command = PaymentCommand::RecordRefundFailure { refund_id, code };
                return Some(Settled::Record(
                    format!("refund_failed/{refund_id}"),
                    command,
                ));
            }
            if matches!(known.stage, RefundStage::Failed { .. }) {
                return None;
            }
            let command = PaymentCommand::RecordRefund { refund_id };
            Some(Settled::Record(format!("refunded/{refund_id}"), command))
        });
        news.collect()
    }

    /// Records what is new, or that nothing is.
    fn take_news(
        &mut self,
        at: At,
        work: &mut LetterWork,
        letter: &Letter,
        news: Vec<Settled>,
    ) -> Next {
        let mut commands = Vec::new();
        for settled in news {
            let (Settled::Record(label, command), Some(file)) = (settled, self.shop.file(at.order))
            else {
                continue;
            };
            let decided = file.payment.state.decide(&command);
            if decided.is_ok_and(|events| !events.is_empty()) {
                commands.push((label, command));
            }
        }
        if commands.is_empty() {
            let command = PaymentCommand::RecordProviderEvent {
                event_id: letter.id.clone(),
                event_type: format!("{:?}", letter.claim),
                because: IgnoredBecause::Stale,
            };
            commands.push(("ignored".to_owned(), command));
        }
        work.again = false;
        for (label, command) in commands {
            work.open += 1;
            let label = format!("letter/{}/{label}", letter.id);
            self.record_payment(at, &label, &command, "inbox");
        }
        Next::Wait
    }
}

/// As nobody should: an intent that stands as a letter says.
fn claimed(claim: Claim) -> Option<Said> {
    let status = match claim {
        Claim::ActionRequired => Status::Action,
        Claim::Authorized => Status::Held,
        Claim::Declined => Status::Declined,
        Claim::Voided => Status::Canceled,
        // How much, it doesn't say.
        Claim::Captured | Claim::Refunded(_) => return None,
    };
    Some(Said::Is {
        status,
        received: 0,
    })
}

fn site_of(order: usize, before: usize) -> Site {
    let number = |of| u64::try_from(of).unwrap_or_default();
    mix([13, number(order), number(before)])
}
