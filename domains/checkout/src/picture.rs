//! The state machines of the sagas, drawn from their tables: the transitions that there are, the
//! Mermaid diagram, and the page `docs/sagas.md`.
//!
//! The simulator holds them against what happens: a transition that is not here fails its run, and
//! one that no run takes is reported (`millrace simulate --coverage`).

use std::fmt::Write as _;

use crate::{
    Checkout, Definition, Definitions, Each, Refunding, Refused, Returning, Row, Saga, Shop, Stage,
};

/// How to change a saga: the end of the page.
const CHANGING: &str = include_str!("changing.md");

/// Before the first event.
pub const NOT_STARTED: &str = "not_started";

/// One event in one stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Transition {
    /// The stage before.
    pub from: &'static str,
    /// The event, as it stands on the wire.
    pub event: &'static str,
    /// The stage after.
    pub to: &'static str,
}

/// A saga as it is drawn, under one of its definitions.
#[derive(Debug, Clone)]
pub struct Picture {
    /// Its name.
    pub saga: &'static str,
    /// The definition's number.
    pub revision: u32,
    /// What it is about, in a line.
    pub about: &'static str,
    /// Its table, if it has one.
    pub steps: &'static [Row],
    /// Every transition.
    pub transitions: Vec<Transition>,
}

/// All sagas of the shop; of one with several definitions the newest first.
pub fn pictures() -> Vec<Picture> {
    pictures_of::<Shop>()
}

/// All sagas, the checkout by the definitions of `D`.
pub fn pictures_of<D: Definitions>() -> Vec<Picture> {
    let checkouts = D::known().iter().rev().map(|definition| Picture {
        saga: Checkout::NAME,
        revision: definition.revision,
        about: "From an order placed to an order confirmed and shipped, or undone.",
        steps: definition.steps,
        transitions: of_checkout(definition),
    });
    let others = [
        Picture {
            saga: Returning::NAME,
            revision: 1,
            about: "Goods that came back are put on the shelf, and their money goes back.",
            steps: &[],
            transitions: of_returning(),
        },
        Picture {
            saga: Refunding::NAME,
            revision: 1,
            about: "Money went back that the checkout did not ask for: order and customer are told.",
            steps: &[],
            transitions: of_refunding(),
        },
    ];
    checkouts.chain(others).collect()
}

fn arrow(
    from: impl Into<&'static str>,
    event: &'static str,
    to: impl Into<&'static str>,
) -> Transition {
    Transition {
        from: from.into(),
        event,
        to: to.into(),
    }
}

/// What follows from the table, and then what undoing adds to it.
fn of_checkout(definition: &Definition) -> Vec<Transition> {
    let first = definition.steps.first().map(|row| row.stage);
    let first = first.map(|stage| arrow(NOT_STARTED, "checkout_started", stage));
    let rows = definition.steps.iter();
    let mut all: Vec<_> = first.into_iter().chain(rows.flat_map(of_row)).collect();
    all.extend(by_hand(definition));
    all.extend(lapses(definition));
    all.extend(UNDOING);
    all
}

/// Before money is asked for, nothing is left to undo once the last hold has lapsed.
fn lapses(definition: &Definition) -> impl Iterator<Item = Transition> {
    let rows = definition.steps.iter();
    let unpaid = rows.take_while(|row| row.stage != Stage::Authorizing);
    unpaid.map(|row| arrow(row.stage, "undo_started", Stage::Undone))
}

/// Somebody took the money before it was asked for.
fn by_hand(definition: &Definition) -> Option<Transition> {
    let capture = definition.row(Stage::Capturing)?;
    let mut rows = definition.steps.iter();
    let before = rows.find(|row| row.then == Stage::Capturing)?;
    Some(arrow(before.stage, before.done(), capture.then))
}

