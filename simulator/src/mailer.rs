//! The mailer and the mail server.

use kernel::NotificationId;
use notification::{NotificationCommand, message_id};
use uuid::Uuid;

use crate::bug::Bug;
use crate::bus::Asked;
use crate::chance::{Site, mix};
use crate::fault::Fault;
use crate::plan::Target;
use crate::shop::Answer;
use crate::task::{At, Input, Mailed, Next, TaskId};
use crate::told::Told;
use crate::world::{ANSWER_TIMEOUT, Entry, Role, World};

/// The work on one delivery.
#[derive(Debug)]
pub(crate) struct MailWork {
    id: NotificationId,
    /// As nobody should: before it was sent.
    recorded: bool,
}

impl World {
    /// What an event asks of the mailer; `None` = nothing.
    pub(crate) fn mail_work(&self, index: usize) -> Option<MailWork> {
        match self.shop.log.get(index)?.told {
            Told::Notification(id, _) => Some(MailWork {
                id,
                recorded: false,
            }),
            Told::Order(_)
            | Told::Inventory(..)
            | Told::Payment(_)
            | Told::Checkout(_)
            | Told::Returning(..)
            | Told::Refunding(..) => None,
        }
    }

    pub(crate) fn mailer_goes_on(&mut self, at: At, work: &mut MailWork, input: &Input) -> Next {
        let first = self.has_bug(Bug::RecordMailFirst);
        match input {
            Input::Go => {
                let mail = self.shop.mails.get(&work.id);
                if mail.is_none_or(|mail| mail.state.due().is_none()) {
                    return Next::Done;
                }
                if self.erased.contains(&at.order) {
                    return self.record_mail(at, work, &failed("the recipient was erased"));
                }
                if first {
                    work.recorded = true;
                    return self.record_mail(at, work, &sent(work.id));
                }
                self.send(at, work)
            }
            Input::Mailed(Mailed::Later) | Input::Answered((_, None)) => Next::Retry,
            Input::Mailed(Mailed::Taken) if first => Next::Done,
            Input::Mailed(Mailed::Taken) => self.record_mail(at, work, &sent(work.id)),
            Input::Mailed(Mailed::Never) => self.record_mail(at, work, &failed("550 no")),
            Input::Answered((_, Some(Answer::Done { .. } | Answer::Refused { .. }))) => {
                if work.recorded {
                    return self.send(at, work);
                }
                Next::Done
            }
            Input::Said(_) => Next::Wait,
        }
    }

    fn send(&mut self, at: At, work: &MailWork) -> Next {
        let mut id = message_id(work.id);
        if self.has_bug(Bug::NewMessageId) {
            id = format!("{id}/{}", at.tries);
        }
        self.tell("mailer", || {
            format!("→ mail server: order {}", at.order + 1)
        });
        let mailed = Entry::Mailed {
            message_id: id,
            order: at.order,
            task: at.task,
            site: at.site,
        };
        let wait = self.under_way(at.site);
        self.agenda.after(wait, mailed);
        Next::Wait
    }

    fn record_mail(&mut self, at: At, work: &MailWork, command: &NotificationCommand) -> Next {
        let aggregate = work.id.into();
        let name = format!("notification/{aggregate}/outcome");
        let asked = Asked {
            id: Uuid::new_v5(&Uuid::NAMESPACE_OID, name.as_bytes()),
            context: "notification",
            aggregate,
            command: serde_json::to_value(command).unwrap_or_default(),
            order: at.order,
            label: "record the outcome".to_owned(),
            site: at.site,
            at: self.time_by(Role::Reactor),
        };
        self.ask(at, "mailer", asked);
        Next::Wait
    }

    /// A mail reaches the mail server.
    pub(crate) fn mailed(&mut self, mail: (usize, String), task: TaskId, site: Site) {
        let planned = self.plan.order(mail.0);
        let never = planned.is_some_and(|planned| planned.no_mailbox);
        let down = self.plan.is_down(Target::MailServer, self.agenda.now());
        let answer = |mailed| Entry::Work(task, Input::Mailed(mailed));
        let wait = self.under_way(mix([site, 4]));
        if down || self.strikes(Fault::MailRefused, site) {
            self.tell("mail server", || "✗ 451 not now".to_owned());
            return self.agenda.after(wait, answer(Mailed::Later));
        }
        if never {
            self.tell("mail server", || "550 no such mailbox".to_owned());
            return self.agenda.after(wait, answer(Mailed::Never));
        }
        *self.mailbox.entry(mail).or_default() += 1;
        if self.strikes(Fault::MailAnswerLost, site) {
            self.tell("mail server", || {
                "takes it, ✗ and its answer is lost".to_owned()
            });
            return self.agenda.after(ANSWER_TIMEOUT, answer(Mailed::Later));
        }
        self.tell("mail server", || "250 takes it".to_owned());
        self.agenda.after(wait, answer(Mailed::Taken));
    }
}

fn failed(reason: &str) -> NotificationCommand {
    let reason = reason.to_owned();
    NotificationCommand::RecordFailure { reason }
}

fn sent(id: NotificationId) -> NotificationCommand {
    NotificationCommand::RecordSent {
        message_id: message_id(id),
        address: None,
    }
}
