//! What has happened in the user context, as it stands on the wire.

use chrono::{DateTime, Utc};
use kernel::{AddressId, EmailClaimId, Reason, Sealed};
use serde::{Deserialize, Serialize};
use strum::{IntoStaticStr, VariantNames};

use crate::{Receipt, Role, Topic};

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
    /// Mails to the address reach the person.
    EmailVerified {
        /// The claim on that address.
        email_claim: EmailClaimId,
    },
    /// The person has another address; nobody has proven yet that mails to it reach them.
    EmailChanged {
        /// The address as given, sealed.
        email: Sealed,
        /// The claim on the normalized address.
        email_claim: EmailClaimId,
    },
    /// The old password no longer opens anything.
    PasswordChanged {
        /// An argon2id hash in PHC format, sealed.
        password_hash: Sealed,
    },
    /// How to address and call the person.
    ProfileUpdated {
        /// The name to be shown, sealed.
        name: Sealed,
        /// The phone number, sealed.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        phone: Option<Sealed>,
    },
    /// An address is in the address book.
    AddressAdded {
        /// Its id.
        address_id: AddressId,
        /// The address as JSON, sealed.
        address: Sealed,
    },
    /// An address is in the address book no longer.
    AddressRemoved {
        /// Which.
        address_id: AddressId,
    },
    /// Which address is proposed first.
    DefaultAddressSet {
        /// Which.
        address_id: AddressId,
    },
    /// The person wants to hear of something, or no longer.
    NotificationPreferenceSet {
        /// Of what.
        topic: Topic,
        /// Do they?
        allowed: bool,
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
    /// The person wants to be forgotten; they place no more orders.
    ErasureRequested {
        /// When at the latest.
        erase_by: DateTime<Utc>,
    },
    /// Nobody is left under this id. What was sealed for them is to become unreadable.
    UserErased {
        /// The claim that they held: it is to be released.
        email_claim: EmailClaimId,
    },
}

kernel::fact!(UserEvent);

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

kernel::fact!(EmailEvent);

/// Facts about the erasure of one person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, IntoStaticStr, VariantNames)]
#[serde(tag = "type", content = "data", rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum ErasureEvent {
    /// It waits for the person's orders.
    ErasureOpened {
        /// When at the latest it goes on.
        erase_by: DateTime<Utc>,
    },
    /// What was sealed for the person is unreadable for ever. Whoever finds their key again, in a
    /// stream that was restored, destroys it again.
    KeyDestroyed {},
    /// It is over.
    ErasureCompleted {
        /// What was looked through, and what was found.
        receipt: Receipt,
    },
}

kernel::fact!(ErasureEvent);
