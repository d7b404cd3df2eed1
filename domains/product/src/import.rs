//! One bulk import: how many lines are done and what became of them, so that sending the same lines
//! again goes on where it was.

use kernel::{Decider, Reason};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strum::{Display, EnumString};

use crate::{ImportCommand, ImportEvent, ImportRefusal};

/// Most line errors that an import remembers; the others are only counted.
pub const ERRORS_KEPT_MAX: usize = 100;

/// An import of products.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Import {
    /// No line came in.
    #[default]
    Unstarted,
    /// Lines are coming in.
    Running(Report),
    /// They broke off: the same lines sent again go on from here.
    Interrupted(Report),
    /// Every line is done.
    Completed(Report),
}

/// What became of the lines.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// How many.
    pub tally: Tally,
    /// What was wrong with the first of those that failed.
    pub errors: Vec<LineError>,
}

/// How many lines are done, and what came of them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// Lines read, blank ones too.
    pub lines: u64,
    /// New products.
    pub created: u64,
    /// Products that were changed.
    pub updated: u64,
    /// Products that were like that already.
    pub unchanged: u64,
    /// Lines that were refused.
    pub failed: u64,
    /// Over all these lines: tells whether others begin with the same ones.
    pub digest: String,
}

/// What was wrong with one line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LineError {
    /// Which, from 1.
    pub line: u64,
    /// What was wrong, in snake case.
    pub code: String,
    /// Where in the line, as a JSON pointer (RFC 6901); empty = the whole line.
    pub pointer: String,
    /// The same in words.
    pub detail: String,
}

/// The stage by its name.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, Display, EnumString, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum ImportStatus {
    /// Lines are coming in.
    Running,
    /// They broke off.
    Interrupted,
    /// Every line is done.
    Completed,
}

type Decision = Result<Vec<ImportEvent>, ImportRefusal>;

impl Import {
    /// The stage, once started.
    pub fn status(&self) -> Option<ImportStatus> {
        match self {
            Self::Unstarted => None,
            Self::Running(_) => Some(ImportStatus::Running),
            Self::Interrupted(_) => Some(ImportStatus::Interrupted),
            Self::Completed(_) => Some(ImportStatus::Completed),
        }
    }

    /// What became of the lines so far, once started.
    pub fn report(&self) -> Option<&Report> {
        match self {
            Self::Unstarted => None,
            Self::Running(report) | Self::Interrupted(report) | Self::Completed(report) => {
                Some(report)
            }
        }
    }

    fn start(&self, key: &str) -> Vec<ImportEvent> {
        match self {
            Self::Unstarted => vec![ImportEvent::ImportStarted {
                key: key.to_owned(),
            }],
            Self::Interrupted(_) => vec![ImportEvent::ImportResumed {}],
            Self::Running(_) | Self::Completed(_) => vec![],
        }
    }

    /// Fewer lines than are known to be done are no news: two may send the same ones.
    fn progress(&self, tally: &Tally, errors: &[LineError]) -> Decision {
        let known = self.must_be_the_same(tally)?;
        if tally.lines <= known.tally.lines {
            return Ok(vec![]);
        }
        Ok(vec![ImportEvent::ImportProgressed {
            tally: tally.clone(),
            errors: known.kept(errors),
        }])
    }

    /// Whoever is behind another one that sends the same lines interrupts nothing.
    fn interrupt(&self, tally: &Tally, errors: &[LineError], reason: &Reason) -> Decision {
        let known = self.must_be_the_same(tally)?;
        let goes_on = self.status() == Some(ImportStatus::Running);
        if !goes_on || tally.lines < known.tally.lines {
            return Ok(vec![]);
        }
        Ok(vec![ImportEvent::ImportInterrupted {
            tally: tally.clone(),
            errors: known.kept(errors),
            reason: reason.clone(),
        }])
    }

    fn complete(&self, tally: &Tally, errors: &[LineError]) -> Decision {
        let known = self.must_be_the_same(tally)?;
        if tally.lines < known.tally.lines {
            return Err(ImportRefusal::ImportDiffers);
        }
        if self.status() == Some(ImportStatus::Completed) {
            return Ok(vec![]);
        }
        Ok(vec![ImportEvent::ImportCompleted {
            tally: tally.clone(),
            errors: known.kept(errors),
        }])
    }

    /// What is done so far, unless `tally` counts other lines, or goes on behind the last one.
    fn must_be_the_same(&self, tally: &Tally) -> Result<&Report, ImportRefusal> {
        let known = self.report().ok_or(ImportRefusal::ImportUnknown)?;
        let (lines, digest) = (known.tally.lines, &known.tally.digest);
        let other = tally.lines == lines && tally.digest != *digest;
        let longer = tally.lines > lines && self.status() == Some(ImportStatus::Completed);
        if other || longer {
            return Err(ImportRefusal::ImportDiffers);
        }
        Ok(known)
    }

    fn take(&self, tally: &Tally, errors: &[LineError]) -> Report {
        let known = self.report().map(|report| report.errors.clone());
        let mut all = known.unwrap_or_default();
        all.extend_from_slice(errors);
        Report {
            tally: tally.clone(),
            errors: all,
        }
    }
}

impl Report {
    /// Those of `errors` that still have room.
    fn kept(&self, errors: &[LineError]) -> Vec<LineError> {
        let room = ERRORS_KEPT_MAX.saturating_sub(self.errors.len());
        errors.iter().take(room).cloned().collect()
    }
}

impl Decider for Import {
    const CONTEXT: &'static str = "product";
    const KIND: Option<&'static str> = Some("import");

    fn decide(&self, command: &ImportCommand) -> Decision {
        match command {
            ImportCommand::StartImport { key } => Ok(self.start(key)),
            ImportCommand::RecordProgress { tally, errors } => self.progress(tally, errors),
            ImportCommand::InterruptImport {
                tally,
                errors,
                reason,
            } => self.interrupt(tally, errors, reason),
            ImportCommand::CompleteImport { tally, errors } => self.complete(tally, errors),
        }
    }

    fn evolve(&mut self, event: &ImportEvent) {
        match event {
            ImportEvent::ImportStarted { key: _ } => *self = Self::Running(Report::default()),
            ImportEvent::ImportProgressed { tally, errors } => {
                *self = Self::Running(self.take(tally, errors));
            }
            ImportEvent::ImportInterrupted {
                tally,
                errors,
                reason: _,
            } => *self = Self::Interrupted(self.take(tally, errors)),
            ImportEvent::ImportResumed {} => {
                *self = Self::Running(self.report().cloned().unwrap_or_default());
            }
            ImportEvent::ImportCompleted { tally, errors } => {
                *self = Self::Completed(self.take(tally, errors));
            }
        }
    }
}

kernel::aggregate!(
    Import,
    "product.import",
    ImportCommand,
    ImportEvent,
    ImportRefusal
);
