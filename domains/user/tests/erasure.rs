//! How a person is forgotten, told as sentences.

#![allow(clippy::unwrap_used, reason = "a scenario that can not go on fails")]

mod words;

use kernel::{Position, TestFramework};
use user::{
    Erasure, ErasureCommand, ErasureEvent, ErasureRefusal, Receipt, Role, Scanned, Standing,
    UserCommand, UserEvent, UserRefusal,
};
use words::{after, day, erased, follows, is_refused, leaving, registered, suspended, why};

fn request(days: i64) -> UserCommand {
    UserCommand::RequestErasure {
        erase_by: day(days),
    }
}

#[test]
fn a_person_asks_once_and_the_first_date_stands() {
    follows(vec![registered()], request(30), vec![leaving()]);
    follows(vec![registered(), leaving()], request(60), vec![]);
    follows(vec![registered(), leaving(), erased()], request(60), vec![]);
}

#[test]
fn who_is_barred_may_leave_too() {
    follows(
        vec![registered(), suspended()],
        request(30),
        vec![leaving()],
    );
}

#[test]
fn nobody_is_erased_who_is_not_there_or_has_not_asked() {
    is_refused(vec![], request(30), UserRefusal::UserUnknown);
    is_refused(vec![], UserCommand::EraseUser {}, UserRefusal::UserUnknown);
    for given in [vec![registered()], vec![registered(), suspended()]] {
        let refusal = UserRefusal::ErasureNotRequested;
        is_refused(given, UserCommand::EraseUser {}, refusal);
    }
}

#[test]
fn who_has_asked_is_erased_once() {
    let erase = UserCommand::EraseUser {};
    let given = vec![registered(), leaving()];
    follows(given.clone(), erase.clone(), vec![erased()]);
    follows([given, vec![erased()]].concat(), erase, vec![]);
}

#[test]
fn nothing_is_decided_about_who_leaves_or_is_gone() {
    for command in [
        UserCommand::GrantRole {
            role: Role::Operator,
        },
        UserCommand::RevokeRole {
            role: Role::Operator,
        },
        UserCommand::SuspendUser { reason: why() },
        UserCommand::ReactivateUser {},
    ] {
        let going = vec![registered(), leaving()];
        is_refused(going.clone(), command.clone(), UserRefusal::UserLeaving);
        let gone = [going, vec![erased()]].concat();
        is_refused(gone, command, UserRefusal::UserErased);
    }
}

#[test]
fn who_leaves_orders_nothing_more_and_who_is_gone_has_nothing() {
    let user = after(&[registered(), leaving()]);
    assert_eq!(user.standing(), Standing::Leaving);
    assert!(!user.may_order() && user.account().is_some());
    let user = after(&[registered(), leaving(), erased()]);
    assert_eq!(user.standing(), Standing::Erased);
    assert!(!user.may_order() && user.account().is_none());
    let user = after(&[
        registered(),
        leaving(),
        erased(),
        UserEvent::UserReactivated {},
    ]);
    assert_eq!(user.standing(), Standing::Erased, "whatever the log says");
}

#[test]
fn the_id_of_who_is_gone_is_nobody_elses() {
    let register = UserCommand::RegisterUser {
        email: words::sealed("email"),
        email_claim: words::CLAIM,
        name: words::sealed("name"),
        password_hash: words::sealed("hash"),
    };
    let gone = vec![registered(), leaving(), erased()];
    is_refused(gone, register, UserRefusal::UserAlreadyExists);
}

fn receipt(searched: u32) -> Receipt {
    Receipt {
        scanned: vec![Scanned {
            up_to: Position::new("USER", 9),
            events: 3,
            sealed: 4,
        }],
        searched,
        readable: vec![],
    }
}

fn opened() -> ErasureEvent {
    ErasureEvent::ErasureOpened { erase_by: day(30) }
}

fn destroyed() -> ErasureEvent {
    ErasureEvent::KeyDestroyed {}
}

fn completed() -> ErasureEvent {
    ErasureEvent::ErasureCompleted {
        receipt: receipt(2),
    }
}

#[track_caller]
fn erasure_follows(given: Vec<ErasureEvent>, when: ErasureCommand, then: Vec<ErasureEvent>) {
    TestFramework::<Erasure>::with(())
        .given(given)
        .when(when)
        .then_expect_events(then);
}

#[test]
fn an_erasure_is_opened_once() {
    let open = |days| ErasureCommand::OpenErasure {
        erase_by: day(days),
    };
    erasure_follows(vec![], open(30), vec![opened()]);
    for given in [
        vec![opened()],
        vec![opened(), destroyed()],
        vec![opened(), destroyed(), completed()],
    ] {
        erasure_follows(given, open(60), vec![]);
    }
}

#[test]
fn a_key_is_destroyed_once_whether_it_was_waited_for_or_not() {
    let record = ErasureCommand::RecordKeyDestroyed {};
    erasure_follows(vec![], record.clone(), vec![destroyed()]);
    erasure_follows(vec![opened()], record.clone(), vec![destroyed()]);
    erasure_follows(vec![opened(), destroyed()], record.clone(), vec![]);
    erasure_follows(vec![opened(), destroyed(), completed()], record, vec![]);
}

#[test]
fn an_erasure_is_completed_once_and_the_first_receipt_stands() {
    let complete = |searched| ErasureCommand::CompleteErasure {
        receipt: receipt(searched),
    };
    let given = vec![opened(), destroyed()];
    erasure_follows(given.clone(), complete(2), vec![completed()]);
    erasure_follows([given, vec![completed()]].concat(), complete(0), vec![]);
}

#[test]
fn nothing_is_completed_while_the_key_is_there() {
    for given in [vec![], vec![opened()]] {
        TestFramework::<Erasure>::with(())
            .given(given)
            .when(ErasureCommand::CompleteErasure {
                receipt: receipt(2),
            })
            .then_expect_error(ErasureRefusal::KeyNotDestroyed);
    }
}

#[test]
fn an_erasure_waits_until_the_key_is_destroyed() {
    let waits = |events: &[ErasureEvent]| {
        let mut erasure = Erasure::default();
        for event in events {
            kernel::Decider::evolve(&mut erasure, event);
        }
        erasure.waits_until()
    };
    assert_eq!(waits(&[]), None);
    assert_eq!(waits(&[opened()]), Some(day(30)));
    assert_eq!(waits(&[opened(), destroyed()]), None);
}