fn of_row(row: &Row) -> Vec<Transition> {
    let here = row.stage;
    let mut all = Vec::new();
    if let Each::Line(_) = row.step {
        // Not the last line yet.
        all.push(arrow(here, "step_succeeded", here));
    }
    all.push(arrow(here, row.done(), row.then));
    match row.refusal {
        Refused::Undo => {
            all.push(arrow(here, "step_refused", Stage::Undoing));
            all.push(arrow(here, "undo_started", Stage::Undoing));
        }
        Refused::Suspend => {
            all.push(arrow(here, "checkout_suspended", here));
            all.push(arrow(here, "checkout_resumed", here));
            all.push(arrow(here, "step_skipped", here));
            all.push(arrow(here, "step_skipped", row.then));
            all.push(arrow(here, "checkout_resolved", Stage::Resolved));
        }
    }
    if row.timeout.is_some() {
        all.push(arrow(here, "step_timed_out", Stage::Undoing));
    }
    all
}

impl Row {
    /// The event of the last success: at most one event follows from a fact, so what ends a part of
    /// the flow is said in the step's place.
    fn done(&self) -> &'static str {
        match self.then {
            Stage::Completed => "checkout_completed",
            Stage::Ended => "checkout_ended",
            Stage::Reserving
            | Stage::Authorizing
            | Stage::Committing
            | Stage::Capturing
            | Stage::Confirming
            | Stage::Shipping
            | Stage::Undoing
            | Stage::Undone
            | Stage::Resolved => "step_succeeded",
        }
    }
}

const fn fixed(from: &'static str, event: &'static str, to: &'static str) -> Transition {
    Transition { from, event, to }
}

/// What is in no line of the table: shortcuts, and the way back.
const UNDOING: [Transition; 34] = [
    // With nothing to undo.
    fixed("reserving", "step_refused", "undone"),
    fixed("confirming", "shipping_started", "shipping"),
    fixed("completed", "shipping_started", "shipping"),
    fixed("completed", "undo_started", "undoing"),
    fixed("undoing", "undo_started", "undoing"),
    fixed("undoing", "undo_succeeded", "undoing"),
    fixed("undoing", "undo_failed", "undoing"),
    fixed("undoing", "step_succeeded", "undoing"),
    fixed("undoing", "checkout_suspended", "undoing"),
    fixed("undoing", "checkout_resumed", "undoing"),
    fixed("undoing", "step_skipped", "undoing"),
    fixed("undoing", "step_skipped", "undone"),
    fixed("undoing", "step_skipped", "ended"),
    fixed("undoing", "checkout_resolved", "resolved"),
    fixed("undoing", "checkout_undone", "undone"),
    fixed("undoing", "checkout_ended", "ended"),
    fixed("undone", "undo_started", "undone"),
    fixed("undone", "undo_succeeded", "undone"),
    fixed("undone", "undo_failed", "undone"),
    fixed("undone", "step_succeeded", "undone"),
    fixed("undone", "checkout_suspended", "undone"),
    fixed("undone", "checkout_resumed", "undone"),
    fixed("undone", "step_skipped", "undone"),
    fixed("undone", "step_skipped", "ended"),
    fixed("undone", "checkout_resolved", "resolved"),
    fixed("undone", "checkout_ended", "ended"),
    fixed("ended", "undo_started", "ended"),
    fixed("ended", "undo_succeeded", "ended"),
    fixed("ended", "undo_failed", "ended"),
    fixed("ended", "step_succeeded", "ended"),
    fixed("ended", "checkout_suspended", "ended"),
    fixed("ended", "checkout_resumed", "ended"),
    fixed("ended", "step_skipped", "ended"),
    fixed("ended", "checkout_resolved", "resolved"),
];

fn of_returning() -> Vec<Transition> {
    vec![
        fixed(NOT_STARTED, "returning_started", "running"),
        fixed("running", "returning_step_succeeded", "running"),
        fixed("running", "returning_suspended", "suspended"),
        fixed("running", "returning_ended", "ended"),
        fixed("suspended", "returning_step_succeeded", "suspended"),
        fixed("suspended", "returning_step_succeeded", "running"),
        fixed("suspended", "returning_suspended", "suspended"),
        fixed("suspended", "returning_resumed", "running"),
        fixed("suspended", "returning_resumed", "suspended"),
        fixed("suspended", "returning_step_skipped", "suspended"),
        fixed("suspended", "returning_step_skipped", "running"),
        fixed("suspended", "returning_step_skipped", "ended"),
        fixed("suspended", "returning_resolved", "resolved"),
        fixed("suspended", "returning_ended", "ended"),
        fixed("ended", "returning_suspended", "suspended"),
    ]
}

