//! What can be asked of the user context.

use chrono::{DateTime, Utc};
use kernel::{AddressId, EmailClaimId, Reason, Sealed};

use crate::{Receipt, Role, Topic};
use serde::{Deserialize, Serialize};

/// Asked of one user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", content = "data", rename_all = "snake_case")]
pub enum UserCommand {
    /// A person opens an account. Goes in one batch with [`EmailCommand::ClaimEmail`].
    RegisterUser {
        /// The address as given, sealed with the person's key.
        email: Sealed,
        /// The claim on the normalized address.
        email_claim: EmailClaimId,
        /// The name to be shown, sealed.
        name: Sealed,
        /// An argon2id hash in PHC format, sealed.
        password_hash: Sealed,
    },
    /// The person has proven that mails to the address reach them.
    VerifyEmail {
        /// The claim that the proof is about.
        email_claim: EmailClaimId,
    },
    /// The person takes another address. Goes in one batch with the claims on both.
    ChangeEmail {
        /// The claim that is given up.
        from: EmailClaimId,
        /// The new address as given, sealed.
        email: Sealed,
        /// The claim on the new address.
        email_claim: EmailClaimId,
    },
    /// The person, who knew the old password, chose another.
    ChangePassword {
        /// An argon2id hash in PHC format, sealed.
        password_hash: Sealed,
    },
    /// The person says how to address and call them.
    UpdateProfile {
        /// The name to be shown, sealed.
        name: Sealed,
        /// The phone number, sealed.
        phone: Option<Sealed>,
    },
    /// An address for the address book; the first one is the default.
    AddAddress {
        /// Its id.
        address_id: AddressId,
        /// The address as JSON, sealed.
        address: Sealed,
    },
    /// An address leaves the address book.
    RemoveAddress {
        /// Which.
        address_id: AddressId,
    },
    /// The address to be proposed first.
    SetDefaultAddress {
        /// Which.
        address_id: AddressId,
    },
    /// The person wants to hear of something, or no longer.
    SetNotificationPreference {
        /// Of what.
        topic: Topic,
        /// Do they?
        allowed: bool,
    },
    /// An operator gives a role.
    GrantRole {
        /// Which.
        role: Role,
    },
    /// An operator takes a role.
    RevokeRole {
        /// Which.
        role: Role,
    },
    /// An operator bars the person from ordering and signing in.
    SuspendUser {
        /// Why.
        reason: Reason,
    },
    /// An operator lifts the suspension.
    ReactivateUser {},
    /// The person wants to be forgotten: no more orders from here on.
    RequestErasure {
        /// When at the latest, whatever is open then.
        erase_by: DateTime<Utc>,
    },
    /// Their orders are final, or the time is up: nobody is left under this id.
    EraseUser {},
}

/// Asked of the claim on one email address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", content = "data", rename_all = "snake_case")]
pub enum EmailCommand {
    /// A user takes the address: refused while another live user holds it.
    ClaimEmail {
        /// For whom.
        user_id: kernel::UserId,
    },
    /// The holder gives the address up.
    ReleaseEmail {
        /// The holder.
        user_id: kernel::UserId,
    },
}

/// Asked of the erasure of one person; its id is the user's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", content = "data", rename_all = "snake_case")]
pub enum ErasureCommand {
    /// A person asked to be erased.
    OpenErasure {
        /// When at the latest.
        erase_by: DateTime<Utc>,
    },
    /// The person's key is gone.
    RecordKeyDestroyed {},
    /// Everything is done and was looked through.
    CompleteErasure {
        /// What was found.
        receipt: Receipt,
    },
}
