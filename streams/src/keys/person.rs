//! Sealing and opening with the key of a person.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream;
use kernel::{Sealed, UserId};
use quick_cache::sync::Cache;
use tokio::time::Instant;

use super::aead::{AeadError, Cipher, KeyBytes, new_key};
use super::error::KeysError;
use super::master::MasterKeys;
use super::vault::{Found, Record, Stored, Vault};
use crate::connection::Connection;

/// A destroyed key is used this long at most by a process that had it (architecture §9).
const CACHE_LIFE: Duration = Duration::from_mins(1);
/// Keys held in memory at most.
const CACHED_MAX: usize = 10_000;
/// Keys fetched at the same time by [`Keys::open_many`].
const FETCHES_MAX: usize = 16;

/// The keys of persons. Cheap to clone; clones share one cache.
#[derive(Clone)]
pub struct Keys {
    pub(super) vault: Vault,
    pub(super) master: MasterKeys,
    /// With the moment since when.
    cache: Arc<Cache<UserId, (Known, Instant)>>,
    /// Everybody whose erasure was heard of: no key of theirs is used again, should the stream have
    /// one after all. 16 bytes a person and a little.
    erased: Arc<RwLock<HashSet<UserId>>>,
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys")
            .field("master", &self.master)
            .finish_non_exhaustive()
    }
}

/// What is known of a person.
#[derive(Clone)]
enum Known {
    Key(Arc<Cipher>),
    Destroyed,
}

impl Keys {
    /// Keys in stream KEYS, wrapped with `master`.
    pub fn new(connection: &Connection, master: impl Into<MasterKeys>) -> Self {
        Self {
            vault: Vault::new(connection),
            master: master.into(),
            cache: Arc::new(Cache::new(CACHED_MAX)),
            erased: Arc::default(),
        }
    }

