//! One run: everything that there is, and what happens next.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use kernel::OrderId;
use strum::EnumIter;
use uuid::Uuid;

use crate::agenda::{Agenda, MINUTE, SECOND, Time};
use crate::audit::{self, Audit, Finding};
use crate::bug::Bug;
use crate::bus::{AskId, Asked};
use crate::chance::{Site, mix};
use crate::clocks::Clocks;
use crate::coverage::Transitions;
use crate::fault::Fault;
use crate::lanes::{Delivery, Lane, Message, Queue};
use crate::letters::Letter;
use crate::plan::{Card, Part, Plan};
use crate::provider::{Call, Provider, Said, Turn};
use crate::saga::SagaRole;
use crate::shop::{Answer, File, Kept, Shop};
use crate::story::Story;
use crate::task::{Input, Task, TaskId};

/// Most steps of one run. A quiet order takes about a hundred; what takes this many turns in circles.
const STEPS_MAX: u64 = 20_000;

/// How often lost timers are looked for, as the sagas' sweep does.
pub(crate) const SWEEP_EVERY: Time = 10 * MINUTE;

/// Longest wait for an answer over the bus, and of the provider.
pub(crate) const ANSWER_TIMEOUT: Time = 10 * SECOND;

/// What is on the agenda.
#[derive(Debug)]
pub(crate) enum Entry {
    /// A customer's click on "buy".
    Place(usize),
    /// Somebody's request.
    Act(usize),
    /// Something may have come in this lane.
    Wake(Lane),
    /// A delivery that was not acknowledged, or was and comes again.
    Again(Delivery),
    /// A letter comes in this lane.
    Posted(Lane, usize, Site),
    /// A piece of work goes on.
    Work(TaskId, Input),
    /// An ask reaches its context; without a task nobody waits for the answer any more.
    Asked(Box<Asked>, Option<TaskId>),
    /// A call reaches the provider.
    Called(Box<Call>, TaskId, Site),
    /// The provider does something by itself.
    Turn(usize, Turn),
    /// A mail reaches the mail server.
    Mailed {
        message_id: String,
        order: usize,
        task: TaskId,
        site: Site,
    },
    /// A timer rings, if it is still set to this.
    Ring(usize, Time),
    /// Lost timers are looked for.
    Sweep,
}

/// The roles, each with a clock of its own. The first two can die.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, EnumIter)]
pub(crate) enum Role {
    Saga,
    Reactor,
    /// Where commands are carried out: those of people, and those that the other two ask for.
    Contexts,
}

/// How a run went.
#[derive(Debug)]
pub(crate) struct Played {
    pub(crate) world: World,
    pub(crate) finding: Option<Finding>,
    pub(crate) steps: u64,
}

/// Everything.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) plan: Plan,
    pub(crate) bug: Option<Bug>,
    pub(crate) agenda: Agenda<Entry>,
    pub(crate) clocks: Clocks,
    pub(crate) shop: Shop,
    pub(crate) provider: Provider,
    /// Mails that the mail server took, by the order that they are about and their Message-ID.
    pub(crate) mailbox: BTreeMap<(usize, String), u32>,
    pub(crate) lanes: BTreeMap<Lane, Queue>,
    pub(crate) tasks: BTreeMap<TaskId, Task>,
    pub(crate) tasks_begun: TaskId,
    pub(crate) up_at: BTreeMap<Role, Time>,
    pub(crate) saga: SagaRole,
    pub(crate) letters: Vec<Letter>,
    /// Orders whose customers are erased.
    pub(crate) erased: BTreeSet<usize>,
    /// Actions that wait for their moment no longer.
    pub(crate) triggered: BTreeSet<usize>,
    pub(crate) audit: Audit,
    pub(crate) finding: Option<Finding>,
    pub(crate) story: Story,
    pub(crate) taken: Transitions,
}

impl World {
    /// The world of this plan before anything has happened. With `bug`, one of its models is wrong.
    pub(crate) fn new(plan: Plan, bug: Option<Bug>, story: Story) -> Self {
        let seed = plan.seed;
        let files = (0_u64..).take(plan.orders.len()).map(|order| File {
            id: OrderId(new_id([seed, order, 1])),
            order: Kept::default(),
            payment: Kept::default(),
            checkout: Kept::default(),
        });
        let shop = Shop {
            files: files.collect(),
            ..Shop::default()
        };
        let mut world = Self {
            plan,
            bug,
            agenda: Agenda::new(),
            clocks: Clocks::default(),
            shop,
            provider: Provider::default(),
            mailbox: BTreeMap::new(),
            lanes: BTreeMap::new(),
            tasks: BTreeMap::new(),
            tasks_begun: 0,
            up_at: BTreeMap::new(),
            saga: SagaRole::default(),
            letters: Vec::new(),
            erased: BTreeSet::new(),
            triggered: BTreeSet::new(),
            audit: Audit::default(),
            finding: None,
            story,
            taken: Transitions::new(),
        };
        world.open_the_shop();
        world
    }

