//! Passwords: argon2id, off the async threads, and only so many at once.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use argon2::password_hash::rand_core::OsRng;
use argon2::password_hash::{
    Error as HashError, PasswordHash, PasswordHasher, PasswordVerifier, SaltString,
};
use argon2::{Algorithm, Argon2, Params, Version};
use edge::Problem;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use thiserror::Error;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Shortest password, in characters: with a throttle on guessing, 12 characters without rules about
/// their kind are more than most rules yield (NIST SP 800-63B-4 asks for 8 beside a second factor).
const LENGTH_MIN: usize = 12;

/// Longest password, in characters.
const LENGTH_MAX: usize = 128;

/// Memory of one hash, in KiB (OWASP's argon2id recommendation: 19 MiB, 2 passes, 1 lane).
const MEMORY_KIB: u32 = 19 * 1024;

/// Passes over the memory.
const PASSES: u32 = 2;

/// Lanes.
const LANES: u32 = 1;

/// Most hashes waiting for a thread; beyond it 503 at once.
const WAITING_MAX: usize = 256;

/// What a person chose as password.
#[derive(Clone, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct NewPassword(String);

impl TryFrom<String> for NewPassword {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        if (LENGTH_MIN..=LENGTH_MAX).contains(&text.chars().count()) {
            Ok(Self(text))
        } else {
            Err(format!(
                "it must have {LENGTH_MIN} to {LENGTH_MAX} characters"
            ))
        }
    }
}

impl NewPassword {
    /// The same, as if somebody said it was the password already.
    pub(crate) fn as_attempt(&self) -> Attempt {
        Attempt(self.0.clone())
    }
}

/// What somebody says is the password: anything, so that its length tells nothing.
#[derive(Clone, Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(inline)]
pub(crate) struct Attempt(String);

impl JsonSchema for NewPassword {
    fn schema_name() -> Cow<'static, str> {
        "NewPassword".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string", "minLength": LENGTH_MIN, "maxLength": LENGTH_MAX,
        })
    }
}

impl fmt::Debug for NewPassword {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NewPassword(…)")
    }
}

impl fmt::Debug for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Attempt(…)")
    }
}

/// The hashing could not be set up or done.
#[derive(Debug, Error)]
pub(crate) enum PasswordError {
    /// argon2 refuses its parameters or the salt.
    #[error("a password can't be hashed: {0}")]
    Hash(HashError),
    /// The parameters are out of argon2's bounds.
    #[error("argon2 refuses its parameters: {0}")]
    Params(argon2::Error),
}

/// Hashes and verifies. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Passwords {
    argon2: Argon2<'static>,
    /// Verified against when nobody has the address: it costs the same time.
    dummy: Arc<str>,
    running: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
}

impl Passwords {
    /// As many at once as there are cores.
    pub(crate) fn new() -> Result<Self, PasswordError> {
        let params = Params::new(MEMORY_KIB, PASSES, LANES, None).map_err(PasswordError::Params)?;
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        let dummy = hash(&argon2, "nobody has this password").map_err(PasswordError::Hash)?;
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Ok(Self {
            argon2,
            dummy: dummy.into(),
            running: Arc::new(Semaphore::new(cores)),
            waiting: Arc::new(Semaphore::new(WAITING_MAX)),
        })
    }

    /// The hash in PHC format.
    pub(crate) async fn hash(&self, password: NewPassword) -> Result<String, Problem> {
        let argon2 = self.argon2.clone();
        self.run(move || hash(&argon2, &password.0))
            .await?
            .map_err(|error| {
                tracing::error!(%error, "a password could not be hashed");
                Problem::internal()
            })
    }

