//! The runner of the sagas: take a fact in, ask everything that is due, and acknowledge only when each ask
//! was answered. Here as steps, so that it can die between any two. But for two things it is as `sagas` has it:
//! there a mail may be late, and is asked for again by the saga's timer while its delivery is acknowledged, here
//! the delivery comes again; and none but the shop's own sagas run here.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use checkout::{
    Checkout, CheckoutFact, Refunding, RefundingFact, Returning, ReturningFact, Saga, Stage,
};
use kernel::{OrderId, RefundId, ReturnId};
use payment::PaymentEvent;
use uuid::Uuid;

use crate::agenda::{SECOND, Time, moment};
use crate::bug::Bug;
use crate::bus::{AskId, Asked};
use crate::chance::mix;
use crate::shop::{Answer, Meta};
use crate::task::{At, Input, Next, TaskId};
use crate::wanted::Wanted;
use crate::world::{Role, Turns, World};

/// How long an answered ask is not sent again.
const ANSWERED_TTL: Time = 10 * SECOND;

/// Most rounds of "ask, take refusals in, ask again" for one delivery.
const ROUNDS_MAX: u32 = 16;

/// One saga of one kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum SagaId {
    Checkout(usize),
    Returning(ReturnId),
    Refunding(RefundId),
}

/// A fact, and for which saga.
#[derive(Debug, Clone)]
pub(crate) enum Fact {
    Checkout(usize, CheckoutFact),
    Returning(ReturnId, ReturningFact),
    Refunding(RefundId, RefundingFact),
}

/// What a delivery asks of the runner, one after another.
#[derive(Debug)]
pub(crate) enum Job {
    TakeIn(Fact),
    /// What a payment's event is to returns and refunds, which the checkout must be asked about.
    Paid(PaymentEvent, Time),
    /// To ask what is due, without a fact.
    Wake(SagaId),
}

/// What the role knows while it lives.
#[derive(Debug, Default)]
pub(crate) struct SagaRole {
    /// One fact at a time for each saga: who is at it, and who waits.
    turns: Turns<SagaId>,
    answered: BTreeMap<AskId, Time>,
    /// To what each checkout's timer was set.
    pub(crate) armed: BTreeMap<usize, Time>,
    /// What stream TIMERS knows: this outlives the role.
    pub(crate) timers: BTreeMap<usize, Time>,
    pub(crate) timers_set: u64,
    pub(crate) sweeping: bool,
}

impl SagaRole {
    /// It died.
    pub(crate) fn forget(&mut self) {
        self.turns.clear();
        self.answered.clear();
        self.armed.clear();
    }
}

/// The work on one delivery.
#[derive(Debug)]
pub(crate) struct SagaWork {
    jobs: VecDeque<Job>,
    /// What its facts' ids are derived from.
    source: Uuid,
    /// When it is, as far as the role knows: what is due by then is asked.
    origin: Time,
    /// Its timer rang, and is gone.
    pub(crate) rang: bool,
    at_work: Option<Advance>,
    acknowledged_first: bool,
}

/// One saga advances.
#[derive(Debug)]
struct Advance {
    saga: SagaId,
    /// As its work's.
    origin: Time,
    fact: Option<Fact>,
    mine: bool,
    /// Asks whose answer was a fact: they are not sent again by this delivery.
    settled: BTreeSet<AskId>,
    round: u32,
    open: BTreeMap<AskId, Wanted>,
    answers: Vec<(AskId, Fact)>,
    unanswered: bool,
}

impl SagaWork {
    pub(crate) fn new(
        (source, origin): (Uuid, Time),
        jobs: impl IntoIterator<Item = Job>,
    ) -> Option<Self> {
        let jobs: VecDeque<_> = jobs.into_iter().collect();
        (!jobs.is_empty()).then_some(Self {
            jobs,
            source,
            origin,
            rang: false,
            at_work: None,
            acknowledged_first: false,
        })
    }

    pub(crate) fn acknowledged_first(&self) -> bool {
        self.acknowledged_first
    }
}

impl Advance {
    fn of(job: Job, origin: Time) -> Option<Self> {
        let (saga, fact) = match job {
            Job::TakeIn(fact) => (fact.saga(), Some(fact)),
            Job::Wake(saga) => (saga, None),
            Job::Paid(..) => return None,
        };
        Some(Self {
            saga,
            origin,
            fact,
            mine: false,
            settled: BTreeSet::new(),
            round: 0,
            open: BTreeMap::new(),
            answers: Vec::new(),
            unanswered: false,
        })
    }
}

