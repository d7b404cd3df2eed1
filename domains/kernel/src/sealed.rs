//! Personal data that only its person's key can open.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::UserId;

/// What every sealed text starts with: the format's name and version.
const PREFIX: &str = "sealed.v1.";

/// Longest sealed text, in bytes.
const SEALED_LENGTH_MAX: usize = 16 * 1024;

/// Personal data, encrypted with the key of one person: `sealed.v1.<user id>.<base64url>`.
///
/// The domain, the log and the views hold only this. Destroying the person's key makes it
/// unreadable everywhere at once, also in backups (crypto-shredding).
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Sealed(String);

impl Sealed {
    /// Puts the parts together: whose key, and nonce with ciphertext in base64url.
    pub fn new(person: UserId, ciphertext: &str) -> Self {
        Self(format!("{PREFIX}{person}.{ciphertext}"))
    }

    /// Whose key opens it.
    ///
    /// # Errors
    /// The text was not made by [`Sealed::new`].
    pub fn person(&self) -> Result<UserId, SealedError> {
        Ok(self.parts()?.0)
    }

    /// Nonce and ciphertext in base64url.
    ///
    /// # Errors
    /// The text was not made by [`Sealed::new`].
    pub fn ciphertext(&self) -> Result<&str, SealedError> {
        Ok(self.parts()?.1)
    }

    /// The text as it stands in events.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn parts(&self) -> Result<(UserId, &str), SealedError> {
        let rest = self.0.strip_prefix(PREFIX).ok_or(SealedError)?;
        let (person, ciphertext) = rest.split_once('.').ok_or(SealedError)?;
        Ok((person.parse().map_err(|_| SealedError)?, ciphertext))
    }
}

impl fmt::Debug for Sealed {
    /// Ciphertext says nothing to a reader.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sealed(…)")
    }
}

impl FromStr for Sealed {
    type Err = SealedError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let sealed = Self(text.to_owned());
        if text.len() > SEALED_LENGTH_MAX {
            return Err(SealedError);
        }
        sealed.parts()?;
        Ok(sealed)
    }
}

impl TryFrom<String> for Sealed {
    type Error = SealedError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Sealed> for String {
    fn from(sealed: Sealed) -> Self {
        sealed.0
    }
}

/// A text is not sealed data.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "sealed data is written sealed.v1.<user id>.<base64url>, at most {SEALED_LENGTH_MAX} bytes"
)]
pub struct SealedError;
