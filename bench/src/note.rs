//! The aggregate that the store is measured with: pages of 300 bytes, one after another.

use cqrs_es::DomainEvent;
use kernel::{Decider, Fact};
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// The context; its stream is `NOTE`.
pub(crate) const CONTEXT: &str = "note";

/// As large as an `order_placed` event.
const PAGE_BYTES: usize = 300;

/// A note: so many pages, so many bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Note {
    pub(crate) pages: u64,
    bytes: usize,
}

/// Writes one more page.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct WritePage {
    text: String,
}

impl WritePage {
    /// A page of the usual length.
    pub(crate) fn usual() -> Self {
        Self {
            text: "x".repeat(PAGE_BYTES),
        }
    }
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", content = "data", rename_all = "snake_case")]
pub(crate) enum NoteEvent {
    /// There is one more page.
    PageWritten { text: String },
}

/// Never.
#[derive(Debug, Clone, PartialEq, Eq, Error, Serialize, Deserialize)]
#[serde(tag = "code", rename_all = "snake_case")]
pub(crate) enum NoteRefusal {}

impl Fact for NoteEvent {
    fn name(&self) -> &'static str {
        match self {
            Self::PageWritten { .. } => "page_written",
        }
    }
}

impl DomainEvent for NoteEvent {
    fn event_type(&self) -> String {
        self.name().to_owned()
    }

    fn event_version(&self) -> String {
        self.schema_version().to_string()
    }
}

kernel::aggregate!(Note, CONTEXT, WritePage, NoteEvent, NoteRefusal);

impl Decider for Note {
    const CONTEXT: &'static str = CONTEXT;

    fn decide(&self, command: &WritePage) -> Result<Vec<NoteEvent>, NoteRefusal> {
        let text = command.text.clone();
        Ok(vec![NoteEvent::PageWritten { text }])
    }

    fn evolve(&mut self, event: &NoteEvent) {
        match event {
            NoteEvent::PageWritten { text } => {
                self.pages += 1;
                self.bytes += text.len();
            }
        }
    }
}
