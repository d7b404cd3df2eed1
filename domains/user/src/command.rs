//! What can be asked of the user context.

use kernel::{EmailClaimId, Reason, Sealed};

use crate::Role;
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
