//! A bulk import: what may be asked of it, told as sentences.

#![allow(clippy::unwrap_used, reason = "a scenario that can not go on fails")]

use kernel::TestFramework;
use product::{
    ERRORS_KEPT_MAX, Import, ImportCommand, ImportEvent, ImportRefusal, ImportStatus, LineError,
    Tally,
};

/// So many lines, all new, that read like `text`.
fn tally(lines: u64, text: &str) -> Tally {
    Tally {
        lines,
        created: lines,
        digest: format!("{text} to {lines}"),
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

fn start() -> ImportCommand {
    ImportCommand::StartImport {
        key: "autumn".to_owned(),
    }
}

fn record(tally: Tally) -> ImportCommand {
    ImportCommand::RecordProgress {
        tally,
        errors: vec![],
    }
}

fn interrupt(tally: Tally) -> ImportCommand {
    ImportCommand::InterruptImport {
        tally,
        errors: vec![],
        reason: "the body broke off".parse().unwrap(),
    }
}

fn complete(tally: Tally) -> ImportCommand {
    ImportCommand::CompleteImport {
        tally,
        errors: vec![],
    }
}

fn started() -> ImportEvent {
    ImportEvent::ImportStarted {
        key: "autumn".to_owned(),
    }
}

fn progressed(tally: Tally) -> ImportEvent {
    ImportEvent::ImportProgressed {
        tally,
        errors: vec![],
    }
}

fn interrupted(tally: Tally) -> ImportEvent {
    ImportEvent::ImportInterrupted {
        tally,
        errors: vec![],
        reason: "the body broke off".parse().unwrap(),
    }
}

fn completed(tally: Tally) -> ImportEvent {
    ImportEvent::ImportCompleted {
        tally,
        errors: vec![],
    }
}

#[track_caller]
fn follows(given: Vec<ImportEvent>, when: ImportCommand, then: Vec<ImportEvent>) {
    TestFramework::<Import>::with(())
        .given(given)
        .when(when)
        .then_expect_events(then);
}

#[track_caller]
fn is_refused(given: Vec<ImportEvent>, when: ImportCommand, then: ImportRefusal) {
    TestFramework::<Import>::with(())
        .given(given)
        .when(when)
        .then_expect_error(then);
}

fn after(events: &[ImportEvent]) -> Import {
    let mut import = Import::default();
    for event in events {
        kernel::Decider::evolve(&mut import, event);
    }
    import
}

#[test]
fn an_import_starts_once() {
    follows(vec![], start(), vec![started()]);
    follows(vec![started()], start(), vec![]);
    follows(vec![started(), completed(tally(5, "a"))], start(), vec![]);
}

#[test]
fn nothing_is_known_of_an_import_that_never_started() {
    for command in [
        record(tally(1, "a")),
        interrupt(tally(1, "a")),
        complete(tally(1, "a")),
    ] {
        is_refused(vec![], command, ImportRefusal::ImportUnknown);
    }
}

#[test]
fn lines_are_counted_once_whoever_sends_them() {
    let done = vec![started(), progressed(tally(100, "a"))];
    follows(
        vec![started()],
        record(tally(100, "a")),
        vec![progressed(tally(100, "a"))],
    );
    follows(done.clone(), record(tally(100, "a")), vec![]);
    follows(done.clone(), record(tally(50, "a")), vec![]);
    follows(
        done,
        record(tally(200, "a")),
        vec![progressed(tally(200, "a"))],
    );
}

#[test]
fn what_broke_off_goes_on_where_it_was() {
    let broken = vec![started(), interrupted(tally(70, "a"))];
    follows(
        vec![started()],
        interrupt(tally(70, "a")),
        vec![interrupted(tally(70, "a"))],
    );
    follows(broken.clone(), interrupt(tally(70, "a")), vec![]);
    follows(broken.clone(), start(), vec![ImportEvent::ImportResumed {}]);
    let resumed = [broken, vec![ImportEvent::ImportResumed {}]].concat();
    let import = after(&resumed);
    assert_eq!(import.status(), Some(ImportStatus::Running));
    assert_eq!(import.report().unwrap().tally, tally(70, "a"));
}

#[test]
fn who_is_behind_interrupts_nobody() {
    follows(
        vec![started(), progressed(tally(100, "a"))],
        interrupt(tally(50, "a")),
        vec![],
    );
    follows(
        vec![started(), completed(tally(100, "a"))],
        interrupt(tally(50, "a")),
        vec![],
    );
}

#[test]
fn an_import_is_completed_once() {
    let all = || tally(100, "a");
    follows(vec![started()], complete(all()), vec![completed(all())]);
    follows(vec![started(), completed(all())], complete(all()), vec![]);
    let import = after(&[started(), completed(all())]);
    assert_eq!(import.status(), Some(ImportStatus::Completed));
}

#[test]
fn one_import_has_the_same_lines_every_time() {
    let half_done = || vec![started(), progressed(tally(100, "a"))];
    let done = || vec![started(), completed(tally(100, "a"))];
    for (given, other) in [
        (half_done(), record(tally(100, "b"))),
        (half_done(), interrupt(tally(100, "b"))),
        (half_done(), complete(tally(100, "b"))),
        (half_done(), complete(tally(50, "a"))),
        (done(), complete(tally(100, "b"))),
        (done(), complete(tally(99, "a"))),
        (done(), complete(tally(101, "a"))),
        (done(), record(tally(101, "a"))),
    ] {
        is_refused(given, other, ImportRefusal::ImportDiffers);
    }
}

#[test]
fn the_first_errors_are_remembered_and_all_are_counted() {
    let many: Vec<LineError> = (1..=150).map(error).collect();
    let tally = Tally {
        lines: 150,
        failed: 150,
        digest: "x".to_owned(),
        ..Tally::default()
    };
    let record = ImportCommand::RecordProgress {
        tally: tally.clone(),
        errors: many.clone(),
    };
    let kept = ImportEvent::ImportProgressed {
        tally: tally.clone(),
        errors: many[..ERRORS_KEPT_MAX].to_vec(),
    };
    follows(vec![started()], record, vec![kept.clone()]);
    let more = Tally {
        lines: 151,
        failed: 151,
        ..tally
    };
    follows(
        vec![started(), kept],
        ImportCommand::CompleteImport {
            tally: more.clone(),
            errors: vec![error(151)],
        },
        vec![completed(more)],
    );
}
