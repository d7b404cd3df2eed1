//! What has happened in the user context, as it stands on the wire.

use kernel::{EmailClaimId, Fact, Reason, Sealed};
use serde::{Deserialize, Serialize};
use strum::{IntoStaticStr, VariantNames};

use crate::Role;

/// Facts about one user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, IntoStaticStr, VariantNames)]
#[serde(tag = "type", content = "data", rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum UserEvent {
    /// A person opened an account.
    UserRegistered {
        /// The address as given, sealed.
        email: Sealed,
        /// The claim on the normalized address.
        email_claim: EmailClaimId,
        /// The name to be shown, sealed.
        name: Sealed,
        /// An argon2id hash in PHC format, sealed.
        password_hash: Sealed,
    },
    /// A role was given.
    RoleGranted {
        /// Which.
        role: Role,
    },
    /// A role was taken.
    RoleRevoked {
        /// Which.
        role: Role,
    },
    /// The person may not order or sign in.
    UserSuspended {
        /// Why.
        reason: Reason,
    },
    /// The suspension was lifted.
    UserReactivated {},
}

impl cqrs_es::DomainEvent for UserEvent {
    fn event_type(&self) -> String {
        self.name().to_owned()
    }

    fn event_version(&self) -> String {
        self.schema_version().to_string()
    }
}

impl Fact for UserEvent {
    fn name(&self) -> &'static str {
        self.into()
    }
}

/// Facts about the claim on one email address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, IntoStaticStr, VariantNames)]
#[serde(tag = "type", content = "data", rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum EmailEvent {
    /// A user holds the address.
    EmailClaimed {
        /// Who.
        user_id: kernel::UserId,
    },
    /// Nobody holds the address.
    EmailReleased {
        /// Who held it.
        user_id: kernel::UserId,
    },
}

impl cqrs_es::DomainEvent for EmailEvent {
    fn event_type(&self) -> String {
        self.name().to_owned()
    }

    fn event_version(&self) -> String {
        self.schema_version().to_string()
    }
}

impl Fact for EmailEvent {
    fn name(&self) -> &'static str {
        self.into()
    }
}
