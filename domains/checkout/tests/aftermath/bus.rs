//! The command bus: an ask reaches its aggregate now, later or never, and the answer may be lost.

use std::fmt;

use checkout::Due;
use kernel::{Decider, Refusal, Sku};
use uuid::Uuid;

use super::{Told, World};

/// An ask on its way to its context.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    ask_id: Uuid,
    context: &'static str,
    id: String,
    command: serde_json::Value,
}

/// The bus's answer, if the runner waited for it.
pub(super) enum Answer {
    Lost,
    Done,
    Refused { code: String, message: String },
}

impl World {
    /// An ask that arrives now, later, or never; the answer may be lost.
    pub(super) fn send<A: fmt::Display>(&mut self, due: &Due<A>) -> Answer {
        let asked = Asked {
            ask_id: due.ask_id,
            context: due.context,
            id: due.aggregate_id.as_str().to_owned(),
            command: due.command.clone(),
        };
        self.story
            .push(format!("  {} -> {}", due.label, due.context));
        if self.chance.percent(self.trouble) {
            self.late.push(asked);
            return Answer::Lost;
        }
        let answer = self.arrive_at(&asked);
        if self.chance.percent(self.trouble / 2) {
            return Answer::Lost;
        }
        answer
    }

    fn arrive_at(&mut self, asked: &Asked) -> Answer {
        // The log finds the latest commands only: what came before must be true already.
        if self.appended.contains(&asked.ask_id) && self.chance.percent(50) {
            return Answer::Done;
        }
        let (answer, told, stream) = match asked.context {
            "inventory" => {
                let sku: Sku = asked.id.parse().unwrap();
                let (answer, events) = decide(self.stock.get_mut(&sku).unwrap(), asked);
                let told = events.into_iter();
                let told = told.map(|event| Told::Inventory(sku.clone(), event));
                (answer, told.collect::<Vec<_>>(), 1)
            }
            "payment" => {
                let (answer, events) = decide(&mut self.payment, asked);
                (answer, events.into_iter().map(Told::Payment).collect(), 2)
            }
            "order" => {
                let (answer, events) = decide(&mut self.order, asked);
                (answer, events.into_iter().map(Told::Order).collect(), 0)
            }
            "notification" => {
                let mail = self.mails.entry(asked.id.clone()).or_default();
                let (answer, _) = decide(mail, asked);
                (answer, Vec::new(), 0)
            }
            other => panic!("nobody is called {other}"),
        };
        if !told.is_empty() {
            self.appended.insert(asked.ask_id);
        }
        self.streams[stream].extend(told);
        answer
    }

    /// An ask that the runner gave up waiting for arrives after all.
    pub(super) fn late_ask(&mut self) {
        if !self.late.is_empty() {
            let index = self.chance.below(self.late.len());
            let asked = self.late.remove(index);
            self.arrive_at(&asked);
        }
    }
}

/// What an aggregate answers to an ask, and what it wrote.
fn decide<A: Decider>(aggregate: &mut A, asked: &Asked) -> (Answer, Vec<A::Event>) {
    let command: A::Command = serde_json::from_value(asked.command.clone()).unwrap();
    match aggregate.decide(&command) {
        Err(refusal) => {
            let (code, message) = (refusal.code(), refusal.to_string());
            (Answer::Refused { code, message }, Vec::new())
        }
        Ok(events) => {
            for event in &events {
                aggregate.evolve(event);
            }
            (Answer::Done, events)
        }
    }
}
