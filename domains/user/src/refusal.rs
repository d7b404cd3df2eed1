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
    /// The person was erased: nobody is left under this id.
    #[error("the user was erased")]
    UserErased,
    /// The person has asked to be erased: nothing about them changes any more.
    #[error("the user is about to be erased")]
    UserLeaving,
    /// Nobody is erased who hasn't asked for it.
    #[error("the user has not asked to be erased")]
    ErasureNotRequested,
    /// The person's address is another one by now.
    #[error("the user has another email address by now")]
    EmailNotCurrent,
    /// The id stands for an address with other content.
    #[error("the address exists with other content")]
    AddressDiffers,
    /// The address book is full.
    #[error("an address book holds at most {max} addresses")]
    TooManyAddresses {
        /// The bound.
        max: usize,
    },
    /// No address in the address book has this id.
    #[error("there is no such address")]
    AddressUnknown,
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

/// Reasons to refuse an [`ErasureCommand`](crate::ErasureCommand), in the order in which they are
/// checked.
#[derive(Debug, Clone, PartialEq, Eq, Error, Serialize, Deserialize)]
#[serde(tag = "code", rename_all = "snake_case")]
pub enum ErasureRefusal {
    /// The key stands where it was.
    #[error("the key of the person was not destroyed")]
    KeyNotDestroyed,
}
