//! What happened, for a person to read.

use crate::agenda::{MINUTE, SECOND, Time};

/// A run's story, if somebody wants to read it.
#[derive(Debug, Default)]
pub(crate) struct Story {
    lines: Option<Vec<String>>,
}

impl Story {
    /// Everything is told.
    pub(crate) fn wanted() -> Self {
        Self {
            lines: Some(Vec::new()),
        }
    }

    pub(crate) fn tell(&mut self, now: Time, who: &str, what: impl FnOnce() -> String) {
        if let Some(lines) = &mut self.lines {
            lines.push(format!("{} {who:<12} {}", clock(now), what()));
        }
    }

    pub(crate) fn lines(self) -> Vec<String> {
        self.lines.unwrap_or_default()
    }
}

/// Minutes, seconds and milliseconds since the run began.
pub(crate) fn clock(time: Time) -> String {
    let (minutes, rest) = (time / MINUTE, time % MINUTE);
    format!("{minutes:>3}:{:02}.{:03}", rest / SECOND, rest % SECOND)
}
