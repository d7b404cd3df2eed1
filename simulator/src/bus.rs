//! The command bus: an ask goes out, reaches its context or not, and is answered or not.

use inventory::InventoryEvent;
use kernel::{AggregateId, Decider, NotificationId, Sku};
use notification::Notification;
use order::Order;
use payment::Payment;
use serde::Deserialize;
use serde_json::Value;
use uuid::Uuid;

use crate::agenda::{MINUTE, Time};
use crate::audit::Finding;
use crate::bug::Bug;
use crate::chance::{Site, mix};
use crate::fault::Fault;
use crate::plan::Target;
use crate::saga::Fact;
use crate::shop::{Answer, Executed, Meta, none};
use crate::task::{At, Input};
use crate::told::Told;
use crate::world::{ANSWER_TIMEOUT, Entry, Role, World};

/// How old an ask may be when its context reads it; an older one is thrown away.
const ASK_AGE_MAX: Time = 20 * MINUTE;

/// The code of the answer to an ask that its context can't read.
const UNREADABLE: &str = "unreadable";

/// How much later an ask comes a second time.
const DOUBLE_MAX: Time = 5 * MINUTE;

/// The command id of an ask.
pub(crate) type AskId = Uuid;

/// An ask on its way.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) id: AskId,
    pub(crate) context: &'static str,
    pub(crate) aggregate: AggregateId,
    /// As the bus carries it.
    pub(crate) command: Value,
    pub(crate) order: usize,
    /// How a story names it.
    pub(crate) label: String,
    pub(crate) site: Site,
    /// When, by the clock of whoever asks.
    pub(crate) at: Time,
}

impl World {
    /// Sends an ask; the answer, or that there is none, goes to the piece of work that asks.
    pub(crate) fn ask(&mut self, at: At, who: &str, mut asked: Asked) {
        asked.site = mix([at.site, asked.id.as_u64_pair().0]);
        let (site, task) = (asked.site, at.task);
        let (context, label) = (asked.context, asked.label.clone());
        let nobody = Entry::Work(task, Input::Answered((asked.id, None)));
        if self.strikes(Fault::AskLost, site) {
            self.tell(who, || format!("→ {context}: {label} ✗ lost on the way"));
            return self.agenda.after(ANSWER_TIMEOUT, nobody);
        }
        if self.strikes(Fault::AskLate, site) {
            let late = self.chance_of(site, 1, ASK_AGE_MAX - ANSWER_TIMEOUT);
            self.tell(who, || {
                format!("→ {context}: {label} ✗ held up for {} s", late / 1_000)
            });
            self.agenda.after(ANSWER_TIMEOUT, nobody);
            let asked = Box::new(asked);
            return self
                .agenda
                .after(ANSWER_TIMEOUT + late, Entry::Asked(asked, None));
        }
        self.tell(who, || format!("→ {context}: {label}"));
        let wait = self.under_way(site);
        if self.strikes(Fault::AskDoubled, site) {
            let later = wait + self.chance_of(site, 2, DOUBLE_MAX);
            self.tell(who, || "  ✗ which is doubled".to_owned());
            self.agenda
                .after(later, Entry::Asked(Box::new(asked.clone()), None));
        }
        self.agenda
            .after(wait, Entry::Asked(Box::new(asked), Some(task)));
    }

    /// An ask reaches its context.
    pub(crate) fn asked(&mut self, asked: &Asked, waiting: Option<crate::task::TaskId>) {
        let down = target(asked.context).is_some_and(|of| self.plan.is_down(of, self.agenda.now()));
        let answer = if down {
            self.tell(asked.context, || format!("✗ is down: {}", asked.label));
            None
        } else if self.is_too_late(asked, waiting.is_some()) {
            self.tell(asked.context, || {
                format!("takes it for too late: {}", asked.label)
            });
            None
        } else {
            let (answer, new) = self.execute(asked);
            if matches!(&answer, Answer::Refused { code, .. } if code == UNREADABLE) {
                let finding = Finding::new("every ask can be read", format!("{answer:?}"));
                self.finding.get_or_insert(finding);
            }
            if let Answer::Refused { code, .. } = &answer {
                self.tell(asked.context, || format!("refuses {}: {code}", asked.label));
            } else if waiting.is_none() {
                self.tell(asked.context, || {
                    format!("reads {} again, late", asked.label)
                });
            }
            self.record(new);
            Some(answer)
        };
        let Some(task) = waiting else {
            return;
        };
        let site = mix([asked.site, 3]);
        let lost = self.strikes(Fault::AnswerLost, site);
        if lost {
            self.tell(asked.context, || {
                format!("✗ its answer to {} is lost", asked.label)
            });
        }
        let answer = answer.filter(|_| !lost);
        let wait = if answer.is_some() {
            self.under_way(site)
        } else {
            ANSWER_TIMEOUT
        };
        self.agenda
            .after(wait, Entry::Work(task, Input::Answered((asked.id, answer))));
    }

    /// One that somebody waits for has a deadline. What got in just before that and was held up then
    /// is carried out later all the same, unless it is very old.
    fn is_too_late(&self, asked: &Asked, waited_for: bool) -> bool {
        let age = self.time_by(Role::Contexts) - asked.at;
        age > if waited_for {
            ANSWER_TIMEOUT
        } else {
            ASK_AGE_MAX
        }
    }