    /// Does `attempt` fit `known`? Without a known hash it never does, in the same time.
    pub(crate) async fn verify(
        &self,
        attempt: Attempt,
        known: Option<String>,
    ) -> Result<bool, Problem> {
        let argon2 = self.argon2.clone();
        let exists = known.is_some();
        let hash = known.unwrap_or_else(|| self.dummy.to_string());
        let fits = self.run(move || fits(&argon2, &attempt.0, &hash)).await?;
        Ok(exists && fits)
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Problem> {
        let slot = self.slot().await?;
        tokio::task::spawn_blocking(move || {
            let _slot = slot;
            work()
        })
        .await
        .map_err(|error| {
            tracing::error!(%error, "the thread of a password hash failed");
            Problem::internal()
        })
    }

    async fn slot(&self) -> Result<OwnedSemaphorePermit, Problem> {
        let busy = || Problem::unavailable("overloaded", "too many passwords are being checked");
        let _waiting = self.waiting.try_acquire().map_err(|_full| busy())?;
        // Neither semaphore is ever closed.
        let slot = Arc::clone(&self.running).acquire_owned().await;
        slot.map_err(|_closed| busy())
    }
}

fn hash(argon2: &Argon2<'_>, password: &str) -> Result<String, HashError> {
    let salt = SaltString::generate(&mut OsRng);
    let hash = argon2.hash_password(password.as_bytes(), &salt)?;
    Ok(hash.to_string())
}

/// A hash that can't be read fits nothing.
fn fits(argon2: &Argon2<'_>, password: &str, hash: &str) -> bool {
    metrics::counter!("passwords_checked_total").increment(1);
    PasswordHash::new(hash)
        .is_ok_and(|hash| argon2.verify_password(password.as_bytes(), &hash).is_ok())
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use futures::FutureExt;

    use super::*;

    fn attempt(text: &str) -> Attempt {
        Attempt(text.to_owned())
    }

    #[tokio::test]
    async fn only_the_password_fits_its_hash() {
        let passwords = Passwords::new().unwrap();
        let chosen = NewPassword::try_from("correct horse".to_owned()).unwrap();
        let hash = passwords.hash(chosen).await.unwrap();
        assert!(
            hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"),
            "{hash}"
        );
        let verify = |text: &str, known: Option<String>| passwords.verify(attempt(text), known);
        assert!(verify("correct horse", Some(hash.clone())).await.unwrap());
        assert!(!verify("wrong horse", Some(hash)).await.unwrap());
        assert!(!verify("nobody has this password", None).await.unwrap());
        assert!(!verify("x", Some("no hash".to_owned())).await.unwrap());
    }

    /// There is one thread, and whoever hashed on it would keep everybody else from it.
    #[tokio::test]
    async fn others_go_on_while_a_password_is_checked() {
        let passwords = Passwords::new().unwrap();
        let over = Cell::new(false);
        let checks = async {
            let fits = passwords.verify(attempt("x"), None).await;
            over.set(true);
            fits
        };
        let others = async {
            let mut turns = 0;
            while !over.get() {
                turns += 1;
                tokio::task::yield_now().await;
            }
            turns
        };
        let (fits, turns) = tokio::join!(checks, others);
        assert!(!fits.unwrap());
        assert!(turns > 0, "nobody else had a turn");
    }

    #[tokio::test]
    async fn only_so_many_passwords_are_checked_at_once_and_only_so_many_wait_for_it() {
        let passwords = Passwords::new().unwrap();
        let cores = u32::try_from(passwords.running.available_permits()).unwrap();
        let busy = passwords.running.acquire_many(cores).await.unwrap();
        let check = || Box::pin(passwords.verify(attempt("x"), None));
        let mut line: Vec<_> = (0..WAITING_MAX).map(|_| check()).collect();
        for waits in &mut line {
            assert!(waits.as_mut().now_or_never().is_none());
        }
        let refused = check().now_or_never().expect("at once").unwrap_err();
        assert_eq!(
            (refused.status.as_u16(), &*refused.code),
            (503, "overloaded")
        );
        assert!(refused.retry_after.is_some());
        // Who leaves the line makes room in it, and whose turn comes is checked.
        line.pop();
        let mut last = check();
        assert!(last.as_mut().now_or_never().is_none());
        drop((line, busy));
        assert!(!last.await.unwrap());
    }

    #[test]
    fn lengths_are_in_characters() {
        let parse = |text: String| NewPassword::try_from(text);
        assert!(parse("ä".repeat(12)).is_ok());
        assert!(parse("a".repeat(11)).is_err());
        assert!(parse("a".repeat(129)).is_err());
    }
}
