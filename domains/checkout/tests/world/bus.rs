//! The command bus: an ask reaches its aggregate, what that writes goes on its stream.

use checkout::{Definitions, Due, PATIENCE, fact};
use kernel::{Decider, Refusal, Sku};

use super::WorldBy;

/// The bus's answer.
pub(super) enum Answer {
    Done,
    Already,
    Refused { code: String, message: String },
}

impl<D: Definitions> WorldBy<D> {
    pub(super) fn ask(&mut self, due: &Due) -> Answer {
        self.story
            .push(format!("  {} -> {}", due.label, due.context));
        if self.appended.contains(&due.ask_id) {
            return Answer::Already;
        }
        let answer = match due.context {
            "inventory" => {
                let sku: Sku = due.aggregate_id.as_str().parse().unwrap();
                let mut item = self.stock.remove(&sku).unwrap_or_default();
                let (answer, events) = decide(&mut item, due);
                self.stock.insert(sku.clone(), item);
                let facts = events.iter().filter_map(|e| fact::from_inventory(&sku, e));
                self.streams[1].extend(facts.map(|(_, fact)| fact));
                answer
            }
            "payment" => {
                let (answer, events) = decide(&mut self.payment, due);
                let at = self.now;
                let facts = events.iter().filter_map(|e| fact::from_payment(e, at));
                self.streams[2].extend(facts);
                answer
            }
            "order" => {
                let (answer, events) = decide(&mut self.order, due);
                let (id, at) = (self.order_id, self.now);
                let facts = events
                    .iter()
                    .filter_map(|e| fact::from_order(id, e, at, PATIENCE));
                self.streams[0].extend(facts);
                answer
            }
            "notification" => {
                let id = due.aggregate_id.as_str().to_owned();
                let (mail, sent) = self.mails.entry(id).or_default();
                let (answer, events) = decide(mail, due);
                let checkout::Ask::Notify { template } = due.label else {
                    panic!("{due:?}");
                };
                sent.extend(events.iter().map(|_| template));
                answer
            }
            other => panic!("nobody is called {other}"),
        };
        if matches!(answer, Answer::Done) {
            self.written += 1;
            self.appended.insert(due.ask_id);
        }
        answer
    }
}

/// What an aggregate answers to an ask, and what it wrote.
fn decide<A: Decider>(aggregate: &mut A, due: &Due) -> (Answer, Vec<A::Event>) {
    let command: A::Command = serde_json::from_value(due.command.clone()).unwrap();
    match aggregate.decide(&command) {
        Err(refusal) => {
            let (code, message) = (refusal.code(), refusal.to_string());
            (Answer::Refused { code, message }, Vec::new())
        }
        Ok(events) if events.is_empty() => (Answer::Already, events),
        Ok(events) => {
            for event in &events {
                aggregate.evolve(event);
            }
            (Answer::Done, events)
        }
    }
}