impl Fact {
    pub(crate) fn saga(&self) -> SagaId {
        match self {
            Self::Checkout(order, _) => SagaId::Checkout(*order),
            Self::Returning(id, _) => SagaId::Returning(*id),
            Self::Refunding(id, _) => SagaId::Refunding(*id),
        }
    }
}

impl SagaId {
    /// Whose order it is about: a lapsed hold is told in the lane of whoever made it lapse.
    fn order(self, at: At) -> usize {
        match self {
            Self::Checkout(order) => order,
            Self::Returning(_) | Self::Refunding(_) => at.order,
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Checkout(_) => Checkout::NAME,
            Self::Returning(_) => Returning::NAME,
            Self::Refunding(_) => Refunding::NAME,
        }
    }
}

impl World {
    pub(crate) fn saga_goes_on(&mut self, at: At, work: &mut SagaWork, input: Input) -> Next {
        if std::mem::take(&mut work.rang) {
            self.rang(at.order, work.origin);
        }
        let Some(mut advance) = work.at_work.take() else {
            return self.next_job(at, work);
        };
        let next = match input {
            Input::Answered(answered) => self.answered(&mut advance, answered),
            Input::Go => self.advance(at, work, &mut advance),
            Input::Said(_) | Input::Mailed(_) => Next::Wait,
        };
        match next {
            Next::Done => {
                self.release(advance.saga);
                return Next::Go(0);
            }
            Next::Retry => self.release(advance.saga),
            Next::Wait | Next::Go(_) => {}
        }
        work.at_work = Some(advance);
        if matches!(next, Next::Retry) && work.acknowledged_first {
            return Next::Done;
        }
        next
    }

    fn next_job(&mut self, at: At, work: &mut SagaWork) -> Next {
        match work.jobs.pop_front() {
            None => Next::Done,
            Some(Job::Paid(event, paid_at)) => {
                for job in self.paid(at.order, &event, paid_at).into_iter().rev() {
                    work.jobs.push_front(job);
                }
                Next::Go(0)
            }
            Some(job) => {
                work.at_work = Advance::of(job, work.origin);
                Next::Go(0)
            }
        }
    }

    fn advance(&mut self, at: At, work: &mut SagaWork, advance: &mut Advance) -> Next {
        if !advance.mine && !self.my_turn(at.task, advance.saga) {
            return Next::Wait;
        }
        advance.mine = true;
        if let Some(fact) = advance.fact.take() {
            let fact_id = Uuid::new_v5(&work.source, advance.saga.name().as_bytes());
            if !self.takes_in(&fact, fact_id, advance.saga.order(at)) {
                return Next::Retry;
            }
            return Next::Go(self.under_way(at.site) / 4);
        }
        for (ask_id, fact) in std::mem::take(&mut advance.answers) {
            advance.settled.insert(ask_id);
            let fact_id = Uuid::new_v5(&ask_id, b"answer");
            if !self.takes_in(&fact, fact_id, advance.saga.order(at)) {
                return Next::Retry;
            }
        }
        if advance.round >= ROUNDS_MAX {
            return Next::Retry;
        }
        advance.round += 1;
        self.ask_all(at, advance);
        if advance.open.is_empty() {
            self.arm(advance.saga);
            return Next::Done;
        }
        work.acknowledged_first = self.has_bug(Bug::AcknowledgeFirst);
        Next::Wait
    }

    /// `false` = the fact must come again.
    fn takes_in(&mut self, fact: &Fact, fact_id: Uuid, order: usize) -> bool {
        if self.drops(fact) {
            return true;
        }
        let meta = Meta {
            command_id: fact_id,
            order: Some(order),
            at: self.time_by(Role::Saga),
        };
        let (answer, new) = self.take_in(fact, meta);
        if new.len() > 1 {
            let what = format!("{} events follow from {fact:?}", new.len());
            let finding = crate::audit::Finding::new("one event a fact", what);
            self.finding.get_or_insert(finding);
        }
        self.record(new);
        !matches!(answer, Answer::Refused { .. })
    }

