//! Makes a failing run small: what it still fails without is left out.

use std::collections::BTreeSet;

use crate::bug::Bug;
use crate::fault::Struck;
use crate::plan::{Part, Plan};
use crate::play;

/// Most runs that are spent on making one smaller.
const RUNS_MAX: usize = 3_000;

/// A run that still fails, with as little in it as was found.
#[derive(Debug)]
pub(crate) struct Shrunk {
    pub(crate) plan: Plan,
    pub(crate) faults: BTreeSet<Struck>,
    pub(crate) runs: usize,
}

struct Shrinking<'a> {
    plan: &'a Plan,
    bug: Option<Bug>,
    rule: &'static str,
    runs: usize,
}

/// Shrinks the run of `plan`, which breaks `rule` when these faults strike. A smaller run must break
/// the same rule: any other is another story.
pub(crate) fn shrink(
    plan: &Plan,
    bug: Option<Bug>,
    (rule, faults): (&'static str, &[Struck]),
) -> Shrunk {
    let mut shrinking = Shrinking {
        plan,
        bug,
        rule,
        runs: 0,
    };
    let mut parts: Vec<_> = faults.iter().copied().map(Part::Fault).collect();
    parts.extend(plan.parts());
    let all = parts.clone();
    shrinking.reduce(&mut parts);
    let (gone, faults) = split(&all, &parts);
    Shrunk {
        plan: plan.without(&gone, &faults),
        faults,
        runs: shrinking.runs,
    }
}

impl Shrinking<'_> {
    /// Takes out ever smaller pieces until no single part can go (delta debugging; Zeller 2002).
    fn reduce(&mut self, parts: &mut Vec<Part>) {
        let all = parts.clone();
        let mut size = parts.len();
        while size >= 1 {
            let before = parts.len();
            let mut start = 0;
            while start < parts.len() && self.runs < RUNS_MAX {
                let end = (start + size).min(parts.len());
                let mut fewer = parts.clone();
                fewer.drain(start..end);
                if self.still_fails(&all, &fewer) {
                    *parts = fewer;
                } else {
                    start = end;
                }
            }
            if size == 1 && parts.len() == before {
                return;
            }
            size = if size == 1 { 1 } else { size / 2 };
            if self.runs >= RUNS_MAX {
                return;
            }
        }
    }

    fn still_fails(&mut self, all: &[Part], kept: &[Part]) -> bool {
        self.runs += 1;
        let (gone, faults) = split(all, kept);
        let plan = self.plan.without(&gone, &faults);
        // One that panics is another story.
        let finding = play(plan, self.bug).ok().and_then(|played| played.finding);
        finding.is_some_and(|found| found.rule == self.rule)
    }
}

/// What is left out, and which faults still strike.
fn split(all: &[Part], kept: &[Part]) -> (BTreeSet<Part>, BTreeSet<Struck>) {
    let kept: BTreeSet<_> = kept.iter().copied().collect();
    let faults = kept.iter().filter_map(|part| match part {
        Part::Fault(struck) => Some(*struck),
        Part::Order(_)
        | Part::Line(..)
        | Part::Card(_)
        | Part::Action(_)
        | Part::Clicks(_)
        | Part::Outage(_)
        | Part::Pace => None,
    });
    let faults = faults.collect();
    let all = all.iter().copied().collect::<BTreeSet<_>>();
    (all.difference(&kept).copied().collect(), faults)
}
