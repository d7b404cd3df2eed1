//! A piece of work on one delivery, by one of the roles: it goes on when something comes in.

use crate::agenda::Time;
use crate::chance::{Site, mix};
use crate::fault::Fault;
use crate::lanes::{Delivery, Durable, Message};
use crate::letters::LetterWork;
use crate::mailer::MailWork;
use crate::provider::Said;
use crate::reactor::PaymentWork;
use crate::saga::SagaWork;
use crate::world::{Answered, Entry, Role, World};

/// The number of a piece of work.
pub(crate) type TaskId = u64;

/// What lets it go on.
#[derive(Debug)]
pub(crate) enum Input {
    Go,
    /// The bus's answer; none = nobody answered in time.
    Answered(Answered),
    /// The provider's answer.
    Said(Said),
    /// The mail server's answer.
    Mailed(Mailed),
}

/// What the mail server says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mailed {
    Taken,
    /// Not now, or nobody knows.
    Later,
    Never,
}

/// What comes of a step.
#[derive(Debug)]
pub(crate) enum Next {
    /// It waits for something.
    Wait,
    /// It goes on, so much later.
    Go(Time),
    /// It is done.
    Done,
    /// It could not be done now.
    Retry,
}

/// Whose work, and how far it is.
#[derive(Debug)]
pub(crate) enum Work {
    Saga(Box<SagaWork>),
    Payment(PaymentWork),
    Letter(LetterWork),
    Mail(MailWork),
}

/// A delivery that is being worked on.
#[derive(Debug)]
pub(crate) struct Task {
    pub(crate) delivery: Delivery,
    pub(crate) work: Work,
    /// As nobody should: before its work is done.
    pub(crate) acknowledged: bool,
    steps: u64,
}

/// Where a step is taken, and by which piece of work.
#[derive(Debug, Clone, Copy)]
pub(crate) struct At {
    pub(crate) task: TaskId,
    pub(crate) order: usize,
    pub(crate) site: Site,
    /// How often the delivery was tried before.
    pub(crate) tries: u64,
}

impl Task {
    pub(crate) fn new(delivery: Delivery, work: Work) -> Self {
        Self {
            delivery,
            work,
            acknowledged: false,
            steps: 0,
        }
    }

    pub(crate) fn role(&self) -> Role {
        self.delivery.lane.0.role()
    }
}

impl World {
    /// What is to be done about a delivery, from its beginning; `None` = nothing.
    pub(crate) fn task_of(&self, delivery: &Delivery) -> Option<Work> {
        let (durable, order) = delivery.lane;
        match (durable, delivery.message) {
            (Durable::PaymentReactor, _) => Some(Work::Payment(PaymentWork::default())),
            (Durable::PaymentInbox, Message::Letter(letter)) => {
                Some(Work::Letter(LetterWork::new(letter)))
            }
            (Durable::Mailer, Message::Event(index)) => self.mail_work(index).map(Work::Mail),
            (_, Message::Event(index)) => self.saga_work(index).map(of_saga),
            (_, Message::Ring(due)) => self.alarm(order, due).map(of_saga),
            (_, Message::Letter(_)) => None,
        }
    }

    /// A piece of work goes on, unless its role dies at just this step.
    pub(crate) fn work(&mut self, id: TaskId, input: Input) {
        let Some(mut task) = self.tasks.remove(&id) else {
            // It died, and what it waited for comes too late.
            return;
        };
        task.steps += 1;
        let site = mix([task.delivery.place(), task.steps]);
        let fault = match task.role() {
            Role::Saga => Fault::SagaCrash,
            Role::Reactor | Role::Contexts => Fault::ReactorCrash,
        };
        if self.strikes(fault, site) {
            let role = task.role();
            self.tasks.insert(id, task);
            return self.crash(role, site);
        }
        let at = At {
            task: id,
            order: task.delivery.lane.1,
            site,
            tries: task.delivery.tries,
        };
        let next = match &mut task.work {
            Work::Saga(work) => self.saga_goes_on(at, work, input),
            Work::Payment(work) => self.reactor_goes_on(at, work, input),
            Work::Letter(work) => self.letter_goes_on(at, work, input),
            Work::Mail(work) => self.mailer_goes_on(at, work, &input),
        };
        if let Work::Saga(work) = &task.work {
            task.acknowledged = work.acknowledged_first();
        }
        match next {
            Next::Wait => {}
            Next::Go(wait) => self.agenda.after(wait, Entry::Work(id, Input::Go)),
            Next::Done => return self.acknowledge(&task.delivery),
            Next::Retry => {
                let wait = task.delivery.pause();
                match self.task_of(&task.delivery) {
                    Some(work) => task.work = work,
                    None => return self.acknowledge(&task.delivery),
                }
                self.agenda.after(wait, Entry::Work(id, Input::Go));
            }
        }
        self.tasks.insert(id, task);
    }
}

fn of_saga(work: SagaWork) -> Work {
    Work::Saga(Box::new(work))
}
