//! Personal data is sealed before a command is made and opened only where it is needed: the seam
//! between the routes and the keys.

use async_trait::async_trait;
use kernel::{Sealed, UserId};
use streams::BoxError;
use streams::keys::{Keys, KeysError};
use thiserror::Error;

/// Personal data could not be sealed or opened.
#[derive(Debug, Error)]
pub enum PersonalError {
    /// The keys can't be reached now.
    #[error("personal data can't be sealed or opened now")]
    Unavailable(#[source] BoxError),
    /// Nothing can be sealed any more for a person who was erased.
    #[error("the person was erased")]
    Erased,
    /// However often it is tried: the key is gone, or is another one.
    #[error("personal data can't be sealed or opened")]
    Broken(#[source] BoxError),
}

/// Seals with each person's own key, and opens. `purpose` is one of [`kernel::purpose`].
#[async_trait]
pub trait Personal: Send + Sync + 'static {
    /// Only `person`'s key opens it, and only for this purpose.
    ///
    /// # Errors
    /// The keys can't be reached.
    async fn seal(
        &self,
        person: UserId,
        purpose: &str,
        text: &str,
    ) -> Result<Sealed, PersonalError>;

    /// The text; `None` = its person was erased.
    ///
    /// # Errors
    /// The keys can't be reached, or it was not sealed by them for this purpose.
    async fn open(&self, sealed: &Sealed, purpose: &str) -> Result<Option<String>, PersonalError>;
}

#[async_trait]
impl Personal for Keys {
    async fn seal(
        &self,
        person: UserId,
        purpose: &str,
        text: &str,
    ) -> Result<Sealed, PersonalError> {
        Keys::seal(self, person, purpose, text)
            .await
            .map_err(of_keys)
    }

    async fn open(&self, sealed: &Sealed, purpose: &str) -> Result<Option<String>, PersonalError> {
        Keys::open(self, sealed, purpose).await.map_err(of_keys)
    }
}

fn of_keys(error: KeysError) -> PersonalError {
    match error {
        KeysError::Unavailable { .. } => PersonalError::Unavailable(error.into()),
        KeysError::Erased { .. } => PersonalError::Erased,
        KeysError::Missing { .. }
        | KeysError::OtherMasterKey { .. }
        | KeysError::Broken { .. }
        | KeysError::Malformed
        | KeysError::Random => PersonalError::Broken(error.into()),
    }
}
