//! The state machines of the sagas, drawn from their tables: the transitions that there are, the
//! Mermaid diagram, and the page `docs/sagas.md`.
//!
//! The simulator holds them against what happens: a transition that is not here fails its run, and
//! one that no run takes is reported (`millrace simulate --coverage`).

use std::fmt::{self, Write as _};

use crate::refunding::{RECORDING, RefundAsk};
use crate::returning::{RUNNING, ReturnStep};
use crate::tasks::{ENDED, RESOLVED, SUSPENDED};
use crate::{
    Checkout, Definition, Definitions, Each, RefundRow, Refunding, Refused, ReturnRow, Returning,
    Row, Saga, Shop, Stage, Step,
};

/// Where there is a deadline and where none.
const WAITING: &str = include_str!("waiting.md");

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
    /// Its table, a line for each step.
    pub table: Vec<Cells>,
    /// Every transition.
    pub transitions: Vec<Transition>,
}

/// One line of a table, in words: under [`COLUMNS`].
pub type Cells = [String; 8];

/// What is told of each step.
pub const COLUMNS: [&str; 8] = [
    "stage",
    "asks",
    "of",
    "done when",
    "refused",
    "too late",
    "undo",
    "then",
];

/// All sagas of the shop; of one with several definitions the newest first.
pub fn pictures() -> Vec<Picture> {
    pictures_of::<Shop>()
}

/// All sagas by the definitions of `D`.
pub fn pictures_of<D>() -> Vec<Picture>
where
    D: Definitions + Definitions<ReturnRow> + Definitions<RefundRow>,
{
    let checkouts = drawn::<D, Step, Stage>(
        Checkout::NAME,
        "From an order placed to an order confirmed and shipped, or undone.",
        of_checkout,
    );
    let returns = drawn::<D, ReturnStep, &'static str>(
        Returning::NAME,
        "Goods that came back are put on the shelf, and their money goes back.",
        |definition| of_tasks(definition.steps, RUNNING, &RETURNING, &RETURNING_BESIDES),
    );
    let refunds = drawn::<D, RefundAsk, &'static str>(
        Refunding::NAME,
        "Money went back that the checkout did not ask for: order and customer are told.",
        |definition| of_tasks(definition.steps, RECORDING, &REFUNDING, &REFUNDING_BESIDES),
    );
    [checkouts, returns, refunds].concat()
}