fn of_refunding() -> Vec<Transition> {
    vec![
        fixed(NOT_STARTED, "refunding_started", "recording"),
        fixed("recording", "refunding_ended", "ended"),
        fixed("recording", "refunding_suspended", "suspended"),
        fixed("ended", "refunding_suspended", "suspended"),
        fixed("suspended", "refunding_suspended", "suspended"),
        fixed("suspended", "refunding_ended", "ended"),
        fixed("suspended", "refunding_resumed", "recording"),
        fixed("suspended", "refunding_resumed", "ended"),
        fixed("suspended", "refunding_skipped", "ended"),
        fixed("suspended", "refunding_resolved", "resolved"),
    ]
}

impl Picture {
    /// The picture of this saga as it starts now.
    pub fn of(saga: &str) -> Option<Self> {
        let mut all = pictures().into_iter();
        all.find(|picture| picture.saga == saga)
    }

    /// The state machine, as Mermaid draws it: one arrow between two stages, with all its events.
    pub fn mermaid(&self) -> String {
        let all = &self.transitions;
        let mut drawn: Vec<(&str, &str)> = Vec::new();
        let mut text = "stateDiagram-v2\n".to_owned();
        for Transition { from, to, .. } in all {
            if drawn.contains(&(from, to)) {
                continue;
            }
            drawn.push((from, to));
            let between = all
                .iter()
                .filter(|other| (other.from, other.to) == (*from, *to));
            let events: Vec<_> = between.map(|other| other.event).collect();
            let from = if *from == NOT_STARTED { "[*]" } else { from };
            line(
                &mut text,
                &format!("    {from} --> {to}: {}", events.join(", ")),
            );
        }
        text
    }
}

/// `docs/sagas.md`: every saga, drawn under each of its definitions, the checkout's table, and how to
/// change one.
pub fn page() -> String {
    let mut text = "# The sagas\n\nWritten by `millrace sagas` from \
                    [`domains/checkout`](../domains/checkout/src/steps.rs); a test compares.\n"
        .to_owned();
    let all = pictures();
    for picture in &all {
        let Picture { saga, about, .. } = picture;
        let several = all.iter().filter(|other| other.saga == *saga).count() > 1;
        let revision = match picture.revision {
            revision if several => format!(", revision {revision}"),
            _ => String::new(),
        };
        line(&mut text, &format!("\n## {saga}{revision}\n\n{about}"));
        if !picture.steps.is_empty() {
            line(&mut text, "");
            table(&mut text, picture.steps);
        }
        line(
            &mut text,
            &format!("\n```mermaid\n{}```", picture.mermaid()),
        );
    }
    text.push_str(CHANGING);
    text
}

fn table(text: &mut String, steps: &[Row]) {
    line(
        text,
        "| stage | asks | of | done when | refused | too late | undo | then |",
    );
    line(text, "|---|---|---|---|---|---|---|---|");
    for row in steps {
        let each = match row.step {
            Each::Line(_) => ", each line",
            Each::Order(_) => "",
        };
        let refused = match row.refusal {
            Refused::Undo => "undo",
            Refused::Suspend => "a person sees to it",
        };
        let late = row.timeout.unwrap_or("asked until answered");
        let undo = row.undo.map_or("–".to_owned(), |(ask, done)| {
            format!("`{ask}` → `{done}`")
        });
        let cells = [
            row.stage.to_string(),
            format!("`{}`{each}", row.command),
            row.context.to_owned(),
            format!("`{}`", row.success),
            refused.to_owned(),
            late.to_owned(),
            undo,
            row.then.to_string(),
        ];
        line(text, &format!("| {} |", cells.join(" | ")));
    }
}

fn line(text: &mut String, line: &str) {
    // Writing to a String can't fail.
    let _ = writeln!(text, "{line}");
}
