//! A user and an email address: what may be asked of them, told as sentences.

#![allow(clippy::unwrap_used, reason = "a scenario that can not go on fails")]

mod words;

use kernel::{TestFramework, UserId};
use user::{
    EmailClaim, EmailCommand, EmailEvent, EmailRefusal, Role, Standing, User, UserCommand,
    UserEvent, UserRefusal,
};
use words::{ANN, BEN, after, follows, granted, is_refused, registered, revoked, suspended, why};

fn register() -> UserCommand {
    let UserEvent::UserRegistered {
        email,
        email_claim,
        name,
        password_hash,
    } = registered()
    else {
        unreachable!("a registration is one");
    };
    UserCommand::RegisterUser {
        email,
        email_claim,
        name,
        password_hash,
    }
}

#[test]
fn a_person_registers() {
    follows(vec![], register(), vec![registered()]);
}

#[test]
fn an_id_registers_once() {
    is_refused(
        vec![registered()],
        register(),
        UserRefusal::UserAlreadyExists,
    );
    is_refused(
        vec![registered(), suspended()],
        register(),
        UserRefusal::UserAlreadyExists,
    );
}

#[test]
fn nothing_else_can_be_asked_of_an_unregistered_user() {
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
        is_refused(vec![], command, UserRefusal::UserUnknown);
    }
}

#[test]
fn a_role_is_given_once() {
    let grant = UserCommand::GrantRole {
        role: Role::Operator,
    };
    follows(vec![registered()], grant.clone(), vec![granted()]);
    follows(vec![registered(), granted()], grant, vec![]);
}

#[test]
fn a_role_is_taken_once() {
    let revoke = UserCommand::RevokeRole {
        role: Role::Operator,
    };
    follows(
        vec![registered(), granted()],
        revoke.clone(),
        vec![revoked()],
    );
    follows(
        vec![registered(), granted(), revoked()],
        revoke.clone(),
        vec![],
    );
    follows(vec![registered()], revoke, vec![]);
}

#[test]
fn everybody_is_a_customer_for_good() {
    let role = Role::Customer;
    follows(vec![registered()], UserCommand::GrantRole { role }, vec![]);
    is_refused(
        vec![registered()],
        UserCommand::RevokeRole { role },
        UserRefusal::CustomerRoleImplied,
    );
    assert!(after(&[registered()]).has_role(Role::Customer));
    assert!(!after(&[registered()]).has_role(Role::Operator));
    assert!(after(&[registered(), granted()]).has_role(Role::Operator));
    assert!(!after(&[registered(), granted(), revoked()]).has_role(Role::Operator));
}

#[test]
fn a_user_is_suspended_once_and_the_first_reason_stands() {
    let suspend = UserCommand::SuspendUser { reason: why() };
    follows(vec![registered()], suspend.clone(), vec![suspended()]);
    follows(vec![registered(), suspended()], suspend, vec![]);
}

#[test]
fn a_suspended_user_is_reactivated_once() {
    let reactivate = UserCommand::ReactivateUser {};
    follows(
        vec![registered(), suspended()],
        reactivate.clone(),
        vec![UserEvent::UserReactivated {}],
    );
    follows(vec![registered()], reactivate.clone(), vec![]);
    follows(
        vec![registered(), suspended(), UserEvent::UserReactivated {}],
        reactivate,
        vec![],
    );
}

#[test]
fn roles_survive_a_suspension_and_change_during_it() {
    let user = after(&[
        registered(),
        suspended(),
        granted(),
        UserEvent::UserReactivated {},
    ]);
    assert!(user.has_role(Role::Operator));
}

#[test]
fn only_who_is_in_good_standing_may_order() {
    assert_eq!(after(&[]).standing(), Standing::Unknown);
    assert!(!after(&[]).may_order());
    assert!(after(&[registered()]).may_order());
    assert_eq!(
        after(&[registered(), suspended()]).standing(),
        Standing::Suspended
    );
    assert!(!after(&[registered(), suspended()]).may_order());
    assert!(after(&[registered(), suspended(), UserEvent::UserReactivated {}]).may_order());
}

#[test]
fn a_fact_about_a_user_that_never_registered_changes_nothing() {
    assert_eq!(
        after(&[suspended(), granted(), UserEvent::UserReactivated {}]),
        User::default()
    );
}

#[track_caller]
fn claim_follows(given: Vec<EmailEvent>, when: EmailCommand, then: Vec<EmailEvent>) {
    TestFramework::<EmailClaim>::with(())
        .given(given)
        .when(when)
        .then_expect_events(then);
}

#[track_caller]
fn claim_is_refused(given: Vec<EmailEvent>, when: EmailCommand, then: EmailRefusal) {
    TestFramework::<EmailClaim>::with(())
        .given(given)
        .when(when)
        .then_expect_error(then);
}

fn claimed(user_id: UserId) -> EmailEvent {
    EmailEvent::EmailClaimed { user_id }
}

fn released(user_id: UserId) -> EmailEvent {
    EmailEvent::EmailReleased { user_id }
}

#[test]
fn an_address_is_claimed_by_one_user_at_a_time() {
    let by = |user_id| EmailCommand::ClaimEmail { user_id };
    claim_follows(vec![], by(ANN), vec![claimed(ANN)]);
    claim_follows(vec![claimed(ANN)], by(ANN), vec![]);
    claim_is_refused(vec![claimed(ANN)], by(BEN), EmailRefusal::EmailTaken);
    claim_follows(
        vec![claimed(ANN), released(ANN)],
        by(BEN),
        vec![claimed(BEN)],
    );
}

#[test]
fn an_address_is_given_up_by_its_holder_only() {
    let by = |user_id| EmailCommand::ReleaseEmail { user_id };
    claim_follows(vec![claimed(ANN)], by(ANN), vec![released(ANN)]);
    claim_follows(vec![claimed(ANN), released(ANN)], by(ANN), vec![]);
    claim_follows(vec![], by(ANN), vec![]);
    claim_is_refused(
        vec![claimed(ANN)],
        by(BEN),
        EmailRefusal::EmailHeldByAnother,
    );
}

#[test]
fn the_holder_of_an_address_is_known() {
    let mut claim = EmailClaim::default();
    assert_eq!(claim.holder(), None);
    kernel::Decider::evolve(&mut claim, &claimed(ANN));
    assert_eq!(claim.holder(), Some(ANN));
}
