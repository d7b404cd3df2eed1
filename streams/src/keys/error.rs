//! What can go wrong with keys.

use kernel::UserId;
use thiserror::Error;

/// A secret from the configuration is not one.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("a secret key is written as 32 bytes in base64url without padding (43 characters)")]
pub struct SecretError;

/// Personal data could not be sealed or opened. No variant shows any of it.
#[derive(Debug, Error)]
pub enum KeysError {
    /// The person was erased: nothing can be sealed for them any more.
    #[error("the key of {person} was destroyed")]
    Erased {
        /// Whose.
        person: UserId,
    },
    /// Something was sealed for a person that the stream knows no key of, nor an erasure: the
    /// stream was lost, or restored from before.
    #[error("there is no key of {person}: was stream KEYS restored from an older backup?")]
    Missing {
        /// Whose.
        person: UserId,
    },
    /// The key was wrapped with another master key than the configured one.
    #[error("the key of {person} was wrapped with master key {found}, not with {configured}")]
    OtherMasterKey {
        /// Whose.
        person: UserId,
        /// The fingerprint that the record names.
        found: String,
        /// The fingerprint of the configured one.
        configured: String,
    },
    /// A record, or something sealed, was changed, or it was sealed for another purpose.
    #[error("what was sealed for {person} does not fit its key")]
    Broken {
        /// Whose.
        person: UserId,
    },
    /// Not something that was sealed here.
    #[error("it was not sealed here")]
    Malformed,
    /// The system gives no random numbers.
    #[error("no random numbers")]
    Random,
    /// The stream did not answer.
    #[error("the keys can't be reached")]
    Unavailable {
        /// What the client says.
        #[source]
        source: async_nats::Error,
    },
}