    /// As nobody should.
    fn drops(&self, fact: &Fact) -> bool {
        let Fact::Checkout(order, fact) = fact else {
            return false;
        };
        let file = self.shop.file(*order);
        let stage = file.and_then(|file| file.checkout.state.stage());
        let reserved = matches!(fact, CheckoutFact::StockReserved { .. });
        match self.bug {
            Some(Bug::DropLateSuccess) => stage == Some(Stage::Ended),
            Some(Bug::NoTombstone) => reserved && stage != Some(Stage::Reserving),
            _ => false,
        }
    }

    fn ask_all(&mut self, at: At, advance: &mut Advance) {
        let now = self.agenda.now();
        self.saga.answered.retain(|_, until| *until > now);
        for wanted in self.wanted(advance) {
            let ask_id = wanted.ask_id();
            let known = self.saga.answered.contains_key(&ask_id);
            if known || advance.settled.contains(&ask_id) {
                continue;
            }
            let asked = wanted.asked(advance.saga.order(at), self.time_by(Role::Saga));
            advance.open.insert(ask_id, wanted);
            self.ask(at, "saga", asked);
        }
    }

    fn answered(&mut self, advance: &mut Advance, answered: crate::world::Answered) -> Next {
        let (ask_id, answer) = answered;
        let Some(wanted) = advance.open.remove(&ask_id) else {
            return Next::Wait;
        };
        let at = moment(advance.origin.max(self.time_by(Role::Saga)));
        let fact = match answer {
            None => {
                advance.unanswered = true;
                None
            }
            Some(Answer::Done { already }) => {
                let fact = wanted.answered(advance.saga, already, at);
                if fact.is_none() {
                    let until = self.agenda.now() + ANSWERED_TTL;
                    self.saga.answered.insert(ask_id, until);
                }
                fact
            }
            Some(Answer::Refused { code, message }) => {
                Some(wanted.refused(advance.saga, (code, message), at))
            }
        };
        advance.answers.extend(fact.map(|fact| (ask_id, fact)));
        if !advance.open.is_empty() {
            return Next::Wait;
        }
        if advance.unanswered {
            return Next::Retry;
        }
        if advance.answers.is_empty() {
            self.arm(advance.saga);
            return Next::Done;
        }
        Next::Go(0)
    }

    fn my_turn(&mut self, task: TaskId, saga: SagaId) -> bool {
        let turn = self.saga.turns.entry(saga).or_default();
        if !turn.contains(&task) {
            turn.push_back(task);
        }
        turn.front() == Some(&task)
    }

    fn release(&mut self, saga: SagaId) {
        let Some(turn) = self.saga.turns.get_mut(&saga) else {
            return;
        };
        turn.pop_front();
        match turn.front() {
            Some(next) => {
                let entry = crate::world::Entry::Work(*next, Input::Go);
                self.agenda.after(0, entry);
            }
            None => {
                self.saga.turns.remove(&saga);
            }
        }
    }

    /// What the saga wants now.
    fn wanted(&self, advance: &Advance) -> Vec<Wanted> {
        let now = moment(advance.origin);
        match advance.saga {
            SagaId::Checkout(order) => {
                let file = self.shop.file(order);
                let due = file.map(|file| file.checkout.state.pending(now));
                due.into_iter().flatten().map(Wanted::Checkout).collect()
            }
            SagaId::Returning(id) => {
                let due = self
                    .shop
                    .returning
                    .get(&id)
                    .map(|saga| saga.state.pending(now));
                due.into_iter().flatten().map(Wanted::Returning).collect()
            }
            SagaId::Refunding(id) => {
                let due = self
                    .shop
                    .refunding
                    .get(&id)
                    .map(|saga| saga.state.pending(now));
                due.into_iter().flatten().map(Wanted::Refunding).collect()
            }
        }
    }

    /// The order's index of an id that a fact names.
    pub(crate) fn order_index(&self, id: OrderId) -> Option<usize> {
        self.shop.file_of(id)
    }
}

impl Wanted {
    fn asked(&self, order: usize, at: Time) -> Asked {
        let (context, aggregate, command) = self.addressed();
        Asked {
            id: self.ask_id(),
            context,
            aggregate,
            command,
            order,
            label: self.label(),
            site: mix([0]),
            at,
        }
    }
}
