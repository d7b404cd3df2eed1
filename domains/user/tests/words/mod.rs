//! The words that the scenarios of a user are told in.

#![allow(
    dead_code,
    unreachable_pub,
    reason = "every file of scenarios uses some of them"
)]

use chrono::{DateTime, Utc};
use kernel::{AddressId, EmailClaimId, Reason, Sealed, TestFramework, UserId};
use user::{Role, User, UserCommand, UserEvent, UserRefusal};
use uuid::Uuid;

pub const ANN: UserId = UserId(Uuid::from_u128(0xA));
pub const BEN: UserId = UserId(Uuid::from_u128(0xB));

pub const CLAIM: EmailClaimId = EmailClaimId(Uuid::from_u128(1));
pub const OTHER_CLAIM: EmailClaimId = EmailClaimId(Uuid::from_u128(2));

pub const HOME: AddressId = AddressId(Uuid::from_u128(0x10));
pub const WORK: AddressId = AddressId(Uuid::from_u128(0x11));

pub fn sealed(text: &str) -> Sealed {
    Sealed::new(ANN, text)
}

pub fn why() -> Reason {
    "chargebacks".parse().unwrap()
}

/// Days after some day.
pub fn day(number: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_700_000_000 + number * 86_400, 0).unwrap()
}

pub fn registered() -> UserEvent {
    UserEvent::UserRegistered {
        email: sealed("email"),
        email_claim: CLAIM,
        name: sealed("name"),
        password_hash: sealed("hash"),
    }
}

pub fn suspended() -> UserEvent {
    UserEvent::UserSuspended { reason: why() }
}

pub fn granted() -> UserEvent {
    UserEvent::RoleGranted {
        role: Role::Operator,
    }
}

pub fn revoked() -> UserEvent {
    UserEvent::RoleRevoked {
        role: Role::Operator,
    }
}

pub fn leaving() -> UserEvent {
    UserEvent::ErasureRequested { erase_by: day(30) }
}

pub fn erased() -> UserEvent {
    UserEvent::UserErased { email_claim: CLAIM }
}

#[track_caller]
pub fn follows(given: Vec<UserEvent>, when: UserCommand, then: Vec<UserEvent>) {
    TestFramework::<User>::with(())
        .given(given)
        .when(when)
        .then_expect_events(then);
}

#[track_caller]
pub fn is_refused(given: Vec<UserEvent>, when: UserCommand, then: UserRefusal) {
    TestFramework::<User>::with(())
        .given(given)
        .when(when)
        .then_expect_error(then);
}

pub fn after(events: &[UserEvent]) -> User {
    let mut user = User::default();
    for event in events {
        kernel::Decider::evolve(&mut user, event);
    }
    user
}
