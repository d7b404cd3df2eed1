//! What goes wrong, where, and how often.

use std::collections::BTreeSet;

use strum::{EnumCount, EnumIter, IntoEnumIterator, IntoStaticStr};

use crate::chance::{Draw, Site, mix};

/// One thing that can go wrong.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, EnumIter, EnumCount, IntoStaticStr,
)]
#[strum(serialize_all = "snake_case")]
pub enum Fault {
    /// An ask never reaches its context.
    AskLost,
    /// The context's answer never comes back.
    AnswerLost,
    /// An ask arrives long after its asker gave up.
    AskLate,
    /// An ask arrives a second time, later.
    AskDoubled,
    /// A delivery comes late.
    DeliveredLate,
    /// A delivery comes again after it was acknowledged.
    DeliveredAgain,
    /// The role that runs the sagas dies.
    SagaCrash,
    /// The role that talks to the outside dies.
    ReactorCrash,
    /// The timer is lost by its stream.
    TimerLost,
    /// The server's clock is set, by up to an hour either way.
    ClockSet,
    /// A role's clock is wrong by up to an hour, until it asks the server again.
    ClockOff,
    /// The provider answers 500, and does nothing.
    ProviderError,
    /// The provider does it, and its answer is lost.
    ProviderAnswerLost,
    /// A webhook comes much later, behind others that were sent after it.
    WebhookLate,
    /// A webhook comes twice.
    WebhookDoubled,
    /// Beside a webhook comes another one, which claims what may not be so.
    WebhookForged,
    /// The mail server takes nothing now.
    MailRefused,
    /// The connection to the mail server breaks after the mail was taken.
    MailAnswerLost,
}

impl Fault {
    /// How many of a thousand cases are many.
    fn often(self) -> u64 {
        match self {
            Self::SagaCrash | Self::ReactorCrash => 60,
            // Of the few half minutes in which something happens.
            Self::ClockSet | Self::ClockOff => 700,
            Self::AskLost
            | Self::AnswerLost
            | Self::AskLate
            | Self::AskDoubled
            | Self::DeliveredLate
            | Self::DeliveredAgain
            | Self::TimerLost
            | Self::ProviderError
            | Self::ProviderAnswerLost
            | Self::WebhookLate
            | Self::WebhookDoubled
            | Self::WebhookForged
            | Self::MailRefused
            | Self::MailAnswerLost => 250,
        }
    }
}

/// A fault that struck, and where.
pub(crate) type Struck = (Fault, Site);

/// How often a fault strikes, in a thousand cases.
type Rates = [u64; Fault::COUNT];

/// Decides what goes wrong.
#[derive(Debug, Clone)]
pub(crate) struct Faults {
    seed: u64,
    rates: Rates,
    /// Nothing but these, when a run is repeated with less.
    only: Option<BTreeSet<Struck>>,
    pub(crate) struck: Vec<Struck>,
}

impl Faults {
    /// Some runs have no faults at all, and each of the others has only some kinds: two kinds that
    /// hide each other are found apart (swarm testing; Groce et al. 2012).
    pub(crate) fn draw(seed: u64, draw: &mut Draw) -> Self {
        let mut rates = [0; Fault::COUNT];
        if draw.percent(85) {
            for (rate, fault) in rates.iter_mut().zip(Fault::iter()) {
                if draw.percent(45) {
                    *rate = draw.of([10, 40, fault.often()]);
                }
            }
        }
        Self {
            seed,
            rates,
            only: None,
            struck: Vec::new(),
        }
    }

    pub(crate) fn only(mut self, only: BTreeSet<Struck>) -> Self {
        self.only = Some(only);
        self
    }

    /// Does it strike here?
    pub(crate) fn strikes(&mut self, fault: Fault, site: Site) -> bool {
        let strikes = if let Some(only) = &self.only {
            only.contains(&(fault, site))
        } else {
            let rate = self.rates.get(fault as usize).copied().unwrap_or_default();
            rate > 0 && mix([self.seed, fault as u64, site]) % 1_000 < rate
        };
        if strikes {
            self.struck.push((fault, site));
        }
        strikes
    }
}