    fn execute(&mut self, asked: &Asked) -> Executed {
        let asked = &self.bent(asked);
        let meta = Meta {
            command_id: asked.id,
            order: Some(asked.order),
            at: asked.at,
        };
        let no_tombstone = self.has_bug(Bug::NoTombstone);
        let shop = &mut self.shop;
        let with = (meta, &mut shop.log);
        let Some(file) = shop.files.get_mut(asked.order) else {
            return unreadable("no such order");
        };
        match asked.context {
            "order" => match read::<Order>(asked) {
                Ok(command) => file.order.execute(&command, with, Told::Order, none),
                Err(unread) => unread,
            },
            "payment" => match read::<Payment>(asked) {
                Ok(command) => file.payment.execute(&command, with, Told::Payment, none),
                Err(unread) => unread,
            },
            "inventory" => {
                let sku = asked.aggregate.as_str().parse::<Sku>();
                let (Ok(sku), Ok(command)) = (sku, read::<inventory::StockItem>(asked)) else {
                    return unreadable(&asked.label);
                };
                let told = |event| Told::Inventory(sku.clone(), event);
                let item = shop.stock.entry(sku.clone()).or_default();
                item.execute(&command, with, told, |event| {
                    no_tombstone && is_tombstone(event)
                })
            }
            "notification" => {
                let id = asked.aggregate.as_str().parse::<NotificationId>();
                let (Ok(id), Ok(command)) = (id, read::<Notification>(asked)) else {
                    return unreadable(&asked.label);
                };
                let told = |event| Told::Notification(id, event);
                let mail = shop.mails.entry(id).or_default();
                mail.execute(&command, with, told, none)
            }
            _ => unreadable(asked.context),
        }
    }

    /// The ask as it is carried out.
    fn bent(&self, asked: &Asked) -> Asked {
        let mut asked = asked.clone();
        let (command, number, bent): (_, _, fn(i64) -> i64) = match self.bug {
            Some(Bug::RefundHalf) => ("refund_payment", "/data/amount/amount", |cents| cents / 2),
            Some(Bug::RestockOne) => ("restock_return", "/data/quantity", |_| 1),
            _ => return asked,
        };
        let text = |pointer| asked.command.pointer(pointer).and_then(Value::as_str);
        let of_return = text("/data/reason").is_none_or(|reason| reason == "goods returned");
        let is_it = text("/type") == Some(command) && of_return;
        if let Some(number) = asked.command.pointer_mut(number).filter(|_| is_it) {
            *number = number.as_i64().map(bent).into();
        }
        asked
    }

    /// A saga takes a fact in. At most one event may follow.
    pub(crate) fn take_in(&mut self, fact: &Fact, meta: Meta) -> Executed {
        let from = self.stage(fact.saga());
        let executed = self.saga_executes(fact, meta);
        self.note_transition(from, fact.saga(), &executed.1);
        executed
    }

    fn saga_executes(&mut self, fact: &Fact, meta: Meta) -> Executed {
        let shop = &mut self.shop;
        let with = (meta, &mut shop.log);
        match fact {
            Fact::Checkout(order, fact) => match shop.files.get_mut(*order) {
                Some(file) => file.checkout.execute(fact, with, Told::Checkout, none),
                None => unreadable("no such order"),
            },
            Fact::Returning(id, fact) => {
                let saga = shop.returning.entry(*id).or_default();
                saga.execute(fact, with, |event| Told::Returning(*id, event), none)
            }
            Fact::Refunding(id, fact) => {
                let saga = shop.refunding.entry(*id).or_default();
                saga.execute(fact, with, |event| Told::Refunding(*id, event), none)
            }
        }
    }

    /// What follows from new events: the story, the audit, who hears of them, whose moment has come.
    pub(crate) fn record(&mut self, new: std::ops::Range<usize>) {
        for index in new {
            if let Some(recorded) = self.shop.log.get(index) {
                let (stream, order) = (recorded.told.stream(), recorded.order);
                let now = self.agenda.now();
                let told = &recorded.told;
                self.story.tell(now, stream, || match order {
                    Some(order) => format!("order {}: {}", order + 1, told.text()),
                    None => told.text(),
                });
                let id = order
                    .and_then(|order| self.shop.file(order))
                    .map(|file| file.id);
                if let Err(finding) = self.audit.see(recorded, (id, &self.provider)) {
                    self.finding.get_or_insert(finding);
                }
            }
            self.publish(index);
            self.trigger(index);
        }
    }
}

fn target(context: &str) -> Option<Target> {
    match context {
        "order" => Some(Target::Order),
        "inventory" => Some(Target::Inventory),
        "payment" => Some(Target::Payment),
        "notification" => Some(Target::Notification),
        _ => None,
    }
}

fn is_tombstone(event: &InventoryEvent) -> bool {
    matches!(
        event,
        InventoryEvent::ReservationReleased { quantity: 0, .. }
    )
}

/// The command, as its context reads it off the bus.
fn read<A: Decider>(asked: &Asked) -> Result<A::Command, Executed> {
    A::Command::deserialize(&asked.command)
        .map_err(|error| unreadable(&format!("{}: {error}", asked.label)))
}

/// The real runner parks what asked this; here it is a finding.
fn unreadable(what: &str) -> Executed {
    let answer = Answer::Refused {
        code: UNREADABLE.to_owned(),
        message: what.to_owned(),
    };
    (answer, 0..0)
}