    /// Seals `plaintext` for `person`, whose key is made when there is none. Only the same
    /// `purpose` ("email", "name") opens it again.
    ///
    /// # Errors
    /// The person was erased; the key can't be reached, or not unwrapped.
    pub fn seal<'a>(
        &'a self,
        person: UserId,
        purpose: &'a str,
        plaintext: &'a str,
    ) -> BoxFuture<'a, Result<Sealed, KeysError>> {
        Box::pin(async move {
            let known = match self.known(person).await? {
                Some(known) => known,
                None => self.create(person).await?,
            };
            let Known::Key(cipher) = known else {
                return Err(KeysError::Erased { person });
            };
            let text = cipher.seal(plaintext.as_bytes(), &context(person, purpose));
            let text = text.map_err(|error| broken(person, error))?;
            Ok(Sealed::new(person, &text))
        })
    }

    /// Opens what was sealed for `purpose`. `None` = the person was erased.
    ///
    /// # Errors
    /// It was sealed elsewhere or for another purpose; the key is missing, or can't be reached.
    pub fn open<'a>(
        &'a self,
        sealed: &'a Sealed,
        purpose: &'a str,
    ) -> BoxFuture<'a, Result<Option<String>, KeysError>> {
        Box::pin(async move {
            let person = sealed.person().map_err(|_| KeysError::Malformed)?;
            match self.known(person).await? {
                None => Err(KeysError::Missing { person }),
                Some(known) => open(&known, person, sealed, purpose),
            }
        })
    }

    /// Opens many, each with its purpose, in the same order; each person's key is fetched once.
    ///
    /// # Errors
    /// As [`Self::open`], of any of them.
    pub fn open_many<'a>(
        &'a self,
        sealed: &'a [(&'a Sealed, &'a str)],
    ) -> BoxFuture<'a, Result<Vec<Option<String>>, KeysError>> {
        Box::pin(async move {
            let mut persons = Vec::with_capacity(sealed.len());
            for (sealed, _) in sealed {
                persons.push(sealed.person().map_err(|_| KeysError::Malformed)?);
            }
            let mut wanted = persons.clone();
            wanted.sort_unstable();
            wanted.dedup();
            let mut fetches = stream::iter(wanted)
                .map(|person| async move { (person, self.known(person).await) })
                .buffer_unordered(FETCHES_MAX);
            let mut keys = HashMap::new();
            while let Some((person, known)) = fetches.next().await {
                keys.insert(person, known?.ok_or(KeysError::Missing { person })?);
            }
            let opened = persons.into_iter().zip(sealed);
            opened
                .map(|(person, (sealed, purpose))| match keys.get(&person) {
                    Some(known) => open(known, person, sealed, purpose),
                    None => Err(KeysError::Missing { person }),
                })
                .collect()
        })
    }

    /// Destroys the key of `person`: what was sealed with it is unreadable for ever, and they get
    /// no new one. Doing it twice is doing it once; after an error, do it again.
    ///
    /// Other processes use a cached key for up to a minute, unless they [`Self::forget`] it.
    ///
    /// # Errors
    /// The stream did not answer: it may have been destroyed.
    pub fn destroy(&self, person: UserId) -> BoxFuture<'_, Result<(), KeysError>> {
        Box::pin(async move {
            // The tombstone first: from here on nobody gets the key, nor a new one.
            let mut last = self.vault.find(person).await?;
            let places = loop {
                let (key, replaced) = match last {
                    None => (0, None),
                    Some(Found::Unreadable(sequence)) => (sequence, None),
                    Some(Found::Stored(stored)) => match stored.record {
                        Record::Destroyed { key, replaced } => break [Some(key), replaced],
                        Record::Key { replaces, .. } => (stored.sequence, replaces),
                    },
                };
                let tombstone = Record::Destroyed { key, replaced };
                let written = self.vault.write(person, &tombstone, key).await?;
                last = Some(Found::Stored(written));
            };
            self.forget(person);
            for place in places.into_iter().flatten().filter(|place| *place > 0) {
                self.vault.erase(place).await?;
            }
            Ok(())
        })
    }

    /// Drops the person's key from this process's cache (on hearing of the erasure), and takes none
    /// for them any more.
    pub fn forget(&self, person: UserId) {
        self.erase_here(person);
        self.cache.remove(&person);
    }

    /// What is known of the person, from the cache or the stream.
    async fn known(&self, person: UserId) -> Result<Option<Known>, KeysError> {
        if self.is_erased(person) {
            return Ok(Some(Known::Destroyed));
        }
        if let Some((known, since)) = self.cache.get(&person)
            && since.elapsed() < CACHE_LIFE
        {
            return Ok(Some(known));
        }
        match self.vault.read(person).await? {
            None => Ok(None),
            Some(stored) => self.learn(person, &stored).map(Some),
        }
    }

    // What is behind the lock is whole at every point where it could be poisoned.
    fn erase_here(&self, person: UserId) {
        let mut erased = self.erased.write().unwrap_or_else(PoisonError::into_inner);
        erased.insert(person);
    }

    fn is_erased(&self, person: UserId) -> bool {
        let erased = self.erased.read().unwrap_or_else(PoisonError::into_inner);
        erased.contains(&person)
    }

    /// A new key; or the one that somebody else has made just before.
    async fn create(&self, person: UserId) -> Result<Known, KeysError> {
        let key = new_key().map_err(|error| broken(person, error))?;
        let record = self.wrap(person, &key, None)?;
        let stored = self.vault.write(person, &record, 0).await?;
        self.learn(person, &stored)
    }

    fn learn(&self, person: UserId, stored: &Stored) -> Result<Known, KeysError> {
        let known = match &stored.record {
            Record::Destroyed { .. } => Known::Destroyed,
            Record::Key {
                master, wrapped, ..
            } => {
                let key = self.unwrap(person, master, wrapped)?;
                let cipher = Cipher::new(&key);
                Known::Key(Arc::new(cipher.map_err(|error| broken(person, error))?))
            }
        };
        self.cache.insert(person, (known.clone(), Instant::now()));
        Ok(known)
    }

    /// `key` as it is stored: under the newest master key.
    pub(super) fn wrap(
        &self,
        person: UserId,
        key: &KeyBytes,
        replaces: Option<u64>,
    ) -> Result<Record, KeysError> {
        let master = self.master.newest();
        let wrapped = master.wrap(person, key);
        Ok(Record::Key {
            master: master.fingerprint().to_owned(),
            wrapped: wrapped.map_err(|error| broken(person, error))?,
            replaces,
        })
    }

    pub(super) fn unwrap(
        &self,
        person: UserId,
        master: &str,
        wrapped: &str,
    ) -> Result<KeyBytes, KeysError> {
        let Some(ours) = self.master.of(master) else {
            return Err(KeysError::OtherMasterKey {
                person,
                found: master.to_owned(),
                configured: self.master.to_string(),
            });
        };
        let key = ours.unwrap(person, wrapped);
        key.map_err(|error| broken(person, error))
    }
}

fn open(
    known: &Known,
    person: UserId,
    sealed: &Sealed,
    purpose: &str,
) -> Result<Option<String>, KeysError> {
    let Known::Key(cipher) = known else {
        return Ok(None);
    };
    let text = sealed.ciphertext().map_err(|_| KeysError::Malformed)?;
    let plain = cipher.open(text, &context(person, purpose));
    let plain = plain.map_err(|error| broken(person, error))?;
    match std::str::from_utf8(&plain) {
        Ok(plain) => Ok(Some(plain.to_owned())),
        Err(_) => Err(KeysError::Broken { person }),
    }
}

/// What is sealed is bound to its person and its purpose: it can't be moved to another field.
fn context(person: UserId, purpose: &str) -> Vec<u8> {
    format!("{person} {purpose}").into_bytes()
}

fn broken(person: UserId, error: AeadError) -> KeysError {
    match error {
        AeadError::Random => KeysError::Random,
        AeadError::Broken => KeysError::Broken { person },
    }
}
