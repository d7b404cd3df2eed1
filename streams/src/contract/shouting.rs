//! An aggregate whose author forgot `rename_all = "snake_case"`.

use cqrs_es::DomainEvent;
use kernel::{Decider, Fact};
use serde::{Deserialize, Serialize};

use super::CONTEXT;
use super::account::AccountRefusal;

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Shouting {}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Shout {}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", content = "data")]
pub(super) enum Shouted {
    NoSnake {},
}

impl Fact for Shouted {
    fn name(&self) -> &'static str {
        "NoSnake"
    }
}

impl DomainEvent for Shouted {
    fn event_type(&self) -> String {
        self.name().to_owned()
    }

    fn event_version(&self) -> String {
        self.schema_version().to_string()
    }
}

kernel::aggregate!(Shouting, "shouting", Shout, Shouted, AccountRefusal);

impl Decider for Shouting {
    const CONTEXT: &'static str = CONTEXT;
    const KIND: Option<&'static str> = Some("shouting");

    fn decide(&self, Shout {}: &Shout) -> Result<Vec<Shouted>, AccountRefusal> {
        Ok(vec![Shouted::NoSnake {}])
    }

    fn evolve(&mut self, _: &Shouted) {}
}