    /// Plays it until nothing is left to happen, or an equation does not hold.
    pub(crate) fn play(mut self) -> Played {
        let mut steps = 0;
        while let Some(entry) = self.agenda.next() {
            steps += 1;
            self.step(entry);
            if self.finding.is_none() && steps >= STEPS_MAX {
                let what = format!("{steps} steps, and something is still due");
                self.finding = Some(Finding::new("everything comes to rest", what));
            }
            if self.finding.is_some() {
                break;
            }
        }
        let finding = self.finding.take().or_else(|| self.at_rest().err());
        Played {
            world: self,
            finding,
            steps,
        }
    }

    fn step(&mut self, entry: Entry) {
        self.clocks_go_on();
        match entry {
            Entry::Place(order) => self.place(order),
            Entry::Act(action) => self.act(action),
            Entry::Wake(lane) => self.wake(lane),
            Entry::Again(delivery) => self.deliver_again(delivery),
            Entry::Posted(lane, letter, site) => {
                self.enqueue(lane, Message::Letter(letter), site);
            }
            Entry::Work(task, input) => self.work(task, input),
            Entry::Asked(asked, waiting) => self.asked(&asked, waiting),
            Entry::Called(call, task, site) => self.called(&call, task, site),
            Entry::Turn(intent, turn) => self.turn(intent, &turn),
            Entry::Mailed {
                message_id,
                order,
                task,
                site,
            } => self.mailed((order, message_id), task, site),
            Entry::Ring(order, due) => self.ring(order, due),
            Entry::Sweep => self.sweep(),
        }
    }

    /// How long a message is under way that nothing delays.
    pub(crate) fn under_way(&self, site: Site) -> Time {
        1 + self.chance_of(site, 7, self.plan.pace())
    }

    /// A number below `below` that belongs to this place.
    pub(crate) fn chance_of(&self, site: Site, what: u64, below: Time) -> Time {
        let below = u64::try_from(below).unwrap_or(1).max(1);
        let number = mix([self.plan.seed, site, what]) % below;
        Time::try_from(number).unwrap_or_default()
    }

    pub(crate) fn strikes(&mut self, fault: Fault, site: Site) -> bool {
        self.plan.faults.strikes(fault, site)
    }

    pub(crate) fn has_bug(&self, bug: Bug) -> bool {
        self.bug == Some(bug)
    }

    pub(crate) fn tell(&mut self, who: &str, what: impl FnOnce() -> String) {
        let now = self.agenda.now();
        self.story.tell(now, who, what);
    }

    /// The provider: does it, unless it is down, and answers, unless the answer is lost.
    fn called(&mut self, call: &Call, task: TaskId, site: Site) {
        let now = self.agenda.now();
        let name: &'static str = call.into();
        let down = self.plan.is_down(crate::plan::Target::Provider, now);
        if down || self.strikes(Fault::ProviderError, site) {
            self.tell("provider", || format!("{name}: answers 500"));
            let wait = self.under_way(site);
            return self
                .agenda
                .after(wait, Entry::Work(task, Input::Said(Said::Nothing)));
        }
        let card = self.card_of(call);
        let said = self.provider.call(call, card);
        self.tell("provider", || format!("{name}: {said:?}"));
        self.provider_goes_on();
        let input = |said| Entry::Work(task, Input::Said(said));
        if self.strikes(Fault::ProviderAnswerLost, site) {
            self.tell("provider", || format!("its answer to {name} is lost"));
            return self.agenda.after(ANSWER_TIMEOUT, input(Said::Nothing));
        }
        let wait = self.under_way(site);
        self.agenda.after(wait, input(said));
    }

    fn card_of(&self, call: &Call) -> Card {
        let Call::Create { order, .. } = call else {
            return Card::Good;
        };
        let planned = self.plan.orders.get(*order);
        let card = planned.map_or(Card::Good, |planned| planned.card);
        if self.plan.has(Part::Card(*order)) {
            card
        } else {
            Card::Good
        }
    }

    fn turn(&mut self, intent: usize, turn: &Turn) {
        if self.provider.turn(intent, turn) {
            self.tell("provider", || format!("by itself: {turn:?}"));
            self.provider_goes_on();
        }
    }

    /// What follows at the provider, and is it still honest?
    pub(crate) fn provider_goes_on(&mut self) {
        let follows = std::mem::take(&mut self.provider.follows);
        for (wait, intent, turn) in follows.turns {
            self.agenda.after(wait, Entry::Turn(intent, turn));
        }
        for (intent, claim) in follows.claims {
            self.post(intent, claim);
        }
        if let Err(finding) = audit::look_at(&self.provider) {
            self.finding.get_or_insert(finding);
        }
    }
}

/// An id that belongs to these numbers.
pub(crate) fn new_id(parts: [u64; 3]) -> Uuid {
    let [first, second, third] = parts;
    let high = mix([first, second, third, 1]);
    Uuid::from_u64_pair(high, mix([high, 2]))
}

/// What an ask was answered.
pub(crate) type Answered = (AskId, Option<Answer>);

/// Who waits for what is free now.
pub(crate) type Turns<K> = BTreeMap<K, VecDeque<TaskId>>;
