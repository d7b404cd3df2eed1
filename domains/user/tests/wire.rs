//! What the user context has ever written stays readable.

#![allow(clippy::unwrap_used, reason = "a scenario that can not go on fails")]

use std::path::Path;

use kernel::{EmailClaimId, Sealed, UserId, golden};
use strum::VariantNames;
use user::{EmailClaim, EmailEvent, Role, User, UserEvent};
use uuid::uuid;

#[test]
fn every_event_version_has_its_file() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("wire");
    let user_id = UserId(uuid!("0198c1d2-7a4b-7c31-9f5e-2b6c8d9e0f1a"));
    let sealed = |text| Sealed::new(user_id, text);
    let mut files = golden::check::<User>(
        &folder,
        UserEvent::VARIANTS,
        &[
            UserEvent::UserRegistered {
                email: sealed("bm9uY2UtZW1haWw"),
                email_claim: EmailClaimId(uuid!("5b6c1f0e-9d2a-8c47-b1e3-0a9f8e7d6c5b")),
                name: sealed("bm9uY2UtbmFtZQ"),
                password_hash: sealed("bm9uY2UtaGFzaA"),
            },
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
        ],
    )
    .unwrap();
    let claims = golden::check::<EmailClaim>(
        &folder,
        EmailEvent::VARIANTS,
        &[
            EmailEvent::EmailClaimed { user_id },
            EmailEvent::EmailReleased { user_id },
        ],
    )
    .unwrap();
    files.extend(claims);
    golden::no_other_files(&folder, &files).unwrap();
}
