//! What the user context has ever written stays readable.

#![allow(clippy::unwrap_used, reason = "a scenario that can not go on fails")]

use std::path::Path;

use chrono::{DateTime, Utc};
use kernel::{AddressId, EmailClaimId, Position, Sealed, UserId, golden};
use strum::VariantNames;
use user::{
    EmailClaim, EmailEvent, Erasure, ErasureEvent, Receipt, Role, Scanned, Topic, User, UserEvent,
};
use uuid::uuid;

/// Who, and the claim on their address.
const USER: UserId = UserId(uuid!("0198c1d2-7a4b-7c31-9f5e-2b6c8d9e0f1a"));
const CLAIM: EmailClaimId = EmailClaimId(uuid!("5b6c1f0e-9d2a-8c47-b1e3-0a9f8e7d6c5b"));
const OTHER_CLAIM: EmailClaimId = EmailClaimId(uuid!("6c7d2f1e-0e3b-8d58-a2f4-1b0a9f8e7d6c"));
const ADDRESS: AddressId = AddressId(uuid!("0198c1d3-0b5c-7d42-8a6f-3c7d9e0f1a2b"));

fn sealed(text: &str) -> Sealed {
    Sealed::new(USER, text)
}

fn erase_by() -> DateTime<Utc> {
    "2026-09-30T12:00:00Z".parse().unwrap()
}

#[test]
fn every_event_version_has_its_file() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("wire");
    let users = [of_identity(), of_the_account(), of_standing()].concat();
    let mut files = golden::check::<User>(&folder, UserEvent::VARIANTS, &users).unwrap();
    let claims = golden::check::<EmailClaim>(
        &folder,
        EmailEvent::VARIANTS,
        &[
            EmailEvent::EmailClaimed { user_id: USER },
            EmailEvent::EmailReleased { user_id: USER },
        ],
    );
    files.extend(claims.unwrap());
    let erasures = golden::check::<Erasure>(&folder, ErasureEvent::VARIANTS, &of_erasure());
    files.extend(erasures.unwrap());
    golden::no_other_files(&folder, &files).unwrap();
}

fn of_identity() -> Vec<UserEvent> {
    vec![
        UserEvent::UserRegistered {
            email: sealed("bm9uY2UtZW1haWw"),
            email_claim: CLAIM,
            name: sealed("bm9uY2UtbmFtZQ"),
            password_hash: sealed("bm9uY2UtaGFzaA"),
        },
        UserEvent::EmailVerified { email_claim: CLAIM },
        UserEvent::EmailChanged {
            email: sealed("bm9uY2Utb3RoZXI"),
            email_claim: OTHER_CLAIM,
        },
        UserEvent::PasswordChanged {
            password_hash: sealed("bm9uY2Utb3RoZXItaGFzaA"),
        },
    ]
}

fn of_the_account() -> Vec<UserEvent> {
    vec![
        UserEvent::ProfileUpdated {
            name: sealed("bm9uY2UtbmFtZQ"),
            phone: Some(sealed("bm9uY2UtcGhvbmU")),
        },
        UserEvent::ProfileUpdated {
            name: sealed("bm9uY2UtbmFtZQ"),
            phone: None,
        },
        UserEvent::AddressAdded {
            address_id: ADDRESS,
            address: sealed("bm9uY2UtYWRkcmVzcw"),
        },
        UserEvent::AddressRemoved {
            address_id: ADDRESS,
        },
        UserEvent::DefaultAddressSet {
            address_id: ADDRESS,
        },
        UserEvent::NotificationPreferenceSet {
            topic: Topic::Marketing,
            allowed: true,
        },
    ]
}

fn of_standing() -> Vec<UserEvent> {
    vec![
        UserEvent::RoleGranted {
            role: Role::Operator,
        },
        UserEvent::RoleRevoked {
            role: Role::Operator,
        },
        UserEvent::UserSuspended {
            reason: "chargebacks".parse().unwrap(),
        },
        UserEvent::UserReactivated {},
        UserEvent::ErasureRequested {
            erase_by: erase_by(),
        },
        UserEvent::UserErased { email_claim: CLAIM },
    ]
}

fn of_erasure() -> Vec<ErasureEvent> {
    let scanned = Scanned {
        up_to: Position::new("USER", 1042),
        events: 7,
        sealed: 9,
    };
    vec![
        ErasureEvent::ErasureOpened {
            erase_by: erase_by(),
        },
        ErasureEvent::KeyDestroyed {},
        ErasureEvent::ErasureCompleted {
            receipt: Receipt {
                scanned: vec![scanned],
                searched: 4,
                readable: vec![Position::new("ORDER", 17)],
            },
        },
    ]
}