/// One saga under each of its definitions.
fn drawn<D, S, P>(
    saga: &'static str,
    about: &'static str,
    transitions: impl Fn(&Definition<Row<S, P>>) -> Vec<Transition>,
) -> Vec<Picture>
where
    D: Definitions<Row<S, P>>,
    S: 'static,
    P: fmt::Display + 'static,
{
    let newest_first = D::known().iter().rev();
    let picture = |definition: &Definition<Row<S, P>>| Picture {
        saga,
        revision: definition.revision,
        about,
        table: definition.steps.iter().map(Row::cells).collect(),
        transitions: transitions(definition),
    };
    newest_first.map(picture).collect()
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
const UNDOING: [Transition; 43] = [
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
    // The money is in a person's hands; stock that is held is still given back.
    fixed("resolved", "undo_started", "resolved"),
    fixed("resolved", "undo_succeeded", "resolved"),
    fixed("resolved", "undo_failed", "resolved"),
    fixed("resolved", "checkout_suspended", "resolved"),
    fixed("resolved", "checkout_resumed", "resolved"),
    fixed("resolved", "step_skipped", "resolved"),
    fixed("resolved", "checkout_resolved", "resolved"),
    // Money that comes after all, and is let go.
    fixed("resolved", "step_succeeded", "resolved"),
    // What was only waited for is gone, and the order knows.
    fixed("resolved", "checkout_ended", "ended"),
];

/// The events of a saga whose steps don't wait for each other.
struct TaskEvents {
    started: &'static str,
    /// A step is done that is not the last; `None` = it never has several.
    step_succeeded: Option<&'static str>,
    suspended: &'static str,
    resumed: &'static str,
    skipped: &'static str,
    resolved: &'static str,
    ended: &'static str,
}

const RETURNING: TaskEvents = TaskEvents {
    started: "returning_started",
    step_succeeded: Some("returning_step_succeeded"),
    suspended: "returning_suspended",
    resumed: "returning_resumed",
    skipped: "returning_step_skipped",
    resolved: "returning_resolved",
    ended: "returning_ended",
};

/// What is in no line of the return's table.
const RETURNING_BESIDES: [Transition; 1] = [
    // The bank sends the money back after the end.
    fixed("ended", "returning_suspended", "suspended"),
];

const REFUNDING: TaskEvents = TaskEvents {
    started: "refunding_started",
    step_succeeded: None,
    suspended: "refunding_suspended",
    resumed: "refunding_resumed",
    skipped: "refunding_skipped",
    resolved: "refunding_resolved",
    ended: "refunding_ended",
};

/// What is in no line of the refund's table.
const REFUNDING_BESIDES: [Transition; 4] = [
    // The money is here again before anybody has heard that it went.
    fixed(NOT_STARTED, "refunding_dropped", "ended"),
    // The bank sends the money back, after the end or while the order says no; a person sees to that.
    fixed("ended", "refunding_suspended", "suspended"),
    fixed("suspended", "refunding_suspended", "suspended"),
    fixed("suspended", "refunding_resumed", "ended"),
];

/// What follows from a table whose steps don't wait for each other, and then what is `besides`. While
/// something is due the saga is `busy`.
fn of_tasks<S, P>(
    table: &[Row<S, P>],
    busy: &'static str,
    events: &TaskEvents,
    besides: &[Transition],
) -> Vec<Transition> {
    if table.is_empty() {
        let start = arrow(NOT_STARTED, events.started, ENDED);
        let begins = besides.iter().filter(|other| other.from == NOT_STARTED);
        return [start].into_iter().chain(begins.copied()).collect();
    }
    let mut all = vec![
        arrow(NOT_STARTED, events.started, busy),
        arrow(busy, events.suspended, SUSPENDED),
        arrow(busy, events.ended, ENDED),
        arrow(SUSPENDED, events.resumed, busy),
        arrow(SUSPENDED, events.skipped, ENDED),
        arrow(SUSPENDED, events.resolved, RESOLVED),
        arrow(SUSPENDED, events.ended, ENDED),
    ];
    let lines = table.iter().any(|row| matches!(row.step, Each::Line(_)));
    if let Some(step_succeeded) = events.step_succeeded
        && (lines || table.len() > 1)
    {
        // Others are still due, or stuck as well.
        all.extend([
            arrow(busy, step_succeeded, busy),
            arrow(SUSPENDED, step_succeeded, SUSPENDED),
            arrow(SUSPENDED, step_succeeded, busy),
            arrow(SUSPENDED, events.suspended, SUSPENDED),
            arrow(SUSPENDED, events.resumed, SUSPENDED),
            arrow(SUSPENDED, events.skipped, SUSPENDED),
            arrow(SUSPENDED, events.skipped, busy),
        ]);
    }
    all.extend(besides);
    all
}

impl Picture {
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

/// `docs/sagas.md`: these sagas under each of their definitions, as a table and drawn, and how to change
/// one.
pub fn page(all: &[Picture]) -> String {
    let mut text = "# The sagas\n\nWritten by `millrace sagas` from \
                    [`domains/checkout`](../domains/checkout/src/steps.rs); a test compares.\n"
        .to_owned();
    for picture in all {
        let Picture { saga, about, .. } = picture;
        let several = all.iter().filter(|other| other.saga == *saga).count() > 1;
        let revision = match picture.revision {
            revision if several => format!(", revision {revision}"),
            _ => String::new(),
        };
        line(&mut text, &format!("\n## {saga}{revision}\n\n{about}"));
        line(&mut text, &format!("\n| {} |", COLUMNS.join(" | ")));
        line(&mut text, &format!("|{}", "---|".repeat(COLUMNS.len())));
        for cells in &picture.table {
            line(&mut text, &format!("| {} |", cells.join(" | ")));
        }
        line(
            &mut text,
            &format!("\n```mermaid\n{}```", picture.mermaid()),
        );
    }
    text.push_str(WAITING);
    text.push_str(CHANGING);
    text
}

impl<S, P: fmt::Display> Row<S, P> {
    fn cells(&self) -> Cells {
        let each = match self.step {
            Each::Line(_) => ", each line",
            Each::Order(_) => "",
        };
        let refused = match self.refusal {
            Refused::Undo => "undo",
            Refused::Suspend => "a person sees to it",
        };
        let late = self.timeout.unwrap_or("asked until answered");
        let undo = self.undo.map_or("–".to_owned(), |(ask, done)| {
            format!("`{ask}` → `{done}`")
        });
        [
            self.stage.to_string(),
            format!("`{}`{each}", self.command),
            self.context.to_owned(),
            format!("`{}`", self.success),
            refused.to_owned(),
            late.to_owned(),
            undo,
            self.then.to_string(),
        ]
    }
}

fn line(text: &mut String, line: &str) {
    // Writing to a String can't fail.
    let _ = writeln!(text, "{line}");
}
