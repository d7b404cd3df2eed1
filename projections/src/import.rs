//! The imports page: how far each bulk import is, what came of its lines, what was wrong with them.

use cqrs_es::{EventEnvelope, View};
use kernel::Reason;
use product::{Import, ImportEvent, LineError, Tally};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strum::VariantNames;

use crate::moment::Moment;
use crate::view::{EntityView, Sort};

/// Whether an import goes on.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, VariantNames, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum ImportStage {
    /// Its lines are coming in.
    #[default]
    Running,
    /// They broke off: the same lines sent again go on from there.
    Interrupted,
    /// Every line is done.
    Completed,
}

/// One bulk import.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ImportReport {
    /// The import's id.
    pub id: String,
    /// What the operator calls it: the Idempotency-Key.
    pub key: String,
    /// Whether it goes on.
    pub status: ImportStage,
    /// Why it doesn't.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// Lines that are done, blank ones too.
    pub lines: u64,
    /// New products.
    pub created: u64,
    /// Products that were changed.
    pub updated: u64,
    /// Products that were like that already.
    pub unchanged: u64,
    /// Lines that were refused.
    pub failed: u64,
    /// What was wrong with the first of those.
    pub errors: Vec<LineError>,
    /// How many events the import has.
    pub version: u64,
    /// When its first line came in.
    pub started_at: Option<Moment>,
    /// When it was heard of last.
    pub updated_at: Option<Moment>,
    /// When its last line was done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub completed_at: Option<Moment>,
}

impl EntityView<Import> for ImportReport {
    const NAME: &'static str = "import_report";
    const FILTERS: &'static [&'static str] = &["key", "status"];
    const FIXED: &'static [&'static str] = &["key"];
    const SORT: Sort = Sort::Latest("started_at");
}

impl View<Import> for ImportReport {
    fn update(&mut self, event: &EventEnvelope<Import>) {
        let at = Moment::of(event);
        self.id.clone_from(&event.aggregate_id);
        self.version = event.sequence as u64;
        self.updated_at = at;
        self.reason = None;
        match &event.payload {
            ImportEvent::ImportStarted { key } => {
                self.key.clone_from(key);
                self.started_at = at;
            }
            ImportEvent::ImportProgressed { tally, errors } => {
                self.status = ImportStage::Running;
                self.count(tally, errors);
            }
            ImportEvent::ImportInterrupted {
                tally,
                errors,
                reason,
            } => {
                self.status = ImportStage::Interrupted;
                self.reason = Some(reason.clone());
                self.count(tally, errors);
            }
            ImportEvent::ImportResumed {} => self.status = ImportStage::Running,
            ImportEvent::ImportCompleted { tally, errors } => {
                self.status = ImportStage::Completed;
                self.completed_at = at;
                self.count(tally, errors);
            }
        }
    }
}

impl ImportReport {
    fn count(&mut self, tally: &Tally, errors: &[LineError]) {
        self.lines = tally.lines;
        self.created = tally.created;
        self.updated = tally.updated;
        self.unchanged = tally.unchanged;
        self.failed = tally.failed;
        self.errors.extend_from_slice(errors);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testkit::fold;

    fn tally(lines: u64) -> Tally {
        Tally {
            lines,
            created: lines - 1,
            failed: 1,
            ..Tally::default()
        }
    }

    fn error(line: u64) -> LineError {
        LineError {
            line,
            code: "price_not_positive".to_owned(),
            pointer: "/price/amount".to_owned(),
            detail: "the price must be above zero".to_owned(),
        }
    }

    #[test]
    fn an_import_tells_how_far_it_is_and_why_it_stopped() {
        let mut story = vec![
            ImportEvent::ImportStarted {
                key: "autumn".to_owned(),
            },
            ImportEvent::ImportProgressed {
                tally: tally(1_000),
                errors: vec![error(7)],
            },
            ImportEvent::ImportInterrupted {
                tally: tally(1_200),
                errors: vec![error(1_100)],
                reason: "the body broke off".parse().unwrap(),
            },
        ];
        let row: ImportReport = fold::<Import, _>("i-1", story.clone());
        assert_eq!((row.key.as_str(), row.lines), ("autumn", 1_200));
        assert_eq!(row.status, ImportStage::Interrupted);
        assert!(row.reason.is_some());
        assert_eq!(row.errors, [error(7), error(1_100)]);

        story.push(ImportEvent::ImportResumed {});
        let row: ImportReport = fold::<Import, _>("i-1", story.clone());
        assert_eq!((row.status, row.lines), (ImportStage::Running, 1_200));
        assert_eq!(row.reason, None);

        story.push(ImportEvent::ImportCompleted {
            tally: tally(5_000),
            errors: vec![],
        });
        let row: ImportReport = fold::<Import, _>("i-1", story);
        assert_eq!((row.status, row.created), (ImportStage::Completed, 4_999));
        assert!(row.started_at < row.completed_at);
    }
}
