//! Why the user context says no.

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Reasons to refuse a [`UserCommand`](crate::UserCommand), in the order in which they are checked.
#[derive(Debug, Clone, PartialEq, Eq, Error, Serialize, Deserialize)]
#[serde(tag = "code", rename_all = "snake_case")]
pub enum UserRefusal {
    /// The id is taken by an earlier registration.
    #[error("the user is already registered")]
    UserAlreadyExists,
    /// Nobody registered under this id.
    #[error("there is no such user")]
    UserUnknown,
    /// Everybody is a customer, so that role can't be taken.
    #[error("every user is a customer, that role can't be revoked")]
    CustomerRoleImplied,
}

/// Reasons to refuse an [`EmailCommand`](crate::EmailCommand), in the order in which they are
/// checked.
#[derive(Debug, Clone, PartialEq, Eq, Error, Serialize, Deserialize)]
#[serde(tag = "code", rename_all = "snake_case")]
pub enum EmailRefusal {
    /// Another user holds the address.
    #[error("the email address is taken")]
    EmailTaken,
    /// Only the holder gives an address up.
    #[error("the email address is held by another user")]
    EmailHeldByAnother,
}
